"""Schedules of learning rates, and early stopping.

A schedule is a frozen dataclass and a pure function of the epoch, the step and the records of
earlier epochs; it has no state.  So a resumed run has the same rates, to the bit, as an
uninterrupted one.

D is Mészáros, Knight, Nowotny, *Efficient event-based delay learning in spiking neural networks*;
L is Nowotny, Turner, Knight, *Loss shaping enhances exact gradient learning with EventProp*.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from evsim.arguments.checks import check_number, checked_integer
from evsim.arguments.keywords import helpful
from evsim.storage.description import ADDED_LATER
from evsim.training.history import EpochRecord, Watch, check_watch

# -- schedules ----------------------------------------------------------------------------


class Schedule(ABC):
    """A factor by which a learning rate is multiplied.

    ``changes_within_epochs`` says whether it depends on the step; ``watch`` names the measure of
    earlier epochs on which it depends, if any.
    """

    changes_within_epochs: ClassVar[bool] = False
    watch: Watch | None = None

    @abstractmethod
    def __call__(self, epoch: int, step: int, history: Sequence[EpochRecord]) -> float:
        """The factor for a step.

        Parameters
        ----------
        epoch : int
            Counted from 1.
        step : int
            The number of earlier steps in the whole run.
        history : sequence of EpochRecord
            The records of earlier epochs.
        """

    def in_run(self, steps: int) -> Schedule:
        """The schedule for a run that plans this many steps; by default the same schedule."""
        return self


@helpful
@dataclass(frozen=True)
class EaseIn(Schedule):
    """Start at a small fraction of the rate and grow with every batch (L, section 4.6).

    The factor is ``start * growth**step``, at most 1.  With the defaults, which are those of the
    paper, it is 1 after 142 batches.  Two published programs differ from the paper.  That of D
    starts at 0.01 and multiplies the factor by ``1.05**batch`` at every batch, so that it is 1
    after about 14 batches.  The mlGeNN example of L's network counts batches from the start of
    each epoch: the factor starts at 1e-3 in every epoch, until an epoch of more than 142 batches
    has reached 1.  With fewer batches in an epoch, the factor never reaches 1.

    Parameters
    ----------
    start : float
        The first factor, in (0, 1].
    growth : float
        > 1.
    share : float, optional
        The largest share of the steps of a run, in (0, 1], until the factor is 1.  If ``growth``
        would take more steps, the factor grows just fast enough to reach 1 in time.  The steps are
        those of the data before augmentation; a resumed run counts the epochs with which it began.
        By default there is no limit, as in the paper.
    """

    start: float = 1e-3
    growth: float = 1.05
    share: float | None = field(default=None, metadata=ADDED_LATER)

    changes_within_epochs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_number(self.start, "start")
        check_number(self.growth, "growth")
        if not 0 < self.start <= 1:
            raise ValueError(f"start = {self.start}: it must be in (0, 1]")
        if not 1 < self.growth < np.inf:
            raise ValueError(f"growth = {self.growth}: it must be finite and > 1")
        if self.share is not None:
            check_number(self.share, "share")
            if not 0 < self.share <= 1:
                raise ValueError(f"share = {self.share}: it must be in (0, 1]; None for no limit")

    def in_run(self, steps: int) -> EaseIn:
        if self.share is None:
            return self
        most = max(1, int(self.share * steps))
        if self.steps <= most:
            return EaseIn(self.start, self.growth)
        # A little more, so that rounding does not add a step.
        return EaseIn(self.start, self.start ** (-1.0 / most) * (1.0 + 1e-12))

    @property
    def steps(self) -> int:
        """The number of steps after which the factor is 1, unless ``share`` limits it."""
        return math.ceil(-math.log(self.start) / math.log(self.growth))

    def __call__(self, epoch: int, step: int, history: Sequence[EpochRecord]) -> float:
        # The powers of later steps would overflow.
        return 1.0 if step >= self.steps else min(1.0, self.start * self.growth**step)


@helpful
@dataclass(frozen=True)
class Halving(Schedule):
    """Halve the rate when a measure no longer improves (L, equations 8 and 9).

    Two exponential moving averages of the measure x are updated once per epoch,
    ``m := a m + (1 - a) x``, one with a = ``fast`` and one with a = ``slow``.  The rate is halved
    after an epoch in which the fast average does not exceed the slow one, if more than ``wait``
    epochs have passed since the last halving, or since the first epoch.

    Averages of an accuracy start at 0, as in the programs published with L.  For a loss, x is
    its negative, and the averages start at the value of the first epoch.

    Parameters
    ----------
    fast, slow : float
        In [0, 1), fast < slow.
    wait : int
        Epochs, >= 0.
    watch : str
        "accuracy", "loss", "validation_accuracy" or "validation_loss".  The paper watches the
        training accuracy; its program by default watches the validation accuracy.
    """

    fast: float = 0.8
    slow: float = 0.85
    wait: int = 50
    watch: Watch = "accuracy"

    def __post_init__(self) -> None:
        check_number(self.fast, "fast")
        check_number(self.slow, "slow")
        if not 0 <= self.fast < self.slow < 1:
            raise ValueError(
                f"fast = {self.fast}, slow = {self.slow}: they must be in [0, 1), fast < slow"
            )
        checked_integer(self.wait, "wait", 0)
        check_watch(self.watch)

    def __call__(self, epoch: int, step: int, history: Sequence[EpochRecord]) -> float:
        factor, changed = 1.0, 1
        if not history:
            return factor
        fast = slow = history[0].score(self.watch) if self.watch.endswith("loss") else 0.0
        for record in history:
            value = record.score(self.watch)
            fast = self.fast * fast + (1.0 - self.fast) * value
            slow = self.slow * slow + (1.0 - self.slow) * value
            if fast <= slow and record.epoch - changed > self.wait:
                factor, changed = 0.5 * factor, record.epoch
        return factor


@helpful
@dataclass(frozen=True)
class Decay(Schedule):
    """Multiply the rate by a factor after each epoch: ``factor**(epoch - 1)``."""

    factor: float

    def __post_init__(self) -> None:
        _check_factor(self)

    def __call__(self, epoch: int, step: int, history: Sequence[EpochRecord]) -> float:
        return self.factor ** (epoch - 1)


@helpful
@dataclass(frozen=True)
class StepDecay(Schedule):
    """Multiply the rate by a factor every few epochs: ``factor**((epoch - 1) // every)``."""

    factor: float
    every: int

    def __post_init__(self) -> None:
        _check_factor(self)
        checked_integer(self.every, "every", 1)

    def __call__(self, epoch: int, step: int, history: Sequence[EpochRecord]) -> float:
        return self.factor ** ((epoch - 1) // self.every)


def as_schedules(given: Any) -> tuple[Schedule, ...]:
    """A tuple of schedules, from one or several; their factors are multiplied."""
    schedules = (given,) if isinstance(given, Schedule) else given
    if not isinstance(schedules, Sequence) or isinstance(schedules, str):
        raise TypeError(f"schedule = {given!r}: give a schedule such as evsim.schedules.EaseIn()")
    for schedule in schedules:
        if not isinstance(schedule, Schedule):
            raise TypeError(
                f"schedule holds {schedule!r}: give schedules such as evsim.schedules.EaseIn()"
            )
    return tuple(schedules)


# -- early stopping -----------------------------------------------------------------------


@helpful
@dataclass(frozen=True)
class EarlyStopping:
    """End training when a measure has not improved for a number of epochs.

    D watches the training accuracy for SHD and the validation accuracy for other tasks, with a
    patience of 15 (16 in its program).

    Parameters
    ----------
    patience : int
        The number of epochs without a new best value, >= 1.
    watch : str
        "validation_accuracy", "accuracy", "validation_loss" or "loss".
    min_epochs : int
        Training does not end before this number of epochs.
    """

    patience: int = 15
    watch: Watch = "validation_accuracy"
    min_epochs: int = 0

    def __post_init__(self) -> None:
        checked_integer(self.patience, "patience", 1)
        checked_integer(self.min_epochs, "min_epochs", 0)
        check_watch(self.watch)

    def reason(self, history: Sequence[EpochRecord]) -> str | None:
        """The reason why training ends after these epochs; None if it continues."""
        if not history or history[-1].epoch < self.min_epochs:
            return None
        best = max(history, key=lambda record: record.score(self.watch))  # the first of equals
        if history[-1].epoch - best.epoch < self.patience:
            return None
        return (
            f"{self.watch} has not improved on the {getattr(best, self.watch):.4g} of epoch "
            f"{best.epoch} for {self.patience} epochs"
        )


# -- checks -------------------------------------------------------------------------------


def _check_factor(settings: Any) -> None:
    check_number(settings.factor, "factor")
    if not 0 < settings.factor <= 1:
        raise ValueError(f"factor = {settings.factor}: it must be in (0, 1]; 1 for no change")
