"""SpikeEvents: spikes in any order, and units of time."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from evsim.arguments.checks import check_choice

TimeUnit = Literal["ms", "s", "us"]
"""A unit of time: milliseconds, seconds or microseconds."""


class SpikeEvents(NamedTuple):
    """Spikes in any order.

    ``times`` (ms), ``units`` and ``samples`` have shape (events,).
    """

    times: np.ndarray
    units: np.ndarray
    samples: np.ndarray
    batch_size: int
    unit_count: int


def in_milliseconds(times: np.ndarray, unit: str) -> np.ndarray:
    """Times of the given unit in ms, as float64; an unknown unit is refused."""
    check_choice(unit, "unit", ("ms", "s", "us"))
    times = times.astype(np.float64)
    if unit == "s":
        with np.errstate(over="ignore"):  # an infinite time is refused where it is used
            return times * 1000.0
    # Division by 1000 rounds once; 0.001 is itself rounded.
    return times / 1000.0 if unit == "us" else times
