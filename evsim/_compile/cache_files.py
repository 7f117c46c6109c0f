"""Files that outlive a process: which folder they are in, whether they are whole and current.

The name of a file holds a digest of all source of evsim's packages.  Its head says how long the
rest is and what its digest is, so that a damaged file is as if it were not there.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import struct
import tempfile
import time
import uuid
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from numba.core import config
from numba.misc.appdirs import AppDirs

_NAME = re.compile(r"-(?P<digest>[0-9a-f]{16})\.(nbi|[0-9a-f]+\.nbc)(\.tmp\.[0-9a-f]+)?")
"""The end of the name of a file with a digest; numba's own names have none."""

_HEAD = struct.Struct("<8sQ32s")
"""What a file begins with: its format, the length of the rest in bytes, and its SHA-256."""

_FORMAT = b"evsim 1\n"

_STARTED = time.time()
"""When this process took the first digest, or before."""


# -- source -----------------------------------------------------------------------------------


def source_digest(own: Path) -> str:
    """Digest of every source file of evsim's packages, and of those in a folder of another.

    Where there is no source but bytecode, which is what Python runs then, it is that of the
    bytecode; in an archive, that of the archive.  OSError if a file cannot be read.
    """
    packages = _packages()
    files = [file for package in packages for file in _files_of(package, package.rglob("*.py*"))]
    if not any(package == own or package in own.parents for package in packages):
        files += _files_of(own, own.glob("*.py*"))
    digest = hashlib.sha256()
    for file in files:
        content = file.read_bytes()
        digest.update(f"{file.parent.name}/{file.name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def _packages() -> list[Path]:
    """The folders of evsim's packages."""
    grid = find_spec("evsim_gpu")
    others = (grid.submodule_search_locations or ()) if grid is not None else ()
    return [Path(folder).absolute() for folder in (Path(__file__).parents[1], *others)]


def _files_of(folder: Path, found: Iterator[Path]) -> list[Path]:
    """What Python may import of the files found in a folder, or the archive that it is in."""
    if not folder.is_dir():
        return [next(parent for parent in folder.parents if parent.exists())]
    return sorted(
        file
        for file in found
        # An editor's hidden files are no modules, and may be links to nowhere.
        if file.suffix in (".py", ".pyc")
        and file.parent.name != "__pycache__"
        and not file.name.startswith(".")
    )


# -- folders ----------------------------------------------------------------------------------


def folders_for(source: Path) -> Iterator[Path]:
    """Folders that may hold files for a folder of source; new files are for the last of them.

    None of the others can be written.  The folder beside the source is one of them even where
    another is named, for it may have been filled before it became read-only.
    """
    own = f"{source.name}_{hashlib.sha1(str(source).encode()).hexdigest()}"
    beside = source / "__pycache__" if source.is_dir() else None
    users = Path(AppDirs(appname="numba", appauthor=False).user_cache_dir)
    if beside is not None and not can_be_written(beside):
        yield beside
    if config.CACHE_DIR:
        named = Path(config.CACHE_DIR).absolute() / own
        yield named
        if can_be_written(named):
            return
    if beside is not None and can_be_written(beside):
        yield beside
    elif users.is_absolute():  # it is not for a user without a home
        yield users / own


@cache
def can_be_written(folder: Path) -> bool:
    """Whether files can be made in a folder, which is made first."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


def remove_outdated(folder: Path, digest: str) -> None:
    """Remove files of other digests than this.

    A folder has the files of one folder of source.  Files younger than this process are left, they
    may be those of an evsim that was installed after it began; and what another process has
    removed, or has open on a system that keeps such files, is passed over.
    """
    for file in folder.iterdir():
        found = _NAME.search(file.name)
        if found is None or found["digest"] == digest or not file.name.endswith(found[0]):
            continue
        try:
            if file.stat().st_mtime < _STARTED:
                file.unlink()
        except OSError:
            continue


# -- files ------------------------------------------------------------------------------------


def read(file: Path) -> bytes | None:
    """The content of a file as it was written; None if there is none, or a damaged one."""
    try:
        with file.open("rb") as opened:
            head = opened.read(_HEAD.size)
            if len(head) != _HEAD.size:
                return None
            form, size, digest = _HEAD.unpack(head)
            if form != _FORMAT or size != os.fstat(opened.fileno()).st_size - _HEAD.size:
                return None
            content = opened.read(size)
    except OSError:
        return None
    return content if hashlib.sha256(content).digest() == digest else None


def write(file: Path, content: bytes) -> None:
    """Write a file that other processes may read, or write, at the same time; or OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    head = _HEAD.pack(_FORMAT, len(content), hashlib.sha256(content).digest())
    unfinished = file.with_name(f"{file.name}.tmp.{uuid.uuid4().hex[:16]}")
    try:
        unfinished.write_bytes(head + content)
        unfinished.replace(file)
    except OSError:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise
