"""The order of events at one instant, in the code for feedforward and for recurrent populations.

Emissions come before arrivals.  Arrivals at one instant are summed before the next crossing is
computed.  An arrival at the end of a refractory period belongs to the period.
"""

from __future__ import annotations

import numpy as np
import pytest
from agreement import gradient_error, spike_errors
from hypothesis import given, settings
from hypothesis import strategies as st
from many_digits import ManyDigits
from networks import RATIOS, looped

import evsim
from evsim.engines import Exact, Reference
from evsim.readouts import FirstSpike, Mean, SampleTimes, SpikeTimes, VoltageAt

EXACT = Exact(threads=1)
REFERENCE = ManyDigits(digits=50)

either_code = pytest.mark.parametrize("is_recurrent", [False, True])


def one_sample(*events, units):
    return {"input": evsim.SpikeTrains.from_lists([list(events)], units=units)}


def by_unit(trains, unit):
    return trains.times[trains.units == unit]


@either_code
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_arrivals_of_one_instant_are_summed(is_recurrent, order):
    """The first arrival alone would make the unit spike immediately."""
    connections = [
        evsim.Connection("input", "unit", np.array([[1e6, 0.0]]), 2.0, name="up"),
        evsim.Connection("input", "unit", np.array([[0.0, -1e6]]), 0.5, name="down"),
        evsim.Connection("input", "unit", np.array([[0.5, 0.0]]), 2.0, name="rest"),
    ]
    network = evsim.Network(
        [evsim.Input("input", 2), evsim.LIF("unit", 1)], [connections[k] for k in order]
    )
    network = looped(network, "unit") if is_recurrent else network
    state = EXACT.simulate(network, one_sample((1.0, 0), (2.5, 1), units=2), 20.0)
    assert EXACT.spike_counts(state)["unit"] == 0
    assert EXACT.traces(state, "unit", np.array([3.0]))[1] == 0.5


@either_code
def test_an_emission_comes_before_an_arrival_of_its_time(is_recurrent):
    """Inhibition at the very time of the spike, or later, is too late; also at the trial's end."""
    rng = np.random.default_rng(0)
    for _ in range(30):
        weight = np.array([[*rng.uniform(4, 15, 2), -100.0]])
        network = evsim.Network(
            [evsim.Input("input", 3), evsim.LIF("unit", 1, refractory=np.inf)],
            [evsim.Connection("input", "unit", weight)],
        )
        network = looped(network, "unit") if is_recurrent else network
        events = [(rng.uniform(0, 5), 0), (rng.uniform(0, 5), 1)]

        def run(*more, end=40.0, network=network, events=events):
            state = EXACT.simulate(network, one_sample(*events, *more, units=3), end)
            gradient = EXACT.pull_back(
                state, FirstSpike(), np.ones((1, 1)), ["input->unit.weight", "input->unit.delay"]
            )
            return EXACT.read(state, FirstSpike())[0, 0], gradient

        spike, alone = run()
        for inhibition in (spike, np.nextafter(spike, 40), spike + 1.0):
            same, gradient = run((inhibition, 2))
            assert same == spike
            assert gradient.input_times["input"][-1] == 0
            for name in gradient.parameters:
                np.testing.assert_array_equal(gradient.parameters[name], alone.parameters[name])
        assert run((spike, 2), end=spike)[0] == spike
        assert run(end=np.nextafter(spike, 0))[0] == np.inf


@pytest.mark.slow
@pytest.mark.parametrize("inhibition", [-200.0, 30.0])
@either_code
def test_twins_spike_together_whatever_one_sends_the_other(is_recurrent, inhibition):
    """The effect of a unit's spike on an identical unit comes after that unit's spike at the time.

    The tie is exact in any number of digits, and does not depend on how it is rounded.
    """
    rng = np.random.default_rng(1)
    for trial in range(12):
        ratio = RATIOS[trial % len(RATIOS)]
        weight = rng.uniform(4, 15, (1, 3)) * [[1, 1, -0.3]]
        taus = {"tau_mem": 20.0, "tau_syn": 20.0 / ratio, "refractory": [0.0, 2.0][trial % 2]}
        network = evsim.Network(
            [evsim.Input("input", 3), evsim.LIF("a", 1, **taus), evsim.LIF("b", 1, **taus)],
            [
                evsim.Connection("input", "a", weight),
                evsim.Connection("input", "b", weight),
                evsim.Connection("a", "b", inhibition),
            ],
        )
        network = looped(network, "b") if is_recurrent else network
        inputs = one_sample(*zip(rng.uniform(0, 10, 3), range(3), strict=True), units=3)
        state, expected = (e.simulate(network, inputs, 25.0) for e in (EXACT, REFERENCE))
        trains = EXACT.spikes(state)
        assert trains["b"].times[0] == trains["a"].times[0]
        errors = spike_errors(network, inputs, 25.0, trains, expected)
        assert not errors.pattern_differs
        assert (errors.error <= errors.bound).all()


def test_loops_of_zero_delay_do_not_chain_within_an_instant():
    """Identical units that inhibit each other without delay all spike; excitation acts later."""
    rng = np.random.default_rng(2)
    for inhibition in (-50.0, -3.0, 2.0):
        weight = rng.uniform(8, 20)
        network = evsim.Network(
            [evsim.Input("input", 1), evsim.LIF("twins", 3)],
            [
                evsim.Connection("input", "twins", weight),
                evsim.Connection("twins", "twins", inhibition * (1 - np.eye(3))),
            ],
        )
        inputs = one_sample((1.0, 0), units=1)
        state, expected = (e.simulate(network, inputs, 20.0) for e in (EXACT, REFERENCE))
        trains = EXACT.spikes(state)
        first, *others = (by_unit(trains["twins"], unit) for unit in range(3))
        assert first.size > 0
        assert (np.diff(first) > 0).all()
        for other in others:
            np.testing.assert_array_equal(first, other)
        errors = spike_errors(network, inputs, 20.0, trains, expected)
        assert not errors.pattern_differs
        assert (errors.error <= errors.bound).all()


@either_code
@pytest.mark.parametrize("weight", [6.0, -0.4])
def test_an_arrival_at_the_end_of_a_refractory_window_belongs_to_it(is_recurrent, weight):
    """A spike of the unit, or of an identical unit, arrives at the end of its refractory period."""
    rng = np.random.default_rng(3)
    for trial in range(10):
        taus = {"tau_mem": 20.0, "tau_syn": 20.0 / RATIOS[trial % len(RATIOS)]}
        populations = [
            evsim.Input("input", 2),
            evsim.LIF("twin", 1, refractory=np.inf, **taus),
            evsim.LIF("unit", 1, refractory=3.0, **taus),
            evsim.LI("output", 1, **taus),
        ]
        given = rng.uniform(8, 20, (1, 2))
        connections = [
            evsim.Connection("input", "twin", given),
            evsim.Connection("input", "unit", given),
            evsim.Connection("unit", "output", 1.0, 0.7),
            evsim.Connection("unit" if is_recurrent else "twin", "unit", weight, 3.0, name="back"),
        ]
        network = evsim.Network(populations, connections)
        inputs = one_sample((1.0, 0), (rng.uniform(1, 8), 1), units=2)
        state, expected = (e.simulate(network, inputs, 30.0) for e in (EXACT, REFERENCE))
        trains = EXACT.spikes(state)
        assert trains["unit"].times.size >= 2
        errors = spike_errors(network, inputs, 30.0, trains, expected)
        assert not errors.pattern_differs
        assert (errors.error <= errors.bound).all()
        names = ["input->unit.weight", "back.weight", "back.delay", "input->unit.delay"]
        found, truth = (
            engine.pull_back(own, Mean(), np.ones((1, 1)), names)
            for engine, own in ((EXACT, state), (REFERENCE, expected))
        )
        assert gradient_error(network, found, truth) <= 1e-12
        assert found.parameters["back.delay"] != 0


@pytest.mark.slow
@pytest.mark.parametrize("refractory", [0.0, 1e-17, 1e-16])
@pytest.mark.parametrize("engine", [EXACT, Reference(), REFERENCE])
def test_the_gradient_with_a_refractory_period_of_next_to_nothing(engine, refractory):
    network = evsim.Network(
        [evsim.Input("i", 1), evsim.LIF("o", 1, refractory=refractory)],
        [evsim.Connection("i", "o", [[30.0]]), evsim.Connection("o", "o", [[2.0]])],
    )
    spikes = evsim.SpikeTrains.from_lists([[(10.0, 0)]], units=1)
    loss = evsim.losses.SpikeTimeMSE(SpikeTimes(count=2))
    found = evsim.gradient(network, spikes, [[[np.nan, 20.0]]], loss, 40.0, engine=engine)
    assert found.parameters["i->o.weight"].item() == pytest.approx(0.4934437, abs=5e-8)


@pytest.mark.parametrize("source", ["unit", "twin"])
@pytest.mark.parametrize(("at", "refractory"), [(10.0, 1e-17), (10.0, 1e-16), (150.0, 1e-14)])
def test_a_refractory_period_below_rounding_is_none(source, at, refractory):
    """What arrives with an emission moves V, and so do its adjoints, as without any period.

    It comes from the unit itself, or from a twin that spikes at the same time.
    """

    def network(refractory):
        populations = [evsim.Input("input", 1), evsim.LIF("twin", 1, refractory=np.inf)]
        connections = [
            evsim.Connection("input", "twin", 30.0),
            evsim.Connection("input", "unit", 30.0),
            evsim.Connection(source, "unit", 2.0, name="back"),
        ]
        unit = evsim.LIF("unit", 1, refractory=refractory)
        return evsim.Network([*populations, unit], connections)

    inputs = one_sample((at, 0), units=1)
    moments = SampleTimes(at + np.array([2.0, 5.0]), np.array([0, 2]))
    readouts = [
        (SpikeTimes(3), [[[0.0, 1.0, 0.3]]]),
        (Mean("linear"), [[1.0]]),
        (VoltageAt(moments), [[1.0], [-0.7]]),
    ]
    truth = REFERENCE.simulate(network(0.0), inputs, at + 30.0)
    for engine in (EXACT, Reference()):
        states = [engine.simulate(network(r), inputs, at + 30.0) for r in (0.0, refractory)]
        assert engine.spike_counts(states[0])["unit"].item() >= 3
        for readout, cotangents in readouts:
            names = list(network(0.0).parameters)
            none, short = (
                engine.pull_back(state, readout, np.array(cotangents), names) for state in states
            )
            expected = REFERENCE.pull_back(truth, readout, np.array(cotangents), names)
            assert expected.parameters["back.weight"] != 0
            for name in names:
                np.testing.assert_array_equal(none.parameters[name], short.parameters[name], name)
            assert gradient_error(network(0.0), short, expected) <= 1e-12


@pytest.mark.slow
@settings(max_examples=25)
@given(st.integers(0, 10**6), st.booleans(), st.sampled_from([0.0, 2.0, np.inf]))
def test_times_on_a_lattice(seed, is_recurrent, refractory):
    """Whole delays and input times, so that most arrivals coincide with others."""
    rng = np.random.default_rng(seed)
    ratio = rng.choice(RATIOS)
    network = evsim.Network(
        [
            evsim.Input("input", 4),
            evsim.LIF("hidden", 3, 20.0, 20.0 / ratio, refractory=refractory),
            evsim.LI("output", 2, 20.0, 20.0 / ratio),
        ],
        [
            evsim.Connection(
                "input", "hidden", rng.normal(3, 3, (3, 4)), rng.integers(0, 3, (3, 4))
            ),
            evsim.Connection(
                "hidden", "output", rng.normal(0, 1, (2, 3)), rng.integers(0, 3, (1, 3))
            ),
            evsim.Connection(
                "input", "output", rng.normal(0, 1, (2, 4)), rng.integers(0, 3, (2, 1))
            ),
        ],
    )
    network = looped(network, "hidden") if is_recurrent else network
    events = zip(rng.integers(0, 8, 14).astype(float), rng.integers(0, 4, 14), strict=True)
    inputs = one_sample(*events, units=4)
    state, expected = (e.simulate(network, inputs, 16.0) for e in (EXACT, REFERENCE))
    errors = spike_errors(network, inputs, 16.0, EXACT.spikes(state), expected)
    assert not errors.pattern_differs
    assert (errors.error <= errors.bound).all()
    assert EXACT.report(state).arrivals == REFERENCE.report(expected).arrivals
    found, truth = (
        engine.pull_back(own, Mean(), np.ones((1, 2)), [n for n in network.parameters if ".w" in n])
        for engine, own in ((EXACT, state), (REFERENCE, expected))
    )
    tolerance = 1e-12 if errors.worst_bound < 200 else 1e-9
    assert gradient_error(network, found, truth) <= tolerance


def test_many_units_in_a_loop_spike_as_they_do_in_a_layer():
    """More units than are sorted together, and so many spikes that their buffer has to grow.

    The arrivals of the loop have no weight, but V is computed at each of them, and rounded.
    """
    rng = np.random.default_rng(0)
    weight, delay = rng.normal(4.0, 3.0, (600, 5)), rng.uniform(0.0, 30.0, (600, 5))
    layer = evsim.Network(
        [evsim.Input("input", 5), evsim.LIF("unit", 600)],
        [evsim.Connection("input", "unit", weight, delay)],
    )
    events = list(zip(np.sort(rng.uniform(0.0, 50.0, 12)), rng.integers(0, 5, 12), strict=True))
    trains = one_sample(*events, units=5)
    expected, found = (
        EXACT.spikes(EXACT.simulate(network, trains, 60.0))["unit"]
        for network in (layer, looped(layer, "unit"))
    )
    assert expected.times.size > 2000
    np.testing.assert_array_equal(found.units, expected.units)
    np.testing.assert_allclose(found.times, expected.times, rtol=1e-12)
