"""Learning rates that start so slowly that the run is too short for them."""

from __future__ import annotations

import math
from collections.abc import Mapping

from evsim.arguments.words import number_of
from evsim.training.optimisers import Optimizer
from evsim.training.schedules import EaseIn

SHORTER = (
    "use smaller batches, or shorten the ease-in: EaseIn(share=0.1), or a larger start, which "
    "tasks call ease_in"
)


def slow_ease_in(
    optimizers: Mapping[str, Optimizer], steps: int, batches: int, *, augmented: bool
) -> str | None:
    """The message on an ease-in that takes more than half of the run; None if there is none.

    Parameters
    ----------
    optimizers : mapping from trained parameter to Optimizer
        As they are in the run.
    steps, batches : int
        The numbers of batches of the run and of an epoch, for the data before augmentation.
    augmented : bool
        Whether there is augmentation, which may add samples.
    """
    slow = _slowest(optimizers)
    if slow is None or 2 * slow[1].steps <= steps:
        return None
    rate, schedule = slow
    counted = " (batches are counted before augmentation)" if augmented else ""
    if schedule.steps < steps:
        seen = f"{rate} is below its full value until batch {schedule.steps} of {steps}"
    else:
        last = schedule(1, steps - 1, ())
        seen = (
            f"the run has {number_of(steps, 'batch')}, at the last of which {rate} is {last:.2g} "
            f"of its full value, which it reaches after {number_of(schedule.steps, 'batch')}"
        )
    epochs = math.ceil(2 * schedule.steps / batches)
    return f"{seen}{counted}; train for {epochs} epochs or more, {SHORTER}"


def shorter_ease_in(given: Mapping[str, Optimizer], in_run: Mapping[str, Optimizer]) -> str | None:
    """The message on an ease-in that is faster because of its ``share``; None if there is none.

    Parameters
    ----------
    given, in_run : mapping from trained parameter to Optimizer
        As they were given, and as they are in the run.
    """
    before, after = _slowest(given), _slowest(in_run)
    if before is None or after is None or before[1].steps == after[1].steps:
        return None
    rate, schedule = after
    return (
        f"{rate} eases in over {number_of(schedule.steps, 'batch')}, because the run is "
        f"short; growing by {100 * (before[1].growth - 1):.2g} % with each batch would take "
        f"{before[1].steps}"
    )


def ended_in_ease_in(optimizers: Mapping[str, Optimizer], done: int) -> str | None:
    """The message on a run that ended, after ``done`` batches, at less than half of a rate."""
    slow = _slowest(optimizers)
    if slow is None or not done:
        return None
    rate, schedule = slow
    last = schedule(1, done - 1, ())
    if last >= 0.5:
        return None
    return (
        f"training ended after {number_of(done, 'batch')}, when {rate} was {last:.2g} of its "
        f"full value, which it reaches after {number_of(schedule.steps, 'batch')}; let training go "
        f"on for longer (patience, EarlyStopping(min_epochs=...)), {SHORTER}"
    )


def _slowest(optimizers: Mapping[str, Optimizer]) -> tuple[str, EaseIn] | None:
    """The ease-in that takes the most steps, and the name of its learning rate."""
    eased = [
        (name, schedule)
        for name, optimizer in optimizers.items()
        for schedule in optimizer.schedules
        if isinstance(schedule, EaseIn) and schedule.start < 1
    ]
    if not eased:
        return None
    first, schedule = max(eased, key=lambda pair: pair[1].steps)
    others = sum(each == schedule for _, each in eased) - 1
    whose = f"{first} and {others} more" if others else first
    return f"the learning rate of {whose}", schedule
