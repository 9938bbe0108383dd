"""What is told of a published model: the value on the topic ``models``, and a file beside the model."""

from __future__ import annotations

import platform
from importlib.metadata import version as installed_version
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from udfs.forest.train import TreeOptions

#: The model before any sample; it has neither file nor manifest.
COLD_VERSION = "0"
#: A version is the name of a folder: digits, a dash, hexadecimal digits, and nothing that leads elsewhere.
VERSION_PATTERN = r"^(0|[1-9][0-9]{0,8}-[0-9a-f]{8})$"
#: Whose versions may change what a model answers, or whether it can be read.
_LIBRARIES = ("numpy", "scikit-learn", "numba", "tweetoscope")

Version = Annotated[str, Field(pattern=VERSION_PATTERN)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Manifest(BaseModel):
    """A published model, without its bytes. Raises pydantic's ValidationError for a field that cannot be."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Annotated[int, Field(ge=1)]
    """Of the model's file."""
    window_s: Annotated[int, Field(ge=1)]
    version: Version
    """``<sequence>-<first 8 of sha256>``."""
    parent: Version | None
    """The newest version when this one was published; "0" for the cold model."""
    created_at_s: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Unix time."""
    features: Annotated[tuple[str, ...], Field(min_length=1, max_length=256)]
    n_samples: Annotated[int, Field(ge=0)]
    options: TreeOptions
    scores: Annotated[dict[str, Finite], Field(max_length=64)]
    """Of the predictions that were made before this model: see ``udfs.forest.evaluate.score``."""
    libraries: Annotated[dict[str, str], Field(max_length=64)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Of the model's file."""
    size_bytes: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _version_names_the_file(self) -> Self:
        if self.version.partition("-")[2] != self.sha256[:8]:
            raise ValueError(f"version {self.version} does not end with the first 8 digits of sha256")
        return self


def library_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that make a model."""
    return {"python": platform.python_version(), **{name: installed_version(name) for name in _LIBRARIES}}
