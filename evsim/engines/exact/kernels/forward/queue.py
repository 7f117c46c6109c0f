"""The queue of the units of a recurrent component, which tells the unit that emits next.

The units form a binary heap ordered by their due times.  Each unit keeps its place in the heap, so
that its due time can change.
"""

from __future__ import annotations

import numpy as np

from evsim._compile.decorators import compiled


@compiled
def restore_unit(heap: np.ndarray, states: np.ndarray, size: int, unit: int) -> None:
    """Move a unit whose due time has changed to its place."""
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
