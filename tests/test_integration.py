"""Integrals of functions of V against mpmath, and their errors."""

import math
from itertools import pairwise

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp, mpf

import evsim
from evsim.readouts import SampleTimes, integration
from evsim.readouts.integration import IntegrationError, integrate
from evsim.readouts.panels import graded_panels, sum_by_sample

DURATION = 30.0
TAU_MEM, TAU_SYN = 20.0, 5.0
SPIKES = [[(2.0, 0), (9.0, 1)], [], [(1.0, 1), (1.5, 0), (14.0, 0)]]
WEIGHTS = np.array([[4.0, -3.0], [1.0, 2.5]])


def run_of(scale=1.0, spikes=SPIKES):
    network = evsim.Network(
        [evsim.Input("input", 2), evsim.LI("output", 2, tau_mem=TAU_MEM, tau_syn=TAU_SYN)],
        [evsim.Connection("input", "output", scale * WEIGHTS)],
    )
    return evsim.simulate(network, evsim.SpikeTrains.from_lists(spikes, units=2), DURATION)


def exact_voltages(spikes, scale, time):
    """V of both units in many digits: a sum of one response for each spike."""
    total = [mpf(0), mpf(0)]
    for spike_time, source in spikes:
        t = time - mpf(spike_time)
        if t > 0:
            response = mp.exp(-t / TAU_MEM) - mp.exp(-t / TAU_SYN)
            response *= mpf(TAU_SYN) / mpf(TAU_MEM - TAU_SYN)
            for unit in range(2):
                total[unit] += mpf(scale * WEIGHTS[unit, source]) * response
    return total


def softplus(voltages, _):
    """log(1 + exp(V_0 - V_1)), which is as steep as the voltages are large."""
    difference = voltages[:, 0] - voltages[:, 1]
    slope = 1 / (1 + np.exp(-difference))
    return np.logaddexp(0.0, difference), np.stack([slope, -slope], axis=1)


def exact_softplus(sample, scale):
    def value(time):
        first, second = exact_voltages(SPIKES[sample], scale, time)
        return mp.log1p(mp.exp(first - second))

    kinks = [0.0, *(time for time, _ in SPIKES[sample]), DURATION]
    points = np.unique([x for a, b in pairwise(kinks) for x in np.linspace(a, b, 9)])
    with mpmath.workdps(20):
        return mp.quad(value, [mpf(float(x)) for x in points])


# -- the rules ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "degree"), [(integration.WEIGHTS, 13), (integration.GAUSS_WEIGHTS, 7)]
)
def test_the_rules_are_exact_to_their_degrees(weights, degree):
    """Kronrod's on 9 nodes, and the Gauss rule on 4 of them; and not to the next degree."""
    powers = np.arange(degree + 2)
    found = (weights * integration.NODES ** powers[:, None]).sum(axis=1)
    errors = found * (powers + 1) - 1
    assert np.abs(errors[:-1]).max() < 2e-15
    assert np.abs(errors[-1]) > 1e-12


# -- the integral -------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-7, 1e-10, 1e-13])
@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_integrals_against_many_digits(scale, tolerance):
    """Also where the function is steep: voltages of 100, in whose units it changes within 1."""
    found = integrate(run_of(scale), "output", softplus, tolerance)
    for sample in range(len(SPIKES)):
        expected = float(exact_softplus(sample, scale))
        size = max(expected / DURATION, 1.0)
        assert abs(found.values[sample] - expected) <= max(tolerance, 1e-14) * size * DURATION


@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_the_moments_integrate_the_derivative(scale):
    """What the gradient is made of: the derivative's integral, halved elsewhere for itself."""
    run = run_of(scale)
    found = integrate(run, "output", softplus, 1e-12)
    coarse = sum_by_sample(found.weights[:, None] * found.derivative, found.nodes.offsets)
    fine = integrate(run, "output", lambda v, s: (softplus(v, s)[1][:, 0], 0 * v), 1e-13)
    np.testing.assert_allclose(coarse[:, 0], fine.values, rtol=1e-12)
    np.testing.assert_allclose(coarse, found.derivative_values, rtol=1e-13)
    np.testing.assert_allclose(
        sum_by_sample(found.weights, found.nodes.offsets), DURATION, rtol=1e-14
    )


def test_more_nodes_only_where_they_are_needed():
    """And in the order of time in each sample."""
    gentle = integrate(run_of(1.0), "output", softplus, 1e-12).nodes
    steep = integrate(run_of(300.0), "output", softplus, 1e-12).nodes
    for moments in (gentle, steep):
        for sample in range(3):
            assert (np.diff(moments.times[slice(*moments.offsets[sample : sample + 2])]) > 0).all()
    counts = np.diff(gentle.offsets), np.diff(steep.offsets)
    assert counts[0][1] == counts[1][1]  # no spike, nothing happens
    assert (counts[1][[0, 2]] > counts[0][[0, 2]]).all()


def test_each_sample_for_itself():
    """Bit by bit: halving depends on nothing but the sample."""
    together = integrate(run_of(300.0), "output", softplus, 1e-12)
    for sample, spikes in enumerate(SPIKES):
        alone = integrate(run_of(300.0, [spikes]), "output", softplus, 1e-12)
        own = slice(*together.nodes.offsets[sample : sample + 2])
        np.testing.assert_array_equal(alone.values, together.values[[sample]])
        np.testing.assert_array_equal(alone.derivative, together.derivative[own])
        np.testing.assert_array_equal(alone.weights, together.weights[own])


def test_a_jump_is_found():
    """A function that is not smooth takes its halvings, and has its integral in the end."""

    def above(voltages, _):
        return (voltages[:, 0] > 0.25).astype(float), np.zeros_like(voltages)

    found = integrate(run_of(), "output", above, 1e-9)

    def distance(time):
        return exact_voltages(SPIKES[0], 1.0, time)[0] - 0.25

    up, down = (float(mp.findroot(distance, (a, a + 0.5))) for a in (2.5, 10.0))
    assert 2.0 < up < 9.0 < down
    assert found.values[0] == pytest.approx(down - up, abs=1e-8)


# -- refusals -----------------------------------------------------------------------------


def test_what_is_not_finite_is_named():
    def broken(voltages, samples):
        values = np.where((samples == 2) & (voltages[:, 0] > 0.1), np.nan, 0.0)
        return values, np.zeros_like(voltages)

    with pytest.raises(
        IntegrationError,
        match=r"values of the integrand are not finite at \d.* ms of sample 2: nan at the volt",
    ):
        integrate(run_of(), "output", broken, 1e-12)


def test_what_does_not_converge_is_named():
    generator = np.random.default_rng(0)

    def noise(voltages, samples):
        values = np.where(samples == 2, generator.random(samples.size), 0.0)
        return values, np.zeros_like(voltages)

    with pytest.raises(
        IntegrationError, match=r"trial of sample 2 does not converge: with \d+ panels"
    ):
        integrate(run_of(), "output", noise, 1e-12)


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"the derivative of the integrand .* must have shape"):
        integrate(run_of(), "output", lambda v, _: (v[:, 0], v[:, 0]), 1e-12)
    with pytest.raises(ValueError, match=r"the values of the integrand .* must have shape"):
        integrate(run_of(), "output", lambda v, _: (v, v), 1e-12)


# -- panels and sums ----------------------------------------------------------------------


@given(
    st.lists(st.lists(st.floats(0.01, 9.99), unique=True, max_size=6), min_size=1, max_size=4),
    st.floats(0.05, 20.0),
)
def test_panels_fill_the_trial_between_its_kinks(kinks, size):
    times = np.concatenate([np.sort(sample) for sample in kinks]).astype(float)
    moments = SampleTimes(times, np.cumsum([0, *map(len, kinks)]))
    graded, cut = (graded_panels(moments, 10.0, size, longest) for longest in (np.inf, 2.0))
    assert (cut.lengths <= 2.0 * (1 + 1e-12)).all()
    assert graded.lengths.size <= cut.lengths.size
    for panels in (graded, cut):
        assert (panels.lengths > 0).all()
        for sample, own in enumerate(kinks):
            mine = panels.samples == sample
            starts, ends = panels.starts[mine], panels.starts[mine] + panels.lengths[mine]
            np.testing.assert_allclose(np.append(starts, 10.0), np.append(0.0, ends), atol=1e-12)
            assert set(own) <= set(starts)
    for sample, start, length in zip(*graded, strict=True):
        since_kink = start - max(time for time in (0.0, *kinks[sample]) if time <= start)
        assert length <= max(size, since_kink) * (1 + 1e-9)


def test_short_time_constants_need_few_panels():
    """One of 1 us in a trial of a second; the current's own pulse is not overlooked."""
    network = evsim.Network(
        [evsim.Input("input", 1), evsim.LI("output", 1, tau_mem=20.0, tau_syn=1e-3)],
        [evsim.Connection("input", "output", 1e3)],
    )
    spikes = evsim.SpikeTrains.from_lists([[(100.0, 0)]], units=1)
    run = evsim.simulate(network, spikes, 1000.0)
    found = integrate(run, "output", lambda v, _: (v[:, 0] ** 2, 2 * v), 1e-12)
    # V = w tau_s/(tau_m - tau_s) (e^(-t/tau_m) - e^(-t/tau_s)), squared, and for ever.
    m, s = mpf(20), mpf("1e-3")
    exact = (1000 * s / (m - s)) ** 2 * (m / 2 + s / 2 - 2 * m * s / (m + s))
    assert found.values[0] == pytest.approx(float(exact), rel=1e-11)
    assert found.nodes.times.size < 2000


def test_sums_keep_their_digits_and_know_empty_samples():
    values = np.random.default_rng(0).uniform(0.0, 1.0, (100_000, 2))
    sums = sum_by_sample(values, np.array([0, 0, 99_000, 99_000, 100_000]))
    np.testing.assert_array_equal(sums[[0, 2]], 0.0)
    for column in range(2):
        exact = math.fsum(values[:99_000, column])
        assert sums[1, column] == pytest.approx(exact, rel=4e-16)
