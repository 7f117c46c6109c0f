"""The synapses into a recurrent component as tables, if most pairs of units have a synapse.

Then a table takes no more memory than a list of synapses, and its rows are read in order: the row
of a source when a spike is sent to all units, and the row of a target when the arrivals at a unit
are looked up.
"""

from __future__ import annotations

from math import nan
from typing import NamedTuple

import numpy as np

from evsim._compile.decorators import allocating, compiled
from evsim._compile.stop_polls import is_stopped
from evsim.engines.exact.kernels.forward.recurrent_state import Components
from evsim.engines.exact.kernels.trial import have_equal_time_constants

LARGEST = 2**22  # pairs of units for which there are tables
FULLNESS = 4  # the largest number of pairs of units per synapse


class DenseSynapses(NamedTuple):
    """The synapses from S source units to the M units of a recurrent component.

    ``weight`` and ``delay`` (S, M) are those from each source; a pair of units without a synapse
    has a weight of 0.  ``delay_to`` and ``weight_to`` (M, S) are those to each unit, with a delay
    of NaN where there is no synapse.  ``common_delay`` (S,) is the delay of all synapses of a
    source, NaN if they differ.  ``source`` says which of the S sources each unit of the network
    is, and ``member`` which of the M units; -1 if none.  Units ``run[r]`` to ``run[r + 1] - 1`` of
    the M have equal time constants.
    """

    weight: np.ndarray
    delay: np.ndarray
    weight_to: np.ndarray
    delay_to: np.ndarray
    common_delay: np.ndarray
    longest_delay: float  # ms, from outside the component
    longest_delay_inside: float  # ms
    source: np.ndarray
    member: np.ndarray
    run: np.ndarray


@allocating
def no_dense_synapses() -> DenseSynapses:
    """Empty tables."""
    nothing, none = np.empty((0, 0)), np.empty(0, np.int64)
    return DenseSynapses(
        nothing, nothing, nothing, nothing, np.empty(0), 0.0, 0.0, none, none, none
    )


@compiled
def has_tables(dense: DenseSynapses) -> bool:
    """Whether these are the tables of a component, and not empty."""
    return dense.weight.size > 0


@allocating
def dense_synapses_of(
    components: Components, recurrent: np.ndarray, units: np.ndarray
) -> list[DenseSynapses]:
    """The tables of each component; empty ones for those that are not recurrent."""
    tables = []
    for component in range(recurrent.size):
        if recurrent[component]:
            tables.append(dense_synapses(component, components, units))
        else:
            tables.append(no_dense_synapses())
    return tables


@compiled
def number_of_sources(outgoing: np.ndarray) -> int:
    """How many units send spikes into a component, see ``Components.outgoing``."""
    sources = 0
    for unit in range(outgoing.size - 1):
        sources += outgoing[unit + 1] > outgoing[unit]
    return sources


@allocating
def runs_of_equal_time_constants(members: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Where each run of units with equal time constants begins, and the end of the last one."""
    run = np.empty(members.size + 1, np.int64)
    count = 0
    for m in range(members.size):
        if m == 0 or not have_equal_time_constants(members[m - 1], members[m], units):
            run[count] = m
            count += 1
    run[count] = members.size
    return run[: count + 1].copy()


@allocating
def dense_synapses(component: int, components: Components, units: np.ndarray) -> DenseSynapses:
    """The tables of a component; empty ones if it has none, see ``has_tables``.

    A component has none if they would be large or mostly empty, if two synapses connect the same
    pair of units, if time constants differ from unit to unit, or if a threshold is not above rest.
    """
    nothing = no_dense_synapses()
    members = components.units[components.first[component] : components.first[component + 1]]
    outgoing, synapses = components.outgoing[component], components.synapses
    first, last = outgoing[0], outgoing[outgoing.size - 1]
    sources = number_of_sources(outgoing)
    pairs = sources * members.size
    if pairs > LARGEST or pairs > FULLNESS * (last - first):
        return nothing
    run = runs_of_equal_time_constants(members, units)
    if 8 * (run.size - 1) > members.size:
        return nothing
    for unit in members:
        if not units[unit].threshold > 0.0:
            return nothing
    source, member = np.full(outgoing.size - 1, -1), np.full(outgoing.size - 1, -1)
    for m in range(members.size):
        member[members[m]] = m
    weight, delay = np.zeros((sources, members.size)), np.zeros((sources, members.size))
    weight_to = np.zeros((members.size, sources))
    delay_to = np.full((members.size, sources), nan)
    common_delay = np.empty(sources)
    longest, longest_inside, s = 0.0, 0.0, 0
    for unit in range(outgoing.size - 1):
        if is_stopped():
            return nothing
        begin, end = outgoing[unit], outgoing[unit + 1]
        if begin == end:
            continue
        source[unit] = s
        for place in range(begin, end):
            m = member[synapses[place].target]
            if delay_to[m, s] >= 0.0:
                return nothing  # a second synapse between the same units
            weight[s, m] = weight_to[m, s] = synapses[place].weight
            delay[s, m] = delay_to[m, s] = synapses[place].delay
        # Synapses are sorted by delay.
        shortest, longest_of_source = synapses[begin].delay, synapses[end - 1].delay
        common_delay[s] = shortest if shortest == longest_of_source else nan
        if member[unit] >= 0:
            longest_inside = max(longest_inside, longest_of_source)
        else:
            longest = max(longest, longest_of_source)
        s += 1
    return DenseSynapses(
        weight,
        delay,
        weight_to,
        delay_to,
        common_delay,
        longest,
        longest_inside,
        source,
        member,
        run,
    )
