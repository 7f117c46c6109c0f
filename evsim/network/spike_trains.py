"""SpikeTrains: the spikes of a batch of samples.

Three flat arrays hold all samples one after the other: the time and the unit of each spike,
and the offset at which each sample begins.  The spikes of a sample are sorted by time; engines
rely on this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evsim.arguments.checks import (
    check_duration,
    check_is,
    checked_count,
    integer_array,
    listed,
    real_array,
)
from evsim.arguments.keywords import helpful
from evsim.arguments.words import number_of
from evsim.display.frames import data_frame
from evsim.network.parameters import FrozenArrays
from evsim.network.sample_selection import chosen_samples
from evsim.network.spike_formats.events import SpikeEvents, TimeUnit, in_milliseconds
from evsim.network.spike_formats.neo_trains import events_of_neo
from evsim.network.spike_formats.nir_events import events_of_nir
from evsim.network.spike_formats.rasters import events_of_raster, raster_of, step_in_milliseconds
from evsim.network.spike_formats.tables import events_of_table
from evsim.network.spike_formats.tonic_recordings import events_of_recordings
from evsim.network.spike_lists import LISTS, check_pairs, pairs_of

if TYPE_CHECKING:
    from pandas import DataFrame

MOST_UNITS = 2**31 - 1
"""The largest number of units of a population: the unit of an event is stored in 32 bits."""


_MOST_SAMPLES = 2**40


@helpful
@dataclass(frozen=True, eq=False, repr=False)
class SpikeTrains(FrozenArrays):
    """A batch of spike trains.

    Parameters
    ----------
    times : array of float64, shape (events,)
        The time of each spike in ms, sorted within each sample.
    units : array of int32, shape (events,)
        The unit of each spike, 0 <= unit < unit_count.
    offsets : array of int64, shape (batch + 1,)
        The spikes of sample b are at ``times[offsets[b]:offsets[b + 1]]``.
    unit_count : int
        The number of units of the population, including silent ones.

    Raises
    ------
    TypeError, ValueError
        For times that are NaN, infinite, negative or unsorted, units out of range and
        offsets that do not partition the events.  ``SpikeTrains.from_events`` sorts.
    """

    times: np.ndarray
    units: np.ndarray
    offsets: np.ndarray
    unit_count: int

    def __post_init__(self) -> None:
        times = _frozen(self.times, np.float64, "times")
        units = _frozen(self.units, np.int32, "units")
        offsets = _frozen(self.offsets, np.int64, "offsets")
        unit_count = checked_count(self.unit_count, "unit_count", 1, MOST_UNITS)
        object.__setattr__(self, "times", times)
        object.__setattr__(self, "units", units)
        object.__setattr__(self, "offsets", offsets)
        object.__setattr__(self, "unit_count", unit_count)
        if times.size != units.size:
            raise ValueError(
                f"times has {times.size} events but units has {units.size}: give one unit per time"
            )
        _check_offsets(offsets, times.size)
        _check_events(times, units, unit_count, self._sample_of)
        self._check_sorted()

    def _sample_of(self, event: int) -> int:
        return int(np.searchsorted(self.offsets, event, side="right")) - 1

    def _check_sorted(self) -> None:
        backwards = self.times[1:] < self.times[:-1]
        boundaries = self.offsets[1:-1]
        boundaries = boundaries[(boundaries > 0) & (boundaries < self.times.size)]
        backwards[boundaries - 1] = False
        if backwards.any():
            event = int(np.argmax(backwards)) + 1
            raise ValueError(
                f"times[{event}] = {self.times[event]:g} ms comes after "
                f"{self.times[event - 1]:g} ms in sample {self._sample_of(event)}: sort the "
                "events of each sample by time, or build the trains with "
                "SpikeTrains.from_events, which sorts"
            )

    # -- constructors ---------------------------------------------------------------

    @classmethod
    def from_events(
        cls,
        times: Sequence[float] | np.ndarray,
        units: Sequence[int] | np.ndarray,
        samples: Sequence[int] | np.ndarray,
        *,
        batch_size: int,
        unit_count: int,
        unit: TimeUnit = "ms",
    ) -> SpikeTrains:
        """Build from the time, unit and sample index of each spike, each of shape (events,).

        The spikes may be in any order; they are sorted by sample, then time, then unit.
        ``unit`` is the unit of the times: "ms", "s" or "us" (microseconds).
        """
        times = in_milliseconds(_frozen(times, np.float64, "times"), unit)
        units = _frozen(units, np.int32, "units")
        samples = _frozen(samples, np.int64, "samples")
        if not times.size == units.size == samples.size:
            raise ValueError(
                f"times, units and samples have {times.size}, {units.size} and {samples.size} "
                "entries: give one of each per event"
            )
        batch_size = checked_count(batch_size, "batch_size", 0, _MOST_SAMPLES)
        unit_count = checked_count(unit_count, "unit_count", 1, MOST_UNITS)
        wrong = (samples < 0) | (samples >= batch_size)
        if wrong.any():
            event = int(np.argmax(wrong))
            raise ValueError(
                f"samples[{event}] = {samples[event]}: a batch of {batch_size} has samples "
                f"0 to {batch_size - 1}"
            )
        _check_events(times, units, unit_count, samples.__getitem__)
        order = np.lexsort((units, times, samples))
        offsets = np.zeros(batch_size + 1, np.int64)
        np.cumsum(np.bincount(samples, minlength=batch_size), out=offsets[1:])
        return cls(times[order], units[order], offsets, unit_count)

    @classmethod
    def from_lists(
        cls,
        samples: Iterable[Iterable[tuple[float, int]]],
        *,
        units: int,
        unit: TimeUnit = "ms",
    ) -> SpikeTrains:
        """Build from one list of ``(time, unit)`` pairs per sample, in any order.

        ``units`` is the number of units of the population, ``unit`` is the unit of the times:
        "ms", "s" or "us" (microseconds).
        """
        unit_count = checked_count(units, "units", 1, MOST_UNITS)
        times: list[float] = []
        emitters: list[int] = []
        owners: list[int] = []
        batch = listed(samples, "samples", LISTS)
        for place, sample in enumerate(batch):
            for time, emitter in pairs_of(sample, place):
                times.append(time)
                emitters.append(emitter)
                owners.append(place)
        check_pairs(times, emitters, owners, unit_count)
        return cls.from_events(
            times, emitters, owners, batch_size=len(batch), unit_count=unit_count, unit=unit
        )

    @classmethod
    def from_latencies(cls, latencies: np.ndarray, *, unit: TimeUnit = "ms") -> SpikeTrains:
        """Build from at most one spike time per unit, shape (batch, units).

        An entry is infinite, NaN or masked where a unit is silent; ``Run.first_spike`` and
        ``SpikeTrains.first`` give such arrays.  ``unit`` is the unit of the times: "ms", "s" or
        "us" (microseconds).
        """
        latencies = real_array(latencies, "latencies", "times in ms", masked=np.nan)
        spiking = np.isfinite(latencies) | (latencies < 0)
        latencies = in_milliseconds(latencies, unit)
        if latencies.ndim != 2:
            raise ValueError(
                f"latencies has shape {latencies.shape}: give one time per sample and unit, "
                "(batch, units)"
            )
        wrong = spiking & ~((latencies >= 0) & (latencies < np.inf))
        if wrong.any():
            sample, emitter = np.argwhere(wrong)[0]
            raise ValueError(
                f"latencies[{sample}, {emitter}] = {latencies[sample, emitter]} ms: spike times "
                "must be finite and >= 0; use infinity or NaN where a unit is silent"
            )
        samples, units = np.nonzero(spiking)
        return cls.from_events(
            latencies[samples, units],
            units,
            samples,
            batch_size=latencies.shape[0],
            unit_count=latencies.shape[1],
        )

    @classmethod
    def from_raster(cls, raster: Any, *, dt: float, unit: TimeUnit = "ms") -> SpikeTrains:
        """Build from spike counts on a time grid, shape (batch, time, units).

        ``raster`` may be an array of NumPy or a tensor of another library, with 0 and 1, False
        and True, or larger counts.  A spike in step n, counted from 0, has the time n dt; a count
        k gives k spikes at that time.

        Parameters
        ----------
        raster : array, shape (batch, time, units)
        dt : float
            The time step.
        unit : "ms", "s" or "us"
            The unit of ``dt``.

        Raises
        ------
        TypeError, ValueError
            For entries other than 0, 1, 2 and so on, and for other shapes.
        """
        return cls._of(events_of_raster(raster, dt, unit))

    @classmethod
    def from_tonic(
        cls, recordings: Sequence[Any], *, sensor_size: Sequence[int], unit: TimeUnit = "us"
    ) -> SpikeTrains:
        """Build from recordings of the library tonic: one structured array per sample.

        A pixel (x, y) of polarity p is the unit ``(p * height + y) * width + x``.  Times do not
        change: if recordings do not begin near 0, apply ``tonic.transforms.TimeAlignment()``.

        Parameters
        ----------
        recordings : sequence of structured arrays with the fields t, x, y and p
            Fields in which the sensor has the size 1 may be missing.
        sensor_size : (width, height, polarities)
            As in ``tonic.datasets.NMNIST.sensor_size``.
        unit : "ms", "s" or "us"
            The unit of t; tonic's is "us", microseconds.

        Raises
        ------
        TypeError, ValueError
            For other arrays, coordinates outside the sensor, and two polarities where
            ``sensor_size`` has one.
        """
        return cls._of(events_of_recordings(recordings, sensor_size, unit))

    @classmethod
    def from_nir(cls, data: Any, *, unit: TimeUnit) -> SpikeTrains:
        """Build from ``nir.EventData`` or ``nir.TimeGriddedData``.

        Parameters
        ----------
        data : object with ``idx``, ``time`` and ``n_neurons``, or with ``data`` and ``dt``
        unit : "ms", "s" or "us"
            The unit of its times, which NIR does not state.

        Raises
        ------
        TypeError, ValueError
            For other objects, and for events with values other than 1.
        """
        return cls._of(events_of_nir(data, unit))

    @classmethod
    def from_neo(cls, samples: Sequence[Any]) -> SpikeTrains:
        """Build from spike trains of the library neo, or arrays of times of quantities.

        These state their unit of time.  The time ``t_start`` of a sample's trains becomes 0 ms.

        Parameters
        ----------
        samples : sequence
            One entry per sample: a list with one ``neo.SpikeTrain`` per unit, or a
            ``neo.Segment``, whose ``spiketrains`` are these.

        Raises
        ------
        TypeError, ValueError
            For objects without a unit of time, for samples with different numbers of trains, and
            for trains of a sample that begin at different times.
        """
        return cls._of(events_of_neo(samples))

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        *,
        unit_count: int,
        batch_size: int | None = None,
        unit: TimeUnit = "ms",
    ) -> SpikeTrains:
        """Build from a data frame with one row per spike, such as one of pandas.

        Parameters
        ----------
        frame : data frame with the columns ``sample``, ``time`` and ``unit``
        unit_count : int
            The number of units of the population.
        batch_size : int, optional
            The number of samples; by default one more than the largest sample in the frame.
        unit : "ms", "s" or "us"
            The unit of the column ``time``.

        Raises
        ------
        TypeError, ValueError
            For missing columns and for values that are not spikes.
        """
        return cls._of(events_of_table(frame, unit_count, batch_size, unit))

    @classmethod
    def _of(cls, events: SpikeEvents) -> SpikeTrains:
        return cls.from_events(
            events.times,
            events.units,
            events.samples,
            batch_size=events.batch_size,
            unit_count=events.unit_count,
        )

    @classmethod
    def concatenate(cls, batches: Sequence[SpikeTrains]) -> SpikeTrains:
        """Join batches of the same population into one batch."""
        batches = listed(batches, "batches", "give a list of SpikeTrains")
        if not batches:
            raise ValueError("batches is empty: concatenate needs at least one SpikeTrains")
        for place, batch in enumerate(batches):
            check_is(batch, f"batches[{place}]", SpikeTrains, "give SpikeTrains")
        unit_counts = {batch.unit_count for batch in batches}
        if len(unit_counts) > 1:
            raise ValueError(
                f"spike trains of {sorted(unit_counts)} units cannot be joined: "
                "all batches must have the same unit_count"
            )
        counts = np.concatenate([np.diff(batch.offsets) for batch in batches])
        offsets = np.zeros(counts.size + 1, np.int64)
        np.cumsum(counts, out=offsets[1:])
        return cls._trusted(
            np.concatenate([batch.times for batch in batches]),
            np.concatenate([batch.units for batch in batches]),
            offsets,
            batches[0].unit_count,
        )

    # -- access ---------------------------------------------------------------------

    def __len__(self) -> int:
        """Number of samples."""
        return self.offsets.size - 1

    def __getitem__(self, index: int | slice | np.ndarray) -> SpikeTrains:
        """The selected samples as a batch; a single index gives a batch of one sample."""
        return self._of_samples(chosen_samples(index, len(self)))

    def _of_samples(self, chosen: np.ndarray) -> SpikeTrains:
        """The samples with these numbers, each from 0 to the batch size - 1, as a batch."""
        starts = self.offsets[chosen]
        counts = self.offsets[chosen + 1] - starts
        offsets = np.zeros(chosen.size + 1, np.int64)
        np.cumsum(counts, out=offsets[1:])
        events = np.repeat(starts - offsets[:-1], counts) + np.arange(offsets[-1])
        return self._trusted(self.times[events], self.units[events], offsets, self.unit_count)

    @classmethod
    def _trusted(
        cls, times: np.ndarray, units: np.ndarray, offsets: np.ndarray, unit_count: int
    ) -> SpikeTrains:
        """Wrap arrays that are known to be valid, without a copy; makes them read-only."""
        trains = object.__new__(cls)
        for name, array in (("times", times), ("units", units), ("offsets", offsets)):
            array.setflags(write=False)
            object.__setattr__(trains, name, array)
        object.__setattr__(trains, "unit_count", unit_count)
        return trains

    @property
    def samples(self) -> np.ndarray:
        """The sample index of each spike, int64, shape (events,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def counts(self) -> np.ndarray:
        """The number of spikes of each unit in each sample, int64, shape (batch, units)."""
        flat = self.samples * self.unit_count + self.units
        total = len(self) * self.unit_count
        return np.bincount(flat, minlength=total).reshape(len(self), self.unit_count)

    def first(self) -> np.ndarray:
        """The time of each unit's first spike in ms, shape (batch, units); infinity if silent."""
        first = np.full((len(self), self.unit_count), np.inf)
        np.minimum.at(first, (self.samples, self.units), self.times)
        return first

    def to_lists(self) -> list[list[tuple[float, int]]]:
        """One list of ``(time, unit)`` pairs per sample."""
        pairs = list(zip(self.times.tolist(), self.units.tolist(), strict=True))
        return [pairs[a:b] for a, b in zip(self.offsets[:-1], self.offsets[1:], strict=True)]

    def to_frame(self) -> DataFrame:
        """The spikes as a pandas data frame with the columns sample, time (ms) and unit.

        Raises ImportError without pandas.
        """
        return data_frame({"sample": self.samples, "time": self.times, "unit": self.units})

    def to_raster(self, *, dt: float, duration: float) -> np.ndarray:
        """Count the spikes of each unit in each time step, int64, shape (batch, steps, units).

        A spike at t is counted in step floor(t / dt); if t differs from n dt only by rounding, it
        is counted in step n.  For spikes at whole steps this is the inverse of ``from_raster``.

        Parameters
        ----------
        dt, duration : float
            The time step and the length of the trial in ms.  There are duration / dt steps; the
            last one may end after the trial.

        Raises
        ------
        TypeError, ValueError
            For spikes after the last step, and for times that are not finite and > 0.
        """
        events = SpikeEvents(self.times, self.units, self.samples, len(self), self.unit_count)
        return raster_of(events, step_in_milliseconds(dt, "ms"), check_duration(duration))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SpikeTrains):
            return NotImplemented
        return (
            self.unit_count == other.unit_count
            and np.array_equal(self.offsets, other.offsets)
            and np.array_equal(self.times, other.times)
            and np.array_equal(self.units, other.units)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return (
            f"SpikeTrains({number_of(len(self), 'sample')}, "
            f"{number_of(self.unit_count, 'unit')}, {number_of(self.times.size, 'spike')})"
        )


def _frozen(values: object, dtype: type, name: str) -> np.ndarray:
    """A read-only one-dimensional copy in the given type; refuses lossy conversions."""
    if type(values) is np.ndarray and values.dtype == dtype:
        array, limits = values, None  # there is nothing to convert
    elif np.issubdtype(dtype, np.integer):
        array, limits = integer_array(values, name), np.iinfo(dtype)
    else:
        array, limits = real_array(values, name, "numbers"), None
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}: it must be one-dimensional")
    if limits is not None and array.size and (array.min() < limits.min or array.max() > limits.max):
        raise ValueError(f"{name} holds values beyond {np.dtype(dtype).name}")
    array = np.array(array, dtype=dtype, copy=True)
    array.setflags(write=False)
    return array


def _check_offsets(offsets: np.ndarray, events: int) -> None:
    if offsets.size == 0:
        raise ValueError("offsets is empty: it must have one entry more than there are samples")
    if offsets[0] != 0 or offsets[-1] != events:
        raise ValueError(
            f"offsets runs from {offsets[0]} to {offsets[-1]}: it must run from 0 to the "
            f"number of events, {events}"
        )
    shrinking = offsets[1:] < offsets[:-1]
    if shrinking.any():
        sample = int(np.argmax(shrinking))
        raise ValueError(
            f"offsets[{sample + 1}] = {offsets[sample + 1]} is below offsets[{sample}] = "
            f"{offsets[sample]}: offsets must not decrease"
        )


def _check_events(
    times: np.ndarray, units: np.ndarray, unit_count: int, sample_of: Callable[[int], int]
) -> None:
    """Refuse invalid times and units; ``sample_of`` gives the sample of an event for messages."""
    wrong = ~(np.isfinite(times) & (times >= 0))
    if wrong.any():
        event = int(np.argmax(wrong))
        raise ValueError(
            f"times[{event}] = {times[event]} ms in sample {sample_of(event)}: spike times must "
            "be finite and >= 0; leave out events that do not happen"
        )
    wrong = (units < 0) | (units >= unit_count)
    if wrong.any():
        event = int(np.argmax(wrong))
        raise ValueError(
            f"units[{event}] = {units[event]} in sample {sample_of(event)}: a population of "
            f"{unit_count} has units 0 to {unit_count - 1}"
        )
