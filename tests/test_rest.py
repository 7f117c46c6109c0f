"""Reset, rest and start: closed forms, finite differences, and what must not change the spikes.

Random networks with them are compared in ``test_exact``.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from agreement import gradient_error
from networks import KINDS, looped, random_case
from oracle import (
    PatternChangedError,
    difference_along,
    exact_derivative_along,
    input_weighted_mean,
    random_direction,
)
from scipy.special import lambertw

import evsim
from evsim import losses
from evsim.engines import Exact, Reference
from evsim.readouts import FirstSpike, Mean, Peak, SpikeTimes, Voltage
from evsim.testing import check_readout

EXACT = Exact(threads=1, debug=True)
REFERENCE = Reference(digits=30, debug=True)
NO_SPIKES = evsim.SpikeTrains.from_lists([[]], units=1)

both_engines = pytest.mark.parametrize("engine", [EXACT, REFERENCE])
layered_and_recurrent = pytest.mark.parametrize("is_recurrent", [False, True])


def alone(is_recurrent, **parameters):
    """A LIF unit that receives nothing, and an LI unit that receives nothing."""
    li = {name: parameters[name] for name in ("tau_mem", "rest", "start")}
    network = evsim.Network(
        [evsim.Input("input", 1), evsim.LI("leak", 1, **li), evsim.LIF("unit", 1, **parameters)], []
    )
    return looped(network, "unit") if is_recurrent else network


# -- closed forms -------------------------------------------------------------------------


@layered_and_recurrent
@both_engines
@pytest.mark.parametrize("refractory", [0.0, 3.0])
def test_a_unit_that_rests_above_its_threshold_spikes_alone(engine, refractory, is_recurrent):
    """Its spikes, the gradients of the third, and its mean voltage, written out by hand."""
    tau, threshold, reset, rest, start = 12.0, 1.0, 0.25, 1.4, -0.5
    network = alone(
        is_recurrent, tau_mem=tau, tau_syn=5.0, threshold=threshold, reset=reset, rest=rest,
        start=start, refractory=refractory,
    )  # fmt: skip
    up, down = rest - threshold, rest - reset
    first, period = tau * np.log((rest - start) / up), refractory + tau * np.log(down / up)
    run = evsim.simulate(network, NO_SPIKES, 70.0, engine)
    times = first + period * np.arange(int((70.0 - first) / period) + 1)
    np.testing.assert_allclose(run.spikes["unit"].times, times, rtol=1e-14)
    assert run.report.smallest_drive == pytest.approx(up, rel=1e-14)

    cotangents = np.array([[[0.0, 0.0, 1.0]]])
    found = run.pull_back(SpikeTimes(3), cotangents, list(network.parameters)).parameters
    expected = {
        "unit.start": -tau / (rest - start),
        "unit.reset": -2 * tau / down,
        "unit.threshold": 3 * tau / up,
        "unit.rest": tau / (rest - start) + 2 * tau / down - 3 * tau / up,
        "unit.tau_mem": (first + 2 * (period - refractory)) / tau,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-13, err_msg=name)
    np.testing.assert_allclose(found["leak.rest"], 0.0)

    end = 0.5 * (times[1] + refractory + times[2])
    run = evsim.simulate(network, NO_SPIKES, end, engine)
    moving = [(start, first), (reset, times[1] - times[0] - refractory)]
    moving.append((reset, end - times[1] - refractory))
    parts = [rest * span + (v - rest) * tau * -np.expm1(-span / tau) for v, span in moving]
    mean = (sum(parts) + 2 * refractory * reset) / end
    np.testing.assert_allclose(run.mean("unit"), mean, rtol=1e-14)
    in_window = run.voltage("unit", [0.0, times[0], times[0] + 0.5 * refractory])
    np.testing.assert_allclose(in_window[0, 0], [start, reset, reset], rtol=1e-14)


@both_engines
def test_a_unit_without_spikes_goes_from_start_to_rest(engine):
    tau, rest, start, end = 8.0, 0.3, -0.4, 30.0
    network = alone(False, tau_mem=tau, rest=rest, start=start)
    run = evsim.simulate(network, NO_SPIKES, end, engine)
    times = np.array([0.0, 1.0, 10.0, 30.0])
    expected = rest + (start - rest) * np.exp(-times / tau)
    np.testing.assert_allclose(run.voltage("leak", times)[0, 0], expected, rtol=1e-14)
    peak = Peak(population="leak")
    np.testing.assert_allclose(run.read(peak), expected[-1], rtol=1e-14)
    for readout, left in ((peak, np.exp(-end / tau)), (Mean(population="leak"), None)):
        if left is None:
            left = tau / end * -np.expm1(-end / tau)
        found = run.pull_back(readout, np.ones((1, 1)), ["leak.start", "leak.rest"]).parameters
        np.testing.assert_allclose(found["leak.start"], left, rtol=1e-14)
        np.testing.assert_allclose(found["leak.rest"], 1 - left, rtol=1e-14)
    falling = network.replace({"leak.start": 0.9})
    found = evsim.simulate(falling, NO_SPIKES, end, engine)
    np.testing.assert_allclose(found.read(peak), 0.9, rtol=1e-15)
    by_start = found.pull_back(peak, np.ones((1, 1)), ["leak.start", "leak.rest"]).parameters
    assert (by_start["leak.start"], by_start["leak.rest"]) == (1.0, 0.0)


@layered_and_recurrent
@both_engines
@pytest.mark.parametrize("weight", [-0.5, -3.0, -60.0])
def test_an_inhibited_unit_that_rests_above_its_threshold(engine, weight, is_recurrent):
    """V falls first if the inhibition is strong; then it rises with I < 0.

    With one time constant ``U = (U0 + w t/tau) e^(-t/tau)`` is at the threshold where the Lambert
    function says.
    """
    tau, threshold, rest, start = 10.0, 1.0, 1.2, 0.7
    below, u0 = threshold - rest, start - rest
    network = evsim.Network(
        [
            evsim.Input("input", 1),
            evsim.LIF("unit", 1, tau, tau, threshold, np.inf, reset=0.0, rest=rest, start=start),
        ],
        [evsim.Connection("input", "unit", weight)],
    )
    network = looped(network, "unit") if is_recurrent else network
    spikes = evsim.SpikeTrains.from_lists([[(0.0, 0)]], units=1)
    shift = u0 / weight
    x = -lambertw(-below / weight * np.exp(-shift), -1).real - shift
    run = evsim.simulate(network, spikes, 200.0, engine)
    assert run.first_spike("unit")[0, 0] == pytest.approx(tau * x, rel=1e-13)


TAUS = [(20.0, 5.0), (10.0, 10.0), (5.0, 12.0), (1e-3, 10.0), (10.0, 1e-3), (1e4, 3.0), (3.0, 1e4)]


@pytest.mark.parametrize("tau", TAUS)
def test_thresholds_around_rest(tau):
    """Voltages whose differences span many powers of ten; the exact engine checks itself."""
    rng = np.random.default_rng(TAUS.index(tau))
    compared = 0
    for _ in range(25):
        rest, scale = rng.choice([0.0, -65.0, 1e6]), rng.choice([1.0, 1e-6, 1e3])
        threshold = rest + scale * rng.choice([0.0, -1.0, -1e-9, -1e-15, 1.0, 1e-9, -1e3])
        reset = threshold - scale * rng.choice([1.0, 1e-6, 1e4, 0.3])
        start = threshold - scale * rng.choice([1.0, 1e-9, 1e4, 0.3])
        if not (reset < threshold and start < threshold):
            continue
        unit = evsim.LIF(
            "unit", 1, *tau, threshold, rng.choice([0.5, 3.0, np.inf]), reset, rest, start
        )
        loops = [evsim.Connection("unit", "unit", 0.1 * scale * rng.normal(), 1.0)]
        network = evsim.Network(
            [evsim.Input("input", 1), unit],
            [
                evsim.Connection("input", "unit", 2 * scale * rng.normal()),
                *(loops if rng.random() < 0.5 else []),
            ],
        )
        times = np.sort(rng.uniform(0, 25, rng.integers(0, 6)))
        inputs = evsim.SpikeTrains.from_lists([[(float(t), 0) for t in times]], units=1)
        found, expected = (
            evsim.simulate(network, inputs, 30.0, engine).spikes["unit"].times
            for engine in (EXACT, Reference())
        )
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
        compared += found.size
    assert compared > 10


# -- what must not change the spikes --------------------------------------------------------


@pytest.mark.parametrize("kind", ["feedforward", "recurrent"])
def test_a_shift_of_all_voltages_shifts_v_alone(kind):
    """And so the gradients with respect to them add up to what the readout sees of V directly."""
    case = random_case(
        np.random.default_rng(4), kind, batch=2, duration=20.0, voltages=True, refractory=2.0
    )
    kinds = ("threshold", "reset", "rest", "start")
    names = [n for n in case.network.parameters if n.rsplit(".", 1)[1] in kinds]
    shifted = case.network.replace({n: case.network.parameters[n] - 65.0 for n in names})
    one, other = (
        evsim.simulate(network, case.inputs, case.duration, EXACT)
        for network in (case.network, shifted)
    )
    compared = 0
    for population in case.network.populations:
        if isinstance(population, evsim.Input):
            continue
        name = population.name
        times, moved = one.spikes[name], other.spikes[name]
        np.testing.assert_array_equal(times.units, moved.units)
        np.testing.assert_allclose(moved.times, times.times, rtol=0, atol=1e-9)
        compared += times.times.size
        read, cotangents = Mean("linear", population=name), np.ones((2, population.units))
        np.testing.assert_allclose(other.read(read), one.read(read) - 32.5, rtol=0, atol=1e-9)
        gradients = one.pull_back(read, cotangents, names).parameters
        total = sum(np.sum(gradients[n]) for n in names)
        np.testing.assert_allclose(total, 0.5 * cotangents.sum(), rtol=0, atol=1e-9)
    assert compared > 10


def test_a_constant_current_is_rest_and_one_spike_at_the_start():
    """``tau_syn dI/dt = b - I`` is a rest of b and a spike of weight -b at 0."""
    tau_mem, tau_syn, b = 12.0, 4.0, 0.8
    network = evsim.Network(
        [evsim.Input("input", 1), evsim.LI("unit", 1, tau_mem, tau_syn, rest=b, start=0.0)],
        [evsim.Connection("input", "unit", -b)],
    )
    spikes = evsim.SpikeTrains.from_lists([[(0.0, 0)]], units=1)
    t = np.array([0.5, 3.0, 20.0])
    slow, fast = np.exp(-t / tau_mem), np.exp(-t / tau_syn)
    expected = b * (1 - (tau_mem * slow - tau_syn * fast) / (tau_mem - tau_syn))
    found = evsim.simulate(network, spikes, 30.0).voltage("unit", t)
    np.testing.assert_allclose(found[0, 0], expected, rtol=1e-13)


# -- finite differences ---------------------------------------------------------------------

READOUTS = [
    Mean("exponential"),
    Mean("linear", population="first"),
    Peak(),
    FirstSpike(population="second"),
    SpikeTimes(2, population="first"),
    Voltage(times=[0.0, 7.0, 15.0]),
    Voltage(times=[0.0, 3.0, 11.0, 15.0], population="first"),
]


@pytest.mark.parametrize(
    ("ratio", "refractory"),
    [
        (4.0, 2.0),
        pytest.param(1.0, 0.0, marks=pytest.mark.slow),
        pytest.param(1.0 + 1e-9, np.inf, marks=pytest.mark.slow),
        pytest.param(2.0, 0.5, marks=pytest.mark.slow),
        pytest.param(1 / 3, 0.0, marks=pytest.mark.slow),
    ],
)
def test_gradients_equal_finite_differences(ratio, refractory):
    """Along random directions in all parameters and input times, with a self-connection."""
    rng = np.random.default_rng(1)
    compared = False
    while not compared:
        case = random_case(
            rng, "recurrent", ratio=ratio, refractory=refractory, output="LI", duration=20.0,
            voltages=True, sparse=False, heterogeneous=False,
        )  # fmt: skip
        network, inputs = case.network, case.inputs
        state = REFERENCE.simulate(network, inputs, 15.0)
        counts = REFERENCE.spike_counts(state)
        lif = counts["first"].sum() + counts["second"].sum()
        if not 6 <= lif <= 40 or not any(name.endswith(".start") for name in network.parameters):
            continue
        cotangents = [rng.normal(0, 1, REFERENCE.read(state, r).shape) for r in READOUTS]
        pairs = [
            (r, np.where(np.isfinite(REFERENCE.read(state, r)), c, 0.0))
            for r, c in zip(READOUTS, cotangents, strict=True)
        ]

        def values(shifted, pairs=pairs):
            return np.array([weighted_sum(REFERENCE.read_exact(shifted, r), c) for r, c in pairs])

        for names in (None, (".threshold", ".reset", ".rest", ".start")):
            direction = random_direction(rng, network, inputs)
            if names is not None:
                direction = {k: v for k, v in direction.items() if k[0].endswith(names)}
            try:
                differences = difference_along(
                    network, inputs, 15.0, values, direction, digits=30, step="1e-10"
                )
            except PatternChangedError:
                break
            for (readout, cotangent), expected in zip(pairs, differences, strict=True):
                adjoint = REFERENCE.pull_back_exact(state, readout, cotangent)
                found = exact_derivative_along(network, adjoint, direction)
                assert abs(found - expected) <= 1e-13 * (1 + abs(expected)), readout
        else:
            compared = True


def weighted_sum(values, cotangents):
    chosen = cotangents != 0
    return np.sum(values[chosen] * cotangents[chosen])


def test_an_input_weighted_mean_reads_v_itself():
    case = random_case(
        np.random.default_rng(2), "feedforward", output="LIF", duration=20.0, voltages=True,
        refractory=3.0,
    )  # fmt: skip
    state = REFERENCE.simulate(case.network, case.inputs, case.duration)
    expected = input_weighted_mean(state, "output").astype(float)
    found = evsim.simulate(case.network, case.inputs, case.duration, EXACT)
    np.testing.assert_allclose(found.read(Mean("input")), expected, rtol=1e-13)


@pytest.mark.parametrize(
    "readout",
    [
        Mean("input"),
        pytest.param(Mean("sigmoid"), marks=pytest.mark.slow),
    ],
)
def test_readouts_by_quadrature(readout):
    """With differences of networks whose reset, rest and start are not 0."""
    check_readout(readout, units=1)


@pytest.mark.parametrize("output", ["LI", "LIF"])
@pytest.mark.parametrize("kind", [KINDS[1], pytest.param(KINDS[2], marks=pytest.mark.slow)])
def test_every_kind_of_loss(kind, output):
    case = random_case(
        np.random.default_rng(3), kind, output=output, batch=3, duration=20.0, refractory=2.0,
        voltages=True,
    )  # fmt: skip
    chosen = [losses.TimeAveragedCrossEntropy(), losses.CrossEntropy(Mean("sigmoid"))]
    if output == "LI":
        chosen.append(losses.CrossEntropy(Peak()))
    else:
        chosen.append(losses.FirstSpikeCrossEntropy(tau0=2.0, tau1=30.0, alpha=0.1))
    for loss in chosen:
        gradient = partial(evsim.gradient, case.network, case.inputs, [0, 1, 1], loss, 20.0)
        regularisers = [evsim.RateRegulariser("first", 0.1, 2.0)]
        found, expected = (
            gradient(engine=engine, regularisers=regularisers, lambda_limit=3.0)
            for engine in (EXACT, Reference())
        )
        np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-11)
        assert found.limited == expected.limited
        assert gradient_error(case.network, found.adjoint, expected.adjoint) <= 1e-9


# -- files, training, other engines -----------------------------------------------------------


def test_files_hold_them_where_they_are_not_the_default(tmp_path):
    from evsim.storage import load_network, save_network
    from evsim.storage.networks import network_arrays

    populations = [evsim.Input("input", 1), evsim.LIF("unit", 2), evsim.LI("output", 1)]
    plain = evsim.Network(populations, [])
    assert sorted(network_arrays(plain)) == sorted(  # as files of earlier versions
        [f"unit.{name}" for name in ("tau_mem", "tau_syn", "threshold", "refractory")]
        + ["output.tau_mem", "output.tau_syn"]
    )
    other = evsim.Network(
        [
            evsim.Input("input", 1),
            evsim.LIF("unit", 2, reset=[-0.1, 0.2], rest=0.5, start=[0.0, 0.1]),
            evsim.LI("output", 1, start=0.0),
        ],
        [],
    )
    for network in (plain, other):
        save_network(tmp_path / "network.safetensors", network)
        loaded = load_network(tmp_path / "network.safetensors")
        assert list(loaded.parameters) == list(network.parameters)
        for name, values in network.parameters.items():
            np.testing.assert_array_equal(loaded.parameters[name], values)
            assert loaded.parameters[name].shape == values.shape


def bias_task():
    """Two units of which one is to spike: only their rests and starts differ."""
    network = evsim.Network(
        [evsim.Input("input", 1), evsim.LIF("output", 2, rest=[1.1, 1.2], start=[0.0, 0.0])],
        [evsim.Connection("input", "output", 0.1)],
    )
    trains = evsim.SpikeTrains.from_lists([[(1.0, 0)]] * 2, units=1)
    loss = losses.FirstSpikeCrossEntropy(tau0=5.0, alpha=0.0)
    return network, evsim.Dataset(trains, [0, 0]), loss


def test_they_learn():
    network, data, loss = bias_task()
    optimizers = {"rest": evsim.Adam(0.02), "start": evsim.Adam(0.02), "reset": evsim.Adam(0.02)}
    result = evsim.fit(
        network, data, loss, duration=60.0, optimizers=optimizers, epochs=20, batch_size=2, seed=0
    )
    assert result.history[-1].loss < 0.5 * result.history[0].loss
    for name in ("output.rest", "output.start"):
        change = result.network.parameters[name] - network.parameters[name]
        assert change[0] > 0 > change[1]


def test_a_step_that_takes_one_to_the_threshold_is_refused():
    network, data, loss = bias_task()
    with pytest.raises(
        ValueError,
        match=r"^epoch 1, batch 1 of 1: the step led to output\.start\[0\] = .*: it must be below "
        r"output\.threshold\[0\] = 1; give output\.start bounds within which to learn, "
        r"projections=\{'output\.start': \(low, high\)\}, or a smaller learning rate",
    ):
        evsim.fit(
            network, data, loss, duration=60.0, optimizers={"start": evsim.Adam(1.5)}, epochs=1,
            batch_size=2, seed=0,
        )  # fmt: skip


def test_a_unit_that_spikes_alone_is_no_silent_network(recwarn):
    evsim.simulate(alone(False, tau_mem=5.0, rest=1.5, start=0.0), NO_SPIKES, 20.0)
    assert not recwarn.list
