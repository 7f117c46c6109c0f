"""Sorting that can be stopped."""

from __future__ import annotations

import numpy as np

from evsim._compile.decorators import allocating, compiled
from evsim._compile.stop_polls import is_stopped, is_stopped_at

PART = 2**16
"""The number of entries that are sorted between two checks for a stop."""


@allocating
def stable_order(keys: np.ndarray) -> np.ndarray:
    """The indices that sort the keys; equal keys keep their order.  Empty after a stop."""
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


# -- in place ---------------------------------------------------------------------------------


@compiled
def heap_sort(
    time: np.ndarray, second: np.ndarray, third: np.ndarray, first: int, last: int
) -> None:
    """Sort rows first to last - 1 of three arrays by time, then by the second, then by the third.

    Sorts in place, in at most n log n steps whatever the initial order is.
    """
    n = last - first
    for place in range(n // 2 - 1, -1, -1):
        if is_stopped_at(place):
            return
        i = first + place
        sift_down(time, second, third, first, place, n, time[i], second[i], third[i])
    for end in range(n - 1, 0, -1):
        if is_stopped_at(end):
            return
        i = first + end
        row_time, row_second, row_third = time[i], second[i], third[i]
        time[i], second[i], third[i] = time[first], second[first], third[first]
        sift_down(time, second, third, first, 0, end, row_time, row_second, row_third)


@compiled
def sift_down(
    time: np.ndarray,
    second: np.ndarray,
    third: np.ndarray,
    first: int,
    place: int,
    n: int,
    row_time: float,
    row_second: float,
    row_third: float,
) -> None:
    """Put a row into the heap of n rows that begins at ``first``, from a free place downwards."""
    while True:
        child = 2 * place + 1
        if child >= n:
            break
        i = first + child
        if child + 1 < n and is_later(time, second, third, i + 1, time[i], second[i], third[i]):
            child, i = child + 1, i + 1
        if not is_later(time, second, third, i, row_time, row_second, row_third):
            break
        k = first + place
        time[k], second[k], third[k] = time[i], second[i], third[i]
        place = child
    k = first + place
    time[k], second[k], third[k] = row_time, row_second, row_third


@compiled
def is_later(
    time: np.ndarray,
    second: np.ndarray,
    third: np.ndarray,
    i: int,
    other_time: float,
    other_second: float,
    other_third: float,
) -> bool:
    """Whether row i comes after another row in that order."""
    if time[i] != other_time:
        return time[i] > other_time
    if second[i] != other_second:
        return second[i] > other_second
    return third[i] > other_third
