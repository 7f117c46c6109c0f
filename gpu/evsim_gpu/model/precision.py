"""Checks that the engine's precision can represent the parameters and coefficients of a network.

Parameters are float64.  In float32 a parameter below 1.18e-38 would lose digits or become 0, and a
threshold of 0 would be reached at every step; one above 3.4e38 would become infinite.  Delays,
refractory periods and spike times are converted to steps in float64 and need no check.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from evsim.engines.rest import FromRest
from evsim.network.network import Network
from evsim.network.parameters import numbers, refuse
from evsim.network.topology import Topology


def check_parameters(network: Network, precision: type[np.floating]) -> None:
    """Raise a ValueError for the first parameter that the precision cannot represent.

    Parameters that the previous network of the same topology had, too, have already been checked.
    """
    if precision is np.float64:
        return
    limits = np.finfo(precision)
    checked_for, before = _checked.get(network.topology, (precision, {}))
    for name, values in network.parameters.items():
        kind = name.rsplit(".", 1)[1]
        if kind == "delay" or (checked_for is precision and before.get(name) is numbers(values)):
            continue
        sizes = np.abs(numbers(values))
        if limits.tiny <= sizes.min(initial=limits.max) and sizes.max(initial=0.0) <= limits.max:
            continue
        wrong = (sizes > limits.max) | ((sizes < limits.tiny) & (sizes != 0))
        unit = "ms" if kind.startswith("tau") else ""
        refuse(values, wrong, name, unit, f"{_range(precision)}: {_remedy(precision)}")
    found = {name: numbers(values) for name, values in network.parameters.items()}
    _checked[network.topology] = precision, found


_checked: WeakKeyDictionary[Topology, tuple[type[np.floating], dict[str, np.ndarray]]] = (
    WeakKeyDictionary()
)
"""The precision and the parameters that were checked last, by topology."""


def check_coefficients(
    network: Network,
    tau_mem: NDArray[np.float64],
    tau_syn: NDArray[np.float64],
    dt: float,
    precision: type[np.floating],
) -> None:
    """Raise a ValueError for time constants whose ratios the precision cannot represent.

    These are the ratios to each other and to dt: the coefficients of a step are such ratios times
    exponentials, and only the exponentials may become 0.

    Parameters
    ----------
    network : Network
    tau_mem, tau_syn : float64, shape (units of all populations,)
        In ms; NaN for units without time constants.
    dt : float
        In ms.
    precision : type
        ``numpy.float32`` or ``numpy.float64``.
    """
    fractions = (
        (tau_mem, dt), (np.minimum(dt, tau_syn), tau_mem), (np.minimum(dt, tau_mem), tau_syn),
    )  # fmt: skip
    limits = np.finfo(precision)
    with np.errstate(over="ignore", under="ignore"):
        ratios = np.array([numerator / denominator for numerator, denominator in fractions])
    wrong = ((ratios > limits.max) | (ratios < limits.tiny)).any(axis=0)
    if not wrong.any():
        return
    unit = int(np.argmax(wrong))
    raise ValueError(
        f"{_place(network, unit)} has tau_mem = "
        f"{tau_mem[unit]:g} ms and tau_syn = {tau_syn[unit]:g} ms, and dt = {dt:g} ms: "
        f"{_range(precision)}, and a ratio of them is no such number: {_remedy(precision)}"
    )


def check_voltages(network: Network, voltages: FromRest, precision: type[np.floating]) -> None:
    """Raise a ValueError for a reset or start that the precision rounds up to the threshold.

    ``voltages`` are those of all units, in float64.
    """
    threshold = voltages.threshold.astype(precision)
    for name in ("reset", "start"):
        values = getattr(voltages, name)
        wrong = values.astype(precision) >= threshold
        if wrong.any():
            unit = int(np.argmax(wrong))
            difference = float(voltages.threshold[unit] - values[unit])
            raise ValueError(
                f"{_place(network, unit)}: {name} is below threshold by {difference:g}, which "
                f"{np.dtype(precision).name} rounds to 0: {_remedy(precision)}"
            )


def _place(network: Network, unit: int) -> str:
    """A unit of all populations, for a message."""
    first_unit = network.topology.first_unit
    index = int(np.searchsorted(first_unit, unit, side="right")) - 1
    return f"unit {unit - first_unit[index]} of {network.populations[index].name!r}"


def _range(precision: type[np.floating]) -> str:
    limits = np.finfo(precision)
    name = np.dtype(precision).name
    return f"{name} holds 0 and magnitudes from {limits.tiny:.3g} to {limits.max:.3g}"


def _remedy(precision: type[np.floating]) -> str:
    if precision is np.float64:
        return "bring the time constants and dt closer together"
    return 'use Grid(precision="float64")'
