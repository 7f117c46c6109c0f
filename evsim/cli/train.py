"""The command ``evsim train``: train an experiment's network, test it, and draw pictures."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evsim.arguments.checks import check_duration, checked_integer
from evsim.arguments.errors import naming
from evsim.cli.exit_status import INTERRUPTED
from evsim.cli.options import Run
from evsim.cli.quick import as_flags
from evsim.cli.settings_file import SettingsFile, write_json

if TYPE_CHECKING:
    from evsim.distributed import Ranks
    from evsim.tasks.base import Experiment, Parts, RunOptions
    from evsim.tasks.settings import ExperimentSettings
    from evsim.training.fitting import Evaluation, FitResult, TrainingState


def train(
    task: Experiment[Any],
    settings: ExperimentSettings,
    run: Run,
    quick: Mapping[str, Any] | None = None,
) -> int:
    """Train a task's network, test it, and draw pictures; returns the exit status.

    ``quick`` is what --quick has set; None without that flag.
    """
    from evsim.distributed import ranks_of

    communicator = _communicator(run)
    ranks = ranks_of(communicator)
    if not ranks.is_first:  # rank 0 prints what it would print
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (as long as the process)
    with ranks.session():
        return _train(task, settings, run, communicator, ranks, quick)


def _communicator(run: Run) -> Any:
    """The communicator of the processes that mpiexec has started, or None without --mpi."""
    from evsim.distributed.launching import processes_started, world

    if run.mpi:
        return world()
    started = processes_started() or 1
    if started > 1:
        print(
            f"evsim: {started} processes were started, and each trains a network of its own; "
            "--mpi shares one run among them",
            file=sys.stderr,
        )
    return None


def _train(
    task: Experiment[Any],
    settings: ExperimentSettings,
    run: Run,
    communicator: Any,
    ranks: Ranks,
    quick: Mapping[str, Any] | None,
) -> int:
    """As ``train``, on one of the ranks that share the run."""
    run.check()
    named = run.out or Path("runs") / f"{task.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    folder = Path(ranks.from_first(str(named)))
    engine = run.create_engine(settings.grid_step)
    shared_engine = ranks.engine(engine)
    record = SettingsFile(folder, task.name, settings, run, engine, quick)
    if run.resume and ranks.is_first:
        record.compare()
    _check_before_reading(task, settings, run, engine)
    (training, validation, test), left_out = _read(task, settings, communicator)
    if ranks.is_first:
        _announce(task, settings, run, engine, quick)
    if run.engine != "reference":
        _compile_first(task, settings, run, engine, communicator)
    if run.replace and ranks.is_first:
        from evsim.storage.replacing import remove_run

        remove_run(folder)
    options: RunOptions = {
        "engine": engine,
        "callbacks": [record, _TimeLimit(run.time_limit)],
        "run_folder": folder,
        "resume": run.resume,
        "progress": run.progress,
        "distributed": communicator,
    }
    if getattr(settings, "folds", None):
        return _cross_validate(task, settings, folder, options, left_out)
    result = task.fit(settings, training, validation, **options)
    if not result.history:
        print(f"stopped before the first epoch was finished; the run is in {folder}")
        return INTERRUPTED
    outcome = task.test(result.network, test, settings, shared_engine)
    if not ranks.is_first:
        return INTERRUPTED if result.interrupted else 0
    measured = task.measures(outcome, settings) if task.measures is not None else {}
    tested = {**measured, **_test(outcome, result, task.class_names(settings))}
    write_json(folder / "test.json", {**tested, "left_out": left_out})
    if result.stopped and not run.progress:  # otherwise the progress display has shown it
        print(f"stopped after {len(result.history)} of {record.epochs} epochs: {result.stopped}")
    print(f"test {_figure(outcome, measured)} (best epoch: {result.best_epoch})")
    if run.pictures:
        pictures = folder / "pictures"
        task.pictures(result, settings, pictures, engine=engine)
        print(f"pictures in {pictures}")
    print(f"everything in {folder}")
    return INTERRUPTED if result.interrupted else 0


def _announce(
    task: Experiment[Any],
    settings: ExperimentSettings,
    run: Run,
    engine: Any,
    quick: Mapping[str, Any] | None,
) -> None:
    """Print what is trained, what --quick has set, and on which grid."""
    if quick is not None:
        print(f"{task.name}: --quick sets {as_flags(quick) or 'nothing'}", file=sys.stderr)
    summary = settings.summary()
    if summary:
        print(f"{task.name}: {summary}", file=sys.stderr)
    if run.on_grid:
        where = "a GPU" if engine.device == "cuda" else "the processor"
        grid = f"on a grid of {engine.dt:g} ms, in {engine.precision} on {where}"
        print(f"{task.name}: {grid}", file=sys.stderr)


def _check_before_reading(
    task: Experiment[Any], settings: ExperimentSettings, run: Run, engine: Any
) -> None:
    """Refuse what can be refused before the data are read, which may take long."""
    if getattr(settings, "folds", None) and run.time_limit is not None:
        raise ValueError("--time-limit is for single runs: leave it or --folds out")
    if getattr(settings, "folds", None) and run.mpi:
        raise ValueError(
            "--mpi shares the batches of a single run: leave it out, as folds can be trained "
            "side by side, or leave --folds out"
        )
    for name in ("epochs", "batch_size"):
        number = settings.number(name)
        if number is not None:
            checked_integer(number, name, 1)
    duration = check_duration(settings.number("duration"))
    if run.on_grid:
        from evsim_gpu.model.time_grid import steps_in

        with naming("dt", "duration"):
            steps_in(duration, engine.dt)
    task.network(settings)
    task.loss(settings)
    task.optimizers(settings)


def _compile(task: Experiment[Any], settings: ExperimentSettings, run: Run, engine: Any) -> None:
    """Compile what training needs before it begins, so that no time limit counts it."""
    from evsim.precompile import precompile_training
    from evsim.training.trained_parameters import assign_optimizers

    network = task.network(settings)
    trained = list(assign_optimizers(task.optimizers(settings), network.parameters))
    duration = settings.number("duration")
    done = precompile_training(engine, network, task.loss(settings), trained, duration)
    if done.compiled and run.time_limit is not None:
        print(
            f"{task.name}: compiled in {done.seconds:.0f} s; the time limit counts from here",
            file=sys.stderr,
        )


def _compile_first(
    task: Experiment[Any],
    settings: ExperimentSettings,
    run: Run,
    engine: Any,
    communicator: Any,
) -> None:
    """Compile on one rank of each machine; then the others find the machine code."""
    if communicator is None:
        _compile(task, settings, run, engine)
        return
    from evsim.distributed.shared_data import ranks_of_machine

    ranks = ranks_of_machine(communicator)
    for is_turn in (ranks.is_first, not ranks.is_first):
        with ranks.together():
            if is_turn:
                _compile(task, settings, run, engine)


def _read(
    task: Experiment[Any], settings: ExperimentSettings, communicator: Any
) -> tuple[Parts, list[str]]:
    """The data, which several ranks read once per machine, and what was left out of them."""
    left_out: list[str] = []

    def read() -> Parts:
        parts, found = find_data(task, settings)
        left_out.extend(found)
        return parts

    if communicator is None:
        return read(), left_out
    from evsim.distributed.shared_data import read_once

    training, validation, test = read_once(communicator, read)
    assert training is not None
    assert test is not None
    return (training, validation, test), left_out


def find_data(task: Experiment[Any], settings: ExperimentSettings) -> tuple[Parts, list[str]]:
    """Read the data before training, and print and return what was left out of them.

    If files are missing, the message names the flags that help.
    """
    from evsim.data import SpikesLeftOutWarning

    with warnings.catch_warnings(record=True) as caught, missing_files_told():
        warnings.simplefilter("always", SpikesLeftOutWarning)
        parts = task.data(settings)
    left_out = []
    for warning in caught:
        if issubclass(warning.category, SpikesLeftOutWarning):
            left_out.append(str(warning.message))
            print(f"evsim: {left_out[-1]}", file=sys.stderr)
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    return parts, left_out


@contextmanager
def missing_files_told() -> Iterator[None]:
    """Name the flags that help if files are missing."""
    from evsim.data.fetching import MissingFilesError

    try:
        yield
    except MissingFilesError as error:
        remedy = error.remedy("fetch them with --download", "--data")
        raise FileNotFoundError(f"{error.absence}; {remedy}") from error


def _figure(outcome: Evaluation, measured: Mapping[str, float]) -> str:
    """The figure that says how good a test was: the accuracy, or the task's own measure."""
    if outcome.accuracy is not None:
        return f"accuracy {100 * outcome.accuracy:.1f} %"
    name, value = next(iter(measured.items()), ("loss", outcome.loss))
    unit = " µs" if name.endswith("_us") else ""
    return f"{name.removesuffix('_us').replace('_', ' ')} {value:.4g}{unit}"


def _test(outcome: Evaluation, result: FitResult, names: Sequence[str]) -> dict[str, Any]:
    """The content of test.json.

    Rows of the confusion matrix are true classes, columns are predicted ones.
    """
    if outcome.accuracy is None:
        return {"loss": outcome.loss, "best_epoch": result.best_epoch}
    by_class = zip(names, outcome.accuracy_by_class.tolist(), strict=True)
    return {
        "accuracy": outcome.accuracy,
        "loss": outcome.loss,
        "best_epoch": result.best_epoch,
        "accuracy_by_class": {name: None if a != a else a for name, a in by_class},
        "confusion": outcome.confusion.tolist(),
        "unclassified": outcome.unclassified.tolist(),
    }


def _cross_validate(
    task: Experiment[Any],
    settings: ExperimentSettings,
    folder: Path,
    options: RunOptions,
    left_out: list[str],
) -> int:
    """Train and test once for each fold; returns the exit status."""
    assert task.cross_validate is not None
    scores = task.cross_validate(settings, **options)
    for name, accuracy in zip(scores.names, scores.values, strict=True):
        print(f"{name}: {100 * accuracy:.1f} %")
    spread = 100 * scores.standard_deviation
    print(f"mean {100 * scores.mean:.1f} %, standard deviation {spread:.1f} %")
    write_json(
        folder / "folds.json",
        {
            "accuracy": dict(zip(scores.names, scores.values.tolist(), strict=True)),
            "mean": scores.mean,
            "standard_deviation": scores.standard_deviation if len(scores.names) > 1 else None,
            "left_out": left_out,
        },
    )
    print(f"everything in {folder}")
    return INTERRUPTED if scores.interrupted else 0


class _TimeLimit:
    """A callback that ends training after the epoch in which the time has run out."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self.started = time.monotonic()

    def __call__(self, state: TrainingState) -> None:
        if self.seconds is None or state.epoch == state.epochs:
            return
        if time.monotonic() - self.started >= self.seconds:
            from evsim.training.fitting import StopTraining

            raise StopTraining(f"the time limit of {self.seconds:g} s")
