"""Putting the synapses of every unit in the order of their delays."""

from __future__ import annotations

import numpy as np

from evsim.compiled import entry_point


@entry_point(part="loops for all networks")
def order_by_delay(delay: np.ndarray, rows: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The synapses ``rows``, each row of them by delay, and those of one delay as they stand.

    Row r is ``rows[starts[r]:starts[r + 1]]``; ``delay`` is that of every synapse.
    """
    order = rows.copy()
    for row in range(starts.size - 1):
        first, last = starts[row], starts[row + 1]
        is_ordered = True
        for i in range(first + 1, last):
            if delay[order[i]] < delay[order[i - 1]]:
                is_ordered = False
                break
        if not is_ordered:
            own = order[first:last].copy()
            order[first:last] = own[np.argsort(delay[own], kind="mergesort")]
    return order
