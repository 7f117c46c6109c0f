"""study: cross-validation and repetition over seeds.

Ten folds, each with one speaker held out, of a dataset that knows its speakers::

    def train(fold, seed):
        return evsim.fit(network(seed), fold.train, loss, duration=1000.0, epochs=50,
                         optimizers=optimizers, validation=fold.validation, seed=seed)

    scores = study.cross_validate(train, study.leave_one_group_out(data))
    print(scores)        # 0.920 ± 0.031 (10 scores)

Folds run one after the other: each keeps all cores busy by itself.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evsim.arguments.checks import (
    check_flag,
    check_function,
    check_is,
    check_number,
    checked_integer,
    listed,
    shown,
)
from evsim.arguments.keywords import helpful
from evsim.data.dataset import Dataset
from evsim.display.short_repr import Brief
from evsim.network.sample_selection import chosen_samples
from evsim.training.evaluation import Evaluation
from evsim.training.fitting import FitResult

__all__ = [
    "Fold",
    "Scores",
    "cross_validate",
    "k_fold",
    "leave_one_group_out",
    "repeat",
]


# -- folds --------------------------------------------------------------------------------


@helpful
@dataclass(frozen=True, eq=False, repr=False)
class Fold:
    """One division of a dataset into samples to train on and samples held out.

    Parameters
    ----------
    name : str
    data : Dataset
        The whole dataset; folds of one dataset share it.
    held_out : array of int64, shape (held-out samples,)
        Their indices in the data, ascending.
    """

    name: str
    data: Dataset
    held_out: np.ndarray

    def __post_init__(self) -> None:
        check_is(self.name, "name", str, "give words")
        check_is(self.data, "data", Dataset, "give an evsim.Dataset")
        check_is(self.held_out, "held_out", np.ndarray, "give an array of indices")
        try:
            held_out = chosen_samples(self.held_out, len(self.data), "held_out")
        except IndexError as error:
            raise ValueError(f"held_out: {error}") from None
        object.__setattr__(self, "held_out", held_out)
        self.held_out.setflags(write=False)

    @property
    def train(self) -> Dataset:
        """The samples to train on, in the order of the data, copied at each access."""
        kept = np.ones(len(self.data), bool)
        kept[self.held_out] = False
        return self.data[np.flatnonzero(kept)]

    @property
    def validation(self) -> Dataset:
        """The samples held out, in the order of the data, copied at each access."""
        return self.data[self.held_out]

    def __repr__(self) -> str:
        return f"Fold({self.name!r}, {self.held_out.size} of {len(self.data)} samples held out)"


@helpful
def k_fold(
    data: Dataset | tuple[Any, Any], folds: int, *, seed: int = 0, stratified: bool = True
) -> list[Fold]:
    """Divide a dataset into parts of equal size, each of them held out once.

    Parameters
    ----------
    data : Dataset or pair (spikes, labels)
        Groups are not looked at: where samples of one group resemble each other, as those of
        one speaker do, use ``leave_one_group_out``.
    folds : int
        How many; sizes differ by at most 1.
    seed : int
        Decides which sample is held out in which fold.
    stratified : bool
        Spread each class evenly: its numbers in any two folds differ by at most 1.

    Raises
    ------
    TypeError, ValueError
        For fewer than 2 folds or more than samples; with ``stratified`` for labels that are
        no classes and for a class with one sample, which nothing could be learned about in
        the fold that holds it out.
    """
    data = Dataset.of(data)
    check_flag(stratified, "stratified")
    folds = checked_integer(folds, "folds", 2)
    if folds > len(data):
        raise ValueError(f"folds = {folds}: {len(data)} samples make at most as many folds")
    stream = np.random.SeedSequence(checked_integer(seed, "seed", 0))
    order = np.random.default_rng(stream).permutation(len(data))
    if stratified:
        classes = _classes(data)
        order = order[np.argsort(classes[order], kind="stable")]
    # Dealt in turn: neighbours, so also the samples of one class, go to different folds.
    return [
        Fold(f"fold {fold + 1} of {folds}", data, _frozen(order[fold::folds]))
        for fold in range(folds)
    ]


@helpful
def leave_one_group_out(data: Dataset | tuple[Any, Any]) -> list[Fold]:
    """One fold for each group of a dataset, such as a speaker, in which it is held out.

    Raises
    ------
    ValueError
        For data without groups or with a single one, and for samples of group -1, which are
        blended of several.
    """
    data = Dataset.of(data)
    if data.groups is None:
        raise ValueError(
            "the dataset has no groups: give Dataset(spikes, labels, groups=...) the group of "
            "each sample"
        )
    if data.groups.size and data.groups.min() < 0:
        sample = int(np.argmax(data.groups < 0))
        raise ValueError(
            f"groups[{sample}] = {data.groups[sample]}: a sample of no single group would be "
            "trained on while its groups are held out; make the folds first, then augment "
            "fold.train"
        )
    groups = np.unique(data.groups)
    if groups.size < 2:
        raise ValueError(
            f"the dataset has {groups.size} group{'s' * (groups.size != 1)} in {len(data)} "
            "samples: leaving one out needs at least two"
        )
    return [
        Fold(f"group {_name_of(data, group)}", data, _frozen(np.flatnonzero(data.groups == group)))
        for group in groups
    ]


def _name_of(data: Dataset, group: int) -> str:
    return str(group) if data.group_names is None else data.group_names[group]


def _classes(data: Dataset) -> np.ndarray:
    """The class of each sample; refuses what cannot be spread over folds."""
    if not data.has_classes:
        raise ValueError(
            f"labels are targets of shape {data.labels.shape[1:]}, and folds are stratified by "
            "class: pass stratified=False"
        )
    classes, sizes = np.unique(data.labels, return_counts=True)
    if sizes.min() < 2:
        raise ValueError(
            f"class {classes[np.argmin(sizes)]} has a single sample, which cannot be both "
            "trained on and held out: leave it out, or pass stratified=False"
        )
    return data.labels


def _frozen(indices: np.ndarray) -> np.ndarray:
    indices = np.sort(indices)
    indices.setflags(write=False)
    return indices


# -- scores -------------------------------------------------------------------------------


@helpful
@dataclass(frozen=True, eq=False, repr=False)
class Scores(Brief):
    """The scores of several runs.

    Parameters
    ----------
    names : tuple of str
        Of the runs that were finished: their folds or seeds.
    values : array, shape (runs,)
    interrupted : bool
        Whether Ctrl-C ended the last run that was begun; it has no score here.
    """

    names: tuple[str, ...]
    values: np.ndarray
    interrupted: bool = False

    def __post_init__(self) -> None:
        names = listed(self.names, "names", "give a list of names")
        for name in names:
            check_is(name, "a name in names", str, "give words")
        object.__setattr__(self, "names", names)
        values = np.asarray(self.values)
        if values.shape != (len(self.names),) or values.dtype.kind not in "iuf":
            raise ValueError(
                f"values = {shown(self.values)}: give one number for each of the "
                f"{len(self.names)} names"
            )
        object.__setattr__(self, "values", values)
        check_flag(self.interrupted, "interrupted")

    @property
    def mean(self) -> float:
        """The mean of the scores."""
        return float(np.mean(self.values))

    @property
    def standard_deviation(self) -> float:
        """That of the population the scores are drawn from (n - 1); NaN for a single score."""
        return float(np.std(self.values, ddof=1)) if self.values.size > 1 else float("nan")

    def __str__(self) -> str:
        count = self.values.size
        spread = f" ± {self.standard_deviation:.3f}" if count > 1 else ""
        ended = ", interrupted" if self.interrupted else ""
        return f"{self.mean:.3f}{spread} ({count} score{'s' * (count != 1)}{ended})"


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
        Returns the fold's score: a number; an Evaluation, for its accuracy; or a FitResult,
        for the validation accuracy of its best epoch.  That epoch is the one that
        ``evsim.fit`` chose by the same accuracy, so the score is a little too good; to choose
        by something else, evaluate that network on ``fold.validation`` and return the
        Evaluation.
    folds : sequence of Fold
    seed : int
        Handed to ``train``, the same for each fold.
    progress : bool
        Say on standard error how each fold ends.

    Returns
    -------
    Scores
        One per fold.  After Ctrl-C those of the folds that were finished; KeyboardInterrupt
        goes on if there are none.

    Raises
    ------
    TypeError, ValueError
        For no folds, and for what is no score.
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

    ``run`` returns what the function given to ``cross_validate`` may return, or Scores, for
    their mean, so that cross-validation can be repeated as a whole::

        repeat(lambda seed: cross_validate(train, folds, seed=seed), seeds=range(8))

    Returns, raises and stops as ``cross_validate``, with seeds for folds.
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
    """A run says that Ctrl-C ended it before its end."""


def _collect(
    runs: Sequence[tuple[str, Callable[[], Outcome]]], argument: str, progress: bool
) -> Scores:
    """The scores of named runs, as far as they are finished."""
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
    """The number that an outcome stands for."""
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
