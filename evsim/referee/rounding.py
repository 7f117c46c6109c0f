"""Whether rounding explains the errors of spike times."""

from __future__ import annotations

import numpy as np

from evsim.referee.matching import SpikeMatches
from evsim.referee.unit_trace import Activity, UnitTrace

UNITS_IN_THE_LAST_PLACE = 64.0
"""A time may be off by this many units in the last place of the trial's duration, a voltage by as
many of the threshold or of I at the spike, whichever is larger."""

NUMBERS = (("float64", np.float64), ("float32", np.float32))

MOST_SLOW_SPIKES = 1000
"""The number of spikes whose slope is examined; if a program has more errors beyond the rounding of
a time, rounding does not explain them."""


def rounding_that_explains(matches: SpikeMatches, ours: Activity) -> str | None:
    """The numbers, "float64" or "float32", whose rounding explains the errors of all pairs.

    The error of a time is explained if it is the rounding of the time itself, or the effect of an
    error of the voltage at the threshold on the time: the error of the voltage over its slope
    there.
    """
    pairs = matches.where(matches.is_matched)
    if not len(pairs):
        return None
    for name, number in NUMBERS:
        of_time = UNITS_IN_THE_LAST_PLACE * float(np.spacing(number(ours.duration)))
        rest = pairs.where(np.abs(pairs.error) > of_time)
        if len(rest) <= MOST_SLOW_SPIKES and all(
            abs(float(rest.error[row])) <= of_time + _of_voltage(rest, row, ours, number)
            for row in range(len(rest))
        ):
            return name
    return None


def _of_voltage(pairs: SpikeMatches, row: int, ours: Activity, number: type) -> float:
    """How far rounding of V at the threshold moves the spike of a row, in ms."""
    name = pairs.populations[pairs.population[row]]
    trace = UnitTrace.of(ours, name, int(pairs.unit[row]), int(pairs.sample[row]))
    time = float(pairs.ours[row])
    size = max(abs(trace.unit.threshold), abs(trace.before(time)[1]))
    rise = trace.rise_at(time)
    off = UNITS_IN_THE_LAST_PLACE * float(np.spacing(number(size)))
    # Where V only touches the threshold, the slope is 0 and the time varies as the root of V.
    root = float(np.sqrt(2.0 * off * trace.unit.tau_mem * trace.unit.tau_syn / size))
    return min(off / rise, root) if rise > 0.0 else root
