"""The decorators of compiled functions.

``entry_point`` is for functions that Python calls; ``compiled`` and ``allocating`` are for
functions that only compiled functions call.  With NUMBA_DISABLE_JIT=1, for debuggers and coverage,
nothing is compiled: the functions give the same results, far more slowly.
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
"""All entry points of the modules that have been imported."""


def record(fields: list[tuple[str, Any]], *, align: bool = False) -> np.dtype:
    """The dtype of records whose fields are read as attributes, in compiled code and in Python."""
    return np.dtype((np.record, np.dtype(fields, align=align)))


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function that compiled functions call and that allocates no memory.

    Its arrays are not reference-counted: in a loop over events the counting, two atomic operations
    per call, would take longer than the work.
    """
    return _inlined(function, _nrt=False)


def allocating(function: Callable[..., Any]) -> Any:
    """Compile a function that compiled functions call and that allocates arrays."""
    return _inlined(function)


def _inlined(function: Callable[..., Any], **options: Any) -> Any:
    if config.DISABLE_JIT:
        return function
    return Inlined(function, nogil=True, error_model="numpy", **options)


def entry_point(function: Callable[..., Any] | None = None, *, part: str = "loops") -> Any:
    """Compile a function that Python calls, and store its machine code on disk if possible.

    ``part`` is the part of its engine that the function belongs to, as messages to users call it.
    """
    if function is None:
        return partial(entry_point, part=part)
    if config.DISABLE_JIT:
        return np.errstate(all="ignore")(function)  # as compiled code does
    dispatcher = numba.njit(nogil=True, error_model="numpy")(function)
    dispatcher._cache = DigestCache(function, part)
    entry_points.append(dispatcher)
    return dispatcher
