"""Folds: divisions of a dataset into samples to train on and samples held out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from evsim.arguments.checks import check_flag, check_is, checked_integer
from evsim.arguments.keywords import helpful
from evsim.data.dataset import Dataset
from evsim.data.splits import shuffled_by_class
from evsim.network.sample_selection import chosen_samples


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
        object.__setattr__(self, "held_out", np.unique(held_out))
        if self.held_out.size < held_out.size:
            raise ValueError("held_out holds a sample twice: give each index once")
        self.held_out.setflags(write=False)

    @property
    def train(self) -> Dataset:
        """The samples to train on, in the order of the data; each access copies them."""
        kept = np.ones(len(self.data), bool)
        kept[self.held_out] = False
        return self.data[np.flatnonzero(kept)]

    @property
    def validation(self) -> Dataset:
        """The held-out samples, in the order of the data; each access copies them."""
        return self.data[self.held_out]

    def __repr__(self) -> str:
        return f"Fold({self.name!r}, {self.held_out.size} of {len(self.data)} samples held out)"


@helpful
def k_fold(
    data: Dataset | tuple[Any, Any], folds: int, *, seed: int = 0, stratified: bool = True
) -> list[Fold]:
    """Divide a dataset into parts of equal size; each fold holds out one of them.

    Parameters
    ----------
    data : Dataset or pair (spikes, labels)
        Groups are ignored.  If samples of a group resemble each other, such as those of one
        speaker, use ``leave_one_group_out``.
    folds : int
        The number of folds; their sizes differ by at most 1.
    seed : int
        The seed that decides which samples each fold holds out.
    stratified : bool
        Divide each class evenly: its numbers in any two folds differ by at most 1.

    Raises
    ------
    TypeError, ValueError
        For fewer than 2 folds, and for more folds than samples; with ``stratified``, for labels
        that are not classes, and for a class with a single sample: the fold that holds it out would
        have no training sample of the class.
    """
    data = Dataset.of(data)
    check_flag(stratified, "stratified")
    folds = checked_integer(folds, "folds", 2)
    if folds > len(data):
        raise ValueError(f"folds = {folds}: {len(data)} samples make at most as many folds")
    stream = np.random.SeedSequence(checked_integer(seed, "seed", 0))
    classes = _classes(data) if stratified else np.zeros(len(data), np.int64)
    order = shuffled_by_class(classes, stream)
    # Deal the samples in turn, so that neighbours, and so those of a class, go to different folds.
    return [
        Fold(f"fold {fold + 1} of {folds}", data, _frozen(order[fold::folds]))
        for fold in range(folds)
    ]


@helpful
def leave_one_group_out(data: Dataset | tuple[Any, Any]) -> list[Fold]:
    """One fold for each group of a dataset, such as a speaker; the fold holds out that group.

    Raises
    ------
    ValueError
        For data without groups or with a single group, and for samples of group -1, which are
        blended from several groups.
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
    """The class of each sample; classes that cannot be divided into folds are refused."""
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
