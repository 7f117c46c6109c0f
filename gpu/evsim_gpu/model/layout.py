"""A network as the grid engine's loops read it: steps instead of times, one coefficient per step.

Times become grid points, ``rint(time/dt)``; the flow over one step of dt becomes a few
coefficients per unit, computed in float64 and rounded once to the engine's precision.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np

from evsim.display.short_repr import Brief
from evsim.equations import lif
from evsim.network.dropout import Dropout
from evsim.network.network import Network
from evsim.network.populations import LIF, Input
from evsim.network.topology import Topology
from evsim_gpu.model.precision import check_coefficients, check_parameters

UNIT_FIELDS = (
    "decay_mem",  # V after a step, per unit of V
    "rise",  # V after a step, per unit of I
    "decay_syn",  # I after a step, per unit of I
    "feed",  # lambda_I a step earlier, per unit of lambda_V
    "fall",  # change of V over a step, per unit of V: decay_mem - 1 without cancellation
    "drive_scale",  # tau_mem/dt: makes the change of V over a step a drive I - threshold
    "threshold",
    "tau_mem",  # ms
    "tau_syn",  # ms
)


def unit_record(precision: type[np.floating]) -> np.dtype:
    """How a unit's coefficients lie in memory: reals, and the steps of its refractory period."""
    reals = [(name, precision) for name in (*UNIT_FIELDS, "rate_jump")]
    return np.dtype([*reals, ("refractory", np.int32)], align=True)


def steps_in(duration: float, dt: float) -> int:
    """How many steps of dt make the trial; ValueError if they do not."""
    steps = round(duration / dt)
    if not _fill(steps, dt, duration):
        raise ValueError(
            f"dt = {dt:g} ms does not divide the trial of {duration:g} ms: a whole number of "
            f"steps must fill it, as with dt = {' or '.join(_near(duration, dt))} ms"
        )
    if steps >= 2**31 - 2:
        raise ValueError(f"dt = {dt:g} ms makes {steps} steps of {duration:g} ms: use a longer dt")
    return steps


def _fill(steps: int, dt: float, duration: float) -> bool:
    """Whether so many steps make the trial, to rounding."""
    return steps >= 1 and abs(steps * dt - duration) <= 1e-9 * duration


def _near(duration: float, dt: float) -> list[str]:
    """A longer and a shorter step that divide the trial, if there are such in six digits."""
    fewer = max(1, int(duration / dt))
    most = min(fewer, 1000)
    near = []
    for counts in (range(fewer, fewer - (most + 1) // 2, -1), range(fewer + 1, fewer + most + 1)):
        written = ((n, f"{duration / n:.6g}") for n in counts)
        short = (text for n, text in written if _fill(n, float(text), duration))
        near.append(next(short, repr(duration / counts[0])))
    return near


def grid_points(duration: float, steps: int) -> np.ndarray:
    """The grid points in ms; the last one is the end of the trial to the last bit."""
    return np.linspace(0.0, duration, steps + 1)


def steps_before(times: np.ndarray, duration: float, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """The grid point at or before each time in the trial, int64, and whether it is at it.

    At it is what differs by rounding alone: V at a time that is nearly there is another one.
    """
    points = grid_points(duration, steps)
    nearest = np.minimum(np.rint(times * (steps / duration)), steps).astype(np.int64)
    at = np.abs(times - points[nearest]) <= 8 * np.spacing(times)
    return nearest - (~at & (times < points[nearest])), at


def to_steps(times: np.ndarray, dt: float, steps: int) -> np.ndarray:
    """The nearest grid point of each time, int32; ``steps + 1`` for any beyond the trial."""
    return np.minimum(np.rint(times / dt), steps + 1).astype(np.int32)


@dataclass(frozen=True, eq=False, repr=False)
class GridConnection(Brief):
    """The synapses of a connection, row by row of their source units.

    Parameters
    ----------
    index : int
        Among the network's connections.
    source_first, source_units : int
        The first source unit among all units, and how many there are.
    source_component, target_component : int
        -1 for a source that is an input.
    source_column, target_column : int
        The column of the first source unit in its component (0 for inputs), and of the target's.
    target_units : int
    row_start : int64, shape (source_units + 1,)
        Where the synapses of each source unit begin.
    column, weight, delay, synapse : arrays, shape (synapses,)
        Of each synapse the column of its target in the target's component, its weight, its
        delay in steps (int32) and its number in the topology.
    """

    index: int
    source_first: int
    source_units: int
    source_component: int
    target_component: int
    source_column: int
    target_column: int
    target_units: int
    row_start: np.ndarray
    column: np.ndarray
    weight: np.ndarray
    delay: np.ndarray
    synapse: np.ndarray

    @property
    def is_inner(self) -> bool:
        """Whether source and target are simulated together."""
        return self.source_component == self.target_component


@dataclass(frozen=True, eq=False, repr=False)
class GridComponent(Brief):
    """Populations simulated together: their units are the columns of its arrays.

    ``unit_of_column`` has the number of each among all units; ``first_column`` is that of each
    population, by its index.  ``outer`` are the connections into the component, ``inner``
    those inside it, in the network's order.
    """

    index: int
    recurrent: bool
    is_lif: np.ndarray
    unit_of_column: np.ndarray
    first_column: dict[int, int]
    outer: tuple[GridConnection, ...]
    inner: tuple[GridConnection, ...]

    @property
    def columns(self) -> int:
        """Number of units."""
        return self.unit_of_column.size

    @property
    def spiking(self) -> bool:
        """Whether any unit may emit."""
        return bool(self.is_lif.any())


@dataclass(frozen=True, eq=False, repr=False)
class GridLayout(Brief):
    """A network on a grid.

    ``units`` are records of ``unit_record``, shape (units of all populations,), NaN for those
    of inputs; ``drop_rate`` float64, of the same shape.
    """

    network: Network
    duration: float
    dt: float
    steps: int
    precision: type[np.floating]
    units: np.ndarray
    drop_rate: np.ndarray
    components: tuple[GridComponent, ...]

    @classmethod
    def of(
        cls,
        network: Network,
        duration: float,
        dt: float,
        precision: type[np.floating],
        dropout: Dropout | None = None,
    ) -> GridLayout:
        """Lay out a network.

        ValueError if dt does not divide the duration, or the precision cannot hold a parameter.
        """
        steps = steps_in(duration, dt)
        check_parameters(network, precision)
        topology = network.topology
        rates = np.zeros(topology.unit_count)
        return cls(
            network=network,
            duration=duration,
            dt=dt,
            steps=steps,
            precision=precision,
            units=_units(network, dt, steps, precision),
            drop_rate=rates if dropout is None else dropout.rate_per_unit(network),
            components=_with_values(network, dt, steps, precision),
        )

    @property
    def connections(self) -> tuple[GridConnection, ...]:
        """Every connection, component after component."""
        return tuple(c for own in self.components for c in (*own.outer, *own.inner))

    def place(self, population: str) -> tuple[int, int, int]:
        """Component of a population that is no input, its first column and the one after."""
        for index, own in enumerate(self.network.populations):
            if own.name != population:
                continue
            for component in self.components:
                if index in component.first_column:
                    first = component.first_column[index]
                    return component.index, first, first + own.units
        raise ValueError(f"{population!r} is no population with a voltage")

    @cached_property
    def time_constant_slopes(self) -> np.ndarray:
        """Derivatives of a step: of V by tau_mem per V and per I, by tau_syn per I; of I per I.

        In the engine's precision, shape (units of all populations, 4).
        """
        slopes = np.full((self.units.size, 4), np.nan)
        taus = zip(self.network.per_unit("tau_mem"), self.network.per_unit("tau_syn"), strict=True)
        for unit, (tau_mem, tau_syn) in enumerate(taus):
            if np.isnan(tau_mem):
                continue
            by_voltage = lif.flow_by_time_constants(1.0, 0.0, self.dt, tau_mem, tau_syn)
            by_current = lif.flow_by_time_constants(0.0, 1.0, self.dt, tau_mem, tau_syn)
            slopes[unit] = by_voltage[0], *by_current
        return slopes.astype(self.precision)


def _units(network: Network, dt: float, steps: int, precision: type[np.floating]) -> np.ndarray:
    """Coefficients of every unit; equal units share one computation."""
    units = np.zeros(network.topology.unit_count, unit_record(precision))
    tau_mem, tau_syn = network.per_unit("tau_mem"), network.per_unit("tau_syn")
    check_coefficients(network, tau_mem, tau_syn, dt, precision)
    pairs, place = np.unique(np.stack([tau_mem, tau_syn]), axis=1, return_inverse=True)
    flows = np.array([lif.decays_and_convolution(dt, *pair) for pair in pairs.T])
    decay_mem, decay_syn, coupling = flows[place.ravel()].T
    units["decay_mem"], units["decay_syn"] = decay_mem, decay_syn
    units["rise"], units["feed"] = coupling / tau_mem, coupling / tau_syn
    units["fall"] = np.expm1(-dt / tau_mem)
    units["drive_scale"] = tau_mem / dt
    units["threshold"] = network.per_unit("threshold")
    units["tau_mem"], units["tau_syn"] = tau_mem, tau_syn
    refractory = network.per_unit("refractory", default=0.0)
    units["refractory"] = to_steps(refractory, dt, steps)
    return units


def _with_values(
    network: Network, dt: float, steps: int, precision: type[np.floating]
) -> tuple[GridComponent, ...]:
    """The components of a network, its weights and delays in them."""
    structure = _structures.get(network.topology)
    if structure is None:
        structure = _structures[network.topology] = _components(network)
    weight = network.weight_per_synapse().astype(precision)
    delay = to_steps(network.delay_per_synapse(), dt, steps)

    def valued(connections: tuple[GridConnection, ...]) -> tuple[GridConnection, ...]:
        return tuple(
            replace(c, weight=weight[c.synapse], delay=delay[c.synapse]) for c in connections
        )

    return tuple(replace(c, outer=valued(c.outer), inner=valued(c.inner)) for c in structure)


_structures: WeakKeyDictionary[Topology, tuple[GridComponent, ...]] = WeakKeyDictionary()
"""The components of networks with values yet to come; they depend on the topology alone."""


def _components(network: Network) -> tuple[GridComponent, ...]:
    topology = network.topology
    sizes = [population.units for population in network.populations]
    component_of = np.full(len(sizes), -1)
    columns: list[dict[int, int]] = []
    for index, component in enumerate(topology.components):
        component_of[list(component.populations)] = index
        before = np.cumsum([0, *(sizes[p] for p in component.populations)])
        columns.append(dict(zip(component.populations, before.tolist(), strict=False)))
    connections = [
        _connection(network, index, component_of, columns)
        for index in range(len(network.connections))
    ]
    found = []
    for index, component in enumerate(topology.components):
        own = [c for c in connections if c.target_component == index]
        found.append(
            GridComponent(
                index=index,
                recurrent=component.recurrent,
                is_lif=np.concatenate(
                    [
                        np.full(sizes[p], isinstance(network.populations[p], LIF))
                        for p in component.populations
                    ]
                ),
                unit_of_column=np.concatenate(
                    [np.arange(sizes[p]) + topology.first_unit[p] for p in component.populations]
                ),
                first_column=columns[index],
                outer=tuple(c for c in own if not c.is_inner),
                inner=tuple(c for c in own if c.is_inner),
            )
        )
    return tuple(found)


def _connection(
    network: Network, index: int, component_of: np.ndarray, columns: list[dict[int, int]]
) -> GridConnection:
    """The synapses of a connection sorted by source, then target, their values yet to come."""
    connection, topology = network.connections[index], network.topology
    names = [population.name for population in network.populations]
    source, target = names.index(connection.source), names.index(connection.target)
    source_units = network.populations[source].units
    slots = topology.slots[index]
    numbers = np.arange(slots.start, slots.stop) if isinstance(slots, slice) else slots
    source_first = int(topology.first_unit[source])
    rows = topology.source[numbers] - source_first
    order = np.argsort(rows, kind="stable")
    numbers, rows = numbers[order], rows[order]
    row_start = np.zeros(source_units + 1, np.int64)
    np.cumsum(np.bincount(rows, minlength=source_units), out=row_start[1:])
    target_component = int(component_of[target])
    first_column = columns[target_component][target]
    is_input = isinstance(network.populations[source], Input)
    source_component = -1 if is_input else int(component_of[source])
    return GridConnection(
        index=index,
        source_first=source_first,
        source_units=source_units,
        source_component=source_component,
        target_component=target_component,
        source_column=0 if is_input else columns[source_component][source],
        target_column=first_column,
        target_units=network.populations[target].units,
        row_start=row_start,
        column=(topology.target[numbers] - topology.first_unit[target] + first_column).astype(
            np.int32
        ),
        weight=np.empty(0),
        delay=np.empty(0, np.int32),
        synapse=numbers.astype(np.int64),
    )
