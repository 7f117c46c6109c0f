"""The time grid on which spike times lie, if there is one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FEWEST_TIMES = 4
"""A few times always lie on some grid."""

ROUNDING = 4.0
"""Times on a grid may be off by this many units in the last place of the last of them."""

COARSE = 50.0
"""A grid whose step is at most this many times the rounding may be there by chance."""


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
            # Numbers in float32 are multiples of their last place, which is not a time step.
            return found if found > np.spacing(np.float32(distinct[-1])) else None
    return None


def _common_divisor(times: NDArray[np.float64], tolerance: float) -> float | None:
    """Euclid's algorithm for real numbers; the result is refined, and checked by all times."""
    step = float(times[0])
    for place, time in enumerate(times[1:].tolist(), start=2):
        divisor = _divisor_of_two(time, step, tolerance)
        if divisor is None:
            return None
        counts = np.round(times[:place] / divisor)
        step = float(times[:place] @ counts / (counts @ counts))
    off = np.abs(times - np.round(times / step) * step)
    return step if bool((off <= tolerance).all()) else None


def _divisor_of_two(a: float, b: float, tolerance: float) -> float | None:
    """The largest number of which both are multiples; None if errors hide it.

    Each number is known up to an error, which grows with the multiples that are subtracted.
    """
    error_of_a = error_of_b = tolerance
    while b > COARSE * error_of_b:
        multiple, rest = divmod(a, b)
        error = error_of_a + (multiple + 1.0) * error_of_b
        if min(rest, b - rest) <= error:
            return b
        a, b, error_of_a, error_of_b = b, rest, error_of_b, error
    return None
