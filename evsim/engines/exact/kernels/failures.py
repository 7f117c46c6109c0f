"""Why a loop over samples stopped before its end, and where."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from evsim._compile.decorators import compiled, record


class Status(IntEnum):
    """Why a loop stopped."""

    DONE = 0  # it reached its end
    STOPPED = 1  # a stop was requested, see ``evsim._compile.stop_polls``
    TOO_FAST = 2  # a unit spikes again before the time, in float64, has increased
    NO_CROSSING = 3  # Newton's iteration for a threshold crossing did not end
    GRAZING = 4  # I - threshold is lost in rounding at an emission; its gradient is unbounded
    OVERFLOW = 5  # a current is no longer finite
    TOO_MANY = 6  # a sample emits more spikes than allowed
    RUNAWAY = 7  # a unit of a recurrent component emits faster and faster


FAILURE = record(
    [
        ("status", np.int64),
        ("time", np.float64),  # ms
        ("unit", np.int64),  # among the units of all populations
        ("sample", np.int64),
        ("span", np.float64),  # ms that the last two blocks of spikes took, if the unit runs away
    ]
)
"""What stopped a loop; zeros if nothing did."""


def new_failure() -> np.ndarray:
    """A record, (1,), to which a loop writes its failure; nothing has failed yet."""
    return np.zeros(1, FAILURE)


@compiled
def fail(failure: np.ndarray, status: int, time: float, unit: int) -> None:
    """Record that a unit failed at a time; ``failure`` is one record."""
    failure.status = status
    failure.time = time
    failure.unit = unit


@compiled
def has_failed(failure: np.ndarray) -> bool:
    """Whether something has stopped the loop."""
    return failure.status != Status.DONE
