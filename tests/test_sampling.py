"""Readouts from voltages at given times, against dense quadrature and finite differences."""

import mpmath
import numpy as np
import pytest
from mpmath import mp, mpf
from networks import random_case

import evsim
from evsim import losses
from evsim.engines import Engine, Exact
from evsim.readouts import Mean, Voltage, VoltageTrace
from evsim.readouts.mean import sigmoid
from evsim.readouts.panels import Panels
from evsim.readouts.quadrature import gauss_nodes, nodes_wanted

pytestmark = pytest.mark.slow

ENGINES = ("exact", "reference")
OUTPUTS = (("LI", 0.0), ("LIF", 0.0), ("LIF", 3.0), ("LIF", np.inf))


def case_of(output, refractory, seed=0):
    generator = np.random.default_rng(seed)
    return random_case(
        generator, "feedforward", batch=3, output=output, refractory=refractory, duration=50.0
    )


# -- the sigmoid weighting ----------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("output", "refractory"), OUTPUTS)
def test_the_sigmoid_weighting_against_a_dense_quadrature(output, refractory, engine):
    """60 Gauss nodes between kinks are more than enough for any function as smooth as these."""
    case = case_of(output, refractory)
    run = evsim.simulate(case.network, case.inputs, case.duration, engine)
    if output == "LIF":
        assert run.spike_counts["output"].sum() > 3
    kinks = run.event_times("output")
    nodes, weights = np.polynomial.legendre.leggauss(60)
    found = run.mean("output", "sigmoid")
    for sample in range(3):
        own = kinks.times[slice(*kinks.offsets[sample : sample + 2])]
        edges = np.array([0.0, *own, case.duration])
        lengths = np.diff(edges)[:, None]
        times = edges[:-1, None] + lengths * (1 + nodes) / 2
        voltages = run.voltage("output", times.ravel())[sample]
        w = (lengths * weights / 2 * sigmoid(times, case.duration)).ravel()
        expected = (voltages * w).sum(axis=1) / case.duration
        np.testing.assert_allclose(found[sample], expected, rtol=2e-14, atol=1e-15)


@pytest.mark.parametrize("length", [2.0, 1.99, 1.0, 0.3, 0.05, 1e-2, 1e-3, 1e-5, 1e-9])
def test_panels_have_the_nodes_their_lengths_ask_for(length):
    """The steepest V and w there may be: one with the shortest time constant, w in T/5."""
    scale, duration = 4.0, 20.0
    panel = Panels(np.array([0]), np.array([9.0]), np.array([length * scale]))
    moments, weights = gauss_nodes(panel, nodes_wanted(panel.lengths, scale), 1)
    for response in (lambda t: mp.exp(-t), lambda t: t * mp.exp(-t)):

        def weighted(t, response=response):
            w = 1 / (1 + mp.exp((t / mpf(duration) - mpf(1) / 2) * 5))
            return w * response((t - 9) / scale)

        values = [float(weighted(mpf(float(t)))) for t in moments.times]
        with mpmath.workdps(30):
            expected = mp.quad(weighted, [9, 9 + mpf(length) * scale])
        # The rounding of the times is that of V's own argument.
        rounding = np.finfo(float).eps * length * scale * 2
        assert abs(float(expected) - float(np.sum(weights * values))) <= rounding


@pytest.mark.parametrize("taus", [(20.0, 1e-3), (1e-6, 50.0), (1e-6, 1e-3), (300.0, 1.0)])
def test_short_time_constants_need_few_moments(taus):
    """The sigmoid weighting over a trial of a second, against 30 digits."""
    network = evsim.Network(
        [evsim.Input("input", 1), evsim.LI("output", 1, tau_mem=taus[0], tau_syn=taus[1])],
        [evsim.Connection("input", "output", 1e3)],
    )
    spikes = evsim.SpikeTrains.from_lists([[(100.0, 0)]], units=1)
    moments = []

    class Counting(Exact):
        """Keeps how many voltages it was asked for."""

        def states_at(self, state, population, times):
            moments.append(times.times.size)
            return super().states_at(state, population, times)

    run = evsim.simulate(network, spikes, 1000.0, Counting())
    found = run.mean("output", "sigmoid")[0, 0]
    m, s = map(mpf, taus)

    def weighted(t):
        v = 1000 * s / (m - s) * (mp.exp(-t / m) - mp.exp(-t / s))
        return v / (1 + mp.exp(((t + 100) / 1000 - mpf(1) / 2) * 5))

    short, long = sorted((m, s))
    edges = [0, *(short * 2**k for k in range(8)), *(long * 2**k for k in range(8)), 900]
    edges = sorted({min(mpf(edge), mpf(900)) for edge in edges})
    with mpmath.workdps(30):
        expected = mp.quad(weighted, edges) / 1000
    assert found == pytest.approx(float(expected), rel=1e-13)
    assert 0 < sum(moments) < 1000  # 13 for each doubling


def test_short_panels_have_few_nodes():
    lengths = np.array([2.0, 1.0, 0.05, 1e-3, 1e-12])
    np.testing.assert_array_equal(nodes_wanted(4.0 * lengths, 4.0), [13, 10, 4, 3, 2])


# -- the weighting by input spikes --------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("output", "refractory"), OUTPUTS)
def test_the_input_weighting_is_a_sum_over_all_input_spikes(output, refractory, engine):
    """Of both inputs, of the sample's own, two at one time twice, those after the end never."""
    case = case_of(output, refractory)
    inputs = {
        name: evsim.SpikeTrains.from_lists(
            [[*sample, (7.0, 0), (7.0, 1), (50.0, 1), (50.5, 0)] for sample in trains.to_lists()],
            units=trains.unit_count,
        )
        for name, trains in case.inputs.items()
    }
    run = evsim.simulate(case.network, inputs, case.duration, engine)
    found = run.mean("output", "input")
    for sample in range(3):
        times = np.concatenate([trains[sample].times for trains in inputs.values()])
        voltages = run.voltage("output", times[times <= case.duration])[sample]
        np.testing.assert_allclose(
            found[sample], voltages.sum(axis=1) / case.duration, rtol=1e-13, atol=1e-15
        )


def test_a_sample_without_input_spikes_has_the_mean_0():
    network = evsim.Network(
        [evsim.Input("input", 1), evsim.LI("output", 2)], [evsim.Connection("input", "output", 1.0)]
    )
    spikes = evsim.SpikeTrains.from_lists([[], [(1.0, 0), (3.0, 0)], []], units=1)
    found = evsim.simulate(network, spikes, 10.0).mean("output", "input")
    np.testing.assert_array_equal(found[[0, 2]], 0.0)
    assert (found[1] > 0).all()
    nothing = evsim.simulate(network, spikes[:1], 10.0)
    np.testing.assert_array_equal(nothing.mean("output", "input"), 0.0)
    labels = [1]
    loss = losses.CrossEntropy(Mean("input"))
    result = evsim.gradient(network, spikes[:1], labels, loss, 10.0)
    assert result.input_times.shape == (0,)
    np.testing.assert_array_equal(result.parameters["input->output.weight"], 0.0)


def test_an_input_spike_moves_its_own_moment():
    """One input, one synapse without delay: V at the first spike is 0, whenever that is."""
    network = evsim.Network(
        [evsim.Input("input", 1), evsim.LI("output", 1, tau_mem=20.0, tau_syn=5.0)],
        [evsim.Connection("input", "output", 2.0)],
    )
    spikes = evsim.SpikeTrains.from_lists([[(3.0, 0), (7.0, 0)]], units=1)
    run = evsim.simulate(network, spikes, 10.0)
    pulled = run.pull_back(Mean("input"), np.ones((1, 1)), [])
    # The mean is V(7)/T = (2/T) phi(7 - 3), so the two derivatives are opposite.
    slope = 2.0 / 10.0 * 5.0 / 15.0 * (np.exp(-4 / 5) / 5 - np.exp(-4 / 20) / 20)
    np.testing.assert_allclose(pulled.input_times, [-slope, slope], rtol=1e-14)


@pytest.mark.parametrize("readout", [Mean("sigmoid"), Mean("input"), Voltage([40.0, 1.0])])
def test_each_sample_for_itself(readout):
    """Bit by bit."""
    case = case_of("LIF", 3.0)
    together = evsim.simulate(case.network, case.inputs, 50.0).read(readout)
    for sample in range(3):
        inputs = {name: trains[sample : sample + 1] for name, trains in case.inputs.items()}
        alone = evsim.simulate(case.network, inputs, 50.0).read(readout)
        np.testing.assert_array_equal(alone[0], together[sample])


# -- voltages at given times --------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("output", "refractory"), OUTPUTS)
def test_voltages_in_any_order_of_times(output, refractory, engine):
    case = case_of(output, refractory)
    run = evsim.simulate(case.network, case.inputs, case.duration, engine)
    times = [20.0, 0.0, 50.0, 20.0, 3.5]
    found = run.read(Voltage(times))
    assert found.shape == (3, 2, 5)
    expected = run.voltage("output", times)
    np.testing.assert_allclose(found, expected, rtol=1e-14, atol=1e-16)


def test_a_time_that_is_asked_for_twice_counts_twice():
    case = case_of("LI", 0.0)
    targets = np.full((3, 2, 2), 0.1)
    twice = evsim.gradient(
        case.network, case.inputs, targets, losses.VoltageMSE(Voltage([30.0, 30.0])), 50.0
    )
    once = evsim.gradient(
        case.network, case.inputs, targets[:, :, :1], losses.VoltageMSE(Voltage([30.0])), 50.0
    )
    assert twice.loss == pytest.approx(2 * once.loss, rel=1e-15)
    for name, found in twice.parameters.items():
        np.testing.assert_allclose(
            np.asarray(found.data if hasattr(found, "indptr") else found),
            2 * np.asarray(getattr(once.parameters[name], "data", once.parameters[name])),
            rtol=1e-14,
        )


# -- refusals -----------------------------------------------------------------------------


class NeverRuns(Engine):
    """Fails the test as soon as anything is asked of it."""

    def _fail(self, *arguments):
        raise AssertionError("an engine was asked to work on bad input")

    simulate = spikes = report = read_mean = read_peak = read_spike_times = _fail
    states_at = event_times = pull_back_sources = traces = adjoint_traces = _fail


def test_times_after_the_end_are_refused():
    case = case_of("LI", 0.0)
    message = r"^times\[1\] = 50\.5 ms: the voltage is known within the trial, 0 to 50 ms$"
    readout = Voltage([1.0, 50.5, 60.0])
    with pytest.raises(ValueError, match=message):
        evsim.simulate(case.network, case.inputs, 50.0).read(readout)
    with pytest.raises(ValueError, match=message):
        evsim.gradient(
            case.network,
            case.inputs,
            np.zeros((3, 2, 3)),
            losses.VoltageMSE(readout),
            50.0,
            engine=NeverRuns(),
        )


def test_traces_are_no_values():
    case = case_of("LI", 0.0)
    with pytest.raises(TypeError, match="VoltageTrace is for losses that integrate"):
        evsim.simulate(case.network, case.inputs, 50.0).read(VoltageTrace())
