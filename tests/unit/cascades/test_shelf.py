"""A file on the shelf saves making a bucket again; it never decides what the bucket is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.unit.cascades.test_journal import Kept, random_micro_batches, sent
from udfs.cascades.bucket import PENDING, Bucket, empty_batch
from udfs.cascades.shelf import Place, local_folder, place_of_bucket
from udfs.cascades.table import DIRTY, N_OPEN

PROJECT = Path(__file__).resolve().parents[3]
NAME, STAMP, OTHER = b"n" * 16, b"s" * 16, bytes(range(16))
N_WINDOWS = 2


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "local" / "buckets"


def filled(count=4, allocate=None):
    """A bucket, with what the state store holds of it, that has events which wait."""
    kept = Kept()
    if allocate:
        kept.bucket = Bucket.empty(allocate)
    for blobs, latest_s in random_micro_batches(5, count):
        kept.micro_batch(blobs, latest_s)
    assert kept.bucket.pending.num_rows
    assert kept.bucket.table.header[N_OPEN]
    return kept


def shelved(folder, name=NAME, stamp=STAMP, count=4):
    """Leave a bucket on the shelf; return its bytes."""
    with place_of_bucket(folder, name) as place:
        bucket = filled(count, place.allocate).bucket
        place.put(bucket, stamp)
    return bucket.to_bytes(N_WINDOWS)


def taken(folder, stamp=STAMP, name=NAME):
    """The bytes of the bucket on the shelf; None where there is none of this stamp."""
    with place_of_bucket(folder, name) as place:
        bucket = place.take(stamp)
        if bucket is None:
            return None
        place.put(bucket, stamp)
    return bucket.to_bytes(N_WINDOWS)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("count", [1, 4, 30])
def test_a_bucket_that_was_put_is_taken(folder, count):
    before = shelved(folder, count=count)
    with place_of_bucket(folder, NAME) as place:
        bucket = place.take(STAMP)
        assert bucket.to_bytes(N_WINDOWS) == before
        assert bucket.pending.schema.equals(PENDING, check_metadata=True)


def test_a_bucket_without_waiting_events_is_taken(folder):
    with place_of_bucket(folder, NAME) as place:
        place.put(Bucket.empty(place.allocate), STAMP)
    assert taken(folder) == Bucket.empty().to_bytes(N_WINDOWS)


def test_a_bucket_that_comes_from_the_shelf_goes_on_as_one_that_lives(folder):
    """It grows and is compacted there, and its files stay two and the lock."""
    lives, shelf, before = Kept(), Kept(), STAMP
    with place_of_bucket(folder, NAME) as place:
        place.put(Bucket.empty(place.allocate), before)
    for blobs, latest_s in random_micro_batches(2, 60, size=80, n_ids=40):
        with place_of_bucket(folder, NAME) as place:
            shelf.bucket = place.take(before)
            assert sent(shelf.micro_batch(blobs, latest_s)) == sent(lives.micro_batch(blobs, latest_s))
            before = shelf.head.stamp
            place.put(shelf.bucket, before)
        assert shelf.entries[-1] == lives.entries[-1]
    assert {path.suffix for path in folder.iterdir()} == {".table", ".pending", ".lock"}
    assert len(files(folder)) == 3
    assert shelf.bucket.table.capacity != Bucket.empty().table.capacity


def test_a_taken_bucket_is_not_taken_again(folder):
    """Whoever took it may have changed it before it died."""
    shelved(folder)
    with place_of_bucket(folder, NAME) as place:
        assert place.take(STAMP) is not None
    assert taken(folder) is None


def test_a_state_of_another_stamp_is_refused(folder):
    before = shelved(folder)
    assert taken(folder, OTHER) is None
    assert taken(folder, STAMP[:15] + b"t") is None
    assert taken(folder, b"t" + STAMP[1:]) is None
    assert taken(folder) == before, "asking in vain harms nothing"


def test_a_bucket_of_another_name_is_not_found(folder):
    shelved(folder)
    assert taken(folder, name=OTHER) is None


def test_nothing_is_found_on_an_empty_shelf(folder):
    assert taken(folder) is None


def test_a_dirty_table_is_refused(folder):
    shelved(folder)
    path = folder / f"{NAME.hex()}.table"
    words = np.memmap(path, np.int64, "r+")
    words[DIRTY] = 1
    words.flush()
    assert taken(folder) is None


def test_waiting_events_that_are_missing_are_not_taken_for_none(folder):
    shelved(folder)
    (folder / f"{NAME.hex()}.pending").unlink()
    assert taken(folder) is None


def test_waiting_events_of_another_state_are_refused(folder):
    shelved(folder)
    before = (folder / f"{NAME.hex()}.pending").read_bytes()
    shelved(folder, stamp=OTHER)
    (folder / f"{NAME.hex()}.pending").write_bytes(before)
    assert taken(folder, OTHER) is None
    assert taken(folder, STAMP) is None


def test_a_table_that_is_missing_is_refused(folder):
    shelved(folder)
    (folder / f"{NAME.hex()}.table").unlink()
    assert taken(folder) is None


@pytest.mark.parametrize("suffix", ["table", "pending"])
def test_a_truncated_file_is_refused(folder, suffix):
    before = shelved(folder)
    path = folder / f"{NAME.hex()}.{suffix}"
    whole = path.read_bytes()
    for length in (0, 1, 7, 8, 100, 255, 256, 1024, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert taken(folder) is None, f"{length} of {len(whole)} bytes"
    path.write_bytes(whole)
    assert taken(folder) == before


def arrow_file(schema, *batches):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as out:
        for batch in batches:
            out.write_batch(batch)
    return sink.getvalue().to_pybytes()


def foreign():
    """Files that are none of ours, or not this one."""
    stamp = {b"stamp": STAMP}
    other = pa.RecordBatch.from_pydict({"a": [1]}).replace_schema_metadata(stamp)
    yield b"x"
    yield bytes(10_000)
    yield np.random.default_rng(1).bytes(10_000)
    yield arrow_file(other.schema, other)
    yield arrow_file(PENDING.with_metadata(stamp))
    yield arrow_file(PENDING, empty_batch(PENDING))


@pytest.mark.parametrize("suffix", ["table", "pending"])
def test_a_foreign_file_is_refused(folder, suffix):
    before = shelved(folder)
    path = folder / f"{NAME.hex()}.{suffix}"
    whole = path.read_bytes()
    for content in foreign():
        path.write_bytes(content)
        assert taken(folder) is None
    path.unlink()
    path.mkdir()
    assert taken(folder) is None
    path.rmdir()
    path.write_bytes(whole)
    assert taken(folder) == before


@pytest.mark.parametrize("suffix", ["table", "pending"])
def test_a_bucket_is_made_again_over_whatever_lies_there(folder, suffix):
    kept = filled()
    shelved(folder)
    (folder / f"{NAME.hex()}.{suffix}").write_bytes(b"something else")
    with place_of_bucket(folder, NAME) as place:
        assert place.take(STAMP) is None
        place.put(kept.again(allocate=place.allocate), OTHER)
    assert taken(folder, OTHER) == kept.bucket.to_bytes(N_WINDOWS)
    assert len(files(folder)) == 3


def test_a_second_holder_gets_private_memory_and_harms_nothing(folder):
    before, kept = shelved(folder), filled(count=3)
    with place_of_bucket(folder, NAME) as first:
        bucket = first.take(STAMP)
        held = files(folder)
        with place_of_bucket(folder, NAME) as second:
            assert second == Place(None)
            assert second.take(STAMP) is None
            mine = kept.again(allocate=second.allocate)
            kept.bucket = mine
            for blobs, latest_s in random_micro_batches(9, 20, size=80, n_ids=40):
                kept.micro_batch(blobs, latest_s)
            second.put(kept.bucket, OTHER)
        assert files(folder) == held
        assert bucket.to_bytes(N_WINDOWS) == before
        with place_of_bucket(folder, NAME) as third:
            assert third == Place(None), "the second did not let go of what the first holds"
        first.put(bucket, STAMP)
    assert taken(folder, OTHER) is None
    assert taken(folder) == before


def test_a_place_is_free_again_after_an_error(folder):
    before = shelved(folder)

    def fail():
        with place_of_bucket(folder, NAME) as place:
            place.take(STAMP)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with place_of_bucket(folder, NAME) as place:
        assert place.path is not None
        assert place.take(STAMP) is None
    assert shelved(folder) == before
    assert taken(folder) == before


#: A worker that takes the bucket, goes on with it and dies when it calls the named function, before or after.
WORKER = """
import importlib, os, sys
from pathlib import Path
from tests.unit.cascades.test_journal import Kept, random_micro_batches
from udfs.cascades.shelf import place_of_bucket

folder, name, stamp, module, function, when = sys.argv[1:]
module = importlib.import_module(module)
right = getattr(module, function)

def dying(*arguments):
    if when == "after":
        right(*arguments)
    os._exit(42)

with place_of_bucket(Path(folder), bytes.fromhex(name)) as place:
    kept = Kept()
    kept.bucket = place.take(bytes.fromhex(stamp))
    assert kept.bucket is not None
    setattr(module, function, dying)
    for blobs, latest_s in random_micro_batches(9, 9, size=600, n_ids=400):
        kept.micro_batch(blobs, latest_s)
    place.put(kept.bucket, bytes(range(16)))
"""
DEATHS = [
    ("udfs.cascades.step", "advance", "before"),
    ("udfs.cascades.step", "advance", "after"),
    ("udfs.cascades.bucket", "table_of", "after"),
    ("udfs.cascades.shelf", "_write", "after"),
]


@pytest.mark.parametrize("death", DEATHS, ids=[" ".join(death[1:]) for death in DEATHS])
def test_a_worker_that_dies_in_the_middle_leaves_a_table_that_is_refused(folder, death):
    shelved(folder)
    worker = subprocess.run(
        [sys.executable, "-c", WORKER, str(folder), NAME.hex(), STAMP.hex(), *death],
        check=False, cwd=PROJECT, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert worker.returncode == 42, worker.stderr
    with place_of_bucket(folder, NAME) as place:
        assert place.path is not None, "its lock died with it"
        assert place.take(STAMP) is None
        assert place.take(OTHER) is None
        kept = filled()
        place.put(kept.again(allocate=place.allocate), OTHER)
    assert taken(folder, OTHER) == kept.bucket.to_bytes(N_WINDOWS)


def test_only_the_user_may_look_at_the_shelf(folder):
    shelved(folder)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_the_shelf_lies_where_spark_puts_temporary_files(monkeypatch, tmp_path):
    monkeypatch.setenv("SPARK_LOCAL_DIRS", f"{tmp_path}/a,{tmp_path}/b")
    assert local_folder() == tmp_path / "a" / "buckets"
    monkeypatch.delenv("SPARK_LOCAL_DIRS")
    assert local_folder().name == "buckets"
