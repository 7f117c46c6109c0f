"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from evsim.arguments.paths import user_path
from evsim.network.populations import LI, LIF, Input, Population

_KINDS: dict[str, type[Population]] = {kind.__name__: kind for kind in (Input, LIF, LI)}


class StorageError(ValueError):
    """A file that cannot be used; the message names it and what to do."""


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file so that, whatever happens, it holds its old content or the new."""
    # A link stays, and what it leads to is replaced.
    path = Path(os.path.realpath(user_path(path)))
    # One fixed name per file: what a killed run leaves behind, the next one overwrites.
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
    if os.name == "posix":  # the renaming itself must reach the disk too
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
