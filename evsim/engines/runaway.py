"""When a network runs away: one rule for all engines.

Where every spike causes more, spikes come faster and faster, and a simulation would go on until
memory or patience ends.  The rule looks at each LIF unit of a population that is in a loop of
connections.  Its spikes are counted in blocks of 50.  The length of a block is the time from the
last spike of the block before it to its own last spike; the first block begins at its first
spike.  When a block ends, the unit runs away if

- there was a block before it, and the block is shorter than that one, and
- both together are shorter than ``100 tau_mem / rate_limit``.

So a unit is refused at its spike number 100, 150, ... where it emits more than ``rate_limit``
spikes per tau_mem and its rate is rising.  A unit that is fast at a steady rate is left alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from evsim.checks import check_number
from evsim.network import LIF, Network
from evsim.ragged import counted

BLOCK = 50  # spikes
RATE_LIMIT = 200.0  # spikes per tau_mem


def check_rate_limit(rate_limit: Any) -> None:
    """Refuse what is no number > 0; infinity, for no limit, is one."""
    check_number(rate_limit, "rate_limit", "a number of spikes per tau_mem")
    if not rate_limit > 0:
        raise ValueError(f"rate_limit = {rate_limit}: it must be > 0; infinity for no limit")


def watched_units(network: Network) -> np.ndarray:
    """Which units the rule looks at, bool, (units of all populations,)."""
    topology = network.topology
    watched = np.zeros(topology.unit_count, bool)
    for component in topology.components:
        for index in component.populations if component.recurrent else ():
            if isinstance(network.populations[index], LIF):
                watched[topology.first_unit[index] : topology.first_unit[index + 1]] = True
    return watched


class SpikeBlocks:
    """The blocks of one unit, spike after spike, in any number type.

    ``allowed`` is ``100 tau_mem / rate_limit``.
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
    """Which of some units run away: at which of its spikes, and how long two blocks took.

    Each (found,), int64, int64 and float64, in the order of the units; a unit's first spike of
    such.
    """

    unit: np.ndarray
    spike: np.ndarray
    span: np.ndarray


def runaways(
    times: np.ndarray, first: np.ndarray, count: np.ndarray, allowed: np.ndarray
) -> Runaways:
    """The units that run away, by all their spikes.

    The spikes of unit k are ``times[first[k] : first[k] + count[k]]``, ascending, in ms or in
    steps of a grid; ``allowed[k]`` is ``100 tau_mem / rate_limit`` in the same.
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


def message(place: str, span: float, tau_mem: float, engine: str) -> str:
    """What is wrong and what to do; ``place`` names sample, unit and time."""
    rate = 2 * BLOCK * tau_mem / span if span > 0 else np.inf
    return (
        f"{place}: its last {2 * BLOCK} spikes came within {span:.3g} ms, {rate:.3g} per tau_mem, "
        "and they come faster and faster: the network runs away; use smaller weights, inhibition "
        f"or a refractory period, or allow it with {engine}(rate_limit=...)"
    )
