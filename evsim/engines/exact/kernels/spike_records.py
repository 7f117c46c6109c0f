"""The memory layout of networks and spikes for the loops.

Units (of all populations), synapses and spikes are each numbered consecutively, and all values of
one of them form one record of an array.  The spikes of one unit in one sample are contiguous in the
spike buffer, sorted by time: ``start[unit]`` is the first and ``count[unit]`` their number.
"""

from __future__ import annotations

import numpy as np

from evsim._compile.decorators import allocating, compiled, record
from evsim._compile.stop_polls import is_stopped_at
from evsim.engines.exact.kernels.dropout import is_dropped
from evsim.equations.lif import is_refractory_after

NO_ROOM = -1  # in place of a number of spikes: the buffer is too small


UNIT = record(
    [
        ("tau_mem", np.float64),  # ms
        ("tau_syn", np.float64),  # ms
        ("threshold", np.float64),  # measured from rest, like all voltages
        ("reset", np.float64),
        ("start", np.float64),  # V at the beginning of the trial
        ("refractory", np.float64),  # ms
        ("highest_response", np.float64),  # V/I of the highest V that one current produces
        ("drop_rate", np.float64),  # probability that a spike reaches no synapse
        ("rate_jump", np.float64),  # subtracted from lambda_V- at each of its spikes
        ("shortest_blocks", np.float64),  # ms that two blocks of spikes must take; see ``runaway``
        ("arrival_group", np.int64),  # units of a group receive the same spikes at the same times
        ("is_lif", np.bool_),
        ("start_is_given", np.bool_),  # V does not start at rest, so start has a gradient
    ],
    align=True,
)
"""A unit: its parameters, NaN for those that its kind lacks, and what a run adds to them."""

SYNAPSE = record(
    [
        ("weight", np.float64),
        ("delay", np.float64),  # ms
        ("source", np.int32),
        ("target", np.int32),
        ("index", np.int64),
    ]
)
"""A synapse; ``index`` is its number in the topology, whatever the order of the array."""

SPIKE = record(
    [
        ("time", np.float64),  # ms
        ("threshold_excess", np.float64),  # I - threshold at the emission; infinity for inputs
        ("release_current", np.float64),  # I when V moves again; 0 if that is after the trial
        ("is_dropped", np.bool_),  # reaches none of its synapses
    ],
    align=True,
)
"""An emission."""


@compiled
def write_emission(
    spikes: np.ndarray,
    spike: int,
    time: float,
    current: float,
    unit: int,
    number: int,
    units: np.ndarray,
    key: np.uint64,
) -> bool:
    """Write a unit's emission, the ``number``-th of its sample, to a place of the buffer.

    ``current`` is I at the emission.  ``key`` decides whether the spike is dropped.  Returns
    whether a refractory period follows; then I at its end is still missing.
    """
    is_refractory = is_refractory_after(time, units[unit].refractory)
    spikes[spike].time = time
    spikes[spike].threshold_excess = current - units[unit].threshold
    spikes[spike].release_current = 0.0 if is_refractory else current
    spikes[spike].is_dropped = is_dropped(key, unit, number, units[unit].drop_rate)
    return is_refractory


@allocating
def grown_spikes(spikes: np.ndarray, count: int) -> np.ndarray:
    """A buffer of twice the capacity with the same ``count`` spikes."""
    larger = np.empty(2 * spikes.size + 16, SPIKE)
    for i in range(count):
        if is_stopped_at(i):
            break
        larger[i] = spikes[i]
    return larger
