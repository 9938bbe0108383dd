import io
import zipfile

import numpy as np
import pytest

from tests.unit.forest.builders import some_samples, some_trees
from udfs.forest import archive
from udfs.forest.errors import ModelError
from udfs.forest.scoring import quantiles
from udfs.forest.trees import Trees


def equal(one, other):
    return all(np.array_equal(values, other.arrays()[name]) for name, values in one.arrays().items())


def changed(name, change):
    """The bytes of a forest of which one array was changed in place."""
    arrays = {key: values.copy() for key, values in some_trees().arrays().items()}
    arrays[name] = change(arrays[name])
    return archive.pack(arrays)


def put(position, value):
    def change(values):
        values[position] = value
        return values

    return change


def swap_rows(rows):
    """Give the second tree's first row what its last row is: one twice, one missing."""
    rows[120] = rows[239]
    return rows


def test_bytes_read_back_are_the_same_forest():
    trees = some_trees()
    read = Trees.from_bytes(trees.to_bytes())
    X = some_samples(30, 2).X
    assert equal(trees, read)
    np.testing.assert_array_equal(quantiles(read, X).are_optimal, quantiles(trees, X).are_optimal)


def test_the_same_forest_gives_the_same_bytes():
    assert some_trees().to_bytes() == some_trees().to_bytes()


@pytest.mark.parametrize("length", [0, 1, 100, 5000, -200, -1])
def test_truncated_bytes_are_refused(length):
    with pytest.raises(ModelError):
        Trees.from_bytes(some_trees().to_bytes()[:length])


def test_a_flipped_bit_is_refused_or_changes_nothing():
    """It may change nothing: the archive holds dates and the like, which nobody reads."""
    trees = some_trees(40, n_trees=3)
    data = trees.to_bytes()
    rng = np.random.default_rng(10)
    refused = 0
    for position, bit in zip(rng.integers(0, len(data), 1500), rng.integers(0, 8, 1500), strict=True):
        flipped = bytearray(data)
        flipped[position] ^= 1 << int(bit)
        try:
            assert equal(trees, Trees.from_bytes(bytes(flipped)))
        except ModelError:
            refused += 1
    assert refused > 1000


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("left", put(0, 0)),  # a walk without end
        ("right", put(3, 1)),
        ("left", put(0, 10**6)),
        ("left", put(0, -2)),
        ("right", put(0, -1)),
        ("feature", put(0, 22)),
        ("feature", put(0, -1)),
        ("feature", put(0, -7)),
        ("threshold", put(0, np.nan)),
        ("threshold", put(0, np.inf)),
        ("roots", put(0, 1)),
        ("roots", put(-1, 10**6)),
        ("roots", put(1, 1)),
        ("roots", lambda roots: roots[:0]),
        ("row_offsets", put(-1, 10**6)),
        ("row_offsets", put(5, -3)),
        ("row_offsets", put(0, 1)),
        ("row_offsets", lambda offsets: offsets[:-1]),
        ("rows", put(7, 10**6)),
        ("rows", put(7, -1)),
        ("rows", swap_rows),
        ("rows", lambda rows: rows[:-1]),
        ("y", lambda y: y[::-1].copy()),
        ("y", put(-1, np.inf)),
        ("y", put(0, -1.0)),
        ("y", put(-1, 1000.0)),
        ("y", lambda y: y[:0]),
        ("y", lambda y: y.astype(np.float32)),
        ("rows", lambda rows: rows.astype(np.int64)),
        ("rows", lambda rows: rows.reshape(20, -1)),
        ("threshold", lambda threshold: threshold.astype(">f8")),
    ],
)
def test_arrays_that_are_no_forest_are_refused(name, change):
    with pytest.raises(ModelError):
        Trees.from_bytes(changed(name, change))


def test_the_refusal_says_what_is_wrong():
    with pytest.raises(ModelError, match="a child lies outside its tree or before its parent"):
        Trees.from_bytes(changed("left", put(0, 0)))


def test_a_foreign_archive_is_refused():
    buffer = io.BytesIO()
    np.savez(buffer, weights=np.arange(3.0))
    with pytest.raises(ModelError, match="foreign"):
        Trees.from_bytes(buffer.getvalue())


class Trap:
    """Would say so if it were ever unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


def test_a_pickle_inside_is_refused_and_never_loaded():
    arrays = dict(some_trees().arrays())
    arrays["y"] = np.array([Trap()], dtype=object)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=True, **arrays)
    with pytest.raises(ModelError, match="array y"):
        Trees.from_bytes(buffer.getvalue())


def test_an_archive_that_unpacks_to_too_much_is_refused():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name in some_trees().arrays():
            file.writestr(f"{name}.npy", bytes(archive.MAX_BYTES // 4))
    assert len(buffer.getvalue()) < 10**6
    with pytest.raises(ModelError, match="unpacks to more"):
        Trees.from_bytes(buffer.getvalue())


def test_a_header_that_promises_more_than_there_is_is_refused():
    arrays = some_trees().arrays()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, values in arrays.items():
            raw = io.BytesIO()
            np.lib.format.write_array(raw, values, version=(1, 0), allow_pickle=False)
            file.writestr(f"{name}.npy", raw.getvalue().replace(b"(120,)", b"(999,)"))
    with pytest.raises(ModelError, match="says 999 values"):
        Trees.from_bytes(buffer.getvalue())
