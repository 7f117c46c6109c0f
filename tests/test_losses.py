"""Losses against their formulas in many digits, and derivatives against finite differences."""

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp, mpf

import evsim
from evsim import losses, readouts
from evsim.readouts import Mean, Peak, SpikeTimes, Voltage, VoltageTrace

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
    """All digits are right, also if the loss is nearly 0 because the true class dominates."""
    found, derivative = losses.CrossEntropy()(values[None], np.array([label]), DURATION)
    expected, slopes = with_derivatives(cross_entropy, values, label)
    tolerance = 4 * EPSILON * (1 + np.ptp(values))
    assert relative_error(found[0], expected) <= tolerance
    for unit in range(4):
        assert relative_error(derivative[0, unit], slopes[unit]) <= tolerance


@given(four(VOLTAGES), LABELS, st.floats(0.0, 0.99))
def test_label_smoothing_spreads_a_part_of_the_label_over_all_classes(values, label, part):
    loss = losses.CrossEntropy(label_smoothing=part)
    found, derivative = loss(values[None], np.array([label]), DURATION)

    def smoothed(values, label):
        others = mp.fsum(cross_entropy(values, each) for each in range(4)) / 4
        return (1 - mpf(part)) * cross_entropy(values, label) + mpf(part) * others

    expected, slopes = with_derivatives(smoothed, values, label)
    tolerance = 4 * EPSILON * (1 + np.ptp(values))
    assert relative_error(found[0], expected) <= 2 * tolerance
    for unit in range(4):
        assert abs(float(mpf(float(derivative[0, unit])) - slopes[unit])) <= tolerance


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


@given(four(VOLTAGES), LABELS)
def test_the_integrand_of_the_time_averaged_cross_entropy_is_the_cross_entropy(values, label):
    loss, labels = losses.TimeAveragedCrossEntropy(), np.array([label])
    expected = losses.CrossEntropy()(values[None], labels, DURATION)
    for found, same in zip(loss.integrand(values[None], labels), expected, strict=True):
        np.testing.assert_array_equal(found, same)


TARGETS = st.one_of(st.floats(0.0, DURATION), st.just(np.nan))


@given(four(FIRST_SPIKES), four(TARGETS))
def test_spike_time_mse(times, targets):
    """Two units with two spikes each; of those missing, a unit's first that has a target."""
    times, targets = np.sort(times.reshape(1, 2, 2)), targets.reshape(1, 2, 2)
    loss = losses.SpikeTimeMSE(SpikeTimes(count=2))
    found, derivative = loss(times, targets, DURATION)
    total = mpf(0)
    for unit in range(2):
        phantom = False
        for number in range(2):
            time, target = times[0, unit, number], targets[0, unit, number]
            slope = 0.0
            if not np.isnan(target):
                counted = min(time, DURATION)
                total += (mpf(counted) - mpf(target)) ** 2 / 2
                if np.isfinite(time) or not phantom:
                    slope = counted - target
                phantom = phantom or np.isinf(time)
            assert derivative[0, unit, number] == slope
    assert found[0] == pytest.approx(float(total), rel=8 * EPSILON, abs=0.0)


@given(four(st.floats(-5.0, 5.0)), four(st.one_of(st.floats(-5.0, 5.0), st.just(np.nan))))
def test_voltage_mse(voltages, targets):
    loss = losses.VoltageMSE(Voltage([3.0, 1.0]))
    shaped = targets.reshape(1, 2, 2)
    found, derivative = loss(voltages.reshape(1, 2, 2), shaped, DURATION)
    errors = [mpf(v) - mpf(t) for v, t in zip(voltages, targets, strict=True) if not np.isnan(t)]
    expected = float(mp.fsum(error**2 for error in errors) / 2)
    assert found[0] == pytest.approx(expected, rel=8 * EPSILON, abs=0.0)
    slopes = np.where(np.isnan(targets), 0.0, voltages - targets)
    np.testing.assert_array_equal(derivative.ravel(), slopes)


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


def test_large_voltages_over_time():
    """A unit that is far above the others for most of the trial; losses of 0 and of 10^6."""
    network = evsim.Network(
        [evsim.Input("input", 1), evsim.LI("output", 20)],
        [evsim.Connection("input", "output", np.linspace(1e7, -1e7, 20)[:, None])],
    )
    spikes = evsim.SpikeTrains.from_lists([[(1.0, 0)], [(1.0, 0)]], units=1)
    loss = losses.TimeAveragedCrossEntropy()
    result = evsim.gradient(network, spikes, [0, 19], loss, DURATION)
    mean = result.run.mean("output")
    assert result.losses[0] == pytest.approx(np.log(20) / DURATION, rel=1e-3)
    np.testing.assert_allclose(result.losses[1], np.ptp(mean[1]), rtol=1e-6)
    np.testing.assert_allclose(result.readout.sum(axis=1), 1.0, rtol=1e-12)
    assert np.isfinite(result.parameters["input->output.weight"]).all()
    np.testing.assert_array_equal(result.predictions, [0, 0])


# -- gradients of networks ------------------------------------------------------------------

TRIAL = 24.0
CLASSES = [0, 2]
TIMES = np.random.default_rng(5).uniform(0.0, TRIAL, (2, 3, 2))
TIMES[0, 1, 1] = np.nan
VOLTAGE_TARGETS = np.random.default_rng(6).normal(0.0, 0.5, (2, 3, 2))


class SquaredVoltage(losses.IntegralLoss):
    """The mean of ``1/2 V_c^2`` for class c: a loss of one's own."""

    def integrand(self, voltages, labels):
        rows = np.arange(labels.size)
        derivative = np.zeros_like(voltages)
        derivative[rows, labels] = voltages[rows, labels]
        return 0.5 * voltages[rows, labels] ** 2, derivative


WEIGHTINGS = ("flat", "exponential", "linear", "sigmoid", "input")
OF_VOLTAGES = [
    *((losses.CrossEntropy(Mean(weighting)), CLASSES) for weighting in WEIGHTINGS),
    (losses.CrossEntropy(Voltage([13.0]), label_smoothing=0.3), CLASSES),
    (losses.TimeAveragedCrossEntropy(), CLASSES),
    (SquaredVoltage(), CLASSES),
    (losses.VoltageMSE(Voltage([20.0, 11.0])), VOLTAGE_TARGETS),
]
OF_SPIKES = [
    (losses.FirstSpikeCrossEntropy(), CLASSES),
    (losses.TimeInvariantMSE(), CLASSES),
    (losses.SpikeTimeMSE(SpikeTimes(2)), TIMES),
]
COMBINATIONS = [
    *((*pair, "LI", 0.0) for pair in [*OF_VOLTAGES, (losses.CrossEntropy(Peak()), CLASSES)]),
    *((*pair, "LIF", refractory) for pair in OF_VOLTAGES for refractory in (0.0, 3.0)),
    *((*pair, "LIF", 0.0) for pair in OF_SPIKES),
]


def network_with(output, refractory):
    generator = np.random.default_rng(8)
    taus = {"tau_mem": 15.0, "tau_syn": [4.0, 5.0, 6.0]}
    if output == "LI":
        population = evsim.LI("output", 3, **taus)
    else:
        population = evsim.LIF(
            "output", 3, threshold=[0.8, 1.0, 1.1], refractory=refractory, **taus
        )
    strength = 4.0 if output == "LIF" else 0.8
    return evsim.Network(
        [evsim.Input("input", 3), evsim.LIF("hidden", 4), population],
        [
            evsim.Connection(
                "input",
                "hidden",
                generator.normal(4.0, 1.5, (4, 3)),
                generator.uniform(0.0, 3.0, (4, 3)),
            ),
            evsim.Connection(
                "hidden",
                "output",
                generator.normal(strength, 1.0, (3, 4)),
                generator.uniform(0.0, 4.0, (3, 4)),
            ),
            evsim.Connection("input", "output", generator.normal(0.5, 0.5, (3, 3)), 1.3),
        ],
    )


INPUTS = evsim.SpikeTrains.from_lists(
    [[(1.0, 0), (3.0, 1), (7.0, 2)], [(2.0, 1), (2.5, 0), (9.0, 2), (11.0, 1)]], units=3
)


def slope_at_zero(function, step=4e-5):
    """Central differences, extrapolated."""
    rough, fine = ((function(h) - function(-h)) / (2 * h) for h in (step, step / 2))
    return (4 * fine - rough) / 3


@pytest.mark.parametrize(
    ("loss", "labels", "output", "refractory", "engine"),
    [
        *((*each, "exact") for each in COMBINATIONS),
        *(pytest.param(*each, "reference", marks=pytest.mark.slow) for each in COMBINATIONS[::4]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, losses.Loss) else None,
)
def test_gradients_against_differences(loss, labels, output, refractory, engine):
    """Of every parameter, and of the input times, along a random direction each."""
    network = network_with(output, refractory)
    result = evsim.gradient(network, INPUTS, labels, loss, TRIAL, engine=engine)
    labels = loss.check_labels(labels, 2, 3)
    counts = result.run.spike_counts
    assert output == "LI" or counts["output"].min() >= 2

    def loss_of(changed, inputs=INPUTS):
        run = evsim.simulate(changed, inputs, TRIAL, engine)
        for population in ("hidden", "output"):
            np.testing.assert_array_equal(run.spike_counts[population], counts[population])
        return loss.evaluate(run, labels).losses.mean()

    generator = np.random.default_rng(0)
    for name, value in network.parameters.items():
        direction = generator.normal(0.0, 1.0, value.shape)

        def moved(by, name=name, value=value, direction=direction):
            return loss_of(network.replace({name: value + by * direction}))

        found = np.sum(result.parameters[name] * direction)
        size = np.abs(result.parameters[name] * direction).sum()
        assert found == pytest.approx(slope_at_zero(moved), rel=1e-6, abs=1e-6 * size + 1e-10)
    direction = generator.normal(0.0, 1.0, INPUTS.times.size)

    def shifted(by):
        times = INPUTS.times + by * direction
        return loss_of(network, evsim.SpikeTrains(times, INPUTS.units, INPUTS.offsets, 3))

    found = np.sum(result.input_times * direction)
    assert found == pytest.approx(slope_at_zero(shifted), rel=1e-6, abs=1e-10)


@pytest.mark.parametrize("twins", [2, 3])
def test_units_that_spike_at_one_instant(twins):
    """The gradients of all spike times add up to the derivative for moving all spikes together."""
    loss = losses.TimeAveragedCrossEntropy()
    spikes = evsim.SpikeTrains.from_lists([[(2.0, 0)], [(2.0, 0)]], units=1)

    def result(by):
        weights = [[9.0 + by]] * twins + [[5.0]] * (4 - twins)
        network = evsim.Network(
            [evsim.Input("input", 1), evsim.LIF("output", 4)],
            [evsim.Connection("input", "output", weights)],
        )
        return evsim.gradient(network, spikes, [0, 3], loss, TRIAL)

    at_zero = result(0.0)
    assert (np.diff(at_zero.run.spikes["output"].times) == 0).sum() >= 2 * (twins - 1)
    found = at_zero.parameters["input->output.weight"][:twins].sum()
    expected = slope_at_zero(lambda by: result(by).loss)
    assert found == pytest.approx(expected, rel=1e-7, abs=1e-10)


# -- predictions ---------------------------------------------------------------------------


def test_predictions():
    voltages = np.array([[0.1, 0.5, 0.2], [3.0, -1.0, 2.0]])
    np.testing.assert_array_equal(losses.CrossEntropy().predict(voltages), [1, 0])
    at_one_time = losses.CrossEntropy(Voltage([20.0])).predict(voltages[:, :, None])
    np.testing.assert_array_equal(at_one_time, [1, 0])
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
    with pytest.raises(ValueError, match=r"voltage readout, Mean, Peak or Voltage, not FirstSpike"):
        losses.CrossEntropy(readouts.FirstSpike())
    with pytest.raises(ValueError, match=r"^CrossEntropy reads 2 times: give one, Voltage\("):
        losses.CrossEntropy(Voltage([10.0, 20.0]))
    for kind in (losses.FirstSpikeCrossEntropy, losses.TimeInvariantMSE):
        with pytest.raises(
            ValueError, match=rf"{kind.__name__} needs the readout FirstSpike, not Mean\("
        ):
            kind(readout=readouts.Mean())


def test_losses_of_targets_and_of_traces_refuse_the_wrong_readout():
    with pytest.raises(ValueError, match=r"VoltageMSE needs the readout Voltage, not Mean\("):
        losses.VoltageMSE(Mean())
    with pytest.raises(ValueError, match=r"SpikeTimeMSE needs the readout SpikeTimes, not First"):
        losses.SpikeTimeMSE(readouts.FirstSpike())
    with pytest.raises(ValueError, match=r"CrossEntropy needs the readout VoltageTrace, not Mean"):
        losses.TimeAveragedCrossEntropy(Mean())
    with pytest.raises(ValueError, match="tolerance = 0: it must be from 1e-15 to 0.01"):
        losses.TimeAveragedCrossEntropy(VoltageTrace(tolerance=0))


def test_an_integral_is_no_function_of_a_few_values():
    with pytest.raises(TypeError, match="TimeAveragedCrossEntropy is an integral over the trial"):
        losses.TimeAveragedCrossEntropy()(np.zeros((1, 3)), np.array([0]), DURATION)


def test_targets_must_fit():
    check = losses.SpikeTimeMSE(SpikeTimes(2)).check_labels
    good = np.full((2, 3, 2), 5.0)
    np.testing.assert_array_equal(check(good.tolist(), 2, 3), good)
    with pytest.raises(
        ValueError,
        match=r"labels has shape \(2, 3\): give the targets as \(batch, units, spikes\), "
        r"shape \(2, 3, 2\)",
    ):
        check(good[:, :, 0], 2, 3)
    with pytest.raises(TypeError, match="labels has type bool: it must hold targets, numbers"):
        check(good > 0, 2, 3)
    for value, kind in ((np.inf, "must be finite"), (-1.0, "no spike is ever before 0")):
        wrong = good.copy()
        wrong[1, 2, 0] = value
        with pytest.raises(ValueError, match=rf"labels\[1, 2, 0\] = {value} ms: .*{kind}"):
            check(wrong, 2, 3)
    with pytest.raises(ValueError, match=r"shape \(2, 3, 1\), with NaN where there is none"):
        losses.VoltageMSE(Voltage([1.0])).check_labels(np.zeros((2, 3)), 2, 3)
    negative = np.full((2, 3, 1), -1.0)
    checked = losses.VoltageMSE(Voltage([1.0])).check_labels(negative, 2, 3)
    np.testing.assert_array_equal(checked, negative)


def test_targets_of_one_spike_need_no_axis_for_it():
    loss = losses.SpikeTimeMSE()
    flat = np.array([[1.0, np.nan], [3.0, 4.0]])
    np.testing.assert_array_equal(loss.check_labels(flat, 2, 2), flat[:, :, None])


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_losses_refuse_impossible_settings(value):
    for name in ("tau0", "tau1"):
        with pytest.raises(ValueError, match=rf"{name} = {value} ms: it must be finite and > 0"):
            losses.FirstSpikeCrossEntropy(**{name: value})
    with pytest.raises(ValueError, match=rf"alpha = {value}: it must be finite and >= 0"):
        losses.FirstSpikeCrossEntropy(alpha=value)
    with pytest.raises(ValueError, match=rf"delta = {value} ms: it must be finite and >= 0"):
        losses.TimeInvariantMSE(value)
    with pytest.raises(ValueError, match=rf"label_smoothing = {value}: it must be in \[0, 1\)"):
        losses.CrossEntropy(label_smoothing=value)
