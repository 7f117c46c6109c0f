"""The propagator of every unit over one step of dt: the closed forms of D Table 1 at t = dt.

D is Mészáros, Knight and Nowotny (delay learning with EventProp).  Coefficients are computed in
float64 and rounded once to the engine's precision.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from evsim.engines.rest import voltages_from_rest
from evsim.equations import lif
from evsim.network.network import Network
from evsim.network.topology import Topology
from evsim_gpu.model.precision import check_coefficients, check_voltages
from evsim_gpu.model.time_grid import to_steps

UNIT_FIELDS = (
    "decay_mem",  # V after a step, per V before it
    "rise",  # V after a step, per I before it
    "decay_syn",  # I after a step, per I before it
    "feed",  # lambda_I before a step, per lambda_V after it
    "tau_mem",  # ms
    "tau_syn",  # ms
    "threshold",  # this and the following voltages are measured from rest
    "reset",
    "start",
)
"""The coefficients of a unit, in the order of ``Unit`` of kernels/neuron.cuh."""


def unit_record(precision: type[np.floating]) -> np.dtype:
    """The record of a unit: its coefficients, and its refractory period in steps."""
    reals = [(name, precision) for name in UNIT_FIELDS]
    return np.dtype([*reals, ("refractory", np.int32)], align=True)


def unit_coefficients(
    network: Network, dt: float, steps: int, precision: type[np.floating]
) -> np.ndarray:
    """The records of all units, of ``unit_record``, shape (units of all populations,), read-only.

    Records of input units are NaN.  Raises ValueError if the precision cannot represent a
    coefficient.  Networks of one topology that differ only in weights and delays share the records.
    """
    key = network.populations, dt, steps, precision
    kept = _kept.get(network.topology)
    if kept is None or kept[0] != key:
        units = _computed(network, dt, steps, precision)
        units.setflags(write=False)
        kept = _kept[network.topology] = key, units
    return kept[1]


_kept: WeakKeyDictionary[Topology, tuple[Any, np.ndarray]] = WeakKeyDictionary()
"""The latest records of each topology, and what they were computed for."""


def _computed(network: Network, dt: float, steps: int, precision: type[np.floating]) -> np.ndarray:
    """See ``unit_coefficients``."""
    units = np.zeros(network.topology.unit_count, unit_record(precision))
    tau_mem, tau_syn = network.per_unit("tau_mem"), network.per_unit("tau_syn")
    check_coefficients(network, tau_mem, tau_syn, dt, precision)
    decay_mem, decay_syn, coupling = _for_each_pair(
        lambda *taus: lif.decays_and_convolution(dt, *taus), tau_mem, tau_syn
    )
    units["decay_mem"], units["decay_syn"] = decay_mem, decay_syn
    units["rise"], units["feed"] = coupling / tau_mem, coupling / tau_syn
    units["tau_mem"], units["tau_syn"] = tau_mem, tau_syn
    voltages = voltages_from_rest(network)
    check_voltages(network, voltages, precision)
    for name, values in voltages._asdict().items():
        units[name] = values
    refractory = network.per_unit("refractory", default=0.0)
    units["refractory"] = to_steps(refractory, dt, steps)
    return units


def time_constant_slopes(
    network: Network, dt: float, precision: type[np.floating]
) -> NDArray[np.floating]:
    """Derivatives of V and I after a step, shape (units of all populations, 4).

    The columns are those of V with respect to tau_mem, per V and per I before the step, and those
    of V and of I with respect to tau_syn, each per I.  They are NaN for input units.
    """

    def slopes(tau_mem: float, tau_syn: float) -> tuple[float, ...]:
        per_voltage = lif.flow_by_time_constants(1.0, 0.0, dt, tau_mem, tau_syn)
        return per_voltage[0], *lif.flow_by_time_constants(0.0, 1.0, dt, tau_mem, tau_syn)

    of_units = _for_each_pair(slopes, network.per_unit("tau_mem"), network.per_unit("tau_syn"))
    return np.ascontiguousarray(of_units.T, precision)


def _for_each_pair(
    function: Callable[[float, float], tuple[float, ...]],
    tau_mem: NDArray[np.float64],
    tau_syn: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Values for the time constants of each unit, (values, units); NaN where those are NaN.

    Units with the same time constants share one computation.
    """
    known = ~np.isnan(tau_mem)
    pairs = np.where(known, [tau_mem, tau_syn], 1.0)
    taus, index = np.unique(pairs, axis=1, return_inverse=True)
    values = np.array([function(*pair) for pair in taus.T])[index.ravel()].T
    return np.where(known, values, np.nan)
