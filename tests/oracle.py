"""Derivatives by finite differences in many digits: an oracle without a backward pass.

It uses only the forward simulation of the reference engine.  With 50 digits and a step of 1e-20 a
central difference is correct to 25 digits or more.  Losses that integrate a function of a voltage
are computed by quadrature; their differences are correct to 20 digits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import mpmath
import numpy as np
from many_digits import ManyDigits
from mpmath.calculus.quadrature import GaussLegendre

from evsim import Network, SpikeTrains
from evsim.engines.reference.engine import Reference, State
from evsim.engines.reference.network import InputEvent, Model, Simulation
from evsim.engines.reference.neuron import Numbers, numbers_with
from evsim.network.dropout import Dropout
from evsim.readouts import Readout

Number = Any
STEP = "1e-20"


def engine_with(digits: int) -> Reference:
    """The reference engine; in 50 digits with the numbers of MPFR, which are faster.

    MPFR has one precision for all numbers of a thread.
    """
    return ManyDigits(digits) if digits == 50 else Reference(digits)


def to_mpmath(values: Any, digits: int = 50) -> Any:
    """A number, or an array of numbers, of ``engine_with`` as numbers of mpmath."""
    convert = numbers_with(digits).convert

    def converted(value: Number) -> Number:
        if hasattr(value, "as_mantissa_exp"):  # of MPFR
            return convert(tuple(int(part) for part in value.as_mantissa_exp()))
        return convert(value)

    return np.frompyfunc(converted, 1, 1)(values)


class PatternChangedError(Exception):
    """Spikes appear, vanish or leave the trial within the step, so there is no derivative."""


def finite_difference(
    network: Network,
    inputs: Mapping[str, SpikeTrains],
    duration: float,
    readout: Readout,
    value_of: Callable[[np.ndarray], Number],
    parameter: str,
    index: Any,
    *,
    digits: int = 50,
    step: str = STEP,
    dropout: Dropout | None = None,
) -> Number:
    """The derivative of ``value_of(values of the readout)`` in one number, in many digits.

    Parameters
    ----------
    value_of : function of an object array of numbers, shape (batch, units)
    parameter : str
        A name in ``network.parameters``; or "<input>.times".
    index : tuple of int, or int
        Which entry of the parameter, in its own shape; the number of a stored entry if it
        is sparse, of an event for input times.

    Raises
    ------
    PatternChangedError
        If the spike pattern is not the same on both sides.
    """

    def value(state: State) -> Number:
        return value_of(engine_with(digits).read_exact(state, readout))

    return difference_of(network, inputs, duration, value, parameter, index, digits, step, dropout)


def difference_of(
    network: Network,
    inputs: Mapping[str, SpikeTrains],
    duration: float,
    value_of_state: Callable[[State], Any],
    parameter: str,
    index: Any,
    digits: int = 50,
    step: str = STEP,
    dropout: Dropout | None = None,
) -> Any:
    """Like ``finite_difference``, for any number or array of numbers computed from the state."""
    # Times and delays are not negative: at 0 take the one-sided difference of second order.
    at_bound = _at_lower_bound(network, inputs, parameter, index)
    stencil = {0: -3, 1: 4, 2: -1} if at_bound else {-1: -1, 1: 1}
    direction = {(parameter, index): 1.0}
    return _difference(
        network, inputs, duration, value_of_state, direction, stencil, digits, step, dropout
    )


def difference_along(
    network: Network,
    inputs: Mapping[str, SpikeTrains],
    duration: float,
    value_of_state: Callable[[State], Any],
    direction: Mapping[tuple[str, Any], float],
    digits: int = 50,
    step: str = STEP,
    dropout: Dropout | None = None,
) -> Any:
    """The derivative of a function of the state along a direction.

    ``direction`` has the part of each number that moves, by parameter and index; none of them
    may be at its lower bound.
    """
    stencil = {-1: -1, 1: 1}
    return _difference(
        network, inputs, duration, value_of_state, direction, stencil, digits, step, dropout
    )


def random_direction(
    rng: np.random.Generator, network: Network, inputs: Mapping[str, SpikeTrains]
) -> dict[tuple[str, Any], float]:
    """A direction in all parameters and input times that may increase and decrease."""
    names = {name: entries_of(network, name) for name in network.parameters}
    names |= {f"{name}.times": list(range(inputs[name].times.size)) for name in inputs}
    return {
        (name, index): float(rng.normal())
        for name, indices in names.items()
        for index in indices
        if not _at_lower_bound(network, inputs, name, index)
    }


def _difference(
    network: Network,
    inputs: Mapping[str, SpikeTrains],
    duration: float,
    value_of_state: Callable[[State], Any],
    direction: Mapping[tuple[str, Any], float],
    stencil: Mapping[int, int],
    digits: int,
    step: str,
    dropout: Dropout | None,
) -> Any:
    engine = engine_with(digits)
    h = engine.numbers.convert(step)
    states = {}
    for k in stencil:
        model = Model.from_network(network, engine.numbers)
        events = engine.input_events(network, inputs)
        for (parameter, index), size in direction.items():
            model, events = _shifted(model, events, parameter, index, k * h * size)
        states[k] = engine.simulate_model(model, events, duration, dropout)
    patterns = {k: _pattern(state) for k, state in states.items()}
    if len(set(patterns.values())) > 1:
        raise PatternChangedError(f"{', '.join(map(str, direction))}: {patterns}")
    difference = sum(c * value_of_state(states[k]) for k, c in stencil.items()) / (2 * h)
    return to_mpmath(difference, digits)


def exact_derivative(network: Network, adjoint: Any, parameter: str, index: Any) -> Number:
    """The same derivative from the backward pass: an entry of the result of ``pull_back_exact``."""
    owner, kind = parameter.rsplit(".", 1)
    if kind == "times":
        return adjoint.input_times[owner][index]
    owners = synapses_of if kind in ("weight", "delay") else units_of
    return sum(getattr(adjoint, kind)[o] for o in owners(network, parameter, index))


def exact_derivative_along(
    network: Network, adjoint: Any, direction: Mapping[tuple[str, Any], float]
) -> Number:
    """The same along a direction."""
    return sum(
        size * exact_derivative(network, adjoint, parameter, index)
        for (parameter, index), size in direction.items()
    )


def synapses_of(network: Network, parameter: str, index: Any) -> list[int]:
    """The synapses that share an entry of a weight or a delay, as the topology numbers them."""
    values = network.parameters[parameter]
    sparse = hasattr(values, "tocsr")

    def with_entry(entry: float) -> np.ndarray:
        data = np.zeros(values.data.shape if sparse else values.shape)
        data[index] = entry
        marked = (
            type(values)((data, values.indices, values.indptr), values.shape) if sparse else data
        )
        replaced = network.replace({parameter: marked})
        return getattr(replaced, f"{parameter.rsplit('.', 1)[1]}_per_synapse")()

    return np.flatnonzero(with_entry(1.0) != with_entry(0.0)).tolist()


def units_of(network: Network, parameter: str, index: Any) -> list[int]:
    """The units, among all units, that share an entry of a time constant or a threshold."""
    owner, _ = parameter.rsplit(".", 1)
    population = [p.name for p in network.populations].index(owner)
    first, end = network.topology.first_unit[population : population + 2].tolist()
    shared = network.parameters[parameter].shape == ()
    return list(range(first, end)) if shared else [first + np.ravel(index).item()]


def entries_of(network: Network, parameter: str) -> list[Any]:
    """Every index of a parameter."""
    values = network.parameters[parameter]
    if hasattr(values, "tocsr"):
        return list(range(values.nnz))
    return list(np.ndindex(values.shape))


def _shifted(
    model: Model, events: list[list[InputEvent]], parameter: str, index: Any, shift: Number
) -> tuple[Model, list[list[InputEvent]]]:
    """A model and its input events with one number shifted."""
    owner, kind = parameter.rsplit(".", 1)
    if kind == "times":
        units = model.units_of(owner)

        def moved(event: InputEvent) -> InputEvent:
            own = event.unit in units and event.event == index
            return event._replace(time=event.time + shift) if own else event

        return model, [[moved(event) for event in sample] for sample in events]
    if kind in ("weight", "delay"):
        numbers = list(getattr(model, kind))
        for synapse in synapses_of(model.network, parameter, index):
            numbers[synapse] += shift
        return replace(model, **{kind: numbers}), events
    neurons = dict(model.neurons)
    moved = {kind: shift}
    if kind == "rest":
        # The voltages of a neuron are measured from its rest; V starts at rest if not elsewhere.
        moved |= {"threshold": -shift, "reset": -shift}
        if f"{owner}.start" in model.network.parameters:
            moved["start"] = -shift
    for unit in units_of(model.network, parameter, index):
        neuron = neurons[unit]
        values = {name: getattr(neuron, name) + by for name, by in moved.items()}
        neurons[unit] = replace(neuron, **values)
    return replace(model, neurons=neurons), events


def _at_lower_bound(
    network: Network, inputs: Mapping[str, SpikeTrains], parameter: str, index: Any
) -> bool:
    owner, kind = parameter.rsplit(".", 1)
    if kind == "times":
        return bool(inputs[owner].times[index] == 0)
    if kind != "delay":
        return False
    values = network.parameters[parameter]
    return bool((values.data if hasattr(values, "tocsr") else values)[index] == 0)


def _pattern(state: State) -> tuple[Any, ...]:
    """The spike count of each unit, and the numbers of arrivals within and after the trial."""
    return tuple(
        (
            tuple(sorted(emission.unit for emission in sample.emissions)),
            sample.arrivals(),
            sample.arrivals_after_end,
            sample.dropped,
        )
        for sample in state.samples
    )


# -- losses that integrate over voltages --------------------------------------------------

WEIGHTINGS: dict[str, Callable[[Numbers, Number], Number]] = {
    "flat": lambda numbers, x: numbers.convert(1),
    "exponential": lambda numbers, x: numbers.exp(-x),
    "linear": lambda numbers, x: 1 - x,
    "sigmoid": lambda numbers, x: 1 / (1 + numbers.exp((x - numbers.convert(1) / 2) * 5)),
}


def weighted_mean(state: State, population: str, weighting: str) -> np.ndarray:
    """(1/T) times the integral of w(t) V(t) dt, by quadrature; (batch, units) of numbers."""
    numbers, end = state.model.numbers, state.duration
    weight = WEIGHTINGS[weighting]

    def weighted(voltage: np.ndarray, time: Number) -> np.ndarray:
        return weight(numbers, time / end) * voltage

    return np.array([_mean(state, s, population, weighted) for s in state.samples])


def time_averaged_cross_entropy(state: State, population: str, labels: Any) -> np.ndarray:
    """(1/T) times the integral of -log softmax(V(t))_c dt; (batch,) of numbers."""
    numbers = state.model.numbers
    losses = np.empty(len(state.samples), dtype=object)
    for b, (simulation, label) in enumerate(zip(state.samples, labels, strict=True)):

        def cross_entropy(voltage: np.ndarray, time: Number, label: int = label) -> np.ndarray:
            total = sum(numbers.exp(v - voltage[label]) for v in voltage)
            return np.array([numbers.log(total)])

        losses[b] = _mean(state, simulation, population, cross_entropy)[0]
    return losses


def input_weighted_mean(state: State, population: str) -> np.ndarray:
    """(1/T) times the sum of V at the sample's input spikes; (batch, units) of numbers."""
    units = state.model.units_of(population)
    values = np.full((len(state.samples), len(units)), state.model.numbers.convert(0))
    for b, (simulation, events) in enumerate(zip(state.samples, state.input_events, strict=True)):
        for event in events:
            if event.time <= state.duration:
                values[b] += [voltage_at(simulation, unit, event.time) for unit in units]
    return values / state.duration


def voltage_at(simulation: Simulation, unit: int, time: Number) -> Number:
    """V at a time, after the emissions and before the arrivals there."""
    return simulation.model.neurons[unit].rest + simulation.probe(unit, time)[0]


def _mean(
    state: State,
    simulation: Simulation,
    population: str,
    function: Callable[[np.ndarray, Number], np.ndarray],
) -> np.ndarray:
    """Mean over the trial of a function of a population's voltages and the time."""
    units = state.model.units_of(population)
    kinks = {event.time for event in simulation.events if event.unit in units}
    total: Any = 0
    for start, end in pairwise(sorted({0 * state.duration, *kinks, state.duration})):
        segments = [(state.model.neurons[u], simulation.segment_at(u, start)) for u in units]

        def smooth(time: Number, segments: Any = segments) -> np.ndarray:
            voltage = [neuron.rest + neuron.flow(segment, time)[0] for neuron, segment in segments]
            return function(np.array(voltage, dtype=object), time)

        total = total + integral(state.model.numbers, smooth, start, end)
    return total / state.duration


def integral(
    numbers: Numbers, function: Callable[[Number], np.ndarray], start: Number, end: Number
) -> np.ndarray:
    """The integral of an analytic function; at most 12 digits are lost.

    By 24 Gauss nodes, where 12 give half of the digits already, else of each half.
    """
    few, many = (
        sum(w * function((start + end + (end - start) * x) / 2) for x, w in gauss_nodes(numbers, d))
        * ((end - start) / 2)
        for d in (3, 4)
    )
    if np.abs(many - few).max() <= numbers.epsilon ** (numbers.convert(9) / 20) * (end - start):
        return many
    middle = (start + end) / 2
    return integral(numbers, function, start, middle) + integral(numbers, function, middle, end)


@cache
def gauss_nodes(numbers: Numbers, degree: int) -> list[tuple[Number, Number]]:
    """Nodes in [-1, 1] and their weights, 3 * 2^(degree - 1) of them."""
    digits = 2 - int(mpmath.log10(float(numbers.epsilon)))
    with mpmath.workdps(digits):
        nodes = GaussLegendre(mpmath.mp).calc_nodes(degree, mpmath.mp.prec)
        return [(numbers.convert(str(x)), numbers.convert(str(w))) for x, w in nodes]
