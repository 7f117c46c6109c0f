"""When a network runs away: one rule for all engines.

In a network with recurrent excitation every spike may cause more than one.  Then spikes come faster
and faster, and a simulation would run until memory is exhausted.  The rule applies to each LIF unit
that is part of an excitatory loop of connections.  Its spikes are counted in blocks of 50.  The
length of a block is the time from the last spike of the previous block to the last spike of the
block; the first block begins at its first spike.  When a block ends, the unit runs away if

- there was a previous block, and the block is shorter than that one, and
- both together are shorter than ``100 tau / rate_limit``, where tau is tau_mem, or 4 tau_syn if
  that is shorter.

So a unit is refused at its spike number 100, 150, ... if it emits more than ``rate_limit``
spikes per tau and its rate is rising.  The rule considers rates, not their cause: a unit of a loop
that is driven this fast by inputs is refused too, unless ``rate_limit`` is larger.  A unit that is
fast at a steady rate is accepted.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from evsim.arguments.checks import check_number
from evsim.network.network import Network
from evsim.network.populations import LIF
from evsim.network.ragged_arrays import counted

BLOCK = 50  # spikes
RATE_LIMIT = 400.0  # spikes per tau


def check_rate_limit(rate_limit: Any) -> None:
    """Refuse what is not a number > 0; infinity means no limit."""
    check_number(rate_limit, "rate_limit", "a number of spikes per tau_mem")
    if not rate_limit > 0:
        raise ValueError(f"rate_limit = {rate_limit}: it must be > 0; infinity for no limit")


def shortest_blocks(network: Network, rate_limit: float) -> np.ndarray:
    """How long two blocks of each unit must take, in ms: ``100 tau / rate_limit``.

    0 for units to which the rule does not apply.  Shape (units of all populations,).
    """
    if rate_limit == np.inf or not any(c.recurrent for c in network.topology.components):
        return np.zeros(network.topology.unit_count)
    tau = np.minimum(
        network.per_unit("tau_mem", default=0.0), 4.0 * network.per_unit("tau_syn", default=0.0)
    )
    in_loop = _excited_by_their_loop(network)
    return np.where(in_loop, 2 * BLOCK * tau / rate_limit, 0.0)


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
    own = component_of[topology.target]
    excites = (own >= 0) & (own == component_of[topology.source])
    excites &= network.weight_per_synapse() > 0.0
    excited = np.zeros(topology.unit_count, bool)
    excited[topology.target[excites]] = True
    return excited & is_lif


class SpikeBlocks:
    """The blocks of one unit, spike after spike, in any number type.

    ``allowed`` is its entry of ``shortest_blocks``.
    """

    def __init__(self, allowed: Any) -> None:
        self.allowed = allowed
        self.count = 0
        self.start: Any = None
        self.before: Any = None

    def add(self, time: Any) -> Any:
        """Count a spike; how long its last two blocks took if the unit runs away, else None."""
        if self.count == 0:
            self.start = time
        self.count += 1
        if self.count % BLOCK:
            return None
        before, length = self.before, time - self.start
        self.start, self.before = time, length
        if before is not None and length < before and before + length < self.allowed:
            return before + length
        return None


class Runaways(NamedTuple):
    """The units that run away, the spike at which each does, and how long its two blocks took.

    Each (found,), int64, int64 and float64, in the order of the units; the spike is the first at
    which the rule refuses the unit.
    """

    unit: np.ndarray
    spike: np.ndarray
    span: np.ndarray


def runaways(
    times: np.ndarray, first: np.ndarray, count: np.ndarray, allowed: np.ndarray
) -> Runaways:
    """The units that run away, found from all their spikes.

    The spikes of unit k are ``times[first[k] : first[k] + count[k]]``, ascending, in ms or in
    steps of a grid; ``allowed[k]`` is its entry of ``shortest_blocks`` in the same.
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
    """What is wrong and what to do; ``place`` names sample, unit and time."""
    rate = 2 * BLOCK / span if span > 0 else np.inf
    return (
        f"{place}: its last {2 * BLOCK} spikes came within {span:.3g} ms, {rate:.3g} per ms, and "
        "they come faster and faster: the network runs away; use smaller weights, inhibition or a "
        f"refractory period, or allow it with {engine}(rate_limit=...)"
    )
