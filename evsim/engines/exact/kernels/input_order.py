"""Putting the synapses of every unit in the order of their delays."""

from __future__ import annotations

import numpy as np

from evsim._compile.decorators import entry_point
from evsim._compile.stop_polls import is_stopped
from evsim.engines.exact.kernels.sorting import stable_order


@entry_point(part="loops for all networks")
def order_by_delay(delay: np.ndarray, rows: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The synapses ``rows``, each row sorted by delay; equal delays keep their order.

    Row r is ``rows[starts[r]:starts[r + 1]]``; ``delay`` is that of every synapse.
    """
    order = rows.copy()
    for row in range(starts.size - 1):
        if is_stopped():
            break
        first, last = starts[row], starts[row + 1]
        is_ordered = True
        for i in range(first + 1, last):
            if delay[order[i]] < delay[order[i - 1]]:
                is_ordered = False
                break
        if not is_ordered:
            row_synapses = order[first:last].copy()
            by_delay = stable_order(delay[row_synapses])
            for i in range(by_delay.size):
                order[first + i] = row_synapses[by_delay[i]]
    return order
