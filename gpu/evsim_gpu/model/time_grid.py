"""The points of a time grid, n dt for n = 0, ..., steps, and the points nearest to given times."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def steps_in(duration: float, dt: float) -> int:
    """The number of steps of dt in the trial; ValueError if dt does not divide it."""
    steps = round(duration / dt)
    if not _fill(steps, dt, duration):
        raise ValueError(
            f"dt = {dt:g} ms does not divide the trial of {duration:g} ms: a whole number of "
            f"steps must fill it, as with dt = {' or '.join(_near(duration, dt))} ms"
        )
    if steps >= 2**31 - 2:
        raise ValueError(f"dt = {dt:g} ms makes {steps} steps of {duration:g} ms: use a longer dt")
    return steps


def _fill(steps: int, dt: float, duration: float) -> bool:
    """Whether this number of steps fills the trial, up to rounding."""
    return steps >= 1 and abs(steps * dt - duration) <= 1e-9 * duration


def _near(duration: float, dt: float) -> list[str]:
    """The next longer and the next shorter dt that divide the trial, to six digits if possible."""
    fewer = max(1, int(duration / dt))
    tries = min(fewer, 1000)
    near = []
    for counts in (range(fewer, fewer - (tries + 1) // 2, -1), range(fewer + 1, fewer + tries + 1)):
        written = ((n, f"{duration / n:.6g}") for n in counts)
        short = (text for n, text in written if _fill(n, float(text), duration))
        near.append(next(short, repr(duration / counts[0])))
    return near


def grid_points(duration: float, steps: int) -> NDArray[np.float64]:
    """The grid points in ms, (steps + 1,); the last one equals the duration bit for bit."""
    return np.linspace(0.0, duration, steps + 1)


def steps_before(
    times: NDArray[np.float64], duration: float, steps: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The step of the grid point at or before each time in the trial, and whether it is at it.

    int64 and bool, of the shape of ``times``.  A time is at a grid point if they differ only by
    rounding.
    """
    points = grid_points(duration, steps)
    nearest = np.minimum(np.rint(times * (steps / duration)), steps).astype(np.int64)
    at_point = np.abs(times - points[nearest]) <= 8 * np.spacing(times)
    return nearest - (~at_point & (times < points[nearest])), at_point


def to_steps(times: NDArray[np.float64], dt: float, steps: int) -> NDArray[np.int32]:
    """The step of the grid point nearest to each time, int32; ``steps + 1`` beyond the trial."""
    return np.minimum(np.rint(times / dt), steps + 1).astype(np.int32)
