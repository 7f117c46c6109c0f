"""The common base of all displays of progress, and where they are shown."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, Self

LINE_INTERVAL = 10.0  # s between two lines


class Display:
    """The base class of displays of progress, which are contexts; it shows nothing."""

    interval = float("inf")
    """The seconds between two updates."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    def say(self, text: str) -> None:
        """Show a line that stays."""


class PlainLines(Display):
    """Plain lines on standard error, for log files and pipes."""

    interval = LINE_INTERVAL

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def changing_console() -> Any | None:
    """The console of standard error; None if its output cannot be updated."""
    from rich.console import Console

    console = Console(stderr=True)
    changes = (console.is_terminal and not console.is_dumb_terminal) or console.is_jupyter
    return console if changes else None


def clock(seconds: float) -> str:
    """A duration as minutes and seconds, with hours if there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
