"""What a study runs: an experiment, or a function of settings and a seed.

Both are found by the name of their module, so that a process on any machine can run them.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from evsim.arguments.checks import check_is, check_number, shown, unknown_name
from evsim.data.dataset import Dataset
from evsim.study.cells.stopping import StopWhenAsked
from evsim.study.folds import Fold, k_fold, leave_one_group_out
from evsim.training.evaluation import Evaluation
from evsim.training.fitting import FitResult
from evsim.training.trained_parameters import assign_optimizers

Measures = dict[str, float | int | str | None]
"""The numbers that a run ends with, by name."""

Folds = int | str | None
"""The number of parts of a k-fold, "groups" to leave one group out, or None."""

_WHAT = (
    "give the module of a task, such as evsim.tasks.yin_yang, or a function of the settings and "
    "the seed"
)


@dataclass(frozen=True)
class RunPlan:
    """How one run of a study is carried out.

    Parameters
    ----------
    settings : dict
        All settings but the seed.
    seed : int
    folds : int, "groups" or None
    fold : str or None
        The name of the fold.
    validate : bool
        Whether the task's validation samples choose the best epoch; otherwise they are trained on.
    """

    settings: dict[str, Any]
    seed: int
    folds: Folds = None
    fold: str | None = None
    validate: bool = True


@dataclass(frozen=True)
class RunMeans:
    """What a run is carried out with: its engine, its folder, and what may stop it."""

    engine: Any
    folder: Path
    stop: StopWhenAsked


class Subject(Protocol):
    """What a study runs."""

    @property
    def reference(self) -> str:
        """The module and the name by which other processes find it, "module:name"."""

    def check(self, settings: Mapping[str, Any], seed: int) -> None:
        """Refuse settings that it does not have or that it does not accept."""

    def fold_names(self, settings: dict[str, Any], folds: Folds, validate: bool) -> list[str]:
        """The names of the folds of its training samples."""

    def epochs(self, settings: dict[str, Any]) -> int | None:
        """The number of epochs of a run; None if it is not known."""

    def compile(self, settings: dict[str, Any], engine: Any) -> None:
        """Compile what runs need, so that not every process of a machine has to."""

    def run(self, plan: RunPlan, means: RunMeans) -> Measures:
        """Run once, or go on with a run that was interrupted."""


# -- finding ------------------------------------------------------------------------------


def subject_of(given: Any) -> Subject:
    """The subject that a user gives: a task's module, an experiment or a function.

    Text "module:name" stands for what a module has under that name.

    Raises TypeError and ValueError for what other processes cannot find.
    """
    if isinstance(given, str):
        return subject_named(given)
    experiment = getattr(given, "experiment", None) if isinstance(given, ModuleType) else given
    if _is_experiment(experiment):
        return OfExperiment(_reference_of_experiment(experiment), experiment)
    if isinstance(given, ModuleType) or not callable(given) or isinstance(given, type):
        raise TypeError(f"task = {shown(given)}: {_WHAT}")
    return OfFunction(_reference_of_function(given), given)


def subject_named(reference: str) -> Subject:
    """The subject with this reference, "module:name".

    Raises ValueError if there is none.
    """
    module, colon, name = reference.partition(":")
    if not (module and colon and name):
        raise ValueError(
            f"task = {shown(reference)}: give module:name, such as my_experiment:train"
        )
    try:
        found = getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise ValueError(
            f"there is no module {module} for task = {shown(reference)}: name one that Python "
            "finds on every machine of the study"
        ) from error
    except AttributeError as error:
        raise ValueError(f"task = {shown(reference)}: {error}") from error
    if _is_experiment(found):
        return OfExperiment(reference, found)
    if not callable(found):
        raise TypeError(f"task = {shown(reference)} is {shown(found)}: {_WHAT}")
    return OfFunction(reference, found)


def _is_experiment(given: Any) -> bool:
    parts = ("settings_type", "data", "fit", "test")
    return not isinstance(given, type) and all(hasattr(given, part) for part in parts)


def _reference_of_experiment(experiment: Any) -> str:
    """Experiments are found in the module of their settings."""
    module = experiment.settings_type.__module__
    for name, value in vars(sys.modules[module]).items():
        if value is experiment:
            return f"{module}:{name}"
    raise ValueError(
        f"task = {shown(experiment)}: other processes look for it in {module}, the module of its "
        "settings: give it a name there"
    )


def _reference_of_function(function: Any) -> str:
    name = getattr(function, "__qualname__", type(function).__qualname__)
    module = getattr(function, "__module__", None)
    if getattr(sys.modules.get(str(module)), name, None) is not function:
        raise ValueError(
            f"task = {shown(function)}: other processes find a function by its module and name, "
            "define it with def at the top of a module"
        )
    return f"{module}:{name}"


# -- experiments --------------------------------------------------------------------------


@dataclass(frozen=True)
class OfExperiment:
    """An experiment: its settings, its data, and how a network is trained and tested."""

    reference: str
    experiment: Any

    def check(self, settings: Mapping[str, Any], seed: int) -> None:
        known = [field.name for field in dataclasses.fields(self.experiment.settings_type)]
        for name in settings:
            if name not in known:
                raise ValueError(unknown_name(f"setting of {self._name}", name, known))
            if name == "folds":
                raise ValueError("folds are no setting of a study: give Study(..., folds='groups')")
        self._settings(settings, seed)

    @property
    def _name(self) -> str:
        return str(getattr(self.experiment, "name", self.reference))

    def _settings(self, settings: Mapping[str, Any], seed: int) -> Any:
        return self.experiment.settings_type(**{**settings, "seed": seed})

    def fold_names(self, settings: dict[str, Any], folds: Folds, validate: bool) -> list[str]:
        training, validation, _ = self.experiment.data(self._settings(settings, 0))
        return list(_folds_of(_all_training(training, validation), folds))

    def epochs(self, settings: dict[str, Any]) -> int | None:
        made = self._settings(settings, 0)
        number = made.number("epochs") if hasattr(made, "number") else None
        return None if number is None else int(number)

    def compile(self, settings: dict[str, Any], engine: Any) -> None:
        from evsim.engines.reference import Reference
        from evsim.precompile import precompile_training

        parts = ("network", "loss", "optimizers")
        if isinstance(engine, Reference) or not all(hasattr(self.experiment, p) for p in parts):
            return
        made = self._settings(settings, 0)
        network, loss, optimizers = (getattr(self.experiment, part)(made) for part in parts)
        trained = list(assign_optimizers(optimizers, network.parameters))
        precompile_training(engine, network, loss, trained)

    def run(self, plan: RunPlan, means: RunMeans) -> Measures:
        settings = self._settings(plan.settings, plan.seed)
        training, validation, test = self.experiment.data(settings)
        if plan.fold is not None:
            training, validation, test = self._fold(training, validation, plan)
        elif not plan.validate:
            training, validation = _all_training(training, validation), None
        settings = _watching_what_there_is(settings, validation)
        result = self.experiment.fit(
            settings,
            training,
            validation,
            engine=means.engine,
            callbacks=[means.stop],
            run_folder=means.folder,
            resume=True,
            progress=False,
        )
        if result.interrupted or means.stop.has_stopped:
            raise KeyboardInterrupt
        tested = self.experiment.test(result.network, test, settings, means.engine)
        return {**_tested(tested), **_trained(result)}

    def _fold(
        self, training: Dataset, validation: Dataset | None, plan: RunPlan
    ) -> tuple[Dataset, None, Dataset]:
        """A fold of all training samples: what is held out chooses nothing, and is tested on."""
        folds = _folds_of(_all_training(training, validation), plan.folds)
        if plan.fold not in folds:
            raise ValueError(
                f"the data have no fold {plan.fold}: they have {', '.join(folds)}, and every "
                "combination of a study must have the same folds"
            )
        return folds[plan.fold].train, None, folds[plan.fold].validation


def _all_training(training: Dataset, validation: Dataset | None) -> Dataset:
    """All samples that are not for testing."""
    return training if validation is None else Dataset.concatenate([training, validation])


def _folds_of(data: Dataset, folds: Folds) -> dict[str, Fold]:
    """The folds by name, without the word that says what is held out."""
    made = leave_one_group_out(data) if folds == "groups" else k_fold(data, int(folds or 0))
    return {fold.name.partition(" ")[2]: fold for fold in made}


def _watching_what_there_is(settings: Any, validation: Dataset | None) -> Any:
    """Settings that watch the training samples if there are none for validation."""
    watch = getattr(settings, "watch", None)
    if validation is None and isinstance(watch, str) and watch.startswith("validation_"):
        return dataclasses.replace(settings, watch=watch.removeprefix("validation_"))
    return settings


# -- functions ----------------------------------------------------------------------------


@dataclass(frozen=True)
class OfFunction:
    """A function of the settings, a dict, and the seed.

    It returns a number, an Evaluation, a FitResult or a mapping from names to numbers.  If it has
    an argument ``folder``, it is given the folder of the run, for files by which it can go on with
    a run that was interrupted.
    """

    reference: str
    function: Callable[..., Any]

    def check(self, settings: Mapping[str, Any], seed: int) -> None:
        pass

    def fold_names(self, settings: dict[str, Any], folds: Folds, validate: bool) -> list[str]:
        raise ValueError(
            f"folds = {folds!r}: only the data of a task can be divided into folds; make the fold "
            "a setting of the function"
        )

    def epochs(self, settings: dict[str, Any]) -> int | None:
        return None

    def compile(self, settings: dict[str, Any], engine: Any) -> None:
        pass

    def run(self, plan: RunPlan, means: RunMeans) -> Measures:
        has_folder = "folder" in inspect.signature(self.function).parameters
        options = {"folder": means.folder} if has_folder else {}
        return measures_of(self.function(dict(plan.settings), plan.seed, **options))


def measures_of(outcome: Any) -> Measures:
    """The measures in what a function returns.

    Raises TypeError for other results.
    """
    if isinstance(outcome, FitResult):
        if outcome.interrupted:
            raise KeyboardInterrupt
        return _trained(outcome)
    if isinstance(outcome, Evaluation):
        return _tested(outcome)
    named = outcome if isinstance(outcome, Mapping) else {"score": outcome}
    measures: Measures = {}
    for name, value in named.items():
        check_is(name, "the name of a measure", str, "give words")
        check_number(value, f"the measure {name}", _A_RESULT)
        measures[name] = value.item() if hasattr(value, "item") else value
    return measures


_A_RESULT = "a number; return a number, a mapping to numbers, an Evaluation or a FitResult"


def _tested(outcome: Evaluation) -> Measures:
    return {"accuracy": outcome.accuracy, "loss": outcome.loss, "samples": len(outcome.losses)}


def _trained(result: FitResult) -> Measures:
    """What is told of training; of the best epoch, as far as it is known."""
    measures: Measures = {"best_epoch": result.best_epoch, "epochs": len(result.history)}
    if result.best_epoch:
        best = result.history[result.best_epoch - 1]
        for name in ("validation_accuracy", "validation_loss"):
            if getattr(best, name) is not None:
                measures[name] = getattr(best, name)
    return measures
