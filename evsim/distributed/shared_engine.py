"""An engine whose batches several processes share.

Each rank takes consecutive whole pieces of a batch, and runs its own engine on their samples.
Results of single samples, such as readouts, are collected in the order of the samples; sums over
the batch are added in the order of the pieces.  So every rank has the results of the whole batch,
and they are bit-identical to those of one process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.display.short_repr import Brief
from evsim.distributed.machines import threads_of_each
from evsim.distributed.ranks import Ranks
from evsim.engines.pieces import PiecewiseEngine, Share, Sums
from evsim.engines.protocol import Adjoint, Engine, Report
from evsim.network.dropout import Dropout
from evsim.network.network import Network
from evsim.network.populations import LIF, Input
from evsim.network.spike_trains import SpikeTrains
from evsim.readouts.adjoint_sources import AdjointSources, MeanCotangents, VoltageCotangents
from evsim.readouts.sample_times import SampleTimes
from evsim.readouts.weightings import TrialWeighting


def shared_engine(engine: Engine, ranks: Ranks) -> Engine:
    """An engine whose batches the ranks share; processes on one machine divide its threads.

    Raises ValueError for an engine that does not cut batches into pieces.
    """
    if not (isinstance(engine, PiecewiseEngine) and engine.cuts_batches):
        raise ValueError(
            f"{engine!r} does not cut batches into pieces that processes could share: use "
            "evsim.engines.Exact or Grid on the processor"
        )
    if engine.threads is None:
        engine = engine.with_threads(threads_of_each(ranks))
    return SharedEngine(engine, ranks)


@dataclass(frozen=True, eq=False)
class PartOfBatch(Share):
    """The pieces of a batch that this rank takes.

    ``pieces`` contains the number of pieces of each rank.  A rank without a piece gives its engine
    an empty one, whose sums are left out.
    """

    pieces: Sequence[int] = ()
    ranks: Ranks | None = None

    def total(self, sums: Sequence[Sums]) -> dict[str, NDArray[np.float64]]:
        assert self.ranks is not None
        kinds = list(sums[0])
        ends = np.cumsum([sums[0][kind].size for kind in kinds])[:-1]
        vectors = [
            np.concatenate([np.asarray(part[kind], np.float64) for kind in kinds]) for part in sums
        ]
        total = self.ranks.summed(vectors, self.pieces)
        return dict(zip(kinds, np.split(total, ends), strict=True))


@dataclass(frozen=True, eq=False, repr=False)
class SharedState(Brief):
    """A simulated batch; the state of this rank's engine contains the samples of this rank.

    ``edges`` contains the first sample of each rank, and the number of samples.  ``counts``
    contains the number of spikes of each unit of every LIF population, (batch, units).
    """

    network: Network
    inputs: Mapping[str, SpikeTrains]
    duration: float
    ranks: Ranks
    edges: NDArray[np.int64]
    counts: Mapping[str, NDArray[np.int64]]
    own: Any

    @property
    def batch(self) -> int:
        """The number of samples of all ranks."""
        return int(self.edges[-1])

    @property
    def samples(self) -> slice:
        """The samples of this rank."""
        return slice(*self.edges[self.ranks.index : self.ranks.index + 2].tolist())

    def by_sample(self, own: NDArray[Any]) -> NDArray[Any]:
        """The rows of all samples, from those of this rank's samples."""
        return self.ranks.rows(own, np.diff(self.edges).tolist())

    def by_event(self, own: NDArray[Any], offsets: NDArray[np.int64]) -> NDArray[Any]:
        """The rows of events of all samples, given the ``offsets`` of all samples."""
        return self.ranks.rows(own, np.diff(offsets[self.edges]).tolist())

    def times_of_own(self, times: SampleTimes) -> tuple[SampleTimes, slice]:
        """The times of this rank's samples, and their places among those of all."""
        offsets = times.offsets[self.samples.start : self.samples.stop + 1]
        place = slice(int(offsets[0]), int(offsets[-1]))
        return SampleTimes(times.times[place], offsets - offsets[0]), place

    def sources_of_own(self, sources: AdjointSources) -> AdjointSources:
        """What enters the adjoints of this rank's samples."""
        rows = self.samples
        voltages, slopes = sources.voltages, sources.spike_time_gradient
        if voltages is not None:
            times, place = self.times_of_own(voltages.times)
            voltages = VoltageCotangents(times, voltages.cotangents[place])
        if slopes is not None:
            ends = ends_of(self.counts[sources.population].sum(axis=1))
            slopes = slopes[ends[rows.start] : ends[rows.stop]]
        return replace(
            sources,
            means=tuple(MeanCotangents(w, cotangents[rows]) for w, cotangents in sources.means),
            peak=None if sources.peak is None else sources.peak[rows],
            spike_times=None if sources.spike_times is None else sources.spike_times[rows],
            voltages=voltages,
            spike_time_gradient=slopes,
        )


@dataclass(frozen=True, eq=False, repr=False)
class SharedEngine(Brief, Engine):
    """An engine whose batches the ranks share; all of them call each method, in the same order.

    Its results are those of ``engine`` for the whole batch, except for gradients with respect to
    input times, which no training needs and which it leaves out.
    """

    piecewise: PiecewiseEngine
    ranks: Ranks

    # -- forward -----------------------------------------------------------------------

    def simulate(
        self,
        network: Network,
        inputs: Mapping[str, SpikeTrains],
        duration: float,
        dropout: Dropout | None = None,
    ) -> SharedState:
        batch = len(next(iter(inputs.values())))
        bounds = self.piecewise.piece_bounds(network, batch)
        part = np.linspace(0, len(bounds), self.ranks.count + 1).astype(np.int64)
        edges = np.array([first for first, _ in bounds] + [batch], np.int64)[part]
        first, last = edges[self.ranks.index : self.ranks.index + 2].tolist()
        own = bounds[part[self.ranks.index] : part[self.ranks.index + 1]] or [(first, first)]
        share = PartOfBatch(
            [(begin - first, end - first) for begin, end in own],
            first,
            np.diff(part).tolist(),
            self.ranks,
        )
        if dropout is not None:
            dropout = replace(dropout, keys=dropout.sample_keys(batch)[first:last])
        own_inputs = {name: trains[first:last] for name, trains in inputs.items()}
        state = self.piecewise.simulate_share(network, own_inputs, duration, dropout, share)
        counts = self._counts(network, state, np.diff(edges).tolist())
        return SharedState(network, inputs, duration, self.ranks, edges, counts, state)

    def _counts(
        self, network: Network, state: Any, samples: Sequence[int]
    ) -> dict[str, NDArray[np.int64]]:
        """The spike counts of all samples, by LIF population, given the samples of each rank."""
        own = self.piecewise.spike_counts(state)
        names = [p.name for p in network.populations if isinstance(p, LIF)]
        if not names:
            return {}
        together = self.ranks.rows(np.concatenate([own[name] for name in names], axis=1), samples)
        ends = np.cumsum([network.population(name).units for name in names])[:-1]
        return dict(zip(names, np.split(together, ends, axis=1), strict=True))

    def spikes(self, state: SharedState) -> dict[str, SpikeTrains]:
        own = self.piecewise.spikes(state.own)
        trains = {}
        for population in state.network.populations:
            name = population.name
            if isinstance(population, Input):
                trains[name] = state.inputs[name]
                continue
            offsets = np.zeros(state.batch + 1, np.int64)
            times, units = own[name].times, own[name].units
            if name in state.counts:
                offsets = ends_of(state.counts[name].sum(axis=1))
                times, units = state.by_event(times, offsets), state.by_event(units, offsets)
            trains[name] = SpikeTrains(times, units, offsets, population.units)
        return trains

    def spike_counts(self, state: SharedState) -> dict[str, NDArray[np.int64]]:
        counts: dict[str, NDArray[np.int64]] = {}
        for population in state.network.populations:
            name = population.name
            if isinstance(population, Input):
                counts[name] = state.inputs[name].counts()
            elif name in state.counts:
                counts[name] = state.counts[name]
            else:
                counts[name] = np.zeros((state.batch, population.units), np.int64)
            counts[name].setflags(write=False)
        return counts

    def placed(self, times: NDArray[np.float64], duration: float) -> NDArray[np.float64]:
        return self.piecewise.placed(times, duration)

    def report(self, state: SharedState) -> Report:
        own = self.piecewise.report(state.own)
        names = [population.name for population in state.network.populations]
        place = own.smallest_drive_at
        numbers = (-1.0,) * 4 if place is None else (float(names.index(place[0])), *place[1:])
        sums = own.arrivals, own.arrivals_after_end, own.dropped
        found = state.ranks.gathered(np.array([own.smallest_drive, *numbers]))
        arrivals, after_end, dropped = state.ranks.gathered(np.array(sums, np.int64)).sum(axis=0)
        smallest, population, sample, unit, time = found[np.argmin(found[:, 0])].tolist()
        at = None if population < 0 else (names[int(population)], int(sample), int(unit), time)
        return Report(int(arrivals), int(after_end), smallest, at, int(dropped))

    # -- readouts ----------------------------------------------------------------------

    def read_mean(
        self, state: SharedState, population: str, weighting: TrialWeighting
    ) -> NDArray[np.float64]:
        return state.by_sample(self.piecewise.read_mean(state.own, population, weighting))

    def read_peak(self, state: SharedState, population: str) -> NDArray[np.float64]:
        return state.by_sample(self.piecewise.read_peak(state.own, population))

    def read_spike_times(
        self, state: SharedState, population: str, count: int
    ) -> NDArray[np.float64]:
        return state.by_sample(self.piecewise.read_spike_times(state.own, population, count))

    def states_at(
        self, state: SharedState, population: str, times: SampleTimes
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        own, _ = state.times_of_own(times)
        voltage, current = self.piecewise.states_at(state.own, population, own)
        return state.by_event(voltage, times.offsets), state.by_event(current, times.offsets)

    def event_times(self, state: SharedState, population: str) -> SampleTimes:
        times, offsets = self.piecewise.event_times(state.own, population)
        ends = ends_of(state.by_sample(np.diff(offsets)))
        return SampleTimes(state.by_event(times, ends), ends)

    # -- adjoints ----------------------------------------------------------------------

    def pull_back_sources(
        self, state: SharedState, sources: AdjointSources, wrt: Sequence[str]
    ) -> Adjoint:
        return self.pull_back_populations(state, [sources], wrt)

    def pull_back_populations(
        self, state: SharedState, sources: Sequence[AdjointSources], wrt: Sequence[str]
    ) -> Adjoint:
        own = [state.sources_of_own(one) for one in sources]
        return replace(self.piecewise.pull_back_populations(state.own, own, wrt), input_times={})

    # -- traces ------------------------------------------------------------------------

    def traces(
        self, state: SharedState, population: str, times: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        voltage, current = self.piecewise.traces(state.own, population, times)
        return state.by_sample(voltage), state.by_sample(current)

    def adjoint_traces(
        self, state: SharedState, adjoint: Adjoint, population: str, times: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        parts = self.piecewise.adjoint_traces(state.own, adjoint, population, times)
        lambda_v, lambda_i = (state.by_sample(part) for part in parts)
        return lambda_v, lambda_i


def ends_of(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where the events of each sample begin, and their total: 0, then sums of the counts."""
    ends = np.zeros(counts.size + 1, np.int64)
    np.cumsum(counts, out=ends[1:])
    return ends
