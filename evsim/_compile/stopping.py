"""What is to stop, as after Ctrl-C: the work of which threads.

Compiled loops ask, see ``evsim._compile.stop_polls``, and so does the compiler between two
functions.
"""

from __future__ import annotations

import os
import threading
from typing import Protocol

import numpy as np


class Work(Protocol):
    """What a thread is busy with."""

    is_stopped: bool


class _OfThread(threading.local):
    work: Work | None = None


of_thread = _OfThread()
"""The work of the thread that asks; None for a thread that nobody stops."""

requests = np.zeros(1, np.int64)
"""How many works are to stop and have not ended."""


def is_thread_stopped() -> bool:
    """Whether the work of this thread is to stop."""
    return of_thread.work is not None and of_thread.work.is_stopped


def check_stopped() -> None:
    """Raise KeyboardInterrupt, which ends the work of a thread, if that is to stop."""
    if is_thread_stopped():
        raise KeyboardInterrupt


def _forget() -> None:
    """In a forked process, which has one thread, nothing is to stop."""
    requests[0] = 0
    of_thread.work = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
