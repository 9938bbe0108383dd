"""Kafka values to Arrow columns: fast for good batches, and a bad value never harms its neighbours.

Arrow's reader takes a batch as JSON lines. It is asked only about rows that are one line and one object, so
rows cannot merge or split; rows it cannot read are narrowed down by halving, and each row that is not surely
good is decided alone by a strict decoder, whose verdict does not depend on what lies beside the row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, TypeAlias, TypeVar

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
from numpy.typing import NDArray

from udfs.ragged import Ints

#: A failing batch is halved down to this many rows, which are then read one by one.
SMALLEST_BATCH = 64

#: A whole number that an Arrow column holds: JSON sets no bound, and a larger one is a bad field.
Int64: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Row = TypeVar("Row", bound=msgspec.Struct)
Bools = NDArray[np.bool_]


@dataclass
class Rejected:
    """Rows that could not be used: their place in the batch, a reason's code and a detail for people."""

    rows: list[int] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)

    def add(self, row: int, reason: str, detail: str) -> None:
        """Note one more row."""
        self.rows.append(row)
        self.reasons.append(reason)
        self.details.append(detail[:200])


@dataclass(frozen=True)
class JsonRows(Generic[Row]):
    """How the values of one topic are read.

    ``row`` is the strict type of one value, ``schema`` the same as Arrow columns (a field that may be absent
    is null), ``required`` the columns never null in a good row, ``literals`` the only texts a column may
    hold, ``max_bytes`` the longest value read.
    """

    row: type[Row]
    schema: pa.Schema
    required: tuple[str, ...]
    literals: Mapping[str, tuple[str, ...]]
    max_bytes: int

    def read(self, values: pa.BinaryArray) -> tuple[pa.Table, Ints, Rejected]:
        """Read a batch.

        Returns
        -------
        The columns of the good rows, the place of each in the batch (rising), and the rejected rows.

        """
        rejected = Rejected()
        sizes = pc.fill_null(pc.binary_length(values), 0).to_numpy(zero_copy_only=False)
        for row in np.flatnonzero(sizes > self.max_bytes):
            rejected.add(int(row), "too_large", f"{sizes[row]} bytes, {self.max_bytes} allowed")
        readable = sizes <= self.max_bytes
        simple = readable & _is_one_line_object(values, sizes)
        tables, places = self._bulk(values, np.flatnonzero(simple))
        alone = np.setdiff1d(np.flatnonzero(readable), np.concatenate([[], *places]).astype(np.int64))
        if len(alone):
            table, kept = self._alone(values, alone, rejected)
            tables.append(table)
            places.append(kept)
        if not tables:
            return self.schema.empty_table(), np.empty(0, np.int64), rejected
        place = np.concatenate(places)
        order = np.argsort(place, kind="stable")
        table = pa.concat_tables(tables).combine_chunks()
        return (table if (order[:-1] < order[1:]).all() else table.take(order)), place[order], rejected

    def _bulk(self, values: pa.BinaryArray, rows: Ints) -> tuple[list[pa.Table], list[Ints]]:
        if len(rows) == 0:
            return [], []
        picked = values if len(rows) == len(values) else values.take(pa.array(rows))
        table = self._read_lines(picked)
        if table is not None:
            good = self._surely_good(table)
            if good.all():
                return [table], [rows]
            return [table.filter(pa.array(good))], [rows[good]]
        if len(rows) <= SMALLEST_BATCH:
            return [], []
        half = len(rows) // 2
        halves = [self._bulk(values, rows[:half]), self._bulk(values, rows[half:])]
        return [t for tables, _ in halves for t in tables], [p for _, places in halves for p in places]

    def _read_lines(self, values: pa.BinaryArray) -> pa.Table | None:
        lines = pc.binary_join(
            pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values), b"\n"
        )
        buffer = lines[0].as_buffer()
        try:
            table = pj.read_json(
                pa.BufferReader(buffer),
                read_options=pj.ReadOptions(use_threads=False, block_size=max(buffer.size + 1, 64)),
                parse_options=pj.ParseOptions(
                    explicit_schema=self.schema, newlines_in_values=False, unexpected_field_behavior="ignore"
                ),
            )
            table.validate(full=True)
        except (pa.ArrowInvalid, UnicodeDecodeError):
            return None
        return table if table.num_rows == len(values) else None

    def _surely_good(self, table: pa.Table) -> Bools:
        good = np.ones(table.num_rows, bool)
        for name in self.required:
            good &= ~np.asarray(table[name].is_null())
        for name, texts in self.literals.items():
            good &= np.asarray(pc.is_in(table[name], pa.array(texts)))
        for column in table.columns:
            if pa.types.is_floating(column.type):
                good &= np.asarray(pc.fill_null(pc.is_finite(column), True))
        return good

    def _alone(self, values: pa.BinaryArray, rows: Ints, rejected: Rejected) -> tuple[pa.Table, Ints]:
        decoder = msgspec.json.Decoder(self.row)
        good: list[dict[str, Any]] = []
        kept: list[int] = []
        for row, value in zip(rows.tolist(), values.take(pa.array(rows)).to_pylist(), strict=True):
            try:
                good.append(msgspec.structs.asdict(decoder.decode(value or b"")))
                kept.append(row)
            except msgspec.ValidationError as error:
                rejected.add(row, "bad_field", str(error))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                rejected.add(row, "bad_json", str(error))
        return pa.Table.from_pylist(good, schema=self.schema), np.array(kept, np.int64)


def _is_one_line_object(values: pa.BinaryArray, sizes: Ints) -> Bools:
    """Tell which values start with a brace, end with one and hold no line break."""
    offsets, data = binary_parts(values)
    simple = sizes >= 2
    data, offsets = data[offsets[0] : offsets[-1]], offsets - offsets[0]
    if len(data) == 0:
        return np.zeros(len(values), bool)
    simple &= data[np.minimum(offsets[:-1], len(data) - 1)] == ord("{")
    simple &= data[np.maximum(offsets[1:], 1) - 1] == ord("}")
    breaks = np.flatnonzero((data == ord("\n")) | (data == ord("\r")))
    simple[np.searchsorted(offsets, breaks, side="right") - 1] = False
    return simple


def binary_parts(values: pa.BinaryArray) -> tuple[Ints, NDArray[np.uint8]]:
    """Return the offsets, shape (n + 1,), and the bytes of a binary or string array; bytes are not copied."""
    _, offsets, data = values.buffers()
    width = np.dtype(np.int64 if values.type in {pa.large_binary(), pa.large_string()} else np.int32)
    if len(values) == 0:
        return np.zeros(1, np.int64), np.empty(0, np.uint8)
    places = np.frombuffer(offsets, width, len(values) + 1, values.offset * width.itemsize)
    return places.astype(np.int64), np.frombuffer(data, np.uint8) if data is not None else np.empty(
        0, np.uint8
    )


def json_strings(values: Iterable[str | None]) -> pa.StringArray:
    """Return each text as a JSON string, or ``null``, encoded by one call.

    >>> print(*json_strings(["it's", None]).to_pylist())
    "it's" null
    """
    lines = msgspec.json.Encoder().encode_lines(list(values))
    return pa.array(lines.decode().split("\n")[:-1], pa.string())


def json_numbers(values: NDArray[Any]) -> pa.StringArray:
    """Return each finite number as JSON, the shortest text that reads back as the same number.

    >>> json_numbers(np.array([0.1, 1e21, 3.0])).to_pylist()
    ['0.1', '1e+21', '3']
    """
    return pc.cast(pa.array(values), pa.string())


def concat_text(*parts: pa.StringArray | str) -> pa.StringArray:
    """Join columns and constants row by row."""
    return pc.binary_join_element_wise(*(pa.scalar(p) if isinstance(p, str) else p for p in parts), "")
