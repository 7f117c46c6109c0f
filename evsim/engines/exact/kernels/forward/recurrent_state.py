"""What the units of a recurrent component share while it runs."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

import numpy as np

from evsim._compile.decorators import compiled, record

STATE = record(
    [
        ("voltage", np.float64),  # at the time now
        ("current", np.float64),
        ("now", np.float64),
        ("free_at", np.float64),  # the end of the refractory period
        (
            "due",
            np.float64,
        ),  # when the unit emits if no more spikes are sent to it, or a lower bound
        ("due_current", np.float64),  # I then, if due is exact
        ("spike", np.int64),  # the latest emission; -1 before the first
        ("number", np.int64),  # how many emissions there were
        ("block_began", np.float64),  # when the block of emissions that is counted began
        ("block_length", np.float64),  # how long the block before it was, in ms
        ("place", np.int64),  # in the heap of units
        ("next", np.int64),  # its next arrival in the time slice, and the one after the last
        ("last", np.int64),
        ("late", np.int64),  # its next late arrival, see ``late_arrivals``; -1 for none
        ("excitation", np.float64),  # sum of positive weights that arrive in the time slice
        ("is_exact", np.bool_),  # whether due is more than a lower bound
        ("is_touched", np.bool_),  # whether a spike was sent to it at this instant
    ]
)
"""The state of a unit while its component runs."""


# What ``Running.work`` counts.
ARRIVALS = 0  # spikes that arrive at units of the component
STEPS = 1  # visits of an arrival, to sort one or to find the next emission


class Components(NamedTuple):
    """Which units are run together, in the order in which they run.

    ``units[first[c]:first[c + 1]]`` are the units of component c.  For a recurrent component
    ``synapses[outgoing[c, u]:outgoing[c, u + 1]]`` are those from unit u into it, sorted by
    delay.
    """

    first: np.ndarray
    units: np.ndarray
    recurrent: np.ndarray
    outgoing: np.ndarray
    synapses: np.ndarray


class Running(NamedTuple):
    """A component while it runs: its units and synapses, and what changes from event to event.

    ``synapses[outgoing[u]:outgoing[u + 1]]`` are those from unit u into it.  ``heap`` orders its
    units by when they are due; ``touched`` has room for the targets of a spike.  ``work`` counts.
    The buffer may have ``spike_limit`` spikes; ``key`` decides which are dropped.
    """

    members: np.ndarray
    units: np.ndarray
    outgoing: np.ndarray
    synapses: np.ndarray
    spikes: np.ndarray
    states: np.ndarray
    heap: np.ndarray
    touched: np.ndarray
    work: np.ndarray
    spike_limit: int
    key: np.uint64


@compiled
def start_states(states: np.ndarray, units: np.ndarray, members: np.ndarray, now: float) -> None:
    """Set units to where they start, at a time."""
    for i in range(members.size):
        unit = members[i]
        states[unit].voltage, states[unit].current = units[unit].start, 0.0
        states[unit].now = now
        states[unit].free_at = -1.0
        states[unit].due = inf
        states[unit].spike = -1
        states[unit].number = 0
        states[unit].block_began, states[unit].block_length = 0.0, inf
        states[unit].place = i
        states[unit].late = -1
        states[unit].is_exact = True
        states[unit].is_touched = False
