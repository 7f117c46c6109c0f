"""Integrals over the trial of functions of V, and the moments they are made of.

Between its kinks V is a sum of exponentials, so that a smooth function of V is smooth there
and a rule of a few nodes on each stretch converges fast.  The moments at which a function was
taken are kept with their weights: the gradient of the integral uses the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from evsim.network.network import Network
from evsim.network.ragged_arrays import counted
from evsim.readouts.readouts import Moments

if TYPE_CHECKING:
    from evsim.simulation.run import Run

# Of V at moments (moments, units) and the sample of each (moments,): the values (moments,)
# and their derivative by each voltage (moments, units).
Integrand = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


class IntegrationError(RuntimeError):
    """An integral over a trial that has no value, or none to the tolerance asked for."""


# -- stretches on which V is smooth -------------------------------------------------------


class Panels(NamedTuple):
    """Stretches of each sample's trial on which V is smooth, in the order of sample and time.

    int64 and, in ms, float64; each (panels,).
    """

    samples: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray


def graded_panels(
    kinks: Moments, duration: float, shortest: float, longest: float = np.inf
) -> Panels:
    """The trial between its kinks, in parts that double from ``shortest`` ms after each kink.

    What changes within a time constant does so after a kink, and has decayed later on: so few
    parts do even where one time constant is far shorter than the others.  Parts longer than
    ``longest`` ms are divided into equal ones.
    """
    whole = _between(kinks, duration)
    parts = 1 + np.maximum(np.ceil(np.log2(whole.lengths / shortest)), 0).astype(np.int64)
    owner, part = counted(parts)
    starts = np.where(part == 0, 0.0, shortest * 2.0 ** (part - 1))
    last = part == parts[owner] - 1
    ends = np.where(last, whole.lengths[owner], shortest * 2.0**part)
    graded = Panels(whole.samples[owner], whole.starts[owner] + starts, ends - starts)
    return _divided(graded, longest)


def _divided(panels: Panels, longest: float) -> Panels:
    """Panels in equal parts where they are longer than ``longest`` ms."""
    parts = np.maximum(np.ceil(panels.lengths / longest), 1).astype(np.int64)
    owner, part = counted(parts)
    lengths = (panels.lengths / parts)[owner]
    return Panels(panels.samples[owner], panels.starts[owner] + part * lengths, lengths)


def _between(kinks: Moments, duration: float) -> Panels:
    starts = np.insert(kinks.times, kinks.offsets[:-1], 0.0)
    ends = np.insert(kinks.times, kinks.offsets[1:], duration)
    samples = np.repeat(np.arange(kinks.offsets.size - 1), np.diff(kinks.offsets) + 1)
    return Panels(samples, starts, ends - starts)


def offsets_of(samples: np.ndarray, batch_size: int) -> np.ndarray:
    """Where each sample begins, int64, (batch + 1,); ``samples`` are sorted."""
    return np.searchsorted(samples, np.arange(batch_size + 1))


def shortest_time_constant(network: Network, population: str) -> float:
    """The shortest time constant of a population's units in ms."""
    units = network.population(population)
    return float(min(np.min(getattr(units, name)) for name in ("tau_mem", "tau_syn")))


def sum_by_sample(values: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """The sums of ``values[offsets[b]:offsets[b + 1]]``, shape (batch, ...)."""
    sums = np.zeros((offsets.size - 1, *values.shape[1:]))
    for sample, (start, stop) in enumerate(pairwise(offsets.tolist())):
        # Along the last axis NumPy adds pairwise, which keeps the digits of long sums.
        sums[sample] = np.ascontiguousarray(values[start:stop].T).sum(axis=-1)
    return sums


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


def _mirrored(half: tuple[float, ...], middle: float, sign: float) -> np.ndarray:
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

    ``values`` has shape (batch,).  ``derivative`` is that of the integrand by each voltage at
    the moments, (moments, units), and ``weights``, (moments,), are those of the moments in the
    sum, in ms.  ``derivative_values`` is the derivative's own integral, (batch, units).
    """

    values: np.ndarray
    derivative_values: np.ndarray
    moments: Moments
    weights: np.ndarray
    derivative: np.ndarray


class _Evaluated(NamedTuple):
    """Panels with the integrals on them, of the integrand and of each of its derivatives.

    ``integrals`` and ``errors``, their estimates, have shape (panels, 1 + units); ``rows``
    says where the derivatives at a panel's nodes are kept.
    """

    samples: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    integrals: np.ndarray
    errors: np.ndarray
    rows: np.ndarray

    def at(self, chosen: np.ndarray) -> _Evaluated:
        return _Evaluated(*(array[chosen] for array in self))


def integrate(run: Run, population: str, integrand: Integrand, tolerance: float) -> Integral:
    """The integral of a function of V over each sample's trial.

    Panels are halved until the error of the mean over the trial, as the two rules estimate it,
    is below ``tolerance`` times that mean, or ``tolerance`` if the mean is below 1, or within
    rounding; and the same holds for the mean of the derivative by each unit's voltage, which
    the gradient is made of.  The estimate is that of the lower rule: the error is well below.

    Raises
    ------
    IntegrationError
        For values that are not finite, and where halving does not help.
    """
    shortest = shortest_time_constant(run.network, population)
    batch_size = run.batch_size
    panels = graded_panels(run.kinks(population), run.duration, shortest)
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
    run: Run, population: str, integrand: Integrand, panels: Panels, first_row: int
) -> tuple[_Evaluated, np.ndarray]:
    """Integrals on panels, and the derivatives (panels, nodes, units) at their nodes."""
    moments = _moments(panels, run.batch_size)
    voltages, _ = run.probe(population, moments)
    values, derivative = integrand(voltages, moments.samples)
    _check_integrand(moments, voltages, values, derivative)
    shape = (panels.samples.size, NODES.size)
    values = values.reshape(*shape, 1)
    derivative = derivative.reshape(*shape, -1)

    def on_panels(weights: np.ndarray, parts: Iterable[np.ndarray]) -> np.ndarray:
        sums = [np.einsum("pnu,n->pu", part, weights) for part in parts]
        return panels.lengths[:, None] * np.concatenate(sums, axis=1)

    errors = np.abs(on_panels(WEIGHTS - GAUSS_WEIGHTS, (values, derivative)))
    rounding = _ROUNDING * on_panels(WEIGHTS, (np.abs(values), np.abs(derivative)))
    errors[errors <= rounding] = 0.0
    rows = first_row + np.arange(panels.samples.size)
    integrals = on_panels(WEIGHTS, (values, derivative))
    return _Evaluated(*panels, integrals, errors, rows), derivative


def _moments(panels: Panels | _Evaluated, batch_size: int) -> Moments:
    times = panels.starts[:, None] + panels.lengths[:, None] * NODES
    return Moments(times.ravel(), NODES.size * offsets_of(panels.samples, batch_size))


def _check_integrand(
    moments: Moments, voltages: np.ndarray, values: np.ndarray, derivative: np.ndarray
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
                f"the {name} of the integrand are not finite at {moments.times[moment]:g} ms of "
                f"sample {moments.samples[moment]}: {array[moment]} at the voltages "
                f"{voltages[moment]}"
            )


def _failing(
    evaluated: _Evaluated, batch_size: int, duration: float, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Which panels to halve (panels,), and error over tolerance of each sample (batch,).

    Of a sample whose error is too large, those whose own error is above half of an equal
    share: there is one at least.
    """
    samples = evaluated.samples
    means = _totals(evaluated.integrals, samples, batch_size) / duration
    allowed = duration * tolerance * np.maximum(np.abs(means), 1.0)
    excess = _totals(evaluated.errors, samples, batch_size) / allowed
    counts = np.bincount(samples, minlength=batch_size)
    share = allowed / (2 * counts[:, None])
    failing = (evaluated.errors > share[samples]) & (excess > 1)[samples]
    return failing.any(axis=1), excess.max(axis=1)


def _totals(values: np.ndarray, samples: np.ndarray, batch_size: int) -> np.ndarray:
    columns = [np.bincount(samples, column, minlength=batch_size) for column in values.T]
    return np.stack(columns, axis=1)


def _halves(panels: _Evaluated) -> Panels:
    """Both halves of each panel, in the order of sample and time."""
    order = np.lexsort((panels.starts, panels.samples))
    halves = panels.lengths[order] / 2
    starts = panels.starts[order, None] + halves[:, None] * np.array([0.0, 1.0])
    return Panels(np.repeat(panels.samples[order], 2), starts.ravel(), np.repeat(halves, 2))


def _result(evaluated: _Evaluated, derivatives: list[np.ndarray], batch_size: int) -> Integral:
    if len(derivatives) == 1:
        derivative = derivatives[0]
    else:
        evaluated = evaluated.at(np.lexsort((evaluated.starts, evaluated.samples)))
        derivative = np.concatenate(derivatives)[evaluated.rows]
    moments = _moments(evaluated, batch_size)
    totals = sum_by_sample(evaluated.integrals, offsets_of(evaluated.samples, batch_size))
    weights = (evaluated.lengths[:, None] * WEIGHTS).ravel()
    derivative = derivative.reshape(weights.size, -1)
    return Integral(totals[:, 0], totals[:, 1:], moments, weights, derivative)


def _not_converging(
    evaluated: _Evaluated, excess: np.ndarray, tolerance: float
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
