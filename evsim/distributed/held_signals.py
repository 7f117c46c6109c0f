"""Signals such as Ctrl-C wait while a process communicates, so that no message is half sent."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

HELD = (signal.SIGINT, signal.SIGTERM)


class HeldSignals:
    """SIGINT and SIGTERM on the main thread: handled at once, but not inside ``held``.

    The handlers that the program has installed are called.  A signal that has no Python handler and
    would end the process at once still does so.
    """

    def __init__(self) -> None:
        self._is_holding = False
        self._waiting: int | None = None
        self._handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Inside this context, signals wait for the end of ``held``."""
        if threading.current_thread() is threading.main_thread():
            for number in map(int, HELD):
                handler = signal.getsignal(number)
                if callable(handler):
                    self._handlers[number] = handler
                    signal.signal(number, self._handle)
        try:
            yield
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            self._handlers.clear()
            self._is_holding, self._waiting = False, None

    def hold(self) -> None:
        """From now on, signals wait."""
        self._is_holding = True

    def release(self) -> None:
        """Handle the signal that has come in the meantime."""
        self._is_holding = False
        number, self._waiting = self._waiting, None
        if number is not None:
            self._handlers[number](number, None)

    def forget(self) -> None:
        """Drop the signal that has come in the meantime."""
        self._waiting = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._is_holding:
            self._waiting = number
        else:
            self._handlers[number](number, frame)
