"""The first change of the pattern of spikes along a step: closed forms, and simulations there."""

import numpy as np
import pytest
from scipy.sparse import csr_array

import evsim
from evsim.equations.highest_response import highest_response

TAUS = {"tau_mem": 20.0, "tau_syn": 5.0}
WEIGHT, DELAY = "input->hidden.weight", "input->hidden.delay"
HIGHEST = float(highest_response(20.0, 5.0))


def one_unit(*spikes, weights, delays=0.0, **options):
    """A LIF unit with one input for each weight; spikes are times of the inputs in their order."""
    count = len(weights)
    network = evsim.Network(
        [evsim.Input("input", count), evsim.LIF("hidden", 1, **TAUS, **options)],
        [evsim.Connection("input", "hidden", [weights], np.broadcast_to(delays, (1, count)))],
    )
    trains = evsim.SpikeTrains.from_lists([[(t, i) for i, t in enumerate(spikes)]], units=count)
    return evsim.simulate(network, trains, 60.0)


# -- closed forms -----------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [0.5 / HIGHEST, 0.999 / HIGHEST])
def test_a_spike_appears_where_the_highest_voltage_reaches_the_threshold(weight):
    run = one_unit(3.0, weights=[weight])
    change = evsim.nearest_change(run, {WEIGHT: np.ones((1, 1))}).pattern
    assert change.kind == "appears"
    assert (change.population, change.sample, change.unit) == ("hidden", 0, 0)
    assert change.fraction == pytest.approx(1.0 / HIGHEST - weight, rel=1e-6)
    assert change.margin == pytest.approx(1.0 - weight * HIGHEST, rel=1e-9)
    assert change.time == pytest.approx(3.0 + np.log(4.0) * 20.0 / 3.0, rel=1e-12)
    assert evsim.nearest_change(run, {WEIGHT: -np.ones((1, 1))}).pattern is None
    by_threshold = evsim.nearest_change(run, {"hidden.threshold": -np.ones(())})
    assert by_threshold.fraction == pytest.approx(1.0 - weight * HIGHEST, rel=1e-6)


def test_a_spike_vanishes_where_the_voltage_would_no_longer_exceed_the_threshold():
    weight = 1.1 / HIGHEST
    run = one_unit(3.0, weights=[weight], refractory=np.inf)
    change = evsim.nearest_change(run, {WEIGHT: np.full((1, 1), -2.0)}).pattern
    assert change.kind == "vanishes"
    assert change.fraction == pytest.approx((weight - 1.0 / HIGHEST) / 2.0, rel=1e-6)


def test_a_rise_goes_on_through_later_arrivals():
    """The first spike comes before the second arrival, which would lift V further."""
    one, two = 1.05 / HIGHEST, 0.2
    run = one_unit(0.0, 9.0, weights=[one, two], refractory=np.inf)
    assert run.spikes["hidden"].times[0] < 9.0
    alone = evsim.nearest_change(run, {WEIGHT: np.array([[-1.0, 0.0]])}).pattern
    assert alone.kind == "vanishes"
    peak = np.log(4.0) * 20.0 / 3.0  # of the first input's response
    assert peak > 9.0
    times = np.linspace(9.0, 20.0, 200_001)

    def response(t):
        return (np.exp(-t / 20.0) - np.exp(-t / 5.0)) / 3.0

    top = (one * response(times) + two * response(times - 9.0)).max()
    assert alone.margin == pytest.approx(top - 1.0, rel=1e-6)


def test_a_spike_leaves_the_trial():
    run = one_unit(50.0, weights=[1.1 / HIGHEST], refractory=np.inf)
    (time,) = run.spikes["hidden"].times
    change = evsim.nearest_change(run, {DELAY: np.ones((1, 1))}).pattern
    assert change.kind == "leaves"
    assert change.fraction == pytest.approx(60.0 - time, rel=1e-6)


def test_a_rising_voltage_at_the_end_of_the_trial_may_become_a_spike():
    run = one_unit(58.0, weights=[4.0])
    assert run.spikes["hidden"].times.size == 0
    change = evsim.nearest_change(run, {WEIGHT: np.ones((1, 1))}).pattern
    end = (np.exp(-2.0 / 20.0) - np.exp(-2.0 / 5.0)) / 3.0
    assert (change.kind, change.time) == ("appears", 60.0)
    assert change.fraction == pytest.approx(1.0 / end - 4.0, rel=1e-6)


@pytest.mark.parametrize("later", [True, False])
def test_an_arrival_changes_its_order_with_a_spike(later):
    run = one_unit(0.0, 0.0, weights=[9.0, 0.01], delays=[0.0, 8.0 if later else 1.0])
    (time, *_) = run.spikes["hidden"].times
    gap = 8.0 - time if later else time - 1.0
    assert gap > 0.0
    change = evsim.nearest_change(run, {DELAY: [[0.0, -1.0 if later else 1.0]]}).order
    assert change.kind == "meets an arrival"
    # An arrival before the spike moves it, by as little as its weight.
    assert change.fraction == pytest.approx(gap, rel=1e-6 if later else 1e-2)


def test_an_arrival_changes_its_order_with_the_end_of_a_refractory_period():
    run = one_unit(0.0, 0.0, weights=[9.0, 0.01], delays=[0.0, 20.0], refractory=10.0)
    (time, *_) = run.spikes["hidden"].times
    change = evsim.nearest_change(run, {DELAY: [[0.0, -1.0]]}).order
    assert change.kind == "release meets an arrival"
    assert change.fraction == pytest.approx(20.0 - (time + 10.0), rel=1e-6)


# -- simulations on both sides of a change ----------------------------------------------------


def random_network(generator, recurrent):
    weights = evsim.Normal(0.9, 1.2)
    connections = [
        evsim.Connection("input", "hidden", weights, evsim.Uniform(0.5, 8.0)),
        evsim.Connection("hidden", "output", evsim.Normal(0.8, 0.8), evsim.Uniform(0.5, 8.0)),
    ]
    if recurrent:
        connections.append(
            evsim.Connection("hidden", "hidden", evsim.Normal(0.0, 0.6), evsim.Uniform(0.5, 8.0))
        )
    return evsim.Network(
        [
            evsim.Input("input", 6),
            evsim.LIF("hidden", 5, tau_mem=np.linspace(10, 20, 5), tau_syn=5.0, refractory=1.0),
            evsim.LIF("output", 3, tau_mem=15.0, tau_syn=15.0, reset=-0.2, rest=0.1),
        ],
        connections,
        seed=int(generator.integers(1 << 30)),
    )


def moved(network, step, share):
    return network.replace({n: network.parameters[n] + share * by for n, by in step.items()})


def counts(network, trains):
    found = evsim.simulate(network, trains, 40.0).spike_counts
    return np.hstack([found["hidden"], found["output"]])


def last_share_of_the_same_pattern(network, step, trains):
    """A share of the step behind which the spike counts change, found by bisection."""
    same = counts(network, trains)
    low, high = 0.0, 1e-3
    while np.array_equal(counts(moved(network, step, high), trains), same):
        low, high = high, 2.0 * high
    while high - low > 4e-16 * high:
        middle = 0.5 * (low + high)
        if not low < middle < high:
            break
        if np.array_equal(counts(moved(network, step, middle), trains), same):
            low = middle
        else:
            high = middle
    return high


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_the_prediction_converges_to_the_change_that_simulations_find(seed, recurrent):
    generator = np.random.default_rng([seed, recurrent])
    network = random_network(generator, recurrent)
    times = [
        [(float(t), int(u)) for t, u in zip(generator.uniform(0, 25, 18), range(18), strict=True)]
        for _ in range(3)
    ]
    trains = evsim.SpikeTrains.from_lists(
        [[(t, u % 6) for t, u in sample] for sample in times], units=6
    )
    step = {
        name: generator.normal(size=np.shape(values)) * (0.0 if name.endswith("rest") else 1.0)
        for name, values in network.parameters.items()
        if name.endswith(("weight", "delay", "tau_mem", "tau_syn"))
    }
    step = {name: 0.1 * by for name, by in step.items()}
    end = last_share_of_the_same_pattern(network, step, trains)
    before, after = (counts(moved(network, step, end * k), trains) for k in (1 - 1e-9, 1 + 1e-9))
    errors = []
    for distance in (1e-2, 1e-3, 1e-4):
        near = moved(network, step, end * (1.0 - distance))
        found = evsim.nearest_change(evsim.simulate(near, trains, 40.0), step)
        errors.append(abs(found.fraction / (end * distance) - 1.0))
    assert errors[-1] < 1e-2
    assert errors[-1] < 0.3 * errors[0] or errors[0] < 1e-4
    unit = found.pattern.unit + (5 if found.pattern.population == "output" else 0)
    changed = after[found.pattern.sample, unit] - before[found.pattern.sample, unit]
    assert changed == {"appears": 1, "vanishes": -1, "leaves": -1}[found.pattern.kind]


# -- gradients, training ------------------------------------------------------------------------


def task():
    generator = np.random.default_rng(0)
    network = evsim.Network(
        [
            evsim.Input("input", 4),
            evsim.LIF("hidden", 6, **TAUS, refractory=np.inf),
            evsim.LIF("output", 2, **TAUS, refractory=np.inf),
        ],
        [
            evsim.Connection("input", "hidden", evsim.Normal(3.0, 1.0), evsim.Constant(0.0)),
            evsim.Connection("hidden", "output", evsim.Normal(2.0, 0.5), evsim.Constant(1.0)),
        ],
        seed=1,
    )
    labels = generator.integers(0, 2, 20)
    times = generator.uniform(0.0, 10.0, (20, 4)) + 5.0 * np.outer(labels, [1, 1, 0, 0])
    return network, evsim.SpikeTrains.from_latencies(times), labels


def test_the_report_of_a_gradient_follows_the_gradient_downhill():
    network, trains, labels = task()
    loss = evsim.losses.FirstSpikeCrossEntropy(tau0=1.0)
    found = evsim.gradient(network, trains, labels, loss, 60.0)
    step = {name: -values for name, values in found.parameters.items()}
    step[DELAY] = np.maximum(step[DELAY], 0.0)  # delays are 0 and cannot become shorter
    expected = evsim.nearest_change(found.run, step)
    assert found.report.nearest_change == expected
    assert 0.0 < expected.fraction < np.inf
    assert found.report.arrivals == found.run.report.arrivals
    assert str(expected).startswith("after ")


def test_training_records_how_much_of_its_last_step_the_gradient_holds():
    network, trains, labels = task()
    loss = evsim.losses.FirstSpikeCrossEntropy(tau0=1.0)
    options = {"duration": 60.0, "epochs": 2, "batch_size": 20, "progress": False}
    options["optimizers"] = {"weight": evsim.Adam(0.01), "delay": evsim.Adam(0.1)}
    plain = evsim.fit(network, (trains, labels), loss, **options)
    measured = evsim.fit(network, (trains, labels), loss, **options, nearest_change=True)
    assert [epoch.loss for epoch in plain.history] == [epoch.loss for epoch in measured.history]
    assert [epoch.nearest_change for epoch in plain.history] == [None, None]
    options["epochs"] = 1
    once = evsim.fit(network, (trains, labels), loss, **options).last_network
    step = {
        name: once.parameters[name] - network.parameters[name]
        for name in network.parameters
        if name.endswith(("weight", "delay"))
    }
    run = evsim.simulate(network, trains, 60.0)
    expected = evsim.nearest_change(run, step).fraction
    assert measured.history[0].nearest_change == pytest.approx(expected, rel=1e-6)
    with pytest.raises(ValueError, match="nearest_change=True needs the exact engine"):
        evsim.fit(network, (trains, labels), loss, **options, nearest_change=True, engine="grid")


def test_sparse_weights_and_threads_change_nothing():
    network, trains, _ = task()
    weight = np.array(network.parameters[WEIGHT])
    weight[0, 1] = 0.0
    dense = network.replace({WEIGHT: weight})
    sparse = evsim.Network(
        network.populations,
        [
            evsim.Connection("input", "hidden", csr_array(weight)),
            evsim.Connection("hidden", "output", network.parameters["hidden->output.weight"],
                             network.parameters["hidden->output.delay"]),
        ],
    )  # fmt: skip
    step = np.where(weight == 0.0, 0.0, 1.0)
    one = evsim.nearest_change(evsim.simulate(dense, trains, 60.0), {WEIGHT: step})
    for threads in (1, 2):
        run = evsim.simulate(sparse, trains, 60.0, evsim.engines.Exact(threads=threads))
        other = evsim.nearest_change(run, {WEIGHT: csr_array(step)})
        assert other.pattern.fraction == pytest.approx(one.pattern.fraction, rel=1e-6)
        assert other.pattern.kind == one.pattern.kind


# -- refusals -----------------------------------------------------------------------------------


def test_what_does_not_fit_is_refused():
    run = one_unit(3.0, weights=[2.0])
    step = {WEIGHT: np.ones((1, 1))}
    with pytest.raises(ValueError, match="needs the exact engine"):
        evsim.nearest_change(
            evsim.simulate(run.network, run.inputs, 60.0, evsim.engines.Grid(dt=0.1)), step
        )
    with pytest.raises(ValueError, match="no parameter 'input->hidden.wait'"):
        evsim.nearest_change(run, {"input->hidden.wait": 1.0})
    with pytest.raises(ValueError, match=r"has the shape \(2,\), the parameter \(1, 1\)"):
        evsim.nearest_change(run, {WEIGHT: np.ones(2)})
    with pytest.raises(ValueError, match="all of it must be finite"):
        evsim.nearest_change(run, {WEIGHT: np.full((1, 1), np.nan)})
    with pytest.raises(TypeError, match="give a mapping from names"):
        evsim.nearest_change(run, [1.0])
    with pytest.raises(TypeError, match="give what evsim.simulate returns"):
        evsim.nearest_change(run.network, step)
    dropout = evsim.Dropout({"input": 0.9}, seed=1)
    dropped = evsim.simulate(run.network, run.inputs, 60.0, dropout=dropout)
    assert dropped.report.dropped
    with pytest.raises(ValueError, match="give the same dropout"):
        evsim.nearest_change(dropped, step)
    assert evsim.nearest_change(dropped, step, dropout=dropout).pattern is None


def test_no_step_makes_no_change():
    run = one_unit(3.0, weights=[2.0])
    found = evsim.nearest_change(run, {WEIGHT: np.zeros((1, 1))})
    assert (found.pattern, found.order, found.fraction) == (None, None, np.inf)
    assert str(found) == "the step changes no pattern, to first order"


def test_training_goes_on_where_the_last_step_begins_at_a_change():
    network = evsim.Network(
        [evsim.Input("input", 1), evsim.LIF("output", 2)],
        [evsim.Connection("input", "output", [[9.0], [8.0]])],
    )
    spike = evsim.SpikeTrains.from_latencies([[1.0]])
    (_, last) = evsim.simulate(network, spike, 20.0).first_spike("output")[0]
    loss = evsim.losses.FirstSpikeCrossEntropy()
    options = {"duration": last, "optimizers": {"weight": evsim.SGD(1e-3)}, "epochs": 1}
    result = evsim.fit(network, (spike, [0]), loss, **options, nearest_change=True, progress=False)
    assert result.history[0].nearest_change == 0.0
