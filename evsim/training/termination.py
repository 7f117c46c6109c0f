"""SIGTERM, by which a system asks a process to end: it ends like Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

STATUS = 128 + signal.SIGTERM
"""The exit status of a process that has been asked to end."""


class Terminated(SystemExit):
    """The process has been asked to end; goes up like KeyboardInterrupt, and ends it."""

    def __init__(self) -> None:
        super().__init__(STATUS)


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Raise Terminated in here where SIGTERM would end the process at once.

    A handler that somebody has installed stays, and so does the default in a thread that is not
    the main one, where no handler can be installed.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not (is_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL):
        yield
        return
    signal.signal(signal.SIGTERM, _raise)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _raise(_number: int, _frame: Any) -> None:
    raise Terminated
