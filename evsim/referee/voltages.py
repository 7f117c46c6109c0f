"""The voltages of another program against the exact ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evsim.simulation import Run


@dataclass(frozen=True)
class VoltageErrors:
    """The errors of V of a population at the given times.

    Parameters
    ----------
    population : str
    count : int
        The number of voltages.
    median, p95, largest : float
        Of their magnitudes: 95 % are at most ``p95``.
    largest_at : (sample, unit, time in ms)
        Where the largest error is.
    until_divergence : float
        The largest error before the first missing or additional spike of a sample; NaN if there
        are no times before it.
    """

    population: str
    count: int
    median: float
    p95: float
    largest: float
    largest_at: tuple[int, int, float]
    until_divergence: float


def voltage_errors(
    run: Run,
    population: str,
    times: NDArray[np.float64],
    values: NDArray[np.float64],
    until: NDArray[np.float64],
) -> VoltageErrors:
    """Measure voltages, (batch, units, times); ``until`` has a time in ms for each sample."""
    errors = np.abs(values - run.voltage(population, times))
    sample, unit, index = np.unravel_index(int(np.argmax(errors)), errors.shape)
    before = times[None, None, :] < until[:, None, None]
    chosen = errors[np.broadcast_to(before, errors.shape)]
    return VoltageErrors(
        population=population,
        count=errors.size,
        median=float(np.median(errors)),
        p95=float(np.quantile(errors, 0.95)),
        largest=float(errors.max()),
        largest_at=(int(sample), int(unit), float(times[index])),
        until_divergence=float(chosen.max()) if chosen.size else np.nan,
    )
