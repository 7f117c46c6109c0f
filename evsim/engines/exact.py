"""The exact engine: event by event in continuous time, compiled, on any number of threads.

It lays a network out as flat arrays, hands pieces of the batch to the kernels, and puts
their results together in a fixed order, so that they do not depend on the threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from evsim.compiled import announce_compilation
from evsim.engines.kernels import records
from evsim.engines.kernels.records import SYNAPSE, UNIT
from evsim.engines.kernels.recurrent import Components
from evsim.engines.kernels.samples import (
    PEAK,
    count_arrivals,
    pull_back_samples,
    read_voltages,
    simulate_samples,
)
from evsim.engines.kernels.traces import adjoint_trace_samples, trace_samples
from evsim.engines.protocol import Adjoint, Engine, EngineError, Report
from evsim.network import LIF, Input, Network
from evsim.readouts import FirstSpike, Mean, Peak, Readout
from evsim.spikes import SpikeTrains
from evsim.topology import Topology


@dataclass(frozen=True)
class Exact(Engine):
    """The fast exact engine.

    Parameters
    ----------
    threads : int, optional
        How many threads share a batch; as many as the process may use if not given.
        Results are bit-identical for any number.
    """

    threads: int | None = None

    def __post_init__(self) -> None:
        if self.threads is None:
            return
        if isinstance(self.threads, bool) or not isinstance(self.threads, int):
            raise TypeError(f"threads = {self.threads!r}: it must be an integer or None")
        if self.threads < 1:
            raise ValueError(f"threads = {self.threads}: it must be at least 1")

    # -- forward -----------------------------------------------------------------------

    def simulate(
        self, network: Network, inputs: Mapping[str, SpikeTrains], duration: float
    ) -> ExactState:
        announce_compilation(simulate_samples)
        layout = Layout.of(network)
        ordered = OrderedInputs.of(network, inputs)
        batch = ordered.count.shape[0]
        start = np.empty(ordered.count.shape, np.int64)
        count = ordered.count.copy()
        input_place = np.empty(batch, np.int64)

        def run(first: int, last: int) -> Piece:
            failure = np.zeros(4)
            spikes, used = simulate_samples(
                first, last, ordered.time, ordered.start, layout.units, layout.synapses,
                layout.incoming, layout.components, duration, start, count, input_place, failure,
            )  # fmt: skip
            return Piece(first, last, spikes, used, failure)

        pieces = self._share(run, batch, layout.synapses.size)
        state = ExactState(
            network, inputs, duration, layout, ordered, start, count, input_place, pieces
        )
        state.check(piece.failure for piece in pieces)
        return state

    def spikes(self, state: ExactState) -> dict[str, SpikeTrains]:
        trains = {}
        for population, first, last in state.populations():
            if isinstance(population, Input):
                trains[population.name] = state.inputs[population.name]
            else:
                trains[population.name] = state.spike_trains(first, last)
        return trains

    def spike_counts(self, state: ExactState) -> dict[str, np.ndarray]:
        return {p.name: state.count[:, first:last] for p, first, last in state.populations()}

    def report(self, state: ExactState) -> Report:
        arrivals = np.zeros(2, np.int64)
        smallest, place = np.inf, None
        for piece in state.pieces:
            count_arrivals(
                piece.first, piece.last, state.layout.synapses, state.duration, piece.spikes,
                state.start, state.count, arrivals,
            )  # fmt: skip
            if piece.used:
                spike = int(np.argmin(piece.spikes["drive"][: piece.used]))
                if piece.spikes["drive"][spike] < smallest:
                    smallest = float(piece.spikes["drive"][spike])
                    place = state.origin(piece, spike)
        return Report(int(arrivals[0]), int(arrivals[1]), smallest, place)

    # -- readouts and their adjoints ------------------------------------------------------

    def read(self, state: ExactState, readout: Readout) -> np.ndarray:
        first, last = state.unit_range(readout.population_of(state.network))
        if isinstance(readout, FirstSpike):
            return state.first_spikes(first, last)
        rate = voltage_rate(readout, state.duration)
        values = np.empty((state.count.shape[0], last - first))

        def run(piece: Piece) -> None:
            read_voltages(
                piece.first, piece.last, first, last, rate, state.layout.units,
                state.layout.synapses, state.layout.incoming, state.duration, piece.spikes, state.start, state.count,
                values,
            )  # fmt: skip

        self._over(run, state.pieces)
        return values

    def pull_back(
        self, state: ExactState, readout: Readout, cotangents: np.ndarray, wrt: Sequence[str]
    ) -> Adjoint:
        layout = state.layout
        first, last = state.unit_range(readout.population_of(state.network))
        drive = ReadoutDrive.of(state, readout, cotangents, first, last)
        synapse_count = layout.synapses.size

        def run(piece: Piece) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
            adjoint = np.zeros(piece.used)
            if isinstance(readout, FirstSpike):
                state.set_first_spike_adjoint(piece, cotangents, first, last, adjoint)
            by_weight, by_delay = np.zeros(synapse_count), np.zeros(synapse_count)
            failure = np.zeros(4)
            pull_back_samples(
                piece.first, piece.last, drive.rate, drive.cotangent, drive.phantom, layout.units,
                layout.synapses, layout.incoming, layout.components, state.duration, piece.spikes, state.start,
                state.count, adjoint, by_weight, by_delay, failure,
            )  # fmt: skip
            return adjoint, by_weight, by_delay, failure

        results = self._over(run, state.pieces)
        state.check(failure for *_, failure in results)
        sums = {"weight": np.zeros(synapse_count), "delay": np.zeros(synapse_count)}
        for _, by_weight, by_delay, _ in results:
            sums["weight"] += by_weight
            sums["delay"] += by_delay
        adjoints = tuple(adjoint for adjoint, *_ in results)
        return Adjoint(
            parameters={
                name: state.network.fold(name, sums[name.rsplit(".", 1)[1]]) for name in wrt
            },
            input_times=state.input_gradients(adjoints),
            state=AdjointState(drive, adjoints),
        )

    # -- traces ------------------------------------------------------------------------------

    def traces(
        self, state: ExactState, population: str, times: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        first, last = state.unit_range(population)
        order = np.argsort(times, kind="stable")
        voltage = np.zeros((state.count.shape[0], last - first, times.size))
        current = np.zeros_like(voltage)
        for piece in state.pieces:
            trace_samples(
                piece.first, piece.last, first, last, times[order], state.layout.units,
                state.layout.synapses, state.layout.incoming, state.duration, piece.spikes, state.start, state.count,
                voltage, current,
            )  # fmt: skip
        return _unsorted(voltage, order), _unsorted(current, order)

    def adjoint_traces(
        self, state: ExactState, adjoint: Adjoint, population: str, times: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        first, last = state.unit_range(population)
        order = np.argsort(times, kind="stable")
        lambda_v = np.zeros((state.count.shape[0], last - first, times.size))
        lambda_i = np.zeros_like(lambda_v)
        drive = adjoint.state.drive
        for piece, spike_adjoint in zip(state.pieces, adjoint.state.spikes, strict=True):
            adjoint_trace_samples(
                piece.first, piece.last, first, last, times[order], drive.rate, drive.cotangent,
                drive.phantom, state.layout.units, state.layout.synapses, state.layout.incoming,
                state.duration,
                piece.spikes, state.start, state.count, spike_adjoint, lambda_v, lambda_i,
            )  # fmt: skip
        return _unsorted(lambda_v, order), _unsorted(lambda_i, order)

    # -- threads -------------------------------------------------------------------------------

    def _share(self, run: Callable[[int, int], Any], batch: int, synapses: int) -> list[Any]:
        bounds = piece_bounds(batch, synapses)
        return self._over(lambda bound: run(*bound), bounds)

    def _over(self, run: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        threads = self.threads or available_threads()
        if threads == 1 or len(items) < 2:
            return [run(item) for item in items]
        return list(_pool(threads).map(run, items))


def available_threads() -> int:
    """How many threads this process may run at once."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="evsim")


def piece_bounds(batch: int, synapses: int) -> list[tuple[int, int]]:
    """How a batch is cut into pieces, each with its own sum of gradients.

    A function of batch and network alone: sums over pieces in this order do not depend on
    the number of threads.  Large networks get fewer pieces, because each holds a gradient.
    """
    wanted = max(batch // 16, 4)
    affordable = max(2, 4_000_000 // max(synapses, 1))
    pieces = max(1, min(batch, wanted, affordable))
    edges = np.linspace(0, batch, pieces + 1).astype(int).tolist()
    return list(zip(edges[:-1], edges[1:], strict=True))


def voltage_rate(readout: Readout, duration: float) -> float:
    """The decay rate of a mean's weighting in 1/ms, or the mark of a peak."""
    if isinstance(readout, Mean):
        return readout.decay_rate(duration)
    if isinstance(readout, Peak):
        return PEAK
    raise TypeError(f"the exact engine does not know the readout {readout}")


def _unsorted(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    result = np.empty_like(values)
    result[..., order] = values
    return result


# -- a network as flat arrays -----------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Layout:
    """A network's parameters and structure as the kernels read them."""

    units: np.ndarray
    synapses: np.ndarray
    incoming: np.ndarray
    components: Components

    @classmethod
    def of(cls, network: Network) -> Layout:
        """Lay out a network; the part that depends on its topology alone is kept."""
        topology = network.topology
        skeleton = _skeletons.get(topology)
        if skeleton is None:
            skeleton = _skeletons[topology] = Skeleton.of(network)
        units = np.empty(topology.unit_count, UNIT)
        for name in ("tau_mem", "tau_syn", "threshold", "refractory"):
            units[name] = network.per_unit(name)
        units["is_lif"] = skeleton.is_lif
        synapses = np.empty(topology.source.size, SYNAPSE)
        synapses["weight"] = network.weight_per_synapse()
        synapses["delay"] = network.delay_per_synapse()
        synapses["source"] = topology.source
        synapses["target"] = topology.target
        synapses["index"] = np.arange(synapses.size)
        return cls(units, synapses, topology.incoming, skeleton.components(topology, synapses))


@dataclass(frozen=True, eq=False)
class Skeleton:
    """The part of a layout that does not depend on parameter values."""

    is_lif: np.ndarray
    first: np.ndarray
    units: np.ndarray
    recurrent: np.ndarray
    outgoing: np.ndarray
    component_of_synapse: np.ndarray

    @classmethod
    def of(cls, network: Network) -> Skeleton:
        """Units of each component, and the synapses that go into it from each unit."""
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
        for index, own in enumerate(members):
            component_of_unit[own] = index
        recurrent = np.array([c.recurrent for c in topology.components], bool)
        is_lif = [np.full(p.units, isinstance(p, LIF)) for p in network.populations]
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
        return cls(
            np.concatenate(is_lif),
            np.concatenate([[0], np.cumsum([own.size for own in members])]).astype(np.int64),
            np.concatenate([np.empty(0, np.int64), *members]).astype(np.int64),
            recurrent,
            outgoing,
            component_of_synapse,
        )

    def components(self, topology: Topology, synapses: np.ndarray) -> Components:
        """The components, with the synapses into recurrent ones sorted by delay."""
        if self.recurrent.any():
            order = np.lexsort((synapses["delay"], topology.source, self.component_of_synapse))
            outgoing = synapses[order]
        else:
            outgoing = synapses[:0]
        return Components(self.first, self.units, self.recurrent, self.outgoing, outgoing)


_skeletons: WeakKeyDictionary[Topology, Skeleton] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class OrderedInputs:
    """Input spikes sorted by sample, unit and time, with the way back.

    ``time[start[b]:start[b + 1]]`` are sample b's; ``count`` (batch, units of all
    populations) holds their number per unit, and zeros for other units; ``place[name]``
    holds, for each event of an input, its place in ``time``.
    """

    time: np.ndarray
    start: np.ndarray
    count: np.ndarray
    place: dict[str, np.ndarray]

    @classmethod
    def of(cls, network: Network, inputs: Mapping[str, SpikeTrains]) -> OrderedInputs:
        """Sort the spikes of all inputs together."""
        topology = network.topology
        first_unit = dict(
            zip((p.name for p in network.populations), topology.first_unit, strict=False)
        )
        units = np.concatenate([inputs[n].units + first_unit[n] for n in inputs])
        samples = np.concatenate([trains.samples for trains in inputs.values()])
        times = np.concatenate([trains.times for trains in inputs.values()])
        batch = len(next(iter(inputs.values())))
        key = samples * topology.unit_count + units
        order = np.argsort(key, kind="stable")
        count = np.bincount(key, minlength=batch * topology.unit_count)
        count = count.reshape(batch, topology.unit_count).astype(np.int64)
        start = np.zeros(batch + 1, np.int64)
        np.cumsum(count.sum(axis=1), out=start[1:])
        back = np.empty(order.size, np.int64)
        back[order] = np.arange(order.size)
        place, before = {}, 0
        for name, trains in inputs.items():
            place[name] = back[before : before + trains.times.size]
            before += trains.times.size
        return cls(times[order], start, count, place)


# -- what a run leaves ----------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Piece:
    """Samples first to last - 1 and all their spikes; the failure, if any."""

    first: int
    last: int
    spikes: np.ndarray
    used: int
    failure: np.ndarray


@dataclass(frozen=True, eq=False)
class ReadoutDrive:
    """How a readout's cotangents enter the adjoints: one number per unit of the network."""

    rate: float
    cotangent: np.ndarray
    phantom: np.ndarray

    @classmethod
    def of(
        cls, state: ExactState, readout: Readout, cotangents: np.ndarray, first: int, last: int
    ) -> ReadoutDrive:
        """Spread cotangents of shape (batch, units of the population) over all units."""
        cotangent, phantom = np.zeros(state.count.shape), np.zeros(state.count.shape)
        if isinstance(readout, FirstSpike):
            silent = state.count[:, first:last] == 0
            phantom[:, first:last] = np.where(silent, cotangents, 0.0)
            return cls(0.0, cotangent, phantom)
        cotangent[:, first:last] = cotangents
        return cls(voltage_rate(readout, state.duration), cotangent, phantom)


@dataclass(frozen=True, eq=False)
class AdjointState:
    """The adjoint of every spike, for traces."""

    drive: ReadoutDrive
    spikes: tuple[np.ndarray, ...]


@dataclass(frozen=True, eq=False)
class ExactState:
    """A simulated batch: for each sample and unit, where its spikes lie in its piece."""

    network: Network
    inputs: Mapping[str, SpikeTrains]
    duration: float
    layout: Layout
    ordered: OrderedInputs
    start: np.ndarray
    count: np.ndarray
    input_place: np.ndarray
    pieces: list[Piece]

    def populations(self) -> list[tuple[Any, int, int]]:
        """Each population with its first unit and the one after its last."""
        edges = self.network.topology.first_unit.tolist()
        return list(zip(self.network.populations, edges[:-1], edges[1:], strict=True))

    def unit_range(self, name: str) -> tuple[int, int]:
        """The first unit of a population and the one after its last."""
        for population, first, last in self.populations():
            if population.name == name:
                return first, last
        raise ValueError(f"there is no population {name!r}")

    def first_spikes(self, first: int, last: int) -> np.ndarray:
        """First spike times of units first to last - 1, infinity where silent."""
        values = np.full((self.count.shape[0], last - first), np.inf)
        for piece in self.pieces:
            start = self.start[piece.first : piece.last, first:last]
            spiking = self.count[piece.first : piece.last, first:last] > 0
            values[piece.first : piece.last][spiking] = piece.spikes["time"][start[spiking]]
        return values

    def set_first_spike_adjoint(
        self, piece: Piece, cotangents: np.ndarray, first: int, last: int, adjoint: np.ndarray
    ) -> None:
        """Put cotangents of first spike times where those spikes lie."""
        start = self.start[piece.first : piece.last, first:last]
        spiking = self.count[piece.first : piece.last, first:last] > 0
        adjoint[start[spiking]] = cotangents[piece.first : piece.last][spiking]

    def spike_trains(self, first: int, last: int) -> SpikeTrains:
        """Spikes of units first to last - 1 as a batch sorted by time."""
        batch, width = self.count.shape[0], last - first
        times, samples, units = [], [], []
        for piece in self.pieces:
            count = self.count[piece.first : piece.last, first:last].ravel()
            start = self.start[piece.first : piece.last, first:last].ravel()
            before = np.cumsum(count) - count
            index = np.repeat(start - before, count) + np.arange(count.sum())
            owner = np.repeat(np.arange(count.size), count)
            times.append(piece.spikes["time"][index])
            samples.append(piece.first + owner // width)
            units.append(owner % width)
        all_times, all_samples = np.concatenate(times), np.concatenate(samples)
        all_units = np.concatenate(units)
        order = np.lexsort((all_units, all_times, all_samples))
        offsets = np.zeros(batch + 1, np.int64)
        np.cumsum(np.bincount(all_samples, minlength=batch), out=offsets[1:])
        return SpikeTrains._trusted(
            all_times[order], all_units[order].astype(np.int32), offsets, width
        )

    def input_gradients(self, adjoints: tuple[np.ndarray, ...]) -> dict[str, np.ndarray]:
        """The adjoint of every input spike beside its event."""
        ordered = self.ordered
        by_time = np.empty(ordered.time.size)
        for piece, adjoint in zip(self.pieces, adjoints, strict=True):
            starts = ordered.start[piece.first : piece.last + 1]
            own = np.arange(starts[0], starts[-1])
            shift = self.input_place[piece.first : piece.last] - starts[:-1]
            by_time[own] = adjoint[own + np.repeat(shift, np.diff(starts))]
        return {name: by_time[place] for name, place in self.ordered.place.items()}

    def origin(self, piece: Piece, spike: int) -> tuple[str, int, int, float]:
        """Population, sample, unit and time of a spike."""
        start = self.start[piece.first : piece.last]
        count = self.count[piece.first : piece.last]
        found = np.argwhere((start <= spike) & (spike < start + count))[0]
        time = float(piece.spikes["time"][spike])
        name, unit = self.name_unit(int(found[1]))
        return name, piece.first + int(found[0]), unit, time

    def name_unit(self, unit: int) -> tuple[str, int]:
        """Population of a unit and its index there."""
        index = int(np.searchsorted(self.network.topology.first_unit, unit, side="right")) - 1
        population = self.network.populations[index]
        return population.name, unit - int(self.network.topology.first_unit[index])

    def check(self, failures: Any) -> None:
        """Raise for the first failure."""
        for status, time, unit, sample in failures:
            if status == records.DONE:
                continue
            name, own = self.name_unit(int(unit))
            place = f"sample {int(sample)}, unit {own} of {name!r}, at {time:.17g} ms: "
            raise EngineError(place + _REASONS[int(status)])


_REASONS = {
    records.TOO_FAST: (
        "it spikes again before time moves on in float64; its current is too large: "
        "use smaller weights or a refractory period"
    ),
    records.NO_CROSSING: (
        "the search for its threshold crossing did not end; its voltage or current is not a "
        "sensible number: look at the weights"
    ),
    records.GRAZING: (
        "I - threshold at its emission rounds to 0, so its gradient is unbounded: the voltage "
        "only grazes the threshold; change the weights a little, or leave the sample out"
    ),
    records.OVERFLOW: "its current is no finite number any more: use smaller weights",
}
