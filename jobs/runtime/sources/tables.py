"""CSV tables, read whole, whose bad rows are refused with their line."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from jobs.runtime.sources.cascades import SourceError
from udfs.ragged import Floats, Ints

#: Largest whole number a float64 holds exactly; a row number beyond it is no row number.
MAX_EXACT = 2.0**53


def read_header(path: Path) -> list[str]:
    """Return the column names of a CSV file, or of a gzipped one."""
    try:
        with _open(path) as stream:
            return [name.strip() for name in next(csv.reader(stream), [])]
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        raise SourceError(path, f"cannot be read: {error}") from None
    except UnicodeDecodeError as error:
        raise _unreadable(path, str(error)) from None


@dataclass(frozen=True)
class Table:
    """Text columns of one file; numbers are taken out of it by name."""

    path: Path
    columns: pa.Table

    def __len__(self) -> int:
        return int(self.columns.num_rows)

    def refuse(self, row: int, reason: str) -> SourceError:
        """Build the error for row ``row``, counted from 0 after the header."""
        return SourceError(self.path, reason, _line_of(self.path, row))

    def texts(self, name: str) -> pa.Array:
        """Return a column as it stands, shape (n,)."""
        return self.columns[name].combine_chunks()

    def amounts(self, name: str) -> Floats:
        """Return a column of finite numbers, none of them negative, shape (n,)."""
        trimmed = pc.utf8_trim_whitespace(self.texts(name))
        try:
            values = np.asarray(pc.cast(trimmed, pa.float64()), dtype=np.float64)
        except pa.ArrowInvalid:
            raise self._first_non_number(name, trimmed) from None
        bad = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
        if len(bad):
            reason = f"{name} must be a finite number, not negative, got {trimmed[int(bad[0])]}"
            raise self.refuse(int(bad[0]), reason)
        return values

    def row_numbers(self, name: str, last: int) -> Ints:
        """Return a column of whole numbers from 1 to ``last``, shape (n,)."""
        values = self.amounts(name)
        bad = np.flatnonzero((values != np.floor(values)) | (values < 1) | (values > min(last, MAX_EXACT)))
        if len(bad):
            got = f"{values[bad[0]]:.15g}"
            raise self.refuse(int(bad[0]), f"{name} must be a row from 1 to {last}, got {got}")
        return values.astype(np.int64)

    def _first_non_number(self, name: str, trimmed: pa.Array) -> SourceError:
        for row, text in enumerate(trimmed.to_pylist()):
            try:
                pc.cast(pa.scalar(text), pa.float64())
            except pa.ArrowInvalid:
                return self.refuse(row, f"{name} must be a number, got {text[:40]!r}")
        raise AssertionError("a column that does not convert has a value that does not")


def read_table(path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> Table:
    """Read the named columns of a CSV file as text; other columns are ignored.

    Raises
    ------
    SourceError
        The file cannot be opened, lacks a column, has no row, is no UTF-8, or a row has too few or too many
        fields.

    """
    header = read_header(path)
    missing = [name for name in required if name not in header]
    if missing:
        raise SourceError(path, f"no column {', '.join(missing)} in its header", 1)
    twice = [name for name in set(header) if header.count(name) > 1 and name in {*required, *optional}]
    if twice:
        raise SourceError(path, f"more than one column {', '.join(sorted(twice))} in its header", 1)
    names = [*required, *(name for name in optional if name in header)]
    misshapen: list[arrow_csv.InvalidRow] = []

    def keep(row: arrow_csv.InvalidRow) -> str:
        misshapen.append(row)
        return "skip"

    try:
        columns = arrow_csv.read_csv(
            path,
            # One thread: only then does Arrow know the number of a row with too few fields.
            arrow_csv.ReadOptions(column_names=header, skip_rows=1, use_threads=False),
            arrow_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=keep),
            arrow_csv.ConvertOptions(
                column_types={name: pa.string() for name in names},
                include_columns=names,
                strings_can_be_null=False,
            ),
        )
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, str(error)) from None
    if misshapen:
        row = misshapen[0]
        reason = f"{row.actual_columns} fields where the header has {row.expected_columns}"
        # Arrow counts the header as row 1, and no blank line.
        raise SourceError(path, reason, _line_of(path, (row.number or 2) - 2))
    if not columns.num_rows:
        raise SourceError(path, "no row after its header")
    return Table(path, columns)


def _open(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _line_of(path: Path, row: int) -> int:
    """Find the line on which a row starts: blank lines and quoted line ends make it more than ``row + 2``."""
    with _open(path) as stream:
        reader = csv.reader(stream)
        line, seen = 1, -1
        for record in reader:
            seen += bool(record)
            if seen == row + 1:
                return line
            line = reader.line_num + 1
    return row + 2


def _unreadable(path: Path, reason: str) -> SourceError:
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
            for line, text in enumerate(stream, start=1):
                try:
                    text.decode()
                except UnicodeDecodeError:
                    return SourceError(path, "not UTF-8", line)
    except (OSError, EOFError, zlib.error):
        pass
    return SourceError(path, f"cannot be read: {reason}")
