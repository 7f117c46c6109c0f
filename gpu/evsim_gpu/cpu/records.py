"""The memory layout of a network and of spikes for the grid's loops.

Columns number the units of all components, component after component; inputs have no
columns.  Reals are float32 or float64, the same in all arrays.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from evsim._compile.decorators import allocating
from evsim_gpu.model.coefficients import UNIT_FIELDS
from evsim_gpu.model.layout import GridLayout


class Columns(NamedTuple):
    """Coefficients of each column, see ``evsim_gpu.model.layout``; reals but for the last four."""

    decay_mem: np.ndarray
    rise: np.ndarray
    decay_syn: np.ndarray
    feed: np.ndarray
    fall: np.ndarray
    drive_scale: np.ndarray
    tau_mem: np.ndarray
    tau_syn: np.ndarray
    threshold: np.ndarray
    reset: np.ndarray
    start: np.ndarray
    refractory: np.ndarray  # steps, int32
    is_lif: np.ndarray
    unit: np.ndarray  # its number among all units, int64
    drop_rate: np.ndarray  # of every unit, those of inputs included, float64


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
    whether any unit of a component may emit.
    """

    steps: int
    first: np.ndarray
    spiking: np.ndarray
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
    )
    return Network(
        steps=layout.steps,
        first=np.cumsum([0, *sizes]).astype(np.int64),
        spiking=np.array([component.spiking for component in components], np.bool_),
        columns=columns,
        synapses=synapses,
    )


def _joined(parts: list[np.ndarray], kind: type) -> np.ndarray:
    return np.concatenate([np.empty(0, kind), *parts]).astype(kind)
