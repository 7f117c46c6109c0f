"""How V and I decay between arrivals: all factors in one loop over flat arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from evsim._compile.decorators import allocating, compiled
from evsim._compile.stop_polls import is_stopped
from evsim.equations.lif import decays_and_response


class Decays(NamedTuple):
    """Factors of the flow over some times: ``V <- V mem + I response`` and ``I <- I syn``.

    See ``lif.flow``.
    """

    mem: np.ndarray
    syn: np.ndarray
    response: np.ndarray


@allocating
def new_decays(size: int) -> Decays:
    """Room for the factors of so many times."""
    return Decays(np.empty(size), np.empty(size), np.empty(size))


@compiled
def fill_decays(
    decays: Decays, first: int, last: int, time: np.ndarray, tau_mem: float, tau_syn: float
) -> None:
    """Set the factors ``first`` to ``last - 1`` to those of the times, in ms."""
    begin = first
    while begin < last:
        if is_stopped():
            return
        end = min(begin + 4096, last)
        # The loop is vectorised only if indices begin at 0.
        part = Decays(decays.mem[begin:end], decays.syn[begin:end], decays.response[begin:end])
        times = time[begin:end]
        for i in range(times.size):
            set_factors(part, i, times[i], tau_mem, tau_syn)
        begin = end


@compiled
def set_factors(decays: Decays, i: int, t: float, tau_mem: float, tau_syn: float) -> None:
    """Set the factors of t ms."""
    decay_mem, decay_syn, response = decays_and_response(t, tau_mem, tau_syn, tau_mem)
    decays.mem[i] = decay_mem
    decays.syn[i] = decay_syn
    decays.response[i] = response
