"""The grid on the CPU: compiled loops over the samples of a batch, shared among threads."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from evsim._compile.threads import alone, over
from evsim.display.short_repr import Brief
from evsim.engines.exact.layout import stable_order
from evsim.engines.pieces import Share, Sums
from evsim.network.ragged_arrays import places_of
from evsim_gpu.cpu import samples
from evsim_gpu.cpu.backward import Gradients, SourceArrays
from evsim_gpu.cpu.records import Network, Spikes, flat_network
from evsim_gpu.device import Activity, Device, Emissions, GridInputs, GridSources, MeanForm, Pulled
from evsim_gpu.model.layout import GridLayout


@dataclass(frozen=True)
class CpuDevice(Device):
    """The processor with this number of threads; None means as many as the process may use."""

    threads: int | None = None

    def simulate(
        self, layout: GridLayout, inputs: GridInputs, keys: np.ndarray | None, share: Share
    ) -> CpuActivity:
        network = flat_network(layout)
        batch, units = inputs.batch, layout.units.size
        edges = np.arange(batch)[:, None] * units + np.arange(units + 1)
        keys = np.zeros(batch, np.uint64) if keys is None else np.array(keys, np.uint64)
        input_start = inputs.start[edges]
        start, count = np.zeros((2, batch, units), np.int64)
        input_place = np.zeros(batch, np.int64)

        def run(bound: tuple[int, int]) -> Piece:
            overflow = np.full(3, -1, np.int64)
            spikes, spike_count = samples.simulate_samples(
                *bound, network, inputs.step, input_start, keys, start, count, input_place,
                overflow,
            )  # fmt: skip
            return Piece(*bound, Spikes(*(part[:spike_count] for part in spikes)), overflow)

        pieces = over(run, share.bounds, self.threads)
        return CpuActivity(
            layout, network, inputs, start, count, input_place, pieces, share, self.threads
        )


@dataclass(frozen=True, eq=False, repr=False)
class Piece(Brief):
    """Samples first to last - 1 and all their spikes."""

    first: int
    last: int
    spikes: Spikes
    overflow: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class CpuActivity(Brief, Activity):
    """A simulated batch, with the place of the spikes of each sample and unit in their piece."""

    layout: GridLayout
    network: Network
    inputs: GridInputs
    start: np.ndarray
    count: np.ndarray
    input_place: np.ndarray
    pieces: list[Piece]
    share: Share
    threads: int | None

    @property
    def overflow(self) -> tuple[int, int, int] | None:  # type: ignore[override]
        for piece in self.pieces:
            if piece.overflow[0] >= 0:
                sample, unit, step = piece.overflow.tolist()
                return sample, unit, step
        return None

    # -- spikes ------------------------------------------------------------------------

    def emissions(self, population: str) -> Emissions:
        first, last = self._units(population)
        parts, samples_of, units_of = [], [], []
        for piece in self.pieces:
            places, owner = self._places(piece, first, last)
            parts.append([part[places] for part in piece.spikes])
            samples_of.append(piece.first + owner // (last - first))
            units_of.append(owner % (last - first))
        step, threshold_excess, _, dropped = (
            np.concatenate(part) for part in zip(*parts, strict=True)
        )
        sample, unit = np.concatenate(samples_of), np.concatenate(units_of)
        # The spikes of a piece are sorted by sample, unit and time.
        steps = self.layout.steps + 1
        order = stable_order(sample * steps + step, self.inputs.batch * steps)
        offsets = np.zeros(self.inputs.batch + 1, np.int64)
        np.cumsum(np.bincount(sample, minlength=self.inputs.batch), out=offsets[1:])
        unit = unit.astype(np.int32)
        return Emissions(step[order], unit[order], threshold_excess[order], dropped[order], offsets)

    def counts(self, population: str) -> np.ndarray:
        first, last = self._units(population)
        return self.count[:, first:last].copy()

    def arrivals(self) -> tuple[int, int, int]:
        total = np.zeros(2, np.int64)
        for piece in self.pieces:
            alone(
                samples.count_arrivals, piece.first, piece.last, self.network, piece.spikes,
                self.start, self.count, total,
            )  # fmt: skip
        dropped = sum(np.count_nonzero(piece.spikes.dropped) for piece in self.pieces)
        return int(total[0]), int(total[1]), int(dropped)

    def _units(self, population: str) -> tuple[int, int]:
        component, first, last = self.layout.place(population)
        unit = int(self.layout.components[component].unit_of_column[first])
        return unit, unit + last - first

    def _places(self, piece: Piece, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """The places of spikes of units first to last - 1, by sample and unit, and their owners."""
        rows = slice(piece.first, piece.last), slice(first, last)
        return places_of(self.start[rows], self.count[rows])

    # -- states and readouts ------------------------------------------------------------

    def states(self, population: str) -> tuple[np.ndarray, np.ndarray]:
        component, first, last = self.layout.place(population)
        shape = (self.inputs.batch, self.layout.steps + 1, last - first)
        voltage, current = np.empty((2, *shape), self.layout.precision)
        self._over(samples.write_states, component, first, voltage, current)
        return voltage, current

    def mean(self, population: str, form: MeanForm) -> np.ndarray:
        component, first, last = self.layout.place(population)
        values = np.zeros((self.inputs.batch, last - first), self.layout.precision)
        parts = form.f, form.g, form.by_voltage, form.by_current
        self._over(samples.read_means, component, first, *parts, values)
        return values

    def peak(self, population: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        component, first, last = self.layout.place(population)
        shape = self.inputs.batch, last - first
        values, shares = (np.empty(shape, self.layout.precision) for _ in range(2))
        steps = np.empty(shape, np.int32)
        self._over(samples.read_peaks, component, first, values, steps, shares)
        return values, steps, shares

    def _over(self, kernel: Any, component: int, first_column: int, *arrays: np.ndarray) -> None:
        """Run a kernel that reads states of some columns over all samples."""

        def run(piece: Piece) -> None:
            kernel(
                piece.first, piece.last, component, first_column, self.network, piece.spikes,
                self.start, self.count, *arrays,
            )  # fmt: skip

        over(run, self.pieces, self.threads)

    # -- adjoints ---------------------------------------------------------------------------

    def pull_back(
        self, sources: GridSources, *, delays: Collection[str], time_constants: bool
    ) -> Pulled:
        arrays = self._source_arrays(sources)
        run = partial(self._pull_back_piece, sources, arrays, time_constants, -1, 0, *_NOTHING)
        results = over(run, self.pieces, self.threads)
        events = np.zeros(self.inputs.step.size)
        for piece, (_, spike_time_gradient) in zip(self.pieces, results, strict=True):
            inputs = self._input_range(piece)
            events[inputs] = spike_time_gradient[self._input_places(piece)]
        unasked = {"grazing"} if delays else {"grazing", "delay"}
        totals = self.share.total([sums_of(gradients, unasked) for gradients, _ in results])
        grazing = next((g.grazing for g, _ in results if g.grazing[0] >= 0), None)
        return Pulled(
            weight=self._by_entry(totals["weight"]),
            delay=self._by_entry(totals["delay"], delays)
            if delays
            else np.zeros(totals["weight"].size),
            threshold=self._by_unit(totals["threshold"]),
            reset=self._by_unit(totals["reset"]),
            start=self._by_unit(totals["start"]),
            tau_mem=self._by_unit(totals["tau_mem"]),
            tau_syn=self._by_unit(totals["tau_syn"]),
            events=events,
            limited=int(totals["limited"][0]),
            grazing=None
            if grazing is None
            else (int(grazing[0]), int(grazing[1]), int(grazing[2])),
            activity=self,
            sources=sources,
        )

    def adjoints(self, pulled: Pulled, population: str) -> tuple[np.ndarray, np.ndarray]:
        component, first, last = self.layout.place(population)
        shape = (self.inputs.batch, self.layout.steps + 1, last - first)
        lambda_v, lambda_i = np.zeros((2, *shape), self.layout.precision)
        sources = pulled.sources
        run = partial(
            self._pull_back_piece, sources, self._source_arrays(sources), False, component, first,
            lambda_v, lambda_i,
        )  # fmt: skip
        over(run, self.pieces, self.threads)
        return lambda_v, lambda_i

    def _pull_back_piece(
        self,
        sources: GridSources,
        arrays: SourceArrays,
        time_constants: bool,
        wanted: int,
        first_column: int,
        lambda_v: np.ndarray,
        lambda_i: np.ndarray,
        piece: Piece,
    ) -> tuple[Gradients, np.ndarray]:
        """The sums of a piece, and S_k of each of its spikes."""
        real, network = self.layout.precision, self.network
        spike_time_gradient = self._direct_spike_time_gradient(piece, sources)
        synapses, columns = network.synapses.weight.size, network.columns.unit.size
        by_synapse, by_column = (
            np.zeros((n, size), real) for n, size in ((2, synapses), (5, columns))
        )
        gradients = Gradients(  # type: ignore[misc]
            *by_synapse, *by_column, limited=np.zeros(1, np.int64), grazing=np.full(3, -1)
        )
        slopes = np.empty((0, 4), real)
        if time_constants:
            slopes = self.layout.time_constant_slopes[network.columns.unit]
        samples.pull_back_samples(
            piece.first, piece.last, network, arrays, piece.spikes, self.start, self.count,
            slopes, time_constants, spike_time_gradient, gradients, wanted, first_column,
            *(part.astype(real, copy=False) for part in (lambda_v, lambda_i)),
        )  # fmt: skip
        return gradients, spike_time_gradient

    def _direct_spike_time_gradient(self, piece: Piece, sources: GridSources) -> np.ndarray:
        """The part of S_k of each spike of a piece that comes from the readout directly."""
        slopes = np.zeros(piece.spikes.step.size, self.layout.precision)
        if sources.slopes is not None:
            first, last = self._units(sources.population)
            places, owner = self._places(piece, first, last)
            width = last - first
            order = np.lexsort((owner % width, piece.spikes.step[places], owner // width))
            begin = self.count[: piece.first, first:last].sum()
            slopes[places[order]] = sources.slopes[begin : begin + places.size]
        return slopes

    def _source_arrays(self, sources: GridSources) -> SourceArrays:
        real, batch = self.layout.precision, self.inputs.batch
        component, first, last = self.layout.place(sources.population)
        shape = (batch, last - first)
        nothing, zeros = np.zeros(shape, real), np.zeros((2, last - first), real)
        mean = sources.mean or MeanForm(np.empty(0, real), np.empty(0, real), zeros, zeros)
        peak_step = np.zeros(shape, np.int32) if sources.peak_step is None else sources.peak_step
        peak_share = np.empty((0, 0), real) if sources.peak_share is None else sources.peak_share
        return SourceArrays(
            component, first, last, mean.f, mean.g, mean.by_voltage, mean.by_current,
            nothing if sources.cotangents is None else sources.cotangents,
            peak_step, peak_share,
            nothing if sources.phantom is None else sources.phantom,
            sources.moment_step, sources.moment_start, sources.moment_lambda_v,
            sources.moment_lambda_i, sources.rate_jump, np.array([sources.limit], real),
        )  # fmt: skip

    def _input_range(self, piece: Piece) -> slice:
        units = self.layout.units.size
        return slice(
            int(self.inputs.start[piece.first * units]), int(self.inputs.start[piece.last * units])
        )

    def _input_places(self, piece: Piece) -> np.ndarray:
        """Where the input spikes of a piece lie among its spikes, in the order of the inputs."""
        starts = self.inputs.start[:: self.layout.units.size][piece.first : piece.last + 1]
        shift = self.input_place[piece.first : piece.last] - starts[:-1]
        first, last = int(starts[0]), int(starts[-1])
        places: np.ndarray = np.arange(first, last) + np.repeat(shift, np.diff(starts))
        return places

    def _by_entry(self, values: np.ndarray, names: Collection[str] | None = None) -> np.ndarray:
        """Values of the sorted synapses, row by row, connection by connection of the network.

        They are zero for connections that are not named; no names means all connections.
        """
        by_entry = np.zeros(values.size)
        for connection in self.layout.connections:
            name = self.layout.network.connections[connection.index].name
            if names is None or name in names:
                connection.unsort(values[connection.place], by_entry[connection.entries])
        return by_entry

    def _by_unit(self, values: np.ndarray) -> np.ndarray:
        """Values of columns, by unit."""
        ordered = np.zeros(self.layout.units.size)
        ordered[self.network.columns.unit] = values
        return ordered


def sums_of(gradients: Gradients, unasked: Collection[str]) -> Sums:
    """The sums of a piece, by kind, without the kinds that are not wanted."""
    return {kind: part for kind, part in gradients._asdict().items() if kind not in unasked}


_NOTHING = np.empty((0, 0, 0)), np.empty((0, 0, 0))
