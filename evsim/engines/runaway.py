"""When a network is said to run away: the rule that every engine applies.

In a recurrent network whose excitation exceeds what leaks, every spike causes more than one, and
the rate grows without end.  Such a network is refused early, before it has filled the memory.

The spikes of each unit are counted in blocks of ``BLOCK``.  A block begins where the one before it
ended, the first one with the unit's first spike.  The unit runs away if a block took less time
than the block before it, and both together less than ``longest_blocks(tau_mem, rate_limit)``: its
rate is above the limit and still rises.  The rule is for units of recurrent components alone: the
rate of others is bounded by what they are given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from evsim.checks import check_number

BLOCK = 50
"""How many spikes make a block."""


def check_rate_limit(rate_limit: Any) -> None:
    """Refuse what is no rate; infinity, for no limit, is one."""
    check_number(rate_limit, "rate_limit")
    if not rate_limit > 0.0:
        raise ValueError(f"rate_limit = {rate_limit}: it must be above 0, in spikes per tau_mem")


def longest_blocks(tau_mem: Any, rate_limit: float) -> Any:
    """Two blocks, in ms, of a unit that emits ``rate_limit`` spikes per tau_mem."""
    return 2 * BLOCK * tau_mem / rate_limit


def runaway_spike(times: Sequence[float], tau_mem: float, rate_limit: float) -> int | None:
    """The spike of a unit at which it is found to run away, its number counted from 0, or None.

    ``times`` are those of all its spikes in one trial, in ms, ascending.
    """
    times = np.asarray(times, float)
    ends = np.concatenate([times[:1], times[BLOCK - 1 :: BLOCK]])
    lengths = np.diff(ends)
    is_faster = lengths[1:] < lengths[:-1]
    is_above = lengths[1:] + lengths[:-1] < longest_blocks(tau_mem, rate_limit)
    found = np.flatnonzero(is_faster & is_above)
    return int((found[0] + 2) * BLOCK - 1) if found.size else None


def verdict(span: float, tau_mem: float, engine: str) -> str:
    """What is said of a unit whose last two blocks took ``span`` ms, by the engine of a name."""
    return (
        f"its last {2 * BLOCK} spikes came within {span:.3g} ms, {2 * BLOCK * tau_mem / span:.3g} "
        "per tau_mem, and they come faster and faster: the network runs away; use smaller weights, "
        f"inhibition or a refractory period, or allow it with {engine}(rate_limit=...)"
    )
