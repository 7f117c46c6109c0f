"""Fits of a time step to the local errors of spike times.

The models are of first order in the step h: the local error of spike k is ``h (c_k + m + u_k)``.
u_k is uniform between -1/2 and 1/2: the place of the spike within a step.  m is 1/2 if spikes are
rounded up to the end of their step, 0 if they are rounded to the nearest one.  h c_k is the effect
of Euler's method on the spike without rounding, 0 for the other models.  The step is fitted by
least squares; if m and c_k are 0, it is ``sqrt(12)`` standard deviations.  The misfit of a model is
the largest distance between the distribution of the u_k and the uniform one (Kolmogorov, Smirnov).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from evsim.referee.matching import SpikeMatches
from evsim.referee.time_step.euler import followed_by_euler
from evsim.referee.time_step.grid import spacing_of
from evsim.referee.time_step.local import predicted
from evsim.referee.unit_trace import Activity

UP = "spikes rounded up to the end of a step"
NEAREST = "spikes rounded to the nearest step"
EULER = "forward Euler, spikes rounded up to the end of a step"

FEWEST_ERRORS = 5
"""Fewer errors fit every model."""

GOOD = 0.15
"""The largest misfit, apart from chance, of a model that explains the errors."""

BY_CHANCE = 1.36
"""5 % of samples of n uniform numbers have a misfit above this over the root of n."""

SAME_STEP = 1.6
"""A fitted step that differs from the grid by a larger factor is a different step."""

FEW_STEPS = 3.0
"""A grid explains the errors if 95 % of the local ones are at most this many of its steps."""


@dataclass(frozen=True)
class StepFit:
    """One model, fitted.

    Parameters
    ----------
    model : str
        What the other program is assumed to do.
    step : float
        The step in ms that fits best.
    explained : float
        The share of the sum of squared errors that the model predicts without u_k.
    misfit : float
        The largest distance between the distribution of u_k and the uniform one, 0 to 1.
    """

    model: str
    step: float
    explained: float
    misfit: float


@dataclass(frozen=True)
class TimeStep:
    """What is known of the other program's time step.

    Parameters
    ----------
    fits : tuple of StepFit
        One for each model, the best first.
    grid : float or None
        The step in ms of which all its spike times are multiples; None if there is none.
    count : int
        The number of local errors that were fitted.
    late : float
        The mean local error in steps.
    p95 : float
        95 % of the local errors are at most this large, in steps.
    accumulated : float
        95 % of the errors, including what is left of earlier ones, are at most this large, in
        steps.
    """

    fits: tuple[StepFit, ...]
    grid: float | None
    count: int
    late: float
    p95: float
    accumulated: float

    @property
    def step(self) -> float:
        """The step in ms: of the grid, or else the fitted one of the best model."""
        return self.fits[0].step if self.grid is None else self.grid

    @property
    def fitted(self) -> float:
        """The step in ms of the best model, whatever the grid."""
        return self.fits[0].step

    @property
    def model(self) -> str:
        """What the other program does according to the best model."""
        return self.fits[0].model

    @property
    def fits_well(self) -> bool:
        """Whether the local errors are distributed as the best model says, with about its step."""
        is_near = 1.0 / SAME_STEP < self.fitted / self.step < SAME_STEP
        return is_near and bool(self.fits[0].misfit <= GOOD + BY_CHANCE / np.sqrt(self.count))

    @property
    def explains(self) -> bool:
        """Whether a time step explains the errors: a grid, and local errors of a few of its steps.

        A program that rounds spikes to steps has its times on a grid.
        """
        return self.grid is not None and self.p95 <= FEW_STEPS


def time_step_of(matches: SpikeMatches, history: Activity) -> TimeStep | None:
    """Fit all models to the local errors; None if these are too few or all 0."""
    theirs, exact = predicted(history, matches.populations)
    known = np.abs(theirs - exact) <= matches.largest_shift
    errors = (theirs - exact)[known]
    if errors.size < FEWEST_ERRORS or not (np.abs(errors) > matches.tolerance).any():
        return None
    grid = spacing_of(matches.theirs[~np.isnan(matches.theirs)])
    none = np.zeros(errors.size)
    fits = [_fit(UP, errors, none, 0.5), _fit(NEAREST, errors, none, 0.0)]
    guess = grid if grid is not None else fits[0].step
    fits += _euler_fit(history, matches, exact, known, errors, guess)
    fits.sort(key=lambda fit: fit.misfit)
    step = grid if grid is not None else fits[0].step
    pairs = np.abs(matches.error[matches.is_matched])
    return TimeStep(
        fits=tuple(fits),
        grid=grid,
        count=errors.size,
        late=float(errors.mean() / step),
        p95=float(np.quantile(np.abs(errors), 0.95) / step),
        accumulated=float(np.quantile(pairs, 0.95) / step) if pairs.size else np.nan,
    )


def _euler_fit(
    history: Activity,
    matches: SpikeMatches,
    exact: NDArray[np.float64],
    known: NDArray[np.bool_],
    errors: NDArray[np.float64],
    step: float,
) -> list[StepFit]:
    """The fit of Euler's method, in a list.

    The list is empty if the step is too long for Euler's method, or if too few spikes stay close to
    their exact times.
    """
    followed = followed_by_euler(history.network, step)
    if followed is None:
        return []
    _, moved = predicted(replace(history, network=followed), matches.populations)
    shifts = (moved[known] - exact[known]) / step
    near = np.abs(shifts) * step <= matches.largest_shift
    if near.sum() < FEWEST_ERRORS:
        return []
    return [_fit(EULER, errors[near], shifts[near], 0.5)]


def _fit(
    model: str, errors: NDArray[np.float64], shifts: NDArray[np.float64], middle: float
) -> StepFit:
    """Fit one model; ``shifts`` are the c_k."""
    expected = shifts + middle
    scale = float(expected @ expected)
    step = float(errors @ expected) / scale if scale else float(np.sqrt(12.0) * errors.std())
    if not step > 0.0:
        return StepFit(model, float(np.abs(errors).max()), 0.0, 1.0)
    left = errors - step * expected
    explained = 1.0 - float(left @ left) / float(errors @ errors)
    return StepFit(model, step, explained, _misfit(left / step))


def _misfit(places: NDArray[np.float64]) -> float:
    """The distance of Kolmogorov and Smirnov from the uniform distribution on [-1/2, 1/2]."""
    ordered = np.clip(np.sort(places) + 0.5, 0.0, 1.0)
    count = np.arange(ordered.size + 1) / ordered.size
    return float(max((count[1:] - ordered).max(), (ordered - count[:-1]).max()))
