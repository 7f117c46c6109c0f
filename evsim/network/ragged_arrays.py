"""Rows of different lengths, stored one after the other in one array."""

from __future__ import annotations

import numpy as np


def counted(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The row and the column of every entry of rows with ``counts[i]`` entries each.

    For counts (2, 0, 3) the rows are (0, 0, 2, 2, 2) and the columns (0, 1, 0, 1, 2).
    """
    owner = np.repeat(np.arange(counts.size), counts)
    return owner, np.arange(owner.size) - np.repeat(np.cumsum(counts) - counts, counts)


def places_of(start: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The index in the array and the row of every entry.

    Row i begins at index ``start[i]`` and has ``count[i]`` entries.  ``start`` and ``count`` may
    have any shape; rows are numbered in the order of the flattened arrays.
    """
    owner, number = counted(count.ravel())
    return start.ravel()[owner] + number, owner
