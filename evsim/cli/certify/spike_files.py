"""Input spikes from a table of text: one row for each spike."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from evsim.arguments.paths import user_path
from evsim.network.network import Network
from evsim.network.spike_trains import SpikeTrains

COLUMNS = ("sample", "time", "unit")
POPULATION = "population"


def read_inputs(path: Path, network: Network) -> dict[str, SpikeTrains]:
    """The spikes of each input population of a network, from a file of comma-separated values.

    Its first line names the columns: ``sample``, ``time`` (ms) and ``unit``, as in
    ``SpikeTrains.to_frame().to_csv(path)``, and ``population`` for a network with several inputs.
    The batch has one sample more than the largest one named.  Raises ValueError for what is no
    such table.
    """
    rows = _rows(user_path(path))
    names = [population.name for population in network.inputs]
    if rows and POPULATION not in rows[0] and len(names) > 1:
        raise ValueError(
            f"{path} has no column {POPULATION}: the network has the inputs {', '.join(names)}"
        )
    events: dict[str, list[tuple[int, float, int]]] = {name: [] for name in names}
    for number, row in enumerate(rows, start=2):
        name = row.get(POPULATION) or names[0]
        if name not in events:
            raise ValueError(
                f"{path}, line {number}: there is no input {name!r}; there are {', '.join(names)}"
            )
        try:
            events[name].append((int(row["sample"]), float(row["time"]), int(row["unit"])))
        except (TypeError, ValueError):
            raise ValueError(
                f"{path}, line {number}: sample and unit must be integers and time a number of ms, "
                f"but they are {row['sample']}, {row['unit']} and {row['time']}"
            ) from None
    batch_size = 1 + max((sample for own in events.values() for sample, _, _ in own), default=0)
    return {
        population.name: _trains(events[population.name], batch_size, population.units)
        for population in network.inputs
    }


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(
                f"{path} has no column {', '.join(missing)}: its first line must name the columns "
                f"{', '.join(COLUMNS)}"
            )
        return list(reader)


def _trains(events: list[tuple[int, float, int]], batch_size: int, units: int) -> SpikeTrains:
    samples, times, numbers = zip(*events, strict=True) if events else ((), (), ())
    return SpikeTrains.from_events(
        np.array(times, np.float64),
        np.array(numbers, np.int32),
        np.array(samples, np.int64),
        batch_size=batch_size,
        unit_count=units,
    )
