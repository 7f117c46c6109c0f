"""The exact engine's check of a run: whether its spikes follow from its arrivals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from evsim.engines.exact.kernels.verification import FINDING, Fault, verify_samples
from evsim.engines.exact.state import ExactState, Piece
from evsim.engines.protocol import EngineError

_MESSAGES = {
    Fault.NOT_AT_THRESHOLD: "it spikes at V = {found:.17g}, and its threshold is {expected:g}",
    Fault.MISSING: (
        "V = {found:.17g} is above its threshold of {expected:g}, and it has not spiked"
    ),
    Fault.TOO_EARLY: (
        "it spikes before it can: its last emission, or the end of the refractory period after "
        "it, is at {expected:.17g} ms"
    ),
    Fault.WRONG_EXCESS: (
        "I - threshold at its emission is kept as {found:.17g}, and is {expected:.17g}"
    ),
    Fault.WRONG_RELEASE: (
        "I as V begins to move after its emission is kept as {found:.17g}, and is {expected:.17g}"
    ),
}


def verify(
    state: ExactState,
    arrivals: int,
    over: Callable[[Callable[[Piece], Any], Sequence[Piece]], list[Any]],
) -> None:
    """Check every spike of a run, and that as many arrivals were found as were sent.

    Raises EngineError for the first fault.
    """

    def run(piece: Piece) -> tuple[int, np.ndarray]:
        findings = np.zeros(1, FINDING)
        return verify_samples(piece.first, piece.last, state.batch(piece), findings), findings

    results = over(run, state.pieces)
    for _, (finding,) in results:
        if finding["fault"] != Fault.NONE:
            name, index = state.name_unit(int(finding["unit"]))
            numbers = {key: float(finding[key]) for key in ("found", "expected")}
            raise EngineError(
                f"sample {state.share.first_sample + finding['sample']}, unit {index} of {name!r}, "
                f"at {finding['time']:.17g} ms: "
                + _MESSAGES[Fault(finding["fault"])].format(**numbers)
                + "; this is a fault of the engine: please report it with the network"
            )
    total = sum(found for found, _ in results)
    if total != arrivals:
        raise EngineError(
            f"{arrivals} arrivals were counted where they are sent and {total} where they come "
            "in; this is a fault of the engine: please report it with the network"
        )
