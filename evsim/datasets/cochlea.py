"""Spoken words as spikes of a cochlea model: the HDF5 layout of SHD and SSC.

The layout of the Heidelberg spiking data sets (Cramer et al. 2020): ``spikes/times`` in
seconds and ``spikes/units``, one array of each per recording, ``labels``, and beside them
``extra/speaker`` and ``extra/keys``, the names of the classes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from evsim.checks import check_number, checked_integer
from evsim.dataset import Dataset
from evsim.datasets.files import DataFileError, unpacked
from evsim.parameters import FrozenArrays
from evsim.spikes import SpikeTrains

_CHUNK = 4096  # recordings converted at a time, which bounds what the conversion needs
_DAMAGED = "the file is damaged or no file of this layout; get it again"


@dataclass(frozen=True, eq=False)
class CochleaRecordings(FrozenArrays):
    """The recordings of one file.

    ``spikes`` are in ms; ``labels`` are int64 of shape (samples,), and so are ``speakers``,
    None where the file has none.  ``keys`` are the names of the classes, None where the file
    has none.  ``cut`` is how many spikes were left out because they come too late, ``merged``
    how many because their unit spikes earlier in the same window.
    """

    spikes: SpikeTrains
    labels: np.ndarray
    speakers: np.ndarray | None
    keys: tuple[str, ...] | None
    cut: int
    merged: int

    def dataset(self) -> Dataset:
        """The spikes with their labels, and with the speakers as groups."""
        return Dataset(self.spikes, self.labels, self.speakers)


def read_recordings(
    path: str | os.PathLike[str],
    *,
    classes: int,
    unit_count: int = 700,
    duration: float = math.inf,
    late: str = "cut",
    at_most_one_per: float | None = None,
) -> CochleaRecordings:
    """Read a file in the layout of SHD and SSC, plain HDF5 or packed with gzip.

    Parameters
    ----------
    path : path of the file
    classes, unit_count : int
        How many classes and units the data set has; labels and units must lie below.
    duration : float
        Length of a trial in ms; spikes come before it.
    late : "cut" or "refuse"
        Whether spikes at or after ``duration`` are left out and counted, or an error.
    at_most_one_per : float, optional
        Length in ms of windows from 0 on; of several spikes of a unit in one window only the
        first is kept, and the others are counted.  Data sets for simulators on a grid are
        thinned like that; the default keeps all spikes.

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    DataFileError
        For files that are damaged, of another layout, or hold impossible values.  Events
        that are not in the order of time are sorted, not refused.
    """
    rules = _Rules(
        path,
        checked_integer(unit_count, "unit_count", 1),
        _checked_time(duration, "duration"),
        late,
        None if at_most_one_per is None else _checked_time(at_most_one_per, "at_most_one_per"),
    )
    if late not in ("cut", "refuse"):
        raise ValueError(f'late = {late!r}: it must be "cut" or "refuse"')
    if rules.window == math.inf:
        raise ValueError("at_most_one_per = inf ms: it must be finite, or None to keep all spikes")
    classes = checked_integer(classes, "classes", 1)
    with unpacked(path) as plain, _opened(plain, path) as file:
        times = _events(file, "spikes/times", "f", "floating-point numbers", path)
        units = _events(file, "spikes/units", "iu", "integers", path)
        labels = _labels(file, classes, path)
        speakers = _speakers(file)
        keys = _keys(file, classes, path)
        _check_lengths(path, times=times, units=units, labels=labels, speakers=speakers)
        spikes, cut, merged = _spikes(times, units, rules)
    return CochleaRecordings(spikes, labels, speakers, keys, cut, merged)


# -- spikes -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rules:
    """What a spike must be, and which are left out."""

    path: str | os.PathLike[str]
    unit_count: int
    duration: float
    late: str
    window: float | None


def _spikes(times: Any, units: Any, rules: _Rules) -> tuple[SpikeTrains, int, int]:
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
            alone = _first_in_window(milliseconds, emitters, samples, rules.window)
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
            f"but {units[sample].size} in spikes/units: {_DAMAGED}"
        )
    samples = np.repeat(np.arange(lengths.size), lengths)
    seconds = np.concatenate(times)
    emitters = np.concatenate(units)
    milliseconds = seconds.astype(np.float64) * 1000.0
    wrong = ~((milliseconds >= 0) & (milliseconds < math.inf))
    if wrong.any():
        event = int(np.argmax(wrong))
        raise DataFileError(
            f"{rules.path}: sample {first + samples[event]} has a spike at {seconds[event]} s: "
            f"spike times must be finite and >= 0; {_DAMAGED}"
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
    """Which spikes come before the end of the trial, if the others may be cut."""
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


def _first_in_window(
    times: np.ndarray, units: np.ndarray, samples: np.ndarray, window: float
) -> np.ndarray:
    """Which spikes are the first of their unit in their window of time."""
    windows = np.floor(times / window)
    order = np.lexsort((windows, units, samples))  # stable: the earliest of a window comes first
    repeated = np.zeros(times.size, bool)
    repeated[order[1:]] = (
        (windows[order[1:]] == windows[order[:-1]])
        & (units[order[1:]] == units[order[:-1]])
        & (samples[order[1:]] == samples[order[:-1]])
    )
    return ~repeated


# -- the file -----------------------------------------------------------------------------


@contextmanager
def _opened(plain: os.PathLike[str], path: str | os.PathLike[str]) -> Iterator[Any]:
    """The opened HDF5 file ``plain``, called ``path`` in messages."""
    import h5py

    try:
        with h5py.File(plain, "r") as file:
            yield file
    except (OSError, RuntimeError) as error:  # what h5py raises, here and when data are read
        raise DataFileError(
            f"{path} cannot be read as HDF5 ({error}): it is another kind of file or was not "
            "copied whole; delete it and get it again"
        ) from error


def _member(file: Any, name: str) -> Any:
    """The one-dimensional dataset of that name, None where there is none."""
    import h5py

    member = file.get(name)
    return member if isinstance(member, h5py.Dataset) and member.ndim == 1 else None


def _required(file: Any, name: str, path: str | os.PathLike[str]) -> Any:
    member = _member(file, name)
    if member is None:
        raise DataFileError(
            f"{path} has no one-dimensional dataset {name!r} but {sorted(file)}: it must have the "
            "layout of SHD, with spikes/times, spikes/units and labels; give such a file"
        )
    return member


def _events(file: Any, name: str, kinds: str, what: str, path: str | os.PathLike[str]) -> Any:
    """A dataset with one array per recording, not yet read."""
    import h5py

    member = _required(file, name, path)
    base = h5py.check_vlen_dtype(member.dtype)
    if base is None or np.dtype(base).kind not in kinds:
        raise DataFileError(
            f"{path}: {name} has type {base or member.dtype}: it must hold one array of {what} "
            "per sample; give a file in the layout of SHD"
        )
    if member.shape[0] == 0:
        raise DataFileError(f"{path}: {name} is empty: {_DAMAGED}")
    return member


def _labels(file: Any, classes: int, path: str | os.PathLike[str]) -> np.ndarray:
    labels = _required(file, "labels", path)[:]
    if labels.dtype.kind not in "iu":
        raise DataFileError(f"{path}: labels have type {labels.dtype}, not integers: {_DAMAGED}")
    wrong = (labels < 0) | (labels >= classes)
    if wrong.any():
        sample = int(np.argmax(wrong))
        raise DataFileError(
            f"{path}: sample {sample} has the label {labels[sample]}, but {classes} classes have "
            f"labels 0 to {classes - 1}: this is another data set, or give the right number of "
            "classes"
        )
    return _frozen(labels)


def _speakers(file: Any) -> np.ndarray | None:
    """The speaker of each recording; names are numbered in alphabetical order."""
    member = _member(file, "extra/speaker")
    if member is None:
        return None
    speakers = member[:]
    if speakers.dtype.kind not in "iu":
        speakers = np.unique(speakers.astype(bytes), return_inverse=True)[1]
    return _frozen(speakers)


def _keys(file: Any, classes: int, path: str | os.PathLike[str]) -> tuple[str, ...] | None:
    member = _member(file, "extra/keys")
    if member is None:
        return None
    names = member[:].tolist()
    keys = tuple(name.decode() if isinstance(name, bytes) else str(name) for name in names)
    if len(keys) != classes:
        raise DataFileError(
            f"{path} names {len(keys)} classes in extra/keys, not {classes}: this is another data "
            "set, or give the right number of classes"
        )
    return keys


def _check_lengths(path: str | os.PathLike[str], **members: Any) -> None:
    sizes = {name: member.shape[0] for name, member in members.items() if member is not None}
    if len(set(sizes.values())) > 1:
        raise DataFileError(f"{path} differs in its number of samples, {sizes}: {_DAMAGED}")


def _frozen(integers: np.ndarray) -> np.ndarray:
    array = np.array(integers, np.int64)
    array.setflags(write=False)
    return array


def _checked_time(value: Any, name: str) -> float:
    check_number(value, name, "a time in ms")
    if not value > 0:
        raise ValueError(f"{name} = {value} ms: it must be > 0")
    return float(value)
