"""A network and its inputs as the flat arrays that the exact engine's kernels read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np

from evsim._compile.threads import alone
from evsim.display.short_repr import Brief
from evsim.engines.exact.kernels.forward.recurrent_state import Components
from evsim.engines.exact.kernels.input_order import order_by_delay
from evsim.engines.exact.kernels.spike_records import SYNAPSE, UNIT
from evsim.engines.rest import start_is_given, voltages_from_rest
from evsim.equations.highest_response import highest_response
from evsim.network.connections import Connection
from evsim.network.dropout import Dropout
from evsim.network.network import Network
from evsim.network.populations import LIF, Population
from evsim.network.spike_trains import SpikeTrains
from evsim.network.topology import Topology


@dataclass(frozen=True, eq=False, repr=False)
class Layout(Brief):
    """A network's parameters and structure as the kernels read them."""

    units: np.ndarray
    synapses: np.ndarray
    incoming: np.ndarray
    components: Components

    @classmethod
    def of(cls, network: Network, dropout: Dropout | None = None) -> Layout:
        """Lay out a network; what it has in common with the previous one is reused."""
        topology = network.topology
        laid_out = _laid_out.pop(topology, None)
        if laid_out is None or laid_out.connections != network.connections:
            laid_out = LaidOutSynapses.of(network, laid_out)
        _laid_out[topology] = laid_out
        units = _units_of(network)
        if dropout is not None:
            units["drop_rate"] = dropout.rate_per_unit(network)
        units["arrival_group"] = laid_out.arrival_group
        return cls(units, laid_out.synapses, topology.incoming, laid_out.components)

    @property
    def recurrent(self) -> np.ndarray | None:
        """Which components are recurrent; None if none is: then their loops are not compiled."""
        return self.components.recurrent if self.components.recurrent.any() else None

    def outgoing_delays(self, topology: Topology) -> tuple[np.ndarray, np.ndarray]:
        """The place where the delays of the synapses from each unit begin, and these, ascending.

        Call this on a worker thread, see ``evsim._compile.threads``.
        """
        delay = np.ascontiguousarray(self.synapses["delay"])
        rows = topology.outgoing_synapse.astype(np.int64, copy=False)
        return topology.outgoing, delay[order_by_delay(delay, rows, topology.outgoing)]


@dataclass(frozen=True, eq=False, repr=False)
class LaidOutSynapses(Brief):
    """The synapses of a network with these connections, and what follows from their delays.

    ``into_loops`` are the places of the synapses into recurrent components, sorted by delay.
    """

    connections: tuple[Connection, ...]
    synapses: np.ndarray
    arrival_group: np.ndarray
    into_loops: np.ndarray
    components: Components

    @classmethod
    def of(cls, network: Network, before: LaidOutSynapses | None) -> LaidOutSynapses:
        """The synapses of a network; ``before`` are those of one with the same topology, if any.

        The arrays of ``before`` are not changed, because runs may still read them.
        """
        topology = network.topology
        skeleton = _skeletons.get(topology)
        if skeleton is None:
            skeleton = _skeletons[topology] = Skeleton.of(network)
        has_same_delays = before is not None and all(
            one.delay is other.delay
            for one, other in zip(before.connections, network.connections, strict=True)
        )
        if before is None:
            synapses = np.empty(topology.source.size, SYNAPSE)
            synapses["source"] = topology.source
            synapses["target"] = topology.target
            synapses["index"] = np.arange(synapses.size)
        else:
            synapses = copied(before.synapses)
        synapses["weight"] = network.weight_per_synapse()
        if before is not None and has_same_delays:
            arrival_group, into_loops = before.arrival_group, before.into_loops
        else:
            delay = synapses["delay"] = network.delay_per_synapse()
            arrival_group = skeleton.arrival_groups(topology, delay)
            into_loops = skeleton.synapses_into_loops(delay)
        components = skeleton.components(np.take(synapses, into_loops))
        return cls(network.connections, synapses, arrival_group, into_loops, components)


def copied(records: np.ndarray) -> np.ndarray:
    """A copy of records, byte by byte; NumPy would copy each field separately."""
    copy = np.empty_like(records)
    copy.view(np.uint8)[:] = records.view(np.uint8)
    return copy


_laid_out: WeakKeyDictionary[Topology, LaidOutSynapses] = WeakKeyDictionary()


def _units_of(network: Network) -> np.ndarray:
    """The units of a network, UNIT, (units of all populations,), for the caller to complete.

    What follows from the populations is stored with the topology: networks that differ only in
    weights and delays share both.
    """
    populations, units = _units.get(network.topology, ((), np.empty(0, UNIT)))
    if populations != network.populations:
        units = np.zeros(network.topology.unit_count, UNIT)
        for name in ("tau_mem", "tau_syn", "refractory"):
            units[name] = network.per_unit(name)
        for name, values in voltages_from_rest(network)._asdict().items():
            units[name] = values
        units["start_is_given"] = start_is_given(network)
        units["highest_response"] = highest_response(units["tau_mem"], units["tau_syn"])
        units["is_lif"] = np.concatenate(
            [np.full(p.units, isinstance(p, LIF)) for p in network.populations]
        )
        _units[network.topology] = network.populations, units
    return copied(units)


_units: WeakKeyDictionary[Topology, tuple[tuple[Population, ...], np.ndarray]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False, repr=False)
class Skeleton(Brief):
    """The part of a layout that does not depend on parameter values."""

    first: np.ndarray
    units: np.ndarray
    recurrent: np.ndarray
    outgoing: np.ndarray
    rows: np.ndarray
    external: np.ndarray
    external_first: np.ndarray
    twin: np.ndarray
    has_twins: np.ndarray

    @classmethod
    def of(cls, network: Network) -> Skeleton:
        """Units of each component, and the synapses into it from each unit."""
        topology = network.topology
        members = [
            np.concatenate(
                [
                    np.arange(topology.first_unit[p], topology.first_unit[p + 1])
                    for p in component.populations
                ]
            )
            for component in topology.components
        ]
        component_of_unit = np.full(topology.unit_count, -1)
        for index, units in enumerate(members):
            component_of_unit[units] = index
        recurrent = np.array([c.recurrent for c in topology.components], bool)
        component_of_synapse = component_of_unit[topology.target].astype(np.int32)
        outgoing = np.zeros((len(members), topology.unit_count + 1), np.int64)
        before = 0
        for index in range(len(members)):
            sources = topology.source[component_of_synapse == index]
            outgoing[index, 0] = before
            outgoing[index, 1:] = before + np.cumsum(
                np.bincount(sources, minlength=topology.unit_count)
            )
            before = outgoing[index, -1]
        is_external = component_of_unit[topology.source] != component_of_synapse
        # Inputs have no component, and no synapses into them.
        external = np.flatnonzero(is_external & recurrent[component_of_synapse])
        twin, has_twins = _twins(topology)
        return cls(
            np.concatenate([[0], np.cumsum([units.size for units in members])]).astype(np.int64),
            np.concatenate([np.empty(0, np.int64), *members]).astype(np.int64),
            recurrent,
            outgoing,
            np.lexsort((topology.source, component_of_synapse)),
            external,
            np.searchsorted(topology.target[external], np.arange(topology.unit_count + 1)),
            twin,
            has_twins,
        )

    def arrival_groups(self, topology: Topology, delay: np.ndarray) -> np.ndarray:
        """The group of each unit: consecutive units with equal sources and delays share a group."""
        starts = topology.incoming
        differs = np.concatenate([[0], np.cumsum(delay != delay[self.twin])])
        is_same = self.has_twins & (differs[starts[1:]] == differs[starts[:-1]])
        return np.cumsum(~is_same)

    def synapses_into_loops(self, delay: np.ndarray) -> np.ndarray:
        """The synapses into recurrent components by component and source unit, then by delay."""
        if not self.recurrent.any():
            return self.rows[:0]
        starts = np.append(self.outgoing[:, :-1].ravel(), self.outgoing[-1, -1])
        order: np.ndarray = alone(order_by_delay, delay, self.rows, starts)
        return order

    def components(self, synapses: np.ndarray) -> Components:
        """The components, with the synapses into recurrent ones in that order."""
        return Components(
            self.first, self.units, self.recurrent, self.outgoing, synapses, self.external,
            self.external_first,
        )  # fmt: skip


def _twins(topology: Topology) -> tuple[np.ndarray, np.ndarray]:
    """The twin of each synapse: the synapse to the previous unit from the same source.

    A unit has twins if its sources are those of the previous unit; the second array says which
    units have them.  For the others, each synapse is entered as its own twin.
    """
    starts, source = topology.incoming, topology.source
    counts = np.diff(starts)
    equally_many = np.concatenate([[False], (counts[1:] == counts[:-1]) & (counts[1:] > 0)])
    places = np.arange(source.size)
    twin = np.where(equally_many[topology.target], places - counts[topology.target], places)
    differs = np.concatenate([[0], np.cumsum(source != source[twin])])
    has_twins = equally_many & (differs[starts[1:]] == differs[starts[:-1]])
    return np.where(has_twins[topology.target], twin, places), has_twins


def stable_order(numbers: np.ndarray, bound: int) -> np.ndarray:
    """The order that sorts numbers from 0 to bound - 1; equal ones stay in their order.

    NumPy sorts numbers of 16 bits in a time proportional to how many there are, so larger numbers
    are sorted by their lower bits and then by the others.
    """
    if bound <= 2**16:
        return np.argsort(numbers.astype(np.uint16), kind="stable")
    if bound > 2**32:
        return np.argsort(numbers, kind="stable")
    order = np.argsort(numbers.astype(np.uint16), kind="stable")  # drops the upper bits
    return order[np.argsort((numbers >> 16).astype(np.uint16)[order], kind="stable")]


_skeletons: WeakKeyDictionary[Topology, Skeleton] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False, repr=False)
class OrderedInputs(Brief):
    """Input spikes sorted by sample, unit and time, with the way back.

    ``time[start[b]:start[b + 1]]`` are the spikes of sample b; ``count`` (batch, units of all
    populations) contains their number per unit, and zeros for other units.  ``order`` contains the
    index of each spike among those of all inputs, one input after the other, and ``sizes`` the
    number of spikes of each input.
    """

    time: np.ndarray
    start: np.ndarray
    count: np.ndarray
    order: np.ndarray
    sizes: dict[str, int]

    @classmethod
    def of(cls, network: Network, inputs: Mapping[str, SpikeTrains]) -> OrderedInputs:
        """Sort the spikes of all inputs together."""
        topology = network.topology
        first_unit = dict(
            zip((p.name for p in network.populations), topology.first_unit, strict=False)
        )
        batch, width = len(next(iter(inputs.values()))), topology.unit_count
        keys = [
            trains.samples * width + (trains.units + first_unit[name])
            for name, trains in inputs.items()
        ]
        key, times = joined(keys), joined([trains.times for trains in inputs.values()])
        count = np.bincount(key, minlength=batch * width).reshape(batch, width)
        start = np.zeros(batch + 1, np.int64)
        np.cumsum(count.sum(axis=1), out=start[1:])
        order = stable_order(key, batch * width)
        sizes = {name: trains.times.size for name, trains in inputs.items()}
        return cls(times[order], start, count.astype(np.int64, copy=False), order, sizes)

    @cached_property
    def place(self) -> dict[str, np.ndarray]:
        """The place in ``time`` of each event of each input."""
        back = np.empty(self.order.size, np.int64)
        back[self.order] = np.arange(self.order.size)
        ends = np.cumsum([0, *self.sizes.values()]).tolist()
        return {
            name: back[first:last]
            for name, first, last in zip(self.sizes, ends[:-1], ends[1:], strict=True)
        }


def joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays, concatenated; a single one is returned as it is."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
