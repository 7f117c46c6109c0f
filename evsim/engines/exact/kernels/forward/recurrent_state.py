"""What the units of a recurrent component share while it runs."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

import numpy as np

from evsim._compile.decorators import allocating, compiled, record
from evsim.engines.exact.kernels.trial import have_equal_time_constants

STATE = record(
    [
        ("voltage", np.float64),  # at the time ``now``, before which nothing can change any more
        ("current", np.float64),
        ("now", np.float64),
        ("next", np.int64),  # its next arrival in the time slice, and the one after the last
        ("last", np.int64),
        ("late", np.int64),  # its next late arrival, see ``late_arrivals``; -1 for none
        ("ahead_voltage", np.float64),  # after the arrivals known before it is due
        ("ahead_current", np.float64),
        ("ahead_now", np.float64),
        ("ahead_next", np.int64),
        ("due", np.float64),  # when it emits if nothing more arrives before, or a lower bound
        ("due_current", np.float64),  # I then, if due is exact
        ("free_at", np.float64),  # the end of the refractory period
        ("spike", np.int64),  # the latest emission; -1 before the first
        ("number", np.int64),  # of emissions so far
        ("block_began", np.float64),  # when the current block of emissions began
        ("block_length", np.float64),  # how long the block before it was, in ms
        ("place", np.int64),  # in the heap of units
        ("is_refractory", np.bool_),  # V does not move, now and ahead
        ("ahead_is_refractory", np.bool_),
        ("is_exact", np.bool_),  # whether due is more than a lower bound
        ("is_touched", np.bool_),  # whether its next emission has to be found again
    ]
)
"""The state of a unit while its component runs."""


# What ``Running.work`` counts.
ARRIVALS = 0  # spikes that arrive at units of the component
STEPS = 1  # visits of arrivals, to sort them or to find the next emission


class Components(NamedTuple):
    """Which units are run together, in the order in which they run.

    ``units[first[c]:first[c + 1]]`` are the units of component c.  For a recurrent component
    ``synapses[outgoing[c, u]:outgoing[c, u + 1]]`` are those from unit u into it, sorted by
    delay, and ``external[external_first[u]:external_first[u + 1]]`` are the synapses of the network
    that come to its unit u from units outside.
    """

    first: np.ndarray
    units: np.ndarray
    recurrent: np.ndarray
    outgoing: np.ndarray
    synapses: np.ndarray
    external: np.ndarray
    external_first: np.ndarray


@compiled
def units_of_layer(component: int, components: Components) -> tuple[int, int]:
    """The first unit of a feedforward component and the one after its last.

    The component is one population, so its units are consecutive.
    """
    first, end = components.first[component], components.first[component + 1]
    return components.units[first], components.units[end - 1] + 1


class Running(NamedTuple):
    """A component while it runs: its units and synapses, and what changes from event to event.

    ``synapses[outgoing[u]:outgoing[u + 1]]`` are those from unit u into it.  ``heap`` orders its
    units by their due times; ``touched`` has room for the targets of a spike.  ``work`` counts
    arrivals and steps.  The buffer may contain ``spike_limit`` spikes; ``key`` decides which are
    dropped.  ``is_alike`` says whether all units have the same time constants.
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
    is_alike: bool


@compiled
def are_alike(members: np.ndarray, units: np.ndarray) -> bool:
    """Whether all units of a component have the same time constants."""
    is_alike = True
    for unit in members:
        is_alike &= have_equal_time_constants(unit, members[0], units)
    return is_alike


@allocating
def with_buffer(running: Running, spikes: np.ndarray) -> Running:
    """The same component with another buffer of spikes."""
    return Running(
        running.members, running.units, running.outgoing, running.synapses, spikes,
        running.states, running.heap, running.touched, running.work, running.spike_limit,
        running.key, running.is_alike,
    )  # fmt: skip


@compiled
def start_states(states: np.ndarray, units: np.ndarray, members: np.ndarray) -> None:
    """Set units to their state at the beginning of the trial."""
    for i in range(members.size):
        unit = members[i]
        states[unit].ahead_voltage, states[unit].ahead_current = units[unit].start, 0.0
        states[unit].ahead_now = 0.0
        states[unit].ahead_is_refractory = False
        states[unit].due = inf
        states[unit].free_at = -1.0
        states[unit].spike = -1
        states[unit].number = 0
        states[unit].block_began, states[unit].block_length = 0.0, inf
        states[unit].place = i
        states[unit].is_touched = False


@compiled
def begin_unit(unit: int, states: np.ndarray, first: int, last: int) -> None:
    """Begin a time slice, in which a unit has arrivals ``first`` to ``last - 1``."""
    states[unit].voltage = states[unit].ahead_voltage
    states[unit].current = states[unit].ahead_current
    states[unit].now = states[unit].ahead_now
    states[unit].is_refractory = states[unit].ahead_is_refractory
    states[unit].next, states[unit].last, states[unit].late = first, last, -1
