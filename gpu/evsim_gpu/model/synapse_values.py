"""Weights and delays in the order of a grid's loops, reused from one network to the next.

A training step changes some parameters and leaves the others unchanged.  Only parameters whose
array is not the one before are sorted again; the arrays of a network are read-only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from evsim.display.short_repr import Brief
from evsim.network.network import Network
from evsim.network.parameters import numbers, with_numbers
from evsim.network.topology import Topology
from evsim_gpu.model.components import GridConnection
from evsim_gpu.model.time_grid import to_steps


class Weights(NamedTuple):
    """The weight of each synapse, connection by connection, reals (synapses,).

    ``given`` are the numbers of the parameters that they come from.
    """

    given: tuple[NDArray[np.float64], ...]
    values: NDArray[np.floating]


class Delays(NamedTuple):
    """The delay of each synapse in steps, connection by connection, int32 (synapses,).

    ``given`` are the numbers of the parameters that they come from.  ``row_delay`` (source units of
    all connections,) int32 is the delay of all synapses of a source unit, -1 if they differ.
    ``reach`` (connections,) int64 is the largest number of steps from a spike to an arrival where
    delays of a source unit differ, else 0.
    """

    given: tuple[NDArray[np.float64], ...]
    values: NDArray[np.int32]
    row_delay: NDArray[np.int32]
    reach: NDArray[np.int64]


@dataclass(frozen=True, eq=False, repr=False)
class SynapseValues(Brief):
    """The weights and delays of a network on a grid; ``grid`` are dt, the steps and the precision.

    Networks of one topology have the same arrays where they have the same parameters.
    """

    grid: tuple[float, int, type[np.floating]]
    weights: Weights
    delays: Delays

    @classmethod
    def of(
        cls,
        network: Network,
        connections: Sequence[GridConnection],
        dt: float,
        steps: int,
        precision: type[np.floating],
    ) -> SynapseValues:
        """The values of a network; what it has in common with the previous one is reused.

        The arrays of the previous one are not changed, because runs may still read them.
        """
        grid = dt, steps, precision
        before = _kept.get(network.topology)
        if before is not None and before.grid != grid:
            before = None
        weights, delays = (None, None) if before is None else (before.weights, before.delays)
        found = _kept[network.topology] = cls(
            grid,
            _weights(network, connections, precision, weights),
            _delays(network, connections, dt, steps, delays),
        )
        return found


_kept: WeakKeyDictionary[Topology, SynapseValues] = WeakKeyDictionary()


def _weights(
    network: Network,
    connections: Sequence[GridConnection],
    precision: type[np.floating],
    before: Weights | None,
) -> Weights:
    given = tuple(numbers(network.connections[c.index].weight) for c in connections)
    is_kept = _same(given, before)
    if before is not None and all(is_kept):
        return before
    values = np.empty(sum(c.synapse.size for c in connections), precision)
    for connection, keeps in zip(connections, is_kept, strict=True):
        own = values[connection.place]
        if before is not None and keeps:
            own[:] = before.values[connection.place]
        else:
            weight = network.connections[connection.index].weight
            connection.sort(weight, weight, own)
    return Weights(given, values)


def _delays(
    network: Network,
    connections: Sequence[GridConnection],
    dt: float,
    steps: int,
    before: Delays | None,
) -> Delays:
    given = tuple(numbers(network.connections[c.index].delay) for c in connections)
    is_kept = _same(given, before)
    if before is not None and all(is_kept):
        return before
    values = np.empty(sum(c.synapse.size for c in connections), np.int32)
    row_delay = np.empty(sum(c.source_units for c in connections), np.int32)
    reach = np.zeros(len(connections), np.int64)
    last_row = 0
    for number, connection in enumerate(connections):
        rows = slice(last_row, last_row + connection.source_units)
        last_row = rows.stop
        own, of_rows = values[connection.place], row_delay[rows]
        if before is not None and is_kept[number]:
            own[:], of_rows[:] = before.values[connection.place], before.row_delay[rows]
            reach[number] = before.reach[number]
            continue
        of_network = network.connections[connection.index]
        in_steps = with_numbers(of_network.delay, to_steps(given[number], dt, steps))
        connection.sort(in_steps, of_network.weight, own)
        of_rows[:] = connection.common(own)
        reach[number] = own.max() if of_rows.min() < 0 else 0
    return Delays(given, values, row_delay, reach)


def _same(given: tuple[NDArray[np.float64], ...], before: Weights | Delays | None) -> list[bool]:
    """Which parameters are the arrays that they were before."""
    if before is None:
        return [False] * len(given)
    return [one is other for one, other in zip(given, before.given, strict=True)]
