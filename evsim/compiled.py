"""The decorators for compiled functions: what Python calls, and what such functions call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

from evsim.compiled_cache import DigestCache, NoCache
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


def entry_point(function: Callable[..., Any]) -> Any:
    """Compile a function that Python calls; its machine code is kept on disk where possible."""
    dispatcher = numba.njit(nogil=True, error_model="numpy")(function)
    try:
        dispatcher._cache = DigestCache(function)
    except RuntimeError:  # numba says so where neither the package's folder nor the user's can be
        dispatcher._cache = NoCache(function)  # written
    entry_points.append(dispatcher)
    return dispatcher
