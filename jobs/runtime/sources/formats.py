"""The three shapes of files that cascades come in, told apart by their headers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.runtime.sources.cascades import Cascades, SourceError, group
from jobs.runtime.sources.tables import Table, read_header, read_table
from udfs.ragged import Ints

EVENTS = ("cascade", "t_s", "followers")
NEWS_DATA = ("time", "magnitude")
SEISMIC_DATA = ("relative_time_second", "number_of_followers")
RANGE = ("start_ind", "end_ind")
SEISMIC_INDEX = ("tweet_id", "post_time_day", *RANGE)
#: A column of any of them with what the tweet says; only the root's is kept.
TEXT = "msg"
#: The header of a pair's one file, and of the file that belongs to it.
PAIRS = {
    NEWS_DATA: RANGE,
    SEISMIC_DATA: SEISMIC_INDEX,
    RANGE: NEWS_DATA,
    SEISMIC_INDEX: SEISMIC_DATA,
}
#: SEISMIC's index also has the columns of the News index, so it is looked for first.
HEADERS = (EVENTS, SEISMIC_INDEX, SEISMIC_DATA, NEWS_DATA, RANGE)


def read_cascades(paths: Sequence[Path], max_id_bytes: int) -> Cascades:
    """Read every cascade of one file, or of a pair of which one file or both are named.

    Raises
    ------
    SourceError
        The header is none of the known ones, the pair's other file is not found beside the named one, or a
        row cannot be used.

    """
    if not 1 <= len(paths) <= 2:
        raise SourceError(paths[0] if paths else Path(), "name one file, or the two of a pair")
    header = recognise(paths[0])
    if header == EVENTS:
        if len(paths) == 2:
            raise SourceError(paths[1], f"{paths[0].name} is complete in itself, name it alone")
        return _read_events(paths[0], max_id_bytes)
    other = paths[1] if len(paths) == 2 else _other_file(paths[0], PAIRS[header])
    if recognise(other) != PAIRS[header]:
        raise SourceError(
            other, f"does not belong to {paths[0].name}: needs columns {', '.join(PAIRS[header])}"
        )
    data, index = (paths[0], other) if header in (NEWS_DATA, SEISMIC_DATA) else (other, paths[0])
    return _read_pair(data, index, max_id_bytes)


def recognise(path: Path) -> tuple[str, ...]:
    """Return which of the known headers a file has."""
    columns = set(read_header(path))
    for header in HEADERS:
        if columns.issuperset(header):
            return header
    known = "; ".join(",".join(header) for header in HEADERS)
    raise SourceError(path, f"its header is none of {known}", 1)


def _other_file(path: Path, wanted: tuple[str, ...]) -> Path:
    """Find the pair's other file: by its usual name, else the one file of the folder with its header."""
    has, lacks = ("index", "data") if "index" in path.name else ("data", "index")
    usual = path.with_name(path.name.replace(has, lacks))
    plain, zipped = (
        usual.with_suffix("") if usual.suffix == ".gz" else usual,
        usual.with_name(usual.name + ".gz"),
    )
    for candidate in (usual, plain, zipped):
        if candidate != path and candidate.is_file():
            return candidate
    beside = sorted({*path.parent.glob("*.csv"), *path.parent.glob("*.csv.gz")} - {path})
    found = [candidate for candidate in beside if _has_header(candidate, wanted)]
    if len(found) != 1:
        problem = "is not beside it" if not found else f"may be {' or '.join(file.name for file in found)}"
        raise SourceError(path, f"the file of the pair with columns {', '.join(wanted)} {problem}")
    return found[0]


def _has_header(path: Path, wanted: tuple[str, ...]) -> bool:
    try:
        return recognise(path) == wanted
    except SourceError:
        return False


def _read_events(path: Path, max_id_bytes: int) -> Cascades:
    table = read_table(path, EVENTS, (TEXT,))
    ids = table.texts("cascade")
    _check_ids(table, ids, max_id_bytes)
    encoded = pc.dictionary_encode(ids)
    codes = np.asarray(encoded.indices).astype(np.int64)
    times_s, followers = table.amounts("t_s"), table.amounts("followers")
    events, roots = group(codes, len(encoded.dictionary), times_s, followers)
    return Cascades(encoded.dictionary.to_pylist(), _texts(table, roots), events)


def _read_pair(data_path: Path, index_path: Path, max_id_bytes: int) -> Cascades:
    is_seismic = recognise(index_path) == SEISMIC_INDEX
    data = read_table(data_path, SEISMIC_DATA if is_seismic else NEWS_DATA, (TEXT,))
    index = read_table(index_path, SEISMIC_INDEX if is_seismic else RANGE)
    rows, codes = _rows(index, len(data))
    if is_seismic:
        names = index.texts("tweet_id")
        _check_ids(index, names, max_id_bytes)
        _check_unique(index, names)
        ids = names.to_pylist()
    else:
        ids = [f"news-{number}" for number in range(1, len(index) + 1)]
    time, mark = SEISMIC_DATA if is_seismic else NEWS_DATA
    events, roots = group(codes, len(index), data.amounts(time)[rows], data.amounts(mark)[rows])
    return Cascades(ids, _texts(data, rows[roots]), events)


def _rows(index: Table, last: int) -> tuple[Ints, Ints]:
    """Row of the data (from 0) and cascade of every event; ranges count from 1 and include their end."""
    start, end = index.row_numbers("start_ind", last), index.row_numbers("end_ind", last)
    empty = np.flatnonzero(end < start)
    if len(empty):
        row = int(empty[0])
        raise index.refuse(row, f"end_ind {end[row]} comes before start_ind {start[row]}")
    lengths = end - start + 1
    codes = np.repeat(np.arange(len(start), dtype=np.int64), lengths)
    first = np.cumsum(lengths) - lengths
    return np.arange(len(codes), dtype=np.int64) + np.repeat(start - 1 - first, lengths), codes


def _check_ids(table: Table, ids: pa.Array, max_id_bytes: int) -> None:
    lengths = np.asarray(pc.binary_length(ids))
    bad = np.flatnonzero((lengths == 0) | (lengths > max_id_bytes))
    if len(bad):
        row = int(bad[0])
        raise table.refuse(row, f"an id must have 1 to {max_id_bytes} bytes, this one has {lengths[row]}")


def _check_unique(table: Table, ids: pa.Array) -> None:
    codes = np.asarray(pc.dictionary_encode(ids).indices)
    if codes.max() + 1 == len(codes):
        return
    # A repeated id is a row whose code is no new largest one.
    row = int(np.flatnonzero(codes[1:] <= np.maximum.accumulate(codes)[:-1])[0]) + 1
    raise table.refuse(row, f"id {ids[row].as_py()[:40]!r} is there already")


def _texts(table: Table, roots: Ints) -> list[str | None]:
    if TEXT not in table.columns.column_names:
        return [None] * len(roots)
    texts: list[str | None] = table.texts(TEXT).take(pa.array(roots)).to_pylist()
    return texts
