"""Voltages measured from rest, which engines use, and their conversion to a network's parameters.

With U = V - rest the equations of a unit are

    tau_mem dU/dt = -U + I,   U := reset - rest at a spike,   U(0) = start - rest,

and it spikes when U reaches threshold - rest.  So an engine needs only three voltages of each unit,
``FromRest``, and every voltage that it reads is U.  ``SimulatedBatch`` adds the rest, and computes
the gradients with respect to threshold, reset, rest and start from those with respect to the three
voltages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from evsim.network.network import Network
from evsim.network.parameters import Parameter
from evsim.readouts.adjoint_sources import AdjointSources
from evsim.readouts.weightings import TrialWeighting

VOLTAGE_PARAMETERS = ("threshold", "reset", "rest", "start")
"""The kinds of parameters whose gradients are computed from those of ``FromRest``."""


class FromRest(NamedTuple):
    """Threshold, reset and start of each unit, measured from its rest, or gradients of them.

    Each has shape (units of all populations,).
    """

    threshold: np.ndarray
    reset: np.ndarray
    start: np.ndarray


def from_rest(threshold: Any, reset: Any, rest: Any, start: Any) -> FromRest:
    """The voltages measured from rest, from arrays of any number type."""
    return FromRest(threshold - rest, reset - rest, start - rest)


def voltages_from_rest(network: Network) -> FromRest:
    """The voltages of a network; units that never spike have the threshold NaN."""
    return from_rest(
        network.per_unit("threshold"),
        network.per_unit("reset", default=0.0),
        network.per_unit("rest", default=0.0),
        network.per_unit("start", default=0.0),
    )


def rest_of(network: Network, population: str) -> np.ndarray | None:
    """The rest of each unit of a population, shape (units,); None if it is 0 for all."""
    chosen: Any = network.population(population)
    return np.broadcast_to(chosen.rest, chosen.units) if np.any(chosen.rest) else None


def start_is_given(network: Network) -> np.ndarray:
    """Which units have a given start instead of starting at rest, (units of all populations,)."""
    return np.repeat(
        [getattr(population, "start", None) is not None for population in network.populations],
        [population.units for population in network.populations],
    )


def is_voltage_parameter(name: str) -> bool:
    """Whether a parameter is a threshold, reset, rest or start."""
    return name.rsplit(".", 1)[1] in VOLTAGE_PARAMETERS


def voltage_gradients(
    network: Network, gradients: FromRest, direct: np.ndarray, names: Sequence[str]
) -> dict[str, Parameter]:
    """The gradients with respect to the named thresholds, resets, rests and starts.

    ``gradients`` are those with respect to the voltages measured from rest.  ``direct`` is the
    gradient through the rest in V = U + rest that a readout reads, shape (units of all
    populations,).
    """
    flat = gradients._asdict() | {"rest": rest_gradient(network, gradients, direct)}
    return {name: network.fold(name, flat[name.rsplit(".", 1)[1]]) for name in names}


def rest_gradient(network: Network, gradients: FromRest, direct: np.ndarray) -> np.ndarray:
    """The gradient with respect to the rest of each unit, (units of all populations,).

    Each voltage measured from rest falls as the rest rises.  But where V starts at rest, U(0) is 0
    whatever the rest.
    """
    by_start = np.where(start_is_given(network), gradients.start, 0)
    gradient: np.ndarray = direct - gradients.threshold - gradients.reset - by_start
    return gradient


def direct_rest_gradient(
    network: Network,
    sources: AdjointSources,
    mean_of: Callable[[TrialWeighting], Any] = TrialWeighting.mean,
    convert: Callable[[np.ndarray], np.ndarray] = np.asarray,
) -> np.ndarray:
    """The gradient through the rest in V = U + rest, shape (units of all populations,).

    The derivative is ``(1/T) * integral of w(t) dt`` for a weighted mean, and 1 for a peak or a
    voltage.  ``mean_of`` gives this integral for a weighting; ``convert`` converts the numbers in
    an array to the engine's type before they are added.
    """
    direct = convert(np.zeros(network.topology.unit_count))
    index = [p.name for p in network.populations].index(sources.population)
    units = slice(*network.topology.first_unit[index : index + 2])
    for mean in sources.means:
        direct[units] += convert(mean.cotangents).sum(axis=0) * mean_of(mean.weighting)
    if sources.peak is not None:
        direct[units] += convert(sources.peak).sum(axis=0)
    if sources.voltages is not None:
        direct[units] += convert(sources.voltages.cotangents).sum(axis=0)
    return direct
