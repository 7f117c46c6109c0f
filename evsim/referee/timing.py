"""How far apart the spikes of pairs are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evsim.referee.matching import SpikeMatches


@dataclass(frozen=True)
class TimingErrors:
    """The errors of the spike times of a population, or of all together.

    Parameters
    ----------
    ours, theirs : int
        The number of spikes in evsim and in the other program.
    matched, moved, missing, additional : int
        The number of pairs, those of them that are moved, and spikes without a partner.
    mean : float
        The mean of the errors in ms, which are positive where the other program is late; NaN
        without a pair, like the numbers that follow.
    median, p95, largest : float
        Of the magnitudes of the errors, in ms; 95 % are at most ``p95``.
    """

    ours: int
    theirs: int
    matched: int
    moved: int
    missing: int
    additional: int
    mean: float
    median: float
    p95: float
    largest: float


def timing_of(matches: SpikeMatches) -> TimingErrors:
    """Count the rows and measure the pairs among them."""
    errors = matches.error[matches.is_matched]
    sizes = np.abs(errors)
    missing, additional = int(matches.is_missing.sum()), int(matches.is_additional.sum())
    some = errors.size > 0
    return TimingErrors(
        ours=errors.size + missing,
        theirs=errors.size + additional,
        matched=errors.size,
        moved=int(matches.is_moved.sum()),
        missing=missing,
        additional=additional,
        mean=float(errors.mean()) if some else np.nan,
        median=float(np.median(sizes)) if some else np.nan,
        p95=float(np.quantile(sizes, 0.95)) if some else np.nan,
        largest=float(sizes.max()) if some else np.nan,
    )
