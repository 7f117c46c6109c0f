"""Engines that train whole epochs where they keep their arrays: what training asks of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from evsim.training.progress import Progress
from evsim.training.tally import Tally
from evsim.training.task import Task
from evsim.training.trained_parameters import TrainedParameter


class EpochTrainer(Protocol):
    """Trains whole epochs of a task where an engine keeps its arrays, such as on a GPU."""

    def run_epoch(
        self,
        epoch: int,
        parameters: Sequence[TrainedParameter],
        rates: Callable[[int], Mapping[str, float]],
        display: Progress,
    ) -> tuple[Tally, int]:
        """Train one epoch, and update the parameters' values and the states of the optimisers.

        ``rates`` gives the learning rate of each parameter at a batch of the epoch.  Returns the
        sums over the batches, and how many spikes augmentation moved out of the channels or the
        trial.
        """


@runtime_checkable
class TrainsEpochs(Protocol):
    """An engine that can train whole epochs of some tasks."""

    def epoch_trainer(self, task: Task) -> EpochTrainer | None:
        """What trains the epochs of a task; None for a task that goes batch by batch."""


def epoch_trainer(task: Task) -> EpochTrainer | None:
    """What trains whole epochs of a task on its engine; None if training goes batch by batch."""
    return task.engine.epoch_trainer(task) if isinstance(task.engine, TrainsEpochs) else None
