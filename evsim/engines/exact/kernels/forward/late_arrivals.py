"""Late arrivals: those sent while the time slice into which they fall is already running.

Each unit has a linked list of them, in the order of time.
"""

from __future__ import annotations

import numpy as np

from evsim._compile.decorators import allocating, compiled, record
from evsim.engines.exact.kernels.forward.recurrent_state import STEPS, Running

LATE_ARRIVAL = record([("time", np.float64), ("weight", np.float64), ("next", np.int64)])
"""A late arrival, and the number of the next one in its list; -1 at the end."""


@allocating
def with_room_for_late(late: np.ndarray, count: int, extra: int) -> np.ndarray:
    """Memory with room for ``extra`` more after the first ``count``: the same if it suffices."""
    if count + extra <= late.size:
        return late
    larger = np.empty(2 * (count + extra), LATE_ARRIVAL)
    for i in range(count):  # a slice of records takes seconds to compile
        larger[i] = late[i]
    return larger


@compiled
def insert_late_arrival(
    running: Running, late: np.ndarray, head: int, count: int, time: float, weight: float
) -> tuple[int, int]:
    """Insert an arrival into a list by time, or add it to an arrival at the same time.

    Returns the head of the list, and the number of late arrivals afterwards.
    """
    before, link = -1, head
    while link >= 0 and late[link].time < time:
        before, link = link, late[link].next
        running.work[STEPS] += 1
    if link >= 0 and late[link].time == time:
        late[link].weight += weight
        return head, count
    late[count].time, late[count].weight, late[count].next = time, weight, link
    if before < 0:
        return count, count + 1
    late[before].next = count
    return head, count + 1
