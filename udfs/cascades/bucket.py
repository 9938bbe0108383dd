"""What a bucket remembers between micro-batches, and its bytes in the state store."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import pyarrow as pa

#: First byte of a state; a reader refuses any other.
STATE_VERSION = 1
_HEADER = struct.Struct("<BdQ")

#: Events between the Kafka reader and the bucket. ``before_s`` is the largest event time that the micro-batch
#: held before this event in its partition (-inf for its first).
EVENTS = pa.schema(
    [
        ("offset", pa.int64()),
        ("before_s", pa.float64()),
        ("event_s", pa.float64()),
        ("mark", pa.float64()),
        ("kind", pa.int8()),
        ("cid", pa.binary()),
        ("text", pa.string()),
    ]
)
#: Events that the clock has not passed: at most those of the last ``allowed_delay_s``.
PENDING = EVENTS.remove(EVENTS.get_field_index("before_s"))
#: Open cascades. Each leaves when its partition's clock is ``terminated_s`` past its last event; history and
#: text leave when the last window has closed, and history holds at most ``max_events_per_window`` events.
CASCADES = pa.schema(
    [
        ("cid", pa.binary()),
        ("text", pa.string()),
        ("root_s", pa.float64()),
        ("last_s", pa.float64()),
        ("size", pa.int64()),
        ("closed", pa.int8()),
        ("sent", pa.int64()),
        ("history_s", pa.list_(pa.float64())),
        ("history_marks", pa.list_(pa.float64())),
    ]
)


class StateVersionError(Exception):
    """The state was written by another version of the collector."""


@dataclass(frozen=True)
class Bucket:
    """A share of one Kafka partition's cascades, and that partition's latest event time."""

    latest_s: float
    cascades: pa.RecordBatch
    pending: pa.RecordBatch

    @classmethod
    def empty(cls) -> Bucket:
        """Return the bucket of a partition of which nothing was read."""
        return cls(float("-inf"), empty_batch(CASCADES), empty_batch(PENDING))

    def to_bytes(self) -> bytes:
        """Return version, latest event time, then cascades and pending events as Arrow streams."""
        cascades, pending = to_ipc(self.cascades), to_ipc(self.pending)
        return b"".join([_HEADER.pack(STATE_VERSION, self.latest_s, len(cascades)), cascades, pending])

    @classmethod
    def from_bytes(cls, data: bytes) -> Bucket:
        """Read what :meth:`to_bytes` wrote.

        Raises
        ------
        StateVersionError
            The first byte is not this version's.

        """
        if data[0] != STATE_VERSION:
            raise StateVersionError(
                f"the checkpoint holds state of version {data[0]}, this collector reads {STATE_VERSION}: "
                "run the version that wrote it, or start from an empty checkpoint"
            )
        _, latest_s, size = _HEADER.unpack_from(data)
        view = memoryview(data)[_HEADER.size :]
        return cls(latest_s, from_ipc(view[:size], CASCADES), from_ipc(view[size:], PENDING))


def empty_batch(schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch of no rows."""
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)


def to_ipc(batch: pa.RecordBatch) -> bytes:
    """Return one batch as an Arrow stream; nothing for no rows."""
    if batch.num_rows == 0:
        return b""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(memoryview(sink.getvalue()))


def from_ipc(data: bytes | memoryview, schema: pa.Schema) -> pa.RecordBatch:
    """Read one batch of ``schema``."""
    if len(data) == 0:
        return empty_batch(schema)
    with pa.ipc.open_stream(pa.py_buffer(data)) as reader:
        if reader.schema != schema:
            raise StateVersionError(f"state with the columns {reader.schema.names}, {schema.names} expected")
        return reader.read_next_batch()


def one_batch(schema: pa.Schema, batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """Join batches of one schema."""
    full = [batch for batch in batches if batch.num_rows]
    if not full:
        return empty_batch(schema)
    return full[0] if len(full) == 1 else pa.concat_batches(full)
