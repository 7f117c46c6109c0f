"""Choosing settings by cross-validation, and training with them on all training samples.

This is the protocol of both papers for data with few speakers.  The test samples are used only to
test the final networks.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evsim.arguments.checks import checked_path
from evsim.arguments.keywords import helpful
from evsim.arguments.words import number_of
from evsim.display.warning_place import warn_caller
from evsim.study.results import StudyResults
from evsim.study.study import Study
from evsim.study.table import Table

CROSS_VALIDATION = "cross-validation"
RETRAINED = "retrained"
"""The folders of both studies."""


@helpful
@dataclass(frozen=True, eq=False)
class Choice:
    """Settings chosen by cross-validation, and networks trained with them.

    Parameters
    ----------
    settings : dict
        The values chosen from the grid.
    cross_validation : Table
        The runs on the folds.
    retrained : Table
        The runs with the chosen settings on all training samples, with their results on the test
        samples.
    """

    settings: dict[str, Any]
    cross_validation: Table
    retrained: Table

    def __repr__(self) -> str:
        chosen = ", ".join(f"{name} = {value}" for name, value in self.settings.items())
        return f"Choice({chosen}; {number_of(len(self.retrained), 'run')})"


@helpful
def choose_and_retrain(
    task: Any,
    grid: Mapping[str, Sequence[Any]],
    *,
    folds: int | str | None,
    seeds: int | Iterable[int] = 8,
    folder: str | os.PathLike[str],
    settings: Mapping[str, Any] | None = None,
    fold_seeds: int | Iterable[int] = 1,
    measure: str | None = None,
    engine: Any = "exact",
    executor: Any | None = None,
    processes: int | None = None,
    threads: int = 1,
    retry_failed: bool = False,
    progress: bool = True,
    allow_large: bool = False,
) -> Choice:
    """Choose settings by cross-validation, train with them on all training samples, and test.

    Every combination of the grid is trained without each fold of the training samples and tested
    on it.  The combination with the best mean, the first of equal ones, is then trained on all
    training samples, those of validation included, once for each seed.  A task that chooses its
    best epoch or stops training by its validation accuracy uses its training accuracy instead,
    because there are no validation samples.

    Both studies are stored in folders of ``folder`` and continue where they stopped.

    Parameters
    ----------
    task : module or experiment
    grid : mapping from setting to list
        The values to choose from.
    folds : int or "groups"
        See ``Study``.
    seeds : int or sequence of int
        Of the final runs.
    folder : path
    settings : mapping, optional
        The settings that are the same in all runs.
    fold_seeds : int or sequence of int
        Of the runs on each fold.
    measure : str, optional
        The measure that decides, by default the accuracy, or the first measure of a task without
        accuracy; the smallest loss or error is best.
    engine : str or Engine
    executor, processes, threads, retry_failed, progress
        See ``Study.run``.
    allow_large : bool
        Allow more than 10,000 runs.

    Raises
    ------
    TypeError, ValueError
        The errors of ``Study`` and ``Study.run``.
    RuntimeError
        If runs on a fold have failed: nothing is chosen without them.
    """
    place = checked_path(folder, "folder")
    if folds is None:
        raise ValueError("folds = None: give 'groups' or the number of parts")
    how: dict[str, Any] = {
        "processes": processes,
        "threads": threads,
        "retry_failed": retry_failed,
        "progress": progress,
    }
    validated = Study(
        task,
        grid,
        seeds=fold_seeds,
        folder=place / CROSS_VALIDATION,
        settings=settings,
        folds=folds,
        engine=engine,
        allow_large=allow_large,
    )
    # Created before anything runs, so that wrong seeds are refused now.
    retraining: dict[str, Any] = {
        "seeds": seeds,
        "settings": settings,
        "validate": False,
        "engine": engine,
        "allow_large": allow_large,
    }
    Study(task, grid, folder=place / RETRAINED, **retraining)
    validated.run(executor, **how)
    chosen = chosen_settings(validated, measure)
    final = Study(
        task,
        {name: [value] for name, value in chosen.items()},
        folder=place / RETRAINED,
        **retraining,
    )
    return Choice(chosen, validated.table(), final.run(executor, **how))


def chosen_settings(study: StudyResults, measure: str | None = None) -> dict[str, Any]:
    """The combination of settings with the best mean of a measure.

    Raises RuntimeError if runs are missing, or if no mean is a number.
    """
    table = study.table()
    missing = [row for row in table.rows if row["state"] != "finished"]
    if missing:
        raise RuntimeError(
            f"{len(missing)} of {len(table)} runs in {study.folder} are not finished, and nothing "
            f"is chosen without them: {_of(missing[0])}; see its table, and run again with "
            "retry_failed=True"
        )
    name = table.measure(measure)
    smallest = name.endswith("loss") or "error" in name
    sign = -1.0 if smallest else 1.0
    means = table.means(name).rows
    numbers = [row for row in means if not math.isnan(row["mean"])]
    if not numbers:
        raise RuntimeError(f"the mean {name} of every combination is nan: nothing can be chosen")
    if len(numbers) < len(means):
        warn_caller(
            f"the mean {name} of {number_of(len(means) - len(numbers), 'combination')} is nan: "
            "they are not chosen",
            RuntimeWarning,
        )
    best = max(numbers, key=lambda row: sign * row["mean"])
    return {setting: best[setting] for setting in table.settings}


def _of(row: Mapping[str, Any]) -> str:
    told = ", ".join(f"{name} = {value}" for name, value in row.items() if name != "error")
    return f"{told}: {row['error']}" if row.get("error") else told


def folders(folder: Path) -> list[Path]:
    """The folders of studies in a folder: itself, or the two of a choice."""
    both = [folder / CROSS_VALIDATION, folder / RETRAINED]
    return [each for each in both if each.is_dir()] or [folder]
