"""How far the spikes of a run on the exact engine are from another pattern."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evsim.display.short_repr import Brief
from evsim.engines.exact.kernels.margins.spike_margins import (
    SILENCE,
    SPIKE_MARGIN,
    measure_margins,
)
from evsim.engines.exact.state import ExactState, Piece
from evsim.network.ragged_arrays import places_of


@dataclass(frozen=True, eq=False, repr=False)
class Margins(Brief):
    """The margins of a batch.

    Parameters
    ----------
    sample, unit, time : arrays of shape (spikes,)
        The sample of each spike of a LIF unit, the number of the unit among those of all
        populations, and its time in ms.
    spikes : array of SPIKE_MARGIN, shape (spikes,)
    silences : array of SILENCE, shape (batch, units)
        The margin after the latest spike of each unit; infinite for inputs and LI units.
    """

    sample: np.ndarray
    unit: np.ndarray
    time: np.ndarray
    spikes: np.ndarray
    silences: np.ndarray


def margins_of(
    state: ExactState, over: Callable[[Callable[[Piece], Any], Sequence[Piece]], list[Any]]
) -> Margins:
    """Measure the margins of all LIF units."""
    silences = np.full(state.count.shape, np.inf, SILENCE)
    counts = np.where(state.layout.units["is_lif"], state.count, 0)

    def run(piece: Piece) -> tuple[np.ndarray, ...]:
        margins = np.zeros(piece.spikes.size, SPIKE_MARGIN)
        measure_margins(piece.first, piece.last, state.batch(piece), margins, silences)
        rows = slice(piece.first, piece.last)
        index, owner = places_of(state.start[rows], counts[rows])
        sample, unit = np.divmod(owner, counts.shape[1])
        return piece.first + sample, unit, piece.spikes["time"][index], margins[index]

    columns = zip(*over(run, state.pieces), strict=True)
    sample, unit, time, spikes = map(np.concatenate, columns)
    return Margins(sample, unit, time, spikes, silences)
