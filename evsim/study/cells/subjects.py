"""Finding what a study runs: an experiment, or a function of settings and a seed.

Both are found by the name of their module, so that a process on any machine can run them.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

from evsim.arguments.checks import shown
from evsim.study.cells.experiments import OfExperiment
from evsim.study.cells.functions import OfFunction
from evsim.study.cells.plan import Subject

_WHAT = (
    "give the module of a task, such as evsim.tasks.yin_yang, or a function of the settings and "
    "the seed"
)


def subject_of(given: Any) -> Subject:
    """The subject that a user gives: a task's module, an experiment or a function.

    The text "module:name" stands for the object of that name in a module.

    Raises TypeError or ValueError for what other processes cannot find.
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
