"""The protocol of engines that train whole epochs where they store their arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from evsim.training.progress import Progress
from evsim.training.tally import Tally
from evsim.training.task import Task
from evsim.training.trained_parameters import TrainedParameter


class EpochTrainer(Protocol):
    """Trains whole epochs of a task where an engine stores its arrays, such as on a GPU."""

    def run_epoch(
        self,
        epoch: int,
        parameters: Sequence[TrainedParameter],
        rates: Callable[[int], Mapping[str, float]],
        display: Progress,
    ) -> tuple[Tally, int]:
        """Train one epoch; update the values of the parameters and the states of the optimisers.

        ``rates`` returns the learning rate of each parameter at a batch of the epoch.  Returns the
        sums over the batches and the number of spikes that augmentation moved out of the channels
        or the trial.
        """


@runtime_checkable
class TrainsEpochs(Protocol):
    """An engine that can train whole epochs of some tasks."""

    def epoch_trainer(self, task: Task) -> EpochTrainer | None:
        """The trainer of a task; None if the engine must receive its batches one by one."""


def epoch_trainer(task: Task) -> EpochTrainer | None:
    """The trainer of whole epochs on the task's engine; None if batches are trained one by one."""
    return task.engine.epoch_trainer(task) if isinstance(task.engine, TrainsEpochs) else None
