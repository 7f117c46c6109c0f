"""Tally: the sums over the batches of an epoch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from evsim.network.network import Network
from evsim.network.populations import LIF

if TYPE_CHECKING:
    from evsim.simulation.gradients import Gradient
    from evsim.training.evaluation import Evaluation
from evsim.training.history import EpochRecord


class Tally:
    """The sums over the batches of an epoch.

    ``spikes`` has the spike counts of each LIF population's units, shape (units,).  ``clipped``
    has the number of scaled-down gradients of each parameter named at its creation.
    ``gradient_norms`` has the sums of the gradients' norms, by trained parameter.  ``labels`` and
    ``predictions`` are those of the samples, shape (samples,); None if the loss does not classify,
    or if an engine trains whole epochs without reporting them.
    """

    def __init__(
        self, network: Network, samples: int, classifies: bool, clipped: list[str]
    ) -> None:
        self.losses = np.full(samples, np.nan)
        self.correct = np.zeros(samples, bool) if classifies else None
        self.labels: np.ndarray | None = None
        self.predictions: np.ndarray | None = None
        self.spikes = {
            p.name: np.zeros(p.units, np.int64) for p in network.populations if isinstance(p, LIF)
        }
        self.smallest_drive = np.inf
        self.arrivals = 0
        self.arrivals_after_end = 0
        self.steps = 0
        self.clipped = dict.fromkeys(clipped, 0)
        self.gradient_norms: dict[str, float] = {}
        self.limited = 0
        self.dropped = 0
        self.nearest_change: float | None = None
        self._loss_sum = 0.0
        self._seen = 0

    def add(
        self,
        samples: np.ndarray,
        labels: np.ndarray,
        outcome: Gradient,
        norms: Mapping[str, float],
        clipped: Iterable[str],
    ) -> None:
        """Add one batch.

        ``samples`` are the indices of its samples in the data of the epoch, ``norms`` those of the
        gradients with respect to the trained parameters, and ``clipped`` the parameters whose
        gradients were scaled down.
        """
        self.losses[samples] = outcome.losses
        if self.correct is not None:
            self.correct[samples] = outcome.predictions == labels
            self._note_classes(samples, labels, outcome.predictions)
        for name, counts in self.spikes.items():
            counts += outcome.run.spike_counts[name].sum(axis=0)
        report = outcome.report
        self.smallest_drive = min(self.smallest_drive, float(report.smallest_drive))
        self.arrivals += int(report.arrivals)
        self.arrivals_after_end += int(report.arrivals_after_end)
        self.dropped += int(report.dropped)
        self.limited += int(outcome.limited)
        self.steps += 1
        for name in clipped:
            self.clipped[name] += 1
        for name, size in norms.items():
            self.gradient_norms[name] = self.gradient_norms.get(name, 0.0) + size
        self._loss_sum += float(outcome.losses.sum())
        self._seen += samples.size

    def _note_classes(
        self, samples: np.ndarray, labels: np.ndarray, predictions: np.ndarray | None
    ) -> None:
        if self.labels is None or self.predictions is None:
            self.labels, self.predictions = np.full((2, self.losses.size), -1, np.int64)
        self.labels[samples] = labels
        self.predictions[samples] = -1 if predictions is None else predictions

    @property
    def loss_so_far(self) -> float:
        """The mean loss of the samples so far."""
        return self._loss_sum / self._seen

    def silent(self) -> dict[str, np.ndarray]:
        """Which units of each LIF population did not spike, bool, shape (units,)."""
        return {name: counts == 0 for name, counts in self.spikes.items()}

    def record(
        self,
        epoch: int,
        validation: Evaluation | None,
        seconds: float,
        learning_rates: Mapping[str, float],
        spikes_lost: int,
    ) -> EpochRecord:
        """The record of the whole epoch."""
        samples = self.losses.size
        return EpochRecord(
            epoch=epoch,
            loss=float(np.mean(self.losses)),
            accuracy=None if self.correct is None else float(np.mean(self.correct)),
            validation_loss=None if validation is None else validation.loss,
            validation_accuracy=None if validation is None else validation.accuracy,
            seconds=seconds,
            spikes_per_sample={n: float(c.sum() / samples) for n, c in self.spikes.items()},
            silent_units={n: int(np.count_nonzero(s)) for n, s in self.silent().items()},
            smallest_drive=None if np.isinf(self.smallest_drive) else self.smallest_drive,
            arrivals=self.arrivals,
            arrivals_after_end=self.arrivals_after_end,
            steps=self.steps,
            learning_rates=dict(learning_rates),
            clipped_steps=dict(self.clipped),
            limited_spikes=self.limited,
            dropped_spikes=self.dropped,
            spikes_lost=spikes_lost,
            gradient_norms={n: total / self.steps for n, total in self.gradient_norms.items()},
            nearest_change=self.nearest_change,
        )
