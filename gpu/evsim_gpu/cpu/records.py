"""The memory layout of a network and of spikes for the grid's loops.

Columns number the units of all components, component after component; inputs have no
columns.  Reals are float32 or float64, the same in all arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from evsim._compile.decorators import allocating
from evsim.display.short_repr import Brief
from evsim.network.topology import Topology
from evsim_gpu.model.coefficients import UNIT_FIELDS
from evsim_gpu.model.components import GridComponent, GridConnection
from evsim_gpu.model.layout import GridLayout
from evsim_gpu.model.synapse_values import Delays

BLOCK = 128
"""The columns whose steps are processed together: 1000 steps of them take some hundred kB."""


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
    """The coefficients of some columns; the rates of dropout are still those of every unit."""
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
    row_delay: np.ndarray  # of all synapses of a source unit, int32; -1 if they differ
    row_column: np.ndarray  # see GridConnection, int32
    reach: np.ndarray  # the largest delay of connections in which those of a row differ, else 0
    width: np.ndarray  # how many columns of the target component are processed together
    offset: np.ndarray  # delay * width + place among those columns, uint64; 0 without a reach


class Spikes(NamedTuple):
    """Spikes of some samples; those of a unit in a sample are contiguous and ordered by time.

    ``step`` int32; ``threshold_excess`` and ``release`` reals: what replaces I - threshold at an
    emission, and I when V moves again after a refractory period; ``dropped`` bool.
    """

    step: np.ndarray
    threshold_excess: np.ndarray
    release: np.ndarray
    dropped: np.ndarray


@allocating
def with_room(spikes: Spikes, count: int, extra: int) -> Spikes:
    """The same ``count`` spikes in arrays with room for ``extra`` more."""
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

    ``first`` contains the first column of each component, and the number of all columns;
    ``spiking`` says whether any unit of a component may emit, and ``is_held`` whether any has a
    refractory period.  ``reach`` is the largest ``Synapses.reach`` inside each component.
    """

    steps: int
    first: np.ndarray
    spiking: np.ndarray
    is_held: np.ndarray
    reach: np.ndarray
    columns: Columns
    synapses: Synapses


@dataclass(frozen=True, eq=False, repr=False)
class LaidOut(Brief):
    """The arrays that networks of a topology share, and those of the latest network.

    ``structure`` has no delays and weights; ``place`` (synapses,) uint32 is the place of a
    synapse's target among the columns that are processed together.  ``columns`` and ``is_held``
    belong to the records ``units`` of a layout; ``offset`` and ``reach``, that of components,
    belong to its ``delays``.
    """

    first: np.ndarray
    spiking: np.ndarray
    structure: Synapses
    place: np.ndarray
    units: np.ndarray
    columns: Columns
    is_held: np.ndarray
    delays: Delays
    offset: np.ndarray
    reach: np.ndarray

    @classmethod
    def of(cls, layout: GridLayout, before: LaidOut | None) -> LaidOut:
        """The arrays of a layout; those of ``before`` are unchanged, as runs may still use them."""
        if before is None:
            sizes = [component.columns for component in layout.components]
            first = np.cumsum([0, *sizes]).astype(np.int64)
            spiking = np.array([c.spiking for c in layout.components], np.bool_)
            structure = _structure(layout)
            place = _place(layout, structure)
        else:
            first, spiking = before.first, before.spiking
            structure, place = before.structure, before.place
        if before is None or before.units is not layout.units:
            columns, is_held = _columns(layout)
        else:
            columns, is_held = before.columns, before.is_held
        if before is None or before.delays is not layout.delays:
            offset, reach = _offset(layout, structure, place), _reach(layout, structure)
        else:
            offset, reach = before.offset, before.reach
        return cls(
            first, spiking, structure, place, layout.units, columns, is_held, layout.delays,
            offset, reach,
        )  # fmt: skip


_laid_out: WeakKeyDictionary[Topology, LaidOut] = WeakKeyDictionary()


def flat_network(layout: GridLayout) -> Network:
    """A layout as arrays; what it has in common with the previous one is reused."""
    topology = layout.network.topology
    laid_out = _laid_out[topology] = LaidOut.of(layout, _laid_out.get(topology))
    return Network(
        steps=layout.steps,
        first=laid_out.first,
        spiking=laid_out.spiking,
        is_held=laid_out.is_held,
        reach=laid_out.reach,
        columns=laid_out.columns._replace(drop_rate=layout.drop_rate),
        synapses=laid_out.structure._replace(
            delay=layout.delays.values,
            weight=layout.weights.values,
            row_delay=layout.delays.row_delay,
            reach=layout.delays.reach,
            offset=laid_out.offset,
        ),
    )


def _columns(layout: GridLayout) -> tuple[Columns, np.ndarray]:
    """The columns of a layout without dropout, and ``Network.is_held``."""
    components = layout.components
    unit = _joined([component.unit_of_column for component in components], np.int64)
    fields = [np.ascontiguousarray(layout.units[name][unit]) for name in UNIT_FIELDS]
    columns = Columns(
        **dict(zip(UNIT_FIELDS, fields, strict=True)),
        refractory=np.ascontiguousarray(layout.units["refractory"][unit]),
        is_lif=_joined([component.is_lif for component in components], np.bool_),
        unit=unit,
        drop_rate=np.empty(0),
    )
    held = [(layout.units["refractory"][c.unit_of_column] > 0).any() for c in components]
    return columns, np.array(held, np.bool_)


def _structure(layout: GridLayout) -> Synapses:
    """The synapses of a layout without weights and delays."""
    components, connections = layout.components, layout.connections
    external = np.cumsum([0, *(len(c.external) + len(c.internal) for c in components)])
    internal = external[:-1] + [len(c.external) for c in components]
    rows = np.cumsum([0, *(c.source_units for c in connections)])
    starts = [c.row_start[:-1] + c.place.start for c in connections]
    total = connections[-1].place.stop if connections else 0
    return Synapses(
        external_first=external.astype(np.int64),
        internal_first=internal.astype(np.int64),
        source_first=np.array([c.source_first for c in connections], np.int64),
        source_units=np.array([c.source_units for c in connections], np.int64),
        source_column=np.array([c.source_column for c in connections], np.int64),
        row_first=rows[:-1].astype(np.int64),
        row_start=_joined([*starts, np.array([total])], np.int64),
        target=_joined([c.column for c in connections], np.int32),
        delay=np.empty(0, np.int32),
        weight=np.empty(0),
        row_delay=np.empty(0, np.int32),
        row_column=_joined([c.row_column for c in connections], np.int32),
        reach=np.empty(0, np.int64),
        width=np.array([_width(c, components) for c in connections], np.int64),
        offset=np.empty(0, np.uint64),
    )


def _width(connection: GridConnection, components: tuple[GridComponent, ...]) -> int:
    """How many of the columns of the target component are processed together.

    Emissions inside a component arrive while it runs, at all of its columns.
    """
    columns = components[connection.target_component].columns
    return columns if connection.is_internal else min(BLOCK, columns)


def _place(layout: GridLayout, structure: Synapses) -> np.ndarray:
    """See ``LaidOut``."""
    widths = np.repeat(structure.width, [c.synapse.size for c in layout.connections])
    return (structure.target % widths).astype(np.uint32)


def _offset(layout: GridLayout, structure: Synapses, place: np.ndarray) -> np.ndarray:
    """See ``Synapses.offset``."""
    offset = np.empty(place.size, np.uint64)
    reach, widths = layout.delays.reach.tolist(), structure.width.tolist()
    for connection, reaches, width in zip(layout.connections, reach, widths, strict=True):
        own = offset[connection.place]
        if reaches == 0:
            own[:] = 0
        else:
            delay = layout.delays.values[connection.place].view(np.uint32)
            np.multiply(delay, width, out=own, dtype=np.uint64)
            own += place[connection.place]
    return offset


def _reach(layout: GridLayout, structure: Synapses) -> np.ndarray:
    """See ``Network.reach``."""
    edges = zip(structure.internal_first, structure.external_first[1:], strict=True)
    inside = [layout.delays.reach[first:last].max(initial=0) for first, last in edges]
    return np.array(inside, np.int64)


def _joined(parts: list[np.ndarray], kind: type) -> np.ndarray:
    return np.concatenate([np.empty(0, kind), *parts], dtype=kind, casting="same_kind")
