"""Where machine code is kept from one process to the next: numba's cache, made safe.

numba decides by the file of a function whether its machine code is current, and does not see
changes in the functions it calls from other files.  Here the names of the cache files also hold a
digest of all of evsim's compiled source, so no kernel outlives a change anywhere in it.  Files
of other digests are removed when new ones are written.
"""

from __future__ import annotations

import hashlib
import re
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import __version__ as numba_version
from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    IndexDataCacheFile,
    NullCache,
)

_FILE = re.compile(r"-(?P<digest>[0-9a-f]{16})\.(nbi|\d+\.nbc)")
"""The end of the name of a cache file with a digest; names that numba gives have none."""

_STARTED = time.time()
"""When this process took the digest, or before."""

ENGINES = {"evsim": "exact engine", "evsim_gpu": "grid engine"}
"""Whose loops are in which package."""


@cache
def source_digest(own: Path) -> str:
    """Digest of every source file that holds compiled functions, those of a folder included."""
    root = Path(__file__).parent
    folders = {root / "engines" / "kernels", own}
    files = [root / name for name in ("compiled.py", "compiled_cache.py", "inlined.py", "lif.py")]
    for folder in sorted(folders):
        files += sorted(folder.glob("*.py"))
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


class _DigestCacheImpl(CompileResultCacheImpl):
    """numba's cache files, with the digest of all compiled source in their names."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.digest = source_digest(Path(function.__code__.co_filename).parent)
        super().__init__(function)

    @property
    def filename_base(self) -> str:
        return f"{super().filename_base}-{self.digest}"


class _CacheFiles(IndexDataCacheFile):
    """The files of a function, safe to write from several processes at once.

    numba numbers the files of a function's signatures in the order in which they come, and
    so two processes may give one name to the code of two signatures.
    """

    def save(self, key: Any, data: Any) -> None:
        content = hashlib.sha256(repr((numba_version, key)).encode()).digest()
        name = self._data_name(int.from_bytes(content[:6], "big"))
        self._save_data(name, data)
        self._save_index({**self._load_index(), key: name})


class DigestCache(FunctionCache):
    """The cache of a function; says on stderr, once for each engine, when it has to compile."""

    _impl_class = _DigestCacheImpl

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._what = engine_of(function)
        self.digest: str = self._impl.digest
        base, stamp = self._impl.filename_base, self._impl.locator.get_source_stamp()
        self._cache_file = _CacheFiles(self._cache_path, base, stamp)

    def load_overload(self, signature: Any, context: Any) -> Any:
        found = super().load_overload(signature, context)
        if found is None:
            tell_once(f"compiling the {self._what} for this machine, once; this takes some seconds")
        return found

    def save_overload(self, signature: Any, result: Any) -> None:
        try:
            super().save_overload(signature, result)
        except OSError as error:
            tell_once(f"the compiled {self._what} is not kept for the next time: {error}")
        else:
            remove_outdated(Path(self._cache_path), self.digest)

    def files(self) -> list[Path]:
        """The files there are now."""
        return list(Path(self._cache_path).glob(f"{self._impl.filename_base}.*"))


class NoCache(NullCache):
    """In place of a cache where no folder can be written."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._what = engine_of(function)

    def load_overload(self, signature: Any, context: Any) -> None:
        tell_once(
            f"compiling the {self._what}, which takes some seconds each time because no folder to "
            "keep it in can be written; set NUMBA_CACHE_DIR to one"
        )

    def files(self) -> list[Path]:
        """None."""
        return []


def engine_of(function: Callable[..., Any]) -> str:
    """What a function is a part of, to be told."""
    return ENGINES.get(function.__module__.partition(".")[0], f"function {function.__name__}")


def remove_outdated(folder: Path, digest: str) -> None:
    """Remove cache files of evsim's functions whose source has changed.

    A folder has the cache of one source folder.  Files younger than this process are left, they
    may be those of an evsim that was installed after it began; and what another process has
    removed, or has open on a system that keeps such files, is passed over.
    """
    for file in folder.iterdir():
        found = _FILE.search(file.name)
        if found is None or found["digest"] == digest or not file.name.endswith(found[0]):
            continue
        try:
            if file.stat().st_mtime < _STARTED:
                file.unlink()
        except OSError:
            continue


_told: set[str] = set()


def tell_once(message: str) -> None:
    """Say something on stderr, unless it has been said."""
    if message not in _told:
        _told.add(message)
        print(f"evsim: {message}", file=sys.stderr)
