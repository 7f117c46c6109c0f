"""Braille letters read by a robot's finger: the published event lists, and files without pickle.

The publisher (Müller-Cleve et al. 2022) offers pickle files.  They are read here without running
any code in them, and ``convert_braille`` writes the same data as npz.
"""

from __future__ import annotations

import io
import math
import os
import reprlib
import zipfile
from typing import Any

import numpy as np

from evsim.arguments.checks import checked_path, integer_array
from evsim.arguments.keywords import helpful
from evsim.data.dataset import Dataset
from evsim.data.readers.files import DataFileError, largest_unpacked
from evsim.data.readers.pickle_records import read_records
from evsim.data.readers.pickled_tables import TABLE_NAMES, TableError, columns
from evsim.network.spike_trains import SpikeTrains
from evsim.storage.files import write_atomically

BRAILLE_LETTERS = ("Space", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ")
"""The classes: label 0 is a blank cell, 1 to 26 are A to Z."""

TAXELS = 12
_ARRAYS = ("times", "units", "offsets", "labels")


@helpful
def read_braille(path: str | os.PathLike[str]) -> Dataset:
    """Read Braille letters from a published pickle file or from a file of ``convert_braille``.

    Each of the 12 taxels corresponds to two input units: 2 * taxel for rising pressure (ON) and
    2 * taxel + 1 for falling pressure (OFF).  Times are in ms; labels are indices into
    ``BRAILLE_LETTERS``.

    Raises ``DataFileError`` for files that are damaged or contain something else.  No code in a
    file is ever executed: a pickle file that names functions which such data do not need is
    refused.
    """
    path = checked_path(path, "path", "a file")
    return _read_npz(path) if zipfile.is_zipfile(path) else _read_pickle(path)


@helpful
def convert_braille(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> Dataset:
    """Write the data of a published pickle file as an npz file without pickle.

    ``read_braille`` returns the same data from both files.  An existing file is replaced.  Returns
    the data.
    """
    source = checked_path(source, "source", "a file")
    target = checked_path(target, "target", "a file to write")
    data = _read_pickle(source)
    buffer = io.BytesIO()
    spikes = data.inputs["spikes"]
    np.savez_compressed(
        buffer,
        times=spikes.times,
        units=spikes.units,
        offsets=spikes.offsets,
        labels=data.labels,
    )
    write_atomically(target, buffer.getvalue())
    return data


# -- npz ----------------------------------------------------------------------------------


def _read_npz(path: str | os.PathLike[str]) -> Dataset:
    try:
        with zipfile.ZipFile(path) as file:
            found = sorted(name.removesuffix(".npy") for name in file.namelist())
            if found != sorted(_ARRAYS):
                raise ValueError(f"it has the arrays {found}, not {sorted(_ARRAYS)}")
            times, units, offsets, labels = (_array(file, f"{name}.npy") for name in _ARRAYS)
        labels = integer_array(labels, "labels")
        if labels.size and labels.max() >= len(BRAILLE_LETTERS):
            raise ValueError(f"it has the label {labels.max()}, beyond {len(BRAILLE_LETTERS) - 1}")
        return Dataset(SpikeTrains(times, units, offsets, 2 * TAXELS), labels)
    except Exception as error:  # a damaged archive can fail in any way
        raise DataFileError(
            f"{path} is no file of Braille letters ({error}): write it with "
            "evsim.datasets.convert_braille"
        ) from error


def _array(file: zipfile.ZipFile, name: str) -> np.ndarray:
    """One array of an npz file; its announced size is checked first."""
    member = file.getinfo(name)
    if member.file_size > largest_unpacked(member.compress_size):
        raise ValueError(f"{name} announces {member.file_size} bytes in {member.compress_size}")
    content = io.BytesIO(file.read(member))
    version = np.lib.format.read_magic(content)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[version]
    shape, _, dtype = read_header(content)
    if math.prod(shape) * dtype.itemsize > member.file_size:
        raise ValueError(f"{name} announces the shape {shape} in {member.file_size} bytes")
    content.seek(0)
    return np.lib.format.read_array(content, allow_pickle=False)


# -- the published files ------------------------------------------------------------------


def _read_pickle(path: str | os.PathLike[str]) -> Dataset:
    """Read a file with a letter, and lists of ON and OFF times in s per taxel, for each sample."""
    try:
        content, size = read_records(path, TABLE_NAMES)
        table = columns(content, ("events", "letter"))
        samples = table["events"]
        labels = [_label(letter, number) for number, letter in enumerate(table["letter"])]
        if not samples:
            raise TableError("it holds no samples")
        _check_size(samples, size)
        channels = [list(_channels(events, number)) for number, events in enumerate(samples)]
        counts = np.array([[len(channel) for channel in sample] for sample in channels])
        times = _seconds(channels, counts) * 1000.0
    except TableError as error:
        raise DataFileError(
            f"{path} is no file of Braille letters as published, since {error}: get "
            "data_braille_letters_th_1.pkl, _2, _5 or _10 from "
            "https://doi.org/10.5281/zenodo.7050094"
        ) from error
    units = np.tile(np.arange(2 * TAXELS), len(channels))
    spikes = SpikeTrains.from_events(
        times,
        np.repeat(units, counts.ravel()),
        np.repeat(np.arange(len(channels)), counts.sum(axis=1)),
        batch_size=len(channels),
        unit_count=2 * TAXELS,
    )
    return Dataset(spikes, np.array(labels))


def _check_size(samples: list[Any], size: int) -> None:
    """Refuse a file that refers to the same lists so often that they may not fit into memory.

    Each time and each list takes at least one byte in the file, unless it is a repeated reference.
    """
    total = 0
    for number, events in enumerate(samples):
        channels = _channels(events, number)
        total += len(channels) + sum(map(len, channels))
        if total > size:
            raise TableError(
                f"its first {number + 1} samples hold more lists and events than {size} bytes "
                "can, the same ones again and again"
            )


def _label(letter: Any, sample: int) -> int:
    if not isinstance(letter, str) or letter not in BRAILLE_LETTERS:
        found = reprlib.repr(letter)
        raise TableError(f"sample {sample} is the letter {found}, not Space or A to Z")
    return BRAILLE_LETTERS.index(letter)


def _channels(sample: Any, number: int) -> list[list[float]]:
    """The ON and OFF lists of all taxels of a sample, one after the other."""
    if not isinstance(sample, (list, tuple)) or len(sample) != TAXELS:
        raise TableError(f"sample {number} does not have {TAXELS} taxels")
    for taxel in sample:
        if (
            not isinstance(taxel, (list, tuple))
            or len(taxel) != 2
            or not all(isinstance(channel, (list, tuple)) for channel in taxel)
        ):
            raise TableError(f"sample {number} has a taxel without one ON and one OFF list")
    return [channel for taxel in sample for channel in taxel]


def _seconds(channels: list[list[list[float]]], counts: np.ndarray) -> np.ndarray:
    """All event times in one array; impossible times are refused."""
    flat = [time for sample in channels for channel in sample for time in channel]
    real = np.array([type(time) is float for time in flat], bool)
    times = np.array(flat if real.all() else [], np.float64)
    wrong = ~(np.isfinite(times) & (times >= 0)) if real.all() else ~real
    if wrong.any():
        event = int(np.argmax(wrong))
        sample = int(np.searchsorted(np.cumsum(counts.sum(axis=1)), event, side="right"))
        raise TableError(f"sample {sample} has an event at {reprlib.repr(flat[event])} s")
    return times
