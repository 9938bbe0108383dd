"""Compilation by Numba, with the types kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """Compile to machine code at the first call (nopython, cached on disk, strict floating point).

    With ``error_model="numpy"`` a division by zero gives infinity, which the callers flag, instead of
    raising, and loops can be vectorised. Not parallel: Spark runs one worker a core.
    """
    return cast(Function, numba.njit(cache=True, error_model="numpy")(function))
