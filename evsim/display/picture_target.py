"""Whether pictures are for the screen or only for files.

This is not part of ``evsim.plotting``, so that training can set it without importing matplotlib.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_FOR_FILES = ContextVar("_FOR_FILES", default=False)


@contextmanager
def for_files_only() -> Iterator[None]:
    """Hide figures that are created inside this context from pyplot, so that none stay open."""
    before = _FOR_FILES.set(True)
    try:
        yield
    finally:
        _FOR_FILES.reset(before)


def for_the_screen() -> bool:
    """Whether a new figure is for ``pyplot.show()``, which belongs to the main thread."""
    return not _FOR_FILES.get() and threading.current_thread() is threading.main_thread()
