"""What the state store holds of a bucket: a head and a list of entries, of which it can be made again.

A micro-batch appends what it brought, so the store grows with events, not with what is alive. When the events
outweigh the cascades they were added to, the list is replaced by the cascades as they are now: the list never
holds more than twice the bucket, and each byte of the bucket is written again once per byte of events.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import NamedTuple

from udfs.cascades.bucket import Bucket, StateVersionError, events_entry, read_entry
from udfs.cascades.rules import Rules
from udfs.cascades.step import step
from udfs.cascades.table import Allocate

#: Bytes of events that are appended before the cascades are written anew, however small they are.
LEAST_LOG_BYTES = 1 << 20
#: What an entry costs the store beside its bytes.
_ENTRY_BYTES = 64
#: Rules that decide what the events of the journal did; the others act before the bucket.
_DECISIVE = ("windows_s", "terminated_s", "min_cascade_size", "allowed_delay_s", "max_events_per_window")


class RulesChangedError(Exception):
    """The checkpoint was written under rules that its state cannot be carried over from."""


class Head(NamedTuple):
    """The small part of a bucket's state, rewritten in every micro-batch; as columns of the state store."""

    name: bytes
    """Sixteen random bytes, the bucket's for the life of a checkpoint."""
    stamp: bytes
    """Sixteen random bytes, new with every change; what is kept under another stamp is another state."""
    base_bytes: int
    """Size of the cascades in the journal."""
    log_bytes: int
    """Size of the events after them."""
    rules: str
    """The decisive rules of those events, as JSON."""
    buckets: int
    """Buckets of a partition: with another number, ids would lie in others."""

    @classmethod
    def new(cls, rules: Rules, n_buckets: int) -> Head:
        """Return the head of an empty bucket."""
        return cls(os.urandom(16), os.urandom(16), 0, 0, decisive(rules), n_buckets)

    def check(self, rules: Rules, n_buckets: int) -> None:
        """Refuse settings under which the state would mean something else.

        Raises
        ------
        RulesChangedError
            The windows or the number of buckets are others than those of the checkpoint.

        """
        windows_s = json.loads(self.rules)["windows_s"]
        for name, then, now in (
            ("cascades.windows_s", windows_s, list(rules.windows_s)),
            ("spark.buckets_per_partition", self.buckets, n_buckets),
        ):
            if then != now:
                raise RulesChangedError(
                    f"the checkpoint was made with {name} {then}, the settings say {now}: "
                    "put it back, or start from an empty checkpoint"
                )


#: The columns of `Head` as Spark writes a schema.
HEAD_SQL = "name binary, stamp binary, base_bytes long, log_bytes long, rules string, buckets int"


def decisive(rules: Rules) -> str:
    """Return the rules that a journal depends on, as JSON.

    >>> decisive(Rules(allowed_delay_s=2.0))[:45]
    '{"windows_s": [600.0, 1200.0], "terminated_s"'
    """
    values = asdict(rules)
    return json.dumps({name: values[name] for name in _DECISIVE})


def rebuilt(entries: Iterable[bytes], head: Head, allocate: Allocate) -> Bucket:
    """Make a bucket from its journal, under the rules it was written with.

    Raises
    ------
    StateVersionError
        The journal is of another version.

    """
    then = json.loads(head.rules)
    old_rules = Rules(**{**then, "windows_s": tuple(then["windows_s"])})
    bucket = Bucket.empty(allocate) if head.base_bytes == 0 else None
    for data in entries:
        if bucket is None:
            bucket = Bucket.from_bytes(data, allocate)
        else:
            entry = read_entry(data)
            step(bucket, entry.events, entry.latest_s, old_rules)
    if bucket is None:
        raise StateVersionError("the state has lost its journal: start from an empty checkpoint")
    return bucket


def written(
    bucket: Bucket, head: Head, blobs: Sequence[bytes], latest_s: float, rules: Rules
) -> tuple[Head, bytes]:
    """Return the head after a micro-batch, and its entry: to append, or alone if its ``log_bytes`` are 0."""
    stamp, now = os.urandom(16), decisive(rules)
    entry = events_entry(blobs, latest_s)
    log_bytes = head.log_bytes + len(entry) + _ENTRY_BYTES
    if now == head.rules and log_bytes <= max(LEAST_LOG_BYTES, head.base_bytes):
        return head._replace(stamp=stamp, log_bytes=log_bytes), entry
    base = bucket.to_bytes(len(rules.windows_s))
    return Head(head.name, stamp, len(base), 0, now, head.buckets), base
