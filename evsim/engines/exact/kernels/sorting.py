"""Sorting that can be stopped."""

from __future__ import annotations

import numpy as np

from evsim._compile.decorators import allocating, compiled
from evsim._compile.stop_polls import is_stopped, is_stopped_at

PART = 2**16
"""So many numbers are sorted before it is asked again."""


@allocating
def stable_order(keys: np.ndarray) -> np.ndarray:
    """Where the keys lie in ascending order, equal ones as they stand; nothing after a stop."""
    n = keys.size
    if n <= PART:
        return np.argsort(keys, kind="mergesort")
    order, merged = np.empty(n, np.int64), np.empty(n, np.int64)
    for begin in range(0, n, PART):
        if is_stopped():
            return np.empty(0, np.int64)
        end = min(begin + PART, n)
        order[begin:end] = np.argsort(keys[begin:end], kind="mergesort") + begin
    width = PART
    while width < n:
        for begin in range(0, n, 2 * width):
            middle, end = min(begin + width, n), min(begin + 2 * width, n)
            merge(keys, order, begin, middle, end, merged)
        if is_stopped():
            return np.empty(0, np.int64)
        order, merged = merged, order
        width *= 2
    return order


@compiled
def merge(
    keys: np.ndarray, order: np.ndarray, begin: int, middle: int, end: int, merged: np.ndarray
) -> None:
    """Merge two sorted parts of an order, begin to middle - 1 and middle to end - 1."""
    i, j = begin, middle
    for k in range(begin, end):
        if is_stopped_at(k):
            return
        if j == end or (i < middle and keys[order[i]] <= keys[order[j]]):
            merged[k] = order[i]
            i += 1
        else:
            merged[k] = order[j]
            j += 1
