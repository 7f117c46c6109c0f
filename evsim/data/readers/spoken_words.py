"""Spoken words as spikes of a cochlea model: the HDF5 layout of SHD and SSC.

The layout is that of the Heidelberg spiking data sets (Cramer et al. 2020).  A file contains
``spikes/times`` in seconds and ``spikes/units``, with one array of each per recording, ``labels``,
and optionally ``extra/speaker`` and ``extra/keys``, the names of the classes.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from evsim.arguments.checks import check_number, checked_integer, checked_path, shown
from evsim.arguments.keywords import helpful
from evsim.data.dataset import Dataset
from evsim.data.readers.files import DataFileError, unpacked
from evsim.data.readers.hdf5_columns import RecordingColumns, open_columns
from evsim.data.readers.hdf5_variable_length import DAMAGED, VariableLengthColumn
from evsim.display.short_repr import Brief
from evsim.network.parameters import FrozenArrays
from evsim.network.spike_formats.events import TimeUnit, in_milliseconds
from evsim.network.spike_trains import SpikeTrains

_CHUNK = 4096  # recordings converted at a time, which bounds the memory of the conversion


@dataclass(frozen=True, eq=False, repr=False)
class CochleaRecordings(Brief, FrozenArrays):
    """The recordings of one file.

    ``spikes`` are in ms; ``labels`` are int64 of shape (samples,).  ``speakers`` are of the same
    shape, or None if the file has none.  If the file names its speakers, ``speaker_names`` are the
    names in alphabetical order, and speakers are indices into them; otherwise it is None.
    ``keys`` are the names of the classes, or None if the file has none.  ``cut`` is the number of
    spikes left out because they come too late, and ``merged`` the number left out because their
    unit spikes earlier in the same window.
    """

    spikes: SpikeTrains
    labels: np.ndarray
    speakers: np.ndarray | None
    speaker_names: tuple[str, ...] | None
    keys: tuple[str, ...] | None
    cut: int
    merged: int

    def dataset(self) -> Dataset:
        """The spikes with their labels, and with the speakers as groups."""
        return Dataset(self.spikes, self.labels, self.speakers, self.speaker_names)


@helpful
def read_recordings(
    path: str | os.PathLike[str],
    *,
    classes: int | None = None,
    unit_count: int = 700,
    duration: float = math.inf,
    late: str = "cut",
    at_most_one_per: float | None = None,
    unit: TimeUnit = "s",
) -> CochleaRecordings:
    """Read a file in the layout of SHD and SSC, plain HDF5 or packed with gzip or zip.

    The file may be your own.  ``spikes/times`` and ``spikes/units`` must contain one array of
    numbers per sample, and ``labels`` one integer per sample; ``extra/speaker`` and ``extra/keys``
    may be missing.

    Parameters
    ----------
    path : path of the file
    classes, unit_count : int
        The numbers of classes and units of the data set; labels and units must be smaller.
        Without ``classes``, any label >= 0 is accepted.
    duration : float
        Length of a trial in ms; spikes must come before its end.
    late : "cut" or "refuse"
        Whether spikes at or after ``duration`` are left out and counted, or cause an error.
    at_most_one_per : float, optional
        Length of time windows in ms.  Of several spikes of a unit in one window only the first
        is kept, and the others are counted.  Simulators on a time grid thin data sets in this way.
        By default all spikes are kept.
    unit : "ms", "s" or "us"
        The unit of ``spikes/times``; that of SHD and SSC is "s", seconds.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DataFileError
        For files that are damaged, have another layout, contain impossible values, refer to
        other files, or announce more data than a file of their size can contain.  Events that
        are not in order of time are sorted, not refused.
    """
    rules = _Rules(
        path,
        checked_integer(unit_count, "unit_count", 1),
        _checked_time(duration, "duration"),
        late,
        None if at_most_one_per is None else _checked_time(at_most_one_per, "at_most_one_per"),
        unit,
    )
    in_milliseconds(np.empty(0), unit)  # refuses an unknown unit
    if not isinstance(late, str) or late not in ("cut", "refuse"):
        raise ValueError(f'late = {shown(late)}: it must be "cut" or "refuse"')
    if rules.window == math.inf:
        raise ValueError("at_most_one_per = inf ms: it must be finite, or None to keep all spikes")
    if classes is not None:
        classes = checked_integer(classes, "classes", 1)
    path = checked_path(path, "path", "a file")
    with unpacked(path) as plain, open_columns(plain, path) as file:
        if unit == "s":
            times = file.events("spikes/times", "f", "floating-point numbers")
        else:
            times = file.events("spikes/times", "fiu", "numbers")
        units = file.events("spikes/units", "iu", "integers")
        labels = _labels(file, classes)
        speakers, names = _speakers(file)
        keys = _keys(file, classes)
        _check_lengths(path, times=times, units=units, labels=labels, speakers=speakers)
        spikes, cut, merged = _spikes(times, units, rules)
    return CochleaRecordings(spikes, labels, speakers, names, keys, cut, merged)


# -- spikes -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rules:
    """Which spikes are valid, and which are left out."""

    path: str | os.PathLike[str]
    unit_count: int
    duration: float
    late: str
    window: float | None
    unit: str


def _spikes(
    times: VariableLengthColumn, units: VariableLengthColumn, rules: _Rules
) -> tuple[SpikeTrains, int, int]:
    """All recordings as spike trains, with the numbers of spikes cut and merged."""
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    cut = merged = 0
    for first in range(0, times.shape[0], _CHUNK):
        chunk = slice(first, first + _CHUNK)
        milliseconds, emitters, samples = _events_in_order(times[chunk], units[chunk], first, rules)
        size = min(_CHUNK, times.shape[0] - first)
        early = _early(milliseconds, samples, first, rules)
        cut += early.size - int(np.count_nonzero(early))
        if not early.all():
            milliseconds, emitters, samples = milliseconds[early], emitters[early], samples[early]
        if rules.window is not None:
            windows = _windows(milliseconds, times.kind, rules)
            alone = _first_in_window(windows, emitters, samples)
            merged += alone.size - int(np.count_nonzero(alone))
            milliseconds, emitters, samples = milliseconds[alone], emitters[alone], samples[alone]
        parts.append((milliseconds, emitters, np.bincount(samples, minlength=size)))
    all_times, all_units, counts = (np.concatenate(part) for part in zip(*parts, strict=True))
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return SpikeTrains(all_times, all_units, offsets, rules.unit_count), cut, merged


def _events_in_order(
    times: np.ndarray, units: np.ndarray, first: int, rules: _Rules
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Time in ms, unit and sample of each event of some recordings, sorted by sample and time.

    ``first`` is the number of the first recording; samples are counted from it.
    """
    lengths = np.array([recording.size for recording in times])
    unequal = lengths != np.array([recording.size for recording in units])
    if unequal.any():
        sample = int(np.argmax(unequal))
        raise DataFileError(
            f"{rules.path}: sample {first + sample} has {lengths[sample]} entries in spikes/times "
            f"but {units[sample].size} in spikes/units: {DAMAGED}"
        )
    samples = np.repeat(np.arange(lengths.size), lengths)
    stored = np.concatenate(times)
    emitters = np.concatenate(units)
    milliseconds = in_milliseconds(stored, rules.unit)
    wrong = ~((milliseconds >= 0) & (milliseconds < math.inf))
    if wrong.any():
        event = int(np.argmax(wrong))
        raise DataFileError(
            f"{rules.path}: sample {first + samples[event]} has a spike at {stored[event]} "
            f"{rules.unit}: spike times must be finite and >= 0; {DAMAGED}"
        )
    wrong = (emitters < 0) | (emitters >= rules.unit_count)
    if wrong.any():
        event = int(np.argmax(wrong))
        raise DataFileError(
            f"{rules.path}: sample {first + samples[event]} has a spike of unit {emitters[event]}, "
            f"but units run from 0 to {rules.unit_count - 1}: give the right unit_count, or get "
            "the file again"
        )
    backwards = (milliseconds[1:] < milliseconds[:-1]) & (samples[1:] == samples[:-1])
    if backwards.any():
        order = np.lexsort((milliseconds, samples))
        milliseconds, emitters = milliseconds[order], emitters[order]
    return milliseconds, emitters.astype(np.int32), samples


def _early(times: np.ndarray, samples: np.ndarray, first: int, rules: _Rules) -> np.ndarray:
    """Which spikes come before the end of the trial; ``rules`` says if the others are refused."""
    early = times < rules.duration
    if rules.late == "refuse" and not early.all():
        sample = samples[np.argmin(early)]
        last = times[samples == sample].max()
        raise DataFileError(
            f"{rules.path}: sample {first + sample} has its last spike at {last:g} ms, but a "
            f"trial is shorter than that with duration = {rules.duration:g} ms: give a longer "
            'duration, or late="cut" to leave such spikes out'
        )
    return early


def _windows(times: np.ndarray, kind: np.dtype | None, rules: _Rules) -> np.ndarray:
    """The number of the window that contains each time in ms, counted from 0.

    Times were numbers of type ``kind`` in another unit and carry their rounding error: 1.001 s is
    1000.9999999999999 ms.  A time that is closer to the beginning of a window than this error
    counts as being at the beginning, unless the type is too coarse for windows of this length.
    """
    window = rules.window
    assert window is not None
    rounding = 4 * np.spacing(times)
    if kind is not None and kind.kind == "f":
        factor = float(in_milliseconds(np.array(1.0), rules.unit))
        stored = 2 * factor * np.spacing((times / factor).astype(kind)).astype(np.float64)
        np.maximum(rounding, stored, out=rounding, where=stored < 0.01 * window)
    nearest = np.rint(times / window)
    at_beginning = abs(times - nearest * window) <= rounding
    return np.where(at_beginning, nearest, np.floor(times / window))


def _first_in_window(windows: np.ndarray, units: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Which spikes are the first of their unit in their window of time."""
    order = np.lexsort((windows, units, samples))  # stable: the earliest of a window comes first
    repeated = np.zeros(windows.size, bool)
    repeated[order[1:]] = (
        (windows[order[1:]] == windows[order[:-1]])
        & (units[order[1:]] == units[order[:-1]])
        & (samples[order[1:]] == samples[order[:-1]])
    )
    return ~repeated


# -- labels, speakers and names of classes ------------------------------------------------


def _labels(file: RecordingColumns, classes: int | None) -> np.ndarray:
    labels = file.column("labels")
    if labels is None:
        raise file.lacks("labels")
    _check_integers(labels, "label", file.path)
    wrong = labels < 0 if classes is None else (labels < 0) | (labels >= classes)
    if wrong.any():
        sample = int(np.argmax(wrong))
        if classes is None:
            raise DataFileError(
                f"{file.path}: sample {sample} has the label {labels[sample]}: labels must be "
                f">= 0; {DAMAGED}"
            )
        raise DataFileError(
            f"{file.path}: sample {sample} has the label {labels[sample]}, but {classes} classes "
            f"have labels 0 to {classes - 1}: this is another data set, or give the right number "
            "of classes"
        )
    return _frozen(labels)


def _speakers(file: RecordingColumns) -> tuple[np.ndarray | None, tuple[str, ...] | None]:
    """The speaker of each recording; names are numbered in alphabetical order."""
    speakers = file.column("extra/speaker")
    if speakers is None:
        return None, None
    if speakers.dtype.kind in "SUO":
        names, numbers = np.unique(file.text(speakers, "extra/speaker"), return_inverse=True)
        return _frozen(numbers), tuple(names.tolist())
    _check_integers(speakers, "speaker", file.path)
    return _frozen(speakers), None


def _keys(file: RecordingColumns, classes: int | None) -> tuple[str, ...] | None:
    keys = file.column("extra/keys", entries=classes)
    return None if keys is None else tuple(file.text(keys, "extra/keys"))


def _check_integers(values: np.ndarray, what: str, path: str | os.PathLike[str]) -> None:
    """Refuse numbers that are not integers of at most 63 bits."""
    if values.dtype.kind in "iu":
        wrong = values > np.iinfo(np.int64).max
    elif values.dtype.kind == "f":
        wrong = ~(np.isfinite(values) & (values == np.rint(values)))
        wrong |= not wrong.any()  # if all numbers are whole, their type is wrong
    else:
        raise DataFileError(f"{path}: {what}s have type {values.dtype}, not integers: {DAMAGED}")
    if wrong.any():
        sample = int(np.argmax(wrong))
        raise DataFileError(
            f"{path}: sample {sample} has the {what} {values[sample]}, and {what}s have type "
            f"{values.dtype}: they must be integers; {DAMAGED}"
        )


def _check_lengths(path: str | os.PathLike[str], **members: Any) -> None:
    sizes = {name: member.shape[0] for name, member in members.items() if member is not None}
    if len(set(sizes.values())) > 1:
        raise DataFileError(f"{path} differs in its number of samples, {sizes}: {DAMAGED}")


def _frozen(integers: np.ndarray) -> np.ndarray:
    array = np.array(integers, np.int64)
    array.setflags(write=False)
    return array


def _checked_time(value: Any, name: str) -> float:
    check_number(value, name, "a time in ms")
    if not value > 0:
        raise ValueError(f"{name} = {value} ms: it must be > 0")
    return float(value)
