"""The decorators for compiled functions: what Python calls, and what such functions call.

With NUMBA_DISABLE_JIT=1, for debuggers and coverage, the functions are Python's own; they
compute the same, far more slowly.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numba
import numpy as np
from numba.core import config

from evsim._compile.cache import DigestCache
from evsim._compile.inlining import Inlined

entry_points: list[Any] = []
"""Every function that Python calls, of the modules that have been imported."""


def record(fields: list[tuple[str, Any]], *, align: bool = False) -> np.dtype:
    """The type of an array of records whose fields are attributes, compiled or not."""
    return np.dtype((np.record, np.dtype(fields, align=align)))


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function that other compiled functions call, and that allocates nothing.

    It counts no references to the arrays it is given: in a loop over events the counting, two
    atomic operations each time, would take longer than the work.
    """
    return _inlined(function, _nrt=False)


def allocating(function: Callable[..., Any]) -> Any:
    """Compile a function that other compiled functions call, and that allocates arrays."""
    return _inlined(function)


def _inlined(function: Callable[..., Any], **options: Any) -> Any:
    if config.DISABLE_JIT:
        return function
    return Inlined(function, nogil=True, error_model="numpy", **options)


def entry_point(function: Callable[..., Any] | None = None, *, part: str = "loops") -> Any:
    """Compile a function that Python calls; its machine code is kept on disk where possible.

    ``part`` is what of its engine the function belongs to, for users to read.
    """
    if function is None:
        return partial(entry_point, part=part)
    if config.DISABLE_JIT:
        return np.errstate(all="ignore")(function)  # as compiled code does
    dispatcher = numba.njit(nogil=True, error_model="numpy")(function)
    dispatcher._cache = DigestCache(function, part)
    entry_points.append(dispatcher)
    return dispatcher
