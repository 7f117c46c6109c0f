"""How closely an engine agrees with the engine Reference in many digits.

A spike time is computed from the times of the spikes and arrivals before it, and from V and I
at each.  Its *rounding bound* is how far it moves, to first order, if each of these numbers, which
result from a few rounded operations, is off by a unit in its last place and all errors add up.  It
is the condition number of the spike time, in suitable units: an engine that stays below it is as
exact as float64 allows.

A gradient is divided by ``I - threshold`` at every spike.  If a spike time is off by its rounding
bound, and I by a unit in its last place, this divisor has a relative error, which grows without
bound where V only grazes the threshold.  The *rounding bound of a gradient* is the sum of these
relative errors over all spikes of the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from evsim import Network, SpikeTrains
from evsim.engines import Adjoint
from evsim.engines.reference.adjoint import AdjointSimulation, Cotangents
from evsim.engines.reference.engine import AdjointState, Reference, State
from evsim.engines.reference.network import Emission, Kind, Simulation

MODERATE = 10.0  # a rounding bound, in units in the last place of the trial's length


@dataclass(frozen=True)
class SpikeErrors:
    """Spike times of all samples against those of a reference with many digits.

    ``pattern_differs`` says whether a unit spikes more often in one engine than in the other; then
    nothing else is known.  ``error`` and ``bound`` have one entry per spike, in units in the last
    place of the trial's length.  ``gradient_bound`` is the rounding bound of the gradients.
    """

    pattern_differs: bool
    error: np.ndarray
    bound: np.ndarray
    gradient_bound: float

    @property
    def well_conditioned(self) -> np.ndarray:
        """Errors of the spikes whose rounding bound is moderate."""
        return self.error[self.bound <= MODERATE]

    @property
    def worst_bound(self) -> float:
        """The largest rounding bound."""
        return float(self.bound.max(initial=0.0))


def spike_errors(
    network: Network,
    inputs: Mapping[str, SpikeTrains],
    duration: float,
    trains: Mapping[str, SpikeTrains],
    exact: State,
) -> SpikeErrors:
    """Compare spikes with those in the state of an engine Reference with many digits."""
    coarse = Reference().simulate(network, inputs, duration)
    errors, bounds, shares = [], [], []
    for sample, (fine, rough) in enumerate(zip(exact.samples, coarse.samples, strict=True)):
        truth, floats = emissions_by_unit(fine), emissions_by_unit(rough)
        for population in network.populations[len(network.inputs) :]:
            own = trains[population.name][sample]
            for index, unit in enumerate(exact.model.units_of(population.name)):
                times = own.times[own.units == index].tolist()
                triples = times, truth.get(unit, []), floats.get(unit, [])
                if len({len(column) for column in triples}) > 1:
                    return SpikeErrors(True, np.empty(0), np.empty(0), 0.0)
                for time, emission, approximate in zip(*triples, strict=True):
                    errors.append(abs(float(emission.time - time)))
                    bounds.append(rounding_bound(rough, approximate))
                    shares.append(divisor_error(rough, approximate, bounds[-1]))
    ulp = np.spacing(duration)
    return SpikeErrors(False, np.array(errors) / ulp, np.array(bounds) / ulp, sum(shares))


def emissions_by_unit(simulation: Simulation) -> dict[int, list[Emission]]:
    """The spikes of each unit except inputs, in order of time."""
    found: dict[int, list[Emission]] = {}
    for emission in simulation.emissions:
        if emission.index is None:
            found.setdefault(emission.unit, []).append(emission)
    return found


def rounding_bound(simulation: Simulation, emission: Emission) -> float:
    """How far a spike time moves, in ms, through rounding of what is computed before it."""
    model = simulation.model
    adjoint = AdjointSimulation(simulation, Cotangents(emission_slopes={emission: 1.0})).run()
    total = 0.0
    for spike, slope in adjoint.spike_time_gradient.items():
        if spike.index is None:
            total += abs(slope) * np.spacing(spike.time)
    for unit, neuron in model.neurons.items():
        events = [event for event in simulation.events if event.unit == unit]
        # Both histories have one more entry: the beginning, or the end, of the trial.
        states = simulation.history[unit][1:]
        costates = adjoint.history[unit][-2:0:-1]
        for event, state, costate in zip(events, states, costates, strict=True):
            voltage = neuron.threshold if event.kind == Kind.EMISSION else state.voltage
            total += abs(neuron.tau_mem * costate.lambda_v) * np.spacing(abs(voltage))
            total += abs(neuron.tau_syn * costate.lambda_i) * np.spacing(abs(state.current))
            if event.kind == Kind.ARRIVAL:
                for _, synapse in event.spikes:
                    if model.delay[synapse]:
                        total += abs(model.weight[synapse] * costate.difference) * np.spacing(
                            event.time
                        )
    return float(total)


def divisor_error(simulation: Simulation, emission: Emission, bound: float) -> float:
    """The relative error of I - threshold at a spike whose time is off by ``bound`` ms."""
    neuron = simulation.model.neurons[emission.unit]
    current = float(emission.current)
    error = bound * abs(current) / neuron.tau_syn + np.spacing(abs(current))
    return float(error / (current - neuron.threshold))


def gradient_error(network: Network, found: Adjoint, exact: Adjoint) -> float:
    """The largest error of any gradient, relative to the largest entry of its parameter.

    Where entries of single synapses or units cancel, as in the gradient of a delay that all
    synapses share, the error is relative to their magnitudes.  A hundredth of the network's largest
    derivative with respect to a parameter of that unit of measurement, or to a time, counts as
    well: the gradient of ``rest`` is a sum of those of the other voltages, which may cancel to
    nothing, and so may the parts of the gradient of ``reset``, or of a time constant.
    """
    fine = exact.state
    worst = 0.0
    for name, values in exact.parameters.items():
        kind = name.rsplit(".", 1)[1]
        scale = entries(network.fold(name, magnitudes(getattr(fine, kind)))).max()
        difference = entries(found.parameters[name]) - entries(values)
        worst = max(worst, relative(difference, scale + 1e-2 * largest(fine, kind)))
    for name, values in exact.input_times.items():
        scale = np.abs(values).max(initial=0.0) + 1e-2 * largest(fine, "delay")
        worst = max(worst, relative(found.input_times[name] - values, scale))
    return worst


TIMES = ("delay", "tau_mem", "tau_syn")
VOLTAGES = ("threshold", "reset", "rest", "start")
"""Kinds of parameters with the same unit of measurement."""


def largest(adjoint: AdjointState, kind: str) -> float:
    """The largest derivative with respect to a parameter of a kind's unit, or to a spike time."""
    kinds = next((kinds for kinds in (TIMES, VOLTAGES) if kind in kinds), (kind,))
    found = [float(magnitudes(getattr(adjoint, each)).max(initial=0.0)) for each in kinds]
    if kind in TIMES:
        slopes = [one.spike_time_gradient.values() for one in adjoint.samples]
        found += [float(abs(slope)) for values in slopes for slope in values]
    return max(found)


def magnitudes(numbers: np.ndarray) -> np.ndarray:
    """Absolute values as float64."""
    return np.abs(numbers.astype(np.float64))


def entries(values: Any) -> np.ndarray:
    """The stored entries of a parameter, sparse or not."""
    return np.asarray(values.data if hasattr(values, "indptr") else values)


def relative(difference: np.ndarray, scale: float) -> float:
    """The largest difference divided by a scale; what should be 0 must be 0."""
    size = float(np.abs(difference).max(initial=0.0))
    if size == 0:
        return 0.0
    return size / scale if scale > 0 else np.inf
