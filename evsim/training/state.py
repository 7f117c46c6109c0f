"""TrainingState: where a training run stands after an epoch."""

from __future__ import annotations

from dataclasses import dataclass

from evsim.display.short_repr import Brief
from evsim.network.network import Network
from evsim.training.history import EpochRecord


@dataclass(frozen=True, eq=False, repr=False)
class TrainingState(Brief):
    """Where a run stands after an epoch; what callbacks are given.

    ``network`` is the one after epoch ``epoch`` of ``epochs``, ``best_network`` the one
    after ``best_epoch``; epoch 0 is the network that training started from.
    """

    epoch: int
    epochs: int
    network: Network
    best_epoch: int
    best_network: Network
    history: tuple[EpochRecord, ...]

    @property
    def record(self) -> EpochRecord:
        """The last epoch's record."""
        return self.history[-1]
