"""The closed forms of lif.py against the textbook formulas in 100 digits.

With so many digits cancellation does no harm: the textbook's difference of two exponentials is an
oracle even if the time constants are neighbouring float64 numbers.
"""

from __future__ import annotations

from itertools import pairwise

import mpmath
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from evsim.equations import lif
from evsim.equations.highest_response import highest_response
from evsim.readouts import WeightingForm

mp = mpmath.mp.clone()
mp.dps = 100
EPSILON = 2.0**-53  # what rounding may do to one number, relatively

RATIOS = [4.0, 2.0, 1.0, 1.0 + 1e-9, 1.0 - 1e-9, 1.0 + 2.0**-52, 1 / 3, 100.0, 0.01]
voltages = st.floats(-5.0, 0.999, allow_subnormal=False)
currents = st.floats(-5.0, 20.0, allow_subnormal=False)
times = st.floats(-9.0, 2.5).map(lambda exponent: 10.0**exponent)
taus = st.tuples(
    st.floats(0.5, 100.0), st.one_of(st.sampled_from(RATIOS), st.floats(0.05, 20.0))
).map(lambda pair: (pair[0], pair[0] / pair[1]))
far_apart = st.tuples(st.floats(0.5, 100.0), st.floats(-9.0, 9.0)).map(
    lambda pair: (pair[0], pair[0] * 10.0 ** pair[1])
)


def numbers(*values):
    return [mp.mpf(value) for value in values]


def difference_quotient(a, b):
    """exp[a, b]."""
    return (mp.exp(a) - mp.exp(b)) / (a - b) if a != b else mp.exp(a)


def response(t, tau_mem, tau_syn):
    """V after t ms from V = 0 and I = 1, and its counterpart for the adjoints."""
    convolution = t * difference_quotient(-t / tau_mem, -t / tau_syn)
    return convolution / tau_mem, convolution / tau_syn


def error(value, truth, scale=None):
    """The difference in units of rounding, relative to the true value or to a scale.

    What is smaller than 1e-290 may underflow.
    """
    scale = abs(truth) if scale is None else scale
    return float(abs(mp.mpf(value) - truth) / (scale + mp.mpf("1e-290")) / EPSILON)


def conditioned(t, tau_mem, tau_syn):
    """Units of rounding to be expected: a few, and those of the exponents."""
    return 8 + 2 * t / min(tau_mem, tau_syn)


@settings(max_examples=300)
@given(voltages, currents, times, taus)
def test_flow(voltage, current, t, tau):
    new_voltage, new_current = lif.flow(voltage, current, t, *tau)
    v, i, s, tau_mem, tau_syn = numbers(voltage, current, t, *tau)
    phi, _ = response(s, tau_mem, tau_syn)
    kept, gained = v * mp.exp(-s / tau_mem), i * phi
    assert error(new_voltage, kept + gained, abs(kept) + abs(gained)) < conditioned(t, *tau)
    decayed = i * mp.exp(-s / tau_syn)
    assert error(new_current, decayed) < conditioned(t, *tau)


@settings(max_examples=300)
@given(voltages, currents, times, st.one_of(taus, far_apart))
def test_adjoint_flow(lambda_v, lambda_i, t, tau):
    new_v, new_i, new_difference = lif.adjoint_flow(
        lambda_v, lambda_i, lambda_v - lambda_i, t, *tau
    )
    v, i, s, tau_mem, tau_syn = numbers(lambda_v, lambda_i, t, *tau)
    phi, psi = response(s, tau_mem, tau_syn)
    decayed = v * mp.exp(-s / tau_mem)
    assert error(new_v, decayed) < conditioned(t, *tau)
    kept, gained = i * mp.exp(-s / tau_syn), v * psi
    assert error(new_i, kept + gained, abs(kept) + abs(gained)) < conditioned(t, *tau)
    # What the difference is, and what it is a sum of: terms that shrink with it.
    truth = decayed - (kept + gained)
    if tau_syn <= tau_mem:
        size = abs(v - i) * mp.exp(-s / tau_syn) + abs(v) * phi
    else:
        size = abs(v - i) * (mp.exp(-s / tau_mem) + psi) + abs(i) * phi
    assert error(new_difference, truth, size) < conditioned(t, *tau)


@pytest.mark.parametrize("ratio", [1e-9, 1e-6, 1e-3, 0.5, 1.0, 2.0, 1e3, 1e6, 1e9])
@pytest.mark.parametrize("spans", [1e-9, 1e-3, 0.1, 10.0, 25.0])
def test_the_difference_of_one_jump_keeps_its_digits(ratio, spans):
    """lambda_V times tau_mem times the slope of V's response, which is 0 nowhere near here.

    ``spans`` counts the shorter time constant.
    """
    tau = (5.0 * ratio, 5.0) if ratio >= 1 else (5.0, 5.0 / ratio)
    t = 5.0 * spans
    *_, found = lif.adjoint_flow(0.7, 0.0, 0.7, t, *tau)
    v, s, tau_mem, tau_syn = numbers(0.7, t, *tau)
    phi, psi = response(s, tau_mem, tau_syn)
    decay_mem, decay_syn = mp.exp(-s / tau_mem), mp.exp(-s / tau_syn)
    truth = v * (decay_syn - phi)
    assert abs(truth) > 0.2 * v * min(decay_syn + phi, decay_mem + psi)
    assert error(found, truth) < 5 * conditioned(t, *tau)


@settings(max_examples=200)
@given(voltages, currents, voltages, currents, times, taus)
def test_the_adjoint_flow_is_the_transpose_of_the_flow(
    voltage, current, lambda_v, lambda_i, t, tau
):
    """tau_mem lambda_V V + tau_syn lambda_I I is the same before and after."""
    later = lif.flow(voltage, current, t, *tau)
    earlier = lif.adjoint_flow(lambda_v, lambda_i, lambda_v - lambda_i, t, *tau)
    tau_mem, tau_syn = tau
    before = tau_mem * earlier[0] * voltage + tau_syn * earlier[1] * current
    after = tau_mem * lambda_v * later[0] + tau_syn * lambda_i * later[1]
    largest = lif.flow(abs(voltage), abs(current), t, *tau)  # if nothing cancelled
    magnitude = tau_mem * abs(lambda_v) * largest[0] + tau_syn * abs(lambda_i) * largest[1]
    assert abs(before - after) <= conditioned(t, *tau) * EPSILON * magnitude + 1e-290


@settings(max_examples=300)
@given(voltages, currents, taus)
def test_peak_time(voltage, current, tau):
    found = lif.peak_time(voltage, current, *tau)
    v, i, tau_mem, tau_syn = numbers(voltage, current, *tau)
    if current <= 0 or voltage >= current:
        assert found == np.inf
        return
    gap = (i - v) / i
    u = gap * (tau_mem - tau_syn) / tau_mem
    if u >= 1:
        assert found == np.inf or u < 1 + 4 * EPSILON
        return
    truth = tau_syn * gap if u == 0 else -tau_syn * mp.log(1 - u) * gap / u
    steepness = float(abs(u / ((1 - u) * mp.log(1 - u)))) if u else 1.0  # of the logarithm
    assume(steepness < 1e12 and truth < 1e300 and gap < 1e300)  # later than any number is never
    assert error(found, truth) < 8 + 4 * steepness


@given(taus)
def test_highest_response(tau):
    _, _, tau_mem, tau_syn = numbers(0.0, 1.0, *tau)
    ratio = tau_syn / tau_mem
    truth = mp.exp(-1) if ratio == 1 else ratio ** (1 / (1 - ratio))
    assert error(highest_response(*tau), truth) < 8 + 4 * abs(mp.log(truth))


thresholds = st.floats(0.1, 3.0)


def height(voltage, current, tau_mem, tau_syn):
    """The largest V ahead, if V rises now."""
    t = lif.peak_time(voltage, current, tau_mem, tau_syn)
    return current * np.exp(-t / tau_syn) if t < np.inf else -np.inf


@settings(max_examples=400)
@given(voltages, st.floats(0.1, 20.0), thresholds, taus)
def test_reaches_threshold(voltage, current, threshold, tau):
    assume(voltage < threshold)
    v, i, tau_mem, tau_syn = numbers(voltage, current, *tau)
    u = (i - v) / i * (tau_mem - tau_syn) / tau_mem
    if i <= v or u >= 1:
        largest = -mp.inf
    else:
        peak = tau_syn * (i - v) / i if u == 0 else -tau_syn * mp.log(1 - u) / (u / ((i - v) / i))
        largest = i * mp.exp(-peak / tau_syn)
    assume(abs(largest - threshold) > 1e-13)
    assert lif.reaches_threshold(voltage, current, threshold, *tau) == (largest > threshold)


def first_crossing(voltage, current, threshold, tau_mem, tau_syn):
    return lif.first_crossing(voltage, current, threshold, tau_mem, tau_syn, False)


@pytest.mark.parametrize("find", [lif.crossing_time, first_crossing])
@settings(max_examples=400)
@given(voltages, st.floats(0.1, 1.0), st.floats(0.0, 1.0), st.floats(-12.0, 2.0), taus)
def test_crossing_time(find, voltage, threshold, position, excess, tau):
    """At that time V is at the threshold and rises, and it was not at the threshold before.

    ``excess`` is how far, in powers of ten, the peak lies above the threshold.
    """
    voltage = min(voltage, threshold * position)
    top = threshold * (1 + 10.0**excess)
    low, high = threshold, 1e6  # the current whose peak is at the top
    for _ in range(80):
        current = 0.5 * (low + high)
        low, high = (current, high) if height(voltage, current, *tau) < top else (low, current)
    assume(voltage < threshold)
    assume(lif.reaches_threshold(voltage, current, threshold, *tau))
    t = find(voltage, current, threshold, *tau)
    v, i, s, tau_mem, tau_syn = numbers(voltage, current, t, *tau)
    phi, _ = response(s, tau_mem, tau_syn)
    kept, gained, now = v * mp.exp(-s / tau_mem), i * phi, i * mp.exp(-s / tau_syn)
    missing = threshold - (kept + gained)
    slope = (now - (kept + gained)) / tau_mem
    rounding = EPSILON * conditioned(t, *tau) * float(abs(kept) + abs(gained))
    # Newton's last step is where the slope carries the error of V; near the top of a grazing
    # crossing the slope itself is lost, and the error of V is all there is to say.
    assert abs(missing) <= rounding + 2 * EPSILON * float(abs(slope)) * t
    bend = float(now / tau_syn + slope) / tau[0]
    assert float(slope) >= -2 * np.sqrt(2 * rounding * abs(bend))


def test_crossing_times_of_voltages_that_only_graze():
    """V there is the threshold up to its own rounding, although the slope of V is lost.

    The peaks are at the threshold, or a few units in the last place above it.
    """
    rng = np.random.default_rng(0)
    for _ in range(20_000):
        tau_mem, tau_syn = rng.uniform(1, 30), rng.uniform(0.1, 30)
        ratio = tau_mem / tau_syn
        current = ratio ** (ratio / (ratio - 1)) * (1 + rng.integers(0, 6) * 2.0**-52)
        if lif.reaches_threshold(0.0, current, 1.0, tau_mem, tau_syn):
            for find in (lif.crossing_time, first_crossing):
                t = find(0.0, current, 1.0, tau_mem, tau_syn)
                voltage, _ = lif.flow(0.0, current, t, tau_mem, tau_syn)
                assert voltage == pytest.approx(1.0, rel=1e-15, abs=0)


below_rest = st.one_of(st.just(0.0), st.floats(-9.0, 2.0).map(lambda exponent: -(10.0**exponent)))


@settings(max_examples=400, deadline=None)
@given(below_rest, st.floats(-9.0, 3.0), st.floats(-1e3, 1e3), st.one_of(taus, far_apart))
def test_crossing_time_up_to_a_threshold_below_rest(threshold, depth, current, tau):
    """At that time V is at the threshold and rises, and at no time before."""
    voltage = threshold - 10.0**depth
    assume(lif.reaches_threshold(voltage, current, threshold, *tau))
    t = lif.crossing_time(voltage, current, threshold, *tau)
    v, i, s, tau_mem, tau_syn = numbers(voltage, current, t, *tau)

    def parts(s):
        return v * mp.exp(-s / tau_mem), i * response(s, tau_mem, tau_syn)[0]

    kept, gained = parts(s)
    slope = (i * mp.exp(-s / tau_syn) - (kept + gained)) / tau_mem
    # In many digits: the products of small voltages underflow in float64.
    rounding = 4 * EPSILON * mp.mpf(conditioned(t, *tau)) * (abs(kept) + abs(gained))
    assert abs(threshold - (kept + gained)) <= rounding + 4 * EPSILON * abs(slope) * s
    bend = (i * mp.exp(-s / tau_syn) / tau_syn + slope) / tau_mem
    assert slope >= -2 * mp.sqrt(2 * rounding * abs(bend))
    for part in (0.01, 0.3, 0.7, 0.99):
        assert sum(parts(part * s)) < threshold + rounding


def test_a_threshold_at_rest_is_reached_only_with_enough_current():
    for tau in ((20.0, 5.0), (10.0, 10.0), (5.0, 12.0)):
        assert not lif.reaches_threshold(-1.0, 0.0, 0.0, *tau)
        assert not lif.reaches_threshold(-1.0, -2.0, 0.0, *tau)
        assert lif.reaches_threshold(-1.0, 4.0, 0.0, *tau)
        assert lif.reaches_threshold(-1.0, -2.0, -1e-3, *tau)
        assert not lif.reaches_threshold(-1.0, np.nan, -1e-3, *tau)


# -- derivatives by time constants, and the weighted integral ---------------------------------


@settings(max_examples=100)
@given(
    st.floats(0.0, 90.0),
    st.floats(-6.0, 1.0).map(lambda exponent: 10.0**exponent),
    st.sampled_from([(0.0, 0.0), (0.01, 0.0), (0.0, -0.01), (0.02, -0.005)]),
)
def test_weighting_integral(start, span, weighting):
    a, s, r, k = numbers(start, span, *weighting)

    def antiderivative(t):
        if r == 0:
            return t + k * t**2 / 2
        return -mp.exp(-r * t) * ((1 + k * t) / r + k / r**2)

    truth = antiderivative(a + s) - antiderivative(a)
    scale = s * mp.exp(-r * a) * (1 + abs(k) * (a + s))
    assert error(lif.weighting_integral(start, span, *weighting), truth, scale) < 24


@settings(max_examples=200)
@given(voltages, currents, times, taus)
def test_flow_by_time_constants(voltage, current, t, tau):
    found = lif.flow_by_time_constants(voltage, current, t, *tau)
    v, i, s, tau_mem, tau_syn = numbers(voltage, current, t, *tau)

    by_mem = derivative(lambda mem: response(s, mem, tau_syn)[0], tau_mem)
    truths = (
        v * mp.exp(-s / tau_mem) * s / tau_mem**2 + i * by_mem,
        i * derivative(lambda syn: response(s, tau_mem, syn)[0], tau_syn),
        i * mp.exp(-s / tau_syn) * s / tau_syn**2,
    )
    phi, _ = response(s, tau_mem, tau_syn)
    scale = (
        abs(v) * mp.exp(-s / tau_mem) * s / tau_mem + abs(i) * phi * (1 + s / tau_mem)
    ) / tau_mem
    assert error(found[0], truths[0], scale) < conditioned(t, *tau) + 8
    assert error(found[1], truths[1]) < conditioned(t, *tau) + 8
    assert error(found[2], truths[2]) < conditioned(t, *tau)


def derivative(function, at):
    """A central difference, with 60 good digits."""
    step = mp.mpf(10) ** -30
    return (function(at + step) - function(at - step)) / (2 * step)


@settings(max_examples=200, deadline=None)
@given(
    st.floats(0.0, 90.0),
    st.floats(-6.0, 2.0).map(lambda exponent: 10.0**exponent),
    st.sampled_from([(0.0, 0.0), (0.01, 0.0), (0.0, -0.01)]),
    taus,
)
def test_integral_slopes_and_their_derivatives(start, span, weighting, tau):
    """Flat, exponential and linear weightings, between any two times of a trial."""
    assume(start + span <= 100.0)
    rate, slope = weighting
    a, s, r, k, tau_mem, tau_syn = numbers(start, span, *weighting, *tau)

    def by_voltage(mem, _):
        total = (1 + k * a) * s * divided_difference(0, -s * (r + 1 / mem))
        total += k * s**2 * divided_difference(0, *[-s * (r + 1 / mem)] * 2)
        return mp.exp(-r * a) * total

    def by_current(mem, syn):
        m, y = -s * (r + 1 / mem), -s * (r + 1 / syn)
        total = (1 + k * a) * s**2 / mem * divided_difference(0, m, y)
        moments = divided_difference(0, m, m, y) + divided_difference(0, m, y, y)
        return mp.exp(-r * a) * (total + k * s**3 / mem * moments)

    found = lif.integral_slopes(start, span, rate, slope, *tau)
    # The linear weighting is a difference that cancels towards the end of the trial.
    cancelled = 1 if slope == 0 else 1 + 1 / (1 - start / 100)
    bound = (24 + 4 * span / min(tau)) * cancelled
    assert error(found[0], by_voltage(tau_mem, tau_syn)) < bound
    assert error(found[1], by_current(tau_mem, tau_syn)) < bound
    found = lif.integral_slopes_by_time_constants(start, span, rate, slope, *tau)
    scales = (
        by_voltage(tau_mem, tau_syn) / tau_mem,
        by_current(tau_mem, tau_syn) / tau_mem,
        by_current(tau_mem, tau_syn) / tau_syn,
    )
    truths = (
        derivative(lambda mem: by_voltage(mem, tau_syn), tau_mem),
        derivative(lambda mem: by_current(mem, tau_syn), tau_mem),
        derivative(lambda syn: by_current(tau_mem, syn), tau_syn),
    )
    for value, truth, scale in zip(found, truths, scales, strict=True):
        assert error(value, truth, abs(truth) + scale) < 4 * bound


def rise(start, span, rate, slope, tau_mem, tau_syn):
    """``lif.integral_of_rise``."""
    _, by_current = lif.integral_slopes(start, span, rate, slope, tau_mem, tau_syn)
    return lif.integral_of_rise(by_current, start, span, rate, slope, tau_mem, tau_syn)


@settings(max_examples=300)
@given(
    st.floats(0.0, 90.0),
    st.floats(-6.0, 2.0).map(lambda exponent: 10.0**exponent),
    st.sampled_from([(0.0, 0.0), (0.01, 0.0), (0.0, -0.01)]),
    st.one_of(taus, far_apart),
)
def test_integral_of_rise(start, span, weighting, tau):
    """Written with plain exponentials, of time constants moved apart where they are equal."""
    assume(start + span <= 100.0)

    def moments(tau):
        x = r + 1 / tau
        end = mp.exp(-x * s)
        return (1 + k * a) * (1 - end) / x + k * (1 - end * (1 + x * s)) / x**2

    # What is left of the differences is as small as the exponential at the end of the span.
    with mp.workdps(100 + int(span / max(tau))):
        a, s, r, k, tau_mem, tau_syn = numbers(start, span, *weighting, *tau)
        tau_mem += tau_mem * mp.mpf(10) ** -30
        falling = moments(tau_mem) / tau_mem - moments(tau_syn) / tau_syn
        truth = -mp.exp(-r * a) * falling * tau_syn / (tau_mem - tau_syn)
    found = rise(start, span, *weighting, *tau)
    # The linear weighting at the end of the span is a difference.
    at_end, _ = response(s, tau_mem, tau_syn)
    size = truth + abs(k) * (a + s) * at_end
    assert error(found, truth, size) < 24 + 4 * span / min(tau)


def test_integral_slopes_are_integrals():
    """The formulas equal the stated divided differences."""
    start, span, tau_mem, tau_syn = 13.0, 8.0, 20.0, 5.0
    for rate, slope in [(0.0, 0.0), (0.01, 0.0), (0.0, -0.01)]:
        found = lif.integral_slopes(start, span, rate, slope, tau_mem, tau_syn)
        for value, response_to in zip(found, [(1.0, 0.0), (0.0, 1.0)], strict=True):
            truth = mpmath.quad(
                lambda u, one=response_to, r=rate, k=slope: (
                    WeightingForm(r, k).at(start + float(u))
                    * lif.flow(*one, float(u), tau_mem, tau_syn)[0]
                ),
                [0, span],
            )
            assert float(value / truth) == pytest.approx(1.0, abs=1e-14)


def divided_difference(*arguments):
    """exp[...] by its definition, of arguments moved apart by 1e-18 where they meet."""
    points = [mp.mpf(x) + n * mp.mpf(10) ** -18 for n, x in enumerate(arguments)]
    table = [mp.exp(x) for x in points]
    for order in range(1, len(points)):
        table = [
            (table[n + 1] - table[n]) / (points[n + order] - points[n])
            for n in range(len(table) - 1)
        ]
    return table[0]


@settings(max_examples=300)
@given(st.lists(st.floats(-18.0, 1.0).map(lambda e: -(10.0**e)), min_size=4, max_size=4))
def test_higher_divided_differences(gaps):
    """For arguments that are equal, nearly equal, and on both sides of the series' limit."""
    lowest, *others = sorted(gaps)
    found = lif.third_divided_difference(*others[::-1], lowest)
    assert error(found, divided_difference(lowest, *others)) < 60
    found = lif.fourth_divided_difference(lowest, *others, 0.0)
    assert error(found, divided_difference(lowest, *others, 0.0)) < 200


def second_difference(a, b, c):
    """exp[a, b, c]."""
    low, middle, high = sorted((a, b, c))
    if low == high:
        return mp.exp(low) / 2
    upper, lower = difference_quotient(high, middle), difference_quotient(middle, low)
    return (upper - lower) / (high - low)


@settings(max_examples=300)
@given(
    st.floats(-30.0, 2.0),
    st.lists(st.floats(-18.0, 1.3).map(lambda e: 10.0**e), min_size=2, max_size=2),
    st.permutations(range(3)),
    st.booleans(),
)
def test_second_divided_difference(highest, gaps, order, equal):
    """For arguments that are equal, nearly equal, and on both sides of the series' limit."""
    arguments = [highest, highest - gaps[0], highest - gaps[0] - (0.0 if equal else gaps[1])]
    found = lif.second_divided_difference(*(arguments[k] for k in order))
    truth = second_difference(*numbers(*arguments))
    # The arguments are exact here, so only the exponential's own rounding remains.
    assert error(found, truth) < 12


@pytest.mark.parametrize("tau_syn", [5.0, 20.0, 60.0])
def test_results_do_not_jump_through_equal_time_constants(tau_syn):
    """One float64 away from equal the formulas give the same as at equality, to rounding."""
    neighbours = [np.nextafter(tau_syn, 0), tau_syn, np.nextafter(tau_syn, np.inf)]
    for t in (1e-9, 0.1, 3.0, 200.0):
        for function in (
            lambda tau_mem, t=t: lif.flow(0.3, 2.0, t, tau_mem, tau_syn)[0],
            lambda tau_mem, t=t: lif.adjoint_flow(0.3, 2.0, -1.7, t, tau_mem, tau_syn)[1],
            lambda tau_mem, t=t: lif.adjoint_flow(0.3, 2.0, -1.7, t, tau_mem, tau_syn)[2],
            lambda tau_mem, t=t: rise(7.0, t, 0.01, 0.0, tau_mem, tau_syn),
            lambda tau_mem, t=t: lif.integral_slopes(7.0, t, 0.01, 0.0, tau_mem, tau_syn)[1],
            lambda tau_mem, t=t: lif.flow_by_time_constants(0.3, 2.0, t, tau_mem, tau_syn)[1],
            lambda tau_mem: lif.peak_time(-0.5, 2.0, tau_mem, tau_syn),
            lambda tau_mem: lif.crossing_time(0.2, 3.0, 1.0, tau_mem, tau_syn),
            lambda tau_mem: first_crossing(0.2, 3.0, 1.0, tau_mem, tau_syn),
        ):
            values = [function(tau_mem) for tau_mem in neighbours]
            for one, other in pairwise(values):
                assert abs(one - other) <= 60 * EPSILON * abs(one)


@settings(max_examples=50)
@given(st.floats(-5.0, 5.0), st.floats(-5.0, 5.0), st.floats(0.1, 2.0), st.floats(1e-3, 1e6))
def test_the_reset_jump_of_the_difference_is_that_of_lambda_v(direct, later_v, threshold, excess):
    exact_direct, exact_v, exact_threshold, exact_excess = numbers(
        direct, later_v, threshold, excess
    )
    current = exact_threshold + exact_excess
    before = (exact_direct + current * exact_v) / exact_excess  # S_k/(I - threshold)
    restart = lif.restart_gradient(threshold + excess, later_v)
    found, is_limited = lif.lambda_v_before_emission(direct + restart, excess, np.inf, 0.25)
    scale = (abs(exact_direct) + current * abs(exact_v)) / exact_excess + 1
    assert not is_limited
    assert error(found, before - 0.25, scale) <= 8
    jump = lif.difference_jump(direct, later_v, threshold, excess, 0.25)
    scale = (abs(exact_direct) + exact_threshold * abs(exact_v)) / exact_excess + 1
    assert error(jump, before - exact_v - 0.25, scale) <= 8


def test_lambda_v_is_limited_at_an_emission():
    assert lif.lambda_v_before_emission(3.0, 0.5, 2.0, 0.0) == (2.0, True)
    assert lif.lambda_v_before_emission(-3.0, 0.0, 2.0, 0.5) == (-2.5, True)
    assert lif.lambda_v_before_emission(0.5, 0.5, 2.0, 0.0) == (1.0, False)
    assert lif.lambda_v_before_emission(0.0, 0.0, 2.0, 0.0) == (0.0, False)


def test_a_refractory_period_holds_the_voltage_and_not_the_current():
    tau_mem, tau_syn = 20.0, 5.0
    inside = lif.flow_through_refractory(0.0, 2.0, 1.0, 3.0, 4.0, tau_mem, tau_syn)
    assert inside == (0.0, 2.0 * lif.refractory_decay(2.0, tau_syn))
    at_release = lif.flow_through_refractory(0.0, 2.0, 1.0, 4.0, 4.0, tau_mem, tau_syn)
    later = lif.flow_through_refractory(0.0, 2.0, 1.0, 9.0, 4.0, tau_mem, tau_syn)
    assert later == lif.flow(*at_release, 5.0, tau_mem, tau_syn)
    assert lif.flow_through_refractory(0.5, 2.0, 1.0, 9.0, 1.0, tau_mem, tau_syn) == lif.flow(
        0.5, 2.0, 8.0, tau_mem, tau_syn
    )
