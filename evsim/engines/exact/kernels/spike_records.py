"""How networks and spikes lie in memory while kernels run.

Kernels index units of all populations, synapses and spikes by one running number each, and
keep what belongs together in one record of an array.  The
spikes of one unit in one sample lie one after the other in the spike buffer, sorted by time:
``start[unit]`` is the first and ``count[unit]`` their number.
"""

from __future__ import annotations

import numpy as np

from evsim._compile.decorators import allocating, record
from evsim._compile.stop_polls import is_stopped_at

# Why a kernel stopped.
DONE = 0
TOO_FAST = 1  # a unit spikes again before time, in float64, has moved on
NO_CROSSING = 2  # Newton's iteration for a threshold crossing did not end
GRAZING = 3  # I - threshold rounds to 0 or below at an emission; its gradient is unbounded
OVERFLOW = 4  # a current is no longer finite
TOO_MANY = 5  # a sample emits more spikes than allowed
RUNAWAY = 6  # a unit of a recurrent component emits faster and faster
STOPPED = -1  # it has been told to, see ``stopped``

FULL = -1  # in place of a number of spikes: the buffer has no room for more


UNIT = record(
    [
        ("tau_mem", np.float64),  # ms
        ("tau_syn", np.float64),  # ms
        ("threshold", np.float64),
        ("refractory", np.float64),  # ms
        ("highest_response", np.float64),  # V/I of the highest V that a current alone makes
        ("drop_rate", np.float64),  # probability that a spike reaches no synapse
        ("rate_jump", np.float64),  # subtracted from lambda_V- at each of its spikes
        ("shortest_blocks", np.float64),  # ms that two blocks of spikes take, or it runs away
        ("arrival_group", np.int64),  # units of one group hear the same at the same times
        ("is_lif", np.bool_),
    ],
    align=True,
)
"""A unit: its parameters, NaN where its kind has none, and what a run adds to them."""

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
        ("drive", np.float64),  # I - threshold at the emission; infinity for inputs
        ("release_current", np.float64),  # I when V moves again; 0 if after the trial
        ("is_dropped", np.bool_),  # reaches none of its synapses
    ],
    align=True,
)
"""An emission."""


@allocating
def grown_spikes(spikes: np.ndarray, used: int) -> np.ndarray:
    """A buffer of twice the capacity with the same content."""
    larger = np.empty(2 * spikes.size + 16, SPIKE)
    for i in range(used):
        if is_stopped_at(i):
            break
        larger[i] = spikes[i]
    return larger
