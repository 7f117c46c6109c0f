"""Which threads must stop their work, for example after Ctrl-C.

Compiled loops check this (see ``evsim._compile.stop_polls``), and so does the compiler between two
functions.
"""

from __future__ import annotations

import os
import threading
from typing import Protocol

import numpy as np


class Work(Protocol):
    """The work that a thread does."""

    is_stopped: bool


class _OfThread(threading.local):
    work: Work | None = None


of_thread = _OfThread()
"""``of_thread.work`` is the work of the calling thread; None if nobody can stop that thread."""

requests = np.zeros(1, np.int64)
"""How many pieces of work must stop but have not ended yet."""


def is_thread_stopped() -> bool:
    """Whether this thread must stop its work."""
    return of_thread.work is not None and of_thread.work.is_stopped


def check_stopped() -> None:
    """Raise KeyboardInterrupt if this thread must stop its work."""
    if is_thread_stopped():
        raise KeyboardInterrupt


def _forget() -> None:
    """Clear all requests in a forked process, which has only one thread and no work."""
    requests[0] = 0
    of_thread.work = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
