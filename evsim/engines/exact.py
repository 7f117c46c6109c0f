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
from itertools import pairwise
from typing import Any

import numpy as np

from evsim.compiled import announce_compilation
from evsim.engines.exact_layout import Layout, OrderedInputs
from evsim.engines.exact_state import (
    AdjointState,
    ExactState,
    Piece,
    ReadoutDrive,
    voltage_rate,
)
from evsim.engines.kernels.samples import (
    count_arrivals,
    pull_back_samples,
    read_voltages,
    simulate_samples,
)
from evsim.engines.kernels.traces import adjoint_trace_samples, trace_samples
from evsim.engines.protocol import Adjoint, Engine, Report
from evsim.network import Input, Network
from evsim.readouts import FirstSpike, Readout
from evsim.spikes import SpikeTrains


@dataclass(frozen=True)
class Exact(Engine):
    """The fast exact engine.

    Parameters
    ----------
    threads : int, optional
        How many threads share a batch; as many as the process may use if not given.
        Results are bit-identical for any number.
    spike_limit : int
        How many spikes the neurons of one sample may emit in all; one that emits more, as
        a network that runs away does, is refused before it fills the memory.
    """

    threads: int | None = None
    spike_limit: int = 10_000_000

    def __post_init__(self) -> None:
        for name in ("threads", "spike_limit"):
            value = getattr(self, name)
            if name == "threads" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
                raise TypeError(f"{name} = {value!r}: it must be an integer")
            if not 1 <= value <= 2**62:
                raise ValueError(f"{name} = {value}: it must be from 1 to 2**62")

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
                layout.incoming, layout.components, duration, self.spike_limit, start, count,
                input_place, failure,
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
        counts = {}
        for population, first, last in state.populations():
            counts[population.name] = own = state.count[:, first:last]
            own.setflags(write=False)  # a view of the state
        return counts

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
            read_voltages(piece.first, piece.last, first, last, rate, *state.arrays(piece), values)

        self._over(run, state.pieces)
        state.check_finite(values, type(readout).__name__, first)
        return values

    def pull_back(
        self, state: ExactState, readout: Readout, cotangents: np.ndarray, wrt: Sequence[str]
    ) -> Adjoint:
        first, last = state.unit_range(readout.population_of(state.network))
        drive = ReadoutDrive.of(state, readout, cotangents, first, last)
        synapse_count = state.layout.synapses.size

        def run(piece: Piece) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
            adjoint = np.zeros(piece.used)
            if isinstance(readout, FirstSpike):
                state.set_first_spike_adjoint(piece, cotangents, first, last, adjoint)
            by_weight, by_delay = np.zeros(synapse_count), np.zeros(synapse_count)
            failure = np.zeros(4)
            pull_back_samples(
                piece.first, piece.last, drive.rate, drive.cotangent, drive.phantom,
                state.layout.components, *state.arrays(piece), adjoint, by_weight, by_delay,
                failure,
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
                piece.first, piece.last, first, last, times[order], *state.arrays(piece),
                voltage, current,
            )  # fmt: skip
        state.check_finite(voltage, "voltage", first)
        state.check_finite(current, "current", first)
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
                drive.phantom, *state.arrays(piece), spike_adjoint, lambda_v, lambda_i,
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
        return list(_pool(threads, os.getpid()).map(run, items))


def available_threads() -> int:
    """How many threads this process may run at once."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Threads of this process: a forked one inherits the pool but not the threads in it."""
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
    return list(pairwise(edges))


def _unsorted(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    result = np.empty_like(values)
    result[..., order] = values
    return result
