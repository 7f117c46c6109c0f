"""Which spike of one train is which spike of another: an alignment of least cost.

Both trains belong to one unit.  A pair of spikes costs the distance between their times, a spike
without a partner costs half the largest shift, and pairs keep their order.  So spikes that are
further apart than the largest shift are never a pair, and if a spike is missing, the others keep
their partners.  This is the distance of Victor and Purpura (J. Neurophysiol. 76, 1310, 1996) with a
cost of 2/largest_shift per ms.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

ALONE = 0.5
"""The cost of a spike without a partner, in units of the largest shift."""

EQUAL = 1e-12
"""Costs that differ by less are equal up to rounding."""

Times = NDArray[np.float64]
Indices = NDArray[np.int64]


def align(ours: Times, theirs: Times, largest_shift: float) -> tuple[Indices, Indices]:
    """The pairs of an alignment of two sorted trains: indices into each, (pairs,), ascending.

    If alignments with different pairs cost the same, one of them is returned.
    """
    if are_neighbours(ours, theirs, largest_shift):
        same = np.arange(ours.size)
        return same, same.copy()
    pairs: list[tuple[int, int]] = []
    for mine, other in _clusters(ours, theirs, largest_shift):
        found = _least_cost(ours[mine], theirs[other], largest_shift)
        pairs += [(mine.start + i, other.start + j) for i, j in found]
    flat = np.array(pairs, np.int64).reshape(-1, 2)
    return flat[:, 0], flat[:, 1]


def are_neighbours(ours: Times, theirs: Times, largest_shift: float) -> bool:
    """Whether for each n the n-th spikes are nearest to each other: no alignment costs less."""
    if ours.size != theirs.size:
        return False
    distance = np.abs(ours - theirs)
    if not (distance <= largest_shift).all():
        return False
    later = np.abs(ours[:-1] - theirs[1:]) >= distance[:-1]
    earlier = np.abs(ours[1:] - theirs[:-1]) >= distance[1:]
    return bool(later.all() and earlier.all())


def _clusters(ours: Times, theirs: Times, largest_shift: float) -> list[tuple[slice, slice]]:
    """Cut both trains where no pair can span the cut: at pauses longer than the largest shift."""
    together = np.sort(np.concatenate([ours, theirs]))
    starts = together[1:][np.diff(together) > largest_shift]
    cuts = [[0, *np.searchsorted(train, starts).tolist(), train.size] for train in (ours, theirs)]
    spans = [[slice(*span) for span in pairwise(cut)] for cut in cuts]
    return [(mine, other) for mine, other in zip(*spans, strict=True)]


def _least_cost(ours: Times, theirs: Times, largest_shift: float) -> list[tuple[int, int]]:
    """Dynamic programming over the prefixes of both trains, a row of costs for each of ours."""
    alone = ALONE * np.arange(theirs.size + 1)
    costs = alone.copy()
    is_pair = np.zeros((ours.size, theirs.size), bool)
    is_skip = np.zeros((ours.size, theirs.size), bool)  # of the spike of theirs
    for i, time in enumerate(ours):
        paired = costs[:-1] + np.abs(time - theirs) / largest_shift
        unpaired = costs[1:] + ALONE
        is_pair[i] = paired < unpaired - EQUAL
        row = np.concatenate([[costs[0] + ALONE], np.where(is_pair[i], paired, unpaired)])
        # A skipped spike of theirs adds ALONE to the cost on its left, however many are skipped.
        skipping = np.minimum.accumulate(row - alone)[:-1] + alone[1:]
        is_skip[i] = skipping < row[1:] - EQUAL
        costs = np.concatenate([row[:1], np.minimum(row[1:], skipping)])
    pairs = []
    i, j = ours.size - 1, theirs.size - 1
    while i >= 0 and j >= 0:
        if is_skip[i, j]:
            j -= 1
        elif is_pair[i, j]:
            pairs.append((i, j))
            i, j = i - 1, j - 1
        else:
            i -= 1
    return pairs[::-1]
