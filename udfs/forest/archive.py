"""Named arrays as bytes: npz files of plain numbers, read without trust."""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from udfs.forest.errors import ModelError

#: Of the file and of what it unpacks to. 100 trees of 3,000 samples unpack to 3 MB; 500 trees to 15 MB.
MAX_BYTES = 64 * 1024 * 1024
#: The only header that is understood (npy format 1.0, one dimension, numbers). It is matched, not evaluated.
_HEADER = re.compile(
    rb"\{'descr': '([<|][a-z][0-9])', 'fortran_order': False, 'shape': \(([0-9]{1,9}),\), \} *\n"
)
_MAGIC = b"\x93NUMPY\x01\x00"

Arrays = dict[str, NDArray[Any]]
#: Name of each array → its dtype as npy files spell it ("<f8", "<i4").
Layout = Mapping[str, str]


def pack(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return one-dimensional arrays of numbers as a compressed npz file; same arrays, same bytes."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **dict(arrays))
    return buffer.getvalue()


def unpack(data: bytes, layouts: Sequence[Layout]) -> Arrays:
    """Read the arrays back: exactly those of one of ``layouts``, by name and dtype, all one-dimensional.

    Raises ModelError for anything else: bytes that are no archive, arrays that are missing, foreign, pickled,
    of another dtype or shape, or too large. Nothing is allocated on the word of a header.
    """
    if len(data) > MAX_BYTES:
        raise ModelError(f"the model's file has {len(data)} bytes, more than {MAX_BYTES}")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = _members(archive)
            layout = next((known for known in layouts if set(known) == set(members)), None)
            if layout is None:
                raise ModelError(f"the model's file holds foreign or lacks arrays: {sorted(members)}")
            return {name: _array(name, archive.read(members[name]), layout[name]) for name in layout}
    except ModelError:
        raise
    except (
        zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, OverflowError,
        NotImplementedError, RuntimeError, LookupError,
    ) as error:  # fmt: skip
        raise ModelError(f"the model's file is no readable npz archive: {error}") from error


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    infos = archive.infolist()
    if sum(info.file_size for info in infos) > MAX_BYTES:
        raise ModelError(f"the model's file unpacks to more than {MAX_BYTES} bytes")
    if any(info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for info in infos):
        raise ModelError("the model's file is compressed in a foreign way")
    members = {info.filename.removesuffix(".npy"): info for info in infos}
    if len(members) != len(infos):
        raise ModelError("the model's file holds an array twice")
    return members


def _array(name: str, raw: bytes, dtype: str) -> NDArray[Any]:
    start = len(_MAGIC) + 2
    if not raw.startswith(_MAGIC) or len(raw) < start:
        raise ModelError(f"array {name} of the model is not in npy format 1.0")
    end = start + int.from_bytes(raw[start - 2 : start], "little")
    header = _HEADER.fullmatch(raw[start:end])
    if header is None or header[1].decode() != dtype:
        raise ModelError(
            f"array {name} of the model is not one-dimensional of type {dtype}: {raw[start:end]!r:.120}"
        )
    if len(raw) - end != int(header[2]) * np.dtype(dtype).itemsize:
        raise ModelError(
            f"array {name} of the model says {int(header[2])} values but has {len(raw) - end} bytes"
        )
    return np.frombuffer(raw, dtype=dtype, offset=end)
