"""The folder of published models: one folder per window, in it one per version."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from pydantic import ValidationError

from jobs.runtime.manifest import COLD_VERSION, VERSION_PATTERN, Manifest, library_versions
from udfs.forest.archive import MAX_BYTES
from udfs.forest.errors import ModelError
from udfs.forest.features import FEATURES
from udfs.forest.train import TreeOptions
from udfs.forest.window_model import FORMAT, WindowModel

logger = logging.getLogger(__name__)

MODEL_FILE, MANIFEST_FILE = "model.npz", "manifest.json"
#: A manifest has about 1.5 KB.
MAX_MANIFEST_BYTES = 64 * 1024
#: Folders that begin so are being written or removed; readers pass over them.
_UNFINISHED = ".unfinished-"
#: What a crash left behind is removed after this time; no publisher needs nearly as long.
_ABANDONED_S = 3600.0
#: A worker scores a few windows with the current version, and for a moment with the one before.
_CACHED_MODELS = 16


class Registry:
    """Models under ``folder``, the newest ``keep`` versions of each window.

    One process publishes for a window at a time; any number read meanwhile. A version appears whole, by one
    rename, or not at all, and is never changed.
    """

    def __init__(self, folder: Path, keep: int = 20) -> None:
        """Raises ValueError when ``keep`` is below 1; creates nothing yet."""
        if keep < 1:
            raise ValueError(f"keep is {keep}, must be at least 1")
        self.folder = folder
        self.keep = keep
        self._reported: set[tuple[int, str]] = set()

    def publish(
        self,
        window_s: int,
        model: WindowModel,
        *,
        options: TreeOptions | None = None,
        scores: Mapping[str, float] | None = None,
        created_at_s: float | None = None,
    ) -> Manifest:
        """Store a model as the next version of its window and return its manifest.

        The newest one's bytes again make no new version: its manifest is returned.

        ``options`` are those the trees were grown with, ``scores`` what the manifest tells of them,
        ``created_at_s`` Unix time (now, unless given). Raises ValueError for a model of another window or one
        that is too large to be read back, OSError where the folder cannot be written.
        """
        data = model.to_bytes()
        if model.window_s != window_s or len(data) > MAX_BYTES:
            raise ValueError(
                f"a model of {model.window_s} s and {len(data)} bytes is no model for {window_s} s"
            )
        window = self._window(window_s)
        window.mkdir(parents=True, exist_ok=True)
        self._sweep(window)
        known = self.versions(window_s)
        parent = self.newest(window_s)
        digest = hashlib.sha256(data).hexdigest()
        if parent and parent.sha256 == digest:
            return parent
        manifest = Manifest(
            format=FORMAT,
            window_s=window_s,
            version=f"{_sequence(known[-1]) + 1 if known else 1}-{digest[:8]}",
            parent=parent.version if parent else COLD_VERSION,
            created_at_s=time.time() if created_at_s is None else created_at_s,
            features=FEATURES,
            n_samples=model.n_samples,
            options=options or TreeOptions(),
            scores=dict(scores or {}),
            libraries=library_versions(),
            sha256=digest,
            size_bytes=len(data),
        )
        unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=window))
        unfinished.chmod(0o755)
        _write(unfinished / MODEL_FILE, data)
        _write(unfinished / MANIFEST_FILE, manifest.model_dump_json(indent=1).encode())
        _sync(unfinished)
        os.rename(unfinished, window / manifest.version)
        _sync(window)
        for version in [*known, manifest.version][: -self.keep]:
            _remove(window, version)
        return manifest

    def versions(self, window_s: int) -> list[str]:
        """Return the published versions of a window, oldest first, sound or not."""
        window = self._window(window_s)
        if not window.is_dir():
            return []
        names = [
            name
            for name in os.listdir(window)
            if name != COLD_VERSION and re.fullmatch(VERSION_PATTERN, name)
        ]
        return sorted(names, key=lambda name: (_sequence(name), name))

    def manifest(self, window_s: int, version: str) -> Manifest:
        """Read the manifest of a version. Raises ModelError where it is absent, damaged or another's."""
        return _manifest(self._window(window_s), window_s, version)

    def load(self, window_s: int, version: str) -> WindowModel:
        """Return the model of a version, checked against its manifest; version "0" is the cold model.

        The last few are kept in memory. Raises ModelError for whatever is not as published.
        """
        if version == COLD_VERSION:
            return WindowModel.cold(window_s)
        return _load(self._window(window_s), window_s, version)

    def newest(self, window_s: int) -> Manifest | None:
        """Return the manifest of the newest version that can be loaded; None means the cold model.

        A damaged one is passed over, with a warning the first time.
        """
        for version in reversed(self.versions(window_s)):
            try:
                self.load(window_s, version)
                return self.manifest(window_s, version)
            except ModelError as error:
                if (window_s, version) not in self._reported:
                    self._reported.add((window_s, version))
                    logger.warning("passed over a damaged model: %s", error, extra={"window_s": window_s})
        return None

    def _window(self, window_s: int) -> Path:
        return self.folder / f"window-{int(window_s)}s"

    @staticmethod
    def _sweep(window: Path) -> None:
        """Remove what crashes left behind."""
        for folder in window.glob(f"{_UNFINISHED}*"):
            if time.time() - folder.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(folder, ignore_errors=True)


@lru_cache(maxsize=_CACHED_MODELS)
def _load(window: Path, window_s: int, version: str) -> WindowModel:
    """A version's name holds its hash and its content never changes, so what was loaded once stays right."""
    manifest = _manifest(window, window_s, version)
    if manifest.format != FORMAT:
        raise ModelError(f"model {version} has the format {manifest.format}, this program reads {FORMAT}")
    if manifest.features != FEATURES:
        raise ModelError(f"model {version} was trained on other features")
    data = _read(window / version / MODEL_FILE, MAX_BYTES)
    if len(data) != manifest.size_bytes or hashlib.sha256(data).hexdigest() != manifest.sha256:
        raise ModelError(
            f"the file of model {version} is not the one its manifest describes (sha256 differs)"
        )
    model = WindowModel.from_bytes(data)
    if (model.window_s, model.n_samples) != (window_s, manifest.n_samples):
        raise ModelError(f"model {version} is not the one its manifest describes (window or samples differ)")
    return model


def _manifest(window: Path, window_s: int, version: str) -> Manifest:
    if version == COLD_VERSION or not re.fullmatch(VERSION_PATTERN, version):
        raise ModelError(f"{version!r:.60} is no published version (<sequence>-<8 hexadecimal digits>)")
    data = _read(window / version / MANIFEST_FILE, MAX_MANIFEST_BYTES)
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        raise ModelError(f"the manifest of model {version} is damaged: {error}") from error
    if (manifest.window_s, manifest.version) != (window_s, version):
        raise ModelError(f"the manifest of model {version} is of {manifest.version}, {manifest.window_s} s")
    return manifest


def _sequence(version: str) -> int:
    return int(version.partition("-")[0])


def _read(path: Path, limit: int) -> bytes:
    """Return a file's bytes, one more than ``limit`` at most being read."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > limit:
        raise ModelError(f"{path} has more than {limit} bytes")
    return data


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Bring a folder's entries to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(window: Path, version: str) -> None:
    """Remove a version: first out of the readers' sight by one rename, then from the disk."""
    hidden = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=window))
    os.rename(window / version, hidden / version)
    shutil.rmtree(hidden, ignore_errors=True)
