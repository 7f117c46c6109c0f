"""Derivatives along a random direction, in which all parameters and input times change.

A single finite difference then checks all entries of a gradient: a wrong or missing entry changes
the derivative.  The difference uses forward simulations only, and so shares no code with the
backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from agreement import entries
from networks import Case

from evsim import Network
from evsim.engines import Adjoint, Reference
from evsim.engines.reference.engine import AdjointState, State
from evsim.engines.reference.network import Model
from evsim.engines.reference.neuron import Number
from evsim.engines.rest import start_is_given
from evsim.network.parameters import spread

STEP = "1e-20"
CENTRAL = {-1: -1, 1: 1}
ONE_SIDED = {0: -3, 1: 4, 2: -1}
"""Coefficients of values at multiples of the step, divided by twice the step; second order."""

UNIT_PARAMETERS = ("tau_mem", "tau_syn", "threshold", "reset", "rest", "start")

Direction = Mapping[str, np.ndarray]
"""The change of each entry by parameter name; "<input>.times" for the times of input spikes."""


class OtherPatternError(Exception):
    """Spikes appear, vanish or leave the trial within the step, so there is no derivative."""


def random_direction(
    rng: np.random.Generator, case: Case, kinds: tuple[str, ...] | None = None
) -> dict[str, np.ndarray]:
    """A direction in all parameters and input times, or in some kinds; delays of 0 only grow."""
    moving = {name: entries(values) for name, values in case.network.parameters.items()}
    moving |= {f"{name}.times": trains.times for name, trains in case.inputs.items()}
    direction = {}
    for name, values in moving.items():
        if kinds is None or name.rsplit(".", 1)[1] in kinds:
            sizes = rng.normal(size=values.shape)
            direction[name] = np.where(at_bound(name, values), np.abs(sizes), sizes)
    return direction


def at_bound(name: str, values: np.ndarray) -> np.ndarray:
    """Whether each entry is at its lower bound and may only grow."""
    return (values == 0) & name.endswith((".delay", ".times"))


def stencil(case: Case, direction: Direction) -> dict[int, int]:
    """The central difference, or a one-sided one if an entry may only grow."""
    bounded = (
        (at_bound(name, entries(case.network.parameters[name])) & (sizes != 0)).any()
        for name, sizes in direction.items()
        if name in case.network.parameters
    )
    return ONE_SIDED if any(bounded) else CENTRAL


# -- the difference -----------------------------------------------------------------------


def difference(
    case: Case,
    reference: Reference,
    direction: Direction,
    value_of: Callable[[State], Number],
    step: Any = STEP,
) -> Number:
    """The finite difference of a function of the state, in the engine's number type.

    Raises ``OtherPatternError`` if a spike appears or vanishes within the step.
    """
    h = reference.numbers.convert(step)
    weights = stencil(case, direction)
    states = {k: moved_state(case, reference, direction, k * h) for k in weights}
    if len({pattern(state) for state in states.values()}) > 1:
        raise OtherPatternError
    return sum(c * value_of(states[k]) for k, c in weights.items()) / (2 * h)


def moved_state(case: Case, reference: Reference, direction: Direction, far: Number) -> State:
    """Simulate the network after a step of that length along the direction."""
    network, convert = case.network, reference.numbers.convert
    model = Model.from_network(network, reference.numbers)
    for kind in ("weight", "delay"):
        shifts = per_synapse(network, direction, kind).tolist()
        values = getattr(model, kind)
        moved = [x + far * convert(s) for x, s in zip(values, shifts, strict=True)]
        model = replace(model, **{kind: moved})
    neurons = dict(model.neurons)
    for kind in UNIT_PARAMETERS:
        for unit, size in enumerate(per_unit(network, direction, kind).tolist()):
            if size:
                step = far * convert(size)
                moved = {kind: step}
                if kind == "rest":  # the other voltages are measured from it
                    moved |= {"threshold": -step, "reset": -step}
                    moved |= {"start": -step} if start_is_given(network)[unit] else {}
                values = {name: getattr(neurons[unit], name) + by for name, by in moved.items()}
                neurons[unit] = replace(neurons[unit], **values)
    events = [
        [event._replace(time=event.time + far * convert(size)) for event, size in sample]
        for sample in events_and_sizes(case, reference, direction)
    ]
    return reference.simulate_model(replace(model, neurons=neurons), events, case.duration)


def events_and_sizes(case: Case, reference: Reference, direction: Direction) -> Any:
    """The input spikes of each sample, and the component of the direction for each spike."""
    names = {
        unit: population.name
        for population, start in zip(
            case.network.populations, case.network.topology.first_unit.tolist(), strict=False
        )
        if population.name in case.inputs
        for unit in range(start, start + population.units)
    }
    still = {name: np.zeros(trains.times.size) for name, trains in case.inputs.items()}
    for sample in reference.input_events(case.network, case.inputs):
        yield [
            (event, float(direction.get(f"{name}.times", still[name])[event.event]))
            for event in sample
            for name in [names[event.unit]]
        ]


def per_synapse(network: Network, direction: Direction, kind: str) -> np.ndarray:
    """The direction's component for the weight or delay of each synapse, (synapses,)."""
    topology = network.topology
    flat = np.zeros(topology.source.size)
    for connection, slots in zip(network.connections, topology.slots, strict=True):
        sizes = direction.get(f"{connection.name}.{kind}")
        if sizes is not None:
            values, weight = getattr(connection, kind), connection.weight
            post, pre = (
                network.population(name).units for name in (connection.target, connection.source)
            )
            sparse = hasattr(values, "indptr")
            flat[slots] = sizes if sparse else spread(sizes, weight, (post, pre))
    return flat


def per_unit(network: Network, direction: Direction, kind: str) -> np.ndarray:
    """The direction's component for one parameter of each unit, (units of all populations,)."""
    flat = np.zeros(network.topology.unit_count)
    starts = network.topology.first_unit.tolist()
    for population, start in zip(network.populations, starts, strict=False):
        flat[start : start + population.units] = direction.get(f"{population.name}.{kind}", 0.0)
    return flat


def pattern(state: State) -> tuple[Any, ...]:
    """The spike count of each unit, and the numbers of arrivals within and after the trial."""
    return tuple(
        (
            tuple(sorted(emission.unit for emission in sample.emissions)),
            sample.arrivals(),
            sample.arrivals_after_end,
        )
        for sample in state.samples
    )


# -- the same from a backward pass --------------------------------------------------------


def contributions(adjoint: Adjoint, direction: Direction) -> np.ndarray:
    """The contribution of each entry to the derivative along the direction, in float64."""
    parts = []
    for name, sizes in direction.items():
        owner, kind = name.rsplit(".", 1)
        slopes = adjoint.input_times[owner] if kind == "times" else adjoint.parameters[name]
        parts.append(np.ravel(sizes * entries(slopes)))
    return np.concatenate(parts)


def derivative(case: Case, adjoint: AdjointState, direction: Direction) -> Number:
    """The derivative along the direction, in the engine's number type."""
    total: Number = 0
    for kind in ("weight", "delay"):
        total += np.sum(getattr(adjoint, kind) * per_synapse(case.network, direction, kind))
    for kind in UNIT_PARAMETERS:
        total += np.sum(getattr(adjoint, kind) * per_unit(case.network, direction, kind))
    for name, slopes in adjoint.input_times.items():
        if f"{name}.times" in direction:
            total += np.sum(slopes * direction[f"{name}.times"])
    return total
