"""The reference engine against closed forms, against finite differences and against itself."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import (
    PatternChangedError,
    difference_of,
    entries_of,
    exact_derivative,
    finite_difference,
)
from scipy.sparse import csr_array

import evsim
from evsim.engines.protocol import EngineError
from evsim.engines.reference.engine import Reference
from evsim.engines.reference.neuron import exp_divided_difference, numbers_with
from evsim.readouts import FirstSpike, Mean, Peak

DIGITS = 50
EXACT = Reference(digits=DIGITS)
RATIOS = [4.0, 2.0, 1.0, 1.0 + 1e-9, 1 / 3]
TAU_SYN = 5.0


@pytest.fixture(autouse=True)
def many_digits():
    with mpmath.workdps(DIGITS + 10):
        yield


def one_neuron(kind=evsim.LIF, *, weight=3.0, delay=0.0, inputs=1, **parameters):
    return evsim.Network(
        [evsim.Input("input", inputs), kind("unit", 1, **parameters)],
        [evsim.Connection("input", "unit", weight=np.reshape(weight, (1, -1)), delay=delay)],
    )


def train(*events, units=1):
    return {"input": evsim.SpikeTrains.from_lists([list(events)], units=units)}


def own_spikes(state, sample=0):
    return [mpmath.mpf(e.time) for e in state.samples[sample].emissions if e.index is None]


def close(a, b, tolerance="1e-45"):
    return abs(mpmath.mpf(a) - b) <= mpmath.mpf(tolerance) * (1 + abs(mpmath.mpf(b)))


# -- divided differences of exp -----------------------------------------------------------

exponents = st.floats(-50.0, 1.0).map(lambda x: x if abs(x) > 1e-30 else 0.0)
gaps = st.sampled_from([0.0, 1e-14, 1e-9, 1e-3, 0.4, 3.0, 40.0])


def divided_difference(points):
    if len(points) == 1:
        return mpmath.exp(points[0])
    upper, lower = divided_difference(points[:-1]), divided_difference(points[1:])
    return (upper - lower) / (points[0] - points[-1])


@given(x=exponents, steps=st.lists(gaps, min_size=1, max_size=5), seed=st.integers(0, 99))
def test_divided_differences_lose_no_digits(x, steps, seed):
    points = x - np.cumsum([0.0, *steps])
    # A thousandth of a unit in the last place apart the definition serves, in many digits.
    with mpmath.workdps(300):
        expected = divided_difference(
            [mpmath.mpf(p) - k * mpmath.mpf("1e-30") for k, p in enumerate(points.tolist())]
        )
    shuffled = np.random.default_rng(seed).permutation(points).tolist()
    assert close(exp_divided_difference(numbers_with(None), *shuffled) / expected, 1, "1e-14")
    exact = exp_divided_difference(EXACT.numbers, *map(EXACT.numbers.convert, shuffled))
    assert close(exact / expected, 1, "1e-28")


# -- one neuron ---------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", RATIOS)
def test_voltage_solves_the_differential_equation(ratio):
    network = one_neuron(evsim.LI, inputs=2, weight=[1.5, -4.0], tau_mem=TAU_SYN * ratio)
    state = EXACT.simulate(network, train((1.0, 0), (4.0, 1), units=2), 40.0)
    neuron, history = state.model.neurons[2], state.samples[0].history[2]
    h = mpmath.mpf("1e-15")
    for segment, after in ((history[1], 2.5), (history[2], 3.0), (history[2], 30.0)):
        at = segment.time + after
        (v0, i0), (v1, i1), (v2, i2) = (neuron.flow(segment, at + k * h) for k in (-1, 0, 1))
        assert close(neuron.tau_mem * (v2 - v0) / (2 * h), i1 - v1, "1e-28")
        assert close(neuron.tau_syn * (i2 - i0) / (2 * h), -i1, "1e-28")
    assert neuron.flow(history[1], history[2].time)[0] == history[2].voltage  # V is continuous
    assert close(history[2].current, mpmath.mpf(1.5) * mpmath.exp(mpmath.mpf(-3) / 5) - 4)


@pytest.mark.parametrize("ratio", RATIOS)
def test_peak_and_mean_of_one_spike(ratio):
    tau_mem, tau_syn, weight, end = mpmath.mpf(TAU_SYN * ratio), mpmath.mpf(TAU_SYN), 2.0, 37.0
    network = one_neuron(evsim.LI, weight=weight, delay=1.25, tau_mem=float(tau_mem))
    state = EXACT.simulate(network, train((0.5, 0)), end)
    if ratio == 1:
        rise = tau_syn
        voltage = lambda t: weight * t / tau_syn * mpmath.exp(-t / tau_syn)  # noqa: E731
    else:
        # With the difference of exponentials no digits may be left near tau_mem = tau_syn.
        mpmath.mp.dps = 80
        rise = tau_mem * tau_syn / (tau_mem - tau_syn) * mpmath.log(tau_mem / tau_syn)
        factor = weight * tau_syn / (tau_mem - tau_syn)
        voltage = lambda t: factor * (mpmath.exp(-t / tau_mem) - mpmath.exp(-t / tau_syn))  # noqa: E731
    span = mpmath.mpf(end) - 1.75
    flat = mpmath.quad(voltage, [0, 5, 10, 20, span]) / end
    weighted = mpmath.quad(
        lambda t: mpmath.exp(-(t + 1.75) / end) * voltage(t), [0, 5, 10, 20, span]
    )
    assert close(EXACT.read_exact(state, Peak())[0, 0], voltage(rise))
    assert close(EXACT.read_exact(state, Mean())[0, 0], flat, "1e-40")
    assert close(EXACT.read_exact(state, Mean("exponential"))[0, 0], weighted / end, "1e-40")
    floats = Reference().simulate(network, train((0.5, 0)), end)
    for readout in (Peak(), Mean(), Mean("exponential")):
        np.testing.assert_allclose(
            Reference().read(floats, readout), EXACT.read(state, readout), rtol=1e-14
        )


def test_crossing_at_twice_the_time_constant_is_a_quadratic():
    network = one_neuron(inputs=2, weight=[3.5, 4.0], tau_mem=10.0, tau_syn=5.0)
    state = EXACT.simulate(network, train((0.0, 0), (1.0, 1), units=2), 30.0)
    # In y = e^(-t/tau_mem) after the second arrival: V = (V0 + I0) y - I0 y^2 = 1.
    decay = mpmath.exp(mpmath.mpf(-1) / 10)
    v0, i0 = 3.5 * (decay - decay**2), 3.5 * decay**2 + 4
    root = mpmath.sqrt((v0 + i0) ** 2 - 4 * i0)
    first = 1 - 10 * mpmath.log((v0 + i0 + root) / (2 * i0))
    # From the reset on: V = I1 (y - y^2) = 1.
    i1 = i0 * mpmath.exp(-(first - 1) / 5)
    second = first - 10 * mpmath.log((1 + mpmath.sqrt(1 - 4 / i1)) / 2) if i1 > 4 else None
    expected = [first] if second is None else [first, second]
    spikes = own_spikes(state)
    assert len(spikes) == len(expected)
    assert all(close(a, b, "1e-47") for a, b in zip(spikes, expected, strict=True))


def test_crossing_at_equal_time_constants_is_lambert_w():
    state = EXACT.simulate(one_neuron(weight=3.0, tau_mem=5.0), train((2.0, 0)), 30.0)
    expected = 2 - 5 * mpmath.lambertw(-mpmath.mpf(1) / 3).real
    assert [close(t, expected, "1e-47") for t in own_spikes(state)] == [True]


@pytest.mark.parametrize("ratio", RATIOS)
def test_grazing_crossings_are_found_on_the_right_side(ratio):
    tau_mem, tau_syn = mpmath.mpf(TAU_SYN * ratio), mpmath.mpf(TAU_SYN)
    x = mpmath.log(tau_mem / tau_syn)
    rise = tau_syn if not x else tau_mem * tau_syn * x / (tau_mem - tau_syn)
    touching = mpmath.exp(rise / tau_syn)  # the weight whose peak I(rise) = V(rise) is 1
    model = EXACT.simulate(one_neuron(tau_mem=float(tau_mem)), train((0.0, 0)), 60.0).model
    events = EXACT.input_events(model.network, train((0.0, 0)))
    for excess, count in (("-1e-44", 0), ("1e-44", 1)):
        model.weight[0] = EXACT.numbers.convert(touching * (1 + mpmath.mpf(excess)))
        spikes = own_spikes(EXACT.simulate_model(model, events, 60.0))
        assert len(spikes) == count
        assert all(close(t, rise, "1e-20") for t in spikes)


# -- order of events ----------------------------------------------------------------------


def log(network, inputs, duration, engine):
    return [(e.time, e.kind, e.population) for e in engine.events(network, inputs, duration, 0)]


@pytest.mark.parametrize("engine", [Reference(debug=True), Reference(DIGITS, debug=True)])
def test_emissions_before_arrivals_before_releases(engine):
    network = one_neuron(weight=[8.0, -50.0], inputs=2, tau_mem=5.0, refractory=2.0)
    network = evsim.Network(
        network.populations,
        [*network.connections, evsim.Connection("unit", "unit", weight=0.5, delay=2.0)],
    )
    alone = log(network, train((1.0, 0), units=2), 20.0, engine)
    crossing = alone[2][0]
    assert [entry[1:] for entry in alone[:6]] == [
        ("emission", "input"),
        ("arrival", "unit"),
        ("emission", "unit"),
        ("arrival", "unit"),  # at the end of the window, and part of it
        ("release", "unit"),
        ("emission", "unit"),
    ]
    assert alone[3][0] == alone[4][0] == crossing + 2
    # An inhibitory spike that arrives at the very instant of the crossing comes after it.
    model = evsim.engines.reference.network.Model.from_network(network, engine.numbers)
    events = engine.input_events(network, train((1.0, 0), (2.0, 1), units=2))
    events[0][1] = events[0][1]._replace(time=crossing)
    sample = engine.simulate_model(model, events, 20.0).samples[0]
    at_crossing = [(e.kind.name, e.unit) for e in sample.events if e.time == crossing]
    assert at_crossing == [("EMISSION", 1), ("EMISSION", 2), ("ARRIVAL", 2)]
    spike = sample.emissions[-1]
    assert spike.unit == 2
    assert spike.current > 1  # I from the left, without the inhibition


def test_arrivals_of_one_instant_are_one_event():
    network = evsim.Network(
        [evsim.Input("a", 1), evsim.Input("b", 2), evsim.LIF("unit", 1)],
        [
            evsim.Connection("a", "unit", weight=100.0, delay=1.0),
            evsim.Connection("a", "unit", weight=-49.0, delay=1.0, name="again"),
            evsim.Connection("b", "unit", weight=-50.0, delay=0.5),
        ],
    )
    inputs = {
        "a": evsim.SpikeTrains.from_lists([[(1.0, 0), (1.0, 0)]], units=1),
        "b": evsim.SpikeTrains.from_lists([[(1.5, 0), (1.5, 1)]], units=2),
    }
    engine = Reference(debug=True)
    state = engine.simulate(network, inputs, 20.0)
    arrival = state.samples[0].events[-1]
    assert [len(e.spikes) for e in state.samples[0].events if e.kind.name == "ARRIVAL"] == [6]
    assert state.samples[0].history[3][-1].current == 2.0
    assert engine.spikes(state)["unit"].counts() == 0
    assert arrival.time == 2.0


def test_the_end_of_the_trial():
    network = one_neuron(weight=3.0, tau_mem=5.0, delay=1.0)
    at = float(own_spikes(Reference().simulate(network, train((1.0, 0)), 30.0))[0])
    on_time, too_early = (
        Reference(debug=True).simulate(network, train((1.0, 0)), end)
        for end in (at, np.nextafter(at, 0))
    )
    assert (len(own_spikes(on_time)), len(own_spikes(too_early))) == (1, 0)
    # Arrivals at 4 ms, 5 ms = T (without effect), 5.5 ms and, from an input after the end, 8 ms.
    output = one_neuron(evsim.LI, weight=1.0, delay=1.0)
    engine, inputs = Reference(debug=True), train((3.0, 0), (4.0, 0), (4.5, 0), (7.0, 0))
    state = engine.simulate(output, inputs, 5.0)
    report = engine.report(state)
    assert (report.arrivals, report.arrivals_after_end) == (2, 2)
    assert engine.spikes(state)["input"] == inputs["input"]
    for readout in (Mean(), Peak()):
        adjoint = engine.pull_back(state, readout, np.ones((1, 1)), ["input->unit.weight"])
        assert adjoint.input_times["input"][0] < 0
        np.testing.assert_array_equal(adjoint.input_times["input"][1:], 0.0)


# -- refractory windows -------------------------------------------------------------------


@pytest.mark.parametrize("refractory", [3.0, np.inf])
def test_voltage_is_held_and_current_is_not(refractory):
    network = one_neuron(weight=[20.0, 5.0], inputs=2, tau_mem=10.0, refractory=refractory)
    inputs = train((0.0, 0), (2.0, 1), units=2)
    state = EXACT.simulate(network, inputs, 12.0)
    first, *later = own_spikes(state)
    assert first < 2 < first + 3
    if refractory == np.inf:
        assert later == []
    else:
        current = 20 * mpmath.exp(-(first + 3) / 5) + 5 * mpmath.exp(-(first + 1) / 5)
        y = (1 + mpmath.sqrt(1 - 4 / current)) / 2
        assert close(later[0], first + 3 - 10 * mpmath.log(y), "1e-47")
    times = np.array([float(first) + 0.1, 2.5, float(first) + 2.9])
    voltage, current = EXACT.traces(state, "unit", times)
    np.testing.assert_array_equal(voltage, 0.0)
    expected = 20 * np.exp(-times / 5) + np.where(times >= 2, 5 * np.exp(-(times - 2) / 5), 0)
    np.testing.assert_allclose(current[0, 0], expected, rtol=1e-14)


# -- random networks ----------------------------------------------------------------------


def random_network(seed, *, ratio=4.0, refractory=0.0, zero_delays=False, heterogeneous=False):
    """Two inputs, a recurrent and a sparsely connected layer, shared and synaptic delays."""
    rng = np.random.default_rng(seed)
    spread = (lambda n: rng.uniform(0.8, 1.25, n)) if heterogeneous else (lambda n: 1.0)
    delay = (lambda *shape: np.zeros(shape)) if zero_delays else (lambda *s: rng.uniform(0, 4, s))

    def layer(kind, name, units, **parameters):
        tau_mem = TAU_SYN * ratio * spread(units)
        return kind(name, units, tau_mem=tau_mem, tau_syn=TAU_SYN * spread(units), **parameters)

    rise = 0.8 + 0.75 * ratio  # stronger synapses onto slower membranes,
    loop = 0.1 * min(ratio, 3.0)  # and loops too weak for an avalanche
    onward = 3 * rise if refractory else rise  # what is left where most spikes are refused
    sparse = csr_array(onward * np.array([[1.4, 0.0, 2.1], [0.0, 1.9, -0.4]]))
    sparse_delay = csr_array((delay(4), sparse.indices, sparse.indptr), sparse.shape)
    return evsim.Network(
        [
            evsim.Input("left", 2),
            evsim.Input("right", 1),
            layer(evsim.LIF, "first", 3, refractory=refractory, threshold=0.9 * spread(3)),
            layer(evsim.LIF, "second", 2, refractory=refractory),
            layer(evsim.LI, "output", 2),
        ],
        [
            evsim.Connection(
                "left", "first", weight=rise * rng.normal(0.9, 0.3, (3, 2)), delay=delay(3, 2)
            ),
            evsim.Connection(
                "right", "first", weight=rise * rng.normal(0.7, 0.3, (3, 1)), delay=delay(1, 1)
            ),
            evsim.Connection(
                "first", "first", weight=loop * rng.normal(0.3, 1.0, (3, 3)), delay=delay(1, 3)
            ),
            evsim.Connection("first", "second", weight=sparse, delay=sparse_delay),
            evsim.Connection(
                "second", "first", weight=loop * rng.normal(0.0, 1.0, (3, 2)), delay=delay(3, 1)
            ),
            evsim.Connection(
                "second", "output", weight=rng.normal(0.5, 1.0, (2, 2)), delay=delay(1, 1)[0, 0]
            ),
            evsim.Connection("first", "output", weight=0.4, delay=delay(2, 3), name="skip"),
            evsim.Connection(
                "first", "output", weight=rng.normal(-0.2, 0.5, (1, 3)), name="skip too"
            ),
        ],
    )


def random_inputs(seed, *, samples=1, spikes=5, duration=20.0):
    rng = np.random.default_rng(seed)

    def trains(units):
        lists = [
            list(zip(rng.uniform(0, duration, spikes), rng.integers(0, units, spikes), strict=True))
            for _ in range(samples)
        ]
        return evsim.SpikeTrains.from_lists(lists, units=units)

    return {"left": trains(2), "right": trains(1)}


@pytest.mark.slow
@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    ratio=st.sampled_from(RATIOS),
    refractory=st.sampled_from([0.0, 3.0, np.inf]),
    zero_delays=st.booleans(),
    heterogeneous=st.booleans(),
    digits=st.sampled_from([None, 30]),
)
def test_invariants_hold_after_every_event(seed, digits, **parameters):
    network, inputs = random_network(seed, **parameters), random_inputs(seed)
    engine = Reference(digits, debug=True)
    state = engine.simulate(network, inputs, 30.0)
    sample, tolerance = state.samples[0], 1e-12 if digits is None else 1e-27
    for emission in sample.emissions:
        if emission.index is None:  # V reaches the threshold at an emission ...
            neuron, history = state.model.neurons[emission.unit], sample.history[emission.unit]
            before = [s for s in history if s.time <= emission.time]
            place = next(
                i for i, s in enumerate(before) if s.time == emission.time and s.voltage == 0
            )
            voltage, current = neuron.flow(history[place - 1], emission.time)
            assert abs(voltage - neuron.threshold) < tolerance * (1 + current)
    for name in ("first", "second"):  # ... and at no other time
        voltage, _ = engine.traces(state, name, np.linspace(0, 30, 97))
        thresholds = network.population(name).threshold
        assert (voltage[0] <= np.reshape(thresholds, (-1, 1)) + 1e-12).all()


@pytest.mark.slow
def test_numbering_does_not_matter():
    network, inputs = random_network(3, heterogeneous=True), random_inputs(3, samples=2)
    order = {"first": [2, 0, 1], "second": [1, 0], "output": [0, 1], "left": [0, 1], "right": [0]}
    populations, connections = [], []
    for p in reversed(network.populations):
        own = {n: np.broadcast_to(getattr(p, n), p.units)[order[p.name]] for n in p.unit_parameters}
        populations.append(type(p)(p.name, p.units, **own))
    for c in reversed(network.connections):
        rows, columns = np.ix_(order[c.target], order[c.source])
        shape = rows.size, columns.size
        full = [
            v.toarray() if hasattr(v, "tocsr") else np.broadcast_to(v, shape)
            for v in (c.weight, c.delay)
        ]
        weight, delay = (array[rows, columns] for array in full)
        connections.append(
            evsim.Connection(c.source, c.target, weight=weight, delay=delay, name=c.name)
        )
    renumbered = evsim.Network(populations, connections)
    cotangents = np.array([[1.0, -2.0], [0.5, 3.0]])
    readouts = [
        Peak(population="output"),
        Mean(population="output"),
        FirstSpike(population="second"),
    ]
    one, other = (EXACT.simulate(n, inputs, 40.0) for n in (network, renumbered))
    for name in ("first", "second"):
        spikes = EXACT.spikes(other)[name]
        units = np.array(order[name])[spikes.units]
        assert EXACT.spikes(one)[name] == evsim.SpikeTrains(
            spikes.times, units, spikes.offsets, len(order[name])
        )
    for readout in readouts:
        columns = order[readout.population]
        adjoints = [
            EXACT.pull_back_exact(one, readout, cotangents).input_times,
            EXACT.pull_back_exact(other, readout, cotangents[:, columns]).input_times,
        ]
        for name in ("left", "right"):
            differences = adjoints[0][name] - adjoints[1][name]
            assert np.abs(differences).max() < 1e-40
            assert np.abs(adjoints[0][name]).max() > 1e-3


# -- gradients ----------------------------------------------------------------------------

CASES = {
    "delays": {},
    "zero delays": {"zero_delays": True},
    "double": {"ratio": 2.0},
    "equal": {"ratio": 1.0, "zero_delays": True},
    "nearly equal": {"ratio": 1.0 + 1e-9, "refractory": 3.0},
    "slow synapse": {"ratio": 1 / 3, "refractory": 0.5},
    "refractory": {"refractory": 3.0, "heterogeneous": True},
    "refractory, zero delays": {"refractory": 3.0, "zero_delays": True, "ratio": 2.0},
    "one spike a trial": {"refractory": np.inf},
    "heterogeneous": {"heterogeneous": True, "ratio": 1.0},
}
READOUTS = [
    Mean(population="output"),
    Mean("exponential", population="output"),
    Peak(population="output"),
    FirstSpike(population="second"),
]


def weighted_sum(values, cotangents):
    chosen = cotangents != 0
    return np.sum(values[chosen] * cotangents[chosen])


def some_cotangents(values):
    drawn = np.random.default_rng(1).normal(0, 1, values.shape)
    return np.where(np.isfinite(values), drawn, 0.0)


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=[pytest.mark.slow] * (case != "refractory")) for case in CASES],
)
def test_gradients_equal_finite_differences(case):
    network, duration = random_network(11, **CASES[case]), 15.0
    inputs = random_inputs(5, spikes=3, duration=8.0)
    state = EXACT.simulate(network, inputs, duration)
    assert {name: s.times.size >= 2 for name, s in EXACT.spikes(state).items()} == {
        "left": True,
        "right": True,
        "first": True,
        "second": True,
        "output": False,
    }
    cotangents = [some_cotangents(EXACT.read(state, readout)) for readout in READOUTS]
    pairs = list(zip(READOUTS, cotangents, strict=True))
    adjoints = [EXACT.pull_back_exact(state, *pair) for pair in pairs]

    def values(shifted):
        return np.array([weighted_sum(EXACT.read_exact(shifted, r), c) for r, c in pairs])

    names = [name for name in network.parameters if name.endswith((".weight", ".delay"))]
    rng = np.random.default_rng(2)
    tied = CASES[case].get("zero_delays", False)
    # Half of the parameters, and the other half with the next network.
    chosen = names[list(CASES).index(case) % 2 :: 2]
    entries = [(name, rng.choice(entries_of(network, name))) for name in chosen]
    entries += [("left.times", 1), ("right.times", 0)]
    largest = np.zeros(len(READOUTS))
    for name, index in entries:
        index = tuple(index) if isinstance(index, np.ndarray) else index
        differences = difference_of(network, inputs, duration, values, name, index)
        derivatives = [exact_derivative(network, a, name, index) for a in adjoints]
        for readout, a, b in zip(READOUTS, derivatives, differences, strict=True):
            if tied and name.endswith("delay") and isinstance(readout, Peak):
                continue  # V may peak where several spikes arrive, of which one moves
            assert close(a, b, "1e-25"), (name, index, readout)
        largest = np.maximum(largest, np.abs(np.array(derivatives, float)))
    assert (largest > 1e-2).all()

    floats = Reference()
    float_state = floats.simulate(network, inputs, duration)
    for pair, adjoint in zip(pairs, adjoints, strict=True):
        rounded = floats.pull_back(float_state, *pair, names)
        for name in names:
            exact = network.fold(name, getattr(adjoint, name.rsplit(".", 1)[1]).astype(float))
            a, b = (g.data if hasattr(g, "tocsr") else g for g in (rounded.parameters[name], exact))
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("ratio", RATIOS)
def test_peak_that_an_arrival_ends(ratio):
    # V rises at 3 ms, when one spike's two inhibitory synapses end the rise.
    network = evsim.Network(
        [evsim.Input("input", 2), evsim.LI("unit", 1, tau_mem=TAU_SYN * ratio, tau_syn=TAU_SYN)],
        [
            evsim.Connection("input", "unit", weight=[[2.0, -1.5]], delay=[[0.5, 1.0]]),
            evsim.Connection("input", "unit", weight=[[0.0, -1.0]], delay=1.0, name="again"),
        ],
    )
    inputs = train((0.0, 0), (2.0, 1), units=2)
    state = EXACT.simulate(network, inputs, 30.0)
    readout, one = Peak(), np.ones((1, 1))
    voltage, current = EXACT.traces(state, "unit", np.array([2.999999, 3.0]))
    np.testing.assert_array_equal(EXACT.read(state, readout)[0, 0], voltage[0, 0, 1])
    assert current[0, 0, 0] > voltage[0, 0, 0]
    assert current[0, 0, 1] < voltage[0, 0, 1]
    adjoint = EXACT.pull_back_exact(state, readout, one)
    # Where only one of the two moves there is no derivative; both share the whole.
    entries = [("input.times", 0), ("input.times", 1), ("input->unit.weight", (0, 0)),
               ("input->unit.weight", (0, 1)), ("input->unit.delay", (0, 0))]  # fmt: skip
    for name, index in entries:
        expected = finite_difference(network, inputs, 30.0, readout, np.sum, name, index)
        assert close(exact_derivative(network, adjoint, name, index), expected, "1e-25")
    shares = [
        exact_derivative(network, adjoint, "input->unit.delay", (0, 1)) / 1.5,
        exact_derivative(network, adjoint, "again.delay", ()),
    ]
    assert close(*shares)
    assert shares[0] > 0.01


def test_peak_at_the_start_has_no_gradient_and_at_the_end_a_whole_one():
    for weight, positive in ((-1.0, False), (1.0, True)):
        # The second spike arrives at the end of the trial, too late even to end a rise.
        network = one_neuron(evsim.LI, weight=[weight, -5.0], inputs=2)
        inputs = train((2.0, 0), (4.0, 1), units=2)
        state = EXACT.simulate(network, inputs, 4.0)
        adjoint = EXACT.pull_back_exact(state, Peak(), np.ones((1, 1)))
        assert (adjoint.weight[0] > 0) == positive
        assert (EXACT.read(state, Peak())[0, 0] > 0) == positive
        for name, index in (("input->unit.weight", (0, 0)), ("input.times", 0)):
            expected = finite_difference(network, inputs, 4.0, Peak(), np.sum, name, index)
            assert close(exact_derivative(network, adjoint, name, index), expected, "1e-25")
        assert adjoint.input_times["input"][1] == 0


def test_silent_unit_is_pulled_by_a_phantom_spike():
    # As if it spiked at T with tau_mem dV/dt = 1: dt/dw = -tau_mem dV(T)/dw.
    network, inputs = one_neuron(weight=1.0, tau_mem=20.0), train((2.0, 0), (9.0, 0))
    state = EXACT.simulate(network, inputs, 12.0)
    assert EXACT.read(state, FirstSpike())[0, 0] == np.inf
    adjoint = EXACT.pull_back(state, FirstSpike(), np.full((1, 1), 0.3), ["input->unit.weight"])
    voltage, _ = EXACT.traces(state, "unit", np.array([12.0]))
    np.testing.assert_allclose(
        adjoint.parameters["input->unit.weight"], -0.3 * 20.0 * voltage[0], rtol=1e-14
    )


def test_adjoint_traces_are_what_a_probe_would_see():
    # A synapse of weight 0 whose spike arrives at t has the gradient -tau_syn lambda_I(t).
    network, inputs = random_network(11, refractory=3.0), random_inputs(5, spikes=3, duration=8.0)
    times = [0.5, 3.0, 6.5, 9.0]
    probed = evsim.Network(
        [evsim.Input("probe", 1), *network.populations],
        [*network.connections, evsim.Connection("probe", "first", weight=np.zeros((3, 1)))],
    )
    state = EXACT.simulate(network, inputs, 15.0)
    readout, cotangents = Mean("exponential"), np.array([[1.0, -0.5]])
    adjoint = EXACT.pull_back(state, readout, cotangents, [])
    lambda_v, lambda_i = EXACT.adjoint_traces(state, adjoint, "first", np.array(times))
    for k, time in enumerate(times):
        probe = evsim.SpikeTrains.from_lists([[(time, 0)]], units=1)
        own = EXACT.simulate(probed, {"probe": probe, **inputs}, 15.0)
        gradient = EXACT.pull_back(own, readout, cotangents, ["probe->first.weight"])
        expected = gradient.parameters["probe->first.weight"][:, 0]
        np.testing.assert_allclose(-TAU_SYN * lambda_i[0, :, k], expected, rtol=1e-12)
    # lambda_V is 0 where V is held, and it drives lambda_I, backward in time:
    # tau_syn lambda_I' = -lambda_I + lambda_V.
    spikes = [(time, unit) for time, unit in EXACT.spikes(state)["first"].to_lists()[0]]
    at_end = EXACT.adjoint_traces(state, adjoint, "first", np.array([15.0]))
    np.testing.assert_array_equal(at_end, 0.0)
    held = np.array(
        [
            [any(u == unit and t <= at < t + 3 for t, u in spikes) for at in times]
            for unit in range(3)
        ]
    )
    np.testing.assert_array_equal(lambda_v[0][held], 0.0)
    assert held.any()
    h = 1e-4
    _, earlier = EXACT.adjoint_traces(state, adjoint, "first", np.array(times) - h)
    _, later = EXACT.adjoint_traces(state, adjoint, "first", np.array(times) + h)
    slope = (earlier - later) / (2 * h)
    np.testing.assert_allclose(TAU_SYN * slope + lambda_i, lambda_v, rtol=1e-6, atol=1e-8)
    assert np.abs(lambda_v).max() > 1e-4


def test_sequence_detection_has_the_published_traces():
    # The continuous values behind the traces published with D, whose grid has 1 ms: V at
    # 15 ms, and lambda_V, which jumps by 0.5 / (tau_mem * batch) as both outputs are alike.
    network = evsim.Network(
        [evsim.Input("input", 2), evsim.LI("output", 2, tau_mem=10.0, tau_syn=5.0)],
        [evsim.Connection("input", "output", weight=np.ones((2, 2)))],
    )
    spikes = evsim.SpikeTrains.from_lists([[(0.0, 0), (10.0, 1)], [(10.0, 0), (0.0, 1)]], units=2)
    loss = evsim.losses.CrossEntropy(Peak())
    gradient = evsim.gradient(network, spikes, [0, 1], loss, 40.0, engine=Reference())
    np.testing.assert_allclose(gradient.run.voltage("output", [15.0]), 0.41199, atol=1e-5)
    # V = (1 + 1/e) y - (1 + 1/e^2) y^2 in y = e^(-t/tau_mem) after the second spike.
    linear, square = 1 + np.exp(-1.0), 1 + np.exp(-2.0)
    np.testing.assert_allclose(gradient.readout, linear**2 / (4 * square), rtol=1e-14)
    at = 10 - 10 * np.log(linear / (2 * square))
    lambda_v = gradient.lambda_V("output", [10.0, at + 1e-9])
    expected = 0.025 * np.array([[1, -1], [-1, 1]])
    np.testing.assert_allclose(lambda_v[:, :, 0], expected * np.exp(1 - at / 10), rtol=1e-12)
    np.testing.assert_array_equal(lambda_v[:, :, 1], 0.0)


# -- refusals -----------------------------------------------------------------------------


def test_emission_that_does_not_rise_has_no_gradient():
    network, inputs, engine = one_neuron(weight=9.0), train((2.0, 0)), Reference()
    state = engine.simulate(network, inputs, 12.0)
    state.samples[0].emissions[-1].current = 1.0  # what rounding can make of a grazing crossing
    with pytest.raises(EngineError, match=r"sample 0, 'unit' unit 0, t = .* ms.*digits="):
        engine.pull_back(state, FirstSpike(), np.ones((1, 1)), [])


def test_finite_differences_refuse_a_changed_pattern():
    network = one_neuron(weight=4.0, tau_mem=10.0)  # grazes the threshold
    with pytest.raises(PatternChangedError, match="input->unit.weight"):
        finite_difference(
            network, train((0.0, 0)), 30.0, FirstSpike(), np.sum, "input->unit.weight", (0, 0)
        )


@pytest.mark.parametrize(
    ("digits", "error"), [(8, ValueError), (True, TypeError), (2.5, TypeError)]
)
def test_digits_are_checked(digits, error):
    with pytest.raises(error, match="digits = "):
        Reference(digits=digits)
