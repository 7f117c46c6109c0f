"""Files with the spikes of several populations, as other programs write them easily.

A table (.csv) has a row for each spike and a header.  The columns time and unit are needed, sample
if there are several samples, and population if there are spikes of more than the only input.  An
archive of NumPy (.npz) has, for each population, the arrays NAME.times, NAME.units and, if there
are several samples, NAME.samples.
"""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

import evsim
from evsim.arguments.checks import checked_count, integer_array, unknown_name
from evsim.network.populations import Population

Unit = Literal["ms", "s", "us"]
Number = TypeVar("Number", int, float)


class Columns(NamedTuple):
    """The spikes of one population, each (events,): integers, times, integers."""

    samples: Any
    times: Any
    units: Any


def read_spikes(
    path: Path,
    network: evsim.Network,
    unit: Unit,
    samples: int | None,
    *,
    inputs_suffice: bool = False,
) -> tuple[dict[str, evsim.SpikeTrains], dict[str, evsim.SpikeTrains]]:
    """The spikes of the network's inputs and of its other populations in a file.

    A table gives the spikes of each LIF population, possibly none; an archive gives those of the
    populations that it names.  ``samples`` is the number of samples, by default one more than the
    largest.  If the spikes of inputs suffice, those of the only input need no column population.

    Raises FileNotFoundError, and ValueError for a file that does not fit the network.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    only = network.inputs[0].name if inputs_suffice and len(network.inputs) == 1 else None
    readers: dict[str, Callable[[Path, evsim.Network], dict[str, Columns]]] = {
        ".csv": partial(_of_table, default=only),
        ".npz": _of_archive,
    }
    if path.suffix.lower() not in readers:
        raise ValueError(f"{path}: the name of a file of spikes ends with {' or '.join(readers)}")
    try:
        columns = readers[path.suffix.lower()](path, network)
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no table of spikes: {error}") from error
    largest = max((int(c.samples.max(initial=-1)) for c in columns.values()), default=-1)
    batch = largest + 1 if samples is None else checked_count(samples, "samples", 1)
    if batch <= 0:
        raise ValueError(f"{path} has no spike: give the number of samples, --samples")
    trains = {
        name: _trains(path, network.population(name), part, unit, batch)
        for name, part in columns.items()
    }
    inputs = {population.name for population in network.inputs}
    return (
        {name: each for name, each in trains.items() if name in inputs},
        {name: each for name, each in trains.items() if name not in inputs},
    )


def _trains(
    path: Path, population: Population, part: Columns, unit: Unit, batch: int
) -> evsim.SpikeTrains:
    try:
        return evsim.SpikeTrains.from_events(
            part.times,
            part.units,
            part.samples,
            batch_size=batch,
            unit_count=population.units,
            unit=unit,
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}, spikes of {population.name!r}: {error}") from error


# -- tables -------------------------------------------------------------------------------

_NEEDED = ("time", "unit")


def _of_table(path: Path, network: evsim.Network, default: str | None) -> dict[str, Columns]:
    """The columns of a table; populations without a row are silent.

    Without a column population, all spikes are those of the default.
    """
    spiking = [p.name for p in network.populations if p.spiking]
    rows: dict[str, list[tuple[int, float, int]]] = {name: [] for name in spiking}
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        names = reader.fieldnames or []
        if not names:
            raise ValueError(f"{path} is empty: its first line must be population,sample,time,unit")
        for name in _NEEDED if default else ("population", *_NEEDED):
            if name not in names:
                raise ValueError(
                    f"{path} has no column {name!r} but {', '.join(names)}: its first line must be "
                    "population,sample,time,unit"
                )
        for row in reader:
            name = row.get("population", default) or ""
            if name not in rows:
                raise ValueError(
                    f"{path}, line {reader.line_num}: {unknown_name('population', name, spiking)}"
                )
            rows[name].append(_numbers(row, f"{path}, line {reader.line_num}"))
    return {
        name: Columns(
            np.array([sample for sample, _, _ in spikes], np.int64),
            np.array([time for _, time, _ in spikes], np.float64),
            np.array([unit for _, _, unit in spikes], np.int64),
        )
        for name, spikes in rows.items()
    }


def _numbers(row: Mapping[str, Any], place: str) -> tuple[int, float, int]:
    """Sample, time and unit of a row."""

    def number(name: str, kind: type[Number], what: str) -> Number:
        text = row.get(name, "0")
        try:
            return kind(text)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{place}: {name} = {text!r} is not {what}") from error

    return (
        number("sample", int, "an integer"),
        number("time", float, "a number"),
        number("unit", int, "an integer"),
    )


# -- archives -----------------------------------------------------------------------------


def _of_archive(path: Path, network: evsim.Network) -> dict[str, Columns]:
    """The columns of an archive; inputs that it does not name are silent."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"{path} cannot be read as an archive of NumPy: {error}") from error
    named = dict.fromkeys(name.rpartition(".")[0] for name in arrays)
    found = {name: _part(path, network, name, arrays) for name in named}
    none: NDArray[np.int64] = np.empty(0, np.int64)
    silent = {p.name: Columns(none, np.empty(0), none) for p in network.inputs}
    return {**silent, **found}


def _part(
    path: Path, network: evsim.Network, name: str, arrays: Mapping[str, NDArray[Any]]
) -> Columns:
    known = [p.name for p in network.populations if p.spiking]
    if name not in known:
        raise ValueError(f"{path}: {unknown_name('population', name, known)}")
    for kind in ("times", "units"):
        if f"{name}.{kind}" not in arrays:
            raise ValueError(f"{path} has no array {name}.{kind}: {_listed(arrays)}")
    times = arrays[f"{name}.times"]
    samples = arrays.get(f"{name}.samples", np.zeros(times.shape, np.int64))
    try:
        samples = integer_array(samples, f"{name}.samples")
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
    return Columns(samples, times, arrays[f"{name}.units"])


def _listed(names: Iterable[str]) -> str:
    return f"it has {', '.join(names) or 'none'}"
