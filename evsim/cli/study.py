"""The command ``evsim study``: run a study, and show its state and results."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from evsim.arguments.checks import unknown_name
from evsim.arguments.paths import user_path
from evsim.arguments.words import number_of
from evsim.cli.exit_status import FAILED
from evsim.cli.options import ENGINE_FLAGS, Run
from evsim.cli.schedulers import is_local, scheduler_named
from evsim.cli.study_file import StudyFile, read_study
from evsim.cli.study_options import StudyOptions, folds_of, grid_of, seeds_of
from evsim.cli.train import find_data, missing_files_told

if TYPE_CHECKING:
    from evsim.study import Choice, Table
    from evsim.tasks.base import Experiment

NO_SETTINGS = ("seed", "folds")
"""Settings of a task that are flags of a study."""


# -- running ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """What the user asked for: the arguments of ``Study``, and how to carry it out."""

    task: Any
    grid: dict[str, list[Any]]
    seeds: Any
    folds: Any
    settings: dict[str, Any]
    validate: bool
    engine: Any
    fold_seeds: Any
    choose: bool


def study_of_task(task: Experiment[Any], settings: Mapping[str, Any], options: StudyOptions) -> int:
    """Run the study of a task that flags describe; returns the exit status."""
    options.check()
    defaults = {field.name: field.default for field in fields(task.settings_type)}
    asked = Asked(
        task=task,
        grid=grid_of(options.vary),
        seeds=seeds_of(options.seeds),
        folds=folds_of(options.folds),
        # What is not given is left to the task, so a file without it describes the same study.
        settings={name: value for name, value in settings.items() if value != defaults[name]},
        validate=True,
        engine=options.create_engine(task.settings_type.grid_step),
        fold_seeds=1,
        choose=options.choose,
    )
    return _run(asked, options)


def study_of_file(path: Path, options: StudyOptions, tasks: Mapping[str, Experiment[Any]]) -> int:
    """Run the study in a file; returns the exit status."""
    for name in ("vary", "seeds", "folds", "choose", "engine", "dt", "precision", "rate_limit"):
        if getattr(options, name) != getattr(StudyOptions(), name):
            flag = name.replace("_", "-")
            raise ValueError(f"--{flag} belongs into the file {path}: leave it out")
    options.check()
    file = read_study(path)
    task = _task_named(file.task, tasks)
    grid_step = getattr(getattr(task, "settings_type", None), "grid_step", 1.0)
    asked = Asked(
        task=task,
        grid=file.vary,
        seeds=file.seeds,
        folds=file.folds,
        settings=file.settings,
        validate=file.validate,
        engine=_engine_of(file, grid_step),
        fold_seeds=file.fold_seeds,
        choose=file.choose is not None,
    )
    return _run(asked, options)


def _task_named(name: str, tasks: Mapping[str, Experiment[Any]]) -> Any:
    """A task of evsim, or the reference of a user's own function or experiment."""
    if ":" in name:
        # As with python -m: modules in the working folder are found.
        sys.path.insert(0, os.getcwd())
        return name
    if name not in tasks:
        raise ValueError(unknown_name("task", name, tasks))
    return tasks[name]


def _engine_of(file: StudyFile, grid_step: float) -> Any:
    """The engine that a file names, by the flags of ``evsim train``."""
    known = ("name", "dt", "precision", "rate_limit")
    for name in file.engine:
        if name not in known:
            raise ValueError(f"[engine]: {unknown_name('entry', name, known)}")
    chosen = file.engine.get("name", "exact")
    if chosen not in list(ENGINE_FLAGS):
        raise ValueError(f"[engine]: {unknown_name('engine', chosen, ENGINE_FLAGS)}")
    given = {name: value for name, value in file.engine.items() if name != "name"}
    run = Run(engine=chosen, **given)
    run.check()
    with _wrong_types_told("[engine]: "):
        return run.create_engine(grid_step)


@contextmanager
def _wrong_types_told(where: str = "") -> Iterator[None]:
    """Raise ValueError for values of a wrong type: the user typed them in a flag or a file."""
    try:
        yield
    except TypeError as error:
        raise ValueError(f"{where}{error}") from error


def _run(asked: Asked, options: StudyOptions) -> int:
    """Run a study, write its table and its picture, and print its means."""
    from evsim.study import Study

    common = {"settings": asked.settings, "folds": asked.folds, "engine": asked.engine}
    with missing_files_told(), _wrong_types_told():
        # A choice creates its own studies; this one only checks the arguments.
        study = Study(
            asked.task,
            asked.grid,
            seeds=asked.seeds,
            folder=options.folder,
            validate=asked.validate,
            allow_large=options.allow_large,
            **{**common, "folds": None if asked.choose else asked.folds},
        )
    if not asked.choose:
        runs = number_of(len(study.cells), "run")
        print(f"{study.description.title}: {runs}", file=sys.stderr)
    _find_data(asked, options)
    how: dict[str, Any] = {"threads": options.threads, "retry_failed": options.retry_failed,
           "progress": options.progress}  # fmt: skip
    with scheduler_named(options.scheduler) as where:
        try:
            if asked.choose:
                return _tell_choice(_choose(asked, options, {**common, **how, **where}), options)
            table = study.run(**how, **where)
        except KeyboardInterrupt:
            print(f"the same command goes on with the study in {options.folder}", file=sys.stderr)
            raise
    return _tell_table(table, options)


def _choose(asked: Asked, options: StudyOptions, how: dict[str, Any]) -> Choice:
    from evsim.study import choose_and_retrain

    return choose_and_retrain(
        asked.task,
        asked.grid,
        seeds=asked.seeds,
        fold_seeds=asked.fold_seeds,
        folder=options.folder,
        allow_large=options.allow_large,
        **how,
    )


def _find_data(asked: Asked, options: StudyOptions) -> None:
    """Report missing files before anything runs, and what is left out of the data."""
    if not (is_local(options.scheduler) and hasattr(asked.task, "data")):
        return
    first = {name: values[0] for name, values in asked.grid.items() if values}
    find_data(asked.task, asked.task.settings_type(**{**asked.settings, **first}))


# -- what came of it ----------------------------------------------------------------------


def _tell_table(table: Table, options: StudyOptions) -> int:
    """Write the table and the picture; returns the exit status."""
    folder = options.folder
    table.save(folder / "table.csv")
    files = ["table.csv"]
    finished = table.columns["state"].count("finished")
    if finished:
        print(table.means())
        if options.picture and table.settings:
            _draw(table, folder / "study.png")
            files.append("study.png")
    failed = table.columns["state"].count("failed")
    told = ", ".join(files)
    print(f"{finished} of {len(table)} runs are finished; {told} and all runs in {folder}")
    if failed:
        print(f"evsim: {failed} have failed: evsim study status {folder} says why", file=sys.stderr)
    _tell_warnings(table, folder)
    return FAILED if failed else 0


def _tell_warnings(table: Table, folder: Path) -> None:
    """Print how many runs gave warnings, and where to read them."""
    warned = sum(number is not None for number in table.columns.get("warnings", ()))
    if warned:
        runs = number_of(warned, "run")
        print(
            f"evsim: {runs} gave warnings: evsim study status {folder} lists them", file=sys.stderr
        )


def _draw(table: Table, path: Path) -> None:
    from evsim import plotting
    from evsim.display.picture_target import for_files_only

    with for_files_only():
        plotting.save(plotting.study_means(table).figure, path)


def _tell_choice(choice: Choice, options: StudyOptions) -> int:
    from evsim.study import credible_interval

    print("chosen by cross-validation:")
    print(choice.cross_validation.means())
    print(", ".join(f"{name} = {value}" for name, value in choice.settings.items()))
    choice.cross_validation.save(options.folder / "cross-validation.csv")
    _tell_warnings(choice.cross_validation, options.folder)
    status = _tell_table(choice.retrained, options)
    rows = [row for row in choice.retrained.rows if row["state"] == "finished"]
    if rows and "accuracy" in choice.retrained.measures:
        mean = sum(row["accuracy"] for row in rows) / len(rows)
        low, high = credible_interval(mean, rows[0]["samples"])
        print(
            f"test accuracy {100 * mean:.1f} %; for one network on {rows[0]['samples']} samples, "
            f"the 95 % credible interval is {100 * low:.1f} to {100 * high:.1f} %"
        )
    return status


def _warnings_told(warnings: Mapping[str, list[str]]) -> Iterator[str]:
    """A line for each kind of warning, those that differ in numbers only being of one kind."""
    from evsim.study.cells.kept_warnings import kind_of

    kinds: dict[str, dict[str, list[str]]] = {}
    for text, names in warnings.items():
        kinds.setdefault(kind_of(text), {})[text] = names
    for texts in kinds.values():
        text, names = next(iter(texts.items()))
        others = len({name for each in texts.values() for name in each}) - 1
        more = f" and {number_of(others, 'other run')}" if others else ""
        different = f" ({len(texts)} texts with other numbers)" if len(texts) > 1 else ""
        yield f"warning of {names[0]}{more}: {text}{different}"


@dataclass(frozen=True)
class Status:
    """Show how many runs of a study are finished, failed, running, interrupted and waiting."""

    folder: Path
    """The folder of the study."""

    def __call__(self) -> int:
        """Print the numbers, the errors of runs that have failed, and all warnings."""
        from evsim.study import load_study
        from evsim.study.selection import folders

        for folder in folders(user_path(self.folder)):
            study = load_study(folder)
            told = ", ".join(f"{count} {state}" for state, count in study.status().items())
            print(f"{study.description.title} in {folder}: {told}")
            for cell in study.cells:
                failure = study.cell_folder(cell).failure()
                if failure is not None:
                    print(f"  {cell.name}: {failure.error}")
            for line in _warnings_told(study.warnings()):
                print(f"  {line}")
        return 0


@dataclass(frozen=True)
class ShowTable:
    """Print the runs of a study, or write them to a file."""

    folder: Path
    """The folder of the study."""

    format: Literal["markdown", "csv", "parquet"] = "markdown"
    """The format; parquet needs --out and pyarrow."""

    means: bool = False
    """Show means over seeds and folds instead of single runs."""

    out: Path | None = None
    """The file to write. By default, the table is printed."""

    def __call__(self) -> int:
        """Print or write the table."""
        from evsim.storage.files import write_atomically
        from evsim.study import load_study
        from evsim.study.selection import folders

        if self.format == "parquet" and self.out is None:
            raise ValueError("--format parquet is not for reading: name a file, --out FILE")
        table = load_study(folders(user_path(self.folder))[-1]).table()
        if self.means:
            table = table.means()
        content = table.content(self.format)
        if self.out is None:
            print(content.decode(), end="")
        else:
            write_atomically(user_path(self.out), content)
            print(f"{len(table)} rows in {self.out}")
        return 0
