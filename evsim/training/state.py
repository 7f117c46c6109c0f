"""TrainingState: the state of a training run after an epoch."""

from __future__ import annotations

from dataclasses import dataclass

from evsim.display.short_repr import Brief
from evsim.network.network import Network
from evsim.training.history import EpochRecord, History


@dataclass(frozen=True, eq=False, repr=False)
class TrainingState(Brief):
    """The state of a run after an epoch, which callbacks receive.

    ``network`` is the network after epoch ``epoch`` of ``epochs``, ``best_network`` the one after
    ``best_epoch``.  Epoch 0 stands for the network before training.
    """

    epoch: int
    epochs: int
    network: Network
    best_epoch: int
    best_network: Network
    history: History

    @property
    def record(self) -> EpochRecord:
        """The record of the last epoch."""
        return self.history[-1]
