"""Operations on spikes as flat arrays of times and units, grouped by sample."""

from __future__ import annotations

import numpy as np

from evsim.data.augment.base import Transformed
from evsim.network.spike_trains import SpikeTrains

# -- one number per spike -----------------------------------------------------------------


def draw_per_spike(
    offsets: np.ndarray, generator: np.random.Generator, distribution: str
) -> np.ndarray:
    """Draw one number per spike, shape (events,); each sample has its own random stream.

    ``distribution`` is the name of a method of the generator.
    """
    seeds = generator.integers(0, 2**63, offsets.size - 1)
    numbers = np.empty(offsets[-1])
    for seed, start, stop in zip(seeds, offsets[:-1], offsets[1:], strict=True):
        getattr(np.random.default_rng(seed), distribution)(out=numbers[start:stop])
    return numbers


def number_in_unit(units: np.ndarray, unit_count: int) -> np.ndarray:
    """The number of each spike among the spikes of its unit, counted from 0, int64, (spikes,).

    The spikes are those of one sample, in order of time.
    """
    counts = np.bincount(units, minlength=unit_count)
    order = order_by_unit(units, unit_count)
    numbers = np.empty(units.size, np.int64)
    numbers[order] = np.arange(units.size) - np.repeat(np.cumsum(counts) - counts, counts)
    return numbers


def order_by_unit(units: np.ndarray, unit_count: int) -> np.ndarray:
    """The order that sorts the spikes of a sample by unit and keeps that of equal units."""
    # NumPy sorts integers of 16 bits in linear time.
    small = units.astype(np.uint16) if unit_count <= 2**16 else units
    return np.argsort(small, kind="stable")


def per_spike(values: np.ndarray, spikes: SpikeTrains) -> np.ndarray:
    """The value of each spike's sample."""
    return np.repeat(values, np.diff(spikes.offsets))


# -- selecting and sorting spikes ---------------------------------------------------------


def inside(
    times: np.ndarray, units: np.ndarray, offsets: np.ndarray, unit_count: int, end: float
) -> Transformed:
    """Keep the events in [0, end] ms of units 0 to unit_count - 1, and count the others.

    Events are grouped by sample; within a sample they may be in any order.  ``units`` may be
    floats with integer values of any size.
    """
    stays = (times >= 0) & (times <= end) & (units >= 0) & (units < unit_count)
    kept_times, kept_units, kept_offsets = chosen(times, units, offsets, stays)
    spikes = trains_of(kept_times, kept_units, kept_offsets, unit_count)
    return Transformed(spikes, lost=times.size - kept_times.size)


def chosen(
    times: np.ndarray, units: np.ndarray, offsets: np.ndarray, stays: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times, units and offsets of the events that are kept."""
    before = np.zeros(stays.size + 1, np.int64)
    np.cumsum(stays, out=before[1:])
    return times[stays], units[stays], before[offsets]


def trains_of(
    times: np.ndarray, units: np.ndarray, offsets: np.ndarray, unit_count: int
) -> SpikeTrains:
    """Spike trains of events that are grouped by sample; events are sorted by time, then unit.

    Most augmentations keep most of the order, so only samples that are out of order are sorted.
    """
    units = units.astype(np.int64)
    _sort_by_time(times, units, offsets)
    return SpikeTrains(times, _sorted_ties(times, units, offsets, unit_count), offsets, unit_count)


def in_order(spikes: SpikeTrains) -> SpikeTrains:
    """The same spikes; simultaneous ones of a sample are in the order of their units."""
    units = _sorted_ties(spikes.times, spikes.units, spikes.offsets, spikes.unit_count)
    if units is spikes.units:
        return spikes
    return SpikeTrains(spikes.times, units, spikes.offsets, spikes.unit_count)


def _sort_by_time(times: np.ndarray, units: np.ndarray, offsets: np.ndarray) -> None:
    """Sort the events of each sample by time, in place."""
    backwards = np.flatnonzero(times[1:] < times[:-1]) + 1
    samples = np.searchsorted(offsets, backwards, side="right") - 1
    for sample in np.unique(samples[backwards != offsets[samples]]):
        events = slice(offsets[sample], offsets[sample + 1])
        # The stable sort takes linear time for runs that are already sorted.
        order = np.argsort(times[events], kind="stable")
        times[events] = times[events][order]
        units[events] = units[events][order]


def _sorted_ties(
    times: np.ndarray, units: np.ndarray, offsets: np.ndarray, unit_count: int
) -> np.ndarray:
    """The units, sorted among simultaneous spikes of a sample; the same array if already sorted."""
    begins = np.ones(times.size, bool)
    begins[1:] = times[1:] != times[:-1]
    begins[offsets[:-1][offsets[:-1] < times.size]] = True
    if begins.all():
        return units
    # One key per spike sorts units within ties and moves nothing from one tie to the next.
    ties = np.cumsum(begins) * unit_count
    keys: np.ndarray = ties + units
    if (keys[1:] >= keys[:-1]).all():
        return units
    keys.sort()
    keys -= ties
    return keys
