"""The exact engine's check of itself: whether a run's spikes follow from its arrivals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from evsim.engines.exact.kernels import verification
from evsim.engines.exact.state import ExactState, Piece
from evsim.engines.protocol import EngineError

_FAULTS = {
    verification.NOT_AT_THRESHOLD: "it spikes at V = {found:.17g}, and its threshold is {other:g}",
    verification.MISSING: (
        "V = {found:.17g} is above its threshold of {other:g}, and it has not spiked"
    ),
    verification.TOO_EARLY: (
        "it spikes before it can: its last emission, or the end of the refractory period after "
        "it, is at {other:.17g} ms"
    ),
    verification.OTHER_DRIVE: (
        "I - threshold at its emission is kept as {found:.17g}, and is {other:.17g}"
    ),
    verification.OTHER_RELEASE: (
        "I as V begins to move after its emission is kept as {found:.17g}, and is {other:.17g}"
    ),
}


def verify(
    state: ExactState,
    arrivals: int,
    over: Callable[[Callable[[Piece], Any], Sequence[Piece]], list[Any]],
) -> None:
    """Check every spike of a run, and that as many arrivals were found as were sent.

    Raises EngineError for the first that is wrong.
    """

    def run(piece: Piece) -> tuple[int, np.ndarray]:
        failure = np.zeros(6)
        found = verification.verify_samples(piece.first, piece.last, state.batch(piece), failure)
        return found, failure

    results = over(run, state.pieces)
    for _, (what, time, unit, sample, number, other) in results:
        if what != verification.RIGHT:
            name, own = state.name_unit(int(unit))
            raise EngineError(
                f"sample {int(sample)}, unit {own} of {name!r}, at {time:.17g} ms: "
                + _FAULTS[int(what)].format(found=number, other=other)
                + "; this is a fault of the engine: please report it with the network"
            )
    total = sum(found for found, _ in results)
    if total != arrivals:
        raise EngineError(
            f"{arrivals} arrivals were counted where they are sent and {total} where they come "
            "in; this is a fault of the engine: please report it with the network"
        )
