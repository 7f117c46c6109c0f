"""The decorator for compiled functions: numba, cached on disk, safe against stale caches.

numba decides by the file of a function whether its cached machine code is current, and does
not see changes in the functions it calls from other files.  Here the names of the cache files also
hold a digest of all of evsim's compiled source, so no kernel outlives a change anywhere in it.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache


@cache
def source_digest(own: Path) -> str:
    """Digest of every source file that holds compiled functions, those of a folder included."""
    root = Path(__file__).parent
    folders = {root / "engines" / "kernels", own}
    files = [Path(__file__), root / "lif.py"]
    for folder in sorted(folders):
        files += sorted(folder.glob("*.py"))
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


class _DigestCacheImpl(CompileResultCacheImpl):
    """numba's cache files, with the digest of all compiled source in their names."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._digest = source_digest(Path(function.__code__.co_filename).parent)
        super().__init__(function)

    @property
    def filename_base(self) -> str:
        return f"{super().filename_base}-{self._digest[:16]}"


class _DigestCache(FunctionCache):
    _impl_class = _DigestCacheImpl


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function that other compiled functions call, and that allocates nothing.

    It counts no references to the arrays it is given: in a loop over events the counting, two
    atomic operations each time, would take longer than the work.
    """
    return numba.njit(nogil=True, error_model="numpy", forceinline=True, _nrt=False)(function)


def allocating(function: Callable[..., Any]) -> Any:
    """Compile a function that other compiled functions call, and that allocates arrays."""
    return numba.njit(nogil=True, error_model="numpy", forceinline=True)(function)


def entry_point(function: Callable[..., Any]) -> Any:
    """Compile a function that Python calls; its machine code is kept on disk where possible."""
    dispatcher = numba.njit(nogil=True, error_model="numpy")(function)
    # numba raises this where neither the package's folder nor the user's can be written.
    with suppress(RuntimeError):
        dispatcher._cache = _DigestCache(function)
    return dispatcher


_announced: set[str] = set()


def announce_compilation(dispatcher: Any, what: str) -> None:
    """Say once on stderr that the next call will compile, if nothing is cached for it."""
    if what in _announced or dispatcher.signatures:
        return
    _announced.add(what)
    if not _is_cached(dispatcher):
        print(
            f"evsim: compiling the {what} for this machine, once; this takes some seconds",
            file=sys.stderr,
        )


def _is_cached(dispatcher: Any) -> bool:
    cache = dispatcher._cache
    return isinstance(cache, _DigestCache) and bool(cache._cache_file._load_index())
