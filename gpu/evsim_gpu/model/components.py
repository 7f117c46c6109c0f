"""The synapses and units of a network in the order of the grid engine's loops.

Units are arranged in components: populations that are simulated together, because a loop of
connections leads through all of them, or a single population.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from evsim.display.short_repr import Brief
from evsim.network.network import Network
from evsim.network.parameters import Parameter, spread
from evsim.network.populations import LIF, Input
from evsim.network.topology import Topology

_TOGETHER = 16
"""The number of rows of a matrix that are transposed together."""


@dataclass(frozen=True, eq=False, repr=False)
class GridConnection(Brief):
    """The synapses of a connection, sorted by source unit.

    Parameters
    ----------
    index : int
        The index among the network's connections.
    source_first, source_units : int
        The first source unit among the units of all populations, and the number of source units.
    source_component, target_component : int
        The components of source and target; -1 for a source that is an input.
    source_column, target_column : int
        The columns of the first source unit (0 for an input) and of the first target unit.
    target_units : int
        The number of target units.
    row_start : int64, shape (source_units + 1,)
        The place where the synapses of each source unit begin.
    column : int32, shape (synapses,)
        The column of the target unit of each synapse.
    synapse : int64, shape (synapses,)
        The number of each synapse in the topology.
    row_column : int32, shape (source_units,)
        The column of the first target unit of each source unit if its other target units follow
        directly; -1 otherwise.
    entry : int64, shape (synapses,), or None
        The place of each synapse among those of the connection row by row; None if it is dense,
        so that the sorted synapses are the transposed matrix.
    place : slice
        The place of the synapses among those of all connections, component by component.
    entries : slice
        Their place, row by row, among those of all connections in the network's order.
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
    synapse: NDArray[np.int64]
    row_column: NDArray[np.int32]
    entry: NDArray[np.int64] | None
    place: slice
    entries: slice

    @property
    def is_internal(self) -> bool:
        """Whether source and target are in the same component."""
        return self.source_component == self.target_component

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of target and source units."""
        return self.target_units, self.source_units

    def sort(self, values: Parameter, weight: Parameter, into: NDArray[Any]) -> None:
        """Write a parameter's value at each synapse, shape (synapses,), in the type of ``into``.

        ``weight`` is the weight of the connection, which determines which synapses exist.
        """
        if self.entry is None:
            by_source = into.reshape(self.source_units, self.target_units)
            np.copyto(by_source, np.broadcast_to(values, self.shape).T, casting="same_kind")
        else:
            into[:] = spread(values, weight, self.shape)[self.entry]

    def unsort(self, ordered: NDArray[Any], into: NDArray[Any]) -> None:
        """Write values of the sorted synapses row by row to ``into``, each (synapses,)."""
        if self.entry is None:
            by_source = ordered.reshape(self.source_units, self.target_units)
            by_target = into.reshape(self.shape)
            for first in range(0, self.source_units, _TOGETHER):  # parts that fit into a cache
                part = slice(first, first + _TOGETHER)
                by_target[:, part] = by_source[part].T
        else:
            into[self.entry] = ordered

    def common(self, values: NDArray[Any]) -> NDArray[Any]:
        """The common value of all synapses of a source unit, (source units,); -1 if they differ."""
        if values.size == 0:
            return np.zeros(self.source_units, values.dtype)
        common = values[np.minimum(self.row_start[:-1], values.size - 1)]
        if self.entry is None:
            by_source = values.reshape(self.source_units, self.target_units)
            common[(by_source != common[:, None]).any(axis=1)] = -1
        else:
            counts = np.diff(self.row_start)
            rows = np.repeat(np.arange(self.source_units), counts)
            common[rows[values != np.repeat(common, counts)]] = -1
        return common


@dataclass(frozen=True, eq=False, repr=False)
class GridComponent(Brief):
    """Populations that are simulated together; their units are the columns of its arrays.

    Parameters
    ----------
    index : int
        The index among the components of the network.
    recurrent : bool
        Whether it contains a loop of connections.
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


_kept: WeakKeyDictionary[Topology, tuple[GridComponent, ...]] = WeakKeyDictionary()


def components_of(network: Network) -> tuple[GridComponent, ...]:
    """The components of a network, which depend only on its topology."""
    components = _kept.get(network.topology)
    if components is None:
        components = _kept[network.topology] = _components(network)
    return components


def connections_of(components: Sequence[GridComponent]) -> tuple[GridConnection, ...]:
    """All connections, component by component; their synapses lie one after the other."""
    return tuple(c for component in components for c in component.connections)


def _components(network: Network) -> tuple[GridComponent, ...]:
    topology = network.topology
    sizes = [population.units for population in network.populations]
    component_of = np.full(len(sizes), -1)
    first_columns: list[dict[int, int]] = []
    for index, component in enumerate(topology.components):
        component_of[list(component.populations)] = index
        firsts = np.cumsum([0, *(sizes[p] for p in component.populations)])
        first_columns.append(dict(zip(component.populations, firsts.tolist(), strict=False)))
    connections, first_entry = [], 0
    for number in range(len(network.connections)):
        connection = _connection(network, number, component_of, first_columns)
        after = first_entry + connection.synapse.size
        connections.append(replace(connection, entries=slice(first_entry, after)))
        first_entry = after
    found, first_synapse = [], 0
    for index, component in enumerate(topology.components):
        incoming = [c for c in connections if c.target_component == index]
        incoming.sort(key=lambda connection: connection.is_internal)
        for place, connection in enumerate(incoming):
            after = first_synapse + connection.synapse.size
            incoming[place] = replace(connection, place=slice(first_synapse, after))
            first_synapse = after
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
    """The synapses of a connection sorted by source, then target; they have no places yet."""
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
        synapse=numbers.astype(np.int64),
        row_column=row_column.astype(np.int32),
        entry=order if connection.is_sparse else None,
        place=slice(0),
        entries=slice(0),
    )
