"""The spikes of two programs, matched one to one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from evsim.display.frames import data_frame
from evsim.display.short_repr import Brief
from evsim.network.spike_trains import SpikeTrains
from evsim.referee.alignment import align

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, eq=False, repr=False)
class SpikeMatches(Brief):
    """All spikes of evsim and of the other program, in pairs where they are the same spike.

    Every array has the shape (rows,); a row is a pair, or a spike without a partner.  Rows are
    ordered by sample and time.

    Parameters
    ----------
    populations : tuple of str
        The populations that were compared.
    population, sample, unit : array of int64
        Whose spike it is; ``population`` is an index into ``populations``.
    ours, theirs : array of float64
        The times in ms of evsim and of the other program; NaN where there is none.
    largest_shift : float
        Spikes that are further apart, in ms, are not a pair.
    tolerance : float
        If the spikes of a pair are further apart, in ms, they are called moved.
    """

    populations: tuple[str, ...]
    population: NDArray[np.int64]
    sample: NDArray[np.int64]
    unit: NDArray[np.int64]
    ours: NDArray[np.float64]
    theirs: NDArray[np.float64]
    largest_shift: float
    tolerance: float

    @cached_property
    def error(self) -> NDArray[np.float64]:
        """The time of the other program minus that of evsim in ms; NaN without a partner."""
        return self.theirs - self.ours

    @cached_property
    def time(self) -> NDArray[np.float64]:
        """The time of evsim in ms, or that of the other program where evsim has no spike."""
        return np.where(np.isnan(self.ours), self.theirs, self.ours)

    @property
    def is_matched(self) -> NDArray[np.bool_]:
        """Which rows are pairs."""
        return ~np.isnan(self.error)

    @property
    def is_moved(self) -> NDArray[np.bool_]:
        """Which rows are pairs whose times differ by more than the tolerance."""
        return np.abs(self.error) > self.tolerance  # False for NaN

    @property
    def is_missing(self) -> NDArray[np.bool_]:
        """Which rows are spikes that only evsim has."""
        return np.isnan(self.theirs)

    @property
    def is_additional(self) -> NDArray[np.bool_]:
        """Which rows are spikes that only the other program has."""
        return np.isnan(self.ours)

    @property
    def state(self) -> NDArray[np.str_]:
        """What each row is: "same", "moved", "missing" or "additional"."""
        kinds = [self.is_missing, self.is_additional, self.is_moved]
        return np.select(kinds, ["missing", "additional", "moved"], "same")

    def where(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> SpikeMatches:
        """The chosen rows: those where ``chosen`` is true, or those with these numbers."""
        return replace(
            self,
            population=self.population[chosen],
            sample=self.sample[chosen],
            unit=self.unit[chosen],
            ours=self.ours[chosen],
            theirs=self.theirs[chosen],
        )

    def of(self, population: str) -> SpikeMatches:
        """The rows of one population."""
        return self.where(self.population == self.populations.index(population))

    def __len__(self) -> int:
        """The number of rows."""
        return self.ours.size

    def to_frame(self) -> DataFrame:
        """The rows as a pandas data frame.

        Its columns are sample, population, unit, ours, theirs and error in ms, and state.  Raises
        ImportError without pandas.
        """
        names = np.array(self.populations, object)[self.population]
        return data_frame(
            {
                "sample": self.sample,
                "population": names,
                "unit": self.unit,
                "ours": self.ours,
                "theirs": self.theirs,
                "error": self.error,
                "state": self.state,
            }
        )


def match_spikes(
    ours: Mapping[str, SpikeTrains],
    theirs: Mapping[str, SpikeTrains],
    largest_shift: float,
    tolerance: float,
) -> SpikeMatches:
    """Match the spikes of the populations that are in ``theirs``."""
    names = tuple(theirs)
    parts = [
        (np.full(sample.size, index), sample, unit, mine, other)
        for index, name in enumerate(names)
        for sample, unit, mine, other in [_matched(ours[name], theirs[name], largest_shift)]
    ]
    empty = np.empty(0)
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)] or [empty] * 5
    population, sample, unit = (column.astype(np.int64) for column in columns[:3])
    mine, other = columns[3:]
    time = np.where(np.isnan(mine), other, mine)
    order = np.lexsort((unit, population, time, sample))
    rows = SpikeMatches(names, population, sample, unit, mine, other, largest_shift, tolerance)
    return rows.where(order)


Columns = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]


def _matched(ours: SpikeTrains, theirs: SpikeTrains, largest_shift: float) -> Columns:
    """Sample, unit and both times of each row of one population."""
    samples, units, mine, other = [], [], [], []
    for owner, a, b in _trains(ours, theirs):
        i, j = align(a, b, largest_shift)
        lonely, others = np.delete(a, i), np.delete(b, j)
        mine += [a[i], lonely, np.full(others.size, np.nan)]
        other += [b[j], np.full(lonely.size, np.nan), others]
        count = i.size + lonely.size + others.size
        samples.append(np.full(count, owner // ours.unit_count))
        units.append(np.full(count, owner % ours.unit_count))
    if not samples:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0), np.empty(0)
    return (*map(np.concatenate, (samples, units, mine, other)),)  # type: ignore[return-value]


def _trains(
    ours: SpikeTrains, theirs: SpikeTrains
) -> Iterator[tuple[int, NDArray[np.float64], NDArray[np.float64]]]:
    """The spike times of each unit of each sample that spikes in one of the programs."""
    sides = []
    for trains in (ours, theirs):
        owners = trains.samples * trains.unit_count + trains.units
        order = np.lexsort((trains.times, owners))
        ends = np.cumsum(np.bincount(owners, minlength=len(trains) * trains.unit_count))
        sides.append((trains.times[order], np.concatenate([[0], ends])))
    (mine, starts), (other, others_start) = sides
    busy = np.flatnonzero((np.diff(starts) > 0) | (np.diff(others_start) > 0))
    for owner in busy.tolist():
        a = mine[starts[owner] : starts[owner + 1]]
        yield owner, a, other[others_start[owner] : others_start[owner + 1]]
