"""The memory layout of a network and of spikes for the grid's loops.

Columns number the units of all components, component after component; inputs have no
columns.  Reals are float32 or float64, the same in all arrays.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from evsim._compile.decorators import allocating
from evsim_gpu.model.coefficients import UNIT_FIELDS
from evsim_gpu.model.layout import GridConnection, GridLayout

BLOCK = 128
"""Columns whose steps are worked on together: 1000 steps of them take some hundred kB."""


class Columns(NamedTuple):
    """Coefficients of each column, see ``evsim_gpu.model.layout``; reals but for the last four."""

    decay_mem: np.ndarray
    rise: np.ndarray
    decay_syn: np.ndarray
    feed: np.ndarray
    tau_mem: np.ndarray
    tau_syn: np.ndarray
    threshold: np.ndarray
    reset: np.ndarray
    start: np.ndarray
    refractory: np.ndarray  # steps, int32
    is_lif: np.ndarray
    unit: np.ndarray  # its number among all units, int64
    drop_rate: np.ndarray  # of every unit, those of inputs included, float64


@allocating
def columns_of(columns: Columns, first: int, last: int) -> Columns:
    """The coefficients of some columns; the rates of dropout stay those of every unit."""
    return Columns(
        columns.decay_mem[first:last],
        columns.rise[first:last],
        columns.decay_syn[first:last],
        columns.feed[first:last],
        columns.tau_mem[first:last],
        columns.tau_syn[first:last],
        columns.threshold[first:last],
        columns.reset[first:last],
        columns.start[first:last],
        columns.refractory[first:last],
        columns.is_lif[first:last],
        columns.unit[first:last],
        columns.drop_rate,
    )


class Synapses(NamedTuple):
    """Connections, component after component, first those from outside, then those inside.

    Connection c has the units ``source_first[c]`` and following, in column ``source_column[c]``
    and following of their component; the synapses of its i-th source unit are
    ``row_start[row_first[c] + i]`` to ``row_start[row_first[c] + i + 1] - 1``.
    """

    external_first: np.ndarray  # the first connection of each component, and one more
    internal_first: np.ndarray  # the first connection inside each component
    source_first: np.ndarray
    source_units: np.ndarray
    source_column: np.ndarray
    row_first: np.ndarray
    row_start: np.ndarray
    target: np.ndarray  # column of the target in its component, int32
    delay: np.ndarray  # steps, int32
    weight: np.ndarray  # real
    number: np.ndarray  # in the topology, int64
    row_delay: np.ndarray  # of all synapses of a source unit, int32; -1 if they differ
    row_column: np.ndarray  # see GridConnection, int32
    reach: np.ndarray  # the largest delay of connections in which those of a row differ, else 0
    width: np.ndarray  # how many columns of the target component are worked on together
    offset: np.ndarray  # delay * width + place among those columns, uint64; 0 without a reach


class Spikes(NamedTuple):
    """Spikes of some samples: those of a unit in a sample lie one after the other, by time.

    ``step`` int32; ``threshold_excess`` and ``release`` reals: what replaces I - threshold at an
    emission, and I when V moves again after a refractory period; ``dropped`` bool.
    """

    step: np.ndarray
    threshold_excess: np.ndarray
    release: np.ndarray
    dropped: np.ndarray


@allocating
def with_room(spikes: Spikes, count: int, extra: int) -> Spikes:
    """The same ``count`` spikes in arrays with room for some more."""
    size = spikes.step.size
    if count + extra <= size:
        return spikes
    larger, real = 2 * size + extra, spikes.release.dtype
    step, dropped = np.empty(larger, np.int32), np.empty(larger, np.bool_)
    threshold_excess, release = np.empty(larger, real), np.empty(larger, real)
    step[:count], dropped[:count] = spikes.step[:count], spikes.dropped[:count]
    threshold_excess[:count] = spikes.threshold_excess[:count]
    release[:count] = spikes.release[:count]
    return Spikes(step, threshold_excess, release, dropped)


class Network(NamedTuple):
    """A network for the loops.

    ``first`` has the first column of each component, and their number; ``spiking`` says
    whether any unit of a component may emit, and ``is_held`` whether any has a refractory period.
    ``reach`` is the largest ``Synapses.reach`` inside each component.
    """

    steps: int
    first: np.ndarray
    spiking: np.ndarray
    is_held: np.ndarray
    reach: np.ndarray
    columns: Columns
    synapses: Synapses


def flat_network(layout: GridLayout) -> Network:
    """A layout as arrays."""
    components = layout.components
    sizes = [component.columns for component in components]
    unit = _joined([component.unit_of_column for component in components], np.int64)
    fields = [np.ascontiguousarray(layout.units[name][unit]) for name in UNIT_FIELDS]
    columns = Columns(
        **dict(zip(UNIT_FIELDS, fields, strict=True)),
        refractory=np.ascontiguousarray(layout.units["refractory"][unit]),
        is_lif=_joined([component.is_lif for component in components], np.bool_),
        unit=unit,
        drop_rate=layout.drop_rate,
    )
    external = np.cumsum([0, *(len(c.external) + len(c.internal) for c in components)])
    internal = external[:-1] + [len(c.external) for c in components]
    connections = layout.connections
    rows = np.cumsum([0, *(c.source_units for c in connections)])
    lengths = np.cumsum([0, *(c.synapse.size for c in connections)])
    starts = [
        c.row_start[:-1] + before for c, before in zip(connections, lengths[:-1], strict=True)
    ]
    synapses = Synapses(
        external_first=external.astype(np.int64),
        internal_first=internal.astype(np.int64),
        source_first=np.array([c.source_first for c in connections], np.int64),
        source_units=np.array([c.source_units for c in connections], np.int64),
        source_column=np.array([c.source_column for c in connections], np.int64),
        row_first=rows[:-1].astype(np.int64),
        row_start=_joined([*starts, lengths[-1:]], np.int64),
        target=_joined([c.column for c in connections], np.int32),
        delay=_joined([c.delay for c in connections], np.int32),
        weight=_joined([c.weight for c in connections], layout.precision),
        number=_joined([c.synapse for c in connections], np.int64),
        row_delay=_joined([c.row_delay for c in connections], np.int32),
        row_column=_joined([c.row_column for c in connections], np.int32),
        reach=np.array([c.reach for c in connections], np.int64),
        width=np.array([width_of(c, sizes[c.target_component]) for c in connections], np.int64),
        offset=_joined([_offsets(c, sizes[c.target_component]) for c in connections], np.uint64),
    )
    return Network(
        steps=layout.steps,
        first=np.cumsum([0, *sizes]).astype(np.int64),
        spiking=np.array([component.spiking for component in components], np.bool_),
        is_held=np.array(
            [(layout.units["refractory"][c.unit_of_column] > 0).any() for c in components], np.bool_
        ),
        reach=np.array(
            [max((c.reach for c in each.internal), default=0) for each in components], np.int64
        ),
        columns=columns,
        synapses=synapses,
    )


def width_of(connection: GridConnection, columns: int) -> int:
    """How many of the columns of the target component are worked on together.

    Emissions inside a component arrive while it runs, at all of its columns.
    """
    return columns if connection.is_internal else min(BLOCK, columns)


def _offsets(connection: GridConnection, columns: int) -> np.ndarray:
    """See ``Synapses.offset``."""
    if connection.reach == 0:
        return np.zeros(connection.synapse.size, np.uint64)
    width = width_of(connection, columns)
    return connection.delay.astype(np.uint64) * width + connection.column % width


def _joined(parts: list[np.ndarray], kind: type) -> np.ndarray:
    return np.concatenate([np.empty(0, kind), *parts]).astype(kind)
