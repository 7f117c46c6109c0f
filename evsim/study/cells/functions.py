"""Functions of settings and a seed in a study, and what they may return."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from evsim.arguments.checks import check_is, check_number
from evsim.study.cells.measures import tested, trained
from evsim.study.cells.plan import Folds, Measures, RunPlace, RunPlan
from evsim.training.evaluation import Evaluation
from evsim.training.fitting import FitResult


@dataclass(frozen=True)
class OfFunction:
    """A function of the settings, a dict, and the seed.

    It returns a number, an Evaluation, a FitResult or a mapping from names to numbers.  If it has
    an argument ``folder``, it receives the folder of the run, for files from which it can continue
    an interrupted run.
    """

    reference: str
    function: Callable[..., Any]

    def check(self, settings: Mapping[str, Any], seed: int) -> None:
        pass

    def fold_names(self, settings: dict[str, Any], folds: Folds) -> list[str]:
        raise ValueError(
            f"folds = {folds!r}: only the data of a task can be divided into folds; make the fold "
            "a setting of the function"
        )

    def epochs(self, settings: dict[str, Any]) -> int | None:
        return None

    def compile(self, settings: dict[str, Any], engine: Any) -> None:
        pass

    def run(self, plan: RunPlan, place: RunPlace) -> Measures:
        has_folder = "folder" in inspect.signature(self.function).parameters
        options = {"folder": place.folder} if has_folder else {}
        return measures_of(self.function(dict(plan.settings), plan.seed, **options))


def measures_of(outcome: Any) -> Measures:
    """The measures in what a function returns.

    Raises TypeError for other results.
    """
    if isinstance(outcome, FitResult):
        if outcome.interrupted:
            raise KeyboardInterrupt
        return trained(outcome)
    if isinstance(outcome, Evaluation):
        return tested(outcome)
    named = outcome if isinstance(outcome, Mapping) else {"score": outcome}
    measures: Measures = {}
    for name, value in named.items():
        check_is(name, "the name of a measure", str, "give words")
        check_number(value, f"the measure {name}", _A_RESULT)
        measures[name] = value.item() if hasattr(value, "item") else value
    return measures


_A_RESULT = "a number; return a number, a mapping to numbers, an Evaluation or a FitResult"
