"""Splitting samples into parts in which the classes keep their shares."""

from __future__ import annotations

import numpy as np

from evsim.arguments.checks import check_number, checked_integer, integer_array, listed
from evsim.arguments.keywords import helpful


@helpful
def stratified_split(
    labels: np.ndarray, fractions: tuple[float, ...], seed: int
) -> tuple[np.ndarray, ...]:
    """Sort samples at random into one part more than there are fractions.

    Part p gets the fraction ``fractions[p]`` of each class, rounded to whole samples, and the
    last part the rest.

    Parameters
    ----------
    labels : array of int, shape (samples,)
    fractions : tuple of float
        Shares of all but the last part, > 0, with a sum below 1.
    seed : int
        Of the random choice.

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
