"""Spikes as flat arrays of times and units, grouped by sample: choosing, drawing for, ordering."""

from __future__ import annotations

import numpy as np

from evsim.data.augment.base import Transformed
from evsim.network.spike_trains import SpikeTrains

# -- one number per spike -----------------------------------------------------------------


def draw_per_spike(
    offsets: np.ndarray, generator: np.random.Generator, distribution: str
) -> np.ndarray:
    """One number per spike, from a stream of its own for each sample, shape (events,).

    ``distribution`` is the name of a generator's method.
    """
    seeds = generator.integers(0, 2**63, offsets.size - 1)
    numbers = np.empty(offsets[-1])
    for seed, start, stop in zip(seeds, offsets[:-1], offsets[1:], strict=True):
        getattr(np.random.default_rng(seed), distribution)(out=numbers[start:stop])
    return numbers


def number_in_unit(units: np.ndarray, unit_count: int) -> np.ndarray:
    """Which spike of its unit each spike of a sample is, counted from 0, int64, (spikes,).

    They come in the order of time.
    """
    counts = np.bincount(units, minlength=unit_count)
    order = order_by_unit(units, unit_count)
    numbers = np.empty(units.size, np.int64)
    numbers[order] = np.arange(units.size) - np.repeat(np.cumsum(counts) - counts, counts)
    return numbers


def order_by_unit(units: np.ndarray, unit_count: int) -> np.ndarray:
    """What sorts the spikes of a sample by unit, those of one unit in the order they are in."""
    # NumPy sorts integers of 16 bits in linear time.
    small = units.astype(np.uint16) if unit_count <= 2**16 else units
    return np.argsort(small, kind="stable")


def per_spike(values: np.ndarray, spikes: SpikeTrains) -> np.ndarray:
    """The value of each spike's sample."""
    return np.repeat(values, np.diff(spikes.offsets))


# -- which spikes stay, and in which order ------------------------------------------------


def inside(
    times: np.ndarray, units: np.ndarray, offsets: np.ndarray, unit_count: int, end: float
) -> Transformed:
    """The events in [0, end] ms and of units 0 to unit_count - 1; how many others there were.

    Events are grouped by sample; inside a sample they may be in any order.  ``units`` may be
    floats that hold integers, however large.
    """
    stays = (times >= 0) & (times <= end) & (units >= 0) & (units < unit_count)
    kept_times, kept_units, kept_offsets = chosen(times, units, offsets, stays)
    spikes = trains_of(kept_times, kept_units, kept_offsets, unit_count)
    return Transformed(spikes, lost=times.size - kept_times.size)


def chosen(
    times: np.ndarray, units: np.ndarray, offsets: np.ndarray, stays: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times, units and offsets of the events that stay."""
    before = np.zeros(stays.size + 1, np.int64)
    np.cumsum(stays, out=before[1:])
    return times[stays], units[stays], before[offsets]


def trains_of(
    times: np.ndarray, units: np.ndarray, offsets: np.ndarray, unit_count: int
) -> SpikeTrains:
    """Spike trains of events that are grouped by sample, put in the order of time, then unit.

    Most augmentations leave most of the order as it is; only what is out of order is sorted.
    """
    units = units.astype(np.int64)
    _sort_by_time(times, units, offsets)
    return SpikeTrains(times, _sorted_ties(times, units, offsets, unit_count), offsets, unit_count)


def in_order(spikes: SpikeTrains) -> SpikeTrains:
    """The same spikes, those of one sample and time in the order of their units."""
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
        # Stable, because it merges runs that are sorted already in linear time.
        order = np.argsort(times[events], kind="stable")
        times[events] = times[events][order]
        units[events] = units[events][order]


def _sorted_ties(
    times: np.ndarray, units: np.ndarray, offsets: np.ndarray, unit_count: int
) -> np.ndarray:
    """The units with those of one sample and time sorted; the array itself if they were."""
    begins = np.ones(times.size, bool)
    begins[1:] = times[1:] != times[:-1]
    begins[offsets[:-1][offsets[:-1] < times.size]] = True
    if begins.all():
        return units
    # One key sorts units inside ties and moves nothing across.
    ties = np.cumsum(begins) * unit_count
    keys = ties + units
    if (keys[1:] >= keys[:-1]).all():
        return units
    keys.sort()
    keys -= ties
    return keys
