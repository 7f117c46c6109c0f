"""The time grid that spike times lie on, if they do."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FEWEST_TIMES = 4
"""A few times always lie on some grid."""

ROUNDING = 4.0
"""Times on a grid may be off by this many units in the last place of the last of them."""

COARSE = 50.0
"""A grid is finer than that many times the rounding: it may be there by chance."""


def spacing_of(times: NDArray[np.float64]) -> float | None:
    """The largest step of which all times in ms are multiples, up to rounding; None without one.

    The rounding is that of float64, and if there is no such grid, that of float32.
    """
    distinct = np.unique(times[times > 0.0])
    if distinct.size < FEWEST_TIMES:
        return None
    for number in (np.float64, np.float32):
        tolerance = ROUNDING * float(np.spacing(number(distinct[-1])))
        found = _common_divisor(distinct, tolerance)
        if found is not None and found > COARSE * tolerance:
            # Numbers of float32 are multiples of their last place, which is no time step.
            return found if found > np.spacing(np.float32(distinct[-1])) else None
    return None


def _common_divisor(times: NDArray[np.float64], tolerance: float) -> float | None:
    """Euclid's algorithm for real numbers; the result is refined, and checked by all times."""
    step = float(times[0])
    for time in times[1:].tolist():
        a, b = time, step
        while b > COARSE * tolerance:
            rest = a % b
            # Rounding of the step grows with the multiple.
            slack = tolerance * (1.0 + a / b)
            a, b = b, (0.0 if min(rest, b - rest) <= slack else rest)
        if b > 0.0:
            return None
        step = a
        counts = np.round(times[times <= time] / step)
        step = float(times[times <= time] @ counts / (counts @ counts))
    off = np.abs(times - np.round(times / step) * step)
    return step if bool((off <= tolerance).all()) else None
