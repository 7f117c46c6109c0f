"""The effect of forward Euler with a step: the network whose exact solution it follows.

Euler's steps ``V += h/tau_mem (I - V)`` and ``I -= h/tau_syn I`` are ``(1 + h A)^n``.  At the
steps, this is the exact flow with the matrix ``log(1 + h A)/h`` in place of A: LIF units with other
time constants and, as V is driven by a multiple of I, with other weights.  (This is the modified
equation of backward error analysis: Hairer, Lubich, Wanner, Geometric Numerical Integration,
chapter IX; it is exact here because the equations are linear.)
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.arguments.checks import is_sparse
from evsim.network.network import Network
from evsim.network.parameters import spread, with_data
from evsim.network.populations import LI, LIF


def followed_by_euler(network: Network, step: float) -> Network | None:
    """The network that Euler's method with a step in ms solves exactly, up to rounding to steps.

    None if the step is not shorter than every time constant.
    """
    populations, factors = [], {}
    for population in network.populations:
        if not isinstance(population, (LIF, LI)):
            populations.append(population)
            continue
        if not (step < population.tau_mem).all() or not (step < population.tau_syn).all():
            return None
        tau_mem, tau_syn, factor = _followed(population.tau_mem, population.tau_syn, step)
        populations.append(replace(population, tau_mem=tau_mem, tau_syn=tau_syn))
        factors[population.name] = np.broadcast_to(factor, population.units)
    connections = [
        replace(c, weight=_scaled(c, factors[c.target], network), delay=c.delay)
        for c in network.connections
    ]
    return Network(populations, connections)


def _followed(
    tau_mem: NDArray[np.float64], tau_syn: NDArray[np.float64], step: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Both time constants, and the factor of the weights.

    The off-diagonal entry of ``log(1 + h A)/h`` is that of A times the difference quotient of the
    diagonal entries.
    """
    leak, decay = 1.0 / tau_mem, 1.0 / tau_syn
    new_leak, new_decay = -np.log1p(-step * leak) / step, -np.log1p(-step * decay) / step
    gap = decay - leak
    is_equal = np.abs(gap) < 1e-9 * leak
    quotient = np.where(
        is_equal,
        1.0 / (1.0 - step * leak),
        (new_decay - new_leak) / np.where(is_equal, 1.0, gap),
    )
    return 1.0 / new_leak, 1.0 / new_decay, leak * quotient / new_leak


def _scaled(connection: Any, factor: NDArray[np.float64], network: Network) -> Any:
    """The weight of a connection, times a factor for each target unit."""
    shape = network.population(connection.target).units, network.population(connection.source).units
    if is_sparse(connection.weight):
        rows = np.repeat(np.arange(shape[0]), np.diff(connection.weight.indptr))
        return with_data(connection.weight, connection.weight.data * factor[rows])
    full = spread(connection.weight, connection.weight, shape).reshape(shape)
    return full * factor[:, None]
