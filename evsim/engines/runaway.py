"""The rule by which all engines detect a network that runs away.

In a network with recurrent excitation each spike may cause more than one further spike.  The rate
then grows without end, and a simulation would run until memory is exhausted.  The rule applies to
each LIF unit with an excitatory synapse from its own recurrent component.  Its spikes are counted
in blocks of 50.  The length of a block is the time from the last spike of the previous block to the
last spike of the block; the first block begins at the first spike.  At the end of a block, the unit
runs away if

- there was a previous block, and the block is shorter than that one, and
- both together are shorter than ``100 tau / rate_limit``, where tau is tau_mem, or 4 tau_syn if
  that is shorter.

So the simulation ends with an error at spike number 100, 150, ... of a unit that emits more than
``rate_limit`` spikes per tau at a rising rate.  The rule considers rates, not their cause: it also
refuses a unit of a loop that inputs drive this fast, unless ``rate_limit`` is larger.  It accepts a
unit that spikes fast at a constant rate.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from evsim.arguments.checks import check_number
from evsim.network.network import Network
from evsim.network.populations import LIF
from evsim.network.ragged_arrays import counted

BLOCK = 50  # spikes
RATE_LIMIT = 400.0  # spikes per tau


def check_rate_limit(rate_limit: Any) -> None:
    """Refuse anything but a number > 0; infinity means no limit."""
    check_number(rate_limit, "rate_limit", "a number of spikes per tau_mem")
    if not rate_limit > 0:
        raise ValueError(f"rate_limit = {rate_limit}: it must be > 0; infinity for no limit")


def shortest_blocks(network: Network, rate_limit: float) -> np.ndarray:
    """The shortest accepted duration of two blocks of each unit in ms: ``100 tau / rate_limit``.

    It is 0 for units to which the rule does not apply.  Shape (units of all populations,).
    """
    if rate_limit == np.inf or not any(c.recurrent for c in network.topology.components):
        return np.zeros(network.topology.unit_count)
    tau = np.minimum(
        network.per_unit("tau_mem", default=0.0), 4.0 * network.per_unit("tau_syn", default=0.0)
    )
    in_loop = _excited.get(network)
    if in_loop is None:
        in_loop = _excited[network] = _excited_by_their_loop(network)
    return np.where(in_loop, 2 * BLOCK * tau / rate_limit, 0.0)


_excited: WeakKeyDictionary[Network, np.ndarray] = WeakKeyDictionary()


def _excited_by_their_loop(network: Network) -> np.ndarray:
    """Which LIF units have a synapse with a weight above 0 from their own recurrent component."""
    topology = network.topology
    component_of = np.full(topology.unit_count, -1)
    is_lif = np.zeros(topology.unit_count, bool)
    for number, component in enumerate(topology.components):
        for index in component.populations:
            units = slice(topology.first_unit[index], topology.first_unit[index + 1])
            is_lif[units] = isinstance(network.populations[index], LIF)
            if component.recurrent:
                component_of[units] = number
    target = component_of[topology.target]
    excites = (target >= 0) & (target == component_of[topology.source])
    excites &= network.weight_per_synapse() > 0.0
    excited = np.zeros(topology.unit_count, bool)
    excited[topology.target[excites]] = True
    return excited & is_lif


class SpikeBlocks:
    """Counts the spikes of one unit in blocks, in any number type.

    ``allowed`` is the unit's entry of ``shortest_blocks``.
    """

    def __init__(self, allowed: Any) -> None:
        self.allowed = allowed
        self.count = 0
        self.start: Any = None
        self.before: Any = None

    def add(self, time: Any) -> Any:
        """Count a spike; return the duration of two blocks if the unit runs away, else None."""
        if self.count == 0:
            self.start = time
        self.count += 1
        if self.count % BLOCK:
            return None
        before, length = self.before, time - self.start
        self.start, self.before = time, length
        if before is not None and before + length < self.allowed and length < before:
            return before + length
        return None


class Runaways(NamedTuple):
    """The units that run away, in ascending order.

    ``unit`` is the unit, ``spike`` the number of the first of its spikes, counted from 0, at which
    the rule refuses it, and ``span`` the duration of its two blocks.  Each array has one entry per
    unit that runs away; the types are int64, int64 and float64.
    """

    unit: np.ndarray
    spike: np.ndarray
    span: np.ndarray


def runaways(
    times: np.ndarray, first: np.ndarray, count: np.ndarray, allowed: np.ndarray
) -> Runaways:
    """The units that run away, given all spikes.

    The spikes of unit k are ``times[first[k] : first[k] + count[k]]``, ascending, in ms or in
    steps of a grid; ``allowed[k]`` is the unit's entry of ``shortest_blocks`` in the same unit of
    time.
    """
    owner, number = counted(count // BLOCK)
    begin = first[owner]
    last = begin + BLOCK * number + BLOCK - 1
    length = times[last] - times[np.where(number == 0, begin, last - BLOCK)]
    shorter, span = np.zeros(owner.size, bool), np.full(owner.size, np.inf)
    shorter[1:] = (number[1:] > 0) & (length[1:] < length[:-1])
    span[1:] = length[1:] + length[:-1]
    found = np.flatnonzero(shorter & (span < allowed[owner]))
    unit, place = np.unique(owner[found], return_index=True)
    block = found[place]
    return Runaways(unit, BLOCK * number[block] + BLOCK - 1, span[block])


def message(place: str, span: float, engine: str) -> str:
    """The error message; ``place`` names the sample, the unit and the time."""
    rate = 2 * BLOCK / span if span > 0 else np.inf
    return (
        f"{place}: its last {2 * BLOCK} spikes came within {span:.3g} ms, {rate:.3g} per ms, and "
        "they come faster and faster: the network runs away; use smaller weights, inhibition or a "
        f"refractory period, or allow it with {engine}(rate_limit=...)"
    )
