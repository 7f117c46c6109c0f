"""Losses against their formulas in many digits, and their derivatives against differences."""

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp, mpf

from evsim import losses, readouts

EPSILON = np.finfo(float).eps
DURATION = 40.0
DIGITS = 600  # enough to see a probability of e^-600 in a difference quotient


# -- the formulas in mpmath ---------------------------------------------------------------


def cross_entropy(values, label):
    return mp.log(mp.fsum(mp.exp(value - values[label]) for value in values))


def first_spike_cross_entropy(times, label, loss):
    tau0, tau1, alpha = mpf(loss.tau0), mpf(loss.tau1), mpf(loss.alpha)
    logits = [-time / tau0 for time in times]
    return cross_entropy(logits, label) + alpha * (mp.exp(times[label] / tau1) - 1)


def time_invariant_mse(times, label, loss):
    others = [time for unit, time in enumerate(times) if unit != label]
    return mp.fsum((time - times[label] - mpf(loss.delta)) ** 2 for time in others) / 2


def with_derivatives(formula, values, label):
    """The formula's value, and its derivative by each value as a quotient of differences."""
    exact = [mpf(float(value)) for value in values]

    def moved(unit):
        return lambda value: formula([*exact[:unit], value, *exact[unit + 1 :]], label)

    with mpmath.workdps(DIGITS):
        derivative = [mp.diff(moved(unit), exact[unit]) for unit in range(len(exact))]
        return formula(exact, label), derivative


def relative_error(found, expected):
    with mpmath.workdps(DIGITS):
        return float(abs(mpf(float(found)) - expected) / abs(expected))


# -- values and derivatives ----------------------------------------------------------------

LABELS = st.integers(0, 3)
VOLTAGES = st.one_of(st.floats(-1.0, 1.0), st.floats(-300.0, 300.0))
FIRST_SPIKES = st.one_of(st.floats(0.0, DURATION), st.just(np.inf))


def four(strategy):
    return st.lists(strategy, min_size=4, max_size=4).map(np.array)


@given(four(VOLTAGES), LABELS)
def test_cross_entropy(values, label):
    """Each digit counts, also where the loss is next to 0 because the true class dominates."""
    found, derivative = losses.CrossEntropy()(values[None], np.array([label]), DURATION)
    expected, slopes = with_derivatives(cross_entropy, values, label)
    tolerance = 4 * EPSILON * (1 + np.ptp(values))
    assert relative_error(found[0], expected) <= tolerance
    for unit in range(4):
        assert relative_error(derivative[0, unit], slopes[unit]) <= tolerance


@given(four(FIRST_SPIKES), LABELS, st.sampled_from([0.0, 3e-3, 2.0]))
def test_first_spike_cross_entropy(times, label, alpha):
    loss = losses.FirstSpikeCrossEntropy(tau0=0.5, tau1=6.4, alpha=alpha)
    found, derivative = loss(times[None], np.array([label]), DURATION)
    counted = np.where(np.isinf(times), DURATION, times)
    expected, slopes = with_derivatives(
        lambda values, label: first_spike_cross_entropy(values, label, loss), counted, label
    )
    tolerance = 4 * EPSILON * (1 + DURATION / loss.tau0)
    assert relative_error(found[0], expected) <= tolerance
    for unit in range(4):
        if np.isinf(times[unit]) and unit != label:
            assert derivative[0, unit] == 0.0
        else:
            assert relative_error(derivative[0, unit], slopes[unit]) <= tolerance


@given(four(FIRST_SPIKES), LABELS, st.sampled_from([0.0, 2.0]))
def test_time_invariant_mse(times, label, delta):
    loss = losses.TimeInvariantMSE(delta)
    found, derivative = loss(times[None], np.array([label]), DURATION)
    counted = np.where(np.isinf(times), DURATION, times)
    expected, slopes = with_derivatives(
        lambda values, label: time_invariant_mse(values, label, loss), counted, label
    )
    rounding = 8 * EPSILON * (DURATION + delta)
    assert abs(found[0] - float(expected)) <= rounding * (1 + 4 * (DURATION + delta))
    for unit in range(4):
        if np.isinf(times[unit]) and unit != label:
            assert derivative[0, unit] == 0.0
        else:
            assert abs(derivative[0, unit] - float(slopes[unit])) <= rounding


@pytest.mark.parametrize(
    "loss", [losses.CrossEntropy(), losses.FirstSpikeCrossEntropy(), losses.TimeInvariantMSE()]
)
def test_samples_of_a_batch_do_not_touch_each_other(loss):
    generator = np.random.default_rng(0)
    values = generator.uniform(0.0, DURATION, (6, 4))
    labels = generator.integers(0, 4, 6)
    together = loss(values, labels, DURATION)
    for sample in range(6):
        alone = loss(values[sample : sample + 1], labels[sample : sample + 1], DURATION)
        np.testing.assert_array_equal(together[0][sample], alone[0][0])
        np.testing.assert_array_equal(together[1][sample], alone[1][0])


# -- silence and extremes ------------------------------------------------------------------


@pytest.mark.parametrize("loss", [losses.FirstSpikeCrossEntropy(), losses.TimeInvariantMSE()])
def test_only_the_true_class_is_pulled_out_of_silence(loss):
    silent = np.full((1, 3), np.inf)
    found, derivative = loss(silent, np.array([1]), DURATION)
    assert np.isfinite(found[0])
    assert derivative[0, 1] > 0  # spiking earlier would lower the loss
    np.testing.assert_array_equal(derivative[0, [0, 2]], 0.0)


@pytest.mark.parametrize("loss", [losses.FirstSpikeCrossEntropy(), losses.TimeInvariantMSE()])
def test_a_time_that_is_no_number_is_not_taken_for_silence(loss):
    found, _ = loss(np.array([[1.0, np.nan, 3.0]]), np.array([0]), DURATION)
    assert np.isnan(found[0])


def test_extreme_voltages_do_not_overflow():
    values = np.array([[1e300, -1e300, 0.0], [-1e300, 1e300, 0.0]])
    found, derivative = losses.CrossEntropy()(values, np.array([0, 0]), DURATION)
    np.testing.assert_array_equal(found, [0.0, 2e300])
    np.testing.assert_array_equal(derivative, [[0.0, 0.0, 0.0], [-1.0, 1.0, 0.0]])


def test_extreme_times_do_not_overflow():
    loss = losses.FirstSpikeCrossEntropy(tau0=1e-3, tau1=1e9, alpha=1.0)
    found, derivative = loss(np.array([[1e8, 1.0]]), np.array([0]), 1e9)
    assert found[0] == pytest.approx((1e8 - 1.0) / 1e-3 + np.expm1(0.1), rel=1e-15)
    assert derivative[0] == pytest.approx([1e3 + 1e-9 * np.exp(0.1), -1e3], rel=1e-15)


@pytest.mark.parametrize(("tau1", "alpha"), [(1.0, 1e-3), (1e-3, 1e-300)])
def test_an_overflow_of_the_pull_is_named(tau1, alpha):
    loss = losses.FirstSpikeCrossEntropy(tau1=tau1, alpha=alpha)
    times = np.array([[1.0, 2.0], [3.0, 1.0], [1000.0, 1.0]]) * tau1
    with pytest.raises(
        OverflowError, match=rf"overflows in sample 2, .* spikes at {times[2, 0]:g} ms and tau1"
    ):
        loss(times, np.array([0, 0, 0]), DURATION)


# -- predictions ---------------------------------------------------------------------------


def test_predictions():
    voltages = np.array([[0.1, 0.5, 0.2], [3.0, -1.0, 2.0]])
    np.testing.assert_array_equal(losses.CrossEntropy().predict(voltages), [1, 0])
    times = np.array([[np.inf, 7.0, 5.0], [np.inf, np.inf, np.inf], [2.0, np.inf, 9.0]])
    for loss in (losses.FirstSpikeCrossEntropy(), losses.TimeInvariantMSE()):
        np.testing.assert_array_equal(loss.predict(times), [2, -1, 0])


# -- refusals ------------------------------------------------------------------------------


def test_labels_must_fit_the_batch_and_the_classes():
    check = losses.CrossEntropy().check_labels
    for label in (-1, 3):
        with pytest.raises(
            ValueError,
            match=rf"^labels\[1\] = {label}: with 3 output units labels are 0 to 2$",
        ):
            check([0, label], 2, 3)
    with pytest.raises(ValueError, match=r"labels has shape \(3,\): .* shape \(2,\)"):
        check([0, 1, 2], 2, 3)
    for labels in ([0.0, 1.0], [True, False], ["0", "1"]):
        with pytest.raises(TypeError, match=r"labels has type .*: it must hold integers"):
            check(labels, 2, 3)
    assert check(np.array([2, 0], np.uint8), 2, 3).dtype == np.int64


def test_losses_refuse_the_wrong_readout():
    with pytest.raises(ValueError, match=r"needs a voltage readout, Mean or Peak, not FirstSpike"):
        losses.CrossEntropy(readouts.FirstSpike())
    for kind in (losses.FirstSpikeCrossEntropy, losses.TimeInvariantMSE):
        with pytest.raises(
            ValueError, match=rf"{kind.__name__} needs the readout FirstSpike, not Mean\("
        ):
            kind(readout=readouts.Mean())


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_losses_refuse_impossible_settings(value):
    for name in ("tau0", "tau1"):
        with pytest.raises(ValueError, match=rf"{name} = {value} ms: it must be finite and > 0"):
            losses.FirstSpikeCrossEntropy(**{name: value})
    with pytest.raises(ValueError, match=rf"alpha = {value}: it must be finite and >= 0"):
        losses.FirstSpikeCrossEntropy(alpha=value)
    with pytest.raises(ValueError, match=rf"delta = {value} ms: it must be finite and >= 0"):
        losses.TimeInvariantMSE(value)
