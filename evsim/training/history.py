"""The records of the epochs of a training run, and the measures in them that can be watched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, get_args

from evsim.arguments.checks import check_choice
from evsim.arguments.named import Named
from evsim.arguments.words import number_of
from evsim.display.frames import data_frame
from evsim.display.short_repr import Brief

if TYPE_CHECKING:
    from pandas import DataFrame

Watch = Literal["accuracy", "loss", "validation_accuracy", "validation_loss"]
"""The measures of an epoch on which schedules, early stopping and the best epoch depend."""


_BY_NAME = {
    "spikes_per_sample": "population",
    "silent_units": "population",
    "learning_rates": "trained parameter",
    "gradient_norms": "trained parameter",
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
        The smallest I - threshold at a spike; None if there was no spike.  Gradients grow without
        bound as this goes to 0.
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
    gradient_norms : mapping from trained parameter to float
        The Euclidean norm of the gradient of a batch, mean over the batches of the epoch.  The
        gradient is the one that the optimiser receives, including regularisers and
        ``lambda_limit``, before ``clip``.  For a sparse parameter, the norm is that of the stored
        entries.  Empty in epochs that an earlier version of evsim trained.
    nearest_change : float or None
        With ``fit(nearest_change=True)``, the share of the last step of the epoch after which a
        spike appears, vanishes or leaves the trial, to first order: below 1, the step is longer
        than its gradient holds.  0 if the network is at such a change.  None if it was not
        requested, or if the step leads to no such change.
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
    gradient_norms: dict[str, float] = field(default_factory=dict, repr=False)
    nearest_change: float | None = None

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


class History(tuple[EpochRecord, ...]):
    """The records of the finished epochs of a run, a tuple."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"History({number_of(len(self), 'epoch')})"

    def to_frame(self) -> DataFrame:
        """The records as a pandas data frame with a row for each epoch.

        A field that is a mapping becomes a column for each of its keys, such as
        "spikes_per_sample.hidden" and "gradient_norms.input->hidden.weight".

        Raises ImportError without pandas.
        """
        return data_frame(_columns(self))


def _columns(history: Sequence[EpochRecord]) -> dict[str, list[Any]]:
    """The values of each field and of each key of a mapping, None in epochs that lack it."""
    columns: dict[str, list[Any]] = {}
    for each in fields(EpochRecord):
        values = [getattr(record, each.name) for record in history]
        if each.name not in _BY_NAME:
            columns[each.name] = values
            continue
        for key in dict.fromkeys(key for value in values for key in value):
            columns[f"{each.name}.{key}"] = [value.get(key) for value in values]
    return columns


def check_watch(watch: object) -> None:
    """Refuse a name that is not that of a measure that can be watched."""
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
