"""Training runs that each write a file, and statistics of their accuracies.

A claim about training takes hours.  Each run writes its results to a separate file, so that after
an interruption only the missing runs are trained.
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
"""The number of standard errors from which a difference counts."""


def stored(file: Path, run: Callable[[], dict[str, Any]], **same: Any) -> dict[str, Any]:
    """The results of a run: from its file, or from ``run()``, whose results are then stored.

    A file is replaced if its settings differ from those in ``same``.
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
    """The records of all seeds by loss; missing ones come from ``run(loss, seed)``.

    ``same_for_all`` contains the settings that all runs share; stored runs with other settings are
    not used.
    """
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in losses}
    for seed in range(seeds):
        for name, records in found.items():
            file = folder / f"{name}-{seed}.json"
            records.append(stored(file, partial(run, name, seed), settings=same_for_all))
    return found


def fewer(seeds: int, epochs: int, effort: float) -> dict[str, int]:
    """Fewer epochs and seeds, but at least two seeds, to estimate how they differ."""
    return {"seeds": max(2, round(effort * seeds)), "epochs": max(1, round(effort * epochs))}


# -- accuracies over seeds ----------------------------------------------------------------


def deviation(values: Sequence[float]) -> float:
    """The standard deviation over seeds; 0 for one seed."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


def per_cent(values: Sequence[float]) -> str:
    """The mean and standard deviation over seeds as text; the value itself for one seed."""
    mean = f"{100 * statistics.mean(values):.2f}"
    return f"{mean} ± {100 * deviation(values):.2f}" if len(values) > 1 else mean


def standard_error(values: Sequence[float]) -> float:
    """The standard error of the mean over seeds; infinite for one seed."""
    return deviation(values) / math.sqrt(len(values)) if len(values) > 1 else math.inf


def standard_errors_above(first: Sequence[float], second: Sequence[float]) -> float:
    """The difference of two means over independent seeds, in standard errors of the difference.

    It is positive if the first mean is larger, and 0 if one of them has a single seed.
    """
    difference = statistics.mean(first) - statistics.mean(second)
    error = math.hypot(standard_error(first), standard_error(second))
    if error == 0.0:
        return math.copysign(math.inf, difference) if difference else 0.0
    return difference / error
