"""Silent units: the readout SilentPeak and the loss Existence on every engine."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from oracle import difference_of, engine_with, entries_of

import evsim
from evsim.engines import Exact, Grid, Reference
from evsim.losses import CrossEntropy, Existence, FirstSpikeCrossEntropy, SpikeTimeMSE
from evsim.readouts import Mean, Peak, SilentPeak, SpikeTimes

DURATION = 30.0
EXACT = Exact(threads=1)


def network_with(weight=0.5, *, loops=True, **silent):
    """A layer that spikes, with or without loops, and one that does not, inside or behind them."""
    normal, delay = evsim.Normal, evsim.Uniform(0.0, 2.0)
    connections = [
        evsim.Connection("input", "first", normal(1.5, 1.0), delay),
        evsim.Connection("first", "second", normal(weight, 0.5), delay),
        evsim.Connection("second", "output", normal(0.0, 1.0)),
    ]
    if loops:
        connections.append(evsim.Connection("first", "first", normal(0.0, 0.3), delay))
        connections.append(evsim.Connection("second", "first", 0.1, 1.0))
    return evsim.Network(
        [
            evsim.Input("input", 5),
            evsim.LIF("first", 6, threshold=np.linspace(0.9, 1.4, 6), tau_syn=6.0),
            evsim.LIF("second", 3, tau_mem=12.0, **silent),
            evsim.LI("output", 2),
        ],
        connections,
        seed=3,
    )


NETWORKS = {
    "layers": network_with(loops=False),
    "loops": network_with(),
    "layers, from rest": network_with(loops=False, rest=0.1, start=0.05, reset=-0.2),
    "loops, from a start that is the peak": network_with(start=0.9),
    "kinks": network_with(-0.2, loops=False),
}
SPIKES = evsim.SpikeTrains.from_latencies(np.random.default_rng(0).uniform(0.0, 15.0, (3, 5)))
INPUTS = {"input": SPIKES}


# -- the readout ----------------------------------------------------------------------------------


@pytest.mark.parametrize("population", ["first", "second"])
@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_agree_with_differences_in_many_digits(name, population):
    network, readout = NETWORKS[name], SilentPeak(population=population)
    run = evsim.simulate(network, SPIKES, DURATION, engine=EXACT)
    values = run.read(readout)
    silent = run.spike_counts[population] == 0
    assert silent.any()
    assert np.isinf(values[~silent]).all()
    assert (values[silent] <= 0.0).all()
    cotangents = np.random.default_rng(1).normal(size=values.shape)
    # The threshold of the population itself is looked at below: the readout subtracts it.
    wrt = [n for n in network.parameters if n != f"{population}.threshold"]
    found = run.pull_back(readout, cotangents, wrt=wrt)

    def value(state):
        of_units = engine_with(50).read_exact(state, readout)
        return sum(
            of_units[index] * cotangents[index]
            for index in np.ndindex(silent.shape)
            if silent[index]
        )

    rng, compared = np.random.default_rng(2), 0
    for parameter in wrt:
        own, entries = np.asarray(found.parameters[parameter]), entries_of(network, parameter)
        for place in rng.permutation(len(entries))[:2]:
            index = entries[place]
            expected = float(difference_of(network, INPUTS, DURATION, value, parameter, index))
            tolerance = 1e-9 * abs(expected) + 1e-12 * np.abs(own).max() + 1e-20
            assert abs(own[index] - expected) <= tolerance, (parameter, index)
            compared += abs(expected) > 1e-20
    assert compared >= (1 if "peak" in name else 5)
    for index in (0, 4, 9):
        expected = float(difference_of(network, INPUTS, DURATION, value, "input.times", index))
        assert found.input_times[index] == pytest.approx(expected, rel=1e-9, abs=1e-13)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_threshold_is_subtracted(name):
    network, readout = NETWORKS[name], SilentPeak(population="second")
    run = evsim.simulate(network, SPIKES, DURATION, engine=EXACT)
    cotangents = np.where(run.spike_counts["second"] == 0, 1.0, 0.0)
    found = run.pull_back(readout, cotangents, wrt=["second.threshold"])
    # Units that spike do not change when the threshold of others does, in the layers without loops.
    if "loops" not in name:
        assert found.parameters["second.threshold"] == pytest.approx(-cotangents.sum())

    def value(threshold):
        moved = network.replace({"second.threshold": threshold})
        values = evsim.simulate(moved, SPIKES, DURATION, engine=EXACT).read(readout)
        return values[np.isfinite(values)].sum()

    threshold = float(network.parameters["second.threshold"])
    slope = (value(threshold + 1e-6) - value(threshold - 1e-6)) / 2e-6
    assert found.parameters["second.threshold"] == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_engines_agree(name):
    network = NETWORKS[name]
    grids = Grid(0.01), Grid(0.001)
    loss = 0.7 * Existence("second") + Existence("first", 0.2, 3.0) + CrossEntropy(Mean())
    found = {
        engine: evsim.gradient(network, SPIKES, [0, 1, 0], loss, DURATION, engine=engine)
        for engine in (EXACT, Exact(threads=2), Reference(), *grids)
    }
    exact, *others = found.values()
    assert exact.loss > 0.0
    for other, tolerance in zip(others, (0.0, 1e-11, 0.2, 0.03), strict=True):
        assert other.loss == pytest.approx(exact.loss, rel=0.01 * tolerance + 1e-14)
        for parameter, values in exact.parameters.items():
            scale = max(np.abs(values).max(), 1e-9)
            np.testing.assert_allclose(
                other.parameters[parameter], values, rtol=0, atol=tolerance * scale
            )


def test_a_peak_and_a_mean_of_populations_of_one_loop():
    """Both are read of a recurrent component at once."""
    network = NETWORKS["loops"]
    first, second = CrossEntropy(Mean(population="first")), Existence("second")
    both, *alone = (
        evsim.gradient(network, SPIKES, [0, 1, 0], loss, DURATION, engine=EXACT)
        for loss in (first + second, first, second)
    )
    for parameter, values in both.parameters.items():
        total = alone[0].parameters[parameter] + alone[1].parameters[parameter]
        np.testing.assert_allclose(values, total, rtol=1e-10, atol=1e-14)


# -- the loss -------------------------------------------------------------------------------------

VALUES = np.array([[-0.3, np.inf, -0.5], [-0.1, -0.2, np.inf], [-0.4, -0.6, -0.7]])


def test_units_silent_in_the_batch_are_chosen_where_they_come_closest():
    losses, derivative = Existence("a", 0.1, 2.0)(VALUES, np.zeros(3, int), 10.0)
    np.testing.assert_allclose(losses, [0.0, 0.2**2, 0.0])
    np.testing.assert_allclose(derivative, [[0, 0, 0], [-0.4, 0, 0], [0, 0, 0]])


def test_wanted_units_are_those_of_the_class_or_with_a_target():
    loss = Existence("a", 0.0, 1.0, when="wanted")
    losses, _ = loss(VALUES, np.array([0, 2, 1]), 10.0)
    np.testing.assert_allclose(losses, [0.045, 0.0, 0.18])
    targets = np.full((3, 3, 2), np.nan)
    targets[0, :, 1] = targets[2, 2, 0] = 5.0
    losses, derivative = loss(VALUES, targets, 10.0)
    np.testing.assert_allclose(losses, [0.045 + 0.125, 0.0, 0.245])
    np.testing.assert_allclose(derivative, [[-0.3, 0, -0.5], [0, 0, 0], [0, 0, -0.7]])
    assert Existence("a")(VALUES[:0], targets[:0], 10.0)[0].size == 0
    masked = np.ma.masked_invalid(targets)
    np.testing.assert_array_equal(loss.check_labels(masked, 3, 3), targets)
    with pytest.raises(ValueError, match=r"labels\[0, 1\] = inf ms: a target must be finite"):
        loss.check_labels([[1.0, np.inf]], 1, 2)


def test_where_the_unit_begins_to_spike_the_term_jumps():
    """To 0, from strength/2 margin^2: beyond, the gradient is that of the spike."""

    def outcome(weight):
        network = evsim.Network(
            [evsim.Input("input", 1), evsim.LIF("unit", 1)],
            [evsim.Connection("input", "unit", weight)],
        )
        spike = evsim.SpikeTrains.from_latencies([[1.0]])
        found = evsim.gradient(network, spike, [0], Existence("unit", 0.2, 3.0), DURATION)
        return found.loss, float(found.parameters["input->unit.weight"])

    # V = w tau_syn/(tau_mem - tau_syn) (e^{-t/tau_mem} - e^{-t/tau_syn}) peaks at 4^(-4/3) 3 w / 3.
    grazing = 4.0 ** (4.0 / 3.0)
    loss, slope = outcome(grazing * (1.0 - 1e-9))
    assert loss == pytest.approx(0.5 * 3.0 * 0.2**2)
    assert slope == pytest.approx(-3.0 * 0.2 / grazing)
    assert outcome(grazing * (1.0 + 1e-9)) == (0.0, 0.0)


@pytest.mark.parametrize("when", ["silent-in-batch", "wanted"])
def test_it_makes_a_silent_layer_spike(when):
    """Behind another silent layer, too, of which each unit has a term of its own."""
    network = network_with(1.5, loops=False)
    quiet = network.replace(
        {"input->first.weight": 0.3 * network.parameters["input->first.weight"]}
    )
    assert not evsim.simulate(quiet, SPIKES, DURATION).spike_counts["first"].any()
    loss = Existence("first") + Existence("second", when=when)
    labels = np.array([0, 1, 2])
    result = evsim.fit(
        quiet, evsim.Dataset(SPIKES, labels), loss, duration=DURATION,
        optimizers={"weight": evsim.Adam(0.05)}, epochs=100, batch_size=3, progress=False,
    )  # fmt: skip
    counts = evsim.simulate(result.network, SPIKES, DURATION).spike_counts
    assert (counts["first"] > 0).any(axis=0).all()
    wanted = counts["second"] > 0
    assert wanted.any(axis=0).all() if when == "silent-in-batch" else np.diag(wanted).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"margin": -0.1}, "margin = -0.1: it must be finite and >= 0"),
        ({"strength": 0.0}, "strength = 0.0: it must be finite and > 0"),
        ({"when": "always"}, "when = 'always': it must be 'silent-in-batch' or 'wanted'"),
    ],
)
def test_arguments_that_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Existence("hidden", **arguments)


def test_other_populations_and_labels_are_refused():
    network = NETWORKS["layers"]
    with pytest.raises(ValueError, match="reads LIF units, but 'output' has LI units"):
        evsim.gradient(network, SPIKES, [0, 1, 0], Existence("output"), DURATION)
    wanted = Existence("second", when="wanted")
    with pytest.raises(ValueError, match="with 3 output units labels are 0 to 2"):
        evsim.gradient(network, SPIKES, [0, 3, 0], wanted, DURATION)
    with pytest.raises(ValueError, match=r"or target times, shape \(3, 3\)"):
        evsim.gradient(network, SPIKES, np.zeros((3, 2)), wanted, DURATION)


def test_beside_losses_of_spike_times():
    """Classes and targets are given to both terms."""
    network = evsim.Network(
        [evsim.Input("input", 5), evsim.LIF("output", 3)],
        [evsim.Connection("input", "output", evsim.Normal(0.8, 0.3))],
        seed=0,
    )
    both = FirstSpikeCrossEntropy() + Existence("output", when="wanted")
    assert evsim.gradient(network, SPIKES, [0, 1, 2], both, DURATION).loss > 0.0
    targets = np.array([[[5.0], [np.nan], [np.nan]]] * 3)
    both = SpikeTimeMSE(SpikeTimes(1)) + Existence("output", when="wanted")
    assert evsim.gradient(network, SPIKES, targets, both, DURATION).loss > 0.0


def test_only_layers_that_the_loss_leaves_silent_are_warned_of():
    network, loss = NETWORKS["layers"], CrossEntropy(Mean())
    assert not evsim.simulate(network, SPIKES, DURATION).spike_counts["second"].any()
    with pytest.warns(evsim.SilentNetworkWarning, match=r"or add the loss .*Existence\('second'\)"):
        evsim.gradient(network, SPIKES, [0, 1, 0], loss, DURATION)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evsim.gradient(network, SPIKES, [0, 1, 0], loss + Existence("second"), DURATION)


def test_a_peak_of_li_units_is_what_it_was():
    network = NETWORKS["layers"]
    found = evsim.gradient(network, SPIKES, [0, 1, 0], CrossEntropy(Peak()), DURATION, engine=EXACT)
    expected = evsim.gradient(
        network, SPIKES, [0, 1, 0], CrossEntropy(Peak()), DURATION, engine=Reference()
    )
    for parameter, values in expected.parameters.items():
        scale = max(np.abs(values).max(), 1e-9)
        np.testing.assert_allclose(found.parameters[parameter], values, atol=1e-11 * scale)
