"""Writing files completely or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from evsim.arguments.paths import user_path


class StorageError(ValueError):
    """A file cannot be used; the message says which one and what to do."""


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file such that, whatever happens, it has either its old or its new content."""
    # A link is kept, and its target is replaced.
    path = Path(os.path.realpath(user_path(path)))
    # The name is fixed, so that the next run overwrites what a killed run has left.
    partial = path.with_name(f".{path.name}.partial")
    try:
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        if error.errno not in _DISK_FULL:
            raise
        raise OSError(
            error.errno,
            f"{error.strerror}: {path} could not be written and holds what it held before; free "
            f"some of the disk, {len(content)} bytes at least, and go on from there",
        ) from error
    if os.name == "posix":  # the new name must also reach the disk
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def check_no_file(folder: Path, name: str) -> None:
    """Refuse the path of a folder if it, or a folder above it, is a file.

    ``name`` is the name of the argument that contains the path.  Raises ValueError.
    """
    for part in (folder, *folder.parents):
        if part.exists() and not part.is_dir():
            raise ValueError(f"{name} = {str(folder)!r}: {part} is a file, name a folder")
