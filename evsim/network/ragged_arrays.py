"""Rows of different lengths that lie one after the other in one array."""

from __future__ import annotations

import numpy as np


def counted(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each of ``counts[i]`` things of every i: that i, and its number 0, 1, ... among them."""
    owner = np.repeat(np.arange(counts.size), counts)
    return owner, np.arange(owner.size) - np.repeat(np.cumsum(counts) - counts, counts)


def places_of(start: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the ``count[i]`` things of every row i lie, which begins at ``start[i]``, and that i.

    Rows are numbered in the order of the flattened arrays.
    """
    owner, number = counted(count.ravel())
    return start.ravel()[owner] + number, owner
