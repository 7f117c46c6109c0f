"""How V and I of a unit decay between its arrivals: all factors in one loop over flat arrays.

Units share them if they receive the same spikes at the same times and have equal time constants.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from evsim._compile.decorators import allocating, compiled
from evsim._compile.stop_polls import is_stopped
from evsim.engines.exact.kernels.arrivals import Arrivals
from evsim.equations.lif import decays_and_convolution


class Decays(NamedTuple):
    """Factors of the flow from one arrival to the next; the last is the flow to the trial's end.

    ``V <- V mem + I response`` and ``I <- I syn``, see ``lif.flow``.
    """

    mem: np.ndarray
    syn: np.ndarray
    response: np.ndarray


@allocating
def new_decays(size: int) -> Decays:
    """Room for the factors of so many arrivals."""
    return Decays(np.empty(size + 1), np.empty(size + 1), np.empty(size + 1))


@compiled
def fill_decays(
    decays: Decays,
    arrivals: Arrivals,
    n: int,
    duration: float,
    tau_mem: float,
    tau_syn: float,
) -> None:
    """Set the factors for n arrivals; there is room for them."""
    if n == 0:
        set_factors(decays, 0, duration, tau_mem, tau_syn)
        return
    set_factors(decays, 0, arrivals.time[0], tau_mem, tau_syn)
    begin = 1
    while begin < n:
        if is_stopped():
            return
        end = min(begin + 4096, n)
        for i in range(begin, end):
            set_factors(decays, i, arrivals.time[i] - arrivals.time[i - 1], tau_mem, tau_syn)
        begin = end
    set_factors(decays, n, duration - arrivals.time[n - 1], tau_mem, tau_syn)


@compiled
def set_factors(decays: Decays, i: int, t: float, tau_mem: float, tau_syn: float) -> None:
    """Set the factors of t ms."""
    decay_mem, decay_syn, coupling = decays_and_convolution(t, tau_mem, tau_syn)
    decays.mem[i] = decay_mem
    decays.syn[i] = decay_syn
    decays.response[i] = coupling * (1.0 / tau_mem)


@allocating
def with_room_for(decays: Decays, arrivals: int) -> Decays:
    """Scratch memory for the factors of so many arrivals: the same if it suffices."""
    if arrivals < decays.mem.size:
        return decays
    return new_decays(2 * arrivals)


@compiled
def share_decays(one: int, other: int, units: np.ndarray) -> bool:
    """Whether two units receive the same spikes at the same times, with equal time constants."""
    return (
        units[one].arrival_group == units[other].arrival_group
        and units[one].tau_mem == units[other].tau_mem
        and units[one].tau_syn == units[other].tau_syn
    )
