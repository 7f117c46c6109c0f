"""What a training run records of each epoch, and which of its numbers can be watched."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

from evsim.arguments.checks import check_choice
from evsim.arguments.named import Named
from evsim.display.short_repr import Brief

if TYPE_CHECKING:
    pass


Watch = Literal["accuracy", "loss", "validation_accuracy", "validation_loss"]
"""The numbers of an epoch that schedules, early stopping and the best epoch go by."""


_BY_NAME = {
    "spikes_per_sample": "population",
    "silent_units": "population",
    "learning_rates": "trained parameter",
    "clipped_steps": "parameter that is clipped",
}
"""The mappings of a record, and what their names are of."""


@dataclass(frozen=True, repr=False)
class EpochRecord(Brief):
    """What happened in one epoch.

    Parameters
    ----------
    epoch : int
        Counted from 1.
    loss, accuracy : float
        Over the training samples, each with the network as it was when its turn came;
        accuracy None for a loss that does not classify.
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
    steps : int
        Batches, and so steps of each optimiser.
    learning_rates : mapping from parameter to float
        At the last step of the epoch.
    clipped_steps : mapping from parameter to int
        How many of its gradients were scaled down, for each whose optimiser has a ``clip``.
    limited_spikes : int
        Spikes at which ``lambda_limit`` acted.
    dropped_spikes : int
        Spikes that dropout kept from all their synapses.
    spikes_lost : int
        Input spikes that augmentation moved out of the channels or the trial.
    """

    epoch: int
    loss: float
    accuracy: float | None
    validation_loss: float | None
    validation_accuracy: float | None
    seconds: float
    spikes_per_sample: dict[str, float]
    silent_units: dict[str, int]
    smallest_drive: float | None
    arrivals: int
    arrivals_after_end: int
    steps: int = 0
    learning_rates: dict[str, float] = field(default_factory=dict)
    clipped_steps: dict[str, int] = field(default_factory=dict)
    limited_spikes: int = 0
    dropped_spikes: int = 0
    spikes_lost: int = 0

    def __post_init__(self) -> None:
        # Those who are shown a record, such as callbacks, cannot change it.
        for name in _BY_NAME:
            object.__setattr__(self, name, Named(getattr(self, name), _BY_NAME[name]))

    def merit(self, watch: Watch) -> float:
        """The watched number, turned so that larger is better."""
        value = getattr(self, watch)
        if value is None:
            raise ValueError(f"epoch {self.epoch} has no {watch} to go by")
        return -value if watch.endswith("loss") else value


def check_watch(watch: object) -> None:
    """Refuse what is no number of an epoch that can be watched."""
    check_choice(watch, "watch", get_args(Watch))


def check_watched(watch: Watch, who: str, *, classifies: bool, validated: bool) -> None:
    """Refuse to watch what a run will not have; ``who`` watches it."""
    if watch.startswith("validation") and not validated:
        raise ValueError(
            f"{who} watches {watch!r}, but there is no validation data: give validation=..., or "
            f"watch {watch.removeprefix('validation_')!r}"
        )
    if watch.endswith("accuracy") and not classifies:
        raise ValueError(
            f"{who} watches {watch!r}, but the loss does not classify: watch "
            f"{watch.replace('accuracy', 'loss')!r}"
        )
