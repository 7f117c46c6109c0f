"""Splitting samples into parts in which the classes keep their proportions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from evsim.arguments.checks import check_number, checked_integer, integer_array, listed
from evsim.arguments.errors import ArgumentError
from evsim.arguments.keywords import helpful
from evsim.data.dataset import Dataset
from evsim.network.initialisers import named_stream


@helpful
def stratified_split(
    labels: np.ndarray, fractions: tuple[float, ...], seed: int
) -> tuple[np.ndarray, ...]:
    """Divide samples at random into parts, one more than there are fractions.

    Part p gets the fraction ``fractions[p]`` of each class, rounded to whole samples.  The last
    part gets the rest.

    Parameters
    ----------
    labels : array of int, shape (samples,)
    fractions : tuple of float
        Shares of all but the last part, > 0, with a sum below 1.
    seed : int
        The seed of the random choice.

    Returns
    -------
    tuple of int64 arrays
        The samples of each part in increasing order; every sample is in one part.
    """
    fractions = listed(fractions, "fractions", "give a tuple of numbers")
    for place, fraction in enumerate(fractions):
        check_number(fraction, f"fractions[{place}]")
    if not all(fraction > 0 for fraction in fractions) or not sum(fractions) < 1:
        raise ValueError(
            f"fractions = {fractions}: they must be > 0 and leave a rest for the last part"
        )
    labels = integer_array(labels, "labels")
    if labels.ndim != 1:
        raise TypeError(
            f"labels has shape {labels.shape}: give an integer for each sample, shape (samples,)"
        )
    random = np.random.default_rng(checked_integer(seed, "seed", 0))
    part_of = np.empty(labels.size, np.int64)
    for label in np.unique(labels):
        samples = random.permutation(np.flatnonzero(labels == label))
        bounds = np.rint(np.cumsum(fractions) * samples.size).astype(np.int64)
        for part, members in enumerate(np.split(samples, bounds)):
            part_of[members] = part
    return tuple(np.flatnonzero(part_of == part) for part in range(len(fractions) + 1))


def shuffled_by_class(labels: np.ndarray, stream: np.random.SeedSequence) -> np.ndarray:
    """The indices of all samples, class after class; each class is in random order."""
    order = np.random.default_rng(stream).permutation(len(labels))
    return order[np.argsort(labels[order], kind="stable")]


def draw_in_proportion(data: Dataset, size: int, name: str, seed: int) -> tuple[Dataset, Dataset]:
    """Draw samples in proportion to the classes; return these and the others.

    ``name`` is the name of the drawn samples, such as "train"; each name has its own random stream.
    """
    if size > len(data):
        raise ArgumentError(
            f"{name}_size = {size}: there are only {len(data)} samples", f"{name}_size"
        )
    by_class = shuffled_by_class(data.labels, named_stream(seed, name))
    counts = np.unique(data.labels, return_counts=True)[1]
    # Round the share of each class down, then add one to the classes that lost most by rounding.
    shares = size * counts
    wanted = shares // len(data)
    wanted[np.argsort(-(shares % len(data)), kind="stable")[: size - wanted.sum()]] += 1
    place = np.concatenate([np.arange(count) for count in counts])
    taken = np.zeros(len(data), bool)
    taken[by_class[place < np.repeat(wanted, counts)]] = True
    return data[np.flatnonzero(taken)], data[np.flatnonzero(~taken)]


def drawn_parts(
    training: Dataset,
    test: Dataset,
    *,
    validation_size: int,
    train_size: int | None,
    test_size: int | None,
    seed: int,
) -> tuple[Dataset, Dataset | None, Dataset]:
    """Training, validation and test samples, drawn in proportion to the classes.

    Validation samples are drawn from the training samples; 0 gives None.  A size of None keeps all
    samples.
    """
    validation = None
    if validation_size:
        validation, training = draw_in_proportion(training, validation_size, "validation", seed)
    if train_size is not None:
        training, _ = draw_in_proportion(training, train_size, "train", seed)
    if test_size is not None:
        test, _ = draw_in_proportion(test, test_size, "test", seed)
    return training, validation, test


def only_classes(data: Dataset, classes: tuple[int, ...] | None) -> Dataset:
    """The samples of some classes, numbered from 0 in the given order; None keeps them all."""
    if classes is None:
        return data
    chosen = data[np.flatnonzero(np.isin(data.labels, classes))]
    number = np.full(max(classes) + 1, -1)
    number[list(classes)] = np.arange(len(classes))
    return replace(chosen, labels=number[chosen.labels])
