"""The state of a run of the exact engine: all spikes, and what is read from them directly."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evsim.display.short_repr import Brief
from evsim.engines.exact.kernels.backward.adjoint_sources import SourceArrays, Sources, joined
from evsim.engines.exact.kernels.failures import Status
from evsim.engines.exact.kernels.trial import Batch
from evsim.engines.exact.layout import Layout, OrderedInputs, copied
from evsim.engines.pieces import Share
from evsim.engines.protocol import EngineError
from evsim.engines.runaway import message
from evsim.network.network import Network
from evsim.network.populations import LIF, Population
from evsim.network.ragged_arrays import places_of
from evsim.network.spike_trains import SpikeTrains
from evsim.readouts.adjoint_sources import AdjointSources, VoltageCotangents, added_voltages
from evsim.readouts.sample_times import SampleTimes


def writable(times: SampleTimes) -> SampleTimes:
    """The same times, writable, because loops would be compiled again for read-only arrays."""
    parts = (np.require(part, requirements=["C", "W"]) for part in times)
    return SampleTimes._make(parts)


@dataclass(frozen=True, eq=False, repr=False)
class Piece(Brief):
    """Samples first to last - 1, all their spikes, and why the loop stopped, if it did.

    ``work`` counts what recurrent components cost, see ``kernels.forward.recurrent_state``.
    ``failure`` (1,) is a FAILURE record.
    """

    first: int
    last: int
    spikes: np.ndarray
    failure: np.ndarray
    work: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class AdjointState(Brief):
    """What adjoint traces need: the sources of the adjoints, and S_k of every spike by piece.

    ``units`` are the layout's with the jumps of the rate regulariser.
    """

    sources: Sources
    units: np.ndarray
    spike_time_gradients: tuple[np.ndarray, ...]


@dataclass(frozen=True, eq=False, repr=False)
class ExactState(Brief):
    """A simulated batch, with the place of the spikes of each sample and unit in their piece."""

    network: Network
    inputs: Mapping[str, SpikeTrains]
    duration: float
    layout: Layout
    ordered: OrderedInputs
    start: np.ndarray
    count: np.ndarray
    input_place: np.ndarray
    pieces: list[Piece]
    share: Share

    def batch(self, piece: Piece, units: np.ndarray | None = None) -> Batch:
        """What every loop reads of a piece, with the layout's units or others."""
        layout = self.layout
        return Batch(
            layout.units if units is None else units, layout.synapses, layout.incoming,
            self.duration, piece.spikes, self.start, self.count,
        )  # fmt: skip

    def populations(self) -> list[tuple[Population, int, int]]:
        """Each population with its first unit and the one after its last."""
        edges = self.network.topology.first_unit.tolist()
        return list(zip(self.network.populations, edges[:-1], edges[1:], strict=True))

    def unit_range(self, name: str) -> tuple[int, int]:
        """The first unit of a population and the one after its last."""
        for population, first, last in self.populations():
            if population.name == name:
                return first, last
        raise ValueError(f"there is no population {name!r}")

    # -- spikes ------------------------------------------------------------------------

    def fill_spike_times(self, first: int, last: int, number: int, times: np.ndarray) -> None:
        """Write when units first to last - 1 spike for the ``number``-th time, counted from 0.

        Where a unit has no such spike, ``times``, shape (batch, units), are not changed.
        """
        for piece in self.pieces:
            has_spike, place = self._numbered(piece, first, last, number)
            times[piece.first : piece.last][has_spike] = piece.spikes["time"][place]

    def _numbered(
        self, piece: Piece, first: int, last: int, number: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Which units of which samples of a piece have a spike of that number, and where."""
        has_spike = self.count[piece.first : piece.last, first:last] > number
        return has_spike, self.start[piece.first : piece.last, first:last][has_spike] + number

    def spike_trains(self, first: int, last: int) -> SpikeTrains:
        """Spikes of units first to last - 1 as a batch sorted by time."""
        batch, width = self.count.shape[0], last - first
        times, samples, units = [], [], []
        for piece in self.pieces:
            index, owner = self._places(piece, first, last)
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

    def _places(self, piece: Piece, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """The places of spikes of units first to last - 1, by sample and unit, and their owners."""
        rows = slice(piece.first, piece.last), slice(first, last)
        return places_of(self.start[rows], self.count[rows])

    # -- the sources of the adjoints -------------------------------------------------------

    def sources(self, by_population: Sequence[AdjointSources]) -> Sources:
        """The sources of all populations that are read, as the loops need them."""
        units = self.count.shape[1]
        shared = (*np.zeros((2, units)), *np.zeros((3, *self.count.shape)))
        of_unit = np.zeros(units, np.int64)
        groups: list[SourceArrays] = []
        for members, read in self._read_together(by_population):
            for population in members:
                of_unit[slice(*self.unit_range(population))] = len(groups)
            groups.append(self._source_arrays(read, *shared))
        return joined(groups, of_unit)

    def _read_together(
        self, by_population: Sequence[AdjointSources]
    ) -> Iterator[tuple[list[str], list[AdjointSources]]]:
        """The populations of each component that is read, and their sources."""
        populations = self.network.populations
        for component in self.network.topology.components:
            members = [populations[index].name for index in component.populations]
            read = [sources for sources in by_population if sources.population in members]
            if read:
                yield members, read

    def _source_arrays(
        self,
        together: Sequence[AdjointSources],
        rate: np.ndarray,
        slope: np.ndarray,
        voltage_cotangent: np.ndarray,
        peak_cotangent: np.ndarray,
        phantom: np.ndarray,
    ) -> SourceArrays:
        """The sources of populations of one component; fills the arrays of all units."""
        ranges = [self.unit_range(sources.population) for sources in together]
        begin, stop = min(first for first, _ in ranges), max(last for _, last in ranges)
        batch = self.count.shape[0]
        voltages: VoltageCotangents | None = None
        for sources, (first, last) in zip(together, ranges, strict=True):
            if sources.voltages is not None:
                columns = first - begin, stop - last
                voltages = added_voltages(voltages, _in_columns(sources.voltages, columns))
            if sources.spike_times is not None:
                by_number = sources.spike_times
                missing = self.count[:, first:last, None] <= np.arange(by_number.shape[2])
                if missing.any():
                    phantom[:, first:last] = np.where(missing, by_number, 0.0).sum(axis=2)
                    phantom[:, first:last][self._refractory_at_end(first, last)] = 0.0
            if sources.peak is not None:
                peak_cotangent[:, first:last] = sources.peak
            if sources.mean is not None:
                rate[first:last], slope[first:last] = sources.mean.weighting.form(self.duration)
                voltage_cotangent[:, first:last] = sources.mean.cotangents
                voltage_cotangent[:, first:last] /= self.duration
        times, offsets = np.empty(0), np.zeros(batch + 1, np.int64)
        at_times = np.empty((0, stop - begin))
        if voltages is not None:
            times, offsets = writable(voltages.times)
            at_times = np.require(voltages.cotangents, np.float64, ["C", "W"])
        return SourceArrays(
            rate, slope, voltage_cotangent, peak_cotangent, phantom, times, offsets, at_times,
            begin, stop, float(together[0].lambda_limit),
        )  # fmt: skip

    def _refractory_at_end(self, first: int, last: int) -> np.ndarray:
        """Which units first to last - 1 cannot spike at the end of the trial, (batch, units)."""
        is_refractory = np.zeros((self.count.shape[0], last - first), bool)
        refractory = self.layout.units["refractory"][first:last]
        for piece in self.pieces:
            count = self.count[piece.first : piece.last, first:last]
            latest = np.maximum(self.start[piece.first : piece.last, first:last] + count - 1, 0)
            if piece.spikes.size:
                free_at = piece.spikes["time"][latest] + refractory
                rows = slice(piece.first, piece.last)
                is_refractory[rows] = (count > 0) & (free_at >= self.duration)
        return is_refractory

    def direct_spike_time_gradient(
        self, piece: Piece, by_population: Sequence[AdjointSources], arrays: Sources
    ) -> np.ndarray:
        """The part of S_k of each spike of a piece that comes from the readouts directly."""
        gradient = np.zeros(piece.spikes.size)
        for sources in by_population:
            self._add_direct_gradient(piece, sources, arrays, gradient)
        return gradient

    def _add_direct_gradient(
        self, piece: Piece, sources: AdjointSources, arrays: Sources, gradient: np.ndarray
    ) -> None:
        first, last = self.unit_range(sources.population)
        if sources.spike_times is not None:
            by_number = sources.spike_times[piece.first : piece.last]
            for number in range(by_number.shape[2]):
                has_spike, place = self._numbered(piece, first, last, number)
                gradient[place] = by_number[has_spike][:, number]
        if sources.mean is not None and isinstance(self._population_at(first), LIF):
            # l_V- - l_V+ of dF/dV = cotangent w(t): V falls from the threshold to the reset.
            index, owner = self._places(piece, first, last)
            rows = slice(piece.first, piece.last), slice(first, last)
            cotangent = arrays.voltage_cotangent[rows].ravel()[owner]
            own = self.layout.units[first:last]
            fall = (own["threshold"] - own["reset"])[owner % (last - first)]
            form = sources.mean.weighting.form(self.duration)
            gradient[index] += cotangent * form.at(piece.spikes["time"][index]) * fall
        if sources.spike_time_gradient is not None:
            index, owner = self._places(piece, first, last)
            width = last - first
            order = np.lexsort((owner % width, piece.spikes["time"][index], owner // width))
            begin = self.count[: piece.first, first:last].sum()
            given = sources.spike_time_gradient[begin : begin + index.size]
            gradient[index[order]] += given

    def units_with(self, rate_jumps: Mapping[str, np.ndarray]) -> np.ndarray:
        """The units of the layout with the jumps of the rate regulariser."""
        if not rate_jumps:
            return self.layout.units
        units = copied(self.layout.units)
        for name, jumps in rate_jumps.items():
            first, last = self.unit_range(name)
            units["rate_jump"][first:last] = jumps
        return units

    def input_gradients(
        self, spike_time_gradients: tuple[np.ndarray, ...]
    ) -> dict[str, np.ndarray]:
        """S_k of every input spike, in the order of the inputs' events."""
        ordered = self.ordered
        gradients = np.empty(ordered.time.size)
        for piece, of_piece in zip(self.pieces, spike_time_gradients, strict=True):
            starts = ordered.start[piece.first : piece.last + 1]
            inputs = np.arange(starts[0], starts[-1])
            shift = self.input_place[piece.first : piece.last] - starts[:-1]
            gradients[inputs] = of_piece[inputs + np.repeat(shift, np.diff(starts))]
        return {name: gradients[place] for name, place in self.ordered.place.items()}

    def origin(self, piece: Piece, spike: int) -> tuple[str, int, int, float]:
        """Population, sample in the batch, unit and time of a spike."""
        start = self.start[piece.first : piece.last]
        count = self.count[piece.first : piece.last]
        found = int(np.argmax((start <= spike) & (spike < start + count)))
        sample, unit_of_all = divmod(found, self.count.shape[1])
        time = float(piece.spikes["time"][spike])
        name, unit = self.name_unit(unit_of_all)
        return name, self.share.first_sample + piece.first + sample, unit, time

    def name_unit(self, unit: int) -> tuple[str, int]:
        """Population of a unit and its index there."""
        population = self._population_at(unit)
        return population.name, unit - self.unit_range(population.name)[0]

    def _population_at(self, unit: int) -> Population:
        edges = self.network.topology.first_unit
        return self.network.populations[int(np.searchsorted(edges, unit, side="right")) - 1]

    def check_finite(
        self, values: np.ndarray, quantity: str, first: int, samples: np.ndarray | None = None
    ) -> None:
        """Raise an error for the first of some values, (batch, units), that is not finite.

        ``samples`` contains the sample of each row if the rows are not the samples themselves.
        """
        wrong = ~np.isfinite(values)
        if wrong.any():
            row, column = (int(i) for i in np.argwhere(wrong)[0])
            sample = row if samples is None else int(samples[row])
            name, index = self.name_unit(first + column)
            raise EngineError(
                f"sample {self.share.first_sample + sample}, unit {index} of {name!r}: "
                f"{quantity} is {values[row, column]}; " + _REASONS[Status.OVERFLOW]
            )

    def check(self, failures: Iterable[np.ndarray]) -> None:
        """Raise an error for the first failure; each is a FAILURE record, (1,)."""
        done = int(Status.DONE)
        for record in failures:
            if record["status"][0] == done:
                continue
            (failure,) = record
            name, index = self.name_unit(int(failure["unit"]))
            place = (
                f"sample {self.share.first_sample + failure['sample']}, unit {index} of {name!r}, "
                f"at {failure['time']:.17g} ms"
            )
            if failure["status"] == Status.RUNAWAY:
                raise EngineError(message(place, float(failure["span"]), "Exact"))
            raise EngineError(f"{place}: {_REASONS[Status(failure['status'])]}")


_REASONS = {
    Status.TOO_FAST: (
        "it spikes again before time moves on in float64; its current is too large: "
        "use smaller weights or a refractory period"
    ),
    Status.NO_CROSSING: (
        "the search for its threshold crossing did not end; its voltage or current is not a "
        "sensible number: look at the weights"
    ),
    Status.GRAZING: (
        "I - threshold at its emission rounds to 0, so its gradient is unbounded: the voltage "
        "only grazes the threshold; set a lambda_limit, change the weights a little, or leave the "
        "sample out"
    ),
    Status.OVERFLOW: "its current is no longer finite: use smaller weights",
    Status.TOO_MANY: (
        "with this spike the sample has more spikes than the engine's spike_limit allows; if the "
        "network does not run away, set a larger one, Exact(spike_limit=...)"
    ),
}


def _in_columns(voltages: VoltageCotangents, columns: tuple[int, int]) -> VoltageCotangents:
    """The same cotangents with so many more units before and after, whose cotangents are 0."""
    padded = np.pad(voltages.cotangents, ((0, 0), columns)) if any(columns) else voltages.cotangents
    return VoltageCotangents(voltages.times, padded)
