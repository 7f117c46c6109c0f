"""System locks on files, which end with the process that holds them.

A lock is taken on a file that is kept afterwards; its existence means nothing.  A second file, with
``.holder`` added to the name, names the process and is used only for messages.  A process that is
killed leaves it behind.
"""

from __future__ import annotations

import contextlib
import errno
import inspect
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evsim.display.warning_place import warn_caller
from evsim.storage.files import StorageError


class HeldError(StorageError):
    """Another process holds a lock."""


@contextlib.contextmanager
def held(path: Path, doing: str, remedy: str, *, wait: float = 0.0) -> Iterator[None]:
    """Hold the lock on a file; its folder must exist.

    ``doing`` says what the process that holds the lock is doing, and ``remedy`` what to do about
    it.  Both are for the message of the HeldError, which is raised after ``wait`` seconds.
    """
    lock, holder = _lock_of(path), holder_of(path)
    try:
        _acquire(lock, path, doing, remedy, wait)
        if lock.is_locked:
            with contextlib.suppress(OSError):  # a full disk is reported by later writes
                holder.write_text(f"{os.getpid()} {platform.node()}")
        yield
    finally:
        if lock.is_locked:
            with contextlib.suppress(OSError):
                holder.unlink()
        lock.release()


def is_held(path: Path) -> bool:
    """Whether a process holds the lock on a file; the file that names the process is kept."""
    import filelock

    if not holder_of(path).exists():
        return False
    lock = _lock_of(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return True
    except (NotImplementedError, OSError):
        return False
    lock.release()
    return False


def holder_of(path: Path) -> Path:
    """The file that names the process holding the lock on a file."""
    return path.with_name(f"{path.name}.holder")


def _lock_of(path: Path) -> Any:
    import filelock

    if "fallback_to_soft" in inspect.signature(filelock.FileLock.__init__).parameters:
        # A soft lock is only a file and would outlive a process that is killed.
        return filelock.FileLock(path, fallback_to_soft=False)
    return filelock.FileLock(path)


def _acquire(lock: Any, path: Path, doing: str, remedy: str, wait: float) -> None:
    import filelock

    try:
        lock.acquire(timeout=wait)
    except filelock.Timeout:
        raise HeldError(f"{holder_named_in(holder_of(path))} {doing}: {remedy}") from None
    except (NotImplementedError, OSError) as error:
        code = getattr(error, "errno", None)
        if code is not None and code not in _NO_LOCKS:
            raise
        warn_caller(
            f"the file system of {path.parent} has no locks ({error}): nothing keeps another "
            "process from training there too",
            NoLocksWarning,
        )


class NoLocksWarning(RuntimeWarning):
    """Other processes cannot be prevented from training in a run folder at this place."""


_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)
"""The error codes of a file system without locks."""


def holder_named_in(holder: Path) -> str:
    """The process that holds a lock, as named in the file beside it."""
    try:
        number, _, machine = holder.read_text().partition(" ")
    except (OSError, UnicodeDecodeError):
        return "another process"
    if not (number.isdigit() and machine):
        return "another process"
    return f"process {number} on {machine}"
