"""Extreme trials: without spikes, with very many, very long ones, and currents that overflow.

The oracles are explicit formulas.  V of a LIF unit is V of an LI unit minus the resets,
threshold e^{-(t - t_k)/tau_mem} for every spike at t_k.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from networks import looped

import evsim
from evsim.engines import EngineError, Exact, Reference
from evsim.readouts import FirstSpike, Mean, Peak

pytestmark = pytest.mark.slow

EXACT = Exact(threads=1)
TAU_MEM, TAU_SYN = 20.0, 5.0

either_code = pytest.mark.parametrize("is_recurrent", [False, True])


def one_unit(kind=evsim.LIF, *, weight=3.0, delay=0.0, inputs=1, is_recurrent=False, **parameters):
    taus = {"tau_mem": TAU_MEM, "tau_syn": TAU_SYN}
    network = evsim.Network(
        [evsim.Input("input", inputs), kind("unit", 1, **{**taus, **parameters})],
        [evsim.Connection("input", "unit", np.reshape(weight, (1, -1)), delay)],
    )
    return looped(network, "unit") if is_recurrent else network


def samples(*events, units=1):
    return {"input": evsim.SpikeTrains.from_lists(events, units=units)}


def at_times(times):
    """One sample of one unit that spikes at those times."""
    zeros = np.zeros(len(times), int)
    trains = evsim.SpikeTrains.from_events(times, zeros, zeros, batch_size=1, unit_count=1)
    return {"input": trains}


def response(t):
    """V at t ms after an arrival of weight 1."""
    rise = np.exp(-t / TAU_MEM) * -np.expm1(-t * (1 / TAU_SYN - 1 / TAU_MEM))
    return np.where(t > 0, TAU_SYN / (TAU_MEM - TAU_SYN) * rise, 0.0)


def voltage_before(at, arrivals, weight, spikes):
    """The limit of V from the left at a time, by the explicit formula."""
    resets = np.exp(-(at - spikes[spikes < at]) / TAU_MEM).sum()
    return weight * response(at - arrivals[arrivals < at]).sum() - resets


# -- little, or all at once ---------------------------------------------------------------------


@either_code
def test_an_empty_sample(is_recurrent):
    """Alone, between others, and in a network whose units cannot spike."""
    network = one_unit(is_recurrent=is_recurrent, weight=9.0)
    full = [(1.0, 0), (2.0, 0)]
    state = EXACT.simulate(network, samples([], full, [], units=1), 30.0)
    assert EXACT.spike_counts(state)["unit"][:, 0].tolist()[::2] == [0, 0]
    assert EXACT.spike_counts(state)["unit"][1, 0] > 0
    voltage, current = EXACT.traces(state, "unit", np.array([0.0, 10.0, 30.0]))
    assert not voltage[::2].any()
    assert not current[::2].any()
    state = EXACT.simulate(network, samples([]), 30.0)
    assert EXACT.read(state, FirstSpike()) == np.inf
    report = EXACT.report(state)
    assert (report.arrivals, report.arrivals_after_end) == (0, 0)
    assert (report.smallest_drive, report.smallest_drive_at) == (np.inf, None)
    gradient = EXACT.pull_back(state, FirstSpike(), np.ones((1, 1)), list(network.parameters)[:2])
    assert all(not values.any() for values in gradient.parameters.values())
    assert gradient.input_times["input"].shape == (0,)


def test_an_empty_batch():
    network = one_unit()
    run = evsim.simulate(network, samples(), 30.0)
    assert len(run.spikes["unit"]) == 0
    assert run.first_spike("unit").shape == (0, 1)
    assert run.voltage("unit", [1.0]).shape == (0, 1, 1)


@either_code
def test_only_simultaneous_spikes(is_recurrent):
    """1024 coinciding spikes have the same effect as one with 1024 times the weight."""
    weight, many = 2.0**-6, 1024
    network = one_unit(is_recurrent=is_recurrent, weight=weight)
    state = EXACT.simulate(network, at_times(np.full(many, 2.5)), 60.0)
    strong = one_unit(is_recurrent=is_recurrent, weight=weight * many)
    expected = EXACT.simulate(strong, at_times([2.5]), 60.0)
    assert EXACT.spikes(state)["unit"] == EXACT.spikes(expected)["unit"]
    assert EXACT.spike_counts(state)["unit"] > 1
    ours, theirs = (
        EXACT.pull_back(s, FirstSpike(), np.ones((1, 1)), ["input->unit.weight"])
        for s in (state, expected)
    )
    np.testing.assert_allclose(
        ours.parameters["input->unit.weight"],
        many * theirs.parameters["input->unit.weight"],
        rtol=1e-12,
    )
    np.testing.assert_allclose(ours.input_times["input"], 1 / many, rtol=1e-12)


@either_code
def test_units_that_never_spike(is_recurrent):
    """A weight just below the one that raises V to the threshold, and inhibition only."""
    ratio = TAU_MEM / TAU_SYN
    needed = ratio ** (ratio / (ratio - 1))
    network = one_unit(is_recurrent=is_recurrent, weight=[needed * (1 - 1e-12), -50.0], inputs=2)
    state = EXACT.simulate(network, samples([(1.0, 0)], [(1.0, 1)], units=2), 200.0)
    assert not EXACT.spike_counts(state)["unit"].any()
    gradient = EXACT.pull_back(state, FirstSpike(), np.zeros((2, 1)), ["input->unit.weight"])
    assert not gradient.parameters["input->unit.weight"].any()
    network = network.replace({"input->unit.weight": np.array([[needed * (1 + 1e-12), -50.0]])})
    state = EXACT.simulate(network, samples([(1.0, 0)], [(1.0, 1)], units=2), 200.0)
    assert EXACT.spike_counts(state)["unit"][:, 0].tolist() == [1, 0]


@either_code
def test_the_end_of_the_trial_belongs_to_it(is_recurrent):
    """A spike and an arrival exactly at the end count; later ones do not."""
    rng = np.random.default_rng(0)
    for _ in range(30):
        weight = rng.uniform(7, 20, (1, 3))
        network = one_unit(is_recurrent=is_recurrent, weight=weight, inputs=3)
        inputs = samples(list(zip(rng.uniform(0, 10, 3), range(3), strict=True)), units=3)
        times = EXACT.spikes(EXACT.simulate(network, inputs, 40.0))["unit"].times
        for count, end in enumerate(times):
            for duration, expected in ((end, count + 1), (np.nextafter(end, 0), count)):
                found = EXACT.spikes(EXACT.simulate(network, inputs, duration))["unit"].times
                np.testing.assert_array_equal(found, times[:expected])
    network = one_unit(delay=2.0, is_recurrent=is_recurrent)
    state = EXACT.simulate(network, samples([(3.0, 0), (5.0, 0)]), 5.0)
    loops = int(is_recurrent) * EXACT.spike_counts(state)["unit"][0, 0]
    assert EXACT.report(state).arrivals == 1 + loops
    assert EXACT.traces(state, "unit", np.array([5.0]))[1] == 3.0


@either_code
def test_what_comes_after_the_end(is_recurrent):
    """Late input spikes and delays beyond the trial are counted, without effect or gradient."""
    network = one_unit(
        weight=[[9.0, 9.0, 9.0]], delay=[[1.0, 30.0, 1.0]], inputs=3, is_recurrent=is_recurrent
    )
    events = [(1.0, 0), (1.5, 1), (25.0, 2), (1e6, 0)]
    state = EXACT.simulate(network, samples(events, units=3), 20.0)
    alone = EXACT.simulate(network, samples(events[:1], units=3), 20.0)
    assert EXACT.spikes(state)["unit"] == EXACT.spikes(alone)["unit"]
    assert EXACT.spikes(state)["input"].times.tolist() == [t for t, _ in events]
    assert EXACT.report(state).arrivals == EXACT.report(alone).arrivals
    assert EXACT.report(state).arrivals_after_end == 3
    names = ["input->unit.weight", "input->unit.delay"]
    gradient, expected = (
        EXACT.pull_back(s, FirstSpike(), np.ones((1, 1)), names) for s in (state, alone)
    )
    for name in names:
        np.testing.assert_array_equal(gradient.parameters[name], expected.parameters[name])
        assert gradient.parameters[name][0, 0] != 0
        assert not gradient.parameters[name][0, 1:].any()
    assert gradient.input_times["input"][1:].tolist() == [0.0, 0.0, 0.0]


# -- much ---------------------------------------------------------------------------------------


@either_code
def test_a_million_spikes_on_one_input(is_recurrent):
    """V by the explicit formula is at the threshold at every spike, and below it elsewhere."""
    rng = np.random.default_rng(1)
    duration, many = 10_000.0, 10**6
    times = np.sort(rng.uniform(0, duration, many))
    weight = 1.02 / (TAU_SYN * many / duration)  # the current hovers around the threshold
    network = one_unit(weight=weight, is_recurrent=is_recurrent)
    inputs = at_times(times)
    state = EXACT.simulate(network, inputs, duration)
    spikes = EXACT.spikes(state)["unit"].times
    assert 50 < spikes.size < 500
    assert EXACT.report(state).arrivals == many + int(is_recurrent) * spikes.size
    for spike in spikes[:: spikes.size // 20]:
        assert voltage_before(spike, times, weight, spikes) == pytest.approx(1.0, abs=1e-10)
    between = np.concatenate([np.linspace(a, b, 5)[1:-1] for a, b in pairwise(spikes[:9])])
    voltages = EXACT.traces(state, "unit", between)[0][0, 0]
    for at, voltage in zip(between, voltages, strict=True):
        assert voltage == pytest.approx(voltage_before(at, times, weight, spikes), abs=1e-10)
        assert voltage < 1.0
    # Later inputs do not matter; all of them later by 1 ms make the first spike 1 ms later.
    gradient = EXACT.pull_back(state, FirstSpike(), np.ones((1, 1)), ["input->unit.delay"])
    assert gradient.input_times["input"].sum() == pytest.approx(1.0, rel=1e-9)
    assert gradient.parameters["input->unit.delay"] == pytest.approx(1.0, rel=1e-9)
    assert not gradient.input_times["input"][times > spikes[0]].any()


def test_a_million_spikes_into_an_output():
    """The mean voltage and its gradient are explicit sums."""
    rng = np.random.default_rng(2)
    duration, many, weight = 10_000.0, 10**6, 1e-3
    times = np.sort(rng.uniform(0, duration, many))
    network = one_unit(evsim.LI, weight=weight)
    state = EXACT.simulate(network, at_times(times), duration)
    left = duration - times
    area = (
        TAU_SYN
        / (TAU_MEM - TAU_SYN)
        * (TAU_MEM * -np.expm1(-left / TAU_MEM) - TAU_SYN * -np.expm1(-left / TAU_SYN))
    )  # of the response in the time that is left
    mean = EXACT.read(state, Mean())[0, 0]
    # A sum of a million numbers has rounded a million times.
    assert mean == pytest.approx(weight * area.sum() / duration, rel=1e-10)
    gradient = EXACT.pull_back(state, Mean(), np.ones((1, 1)), ["input->unit.weight"])
    assert gradient.parameters["input->unit.weight"] == pytest.approx(mean / weight, rel=1e-10)
    np.testing.assert_allclose(
        gradient.input_times["input"], -weight * response(left) / duration, rtol=1e-9, atol=1e-20
    )
    sample = EXACT.traces(state, "unit", np.linspace(0, duration, 2001))[0]
    assert EXACT.read(state, Peak())[0, 0] >= sample.max() > 0


@either_code
def test_a_hundred_seconds(is_recurrent):
    """Events late in a long trial have the same effects as events early in a short one."""
    burst = np.array([0.0, 1.0, 1.5, 4.25, 30.0, 31.0])
    starts = np.array([0.0, 1000.0, 50_000.0, 99_900.0])
    network = one_unit(weight=9.0, is_recurrent=is_recurrent)
    output = evsim.Network(
        [*network.populations, evsim.LI("output", 1, TAU_MEM, TAU_SYN)],
        [*network.connections, evsim.Connection("unit", "output", 1.0, 0.5)],
    )
    inputs = at_times(np.add.outer(starts, burst).ravel())
    state = EXACT.simulate(output, inputs, 1e5)
    short = EXACT.simulate(network, at_times(burst), 100.0)
    expected = EXACT.spikes(short)["unit"].times
    found = EXACT.spikes(state)["unit"].times
    assert expected.size > 3
    assert found.size == expected.size * starts.size
    differences = found.reshape(starts.size, -1) - starts[:, None] - expected
    assert np.abs(differences).max() < 4 * np.spacing(1e5)
    voltage, current = EXACT.traces(state, "output", np.array([40_000.0, 1e5]))
    assert 0 <= voltage[0, 0, 0] < 1e-300
    assert current[0, 0, 0] == 0
    gradient = EXACT.pull_back(state, Peak(), np.ones((1, 1)), ["unit->output.weight"])
    assert np.isfinite(gradient.parameters["unit->output.weight"])
    for readout in (Mean("flat"), Mean("exponential")):
        gradient = EXACT.pull_back(state, readout, np.ones((1, 1)), ["unit->output.weight"])
        value = EXACT.read(state, readout)[0, 0]
        assert gradient.parameters["unit->output.weight"] == pytest.approx(value, rel=1e-12)


@either_code
def test_buffers_grow(is_recurrent):
    """Thousands of spikes of several units out of one."""
    network = evsim.Network(
        [
            evsim.Input("input", 1),
            evsim.LIF("unit", 3, TAU_MEM, 200.0),
            evsim.LIF("next", 2, TAU_MEM, TAU_SYN),
        ],
        [
            evsim.Connection("input", "unit", np.array([[3000.0], [20.0], [500.0]])),
            evsim.Connection("unit", "next", 0.02, 0.25),
        ],
    )
    network = looped(network, "unit", "next") if is_recurrent else network
    state = EXACT.simulate(network, samples([], [(1.0, 0)], [(2.0, 0)]), 100.0)
    counts = EXACT.spike_counts(state)
    assert not counts["unit"][0].any()
    assert counts["unit"][1, 0] > 5000
    assert (counts["next"][1:] > 50).all()
    # Of a unit that is reset from the start: V = I e^{-t/tau_syn} response - resets.
    spikes = EXACT.spikes(state)["unit"][1]
    own = spikes.times[spikes.units == 1]
    t = own - 1.0
    free = 20.0 * 200.0 / 180.0 * (np.exp(-t / 200.0) - np.exp(-t / TAU_MEM))
    resets = np.array([np.exp(-(at - own[own < at]) / TAU_MEM).sum() for at in own])
    np.testing.assert_allclose(free - resets, 1.0, rtol=0, atol=1e-11)
    # Events are counted, not timed: the work is that of the arrivals.
    sent = {name: count.sum() for name, count in counts.items()}
    report = EXACT.report(state)
    expected = 3 * sent["input"] + 2 * sent["unit"]
    if is_recurrent:
        expected += 3 * sent["unit"] + 2 * sent["next"]
    assert report.arrivals + report.arrivals_after_end == expected
    gradient = EXACT.pull_back(
        state, FirstSpike(), np.ones((3, 2)), ["input->unit.weight", "unit->next.delay"]
    )
    assert np.isfinite(gradient.parameters["input->unit.weight"]).all()


# -- too much -----------------------------------------------------------------------------------

HUGE = 1e308


@either_code
@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (
            [1e18, 0.0],
            "at 10.0*2? ms: it spikes again before time moves on .* use smaller weights or a",
        ),
        ([HUGE, HUGE], "at 50 ms: its current is no longer finite: use smaller weights"),
        ([-HUGE, -HUGE], "at 50 ms: its current is no longer finite: use smaller weights"),
    ],
)
def test_weights_too_large_to_simulate(is_recurrent, weight, message):
    network = one_unit(weight=weight, inputs=2, is_recurrent=is_recurrent)
    inputs = samples([], [(10.0, 0), (10.0, 1)], units=2)
    with pytest.raises(EngineError, match=f"sample 1, unit 0 of 'unit', {message}"):
        EXACT.simulate(network, inputs, 50.0)
    with pytest.raises(EngineError, match="sample 1, unit 0 of 'unit'"):
        evsim.gradient(
            network, inputs, [0, 0], evsim.losses.TimeInvariantMSE(), 50.0, engine=Exact(threads=2)
        )


@pytest.mark.parametrize("readout", [Mean(), Peak()])
@pytest.mark.parametrize("weight", [HUGE, -HUGE])
def test_voltages_too_large_to_read(readout, weight):
    network = one_unit(evsim.LI, weight=weight)
    run = evsim.simulate(network, samples([], [(10.0, 0)] * 100), 50.0)
    message = "sample 1, unit 0 of 'unit': .* no longer finite: use smaller weights"
    with pytest.raises(EngineError, match=message):
        run.read(readout)
    with pytest.raises(EngineError, match="sample 1, unit 0 of 'unit': voltage is -?inf"):
        run.voltage("unit", [20.0])
    with pytest.raises(ValueError, match="read-only"):
        run.spike_counts["unit"][0] = 1


@either_code
def test_a_sample_may_emit_as_many_spikes_as_the_limit_and_no_more(is_recurrent):
    network = one_unit(weight=40.0, is_recurrent=is_recurrent)
    inputs = samples([], [(10.0, 0)])
    emitted = EXACT.simulate(network, inputs, 50.0).count[1, -1]
    assert emitted > 5
    allowed = Exact(threads=1, spike_limit=int(emitted)).simulate(network, inputs, 50.0)
    assert allowed.count[1, -1] == emitted
    with pytest.raises(EngineError, match=r"sample 1, unit 0 of 'unit', at .* Exact\(spike_limit="):
        Exact(threads=1, spike_limit=int(emitted) - 1).simulate(network, inputs, 50.0)


def test_a_network_that_runs_away_is_refused_before_memory_ends():
    network = evsim.Network(
        [evsim.Input("input", 1), evsim.LIF("unit", 20)],
        [evsim.Connection("input", "unit", 20.0), evsim.Connection("unit", "unit", 2.0, 0.1)],
    )
    engine = Exact(threads=1, spike_limit=100_000, rate_limit=np.inf)
    with pytest.raises(EngineError, match="if the network does not run away, set a larger one"):
        evsim.simulate(network, samples([(1.0, 0)]), 100.0, engine=engine)


@either_code
def test_large_weights_that_can_be_simulated(is_recurrent):
    """For any large weight there is one immediate spike if the unit may not spike again."""
    for weight in (1e6, 1e18, 1e300):
        network = one_unit(weight=weight, refractory=np.inf, is_recurrent=is_recurrent)
        state = EXACT.simulate(network, samples([(10.0, 0)]), 50.0)
        rise = TAU_MEM / weight  # of V from 0 to 1 at a constant slope
        expected = 10.0 + rise
        assert EXACT.read(state, FirstSpike())[0, 0] == pytest.approx(expected, abs=1e-10)
        assert EXACT.report(state).smallest_drive == pytest.approx(weight, rel=1e-5)
        gradient = EXACT.pull_back(state, FirstSpike(), np.ones((1, 1)), ["input->unit.weight"])
        assert gradient.parameters["input->unit.weight"] == pytest.approx(-rise / weight, rel=1e-5)


@either_code
def test_grazing_has_no_gradient(is_recurrent):
    """A threshold one float below the peak: V is there, but I - threshold may be rounding."""
    rng = np.random.default_rng(3)
    refused = 0
    for _ in range(60):
        weight = rng.uniform(2, 20, 2)
        inputs = samples([], [(1.0, 0), (rng.uniform(1, 6), 1)], units=2)
        free = EXACT.simulate(one_unit(evsim.LI, weight=weight, inputs=2), inputs, 50.0)
        threshold = np.nextafter(EXACT.read(free, Peak())[1, 0], 0)
        network = one_unit(weight=weight, inputs=2, threshold=threshold, is_recurrent=is_recurrent)
        state = EXACT.simulate(network, inputs, 50.0)
        if not EXACT.spike_counts(state)["unit"][1]:
            continue  # the peak itself may have been rounded up
        if EXACT.report(state).smallest_drive > 4 * np.finfo(float).eps * threshold:
            assert EXACT.report(state).smallest_drive < 1e-6
            EXACT.pull_back(state, FirstSpike(), np.ones((2, 1)), [])
            continue
        refused += 1
        with pytest.raises(
            EngineError,
            match="^sample 1, unit 0 of 'unit', at 1.* I - threshold at its emission rounds to 0.*"
            "change the weights a little, or leave the sample out",
        ):
            EXACT.pull_back(state, FirstSpike(), np.ones((2, 1)), [])
    assert refused > 0


def test_the_first_failure_is_named():
    """The sample, population and unit of the earliest sample that fails, for any threads."""
    network = evsim.Network(
        [evsim.Input("input", 2), evsim.LIF("quiet", 2), evsim.LIF("loud", 3)],
        [
            evsim.Connection("input", "quiet", 0.1),
            evsim.Connection("input", "loud", np.array([[0, 0], [0, 0], [1e18, 0]])),
        ],
    )
    inputs = samples(*([(5.0, 1)] for _ in range(40)), *([(7.0, 0)] for _ in range(40)), units=2)
    for threads in (1, 2, 5):
        with pytest.raises(EngineError, match=r"sample 40, unit 2 of 'loud', at 7\.0+9 ms"):
            Exact(threads=threads).simulate(network, inputs, 20.0)


@either_code
def test_the_reference_agrees_on_a_busy_trial(is_recurrent):
    """Hundreds of spikes of one unit, where errors of every spike enter all later ones."""
    rng = np.random.default_rng(4)
    times = np.sort(rng.uniform(0, 1000, 800))
    network = one_unit(weight=0.4, is_recurrent=is_recurrent)
    state = EXACT.simulate(network, at_times(times), 1000.0)
    expected = Reference(digits=30).simulate(network, at_times(times), 1000.0)
    found = EXACT.spikes(state)["unit"].times
    truth = Reference(digits=30).spikes(expected)["unit"].times
    assert found.size == truth.size > 20
    np.testing.assert_allclose(found, truth, rtol=0, atol=8 * np.spacing(1000.0))
