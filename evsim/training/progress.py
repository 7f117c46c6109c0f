"""The progress display of a training run."""

from __future__ import annotations

import time
from typing import Any, Self

from evsim.display.progress import Display, PlainLines, changing_console, clock
from evsim.training.history import EpochRecord

BAR_INTERVAL = 0.1  # s between two updates of the bar
NARROW = 80  # columns, below which there is no room for a bar beside the metrics


class Progress(Display):
    """The base class of progress displays; it shows nothing.

    Parameters
    ----------
    epochs, batches : int
        The numbers of epochs of the run and of batches of an epoch; ``batches`` may be changed
        before an epoch with another number of batches.
    finished : int
        The number of epochs that a resumed run has already finished.
    """

    is_shown = False
    """Whether anything is shown."""

    def __init__(self, epochs: int, batches: int, finished: int) -> None:
        self.epochs = epochs
        self.batches = batches
        self.finished = finished
        self._shown = time.monotonic()
        self._first_batch: tuple[float, float] | None = None

    def batch(self, epoch: int, batch: int, loss: float | None) -> None:
        """A batch is done; most calls show nothing and cost little.

        ``loss`` is the mean over the epoch so far, or None if it is not known before its end.
        """
        now = time.monotonic()
        if self._first_batch is None:
            self._first_batch = now, self._done(epoch, batch)
        if self._batch_is_due(now):
            self._shown = now
            self._show(epoch, batch, "" if loss is None else f"loss {loss:.4g}")

    def epoch(self, record: EpochRecord) -> None:
        """An epoch is done."""

    def stop(self, why: str) -> None:
        """Training ends before its last epoch; show the reason in a line that stays."""
        self.say(why)

    def _show(self, epoch: int, batch: int, text: str) -> None:
        """Show the progress of the run."""

    def _batch_is_due(self, now: float) -> bool:
        """Whether this batch should be shown."""
        return now - self._shown >= self.interval

    def _done(self, epoch: int, batch: int) -> float:
        """The number of finished epochs, including the fraction of the current one."""
        return epoch - 1 + batch / self.batches

    def _time_left(self, epoch: int, batch: int) -> str:
        """The remaining time, from the speed since the first batch, which includes compiling."""
        done = self._done(epoch, batch)
        if done == self.epochs:
            return clock(0)
        if self._first_batch is None or done == self._first_batch[1]:
            return "?"
        since, before = self._first_batch
        return clock((time.monotonic() - since) * (self.epochs - done) / (done - before))


class Lines(PlainLines, Progress):
    """Occasional plain lines, for log files and pipes."""

    is_shown = True

    def __init__(self, epochs: int, batches: int, finished: int) -> None:
        super().__init__(epochs, batches, finished)
        self._epoch_began = self._shown
        self._untold: EpochRecord | None = None

    def epoch(self, record: EpochRecord) -> None:
        """Show the first and the last epoch, and others if enough time has passed."""
        self._epoch_began = time.monotonic()
        ends = record.epoch in (self.finished + 1, self.epochs)
        if ends or self._epoch_began - self._shown >= self.interval:
            self._tell(record)
        else:
            self._untold = record

    def stop(self, why: str) -> None:
        if self._untold is not None:
            self._tell(self._untold)
        super().stop(why)

    def _tell(self, record: EpochRecord) -> None:
        self._shown = time.monotonic()
        self._untold = None
        self._show(record.epoch, self.batches, summary(record))

    def _batch_is_due(self, now: float) -> bool:
        # Lines of epochs have an accuracy; batches are only shown if epochs take long.
        return now - max(self._shown, self._epoch_began) >= self.interval

    def _show(self, epoch: int, batch: int, text: str) -> None:
        within = "" if batch == self.batches else f", batch {batch}/{self.batches}"
        told = ", ".join(filter(None, [text, f"{self._time_left(epoch, batch)} left"]))
        self.say(f"epoch {epoch}/{self.epochs}{within}: {told}")


class Bar(Progress):
    """A bar with the last epoch's metrics, on a terminal or in a notebook."""

    interval = BAR_INTERVAL
    is_shown = True

    def __init__(self, epochs: int, batches: int, finished: int, console: Any) -> None:
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress
        from rich.table import Column

        super().__init__(epochs, batches, finished)
        self._last = ""
        where = "epoch {task.fields[epoch]}/" + str(epochs)
        left, metrics = "{task.fields[left]} left", "{task.fields[metrics]}"
        if console.width >= NARROW:
            columns: list[Any] = [
                TextColumn(where),
                BarColumn(bar_width=20),
                TextColumn(f"{left}  {metrics}"),
            ]
        else:
            columns = [TextColumn(f"{where}, {left}\n{metrics}", table_column=Column())]
        self._bar = RichProgress(*columns, console=console)
        self._task = self._bar.add_task(
            "",
            total=epochs,
            completed=finished,
            epoch=finished,
            left="-:--",
            metrics="",
        )

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def epoch(self, record: EpochRecord) -> None:
        self._last = summary(record)
        self._show(record.epoch, self.batches, self._last)

    def say(self, text: str) -> None:
        self._bar.console.print(text, highlight=False, markup=False)

    def _show(self, epoch: int, batch: int, text: str) -> None:
        self._bar.update(
            self._task,
            completed=self._done(epoch, batch),
            epoch=epoch,
            left=self._time_left(epoch, batch),
            metrics=self._last or text,
        )


def progress_for(shown: bool, epochs: int, batches: int, finished: int) -> Progress:
    """The progress display that suits standard error."""
    if not shown:
        return Progress(epochs, batches, finished)
    console = changing_console()
    if console is not None:
        return Bar(epochs, batches, finished, console)
    return Lines(epochs, batches, finished)


def summary(record: EpochRecord) -> str:
    """The metrics of an epoch on one line."""
    text = f"loss {record.loss:.4g}"
    if record.accuracy is not None:
        text += f", accuracy {100 * record.accuracy:.1f} %"
    if record.validation_accuracy is not None:
        text += f", validation {100 * record.validation_accuracy:.1f} %"
    elif record.validation_loss is not None:
        text += f", validation loss {record.validation_loss:.4g}"
    return text
