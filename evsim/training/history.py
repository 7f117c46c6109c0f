"""The record of each epoch of a training run, and the measures in it that can be watched."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from evsim.arguments.checks import check_choice
from evsim.arguments.named import Named
from evsim.display.short_repr import Brief

Watch = Literal["accuracy", "loss", "validation_accuracy", "validation_loss"]
"""The measures of an epoch on which schedules, early stopping and the best epoch depend."""


_BY_NAME = {
    "spikes_per_sample": "population",
    "silent_units": "population",
    "learning_rates": "trained parameter",
    "clipped_steps": "parameter that is clipped",
}
"""The mappings in a record, and what their keys name."""


@dataclass(frozen=True, repr=False)
class EpochRecord(Brief):
    """What happened in one epoch.

    Parameters
    ----------
    epoch : int
        Counted from 1.
    loss, accuracy : float
        Means over the training samples, each computed with the network at the time of its
        batch.  The accuracy is None for a loss that does not classify.
    validation_loss, validation_accuracy : float or None
        Of the network after the epoch; None without validation data.
    seconds : float
        The duration of the epoch, including validation.
    spikes_per_sample : mapping from LIF population to float
        The spikes of all its units, mean over the training samples.
    silent_units : mapping from LIF population to int
        The number of its units that did not spike in the epoch.
    smallest_drive : float or None
        The smallest I - threshold at a spike; None if there was no spike.  Gradients grow
        without bound as it goes to 0.
    arrivals, arrivals_after_end : int
        The numbers of spikes that arrived at a synapse before and after the end of the trial.
        Later ones have no effect and no gradient.
    steps : int
        The number of batches, which is the number of steps of each optimiser.
    learning_rates : mapping from parameter to float
        At the last step of the epoch.
    clipped_steps : mapping from parameter to int
        For each parameter whose optimiser has a ``clip``, the number of gradients that were
        scaled down.
    limited_spikes : int
        The number of spikes at which ``lambda_limit`` acted.
    dropped_spikes : int
        The number of spikes that dropout removed.
    spikes_lost : int
        The number of input spikes that augmentation moved out of the channels or the trial.
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
        # Callbacks receive records and must not change them.
        for name in _BY_NAME:
            object.__setattr__(self, name, Named(getattr(self, name), _BY_NAME[name]))

    def score(self, watch: Watch) -> float:
        """The watched measure, with the sign for which larger is better."""
        value: float | None = getattr(self, watch)
        if value is None:
            raise ValueError(f"epoch {self.epoch} has no {watch} to go by")
        return -value if watch.endswith("loss") else value


def check_watch(watch: object) -> None:
    """Refuse a name that is not one of a measure that can be watched."""
    check_choice(watch, "watch", get_args(Watch))


def check_watched(watch: Watch, who: str, *, classifies: bool, validated: bool) -> None:
    """Refuse a measure that the run will not have; ``who`` watches it."""
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
