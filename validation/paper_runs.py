"""Training runs that leave a file each, and what their accuracies say together.

A claim about training takes hours.  Every run of one writes its numbers to a file of its own,
so that what was interrupted goes on with the runs that are missing.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from evsim.storage import write_atomically

MANY = 2.0
"""Standard errors from which on a difference counts as one."""


def stored(file: Path, run: Callable[[], dict[str, Any]], **same: Any) -> dict[str, Any]:
    """The numbers of a run: from its file, or from the run, which then writes it.

    A file in which a number of ``same`` is another is of another run, and is replaced.
    """
    if file.exists():
        record = json.loads(file.read_text(encoding="utf-8"))
        if all(record.get(name) == value for name, value in same.items()):
            return record
    record = {**run(), **same}
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, json.dumps(record, indent=1).encode())
    return record


def with_each_loss(
    folder: Path,
    losses: Sequence[str],
    seeds: int,
    run: Callable[[str, int], dict[str, Any]],
    same_for_all: dict[str, Any],
) -> dict[str, list[dict[str, Any]]]:
    """The records of all seeds by loss, those that are missing after ``run(loss, seed)``.

    ``same_for_all`` is what all runs have in common, and none does that was made with something
    else.
    """
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in losses}
    for seed in range(seeds):
        for name, records in found.items():
            file = folder / f"{name}-{seed}.json"
            records.append(stored(file, partial(run, name, seed), settings=same_for_all))
    return found


def fewer(seeds: int, epochs: int, effort: float) -> dict[str, int]:
    """Fewer epochs and seeds, but two, for how they differ."""
    return {"seeds": max(2, round(effort * seeds)), "epochs": max(1, round(effort * epochs))}


# -- accuracies over seeds ----------------------------------------------------------------


def deviation(values: Sequence[float]) -> float:
    """Standard deviation over seeds; 0 for one seed."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


def per_cent(values: Sequence[float]) -> str:
    """Mean and standard deviation over seeds; the value itself for one seed."""
    mean = f"{100 * statistics.mean(values):.2f}"
    return f"{mean} ± {100 * deviation(values):.2f}" if len(values) > 1 else mean


def standard_error(values: Sequence[float]) -> float:
    """Of the mean over seeds; infinite for one seed, which does not tell how seeds differ."""
    return deviation(values) / math.sqrt(len(values)) if len(values) > 1 else math.inf


def standard_errors_above(first: Sequence[float], second: Sequence[float]) -> float:
    """By how many standard errors of the difference the first mean is above the second.

    Both are of independent seeds.  It is 0 where one seed leaves it open.
    """
    difference = statistics.mean(first) - statistics.mean(second)
    error = math.hypot(standard_error(first), standard_error(second))
    if error == 0.0:
        return math.copysign(math.inf, difference) if difference else 0.0
    return difference / error
