"""The files of the cache: their folders, their names and their format.

The name of a file contains a digest of the source that its machine code depends on.  The file
begins with the length and the digest of its content, so a damaged file is recognised and ignored.
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
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

from numba.core import config
from numba.misc.appdirs import AppDirs

_NAME = re.compile(r"-(?P<digest>[0-9a-f]{16})\.(nbi|[0-9a-f]+\.nbc)(\.tmp\.[0-9a-f]+)?")
"""The end of a file name that contains a digest; numba's own file names contain none."""

_HEAD = struct.Struct("<8sQ32s")
"""What a file begins with: its format, the length of the rest in bytes, and its SHA-256."""

_FORMAT = b"evsim 1\n"

_STARTED = time.time()
"""A time before this process computed its first digest."""


# -- source -----------------------------------------------------------------------------------


_IMPORT = re.compile(
    rb"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import[ \t]+(\([^)]*\)|[^\n#]+)|import[ \t]+([\w., \t]+))",
    re.MULTILINE,
)
"""A statement that imports: a module and the names from it, or modules."""


def source_digest(source: Path) -> str:
    """The digest of the files in the folder ``source`` and of all files of evsim they import.

    These are the files that the machine code of functions defined in that folder depends on:
    imports are followed from file to file, wherever in a file they stand.  If Python runs bytecode
    without source, the digest is that of all bytecode of evsim's packages; if it imports from an
    archive, that of the archive.  Raises OSError if a file cannot be read.
    """
    packages = _packages()
    files = _files_of(source, source.glob("*.py*"))
    if all(file.suffix == ".py" for file in files):
        contents = _with_imports(files, packages)
    else:
        every = (_files_of(package, package.rglob("*.py*")) for package in packages.values())
        contents = {file: file.read_bytes() for file in {*files, *chain.from_iterable(every)}}
    digest = hashlib.sha256()
    for file in sorted(contents):
        content = contents[file]
        digest.update(f"{file.parent.name}/{file.name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def _with_imports(files: Iterable[Path], packages: Mapping[str, Path]) -> dict[Path, bytes]:
    """The contents of some source files and of all files of evsim's packages they import."""
    contents: dict[Path, bytes] = {}
    to_read = list(files)
    while to_read:
        file = to_read.pop()
        if file not in contents:
            contents[file] = file.read_bytes()
            to_read += _imported_files(contents[file], packages)
    return contents


def _imported_files(content: bytes, packages: Mapping[str, Path]) -> Iterator[Path]:
    """The files of evsim's packages that a source file imports directly."""
    for found in _IMPORT.findall(content):
        module, names, modules = (part.decode() for part in found)
        # What is imported from a package may be a module of it.
        named = [module, *(f"{module}.{name}" for name in _listed(names))] if module else []
        for name in (*named, *_listed(modules)):
            yield from _file_of_module(name, packages)


def _listed(names: str) -> list[str]:
    """The names in a list with commas, without what they are renamed to."""
    return [name.split()[0] for name in names.strip("()").split(",") if name.strip()]


def _file_of_module(name: str, packages: Mapping[str, Path]) -> Iterator[Path]:
    """The file of a module of evsim's packages, if there is such a module."""
    top, *rest = name.split(".")
    if top in packages:
        path = packages[top].joinpath(*rest)
        candidates = path / "__init__.py", path.with_suffix(".py")
        yield from (file for file in candidates if file.is_file())


def _packages() -> dict[str, Path]:
    """The folders of evsim's packages by name."""
    folders = {"evsim": Path(__file__).parents[1].absolute()}
    grid = find_spec("evsim_gpu")
    if grid is not None and grid.submodule_search_locations:
        folders["evsim_gpu"] = Path(grid.submodule_search_locations[0]).absolute()
    return folders


def _files_of(folder: Path, found: Iterator[Path]) -> list[Path]:
    """Those of the found files that Python may import; the archive, if the folder is in one."""
    if not folder.is_dir():
        return [next(parent for parent in folder.parents if parent.exists())]
    return sorted(
        file
        for file in found
        # Hidden files of an editor are not modules, and may be broken links.
        if file.suffix in (".py", ".pyc")
        and file.parent.name != "__pycache__"
        and not file.name.startswith(".")
    )


# -- folders ----------------------------------------------------------------------------------


def folders_for(source: Path) -> Iterator[Path]:
    """The folders in which to look for the cached files of a source folder.

    New files go into the last one, which is the only one that can be written, if any can.  The
    folder beside the source is searched even if NUMBA_CACHE_DIR names another, because it may have
    been filled before it became read-only.
    """
    name = f"{source.name}_{hashlib.sha1(str(source).encode()).hexdigest()}"
    beside = source / "__pycache__" if source.is_dir() else None
    users = Path(AppDirs(appname="numba", appauthor=False).user_cache_dir)
    if beside is not None and not can_be_written(beside):
        yield beside
    if config.CACHE_DIR:
        named = Path(config.CACHE_DIR).absolute() / name
        yield named
        if can_be_written(named):
            return
    if beside is not None and can_be_written(beside):
        yield beside
    elif users.is_absolute():  # it is relative for a user without a home folder
        yield users / name


@cache
def can_be_written(folder: Path) -> bool:
    """Whether files can be created in a folder; creates the folder if it does not exist."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


def remove_outdated(folder: Path, digest: str) -> None:
    """Remove the files in a cache folder that have another digest.

    A cache folder belongs to one source folder.  Files that are newer than this process stay: they
    may come from a version of evsim that was installed after the process began.  Files that another
    process has removed meanwhile, or that the system does not let go because they are open, are
    skipped.
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
    """The content of a file; None if the file does not exist or is damaged."""
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
    """Write a file in one step, so that other processes may read or write it at the same time.

    Raises OSError if it cannot be written.
    """
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
