"""The synapses of a network, as flat arrays that engines loop over.

The units of all populations are numbered consecutively, population after population.  The
synapses of all connections are sorted by their target unit.  A topology holds no parameter
values, so networks that differ only in values share one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evsim.display.short_repr import Brief
from evsim.network.connections import Connection
from evsim.network.parameters import sparse_entries
from evsim.network.populations import Input, Population


@dataclass(frozen=True, eq=False)
class Component:
    """Populations that are simulated together.

    ``recurrent`` is true if the populations are part of a loop of connections, so that their
    events must be processed in one common order.  Otherwise the component is a single population,
    which receives spikes only from inputs and earlier components.
    """

    populations: tuple[int, ...]
    recurrent: bool


@dataclass(frozen=True, eq=False, repr=False)
class Topology(Brief):
    """The units, the synapses, and the order in which populations are simulated.

    ``first_unit`` holds the first unit of each population, followed by the number of all units.
    Synapse s goes from unit ``source[s]`` to unit ``target[s]``.  Synapses are sorted by target:
    the synapses onto unit u are ``incoming[u]:incoming[u + 1]``.  The synapses from unit u are
    ``outgoing_synapse[outgoing[u]:outgoing[u + 1]]``.  ``slots[c]`` holds the synapse of each entry
    of connection c, row by row.
    """

    first_unit: np.ndarray
    source: np.ndarray
    target: np.ndarray
    incoming: np.ndarray
    outgoing: np.ndarray
    outgoing_synapse: np.ndarray
    slots: tuple[np.ndarray | slice, ...]
    components: tuple[Component, ...]

    @property
    def unit_count(self) -> int:
        """The number of units of all populations."""
        return int(self.first_unit[-1])

    @classmethod
    def of(cls, populations: Sequence[Population], connections: Sequence[Connection]) -> Topology:
        """Number the units and synapses of a network's populations and connections."""
        sizes = [population.units for population in populations]
        first_unit = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        index = {p.name: i for i, p in enumerate(populations)}
        sources, targets = [], []
        for connection in connections:
            post, pre = index[connection.target], index[connection.source]
            rows, columns = _entries(connection, sizes[post], sizes[pre])
            targets.append(rows + first_unit[post])
            sources.append(columns + first_unit[pre])
        lengths = [rows.size for rows in targets]
        source = _joined(sources)
        target = _joined(targets)
        order = np.argsort(target, kind="stable")
        slots = _places(order, lengths)
        source, target = source[order], target[order]
        units = int(first_unit[-1])
        outgoing_synapse = np.argsort(source, kind="stable")
        return cls(
            first_unit=first_unit,
            source=source,
            target=target,
            incoming=_starts(target, units),
            outgoing=_starts(source, units),
            outgoing_synapse=outgoing_synapse,
            slots=slots,
            components=_components(populations, connections, index),
        )


def _entries(connection: Connection, post: int, pre: int) -> tuple[np.ndarray, np.ndarray]:
    if connection.is_sparse:
        return sparse_entries(connection.weight)
    return np.repeat(np.arange(post), pre), np.tile(np.arange(pre), post)


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.empty(0, np.int32), *parts]).astype(np.int32)


def _places(order: np.ndarray, lengths: list[int]) -> tuple[np.ndarray | slice, ...]:
    """The synapse of each entry of each connection after the sort by target."""
    place = np.empty(order.size, np.int64)
    place[order] = np.arange(order.size)
    slots: list[np.ndarray | slice] = []
    start = 0
    for length in lengths:
        part = place[start : start + length]
        contiguous = length > 0 and part[-1] - part[0] == length - 1 and np.all(np.diff(part) == 1)
        slots.append(slice(int(part[0]), int(part[-1]) + 1) if contiguous else part)
        start += length
    return tuple(slots)


def _starts(owner: np.ndarray, units: int) -> np.ndarray:
    starts = np.zeros(units + 1, np.int64)
    np.cumsum(np.bincount(owner, minlength=units), out=starts[1:])
    return starts


def _components(
    populations: Sequence[Population], connections: Sequence[Connection], index: dict[str, int]
) -> tuple[Component, ...]:
    """The strongly connected components without the inputs, sources before targets."""
    from graphlib import TopologicalSorter

    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    size = len(populations)
    graph = np.zeros((size, size), bool)
    for connection in connections:
        graph[index[connection.source], index[connection.target]] = True
    _, label = connected_components(csr_array(graph), directed=True, connection="strong")
    members: dict[int, list[int]] = {}
    for population in range(size):
        members.setdefault(int(label[population]), []).append(population)
    before: dict[int, set[int]] = {component: set() for component in members}
    for pre, post in zip(*np.nonzero(graph), strict=True):
        if label[pre] != label[post]:
            before[int(label[post])].add(int(label[pre]))
    inputs = {index[p.name] for p in populations if isinstance(p, Input)}
    components = []
    for component in TopologicalSorter(before).static_order():
        together = tuple(members[component])
        if together[0] in inputs:
            continue
        recurrent = len(together) > 1 or bool(graph[together[0], together[0]])
        components.append(Component(together, recurrent))
    return tuple(components)
