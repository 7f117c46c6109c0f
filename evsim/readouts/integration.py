"""Integrals over the trial of functions of V, by adaptive quadrature.

Between the events of a sample, V is a sum of exponentials.  So a smooth function of V is smooth
there, and a rule with a few nodes on each panel converges fast.  The nodes are kept with their
weights: the gradient of the integral uses the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evsim.readouts.base import ReadableRun
from evsim.readouts.panels import (
    Panels,
    graded_panels,
    offsets_of,
    shortest_time_constant,
    sum_by_sample,
)
from evsim.readouts.sample_times import SampleTimes

# Takes V at nodes (nodes, units) and the sample of each node (nodes,); returns the values (nodes,)
# and their derivative with respect to each voltage (nodes, units).
Integrand = Callable[
    [NDArray[np.float64], NDArray[np.int64]], tuple[NDArray[np.float64], NDArray[np.float64]]
]


class IntegrationError(RuntimeError):
    """An integral over a trial that has no value, or that does not reach the tolerance."""


# -- the adaptive integral ------------------------------------------------------------------

# The Gauss rule of 4 nodes and Kronrod's of 9 around it, exact to degree 7 and 13.
# Few nodes, since trials with thousands of kinks have short panels: the difference of the two
# is below 6e-10 (h/tau)^8 for exp(-t/tau) on a panel of length h.
_HALF_NODES = (
    0.97656025073757311153,
    0.86113631159405257522,
    0.6402862174963099824,
    0.3399810435848562648,
)
_HALF_KRONROD = (
    0.062977373665473014765,
    0.1700536053357227268,
    0.26679834045228444803,
    0.32694918960145162956,
)
_HALF_GAUSS = (0.0, 0.34785484513745385737, 0.0, 0.65214515486254614263)


def _mirrored(half: tuple[float, ...], middle: float, sign: float) -> NDArray[np.float64]:
    return np.array([*(sign * x for x in half), middle, *half[::-1]])


# On [0, 1].
NODES = (1.0 + _mirrored(_HALF_NODES, 0.0, -1.0)) / 2
WEIGHTS = _mirrored(_HALF_KRONROD, 0.34644298189013636168, 1.0) / 2
GAUSS_WEIGHTS = _mirrored(_HALF_GAUSS, 0.0, 1.0) / 2

_MOST_ROUNDS = 60
_MOST_PANELS = 20_000  # by bisection, per sample
# An error below this part of a panel's integral of |f| is rounding: halving will not lower it.
_ROUNDING = 50 * np.finfo(float).eps


class Integral(NamedTuple):
    """Integrals over the trial in ms, and what they are sums of.

    ``values`` has shape (batch,).  ``derivative`` is that of the integrand with respect to each
    voltage at the nodes, (nodes, units), and ``weights``, (nodes,), are those of the nodes in
    the sum, in ms.  ``derivative_values`` is the integral of the derivative, (batch, units).
    ``spike_time_gradient`` is the direct derivative of the integral with respect to each spike
    time of the population, (events,); None if its units have no spikes.
    """

    values: NDArray[np.float64]
    derivative_values: NDArray[np.float64]
    nodes: SampleTimes
    weights: NDArray[np.float64]
    derivative: NDArray[np.float64]
    spike_time_gradient: NDArray[np.float64] | None = None


class _Evaluated(NamedTuple):
    """Panels with the integrals on them, of the integrand and of each of its derivatives.

    ``integrals`` and ``errors``, their estimates, have shape (panels, 1 + units); ``rows``
    says where the derivatives at a panel's nodes are kept.
    """

    samples: NDArray[np.int64]
    starts: NDArray[np.float64]
    lengths: NDArray[np.float64]
    integrals: NDArray[np.float64]
    errors: NDArray[np.float64]
    rows: NDArray[np.int64]

    def at(self, chosen: NDArray[Any]) -> _Evaluated:
        return _Evaluated(*(array[chosen] for array in self))


def integrate(
    run: ReadableRun, population: str, integrand: Integrand, tolerance: float
) -> Integral:
    """The integral of a function of V over each sample's trial.

    Panels are halved until the error of the mean over the trial, as the two rules estimate it,
    is below ``tolerance`` times that mean, or ``tolerance`` if the mean is below 1, or within
    rounding; and the same holds for the mean of the derivative with respect to each unit's voltage,
    from which the gradient is computed.  The estimate is that of the lower rule; the error is far
    smaller.

    Raises
    ------
    IntegrationError
        For values that are not finite, and if halving does not help.
    """
    shortest = shortest_time_constant(run.network, population)
    batch_size = run.batch_size
    panels = graded_panels(run.event_times(population), run.duration, shortest)
    limit = np.bincount(panels.samples, minlength=batch_size) + _MOST_PANELS
    evaluated, derivative = _evaluate(run, population, integrand, panels, first_row=0)
    derivatives = [derivative]
    for _ in range(_MOST_ROUNDS):
        failing, excess = _failing(evaluated, batch_size, run.duration, tolerance)
        if not failing.any():
            return _result(evaluated, derivatives, batch_size)
        if (np.bincount(evaluated.samples, minlength=batch_size) > limit).any():
            break
        halves = _halves(evaluated.at(failing))
        first_row = sum(map(len, derivatives))
        new, derivative = _evaluate(run, population, integrand, halves, first_row)
        derivatives.append(derivative)
        kept = evaluated.at(~failing)
        evaluated = _Evaluated(*(np.concatenate(pair) for pair in zip(kept, new, strict=True)))
    raise _not_converging(evaluated, excess, tolerance)


def _evaluate(
    run: ReadableRun, population: str, integrand: Integrand, panels: Panels, first_row: int
) -> tuple[_Evaluated, NDArray[np.float64]]:
    """Integrals on panels, and the derivatives (panels, nodes, units) at their nodes."""
    nodes = _nodes(panels, run.batch_size)
    voltages, _ = run.states_at(population, nodes)
    values, derivative = integrand(voltages, nodes.samples)
    _check_integrand(nodes, voltages, values, derivative)
    shape = (panels.samples.size, NODES.size)
    values = values.reshape(*shape, 1)
    derivative = derivative.reshape(*shape, -1)

    def on_panels(
        weights: NDArray[np.float64], parts: Iterable[NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        sums = [np.einsum("pnu,n->pu", part, weights) for part in parts]
        totals: NDArray[np.float64] = panels.lengths[:, None] * np.concatenate(sums, axis=1)
        return totals

    errors = np.abs(on_panels(WEIGHTS - GAUSS_WEIGHTS, (values, derivative)))
    rounding = _ROUNDING * on_panels(WEIGHTS, (np.abs(values), np.abs(derivative)))
    errors[errors <= rounding] = 0.0
    rows = first_row + np.arange(panels.samples.size)
    integrals = on_panels(WEIGHTS, (values, derivative))
    return _Evaluated(*panels, integrals, errors, rows), derivative


def _nodes(panels: Panels | _Evaluated, batch_size: int) -> SampleTimes:
    times = panels.starts[:, None] + panels.lengths[:, None] * NODES
    return SampleTimes(times.ravel(), NODES.size * offsets_of(panels.samples, batch_size))


def _check_integrand(
    nodes: SampleTimes,
    voltages: NDArray[np.float64],
    values: NDArray[np.float64],
    derivative: NDArray[np.float64],
) -> None:
    for name, array, shape in (
        ("values", values, voltages.shape[:1]),
        ("derivative", derivative, voltages.shape),
    ):
        if np.shape(array) != shape:
            raise ValueError(
                f"the {name} of the integrand at voltages of shape {voltages.shape} have shape "
                f"{np.shape(array)}: they must have shape {shape}"
            )
        wrong = ~np.isfinite(array).reshape(voltages.shape[0], -1).all(axis=1)
        if wrong.any():
            moment = int(np.argmax(wrong))
            raise IntegrationError(
                f"the {name} of the integrand are not finite at {nodes.times[moment]:g} ms of "
                f"sample {nodes.samples[moment]}: {array[moment]} at the voltages "
                f"{voltages[moment]}"
            )


def _failing(
    evaluated: _Evaluated, batch_size: int, duration: float, tolerance: float
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Which panels to halve (panels,), and error over tolerance of each sample (batch,).

    In a sample whose error is too large, these are the panels whose own error exceeds half of an
    equal share; there is at least one.
    """
    samples = evaluated.samples
    means = _totals(evaluated.integrals, samples, batch_size) / duration
    allowed = duration * tolerance * np.maximum(np.abs(means), 1.0)
    excess = _totals(evaluated.errors, samples, batch_size) / allowed
    counts = np.bincount(samples, minlength=batch_size)
    share = allowed / (2 * counts[:, None])
    failing: NDArray[np.bool_] = (evaluated.errors > share[samples]) & (excess > 1)[samples]
    return np.any(failing, axis=1), excess.max(axis=1)


def _totals(
    values: NDArray[np.float64], samples: NDArray[np.int64], batch_size: int
) -> NDArray[np.float64]:
    columns = [np.bincount(samples, column, minlength=batch_size) for column in values.T]
    return np.stack(columns, axis=1)


def _halves(panels: _Evaluated) -> Panels:
    """Both halves of each panel, in the order of sample and time."""
    order = np.lexsort((panels.starts, panels.samples))
    halves = panels.lengths[order] / 2
    starts = panels.starts[order, None] + halves[:, None] * np.array([0.0, 1.0])
    return Panels(np.repeat(panels.samples[order], 2), starts.ravel(), np.repeat(halves, 2))


def _result(
    evaluated: _Evaluated, derivatives: list[NDArray[np.float64]], batch_size: int
) -> Integral:
    if len(derivatives) == 1:
        derivative = derivatives[0]
    else:
        evaluated = evaluated.at(np.lexsort((evaluated.starts, evaluated.samples)))
        derivative = np.concatenate(derivatives)[evaluated.rows]
    nodes = _nodes(evaluated, batch_size)
    totals = sum_by_sample(evaluated.integrals, offsets_of(evaluated.samples, batch_size))
    weights = (evaluated.lengths[:, None] * WEIGHTS).ravel()
    derivative = derivative.reshape(weights.size, -1)
    return Integral(totals[:, 0], totals[:, 1:], nodes, weights, derivative)


def _not_converging(
    evaluated: _Evaluated, excess: NDArray[np.float64], tolerance: float
) -> IntegrationError:
    sample = int(np.argmax(excess))
    own = np.flatnonzero(evaluated.samples == sample)
    worst = own[np.argmax(evaluated.errors[own].max(axis=1))]
    return IntegrationError(
        f"the integral over the trial of sample {sample} does not converge: with {own.size} "
        f"panels, the shortest near {evaluated.starts[worst]:g} ms, its error is still estimated "
        f"at {excess[sample]:.1e} times the tolerance of {tolerance:g}; the integrand must be "
        "smooth between spikes, or take a larger tolerance, VoltageTrace(tolerance=...)"
    )
