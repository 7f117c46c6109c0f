"""What a training run records of each epoch, and what it shows while it runs."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from evsim.network import LIF, Network
from evsim.simulation import Gradient

if TYPE_CHECKING:
    from evsim.dataset import Evaluation

BAR_INTERVAL = 0.1  # s between two updates of the bar
LINE_INTERVAL = 10.0  # s between two lines


# -- records ------------------------------------------------------------------------------


@dataclass(frozen=True)
class EpochRecord:
    """What happened in one epoch.

    Parameters
    ----------
    epoch : int
        Counted from 1.
    loss, accuracy : float
        Over the training samples, each with the network as it was when its turn came.
    validation_loss, validation_accuracy : float or None
        Of the network after the epoch; None without validation data.
    seconds : float
        Validation included.
    spikes_per_sample : mapping from LIF population to float
        Spikes of all its units together, mean over the training samples.
    silent_units : mapping from LIF population to int
        How many units did not spike in the whole epoch.
    smallest_drive : float or None
        The smallest I - threshold at a spike; None if there was no spike.  As it goes to 0
        gradients grow without bound.
    arrivals, arrivals_after_end : int
        Spikes that reached a synapse's target in time, and those that came after the end of
        their trial, without effect and without gradient.
    """

    epoch: int
    loss: float
    accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    seconds: float
    spikes_per_sample: dict[str, float]
    silent_units: dict[str, int]
    smallest_drive: float | None
    arrivals: int
    arrivals_after_end: int


class Tally:
    """What the batches of an epoch add up to.

    ``spikes`` counts those of each LIF population's units, shape (units,).
    """

    def __init__(self, network: Network, samples: int) -> None:
        self.losses = np.full(samples, np.nan)
        self.correct = np.zeros(samples, bool)
        self.spikes = {
            p.name: np.zeros(p.units, np.int64) for p in network.populations if isinstance(p, LIF)
        }
        self.smallest_drive = np.inf
        self.arrivals = 0
        self.arrivals_after_end = 0
        self._loss_sum = 0.0
        self._seen = 0

    def add(self, samples: np.ndarray, labels: np.ndarray, outcome: Gradient) -> None:
        """Add one batch; ``samples`` are the indices of its samples in the dataset."""
        self.losses[samples] = outcome.losses
        self.correct[samples] = outcome.predictions == labels
        for name, counts in self.spikes.items():
            counts += outcome.run.spike_counts[name].sum(axis=0)
        report = outcome.report
        self.smallest_drive = min(self.smallest_drive, float(report.smallest_drive))
        self.arrivals += int(report.arrivals)
        self.arrivals_after_end += int(report.arrivals_after_end)
        self._loss_sum += float(outcome.losses.sum())
        self._seen += samples.size

    @property
    def loss_so_far(self) -> float:
        """Mean loss of the samples seen so far."""
        return self._loss_sum / self._seen

    def silent(self) -> dict[str, np.ndarray]:
        """For each LIF population which units did not spike, bool, shape (units,)."""
        return {name: counts == 0 for name, counts in self.spikes.items()}

    def record(self, epoch: int, validation: Evaluation | None, seconds: float) -> EpochRecord:
        """The record of the whole epoch."""
        samples = self.losses.size
        return EpochRecord(
            epoch=epoch,
            loss=float(np.mean(self.losses)),
            accuracy=float(np.mean(self.correct)),
            validation_loss=None if validation is None else validation.loss,
            validation_accuracy=None if validation is None else validation.accuracy,
            seconds=seconds,
            spikes_per_sample={n: float(c.sum() / samples) for n, c in self.spikes.items()},
            silent_units={n: int(np.count_nonzero(s)) for n, s in self.silent().items()},
            smallest_drive=None if np.isinf(self.smallest_drive) else self.smallest_drive,
            arrivals=self.arrivals,
            arrivals_after_end=self.arrivals_after_end,
        )


# -- displays -----------------------------------------------------------------------------


class Progress:
    """Shows nothing; the others build on it.

    Parameters
    ----------
    epochs, batches : int
        How many epochs the run will have, and how many batches each.
    finished : int
        Epochs finished before, by a run that is resumed.
    """

    interval = float("inf")

    def __init__(self, epochs: int, batches: int, finished: int) -> None:
        self.epochs = epochs
        self.batches = batches
        self.finished = finished
        self._shown = time.monotonic()
        self._first_batch: tuple[float, int] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    def batch(self, epoch: int, batch: int, loss: float) -> None:
        """A batch is done; ``loss`` is the mean over the epoch so far.  Cheap most of the time."""
        now = time.monotonic()
        if self._first_batch is None:
            self._first_batch = now, (epoch - 1) * self.batches + batch
        if now - self._shown >= self.interval:
            self._shown = now
            self._show(epoch, batch, f"loss {loss:.4g}")

    def epoch(self, record: EpochRecord) -> None:
        """An epoch is done."""

    def say(self, text: str) -> None:
        """Show a line that stays."""

    def _show(self, epoch: int, batch: int, text: str) -> None:
        """Show how far the run is."""

    def _time_left(self, epoch: int, batch: int) -> str:
        """From the speed since the first batch, which may have waited for the compiler."""
        done = (epoch - 1) * self.batches + batch
        missing = self.epochs * self.batches - done
        if missing == 0:
            return _clock(0)
        if self._first_batch is None or done == self._first_batch[1]:
            return "?"
        since, before = self._first_batch
        return _clock((time.monotonic() - since) * missing / (done - before))


class Lines(Progress):
    """Plain lines now and then, for log files and pipes."""

    interval = LINE_INTERVAL

    def epoch(self, record: EpochRecord) -> None:
        """Show the first and the last epoch, and others if the last line is old enough."""
        now = time.monotonic()
        ends = record.epoch in (self.finished + 1, self.epochs)
        if ends or now - self._shown >= self.interval:
            self._shown = now
            self._show(record.epoch, self.batches, summary(record))

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def _show(self, epoch: int, batch: int, text: str) -> None:
        within = "" if batch == self.batches else f", batch {batch}/{self.batches}"
        left = self._time_left(epoch, batch)
        self.say(f"epoch {epoch}/{self.epochs}{within}: {text}, {left} left")


class Bar(Progress):
    """A bar with the last epoch's metrics, on a terminal or in a notebook."""

    interval = BAR_INTERVAL

    def __init__(self, epochs: int, batches: int, finished: int, console: Any) -> None:
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress

        super().__init__(epochs, batches, finished)
        self._last = ""
        self._bar = RichProgress(
            TextColumn("epoch {task.fields[epoch]}/" + str(epochs)),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[left]} left  {task.fields[metrics]}"),
            console=console,
        )
        self._task = self._bar.add_task(
            "",
            total=epochs * batches,
            completed=finished * batches,
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
            completed=(epoch - 1) * self.batches + batch,
            epoch=epoch,
            left=self._time_left(epoch, batch),
            metrics=self._last or text,
        )


def progress_for(shown: bool, epochs: int, batches: int, finished: int) -> Progress:
    """What suits the place standard error goes to."""
    if not shown:
        return Progress(epochs, batches, finished)
    from rich.console import Console

    console = Console(stderr=True)
    if (console.is_terminal and not console.is_dumb_terminal) or console.is_jupyter:
        return Bar(epochs, batches, finished, console)
    return Lines(epochs, batches, finished)


def summary(record: EpochRecord) -> str:
    """An epoch's metrics in a line."""
    text = f"loss {record.loss:.4g}, accuracy {100 * record.accuracy:.1f} %"
    if record.validation_accuracy is not None:
        text += f", validation {100 * record.validation_accuracy:.1f} %"
    return text


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
