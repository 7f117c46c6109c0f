"""The two queues of recurrent units: which unit may emit next, which spike arrives next.

Units lie in a binary heap ordered by ``due``, and each knows its place there, so that a due
time can change.  Spikes in flight are cursors in a second heap, ordered by the time of their
next arrival and, in ties, by number.
"""

from __future__ import annotations

import numpy as np

from evsim.compiled import compiled

CURSOR = np.dtype([("time", np.float64), ("spike", np.int64)])
"""A spike in flight and the time of its next arrival."""


@compiled
def restore_unit(heap: np.ndarray, states: np.ndarray, size: int, unit: int) -> None:
    """Put a unit whose due time has changed back in order."""
    i = states[unit].place
    key = states[unit].due
    while i > 0:
        parent = (i - 1) >> 1
        other = heap[parent]
        if not states[other].due > key:
            break
        heap[i] = other
        states[other].place = i
        i = parent
    while True:
        child = 2 * i + 1
        if child >= size:
            break
        if child + 1 < size and states[heap[child + 1]].due < states[heap[child]].due:
            child += 1
        other = heap[child]
        if not states[other].due < key:
            break
        heap[i] = other
        states[other].place = i
        i = child
    heap[i] = unit
    states[unit].place = i


@compiled
def is_before(time: float, spike: int, other_time: float, other_spike: int) -> bool:
    """The order of cursors."""
    return time < other_time or (time == other_time and spike < other_spike)


@compiled
def push_cursor(cursors: np.ndarray, size: int, time: float, spike: int) -> None:
    """Add a cursor to a heap of ``size``."""
    i = size
    while i > 0:
        parent = (i - 1) >> 1
        if not is_before(time, spike, cursors[parent].time, cursors[parent].spike):
            break
        cursors[i].time, cursors[i].spike = cursors[parent].time, cursors[parent].spike
        i = parent
    cursors[i].time, cursors[i].spike = time, spike


@compiled
def replace_first_cursor(cursors: np.ndarray, size: int, time: float, spike: int) -> None:
    """Replace the first cursor of a heap of ``size``."""
    i = 0
    while True:
        child = 2 * i + 1
        if child >= size:
            break
        if child + 1 < size and is_before(
            cursors[child + 1].time,
            cursors[child + 1].spike,
            cursors[child].time,
            cursors[child].spike,
        ):
            child += 1
        if not is_before(cursors[child].time, cursors[child].spike, time, spike):
            break
        cursors[i].time, cursors[i].spike = cursors[child].time, cursors[child].spike
        i = child
    cursors[i].time, cursors[i].spike = time, spike


@compiled
def remove_first_cursor(cursors: np.ndarray, size: int) -> None:
    """Remove the first cursor of a heap of ``size``."""
    last = size - 1
    if last > 0:
        replace_first_cursor(cursors, last, cursors[last].time, cursors[last].spike)
