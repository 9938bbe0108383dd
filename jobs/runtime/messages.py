"""Values of the topics that plain processes write or read, typed and encoded by msgspec."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta, field

#: The version of every value's schema, as a header of its record.
SCHEMA_HEADER: list[tuple[str, str | bytes | None]] = [("schema", b"1")]

Id: TypeAlias = Annotated[str, Meta(min_length=1, max_length=512)]
Amount: TypeAlias = Annotated[float, Meta(ge=0)]
Window: TypeAlias = Annotated[float, Meta(gt=0, le=30 * 86400)]


class Tweet(msgspec.Struct, frozen=True, gc=False):
    """One tweet or retweet of ``tweets``."""

    type: Literal["tweet", "retweet"]
    msg: str | None
    """Text of a root; None else."""
    t: float
    """Event time (s)."""
    m: float
    """Followers of the author."""
    source: str
    info: str


class Tick(msgspec.Struct, frozen=True, tag="tick"):
    """Nothing happened, but time passed; goes to every partition of ``tweets``."""

    t: float


class Alert(msgspec.Struct, frozen=True):
    """One prediction of ``alerts``."""

    type: Literal["alert"]
    cid: Id
    window_s: Window = field(name="T_obs")
    n_tot: Amount
    """Predicted popularity with the least expected relative error."""
    n_obs: Amount
    model_version: Annotated[str, Meta(max_length=200)]
    msg: str | None = None
    n_tot_median: Amount | None = None
    """Median of the predicted popularity, what a threshold is held against."""
    interval: tuple[float | None, float | None] = (None, None)
    calibrated: bool = False
    n_tot_hawkes: Amount | None = None
    root_s: float | None = field(name="t_root", default=None)

    @property
    def identity(self) -> tuple[str, float, float | None]:
        """What a repeat has in common with the first."""
        return self.cid, self.window_s, self.root_s

    @property
    def popularity(self) -> float:
        """What decides whether people are shown it."""
        return self.n_tot if self.n_tot_median is None else self.n_tot_median


class Stat(msgspec.Struct, frozen=True):
    """The errors of one prediction, of ``stats``; None where a method gave no answer."""

    type: Literal["stat"]
    cid: Id
    window_s: Window = field(name="T_obs")
    error: Amount | None = field(name="ARE")
    hawkes_error: Amount | None = field(name="ARE_hawkes", default=None)
    kn_error: Amount | None = field(name="ARE_kn", default=None)
    root_s: float | None = field(name="t_root", default=None)

    @property
    def identity(self) -> tuple[str, float, float | None]:
        """What a repeat has in common with the first."""
        return self.cid, self.window_s, self.root_s
