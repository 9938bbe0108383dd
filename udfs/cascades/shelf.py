"""Buckets between micro-batches: files mapped to memory that all Python workers of a machine share.

A file saves making the bucket again from its journal; it decides nothing. It is used only when its stamp is
the one that the state store names, so a task that failed, ran twice or moved to another machine finds no
wrong state but none. There is one file a bucket, and one of the events that wait, in the application's own
folder of temporary files, which Spark removes when the application ends.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from udfs.cascades.bucket import PENDING, Bucket
from udfs.cascades.table import DIRTY, STAMP_HIGH, STAMP_LOW, in_memory, opened

#: Key of the stamp among the metadata of a file of waiting events.
_STAMP = b"stamp"


def local_folder() -> Path:
    """Return the folder of this machine's shelf; Spark tells its workers where temporary files go."""
    alone = os.path.join(tempfile.gettempdir(), f"tweetoscope-{os.getuid()}")
    return Path(os.environ.get("SPARK_LOCAL_DIRS", alone).split(",")[0]) / "buckets"


@contextmanager
def place_of_bucket(folder: Path, name: bytes) -> Iterator[Place]:
    """Hold a bucket's place on the shelf; private memory if another task holds it or the disk fails."""
    path = folder / name.hex()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = path.with_suffix(".lock").open("w")
    except OSError:
        yield Place(None)
        return
    with lock:
        yield Place(path if _locked(lock.fileno()) else None)


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@dataclass(frozen=True)
class Place:
    """Where a bucket's files are; nowhere when another task has them or the disk fails."""

    path: Path | None

    def take(self, stamp: bytes) -> Bucket | None:
        """Return the bucket if it is the state of this stamp."""
        if self.path is None:
            return None
        try:
            table = opened(_mapped(self.path.with_suffix(".table")))
            if (
                table is None
                or table.header[DIRTY]
                or table.header[STAMP_HIGH : STAMP_LOW + 1].tobytes() != stamp
            ):
                return None
            pending = _read(self.path.with_suffix(".pending"), stamp)
        except (OSError, ValueError, pa.ArrowException):
            return None
        table.header[DIRTY] = 1
        return Bucket(table, pending, self.allocate)

    def allocate(self, size: int) -> Any:
        """Return a buffer of zeros that other workers will see; the one before stays until it is let go."""
        if self.path is None:
            return in_memory(size)
        new = self.path.with_suffix(".new")
        try:
            with new.open("wb") as file:
                # Room that a mapped file only promises would kill the process when the disk is full.
                os.posix_fallocate(file.fileno(), 0, size)
            buffer = _mapped(new)
            new.replace(self.path.with_suffix(".table"))
        except OSError:
            new.unlink(missing_ok=True)
            return in_memory(size)
        return buffer

    def put(self, bucket: Bucket, stamp: bytes) -> None:
        """Leave a bucket for the next micro-batch under its new stamp."""
        if self.path is None:
            return
        try:
            _write(self.path.with_suffix(".pending"), bucket.pending, stamp)
        except OSError:
            return
        header = bucket.table.header
        header[STAMP_HIGH : STAMP_LOW + 1] = np.frombuffer(stamp, np.int64)
        header[DIRTY] = 0


def _mapped(path: Path) -> mmap.mmap:
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), 0)


def _write(path: Path, pending: pa.RecordBatch, stamp: bytes) -> None:
    """Write events, also if there are none, so that a file that is missing is not taken for no events.

    The file before may still be mapped, so it is removed, not written over.
    """
    path.unlink(missing_ok=True)
    stamped = pending.replace_schema_metadata({_STAMP: stamp})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, stamped.schema) as out:
        out.write_batch(stamped)


def _read(path: Path, stamp: bytes) -> pa.RecordBatch:
    """Read the events of this stamp.

    Raises
    ------
    OSError, ValueError or pa.ArrowException
        The file is missing, of another stamp, or not ours.

    """
    with pa.memory_map(str(path)) as file:
        reader = pa.ipc.open_file(file)
        if reader.schema != PENDING or (reader.schema.metadata or {}).get(_STAMP) != stamp:
            raise ValueError(f"{path.name} is of another state")
        return reader.get_batch(0).replace_schema_metadata(None)
