"""Derivatives by finite differences in many digits: an oracle that shares no backward code.

Nothing but the forward simulation of the engine Reference is used.  With 50 digits and a
step of 1e-20 a central difference has 25 good digits or more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from evsim import Network, SpikeTrains
from evsim.engines.reference import Reference, State
from evsim.engines.reference_network import InputEvent, Model
from evsim.readouts import Readout

Number = Any
STEP = "1e-20"


class PatternChangedError(Exception):
    """Spikes appear, vanish, or leave the trial within the step: there is no derivative."""


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
) -> Number:
    """Derivative of ``value_of(values of the readout)`` by one number, with many digits.

    Parameters
    ----------
    value_of : function of an object array of numbers, shape (batch, units)
    parameter : str
        A name in ``network.parameters``, a weight or a delay; or "<input>.times".
    index : tuple of int, or int
        Which entry of the parameter, in its own shape; the number of a stored entry if it
        is sparse, of an event for input times.

    Raises
    ------
    PatternChangedError
        If the spike pattern is not the same on both sides.
    """

    def value(state: State) -> Number:
        return value_of(Reference(digits).read_exact(state, readout))

    return difference_of(network, inputs, duration, value, parameter, index, digits, step)


def difference_of(
    network: Network,
    inputs: Mapping[str, SpikeTrains],
    duration: float,
    value_of_state: Callable[[State], Any],
    parameter: str,
    index: Any,
    digits: int = 50,
    step: str = STEP,
) -> Any:
    """As ``finite_difference``, for any number or array of numbers computed from the state."""
    engine = Reference(digits)
    h = engine.numbers.convert(step)
    at_bound = _at_lower_bound(network, inputs, parameter, index)
    # Times and delays are not negative: at 0 take the one-sided difference of second order.
    stencil = {0: -3, 1: 4, 2: -1} if at_bound else {-1: -1, 1: 1}
    states = {
        k: _shifted(engine, network, inputs, duration, parameter, index, k * h) for k in stencil
    }
    patterns = {k: _pattern(state) for k, state in states.items()}
    if len(set(patterns.values())) > 1:
        raise PatternChangedError(f"{parameter}{index}: {patterns}")
    return sum(c * value_of_state(states[k]) for k, c in stencil.items()) / (2 * h)


def exact_derivative(network: Network, adjoint: Any, parameter: str, index: Any) -> Number:
    """The same derivative from the backward pass: an entry of what ``pull_back_exact`` gave."""
    owner, kind = parameter.rsplit(".", 1)
    if kind == "times":
        return adjoint.input_times[owner][index]
    return sum(getattr(adjoint, kind)[s] for s in synapses_of(network, parameter, index))


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


def entries_of(network: Network, parameter: str) -> list[Any]:
    """Every index of a parameter."""
    values = network.parameters[parameter]
    if hasattr(values, "tocsr"):
        return list(range(values.nnz))
    return list(np.ndindex(values.shape))


def _shifted(
    engine: Reference,
    network: Network,
    inputs: Mapping[str, SpikeTrains],
    duration: float,
    parameter: str,
    index: Any,
    shift: Number,
) -> State:
    model = Model.from_network(network, engine.numbers)
    events = engine.input_events(network, inputs)
    owner, kind = parameter.rsplit(".", 1)
    if kind == "times":
        units = model.units_of(owner)

        def moved(event: InputEvent) -> InputEvent:
            own = event.unit in units and event.event == index
            return event._replace(time=event.time + shift) if own else event

        events = [[moved(event) for event in sample] for sample in events]
    else:
        numbers = list(getattr(model, kind))
        for synapse in synapses_of(network, parameter, index):
            numbers[synapse] += shift
        model = replace(model, **{kind: numbers})
    return engine.simulate_model(model, events, duration)


def _at_lower_bound(
    network: Network, inputs: Mapping[str, SpikeTrains], parameter: str, index: Any
) -> bool:
    owner, kind = parameter.rsplit(".", 1)
    if kind == "weight":
        return False
    if kind == "times":
        return bool(inputs[owner].times[index] == 0)
    values = network.parameters[parameter]
    return bool((values.data if hasattr(values, "tocsr") else values)[index] == 0)


def _pattern(state: State) -> tuple[Any, ...]:
    """How often each unit spikes, and how many spikes arrive within the trial and after it."""
    return tuple(
        (
            tuple(sorted(emission.unit for emission in sample.emissions)),
            sample.arrivals(),
            sample.arrivals_after_end,
        )
        for sample in state.samples
    )
