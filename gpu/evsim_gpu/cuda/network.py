"""A network on a CUDA device: what stays from batch to batch, and the values of its parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from evsim.display.short_repr import Brief
from evsim_gpu.model.layout import UNIT_FIELDS, GridComponent, GridConnection, GridLayout


@dataclass(frozen=True, eq=False, repr=False)
class CudaComponent(Brief):
    """Populations simulated together.

    ``first`` is its first column among those of all components, ``unit_of`` the number of each
    column's unit among all units (int32, on the device).  A row of ``places``, of the inner
    connections, holds first synapse, first source column, source units, first target column and
    target units (int64, on the device).
    """

    index: int
    columns: int
    first: int
    spiking: bool
    recurrent: bool
    outer: tuple[CudaConnection, ...]
    inner: tuple[CudaConnection, ...]
    unit_of: Any
    places: Any


@dataclass(frozen=True)
class CudaConnection:
    """All pairs of a connection's source and target units.

    The synapse of source unit i and target unit j is ``first + i * target_units + j`` of the
    network's arrays.  Source columns and component are those of ``GridConnection``.
    """

    first: int
    source_first: int
    source_units: int
    source_component: int
    source_column: int
    target_column: int
    target_units: int

    @property
    def size(self) -> int:
        """Number of pairs."""
        return self.source_units * self.target_units


@dataclass(frozen=True, eq=False, repr=False)
class CudaNetwork(Brief):
    """What does not change with parameters; parts of one layout fit every other of its topology.

    ``stored`` says where among all pairs each of the topology's synapses is (int64, on the
    host), ``unit_of`` which unit each column of all components is.
    """

    units: int
    components: tuple[CudaComponent, ...]
    pairs: int
    stored: np.ndarray
    unit_of: np.ndarray

    @classmethod
    def of(cls, cupy: Any, layout: GridLayout) -> CudaNetwork:
        """Number the pairs of a layout's connections."""
        stored = np.empty(sum(c.synapse.size for c in layout.connections), np.int64)
        components, first, column = [], 0, 0
        for own in layout.components:
            placed: dict[int, CudaConnection] = {}
            for connection in (*own.outer, *own.inner):
                placed[connection.index] = _placed(connection, first)
                stored[connection.synapse] = first + _pairs(connection)
                first += placed[connection.index].size
            components.append(_component(cupy, own, column, placed))
            column += own.columns
        unit_of = [own.unit_of_column for own in layout.components]
        return cls(
            units=layout.units.size,
            components=tuple(components),
            pairs=first,
            stored=stored,
            unit_of=np.concatenate([np.empty(0, np.int64), *unit_of]).astype(np.int64),
        )


def _placed(connection: GridConnection, first: int) -> CudaConnection:
    return CudaConnection(
        first=first,
        source_first=connection.source_first,
        source_units=connection.source_units,
        source_component=connection.source_component,
        source_column=connection.source_column,
        target_column=connection.target_column,
        target_units=connection.target_units,
    )


def _pairs(connection: GridConnection) -> np.ndarray:
    """The pair of each synapse of a connection."""
    rows = np.repeat(np.arange(connection.source_units), np.diff(connection.row_start))
    return rows * connection.target_units + connection.column - connection.target_column


def _component(
    cupy: Any, own: GridComponent, first: int, placed: dict[int, CudaConnection]
) -> CudaComponent:
    inner = tuple(placed[c.index] for c in own.inner)
    places = [
        (c.first, c.source_column, c.source_units, c.target_column, c.target_units) for c in inner
    ]
    return CudaComponent(
        index=own.index,
        columns=own.columns,
        first=first,
        spiking=own.spiking,
        recurrent=bool(own.inner),
        outer=tuple(placed[c.index] for c in own.outer),
        inner=inner,
        unit_of=cupy.asarray(own.unit_of_column.astype(np.int32)),
        places=cupy.asarray(np.array(places, np.int64).reshape(-1, 5)),
    )


@dataclass(frozen=True, eq=False, repr=False)
class CudaParameters(Brief):
    """Values on the device.

    ``weight`` (reals) and ``delay`` (int32, in steps) have one entry per pair; where there is
    no synapse, 0 and a delay beyond the trial.  ``units`` holds the records of each component's
    columns, as bytes, and ``slopes`` their rows of ``GridLayout.time_constant_slopes``.
    ``drop_rate`` is float64, of all units, None where nothing is dropped.
    """

    weight: Any
    delay: Any
    units: tuple[Any, ...]
    refractory: tuple[Any, ...]
    slopes: tuple[Any, ...]
    drop_rate: Any

    @classmethod
    def of(cls, cupy: Any, layout: GridLayout, network: CudaNetwork) -> CudaParameters:
        """The values that a layout holds."""
        weight = np.zeros(network.pairs, layout.precision)
        delay = np.full(network.pairs, layout.steps + 1, np.int32)
        for connection in layout.connections:
            pairs = network.stored[connection.synapse]
            weight[pairs], delay[pairs] = connection.weight, connection.delay
        columns = [own.unit_of_column for own in layout.components]
        slopes, refractory = layout.time_constant_slopes, layout.units["refractory"]
        units = np.stack([layout.units[name] for name in UNIT_FIELDS])
        return cls(
            weight=cupy.asarray(weight),
            delay=cupy.asarray(delay),
            units=tuple(cupy.asarray(np.ascontiguousarray(units[:, own])) for own in columns),
            refractory=tuple(cupy.asarray(refractory[own]) for own in columns),
            slopes=tuple(cupy.asarray(slopes[own]) for own in columns),
            drop_rate=cupy.asarray(layout.drop_rate) if layout.drop_rate.any() else None,
        )
