"""Running something once for each fold or seed, and collecting the scores."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from evsim.arguments.checks import (
    check_flag,
    check_function,
    check_number,
    checked_integer,
    listed,
    shown,
)
from evsim.arguments.keywords import helpful
from evsim.study.folds import Fold
from evsim.study.scores import Scores
from evsim.training.evaluation import Evaluation
from evsim.training.fitting import FitResult

_FOLDS = "give a list of what k_fold or leave_one_group_out return"

Outcome = float | FitResult | Evaluation | Scores


@helpful
def cross_validate(
    train: Callable[[Fold, int], Outcome],
    folds: Sequence[Fold],
    *,
    seed: int = 0,
    progress: bool = True,
) -> Scores:
    """Train once for each fold and collect the scores.

    Parameters
    ----------
    train : function of a fold and a seed
        Returns the score of the fold: a number; an Evaluation, for its accuracy; or a FitResult,
        for the validation accuracy of its best epoch.  ``evsim.fit`` chose this epoch by the
        same accuracy, so the score is slightly too good.  To choose by another measure,
        evaluate the network on ``fold.validation`` and return the Evaluation.
    folds : sequence of Fold
    seed : int
        Passed to ``train``, the same for each fold.
    progress : bool
        Print the score of each fold on standard error.

    Returns
    -------
    Scores
        One per fold.  After Ctrl-C, those of the finished folds; if there are none,
        KeyboardInterrupt is raised.

    Raises
    ------
    TypeError, ValueError
        If there are no folds, and for results that are not scores.
    """
    check_function(train, "train", "give a function of a fold and a seed")
    seed = checked_integer(seed, "seed", 0)
    folds = listed(folds, "folds", _FOLDS)
    for fold in folds:
        if not isinstance(fold, Fold):
            raise TypeError(f"folds holds {shown(fold)}: {_FOLDS}")
    runs = [(fold.name, lambda fold=fold: train(fold, seed)) for fold in folds]
    return _collect(runs, "folds", progress)


@helpful
def repeat(run: Callable[[int], Outcome], seeds: Iterable[int], *, progress: bool = True) -> Scores:
    """Run once for each seed and collect the scores.

    ``run`` may return the same as the function for ``cross_validate``, or Scores, for their mean,
    so that a whole cross-validation can be repeated::

        repeat(lambda seed: cross_validate(train, folds, seed=seed), seeds=range(8))

    It returns, raises and stops like ``cross_validate``, with seeds in place of folds.
    """
    check_function(run, "run", "give a function of a seed")
    runs = []
    seen = set()
    for place, each in enumerate(listed(seeds, "seeds", "give a list of integers")):
        seed = checked_integer(each, f"seeds[{place}]", 0)
        if seed in seen:
            raise ValueError(f"seeds holds {seed} twice: it would count the same run again")
        seen.add(seed)
        runs.append((f"seed {seed}", lambda seed=seed: run(seed)))
    return _collect(runs, "seeds", progress)


class _InterruptedRunError(Exception):
    """Ctrl-C has ended a run early."""


def _collect(
    runs: Sequence[tuple[str, Callable[[], Outcome]]], argument: str, progress: bool
) -> Scores:
    """The scores of the named runs that finish."""
    check_flag(progress, "progress")
    if not runs:
        raise ValueError(f"{argument} is empty: give at least one")
    names: list[str] = []
    values: list[float] = []
    interrupted = False
    for name, run in runs:
        try:
            value = _score(run())
        except (KeyboardInterrupt, _InterruptedRunError):
            if not names:
                raise KeyboardInterrupt from None
            interrupted = True
            break
        except Exception as error:
            error.add_note(f"in {name}")
            raise
        names.append(name)
        values.append(value)
        if progress:
            place = f"{len(names)} of {len(runs)}"
            print(f"{name}: {value:.4f} ({place} {argument})", file=sys.stderr, flush=True)
    return Scores(tuple(names), np.array(values), interrupted)


def _score(outcome: Outcome) -> float:
    """The score of an outcome."""
    if isinstance(outcome, (FitResult, Scores)) and outcome.interrupted:
        raise _InterruptedRunError
    value: Any = outcome
    if isinstance(outcome, FitResult):
        value = _best_accuracy(outcome)
    elif isinstance(outcome, Evaluation):
        value = outcome.accuracy
    elif isinstance(outcome, Scores):
        value = outcome.mean
    try:
        check_number(value, "the score")
    except TypeError as error:
        raise TypeError(
            f"the score is of type {type(value).__name__}: return a number, an Evaluation or a "
            "FitResult"
        ) from error
    if not np.isfinite(value):
        raise ValueError(f"the score is {value}: it must be finite")
    return float(value)


def _best_accuracy(result: FitResult) -> float:
    accuracy = None
    if result.best_epoch:
        accuracy = result.history[result.best_epoch - 1].validation_accuracy
    if accuracy is None:
        raise ValueError(
            "the FitResult has no validation accuracy: give fit validation=fold.validation, or "
            "return evsim.evaluate(result.network, fold.validation, ...)"
        )
    return accuracy
