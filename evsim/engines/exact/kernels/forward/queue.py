"""The queue of recurrent units: which one emits next.

Units lie in a binary heap ordered by ``due``, and each knows its place there, so that a due
time can change.
"""

from __future__ import annotations

import numpy as np

from evsim._compile.decorators import compiled


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
