"""The side of a peer that follows cascades: it counts what it has read and keeps what it sends.

Runs in the peer's own virtual environment: standard library only.
"""

from __future__ import annotations

import json
import mmap
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

#: Workers of one peer, at most.
SLOTS = 8
#: Events between two notes of the count.
STEP = 64
_COUNT = struct.Struct("<Q")


@dataclass(frozen=True)
class Run:
    """One run of a peer, on the command line of its workers too."""

    bootstrap: str
    topic: str
    ends: dict[int, int]
    """First offset of each partition that is not read."""
    folder: Path
    """Where the run's files lie: count, state, checkpoints, outputs."""
    keep_outputs: bool

    def to_json(self) -> str:
        """Return it as an argument for workers."""
        return json.dumps({**vars(self), "folder": str(self.folder)})

    @classmethod
    def from_json(cls, text: str) -> Run:
        """Read what :meth:`to_json` wrote."""
        known = json.loads(text)
        ends = {int(partition): end for partition, end in known.pop("ends").items()}
        return cls(**known | {"ends": ends, "folder": Path(known["folder"])})

    @property
    def count_file(self) -> Path:
        """Where workers count."""
        return self.folder / "count"

    def output_file(self, slot: int) -> Path | None:
        """Where a worker keeps what it sends; None where it is dropped."""
        return self.folder / f"outputs-{slot}" if self.keep_outputs else None


class Progress:
    """Events read by one worker, told to the measuring process through a shared file."""

    def __init__(self, path: Path, slot: int) -> None:
        with path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), SLOTS * _COUNT.size)
        self._place = slot * _COUNT.size
        self.count = 0

    def add(self, events: int = 1) -> None:
        """Count events; every 64th time at least the count is told."""
        before = self.count
        self.count += events
        if before // STEP != self.count // STEP:
            self.tell()

    def tell(self) -> None:
        """Let the count be seen."""
        _COUNT.pack_into(self._shared, self._place, self.count)


def make_shared(path: Path) -> None:
    """Make the file that workers count in."""
    path.write_bytes(bytes(SLOTS * _COUNT.size))


def counted(path: Path) -> int:
    """Return the events all workers have read."""
    return sum(count for (count,) in _COUNT.iter_unpack(path.read_bytes()))


class Sent:
    """What one worker sends: JSON values, kept in a file where outputs are compared, else dropped."""

    def __init__(self, path: Path | None) -> None:
        self._file = path.open("ab") if path else None

    def send(self, values: Iterable[bytes]) -> None:
        """Take JSON values."""
        if self._file:
            for value in values:
                self._file.write(value + b"\n")

    def close(self) -> None:
        """Write out what is buffered."""
        if self._file:
            self._file.close()
