"""What a study shows while it runs: a table that changes on a terminal, else plain lines."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Self

from evsim.display.progress import Display, PlainLines, changing_console, clock
from evsim.study.cells.kept_warnings import kind_of
from evsim.study.cells.running import Ended, Work

INTERVAL = 1.0  # s between two updates of the table
MOST_RUNNING = 8  # running cells with a line of their own


class StudyProgress(Display):
    """The base class of displays; it shows nothing.

    Parameters
    ----------
    work : sequence of Work
        The cells to run.
    finished : int
        How many cells of the study were finished before.
    epochs : mapping from name of a cell to int or None
        How many epochs each cell has, where it is known.
    """

    def __init__(self, work: Sequence[Work], finished: int, epochs: dict[str, int | None]) -> None:
        self.before = finished
        self.left = {each.name: each for each in work}
        self.total = finished + len(self.left)
        self.epochs = epochs
        self.endings: Counter[str] = Counter()
        self._told: set[str] = set()  # kinds of warnings, each of which is shown for one cell
        self._began = time.monotonic()
        self._shown = self._began
        self._done_at_start: float | None = None

    def tick(self) -> None:
        """Some time has passed."""
        now = time.monotonic()
        if now - self._shown >= self.interval:
            self._shown = now
            self.show()

    def ended(self, work: Work, ended: Ended) -> None:
        """A cell has ended."""
        self.left.pop(work.name, None)
        self.endings[ended.ending] += 1
        if ended.ending == "failed" and ended.failure is not None:
            self.say(f"failed: {work.name}: {ended.failure.error}")
        for text in work.folder.warnings():
            kind = kind_of(text)
            if kind not in self._told:
                self._told.add(kind)
                self.say(f"warned: {work.name}: {text}")
        self.tick()

    def show(self) -> None:
        """Show how far the study is."""

    def running(self) -> list[tuple[str, int, int | None]]:
        """The cells that run: name, finished epochs, all epochs."""
        return [
            (name, work.folder.epochs, self.epochs.get(name))
            for name, work in self.left.items()
            if work.folder.seems_to_run
        ]

    def summary(self, running: Sequence[tuple[str, int, int | None]]) -> str:
        """One line on the whole study."""
        done = self.before + self.endings["finished"]
        text = f"{done} of {self.total} finished, {len(running)} running"
        text += f", {self.endings['failed']} failed"
        return f"{text}, {self._time_left(running)} left"

    def _time_left(self, running: Sequence[tuple[str, int, int | None]]) -> str:
        """From the speed so far; a running cell counts by its epochs."""
        parts = sum(min(epoch / total, 1.0) for _, epoch, total in running if total)
        done = sum(self.endings.values()) + parts
        if self._done_at_start is None:
            self._done_at_start = parts
        since = done - self._done_at_start
        left = sum(self.endings.values()) + len(self.left) - done
        if not left:
            return "0:00"
        return clock((time.monotonic() - self._began) * left / since) if since > 0 else "?"


class StudyLines(PlainLines, StudyProgress):
    """Plain lines, for log files and pipes."""

    def __exit__(self, *error: object) -> None:
        self.show()

    def show(self) -> None:
        self.say(self.summary(self.running()))


class StudyTable(StudyProgress):
    """A table on a terminal or in a notebook that changes as cells run and end."""

    interval = INTERVAL

    def __init__(
        self, work: Sequence[Work], finished: int, epochs: dict[str, int | None], console: Any
    ) -> None:
        from rich.live import Live

        super().__init__(work, finished, epochs)
        self._live = Live(console=console, auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.start()
        self.show()
        return self

    def __exit__(self, *error: object) -> None:
        self.show()
        self._live.stop()

    def say(self, text: str) -> None:
        self._live.console.print(text, highlight=False, markup=False)

    def show(self) -> None:
        from rich.table import Table

        running = self.running()
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(overflow="fold")
        table.add_column(justify="right", no_wrap=True)
        for name, epoch, total in running[:MOST_RUNNING]:
            table.add_row(name, f"epoch {epoch}/{total}" if total else "running")
        if len(running) > MOST_RUNNING:
            table.add_row(f"and {len(running) - MOST_RUNNING} more", "")
        table.add_row(self.summary(running), "")
        self._live.update(table, refresh=True)


def progress_for(
    shown: bool, work: Sequence[Work], finished: int, epochs: dict[str, int | None]
) -> StudyProgress:
    """The display that suits standard error."""
    if not shown:
        return StudyProgress(work, finished, epochs)
    console = changing_console()
    if console is not None:
        return StudyTable(work, finished, epochs, console)
    return StudyLines(work, finished, epochs)
