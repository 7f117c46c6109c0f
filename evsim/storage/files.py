"""Writing files completely or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from evsim.arguments.paths import user_path


class StorageError(ValueError):
    """A file cannot be used; the message says which one and what to do."""


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file such that, whatever happens, it has either its old or its new content.

    If several processes write the same file, it has the content of one of them.
    """
    try:
        with replacing(user_path(path)) as file:
            file.write(content)
    except OSError as error:
        if error.errno not in _DISK_FULL:
            raise
        raise OSError(
            error.errno,
            f"{error.strerror}: {path} could not be written and holds what it held before; free "
            f"some of the disk, {len(content)} bytes at least, and go on from there",
        ) from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file to write, which takes the place of ``path`` at the end, unless there is an error.

    A link is kept, and its target is replaced.  The new file has the old one's permissions.
    """
    path = Path(os.path.realpath(path))
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PARTIAL}")
    try:
        with open(partial, "xb") as file:
            with contextlib.suppress(OSError):  # there is no old file, or it belongs to another
                shutil.copymode(path, partial)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError) and error.filename == str(partial):
            error.filename, error.filename2 = str(path), None
        raise
    if os.name == "posix":  # the new name must also reach the disk
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


PARTIAL = ".partial"
"""The end of the name of a file that is being written, ".NAME.RANDOM.partial"."""


def name_when_complete(name: str) -> str:
    """The name that a file will have when it is complete; other names are returned unchanged."""
    if not (name.startswith(".") and name.endswith(PARTIAL)):
        return name
    return name[1:].removesuffix(PARTIAL).rpartition(".")[0]


_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def check_no_file(folder: Path, name: str) -> None:
    """Refuse the path of a folder if it, or a folder above it, is a file.

    ``name`` is the name of the argument that contains the path.  Raises ValueError.
    """
    for part in (folder, *folder.parents):
        if part.exists() and not part.is_dir():
            raise ValueError(f"{name} = {str(folder)!r}: {part} is a file, name a folder")
