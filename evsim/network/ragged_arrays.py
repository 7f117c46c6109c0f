"""Ragged arrays: rows of different lengths, stored one after the other in a flat array."""

from __future__ import annotations

import numpy as np


def counted(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The row of each entry and its index in the row, where row i has ``counts[i]`` entries."""
    owner = np.repeat(np.arange(counts.size), counts)
    return owner, np.arange(owner.size) - np.repeat(np.cumsum(counts) - counts, counts)


def places_of(start: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The position and the row of each entry; row i has ``count[i]`` entries from ``start[i]`` on.

    Rows are numbered in the order of the flattened arrays.
    """
    owner, number = counted(count.ravel())
    return start.ravel()[owner] + number, owner
