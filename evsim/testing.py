"""Checks for losses and readouts of your own.

``check_loss`` and ``check_readout`` say in one sentence what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from evsim.arguments.checks import (
    check_duration,
    check_flag,
    check_number,
    checked_count,
    checked_integer,
    shown,
)
from evsim.arguments.keywords import helpful
from evsim.losses import IntegralLoss, Loss, WeightedSum
from evsim.network.connections import Connection
from evsim.network.network import Network
from evsim.network.populations import LI, LIF, Input
from evsim.network.spike_trains import MOST_UNITS, SpikeTrains
from evsim.readouts import Readout, VoltageAt
from evsim.readouts.spike_times import SpikeReadout
from evsim.simulation.gradients import GradientOptions, quiet_gradient
from evsim.simulation.run import simulate

# From values (rows, units, ...) and a label for each row to the losses (rows,) and the derivative.
Function = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]

_BATCH_SIZE = 6


@np.errstate(under="ignore")
@helpful
def check_loss(
    loss: Loss,
    units: int = 3,
    duration: float = 20.0,
    labels: Sequence[Any] | np.ndarray | None = None,
    seed: int = 0,
    *,
    tolerance: float = 1e-7,
    end_to_end: bool = False,
) -> None:
    """Check that a loss has the properties on which engines and training rely.

    At random values, including silent units, it must return finite numbers in the right shapes.
    These must be the same in each call, and for each sample not depend on the others.  The loss
    must not change its arguments, must have the derivative that finite differences show, must put
    samples into classes, and must refuse labels that do not fit.  For an ``IntegralLoss``, the
    integrand is checked.

    Parameters
    ----------
    loss : Loss
        If it is a sum of losses, each term is checked.
    units : int
        The number of units of the population that it reads.
    duration : float
        The length of the trial in ms.
    labels : array, optional
        Drawn at random if not given; a loss that does not classify needs its targets.
    seed : int
        The seed of the random values.
    tolerance : float
        The tolerance of the derivative, relative to the largest of its sample.
    end_to_end : bool
        Whether to check also the gradient with respect to the weights of a small network, with
        the reference engine.  This takes seconds.

    Raises
    ------
    AssertionError
        The message says what is wrong: for a derivative, with respect to which value, what it is
        and what it should be.
    """
    if not isinstance(loss, Loss):
        raise TypeError(f"loss is of type {type(loss).__name__}: derive it from evsim.losses.Loss")
    if isinstance(loss, WeightedSum):
        for _, term in loss.terms:
            options: dict[str, Any] = {"tolerance": tolerance, "end_to_end": end_to_end}
            check_loss(term, units, duration, labels, seed, **options)
        return
    units = checked_count(units, "units", 1, MOST_UNITS)
    duration = check_duration(duration)
    seed = checked_integer(seed, "seed", 0)
    check_number(tolerance, "tolerance")
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance = {tolerance}: it must be > 0 and < 1")
    check_flag(end_to_end, "end_to_end")
    generator = np.random.default_rng(seed)
    labels = _checked_labels(loss, units, labels, generator)
    function, name = _function_of(loss, duration)
    values = _random_values(loss.readout, units, len(labels), duration, generator)
    _check_call(function, name, values, labels)
    _check_independence(function, values, labels)
    _check_derivative(function, name, values, labels, _step(loss.readout, duration), tolerance)
    if loss.classifies:
        _check_predictions(loss, values, units)
    if end_to_end:
        _check_gradient(loss, units, duration, labels[:2], seed)


@np.errstate(under="ignore")
@helpful
def check_readout(readout: Readout, units: int = 3, duration: float = 20.0, seed: int = 0) -> None:
    """Check that the adjoint sources of a readout are consistent with its values.

    Small networks with LI and with LIF output are used, as far as the readout can read them.  The
    values must have the shape that the readout states, and gradients with respect to every
    parameter must agree with finite differences.  This takes seconds, with the engine Reference.

    Parameters
    ----------
    readout : Readout
        With one row of values for each sample.
    units : int
        The number of units of the population that it reads.
    duration : float
        The length of the trial in ms.
    seed : int
        The seed of the networks, and of the weights of the values in the sum that is
        differentiated.

    Raises
    ------
    AssertionError
        The message says what is wrong: for a derivative, with respect to what, what it is and what
        it should be.
    """
    if not isinstance(readout, Readout):
        raise TypeError(
            f"readout is of type {type(readout).__name__}: derive it from evsim.readouts.Readout"
        )
    units = checked_count(units, "units", 1, MOST_UNITS)
    duration = check_duration(duration)
    seed = checked_integer(seed, "seed", 0)
    readout.check(duration)
    shape = readout.shape(2, units)
    if shape[:1] != (2,):
        raise TypeError(f"check_readout reads one row for each sample, which {readout} has not")
    weights = np.random.default_rng(seed).normal(0.0, 1.0, shape)
    _check_gradient(_WeightedSum(readout), units, duration, weights, seed, all_parameters=True)


@dataclass(frozen=True)
class _WeightedSum(Loss):
    """A sum of all values, weighted with the labels."""

    readout: Readout
    classifies: ClassVar[bool] = False

    def __call__(
        self, values: np.ndarray, labels: np.ndarray, duration: float
    ) -> tuple[np.ndarray, np.ndarray]:
        if not isinstance(values, np.ndarray) or values.shape != labels.shape:
            raise AssertionError(
                f"the values are a {type(values).__name__} of shape {np.shape(values)}: the "
                f"readout states an array of shape {labels.shape}"
            )
        return np.sum(values * labels, axis=tuple(range(1, labels.ndim))), labels.copy()

    def check_labels(self, labels: Any, batch_size: int, classes: int) -> np.ndarray:
        return np.asarray(labels, np.float64)


def _function_of(loss: Loss, duration: float) -> tuple[Function, str]:
    """The function that is checked, and the name of its values."""
    if isinstance(loss, IntegralLoss):
        return loss.integrand, "voltages"
    return lambda values, labels: loss(values, labels, duration), "values"


# -- labels -------------------------------------------------------------------------------


def _checked_labels(
    loss: Loss, units: int, labels: Any, generator: np.random.Generator
) -> np.ndarray:
    if labels is None:
        if not loss.classifies:
            raise ValueError("the loss does not classify: give check_loss its targets, labels=...")
        labels = generator.integers(0, units, _BATCH_SIZE)
    if not isinstance(labels, (list, tuple, np.ndarray)) or np.shape(labels)[:1] in ((), (0,)):
        raise TypeError(f"labels = {shown(labels)}: give an array of those of at least one sample")
    checked = loss.check_labels(labels, len(labels), units)
    if not isinstance(checked, np.ndarray) or len(checked) != len(labels):
        raise AssertionError(
            f"check_labels returns {checked!r} for {len(labels)} labels: it must return an array "
            "with one entry per sample"
        )
    _check_refused(loss, labels, len(labels) + 1, units, "labels of one sample too few")
    if loss.classifies:
        _check_refused(loss, [units] * len(labels), len(labels), units, f"the label {units}")
    return checked


def _check_refused(loss: Loss, labels: Any, batch_size: int, units: int, what: str) -> None:
    try:
        loss.check_labels(labels, batch_size, units)
    except (TypeError, ValueError):
        return
    raise AssertionError(
        f"check_labels takes {what}, for {batch_size} samples and {units} units: it must refuse "
        "them with a ValueError"
    )


# -- random values ------------------------------------------------------------------------


def _random_values(
    readout: Readout, units: int, batch_size: int, duration: float, generator: np.random.Generator
) -> np.ndarray:
    """Values such as the readout may have, shape (batch, units) or (batch, units, ...)."""
    if isinstance(readout, VoltageAt):
        raise TypeError(f"check_loss does not know what values {readout} has")
    shape = readout.shape(batch_size, units)
    if isinstance(readout, SpikeReadout):
        times = _random_spike_times((batch_size, units), _count(readout), duration, generator)
        return times.reshape(shape)
    return generator.normal(0.0, 1.0, shape)


def _count(readout: SpikeReadout) -> int:
    """The number of spikes of each unit that the readout reads."""
    return readout.shape(1, 1)[2] if len(readout.shape(1, 1)) > 2 else 1


def _random_spike_times(
    shape: tuple[int, int], count: int, duration: float, generator: np.random.Generator
) -> np.ndarray:
    """Spike times at a minimum distance; about one unit in four lacks some or all spikes."""
    slots = np.arange(count) + generator.uniform(0.25, 0.75, (*shape, count))
    times = duration * slots / count
    spikes = np.where(generator.random(shape) < 0.25, generator.integers(0, count, shape), count)
    spikes[-1] = 0
    times[np.arange(count) >= spikes[:, :, None]] = np.inf
    return times


def _step(readout: Readout, duration: float) -> float:
    """The largest step of a difference."""
    if isinstance(readout, SpikeReadout):
        return 0.05 * duration / _count(readout)
    return 0.1


# -- what a call gives --------------------------------------------------------------------


def _check_call(function: Function, name: str, values: np.ndarray, labels: np.ndarray) -> None:
    """Check that results are valid, that two calls agree, and that arguments are unchanged."""
    given_values, given_labels = values.copy(), labels.copy()
    result = function(given_values, given_labels)
    for argument, given, original in (
        (name, given_values, values),
        ("labels", given_labels, labels),
    ):
        if not np.array_equal(given, original, equal_nan=given.dtype.kind == "f"):
            raise AssertionError(f"the loss changes its argument {argument}: work on a copy")
    if not isinstance(result, tuple) or len(result) != 2:
        raise AssertionError(
            f"the loss returns a {type(result).__name__}: it must return a pair, the losses and "
            f"their derivative with respect to the {name}"
        )
    again = function(values.copy(), labels.copy())
    for part, array, repeated, shape in (
        ("losses", result[0], again[0], values.shape[:1]),
        ("derivative", result[1], again[1], values.shape),
    ):
        _check_array(part, array, shape)
        if not np.array_equal(array, repeated):
            raise AssertionError(f"the {part} of two calls with the same {name} differ")


def _check_array(part: str, array: Any, shape: tuple[int, ...]) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != np.float64:
        kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise AssertionError(f"the {part} are of type {kind}: they must be an array of float64")
    if array.shape != shape:
        raise AssertionError(f"the {part} have shape {array.shape}: they must have shape {shape}")
    if not np.isfinite(array).all():
        index = _first(~np.isfinite(array))
        raise AssertionError(f"{part}{_brackets(index)} is {array[index]}: it must be finite")


def _check_independence(function: Function, values: np.ndarray, labels: np.ndarray) -> None:
    together = function(values.copy(), labels.copy())
    for sample in range(len(labels)):
        own = slice(sample, sample + 1)
        alone = function(values[own].copy(), labels[own].copy())
        for part, whole, single in zip(("loss", "derivative"), together, alone, strict=True):
            scale = np.abs(single).max(initial=0.0)
            if np.shape(single) != whole[own].shape or not np.allclose(
                single, whole[own], rtol=0.0, atol=1e-12 * scale
            ):
                raise AssertionError(
                    f"the {part} of sample {sample} is {single[0]} alone and {whole[sample]} in a "
                    f"batch of {len(labels)}: samples must not touch each other; the mean over "
                    "the batch is taken elsewhere"
                )


def _check_predictions(loss: Loss, values: np.ndarray, units: int) -> None:
    found = loss.predict(values.copy())
    if not isinstance(found, np.ndarray) or found.shape != values.shape[:1]:
        raise AssertionError(
            f"predict has the result {found!r}: it must be an array with one class per sample, "
            f"shape {values.shape[:1]}"
        )
    if found.dtype.kind not in "iu" or (found < -1).any() or (found >= units).any():
        raise AssertionError(
            f"predict puts samples into {found!r}: it must give integers, from 0 to {units - 1}, "
            "or -1 for none"
        )


# -- the derivative -----------------------------------------------------------------------


def _check_derivative(
    function: Function,
    name: str,
    values: np.ndarray,
    labels: np.ndarray,
    step: float,
    tolerance: float,
) -> None:
    """Compare each sample's derivative with differences; a missing spike has none to compare."""
    losses, found = function(values.copy(), labels.copy())
    expected, error = np.zeros_like(found), np.zeros_like(found)
    for index in np.ndindex(values.shape[1:]):
        at = (slice(None), *index)

        def moved(by: float, at: Any = at) -> np.ndarray:
            other = values.copy()
            other[at] += by
            return function(other, labels.copy())[0]

        expected[at], error[at] = differentiate(moved, step)
    axes = tuple(range(1, found.ndim))
    compared = np.isfinite(values)
    size = np.where(compared, np.maximum(np.abs(found), np.abs(expected)), 0.0)
    scale = size.max(axis=axes, keepdims=True)
    rounding = 1e-12 * np.abs(losses).reshape(scale.shape) / step
    unsettled = compared & (error > 1e-5 * scale + rounding)
    if unsettled.any():
        index = _first(unsettled)
        raise AssertionError(
            f"finite differences of the loss of sample {index[0]} by {name}{_brackets(index)} = "
            f"{values[index]:g} do not settle: it must be smooth; they give {expected[index]:g} "
            f"within {error[index]:g}, the derivative is {found[index]:g}"
        )
    wrong = compared & (np.abs(found - expected) > tolerance * scale + 2 * error + rounding)
    if wrong.any():
        index = _first(wrong)
        raise AssertionError(
            f"the derivative of the loss of sample {index[0]} by {name}{_brackets(index)} = "
            f"{values[index]:g} is {found[index]:.9g}: finite differences give "
            f"{expected[index]:.9g}"
        )


@helpful
def differentiate(
    function: Callable[[float], np.ndarray], step: float, levels: int = 10
) -> tuple[np.ndarray, np.ndarray]:
    """The derivative at 0 of a function with values of any shape, and an estimate of its error.

    Uses central differences with steps that are halved, extrapolated to 0.  For each value, the
    result that its last extrapolation moved least is taken (Ridders 1982).
    """
    row: list[np.ndarray] = []
    best = error = np.empty(0)
    for level in range(levels):
        h = step * 0.5**level
        above = row
        row = [(function(h) - function(-h)) / (2 * h)]
        for order, rougher in enumerate(above, start=1):
            finer = row[order - 1]
            row.append(finer + (finer - rougher) / (4.0**order - 1))
            moved = np.maximum(np.abs(row[order] - finer), np.abs(row[order] - rougher))
            if level == order == 1:
                best, error = row[order], moved
            better = moved < error
            best, error = np.where(better, row[order], best), np.where(better, moved, error)
    return best, error


def _first(wrong: np.ndarray) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(wrong)[0])


def _brackets(index: tuple[int, ...]) -> str:
    return "" if not index else f"[{', '.join(map(str, index))}]"


# -- end to end ---------------------------------------------------------------------------


_ATTEMPTS = 100
_SMALLEST_DRIVE = 0.4  # I - threshold at a spike: below it, differences lose digits


class _UnfitNetworkError(Exception):
    """Small changes of the weights make spikes appear or vanish, or nearly do so."""


def _check_gradient(
    loss: Loss,
    units: int,
    duration: float,
    labels: np.ndarray,
    seed: int,
    *,
    all_parameters: bool = False,
) -> None:
    """Compare gradients of a small network with differences, for weights or all parameters."""
    checked = False
    for kind in (LI, LIF):
        if _reads(loss.readout, kind):
            checked = True
            _check_network(loss, kind, units, duration, labels, seed, all_parameters)
    assert checked, f"{loss.readout} reads neither LI nor LIF units"


def _check_network(
    loss: Loss,
    kind: type[LI | LIF],
    units: int,
    duration: float,
    labels: np.ndarray,
    seed: int,
    all_parameters: bool,
) -> None:
    """Try networks, the later ones with larger weights, until the spikes are suitable."""
    generator = np.random.default_rng(seed)
    for attempt in range(_ATTEMPTS):
        network = _random_network(loss.readout, kind, units, duration, 1.03**attempt, generator)
        spikes = _random_trains(duration, len(labels), generator)
        run = simulate(network, spikes, duration, "reference")
        fewest = run.spike_counts[network.output.name].min()
        if (
            fewest < _wanted_spikes(loss.readout, kind)
            or run.report.smallest_drive < _SMALLEST_DRIVE
        ):
            continue
        try:
            # At a delay of 0, no central difference can be taken.
            names = [
                name
                for name, values in network.parameters.items()
                if name.endswith(".weight")
                or (all_parameters and (not name.endswith(".delay") or np.all(values > 0)))
            ]
            _compare_gradients(loss, network, spikes, duration, labels, names)
        except _UnfitNetworkError:
            continue
        return
    raise RuntimeError(
        f"no network was found, in {_ATTEMPTS}, whose {kind.__name__} units spike often enough "
        "and keep their spikes when weights move a little: try another seed"
    )


def _compare_gradients(
    loss: Loss,
    network: Network,
    spikes: SpikeTrains,
    duration: float,
    labels: np.ndarray,
    names: Sequence[str],
) -> None:
    result = quiet_gradient(
        network, spikes, labels, loss, duration, GradientOptions(engine="reference")
    )
    for name in names:
        found = np.asarray(result.parameters[name])
        values = np.asarray(network.parameters[name])
        expected, error = np.zeros(values.shape), np.zeros(values.shape)
        for index in np.ndindex(values.shape):

            def moved(by: float, index: Any = index, name: str = name) -> np.ndarray:
                changed = np.array(network.parameters[name], np.float64)
                changed[index] += by
                run = simulate(network.replace({name: changed}), spikes, duration, "reference")
                for population, counts in run.spike_counts.items():
                    if not np.array_equal(counts, result.run.spike_counts[population]):
                        raise _UnfitNetworkError
                return np.asarray(loss.evaluate(run, labels).losses.mean())

            expected[index], error[index] = differentiate(moved, 1e-3, levels=3)
        allowed = 1e-6 * np.abs(expected).max() + 1e-10
        if error.max() > allowed:
            raise _UnfitNetworkError
        wrong = np.abs(found - expected) > allowed
        if wrong.any():
            index = _first(wrong)
            raise AssertionError(
                f"in a network with {type(network.output).__name__} output the derivative of the "
                f"loss by {name}{_brackets(index)} = {values[index]:g} is {found[index]:.9g}: "
                f"finite differences give {expected[index]:.9g}"
            )


def _reads(readout: Readout, kind: type[LI | LIF]) -> bool:
    try:
        readout.population_of(Network([kind(readout.population or "output", 1)], []))
    except ValueError:
        return False
    return True


def _wanted_spikes(readout: Readout, kind: type[LI | LIF]) -> int:
    """The number of spikes that each output unit needs: a missing one cannot be compared."""
    if isinstance(readout, SpikeReadout):
        return _count(readout)
    return 1 if kind is LIF else 0


def _random_network(
    readout: Readout,
    kind: type[LI | LIF],
    units: int,
    duration: float,
    strength: float,
    generator: np.random.Generator,
) -> Network:
    taus = {"tau_mem": duration / 2, "tau_syn": duration / 8, "rest": 0.1, "start": 0.2}
    reset = {"reset": -0.3} if kind is LIF else {}
    output = readout.population or "output"
    into_hidden = strength * generator.uniform(3.0, 8.0, (2, 2))
    into_output = strength * generator.uniform(1.0, 6.0, (units, 2))
    return Network(
        [
            Input(f"input of {output}", 2),
            LIF(f"hidden of {output}", 2, **taus),
            kind(output, units, **taus, **reset),
        ],
        [
            Connection(f"input of {output}", f"hidden of {output}", into_hidden),
            Connection(f"hidden of {output}", output, into_output, delay=duration / 20),
        ],
    )


def _random_trains(duration: float, batch_size: int, generator: np.random.Generator) -> SpikeTrains:
    count = 6 * batch_size
    return SpikeTrains.from_events(
        generator.uniform(0.0, 0.7 * duration, count),
        generator.integers(0, 2, count),
        np.repeat(np.arange(batch_size), 6),
        batch_size=batch_size,
        unit_count=2,
    )
