"""What the engine's precision cannot hold, refused by name before anything runs.

A parameter is a float64.  Rounded to float32, one below 1.18e-38 would lose digits or become 0,
so that a threshold is reached at every step, and one above 3.4e38 would become infinite.
Delays, refractory periods and times of spikes become whole steps in float64, and so are safe.
"""

from __future__ import annotations

import numpy as np

from evsim.arguments.checks import is_sparse
from evsim.network.network import Network
from evsim.network.parameters import refuse


def check_parameters(network: Network, precision: type[np.floating]) -> None:
    """Refuse the first parameter that the precision cannot hold."""
    if precision is np.float64:
        return
    limits = np.finfo(precision)
    for name, values in network.parameters.items():
        kind = name.rsplit(".", 1)[1]
        if kind == "delay":
            continue
        sizes = np.abs(values.data if is_sparse(values) else values)
        wrong = (sizes > limits.max) | ((sizes < limits.tiny) & (sizes != 0))
        unit = "ms" if kind.startswith("tau") else ""
        refuse(values, wrong, name, unit, f"{_range(precision)}: {_remedy(precision)}")


def check_coefficients(
    network: Network, tau_mem: np.ndarray, tau_syn: np.ndarray, dt: float, precision: type
) -> None:
    """Refuse time constants whose ratios to each other or to dt the precision cannot hold.

    They have shape (units of all populations,), NaN for units that have none.  The coefficients
    of a step are such ratios, times exponentials that may well vanish.
    """
    pairs = (tau_mem, dt), (np.minimum(dt, tau_syn), tau_mem), (np.minimum(dt, tau_mem), tau_syn)
    limits = np.finfo(precision)
    with np.errstate(over="ignore", under="ignore"):
        ratios = np.array([a / b for a, b in pairs])
    wrong = ((ratios > limits.max) | (ratios < limits.tiny)).any(axis=0)
    if not wrong.any():
        return
    unit = int(np.argmax(wrong))
    first_unit = network.topology.first_unit
    index = int(np.searchsorted(first_unit, unit, side="right")) - 1
    raise ValueError(
        f"unit {unit - first_unit[index]} of {network.populations[index].name!r} has tau_mem = "
        f"{tau_mem[unit]:g} ms and tau_syn = {tau_syn[unit]:g} ms, and dt = {dt:g} ms: "
        f"{_range(precision)}, and a ratio of them is no such number: {_remedy(precision)}"
    )


def _range(precision: type[np.floating]) -> str:
    limits = np.finfo(precision)
    name = np.dtype(precision).name
    return f"{name} holds 0 and magnitudes from {limits.tiny:.3g} to {limits.max:.3g}"


def _remedy(precision: type[np.floating]) -> str:
    if precision is np.float64:
        return "bring the time constants and dt closer together"
    return 'use Grid(precision="float64")'
