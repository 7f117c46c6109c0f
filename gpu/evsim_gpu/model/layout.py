"""A network as the loops and kernels of the grid engine read it.

Times become steps, and the flow over one step becomes a few coefficients per unit.  Units are
arranged in components: populations that are simulated together, because a loop of connections
leads through all of them, or a single population.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from evsim.display.short_repr import Brief
from evsim.network.dropout import Dropout
from evsim.network.network import Network
from evsim.network.populations import LIF, Input
from evsim.network.topology import Topology
from evsim_gpu.model import coefficients
from evsim_gpu.model.precision import check_parameters
from evsim_gpu.model.time_grid import steps_in, to_steps


@dataclass(frozen=True, eq=False, repr=False)
class GridConnection(Brief):
    """The synapses of a connection, sorted by source unit.

    Parameters
    ----------
    index : int
        Among the network's connections.
    source_first, source_units : int
        The first source unit among the units of all populations, and the number of source units.
    source_component, target_component : int
        The components of source and target; -1 for a source that is an input.
    source_column, target_column : int
        The columns of the first source unit (0 for an input) and of the first target unit.
    target_units : int
        The number of target units.
    row_start : int64, shape (source_units + 1,)
        Where the synapses of each source unit begin.
    column : int32, shape (synapses,)
        The column of the target unit of each synapse.
    weight : reals, shape (synapses,)
    delay : int32, shape (synapses,)
        In steps.
    synapse : int64, shape (synapses,)
        The number of each synapse in the topology.
    row_column : int32, shape (source_units,)
        The column of the first target unit of each source unit if those that follow it are its
        other target units; -1 otherwise.
    """

    index: int
    source_first: int
    source_units: int
    source_component: int
    target_component: int
    source_column: int
    target_column: int
    target_units: int
    row_start: NDArray[np.int64]
    column: NDArray[np.int32]
    weight: NDArray[np.floating]
    delay: NDArray[np.int32]
    synapse: NDArray[np.int64]
    row_column: NDArray[np.int32]

    @property
    def is_internal(self) -> bool:
        """Whether source and target are in the same component."""
        return self.source_component == self.target_component

    @cached_property
    def row_delay(self) -> NDArray[np.int32]:
        """The delay of all synapses of each source unit, (source units,); -1 if they differ."""
        if self.delay.size == 0:
            return np.zeros(self.source_units, np.int32)
        common = self.delay[np.minimum(self.row_start[:-1], self.delay.size - 1)]
        counts = np.diff(self.row_start)
        rows = np.repeat(np.arange(self.source_units), counts)
        common[rows[self.delay != np.repeat(common, counts)]] = -1
        return common

    @cached_property
    def reach(self) -> int:
        """The most steps from a spike to an arrival if delays of a source unit differ, else 0."""
        return int(self.delay.max()) if self.row_delay.min(initial=0) < 0 else 0


@dataclass(frozen=True, eq=False, repr=False)
class GridComponent(Brief):
    """Populations that are simulated together; their units are the columns of its arrays.

    Parameters
    ----------
    index : int
        Among the components of the network.
    recurrent : bool
        Whether a loop of connections leads through it.
    is_lif : bool, shape (columns,)
        Whether each unit is LIF, and so may spike.
    unit_of_column : int64, shape (columns,)
        The number of each unit among the units of all populations.
    first_column : dict of int to int
        The first column of each population, by the population's index in the network.
    external, internal : tuple of GridConnection
        The connections into the component from outside, and those inside it, each in the
        network's order.
    """

    index: int
    recurrent: bool
    is_lif: NDArray[np.bool_]
    unit_of_column: NDArray[np.int64]
    first_column: dict[int, int]
    external: tuple[GridConnection, ...]
    internal: tuple[GridConnection, ...]

    @property
    def columns(self) -> int:
        """The number of units."""
        return self.unit_of_column.size

    @property
    def connections(self) -> tuple[GridConnection, ...]:
        """All connections into the component."""
        return (*self.external, *self.internal)

    @property
    def spiking(self) -> bool:
        """Whether any unit may spike."""
        return bool(self.is_lif.any())


@dataclass(frozen=True, eq=False, repr=False)
class GridLayout(Brief):
    """A network on a grid.

    Parameters
    ----------
    network : Network
    duration, dt : float
        Of the trial and of a step, in ms.
    steps : int
        In the trial.
    precision : type
        ``numpy.float32`` or ``numpy.float64``.
    units : records of ``unit_record``, shape (units of all populations,)
    drop_rate : float64, shape (units of all populations,)
        The probability that dropout drops a spike.
    components : tuple of GridComponent
    """

    network: Network
    duration: float
    dt: float
    steps: int
    precision: type[np.floating]
    units: np.ndarray
    drop_rate: NDArray[np.float64]
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
        """The layout of a network.

        ValueError if dt does not divide the duration, or the precision cannot hold a parameter.
        """
        steps = steps_in(duration, dt)
        check_parameters(network, precision)
        rates = np.zeros(network.topology.unit_count)
        return cls(
            network=network,
            duration=duration,
            dt=dt,
            steps=steps,
            precision=precision,
            units=coefficients.unit_coefficients(network, dt, steps, precision),
            drop_rate=rates if dropout is None else dropout.rate_per_unit(network),
            components=_with_values(network, dt, steps, precision),
        )

    @property
    def connections(self) -> tuple[GridConnection, ...]:
        """All connections, component by component."""
        return tuple(c for component in self.components for c in component.connections)

    def place(self, population: str) -> tuple[int, int, int]:
        """The component of a population that is no input, its first column and the one after."""
        for index, candidate in enumerate(self.network.populations):
            if candidate.name != population:
                continue
            for component in self.components:
                if index in component.first_column:
                    first = component.first_column[index]
                    return component.index, first, first + candidate.units
        raise ValueError(f"{population!r} is no population with a voltage")

    @cached_property
    def time_constant_slopes(self) -> NDArray[np.floating]:
        """See ``evsim_gpu.model.coefficients.time_constant_slopes``."""
        return coefficients.time_constant_slopes(self.network, self.dt, self.precision)


# -- components ---------------------------------------------------------------------------

_structures: WeakKeyDictionary[Topology, tuple[GridComponent, ...]] = WeakKeyDictionary()
"""The components of networks without weights and delays; they depend on the topology alone."""


def _with_values(
    network: Network, dt: float, steps: int, precision: type[np.floating]
) -> tuple[GridComponent, ...]:
    """The components of a network, with its weights and delays."""
    structure = _structures.get(network.topology)
    if structure is None:
        structure = _structures[network.topology] = _components(network)
    weight = network.weight_per_synapse().astype(precision)
    delay = to_steps(network.delay_per_synapse(), dt, steps)

    def valued(connections: tuple[GridConnection, ...]) -> tuple[GridConnection, ...]:
        return tuple(
            replace(c, weight=weight[c.synapse], delay=delay[c.synapse]) for c in connections
        )

    return tuple(
        replace(c, external=valued(c.external), internal=valued(c.internal)) for c in structure
    )


def _components(network: Network) -> tuple[GridComponent, ...]:
    topology = network.topology
    sizes = [population.units for population in network.populations]
    component_of = np.full(len(sizes), -1)
    first_columns: list[dict[int, int]] = []
    for index, component in enumerate(topology.components):
        component_of[list(component.populations)] = index
        firsts = np.cumsum([0, *(sizes[p] for p in component.populations)])
        first_columns.append(dict(zip(component.populations, firsts.tolist(), strict=False)))
    connections = [
        _connection(network, index, component_of, first_columns)
        for index in range(len(network.connections))
    ]
    found = []
    for index, component in enumerate(topology.components):
        incoming = [c for c in connections if c.target_component == index]
        is_lif = [
            np.full(sizes[p], isinstance(network.populations[p], LIF))
            for p in component.populations
        ]
        units = [np.arange(sizes[p]) + topology.first_unit[p] for p in component.populations]
        found.append(
            GridComponent(
                index=index,
                recurrent=component.recurrent,
                is_lif=np.concatenate(is_lif),
                unit_of_column=np.concatenate(units),
                first_column=first_columns[index],
                external=tuple(c for c in incoming if not c.is_internal),
                internal=tuple(c for c in incoming if c.is_internal),
            )
        )
    return tuple(found)


def _connection(
    network: Network,
    index: int,
    component_of: NDArray[np.int64],
    first_columns: list[dict[int, int]],
) -> GridConnection:
    """The synapses of a connection sorted by source, then target; weights and delays are empty."""
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
    target_column = first_columns[target_component][target]
    is_input = isinstance(network.populations[source], Input)
    source_component = -1 if is_input else int(component_of[source])
    column = topology.target[numbers] - topology.first_unit[target] + target_column
    row_column = np.zeros(source_units, np.int64)
    if numbers.size > 0:
        row_column[:] = column[np.minimum(row_start[:-1], numbers.size - 1)]
    expected = row_column[rows] + np.arange(numbers.size) - row_start[rows]
    row_column[rows[column != expected]] = -1
    return GridConnection(
        index=index,
        source_first=source_first,
        source_units=source_units,
        source_component=source_component,
        target_component=target_component,
        source_column=0 if is_input else first_columns[source_component][source],
        target_column=target_column,
        target_units=network.populations[target].units,
        row_start=row_start,
        column=column.astype(np.int32),
        weight=np.empty(0),
        delay=np.empty(0, np.int32),
        synapse=numbers.astype(np.int64),
        row_column=row_column.astype(np.int32),
    )
