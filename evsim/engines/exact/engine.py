"""The exact engine: event by event in continuous time, compiled, on any number of threads.

It lays a network out as flat arrays, passes pieces of the batch to the kernels, and combines their
results in a fixed order, so that they do not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np

from evsim._compile.threads import alone, check_count, check_threads, over
from evsim.arguments.checks import check_flag
from evsim.arguments.keywords import helpful
from evsim.arguments.named import OnDemand
from evsim.engines.exact.kernels.backward.gradients import Gradients
from evsim.engines.exact.kernels.backward.pull_back import (
    pull_back_samples,
    pull_back_time_constants,
)
from evsim.engines.exact.kernels.failures import Status, new_failure
from evsim.engines.exact.kernels.forward.simulate import count_arrivals, simulate_samples
from evsim.engines.exact.kernels.readouts.traces import adjoint_trace_samples, trace_samples
from evsim.engines.exact.kernels.readouts.voltages import find_kinks, read_means, read_peaks
from evsim.engines.exact.layout import Layout, OrderedInputs
from evsim.engines.exact.margins import Margins, margins_of
from evsim.engines.exact.state import AdjointState, ExactState, Piece, writable
from evsim.engines.exact.verification import verify
from evsim.engines.pieces import PiecewiseEngine, Share, even_pieces, piece_bounds
from evsim.engines.protocol import Adjoint, Report
from evsim.engines.rest import FromRest
from evsim.engines.runaway import RATE_LIMIT, check_rate_limit, shortest_blocks
from evsim.network.checks import kind_of
from evsim.network.dropout import Dropout
from evsim.network.network import Network
from evsim.network.populations import Input
from evsim.network.spike_trains import SpikeTrains
from evsim.readouts.adjoint_sources import AdjointSources
from evsim.readouts.sample_times import SampleTimes
from evsim.readouts.weightings import TrialWeighting


@helpful
@dataclass(frozen=True)
class Exact(PiecewiseEngine):
    """The fast exact engine.

    Parameters
    ----------
    threads : int, optional
        The number of threads that share a batch.  By default, as many as the process may use.
        Results are bit-identical for any number.
    spike_limit : int
        The largest total number of spikes of all neurons in one sample.  A sample with more spikes
        is refused before it fills the memory.
    rate_limit : float
        The highest rate, in spikes per tau_mem (or per 4 tau_syn if that is shorter), up to which
        the rate of a unit that is excited by its own loop may keep rising.  A unit that exceeds
        this limit runs away, and the run is refused.  Infinity means no limit.
    debug : bool
        Whether to check the result of every run: V, computed in closed form from the arrivals at
        the unit, must be at the threshold at each spike and never above it; refractory periods
        must be kept; and as many arrivals must be found as were sent.  An ``EngineError`` says
        what does not hold.  With these checks a run takes about twice as long.
    pieces : int, optional
        The number of pieces of equal size into which a batch is cut.  One thread works on each
        piece, which needs the memory of a gradient; processes share whole pieces.  By default, the
        number depends on the batch and the network.  A different number changes the last digits of
        gradients, because it changes the order of sums.
    """

    threads: int | None = None
    spike_limit: int = 10_000_000
    rate_limit: float = RATE_LIMIT
    debug: bool = False
    pieces: int | None = None

    def __post_init__(self) -> None:
        check_threads(self.threads)
        check_count(self.spike_limit, "spike_limit")
        check_rate_limit(self.rate_limit)
        check_flag(self.debug, "debug")
        if self.pieces is not None:
            check_count(self.pieces, "pieces")

    def with_threads(self, threads: int) -> Self:
        return replace(self, threads=threads)

    def piece_bounds(self, network: Network, batch_size: int) -> list[tuple[int, int]]:
        if self.pieces is not None:
            return even_pieces(batch_size, self.pieces)
        return piece_bounds(batch_size, network.topology.source.size)

    # -- forward -----------------------------------------------------------------------

    def simulate_share(
        self,
        network: Network,
        inputs: Mapping[str, SpikeTrains],
        duration: float,
        dropout: Dropout | None,
        share: Share,
    ) -> ExactState:
        layout = Layout.of(network, dropout)
        with np.errstate(over="ignore"):
            layout.units["shortest_blocks"] = shortest_blocks(network, self.rate_limit)
        ordered = OrderedInputs.of(network, inputs)
        batch = ordered.count.shape[0]
        start = np.empty(ordered.count.shape, np.int64)
        count = ordered.count.copy()
        input_place = np.empty(batch, np.int64)
        keys = np.zeros(batch, np.uint64)
        if dropout is not None:
            keys[:] = dropout.sample_keys(batch)

        def run(first: int, last: int) -> Piece:
            failure, work = new_failure(), np.zeros(2, np.int64)
            spikes, spike_count = simulate_samples(
                first, last, ordered.time, ordered.start, layout.units, layout.synapses,
                layout.incoming, layout.components, layout.recurrent, duration, self.spike_limit,
                keys, start, count, input_place, work, failure,
            )  # fmt: skip
            return Piece(first, last, spikes[:spike_count], failure, work)

        pieces = self._over(lambda bound: run(*bound), share.bounds)
        state = ExactState(
            network, inputs, duration, layout, ordered, start, count, input_place, pieces, share
        )
        state.check(piece.failure for piece in pieces)
        if self.debug:
            verify(state, self._arrivals(state)[0], self._over)
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
            counts[population.name] = view = state.count[:, first:last]
            view.setflags(write=False)  # a view of the state
        return counts

    def report(self, state: ExactState) -> Report:
        arrivals = self._arrivals(state)
        smallest, latest, dropped = np.inf, None, 0
        drops = state.layout.units["drop_rate"].any()
        for piece in state.pieces:
            if piece.spikes.size:
                if drops:
                    dropped += int(np.count_nonzero(piece.spikes["is_dropped"]))
                excess = piece.spikes["threshold_excess"]
                spike = int(np.argmin(excess))
                if excess[spike] < smallest:
                    smallest, latest = float(excess[spike]), (piece, spike)
        place = None if latest is None else state.origin(*latest)
        return Report(*arrivals, smallest, place, dropped)

    def _arrivals(self, state: ExactState) -> tuple[int, int]:
        """The number of spikes that arrive within the trial, and of those after its end."""
        arrivals = np.zeros(2, np.int64)

        def count() -> None:
            outgoing, delays = state.layout.outgoing_delays(state.network.topology)
            for piece in state.pieces:
                count_arrivals(
                    piece.first, piece.last, outgoing, delays, state.duration, piece.spikes,
                    state.start, state.count, arrivals,
                )  # fmt: skip

        alone(count)
        return int(arrivals[0]), int(arrivals[1])

    def margins(self, state: ExactState) -> Margins:
        """How far each spike is from vanishing, and each silence from becoming a spike."""
        return margins_of(state, self._over)

    # -- readouts and their adjoints ------------------------------------------------------

    def read_mean(
        self, state: ExactState, population: str, weighting: TrialWeighting
    ) -> np.ndarray:
        first, last = state.unit_range(population)
        form = weighting.form(state.duration)

        def read(piece: Piece, values: np.ndarray) -> None:
            read_means(
                piece.first, piece.last, first, last, form.rate, form.slope, state.batch(piece),
                values,
            )  # fmt: skip

        return self._read_voltages(state, population, read, "Mean")

    def read_peak(self, state: ExactState, population: str) -> np.ndarray:
        first, last = state.unit_range(population)

        def read(piece: Piece, values: np.ndarray) -> None:
            read_peaks(piece.first, piece.last, first, last, state.batch(piece), values)

        return self._read_voltages(state, population, read, "Peak")

    def read_spike_times(self, state: ExactState, population: str, count: int) -> np.ndarray:
        first, last = state.unit_range(population)
        times = np.full((*state.count[:, first:last].shape, count), np.inf)
        for number in range(count):
            state.fill_spike_times(first, last, number, times[:, :, number])
        return times

    def _read_voltages(
        self,
        state: ExactState,
        population: str,
        read: Callable[[Piece, np.ndarray], None],
        quantity: str,
    ) -> np.ndarray:
        """What ``read`` computes from the voltages of each piece, (batch, units)."""
        first, last = state.unit_range(population)
        values = np.empty((state.count.shape[0], last - first))

        def run(piece: Piece) -> None:
            read(piece, values)

        self._over(run, state.pieces)
        state.check_finite(values, quantity, first)
        return values

    def event_times(self, state: ExactState, population: str) -> SampleTimes:
        first, last = state.unit_range(population)
        counts = np.zeros(state.count.shape[0], np.int64)

        def run(piece: Piece) -> np.ndarray:
            batch = state.batch(piece)
            times: np.ndarray = find_kinks(piece.first, piece.last, first, last, batch, counts)
            return times

        times = np.concatenate(self._over(run, state.pieces))
        return SampleTimes(times, np.concatenate([[0], np.cumsum(counts)]))

    def states_at(
        self, state: ExactState, population: str, times: SampleTimes
    ) -> tuple[np.ndarray, np.ndarray]:
        return self._traces(state, population, times, sees_arrivals=False)

    def pull_back_sources(
        self, state: ExactState, sources: AdjointSources, wrt: Sequence[str]
    ) -> Adjoint:
        return self.pull_back_populations(state, [sources], wrt)

    def pull_back_populations(
        self, state: ExactState, sources: Sequence[AdjointSources], wrt: Sequence[str]
    ) -> Adjoint:
        arrays = state.sources(sources)
        units = state.units_with(sources[0].rate_jumps)
        sizes = _gradient_sizes(state)
        tau_units = _units_of_time_constants(state, wrt)

        def run(piece: Piece) -> PulledBack:
            spike_time_gradient = state.direct_spike_time_gradient(piece, sources, arrays)
            sums = {kind: np.zeros(size) for kind, size in sizes.items()}
            limited, failure = np.zeros(1, np.int64), new_failure()
            batch = state.batch(piece, units)
            pull_back_samples(
                piece.first, piece.last, arrays, state.layout.components,
                state.layout.recurrent, batch, spike_time_gradient,
                Gradients(
                    sums["weight"], sums["delay"], sums["threshold"], sums["reset"], sums["start"],
                    limited,
                ), failure,
            )  # fmt: skip
            if tau_units.size and failure["status"][0] == Status.DONE:
                pull_back_time_constants(
                    piece.first, piece.last, tau_units, arrays, batch, spike_time_gradient,
                    sums["tau_mem"], sums["tau_syn"],
                )  # fmt: skip
            return PulledBack(spike_time_gradient, sums | {"limited": limited}, failure)

        results = self._over(run, state.pieces)
        state.check(result.failure for result in results)
        wanted = {*_OF_VOLTAGES, "limited", *(kind_of(name) for name in wrt)}
        totals = state.share.total(
            [{kind: result.sums[kind] for kind in sorted(wanted)} for result in results]
        )
        spike_time_gradients = tuple(result.spike_time_gradient for result in results)
        return Adjoint(
            parameters={name: state.network.fold(name, totals[kind_of(name)]) for name in wrt},
            input_times=OnDemand(lambda: state.input_gradients(spike_time_gradients)),
            voltages=FromRest(totals["threshold"], totals["reset"], totals["start"]),
            limited=int(totals["limited"][0]),
            state=AdjointState(arrays, units, spike_time_gradients),
        )

    # -- traces ------------------------------------------------------------------------------

    def traces(
        self, state: ExactState, population: str, times: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        batch = state.count.shape[0]
        order = np.argsort(times, kind="stable")
        in_batch = SampleTimes.same(times[order], batch)
        traces = self._traces(state, population, in_batch, sees_arrivals=True)
        voltage, current = (
            _unsorted(trace.reshape(batch, times.size, trace.shape[1]).transpose(0, 2, 1), order)
            for trace in traces
        )
        return voltage, current

    def _traces(
        self, state: ExactState, population: str, sample_times: SampleTimes, *, sees_arrivals: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """V and I at times of each sample, each (times, units)."""
        first, last = state.unit_range(population)
        times, offsets = writable(sample_times)
        voltage = np.zeros((times.size, last - first))
        current = np.zeros_like(voltage)

        def run(piece: Piece) -> None:
            trace_samples(
                piece.first, piece.last, first, last, times, offsets, sees_arrivals,
                state.batch(piece), voltage, current,
            )  # fmt: skip

        self._over(run, state.pieces)
        state.check_finite(voltage, "voltage", first, sample_times.samples)
        state.check_finite(current, "current", first, sample_times.samples)
        return voltage, current

    def adjoint_traces(
        self, state: ExactState, adjoint: Adjoint, population: str, times: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        first, last = state.unit_range(population)
        order = np.argsort(times, kind="stable")
        lambda_v = np.zeros((state.count.shape[0], last - first, times.size))
        lambda_i = np.zeros_like(lambda_v)
        adjoint_state: AdjointState = adjoint.state
        for piece, spike_time_gradient in zip(
            state.pieces, adjoint_state.spike_time_gradients, strict=True
        ):
            alone(
                adjoint_trace_samples, piece.first, piece.last, first, last, times[order],
                adjoint_state.sources, state.batch(piece, adjoint_state.units), spike_time_gradient,
                lambda_v, lambda_i,
            )  # fmt: skip
        return _unsorted(lambda_v, order), _unsorted(lambda_i, order)

    def _over(self, run: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        return over(run, items, self.threads)


class PulledBack(NamedTuple):
    """S_k of every spike of a piece, and the piece's sums of each kind of gradient.

    ``sums["limited"]`` (1,) counts the emissions at which lambda_V was limited.
    """

    spike_time_gradient: np.ndarray
    sums: dict[str, np.ndarray]
    failure: np.ndarray


_OF_VOLTAGES = ("threshold", "reset", "start")
"""The kinds of gradients that are always computed."""


def _gradient_sizes(state: ExactState) -> dict[str, int]:
    """The size of each kind of gradient before it is folded into a parameter's shape."""
    synapses, units = state.layout.synapses.size, state.layout.units.size
    sizes = dict.fromkeys(("weight", "delay"), synapses)
    kinds = (*_OF_VOLTAGES, "tau_mem", "tau_syn")
    return sizes | dict.fromkeys(kinds, units)


def _units_of_time_constants(state: ExactState, wrt: Sequence[str]) -> np.ndarray:
    """The units for which the gradient of tau_mem or tau_syn is wanted, int64."""
    names = {name.rsplit(".", 1)[0] for name in wrt if name.endswith((".tau_mem", ".tau_syn"))}
    if not names:
        return np.empty(0, np.int64)
    ranges = [
        np.arange(*state.unit_range(p.name)) for p, *_ in state.populations() if p.name in names
    ]
    return np.concatenate(ranges)


def _unsorted(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    result = np.empty_like(values)
    result[..., order] = values
    return result
