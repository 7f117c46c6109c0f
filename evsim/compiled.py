"""The decorators for compiled functions: what Python calls, and what such functions call."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numba

from evsim.compiled_cache import DigestCache
from evsim.inlined import Inlined

entry_points: list[Any] = []
"""Every function that Python calls, of the modules that have been imported."""


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function that other compiled functions call, and that allocates nothing.

    It counts no references to the arrays it is given: in a loop over events the counting, two
    atomic operations each time, would take longer than the work.
    """
    return Inlined(function, nogil=True, error_model="numpy", _nrt=False)


def allocating(function: Callable[..., Any]) -> Any:
    """Compile a function that other compiled functions call, and that allocates arrays."""
    return Inlined(function, nogil=True, error_model="numpy")


def entry_point(function: Callable[..., Any] | None = None, *, part: str = "loops") -> Any:
    """Compile a function that Python calls; its machine code is kept on disk where possible.

    ``part`` is what of its engine the function belongs to, for users to read.
    """
    if function is None:
        return partial(entry_point, part=part)
    dispatcher = numba.njit(nogil=True, error_model="numpy")(function)
    dispatcher._cache = DigestCache(function, part)
    entry_points.append(dispatcher)
    return dispatcher
