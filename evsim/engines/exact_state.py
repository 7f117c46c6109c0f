"""What a run of the exact engine leaves: where every spike lies, and how to read it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from evsim.engines.exact_layout import Layout, OrderedInputs
from evsim.engines.kernels import records
from evsim.engines.kernels.samples import PEAK
from evsim.engines.protocol import EngineError
from evsim.network import Network, Population
from evsim.readouts import FirstSpike, Mean, Peak, Readout
from evsim.spikes import SpikeTrains


def voltage_rate(readout: Readout, duration: float) -> float:
    """The decay rate of a mean's weighting in 1/ms, or the mark of a peak."""
    if isinstance(readout, Mean):
        return readout.decay_rate(duration)
    if isinstance(readout, Peak):
        return PEAK
    raise TypeError(f"the exact engine does not know the readout {readout}")


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

    def arrays(self, piece: Piece) -> tuple[Any, ...]:
        """What every kernel needs to look at a piece, in the order in which they take it."""
        layout = self.layout
        return (
            layout.units,
            layout.synapses,
            layout.incoming,
            self.duration,
            piece.spikes,
            self.start,
            self.count,
        )

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

    def check_finite(self, values: np.ndarray, quantity: str, first: int) -> None:
        """Raise for the first of some values, (batch, units, ...), that is no finite number."""
        wrong = ~np.isfinite(values)
        if wrong.any():
            place = tuple(int(i) for i in np.argwhere(wrong)[0])
            name, own = self.name_unit(first + place[1])
            raise EngineError(
                f"sample {place[0]}, unit {own} of {name!r}: {quantity} is {values[place]}; "
                + _REASONS[records.OVERFLOW]
            )

    def check(self, failures: Iterable[np.ndarray]) -> None:
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
    records.RUNAWAY: (
        "with its spike the sample has more than the engine's spike_limit allows; if the network "
        "does not run away, set a larger one, Exact(spike_limit=...)"
    ),
}
