"""SIGTERM, the signal that asks a process to end, is handled like Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

STATUS = 128 + signal.SIGTERM
"""The exit status after SIGTERM."""


class Terminated(SystemExit):
    """Raised on SIGTERM; like KeyboardInterrupt, it ends the process unless it is caught."""

    def __init__(self) -> None:
        super().__init__(STATUS)


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Raise Terminated inside this block when SIGTERM would end the process at once.

    A handler that the program has installed is kept.  Nothing changes in a thread other than the
    main thread, where no handler can be installed.
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
