"""Local errors: those of one spike, given the other program's own earlier spikes.

The error of a spike time contains what is left of all earlier errors: a unit that was late is reset
late, and is late again.  A local error contains none of them.  It is the other program's time minus
the time at which the unit crosses the threshold by the exact equations, given the other program's
own spikes: all that arrive, and the unit's own last one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evsim.referee.unit_trace import Activity, UnitTrace

MOST_SPIKES = 2000
"""The number of spikes that are examined, from the first unit of the first sample on."""


def predicted(
    history: Activity, populations: tuple[str, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times of spikes of the other program, and the exact ones given its earlier spikes, in ms.

    For populations that the other program did not give, ``history`` has the spikes of evsim.
    Infinity where the unit would not cross the threshold at all.
    """
    found: list[tuple[float, float]] = []
    for name in populations:
        trains = history.spikes[name]
        owners = np.unique(trains.samples * trains.unit_count + trains.units)
        for owner in owners.tolist():
            if len(found) >= MOST_SPIKES:
                break
            sample, unit = divmod(owner, trains.unit_count)
            trace = UnitTrace.of(history, name, unit, sample)
            times = trace.emissions.tolist()
            found += zip(times, predictions(trace), strict=True)
    flat = np.array(found, np.float64).reshape(-1, 2)
    return flat[:, 0], flat[:, 1]


def predictions(trace: UnitTrace) -> list[float]:
    """For each emission of a unit, when it would come by the exact equations after the last one."""
    starts = np.concatenate([[0], trace.places_of_emissions[:-1]])
    return [trace.next_crossing(int(index)) for index in starts[: trace.emissions.size]]
