"""The reference engine's gradients with respect to every parameter, and further options.

Time constants and thresholds, means of spiking units, voltages at given times, dropout, jumps of
rate regularisers and the limit on lambda_V are compared with finite differences in 50 digits and
with explicit values.
"""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from agreement import entries, gradient_error
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import Case, random_case
from oracle import (
    difference_along,
    difference_of,
    engine_with,
    exact_derivative_along,
    input_weighted_mean,
    random_direction,
    to_mpmath,
    weighted_mean,
)

import evsim
from evsim.engines.protocol import Adjustments
from evsim.engines.reference.engine import Reference
from evsim.network.dropout import Dropout, is_dropped
from evsim.readouts import FirstSpike, Mean, SampleTimes, SpikeTimes, VoltageAt

pytestmark = pytest.mark.slow

EXACT, FLOATS = engine_with(50), Reference()
WEIGHTINGS = ("flat", "exponential", "linear")


@pytest.fixture(autouse=True)
def many_digits():
    with mpmath.workdps(60):
        yield


def close(a, b, tolerance="1e-25"):
    a, b = to_mpmath(a), to_mpmath(b)
    return abs(a - b) <= mpmath.mpf(tolerance) * (1 + abs(b))


def one_neuron(kind=evsim.LIF, *, weight=3.0, delay=0.0, inputs=1, **parameters):
    return evsim.Network(
        [evsim.Input("input", inputs), kind("unit", 1, **parameters)],
        [evsim.Connection("input", "unit", weight=np.reshape(weight, (1, -1)), delay=delay)],
    )


def train(*events, units=1):
    return {"input": evsim.SpikeTrains.from_lists([list(events)], units=units)}


def small_case(seed, kind, *, dropout=None, most=20, **fixed) -> tuple[Case, object]:
    """A random network whose LIF layers emit at least 2 spikes each, at most ``most`` in all."""
    rng = np.random.default_rng(seed)
    while True:
        case = random_case(rng, kind, duration=20.0, **fixed)
        run = evsim.simulate(case.network, case.inputs, case.duration, "exact", dropout=dropout)
        counts = {n: int(c.sum()) for n, c in run.spike_counts.items()}
        own = sum(counts.values()) - sum(counts[p.name] for p in case.network.inputs)
        if own <= most and all(
            counts[p.name] >= 2 for p in case.network.populations if isinstance(p, evsim.LIF)
        ):
            return case, EXACT.simulate(case.network, case.inputs, case.duration, dropout)


def some_cotangents(values):
    """Random where there is a value, and 0 for spikes that are missing."""
    drawn = np.random.default_rng(1).normal(0, 1, values.shape)
    return np.where(np.isfinite(values), drawn, 0.0)


def weighted_sums(readouts, cotangents):
    """What a state's readouts make of their cotangents, as a function of the state."""

    def sums(state):
        products = []
        for readout, own in zip(readouts, cotangents, strict=True):
            chosen = own != 0
            products.append(np.sum(EXACT.read_exact(state, readout)[chosen] * own[chosen]))
        return np.array(products)

    return sums


# -- every gradient at once ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "output", "ratio", "refractory", "delays"),
    [
        ("feedforward", "LIF", 2.0, np.inf, "synaptic"),
        ("feedforward", "LIF", 1.0, 3.0, "axonal"),
        ("feedforward", "LI", 1.0 + 1e-9, 0.0, "dendritic"),
        ("recurrent", "LIF", 1.0 + 1e-9, 3.0, "none"),
        ("recurrent", "LI", 1 / 3, 3.0, "synaptic"),
        ("recurrent", "LIF", 4.0, 0.0, "one"),
        ("two populations, mutual", "LIF", 1 / 3, 0.0, "axonal"),
    ],
)
def test_every_gradient_along_a_random_direction(kind, output, ratio, refractory, delays):
    case, state = small_case(
        3, kind, output=output, ratio=ratio, refractory=refractory, delays=delays
    )
    network = case.network
    readouts = [*case.readouts, Mean("linear", population="first")]
    cotangents = [some_cotangents(EXACT.read(state, readout)) for readout in readouts]
    direction = random_direction(np.random.default_rng(2), network, case.inputs)
    differences = difference_along(
        network, case.inputs, case.duration, weighted_sums(readouts, cotangents), direction
    )
    adjoints = [EXACT.pull_back_exact(state, *p) for p in zip(readouts, cotangents, strict=True)]
    for readout, adjoint, expected in zip(readouts, adjoints, differences, strict=True):
        assert close(exact_derivative_along(network, adjoint, direction), expected), readout
        assert abs(expected) > 1e-6

    rounded = FLOATS.simulate(network, case.inputs, case.duration)
    for readout, own in zip(readouts, cotangents, strict=True):
        found, expected = (
            engine.pull_back(s, readout, own, list(network.parameters))
            for engine, s in ((FLOATS, rounded), (EXACT, state))
        )
        assert gradient_error(network, found, expected) < 1e-9
        for name, gradient in found.parameters.items():
            assert gradient.shape == network.parameters[name].shape


def test_no_more_is_computed_than_asked_for():
    _, state = small_case(0, "feedforward", output="LIF")
    readout, cotangents = FirstSpike(), np.ones((1, 2))
    weight = EXACT.pull_back(state, readout, cotangents, ["left->first.weight"])
    assert set(weight.parameters) == {"left->first.weight"}
    assert not any("time_constants" in vars(sample) for sample in weight.state.samples)
    assert set(EXACT.pull_back(state, readout, cotangents, ["first.tau_mem"]).parameters) == {
        "first.tau_mem"
    }


@pytest.mark.parametrize("output", ["LIF", "LI"])
def test_means_are_integrals(output):
    case, state = small_case(4, "feedforward", output=output, refractory=2.0, ratio=2.0, most=40)
    inputs = np.sort(np.concatenate([trains.times for trains in case.inputs.values()]))
    for weighting in WEIGHTINGS:
        expected = weighted_mean(state, "output", weighting)
        found = EXACT.read_exact(state, Mean(weighting))
        assert np.abs(found - expected).max() < 1e-40
        assert np.abs(found).min() > 1e-3
    at_inputs = EXACT.read_exact(state, VoltageAt(SampleTimes(inputs, np.array([0, inputs.size]))))
    difference = input_weighted_mean(state, "output") - at_inputs.sum(axis=0) / 20
    assert np.abs(difference).max() < 1e-40


# -- silent units -------------------------------------------------------------------------


def test_missing_spikes_are_one_phantom():
    # One spike of three: the second and the third make a phantom at T, where it is as if
    # t = T - tau_mem (V(T) - threshold), with tau_mem as a number that does not move.
    network = one_neuron(weight=3.5, tau_mem=10.0, threshold=0.8)
    inputs, duration = train((2.0, 0), (10.0, 0)), 11.5
    state = EXACT.simulate(network, inputs, duration)
    assert EXACT.spike_counts(state)["unit"] == 1
    cotangents = np.array([[[0.7, 0.5, -0.2]]])

    def value(shifted):
        (first,) = (e.time for e in shifted.samples[0].emissions if e.index is None)
        voltage, _ = shifted.samples[0].probe(1, shifted.duration)
        convert = shifted.model.numbers.convert
        return convert(0.7) * first + convert(0.3) * 10 * (
            shifted.model.neurons[1].threshold - voltage
        )

    adjoint = EXACT.pull_back_exact(state, SpikeTimes(3), cotangents)
    for parameter, index in (("unit.threshold", ()), ("unit.tau_mem", ()), ("unit.tau_syn", ()),
                             ("input->unit.weight", (0, 0)), ("input.times", 1)):  # fmt: skip
        expected = difference_of(network, inputs, duration, value, parameter, index)
        found = exact_derivative_along(network, adjoint, {(parameter, index): 1.0})
        assert close(found, expected, "1e-15"), parameter  # 0.5 - 0.2 is rounded
        assert abs(expected) > 1e-2


def test_no_phantom_within_a_refractory_window():
    network = one_neuron(weight=9.0, refractory=5.0)
    state = EXACT.simulate(network, train((2.0, 0)), 6.0)
    assert EXACT.spike_counts(state)["unit"] == 1
    names = list(network.parameters)
    both, first = (
        EXACT.pull_back(state, SpikeTimes(2), np.array([[[1.0, second]]]), names)
        for second in (3.0, 0.0)
    )
    assert both.parameters == first.parameters
    assert first.parameters["unit.threshold"] > 0


# -- voltages at moments ------------------------------------------------------------------


def test_kinks_and_probe_of_one_neuron():
    # Arrivals at 1 and 2 (twice) ms, an emission in between, the end of its window 3 ms later,
    # and an arrival and an input spike that come too late.
    network = one_neuron(weight=[8.0, 5.0, 2.0], inputs=3, delay=1.0, tau_mem=5.0, refractory=3.0)
    inputs = train((0.0, 0), (1.0, 1), (1.0, 2), (9.5, 0), (11.0, 0), units=3)
    state = FLOATS.simulate(network, inputs, 10.0)
    (spike,) = FLOATS.spikes(state)["unit"].times[:1].tolist()
    release = spike + 3
    times, offsets = FLOATS.event_times(state, "unit")
    assert times[:4].tolist() == [1.0, spike, 2.0, release]
    assert (np.diff([0.0, *times, 10.0]) > 0).all()
    assert (offsets.tolist(), offsets.dtype, times.dtype) == ([0, times.size], np.int64, np.float64)
    moments = SampleTimes(np.array([0.0, 1.0, spike, 2.0, release, 10.0]), np.array([0, 6]))
    voltage, current = FLOATS.states_at(state, "unit", moments)
    assert voltage[:5].tolist() == [[0.0]] * 5  # before 8.0 arrives, and from the spike on
    decay = np.exp(-(np.array([1.0, spike, 2.0, release]) - 1) / 5)
    expected = [
        0.0,
        8.0 * decay[1],
        8.0 * decay[2],
        8.0 * decay[3] + 7.0 * np.exp(-(spike + 1) / 5),
    ]
    np.testing.assert_allclose(current[1:5, 0], expected, rtol=1e-14)
    at_end = FLOATS.traces(state, "unit", np.array([10.0]))
    np.testing.assert_array_equal([voltage[5, 0], current[5, 0]], np.ravel(at_end))
    np.testing.assert_array_equal(FLOATS.read(state, VoltageAt(moments)), voltage)


def test_moments_that_see_nothing():
    # At an emission, inside its window and at the window's end V is the reset whatever came before;
    # an arrival does not see a moment at the same time.
    network = one_neuron(weight=8.0, tau_mem=5.0, refractory=3.0)
    state = FLOATS.simulate(network, train((1.0, 0), (6.0, 0)), 10.0)
    spike, *_ = FLOATS.spikes(state)["unit"].times.tolist()
    names = list(network.parameters)
    for time in (0.0, spike, spike + 1.0, spike + 3.0):
        moments = SampleTimes(np.array([time]), np.array([0, 1]))
        adjoint = FLOATS.pull_back(state, VoltageAt(moments), np.ones((1, 1)), names)
        seen = {"unit.rest": 1.0} if time == 0 else {"unit.reset": 1.0}  # all that V is there
        for name, gradient in adjoint.parameters.items():
            assert (gradient == seen.get(name, 0.0)).all(), (name, time)
        assert (adjoint.input_times["input"] == 0).all()
    moments = SampleTimes(np.array([6.0]), np.array([0, 1]))
    adjoint = FLOATS.pull_back(state, VoltageAt(moments), np.ones((1, 1)), names)
    assert adjoint.input_times["input"][0] != 0
    assert adjoint.input_times["input"][1] == 0


def test_moments_of_several_samples():
    case, _ = small_case(5, "feedforward", output="LI", refractory=0.0)
    inputs = {
        name: evsim.SpikeTrains.from_lists(
            [[], *trains.to_lists(), [], *trains.to_lists()], units=trains.unit_count
        )
        for name, trains in case.inputs.items()
    }
    state = FLOATS.simulate(case.network, inputs, case.duration)
    moments = SampleTimes(
        np.array([5.0, 3.0, 8.0, 11.0, 3.0, 8.0, 11.0]), np.array([0, 1, 4, 4, 7])
    )
    voltage = FLOATS.read(state, VoltageAt(moments))
    assert (voltage[0] == 0).all()
    np.testing.assert_array_equal(voltage[1:4], voltage[4:])
    assert (voltage[1:] != 0).any()
    one = np.where(np.arange(7)[:, None] >= 4, 1.0, 0.0) * [1.0, -2.0]
    adjoint = FLOATS.pull_back(state, VoltageAt(moments), one, [])
    own = SampleTimes(moments.times[1:4], np.array([0, 3]))
    alone = FLOATS.pull_back(
        FLOATS.simulate(case.network, case.inputs, case.duration), VoltageAt(own), one[4:], []
    )
    for name, slopes in alone.input_times.items():
        first, second = np.split(adjoint.input_times[name], 2)
        assert (first == 0).all()
        np.testing.assert_array_equal(second, slopes)
    kinks = FLOATS.event_times(state, "output")
    counts = np.diff(kinks.offsets)
    assert counts.tolist() == [0, counts[1], 0, counts[1]]


@pytest.mark.parametrize("readout", [Mean("linear"), "moments"])
def test_adjoint_traces_are_what_a_probe_would_see(readout):
    # A synapse of weight 0 whose spike arrives at t has the gradient -tau_syn lambda_I(t).
    case, _ = small_case(
        6, "recurrent", output="LIF", refractory=3.0, ratio=4.0, heterogeneous=False
    )
    network, times = case.network, np.array([0.5, 3.0, 6.5, 9.0, 15.0, 19.5])
    if readout == "moments":
        readout = VoltageAt(SampleTimes(np.array([6.5, 14.0, 19.75]), np.array([0, 3])))
    probed = evsim.Network(
        [evsim.Input("probe", 1), *network.populations],
        [*network.connections, evsim.Connection("probe", "output", weight=np.zeros((2, 1)))],
    )
    state = EXACT.simulate(network, case.inputs, case.duration)
    cotangents = np.random.default_rng(0).normal(0, 1, EXACT.read(state, readout).shape)
    adjoint = EXACT.pull_back(state, readout, cotangents, [])
    lambda_v, lambda_i = EXACT.adjoint_traces(state, adjoint, "output", times)
    for k, time in enumerate(times.tolist()):
        probe = evsim.SpikeTrains.from_lists([[(time, 0)]], units=1)
        own = EXACT.simulate(probed, {"probe": probe, **case.inputs}, case.duration)
        gradient = EXACT.pull_back(own, readout, cotangents, ["probe->output.weight"])
        expected = gradient.parameters["probe->output.weight"][:, 0]
        np.testing.assert_allclose(-5.0 * lambda_i[0, :, k], expected, rtol=1e-12, atol=1e-30)
    assert (np.abs(lambda_v[0]).max(axis=1) > 1e-5).all()


# -- dropout ------------------------------------------------------------------------------


def taken(state, dropout, batch_size):
    """Every spike of a sample that dropout takes: (sample, unit, number)."""
    keys = dropout.sample_keys(batch_size).tolist()
    rates = dropout.rate_per_unit(state.model.network).tolist()
    found = []
    for b, simulation in enumerate(state.samples):
        spikes = [(e.time, e.unit) for e in simulation.emissions]
        end = state.duration
        spikes += [(e.time, e.unit) for e in state.input_events[b] if e.time > end]
        for unit in {u for _, u in spikes}:
            count = sum(u == unit for _, u in spikes)
            numbers = (n for n in range(count) if is_dropped(keys[b], unit, n, rates[unit]))
            found += [(b, unit, number) for number in numbers]
    return found


def test_dropped_input_spikes_are_as_if_they_were_not_there():
    case, _ = small_case(11, "feedforward", output="LIF", refractory=0.0)
    dropout = Dropout({"left": 0.4, "right": 0.3}, seed=2)
    state = FLOATS.simulate(case.network, case.inputs, 15.0, dropout)  # some inputs are late
    dropped = taken(state, dropout, 1)
    kept, kept_inputs = {}, {}
    for name, trains in case.inputs.items():
        first = state.model.units_of(name).start
        seen: dict[int, int] = {}
        mask = []
        for unit in trains.units.tolist():
            number = seen[unit] = seen.get(unit, -1) + 1
            mask.append((0, first + unit, number) not in dropped)
        kept[name] = np.array(mask)
        kept_inputs[name] = evsim.SpikeTrains(
            trains.times[mask], trains.units[mask], [0, int(np.sum(mask))], trains.unit_count
        )
    assert all(0 < mask.sum() < mask.size for mask in kept.values())
    expected = FLOATS.simulate(case.network, kept_inputs, 15.0)
    report, without = FLOATS.report(state), FLOATS.report(expected)
    assert report.dropped == len(dropped)
    assert (report.arrivals, report.arrivals_after_end) == (
        without.arrivals, without.arrivals_after_end
    )  # fmt: skip
    assert FLOATS.spikes(state)["left"] == case.inputs["left"]
    assert FLOATS.spikes(state)["output"] == FLOATS.spikes(expected)["output"]
    readout, cotangents = Mean("linear"), np.array([[1.0, -2.0]])
    names = list(case.network.parameters)
    found, plain = (FLOATS.pull_back(s, readout, cotangents, names) for s in (state, expected))
    for name in names:
        a, b = (entries(g.parameters[name]) for g in (found, plain))
        np.testing.assert_array_equal(a, b)
    for name, mask in kept.items():
        assert (found.input_times[name][~mask] == 0).all()
        np.testing.assert_array_equal(found.input_times[name][mask], plain.input_times[name])


@pytest.mark.parametrize("kind", ["feedforward", "recurrent"])
def test_gradients_with_dropout_equal_finite_differences(kind):
    dropout = Dropout({"left": 0.2, "first": 0.3, "output": 0.5}, seed=1)
    case, state = small_case(8, kind, output="LIF", refractory=1.0, dropout=dropout)
    report = EXACT.report(state)
    assert report.dropped == len(taken(state, dropout, 1)) > 2
    reached = {
        id(e) for a in state.samples[0].events if a.kind.name == "ARRIVAL" for e, _ in a.spikes
    }
    dropped = [e for e in state.samples[0].emissions if e.dropped]
    assert dropped
    assert not any(id(emission) in reached for emission in dropped)
    readouts = [FirstSpike(), Mean("exponential"), SpikeTimes(2, population="first")]
    cotangents = [some_cotangents(EXACT.read(state, readout)) for readout in readouts]
    direction = random_direction(np.random.default_rng(2), case.network, case.inputs)
    differences = difference_along(
        case.network, case.inputs, case.duration, weighted_sums(readouts, cotangents), direction,
        dropout=dropout,
    )  # fmt: skip
    for readout, own, expected in zip(readouts, cotangents, differences, strict=True):
        adjoint = EXACT.pull_back_exact(state, readout, own)
        assert close(exact_derivative_along(case.network, adjoint, direction), expected), readout


# -- spike slopes, rate jumps, the limit --------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "jump", "lambda_v", "limited"),
    [
        (np.inf, 0.0, lambda free: free, 0),
        (np.inf, 0.25, lambda free: free - 0.25, 0),
        (1e-3, 0.0, lambda free: -1e-3, 1),
        (1e-3, 0.25, lambda free: -1e-3 - 0.25, 1),
        (1e3, 0.25, lambda free: free - 0.25, 0),
    ],
)
def test_one_spike_by_hand(limit, jump, lambda_v, limited):
    tau_mem, threshold, weight = 10.0, 0.8, 4.0
    network = one_neuron(weight=weight, delay=1.0, tau_mem=tau_mem, threshold=threshold)
    state = FLOATS.simulate(network, train((2.0, 0)), 12.0)
    (spike,) = FLOATS.spikes(state)["unit"].times.tolist()
    y = np.exp(-(spike - 3.0) / tau_mem)  # V = w (y - y^2), I = w y^2
    slope = weight * (2 * y**2 - y) / tau_mem
    expected = lambda_v(-0.6 / (tau_mem * slope))
    adjoint = FLOATS.pull_back(
        state, FirstSpike(), np.array([[-0.5]]), list(network.parameters),
        Adjustments(np.array([-0.1]), {"unit": np.array([jump])}, limit),
    )  # fmt: skip
    by_voltage = -tau_mem * expected
    gradients = {
        "input->unit.weight": by_voltage * (y - y**2),
        "input->unit.delay": -by_voltage * slope,
        "unit.threshold": -by_voltage,
    }
    for name, value in gradients.items():
        np.testing.assert_allclose(np.ravel(adjoint.parameters[name]), value, rtol=1e-12)
    np.testing.assert_allclose(adjoint.input_times["input"], -by_voltage * slope, rtol=1e-12)
    assert adjoint.limited == limited


def test_a_limit_serves_where_the_voltage_only_grazes():
    network = one_neuron(weight=9.0)
    state = FLOATS.simulate(network, train((2.0, 0)), 12.0)
    for emission in state.samples[0].emissions[1:]:
        emission.current = 1.0  # what rounding can make of a grazing crossing
    adjustments = Adjustments(lambda_limit=2.0)
    adjoint = FLOATS.pull_back(
        state, FirstSpike(), np.array([[-3.0]]), ["unit.threshold"], adjustments
    )
    assert adjoint.parameters["unit.threshold"] == -2.0 * 20.0
    assert adjoint.limited == 1


def test_rate_jumps_and_limits_are_spike_slopes_of_their_size():
    # lambda_V- = clip(S/drive) - R is what S + (clip(S/drive) - R) drive - S would make.
    case, _ = small_case(9, "recurrent", output="LI", refractory=0.0, ratio=4.0, most=40)
    state = FLOATS.simulate(case.network, case.inputs, case.duration)
    readout, cotangents = FirstSpike(population="first"), np.array([[1.0, -0.5, 2.0, 0.3]])
    names = list(case.network.parameters)
    jumps = np.array([0.1, -0.2, 0.3, 0.05])
    adjusted = FLOATS.pull_back(
        state, readout, cotangents, names, Adjustments(None, {"first": jumps}, 0.5)
    )
    (sample,) = adjusted.state.samples
    slopes, limited = [], 0
    for emission, slope in sample.spike_time_gradient.items():
        population, unit = state.model.place_of(emission.unit)
        if emission.index is None and population == "second":
            drive = state.model.neurons[emission.unit].threshold_excess(emission.current)
            assert abs(slope / drive) < 0.5
        if population == "first":
            drive = state.model.neurons[emission.unit].threshold_excess(emission.current)
            limited += abs(slope / drive) > 0.5
            wanted = np.clip(slope / drive, -0.5, 0.5) - jumps[unit]
            slopes.append(wanted * drive - slope)
    plain = FLOATS.pull_back(state, readout, cotangents, names, Adjustments(np.array(slopes)))
    assert adjusted.limited == limited > 0
    for name in names:
        a, b = (entries(g.parameters[name]) for g in (adjusted, plain))
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6))
def test_spike_slopes_are_derivatives_by_spike_times(seed):
    # Of the first spikes, given as slopes, they do what FirstSpike does.
    rng = np.random.default_rng(seed)
    case = random_case(rng, "feedforward", output="LIF", duration=20.0, batch=2)
    state = FLOATS.simulate(case.network, case.inputs, case.duration)
    trains = FLOATS.spikes(state)["output"]
    cotangents = some_cotangents(FLOATS.read(state, FirstSpike()))
    slopes = np.zeros(trains.times.size)
    seen = set()
    for k, place in enumerate(zip(trains.samples.tolist(), trains.units.tolist(), strict=True)):
        if place not in seen:
            slopes[k] = cotangents[place]
            seen.add(place)
    names = list(case.network.parameters)
    given, expected = (
        FLOATS.pull_back(state, *arguments)
        for arguments in (
            (Mean(), np.zeros((2, 2)), names, Adjustments(slopes)),
            (FirstSpike(), cotangents, names),
        )
    )
    for name in names:
        a, b = (entries(g.parameters[name]) for g in (given, expected))
        np.testing.assert_array_equal(a, b)
