"""Recurrent components with many arrivals, which the exact engine runs from time step to time step.

A further connection of weight 0 between the same populations makes it run in time slices instead,
and must change nothing.
"""

from __future__ import annotations

import numpy as np
import pytest
from agreement import spike_errors
from many_digits import ManyDigits

import evsim
from evsim.engines import Exact
from evsim.engines.exact.kernels.forward.recurrent_state import ARRIVALS, STEPS
from evsim.network.initialisers import Normal, Uniform

pytestmark = pytest.mark.slow

DURATION = 60.0
EXACT = Exact(threads=1)

DELAYS = {
    "no delays": (0.0, 0.0),
    "one delay": (1.0, 2.0),
    "short delays": (Uniform(0.0, 3.0), Uniform(0.0, 0.5)),
    "long delays": (Uniform(0.0, 30.0), Uniform(0.0, 1.5 * DURATION)),
    "very long delays": (0.0, Uniform(0.0, 1e300)),
}


def network_with(delays, *, units=12, seed=0, further=(), **lif):
    """A population with loops, and one more in the same component."""
    from_inputs, inside = delays
    strength = 1.0 / np.sqrt(units)
    connections = [
        evsim.Connection("input", "first", Normal(0.5, 0.5), from_inputs),
        evsim.Connection("first", "first", Normal(0.0, strength), inside),
        evsim.Connection("first", "second", Normal(strength, strength), inside),
        evsim.Connection("second", "first", Normal(-strength, strength), from_inputs),
    ]
    return evsim.Network(
        [
            evsim.Input("input", 10),
            evsim.LIF("first", units, **lif),
            evsim.LIF("second", 5, tau_mem=10.0, tau_syn=10.0, threshold=0.8),
            evsim.LI("output", 2),
        ],
        [*connections, *further, evsim.Connection("first", "output", Normal(0.0, 1.0), 1.0)],
        seed=seed,
    )


def in_slices(delays, **settings):
    """The same network, with a further connection of weight 0."""
    nothing = evsim.Connection("first", "first", 0.0, 0.0, name="nothing")
    return network_with(delays, further=[nothing], **settings)


def spikes_for(batch, seed=0, each=300, step=None):
    rng = np.random.default_rng(seed)
    times = rng.uniform(0.0, 0.9 * DURATION, batch * each)
    if step is not None:
        times = np.round(times / step) * step
    samples = np.repeat(np.arange(batch), each)
    units = rng.integers(0, 10, times.size)
    return evsim.SpikeTrains.from_events(times, units, samples, batch_size=batch, unit_count=10)


KINDS = [
    *((delays, {}) for delays in DELAYS.values()),
    (DELAYS["short delays"], {"refractory": 2.0}),
    (DELAYS["no delays"], {"refractory": 0.3, "reset": -0.5, "start": 0.6}),
    (DELAYS["long delays"], {"rest": 0.4, "reset": -1.0, "tau_mem": 5.0, "tau_syn": 5.0}),
]


def in_order(trains):
    """Times by sample, unit, and time."""
    return trains.times[np.lexsort((trains.times, trains.units, trains.samples))]


@pytest.mark.parametrize(("delays", "lif"), KINDS)
def test_spikes_agree_with_many_digits(delays, lif):
    network, inputs = network_with(delays, units=5, **lif), {"input": spikes_for(1, each=120)}
    found = EXACT.spikes(EXACT.simulate(network, inputs, DURATION))
    assert found["first"].times.size > 20
    exact = ManyDigits(digits=50).simulate(network, inputs, DURATION)
    errors = spike_errors(network, inputs, DURATION, found, exact)
    assert not errors.pattern_differs
    assert (errors.error <= np.maximum(errors.bound, 1.0)).all()


@pytest.mark.parametrize("step", [None, 0.5])
@pytest.mark.parametrize(("delays", "lif"), KINDS)
def test_time_slices_agree(delays, lif, step):
    """Step by step and arrival by arrival, also where many spikes arrive at one instant."""
    for seed in range(4):
        spikes = spikes_for(2, seed, step=step)
        settings = {"units": 6 + 9 * seed, "seed": seed, **lif}
        loss = evsim.losses.CrossEntropy(evsim.readouts.Mean())
        wrt = ["input->first.weight", "first->first.weight", "first->second.weight"]
        one, other = (
            evsim.gradient(
                make(delays, **settings), spikes, [0, 1], loss, DURATION, wrt=wrt, engine=EXACT
            )
            for make in (network_with, in_slices)
        )
        for name in "first", "second":
            times = in_order(one.run.spikes[name])
            np.testing.assert_allclose(in_order(other.run.spikes[name]), times, rtol=1e-10)
        assert one.run.spikes["first"].times.size > 50
        for name in wrt:
            scale = np.abs(one.parameters[name]).max()
            np.testing.assert_allclose(
                other.parameters[name], one.parameters[name], rtol=0, atol=1e-8 * scale
            )
    # They are computed in different ways, or this test would say nothing.
    assert not np.array_equal(
        in_order(one.run.spikes["first"]), in_order(other.run.spikes["first"])
    )


def test_results_do_not_depend_on_threads_or_other_samples():
    network, spikes = network_with(DELAYS["short delays"], units=40), spikes_for(6)
    one, two = (evsim.simulate(network, spikes, DURATION, Exact(threads=n)) for n in (1, 2))
    alone = evsim.simulate(network, spikes[3:4], DURATION, EXACT)
    for name in "first", "second":
        np.testing.assert_array_equal(one.spikes[name].times, two.spikes[name].times)
        np.testing.assert_array_equal(one.spikes[name][3].times, alone.spikes[name].times)


def test_dropped_spikes_arrive_nowhere():
    spikes, dropout = spikes_for(3), evsim.Dropout({"first": 0.5, "input": 0.2}, seed=3)
    one, other = (
        evsim.simulate(make(DELAYS["short delays"]), spikes, DURATION, EXACT, dropout=dropout)
        for make in (network_with, in_slices)
    )
    assert one.report.dropped == other.report.dropped > 0
    times = in_order(one.spikes["first"])
    np.testing.assert_allclose(in_order(other.spikes["first"]), times, rtol=1e-10)


def test_a_network_that_runs_away_is_refused():
    excited = evsim.Connection("first", "first", Uniform(0.0, 2.0), 1.0, name="excitation")
    spikes = spikes_for(1, each=400)
    for make in network_with, in_slices:
        network = make(DELAYS["one delay"], units=8)
        connections = [excited if c.name == "first->first" else c for c in network.connections]
        network = evsim.Network(network.populations, connections, seed=0)
        with pytest.raises(evsim.engines.protocol.EngineError, match="runs away"):
            evsim.simulate(network, spikes, DURATION, EXACT)


def test_the_cost_of_an_arrival_does_not_grow_with_activity(monkeypatch):
    """Where loops excite themselves far more than the inputs do, steps are too long."""
    network = evsim.Network(
        [evsim.Input("input", 10), evsim.LIF("first", 30)],
        [
            evsim.Connection("input", "first", 1.0),
            evsim.Connection("first", "first", Uniform(0.0, 1.0), Uniform(0.1, 1.0)),
        ],
        seed=0,
    )
    counted = []
    monkeypatch.setattr(
        "evsim.engines.exact.state.ExactState.check",
        lambda state, failures: counted.append(state.pieces[0].work),
    )
    for spikes in 2_000, 20_000, 60_000:
        engine = Exact(rate_limit=np.inf, spike_limit=spikes)
        engine.simulate(network, {"input": spikes_for(1, each=300)}, DURATION)
        sent = 30 * (spikes + 300)
        assert counted[-1][ARRIVALS] < 8 * sent
        assert counted[-1][STEPS] < 60 * sent
