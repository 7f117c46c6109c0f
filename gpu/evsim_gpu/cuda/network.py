"""A network in the memory of a CUDA device: its structure and the values of its parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.display.short_repr import Brief
from evsim_gpu.model.coefficients import UNIT_FIELDS
from evsim_gpu.model.components import GridComponent, GridConnection
from evsim_gpu.model.layout import GridLayout


@dataclass(frozen=True)
class CudaConnection:
    """A connection as dense synapses: one for each pair of a source and a target unit.

    The dense synapse of source unit i and target unit j is
    ``first_synapse + i * target_units + j`` in the network's arrays.  ``source_first``,
    ``source_component``, ``source_column`` and ``target_column`` are those of ``GridConnection``.
    """

    first_synapse: int
    source_first: int
    source_units: int
    source_component: int
    source_column: int
    target_column: int
    target_units: int

    @property
    def size(self) -> int:
        """The number of dense synapses."""
        return self.source_units * self.target_units

    @property
    def is_from_input(self) -> bool:
        """Whether the source is an input population."""
        return self.source_component < 0


@dataclass(frozen=True, eq=False, repr=False)
class CudaComponent(Brief):
    """Populations that are simulated together.

    Parameters
    ----------
    index : int
        The index among the components of the network.
    columns : int
        The number of its units.
    first_column : int
        Its first column among the columns of all components.
    spiking, recurrent : bool
        Whether any unit may spike, and whether there are internal connections.
    external, internal : tuple of CudaConnection
        Connections into the component from outside, and connections inside it.
    unit_of_column : int32, shape (columns,), on the device
        The number of each column's unit among the units of all populations.
    connection_table : int64, shape (internal connections, 5), on the device
        First synapse, first source column, source units, first target column and target units
        of each internal connection; see kernels/connections.cuh.
    """

    index: int
    columns: int
    first_column: int
    spiking: bool
    recurrent: bool
    external: tuple[CudaConnection, ...]
    internal: tuple[CudaConnection, ...]
    unit_of_column: Any
    connection_table: Any

    @property
    def connections(self) -> tuple[CudaConnection, ...]:
        """All connections into the component."""
        return (*self.external, *self.internal)


@dataclass(frozen=True, eq=False, repr=False)
class CudaNetwork(Brief):
    """The structure of a network, the same for all layouts of one topology.

    Parameters
    ----------
    units : int
        The number of units of all populations.
    components : tuple of CudaComponent
    dense_synapses : int
        The number of dense synapses of all connections.
    dense_index : int64, shape (synapses,), on the host
        The dense synapse of each synapse of the topology.
    unit_of_column : int64, shape (columns of all components,), on the host
    """

    units: int
    components: tuple[CudaComponent, ...]
    dense_synapses: int
    dense_index: NDArray[np.int64]
    unit_of_column: NDArray[np.int64]

    @classmethod
    def of(cls, cupy: Any, layout: GridLayout) -> CudaNetwork:
        """Number the dense synapses of a layout's connections."""
        dense_index = np.empty(sum(c.synapse.size for c in layout.connections), np.int64)
        components, first_synapse, first_column = [], 0, 0
        for component in layout.components:
            connections: dict[int, CudaConnection] = {}
            for connection in component.connections:
                connections[connection.index] = _connection(connection, first_synapse)
                dense_index[connection.synapse] = first_synapse + _dense_synapses(connection)
                first_synapse += connections[connection.index].size
            components.append(_component(cupy, component, first_column, connections))
            first_column += component.columns
        unit_of_column = [component.unit_of_column for component in layout.components]
        return cls(
            units=layout.units.size,
            components=tuple(components),
            dense_synapses=first_synapse,
            dense_index=dense_index,
            unit_of_column=np.concatenate([np.empty(0, np.int64), *unit_of_column]).astype(
                np.int64
            ),
        )

    @property
    def columns(self) -> int:
        """The number of columns of all components."""
        return self.unit_of_column.size


def _connection(connection: GridConnection, first_synapse: int) -> CudaConnection:
    return CudaConnection(
        first_synapse=first_synapse,
        source_first=connection.source_first,
        source_units=connection.source_units,
        source_component=connection.source_component,
        source_column=connection.source_column,
        target_column=connection.target_column,
        target_units=connection.target_units,
    )


def _dense_synapses(connection: GridConnection) -> NDArray[np.int64]:
    """The dense synapse of each synapse of a connection, counted from 0."""
    sources = np.repeat(np.arange(connection.source_units), np.diff(connection.row_start))
    return sources * connection.target_units + connection.column - connection.target_column


def _component(
    cupy: Any,
    component: GridComponent,
    first_column: int,
    connections: dict[int, CudaConnection],
) -> CudaComponent:
    internal = tuple(connections[c.index] for c in component.internal)
    rows = [
        (c.first_synapse, c.source_column, c.source_units, c.target_column, c.target_units)
        for c in internal
    ]
    return CudaComponent(
        index=component.index,
        columns=component.columns,
        first_column=first_column,
        spiking=component.spiking,
        recurrent=bool(internal),
        external=tuple(connections[c.index] for c in component.external),
        internal=internal,
        unit_of_column=cupy.asarray(component.unit_of_column.astype(np.int32)),
        connection_table=cupy.asarray(np.array(rows, np.int64).reshape(-1, 5)),
    )


@dataclass(frozen=True, eq=False, repr=False)
class CudaParameters(Brief):
    """The values of a network's parameters, on the device.

    Parameters
    ----------
    weight : reals, shape (dense synapses,)
        0 for a pair of units that no synapse connects.
    delay : int32, shape (dense synapses,)
        In steps; ``steps + 1``, which is beyond the trial, where there is no synapse.
    coefficients : tuple of arrays of reals, one per component, each (UNIT_FIELDS, columns)
    refractory : tuple of int32 arrays, one per component, each (columns,)
        In steps.
    time_constant_slopes : tuple of arrays of reals, one per component, each (columns, 4)
        The rows of ``GridLayout.time_constant_slopes``.
    drop_rate : float64, shape (units of all populations,), or None
        None if no spike is dropped.
    """

    weight: Any
    delay: Any
    coefficients: tuple[Any, ...]
    refractory: tuple[Any, ...]
    time_constant_slopes: tuple[Any, ...]
    drop_rate: Any

    @classmethod
    def of(cls, cupy: Any, layout: GridLayout, network: CudaNetwork) -> CudaParameters:
        """Copy the values of a layout to the device."""
        weight = np.zeros(network.dense_synapses, layout.precision)
        delay = np.full(network.dense_synapses, layout.steps + 1, np.int32)
        for connection in layout.connections:
            index = network.dense_index[connection.synapse]
            weight[index] = layout.weights.values[connection.place]
            delay[index] = layout.delays.values[connection.place]
        units_of = [component.unit_of_column for component in layout.components]
        slopes, refractory = layout.time_constant_slopes, layout.units["refractory"]
        coefficients = np.stack([layout.units[name] for name in UNIT_FIELDS])
        return cls(
            weight=cupy.asarray(weight),
            delay=cupy.asarray(delay),
            coefficients=tuple(
                cupy.asarray(np.ascontiguousarray(coefficients[:, units])) for units in units_of
            ),
            refractory=tuple(cupy.asarray(refractory[units]) for units in units_of),
            time_constant_slopes=tuple(cupy.asarray(slopes[units]) for units in units_of),
            drop_rate=cupy.asarray(layout.drop_rate) if layout.drop_rate.any() else None,
        )
