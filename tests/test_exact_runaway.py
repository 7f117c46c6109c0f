"""Runaway networks: each spike causes more than one more, and the rate grows without end."""

from __future__ import annotations

import re

import numpy as np
import pytest

import evsim
from evsim.engines import Exact
from evsim.engines.exact.kernels.forward.recurrent_state import ARRIVALS, STEPS
from evsim.engines.protocol import EngineError
from evsim.engines.runaway import BLOCK, RATE_LIMIT, runaways
from evsim.network.initialisers import Normal, Uniform

pytestmark = pytest.mark.slow

ONE_SPIKE = evsim.SpikeTrains.from_lists([[(0.0, 0)]], units=1)


def runaway_network(units, weight, delay, drive=30.0):
    return evsim.Network(
        [evsim.Input("input", 1), evsim.LIF("h", units)],
        [evsim.Connection("input", "h", drive), evsim.Connection("h", "h", weight, delay)],
        seed=0,
    )


NETWORKS = {
    "delays of one range": runaway_network(10, Uniform(0.0, 2.0), Uniform(0.1, 1.0)),
    "one delay": runaway_network(64, Normal(0.5, 0.2), 1.0),
    "many units in step": runaway_network(256, Normal(0.5, 0.2), 1.0),
    "long and short delays": runaway_network(20, Uniform(0.0, 1.0), Uniform(0.0, 8.0)),
    "no delay": runaway_network(20, Uniform(0.0, 1.0), 0.0, Uniform(20.0, 30.0)),
}


def runaway_spike(times, tau_mem, rate_limit):
    """The spike, counted from 0, at which a unit is refused as running away, or None."""
    allowed = np.array([2 * BLOCK * tau_mem / rate_limit])
    found = runaways(times, np.array([0]), np.array([times.size]), allowed)
    return found.spike[0] if found.spike.size else None


def work_until(network, spikes, monkeypatch):
    """What the exact engine counts until a sample has so many spikes."""
    counted = []
    monkeypatch.setattr(
        "evsim.engines.exact.state.ExactState.check",
        lambda state, failures: counted.append(state.pieces[0].work),
    )
    Exact(rate_limit=np.inf, spike_limit=spikes).simulate(network, {"input": ONE_SPIKE}, 1000.0)
    return counted[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_cost_of_an_arrival_does_not_grow_with_activity(name, monkeypatch):
    network = NETWORKS[name]
    units = network.populations[1].units
    for spikes in 2_000, 20_000, 100_000 if units < 100 else 40_000:
        work = work_until(network, spikes, monkeypatch)
        sent = spikes * units
        # Both count what is done again where the buffer of spikes turns out to be too small.
        assert work[ARRIVALS] < 6 * sent
        assert work[STEPS] < 50 * sent


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_that_runs_away_is_refused_with_unit_time_rate_and_remedy(name):
    with pytest.raises(EngineError, match="runs away") as refused:
        evsim.simulate(NETWORKS[name], ONE_SPIKE, 1000.0)
    found = re.fullmatch(
        r"sample 0, unit (\d+) of 'h', at ([\d.]+) ms: its last 100 spikes came within ([\d.]+) ms,"
        r" ([\d.]+) per ms, and they come faster and faster: the network runs away; use "
        r"smaller weights, inhibition or a refractory period, or allow it with "
        r"Exact\(rate_limit=...\)",
        str(refused.value),
    )
    unit, time, span, rate = int(found[1]), float(found[2]), float(found[3]), float(found[4])
    assert 20.0 * rate > RATE_LIMIT
    assert rate == pytest.approx(100 / span, rel=0.01)
    # The same network without a limit, for as long: the rule, applied to all that was emitted.  The
    # length of a trial may change the last digit of a spike time.
    longer = time * (1.0 + 1e-14)
    run = evsim.simulate(NETWORKS[name], ONE_SPIKE, longer, engine=Exact(rate_limit=np.inf))
    h = run.spikes["h"]
    by_unit = [h.times[h.units == n] for n in range(h.unit_count)]
    found_at = [runaway_spike(times, 20.0, RATE_LIMIT) for times in by_unit]
    times = [by_unit[n][k] if k is not None else np.inf for n, k in enumerate(found_at)]
    assert min(times) == times[unit] == pytest.approx(time, rel=1e-13)


def test_the_rule():
    rising = np.cumsum(np.geomspace(1.0, 0.001, 1000))
    at = runaway_spike(rising, 20.0, 200.0)
    blocks = np.diff(rising[[0, *range(49, 1000, 50)]])
    expected = next(k for k in range(1, 20) if blocks[k] + blocks[k - 1] < 10.0)
    assert at == 50 * (expected + 1) - 1
    assert runaway_spike(rising, 20.0, np.inf) is None
    falling = np.cumsum(np.geomspace(0.001, 1.0, 1000))
    assert runaway_spike(falling, 20.0, 200.0) is None
    assert runaway_spike(np.empty(0), 20.0, 200.0) is None


def test_a_burst_that_dies_down_does_not_run_away():
    network = runaway_network(2, 0.01, 1.0, drive=20_000.0)
    run = evsim.simulate(network, ONE_SPIKE, 100.0)
    assert run.spikes["h"].times.size > 1000


def test_a_layer_that_is_driven_hard_does_not_run_away():
    network = evsim.Network(
        [evsim.Input("input", 1), evsim.LIF("h", 1)], [evsim.Connection("input", "h", 500.0)]
    )
    times = np.arange(400) * 0.05
    spikes = evsim.SpikeTrains.from_lists([[(t, 0) for t in times]], units=1)
    run = evsim.simulate(network, spikes, 30.0)
    assert runaway_spike(run.spikes["h"].times, 20.0, RATE_LIMIT) is not None


def test_a_limit_may_be_raised():
    network, duration = NETWORKS["delays of one range"], 14.0
    with pytest.raises(EngineError, match="runs away"):
        evsim.simulate(network, ONE_SPIKE, duration)
    run = evsim.simulate(network, ONE_SPIKE, duration, engine=Exact(rate_limit=1e4))
    assert run.spikes["h"].times.size > 1000


@pytest.mark.parametrize("limit", [0.0, -1.0, np.nan])
def test_a_limit_that_is_no_rate_is_refused(limit):
    with pytest.raises(ValueError, match="rate_limit = .*: it must be > 0"):
        Exact(rate_limit=limit)


def test_spikes_do_not_depend_on_how_the_trial_is_cut():
    # Delays of one range: no two spikes arrive at one instant, and nothing is rounded otherwise.
    network, engine = NETWORKS["delays of one range"], Exact(rate_limit=np.inf)
    short = evsim.simulate(network, ONE_SPIKE, 13.5, engine=engine).spikes["h"]
    for duration in 13.9, 14.3:
        longer = evsim.simulate(network, ONE_SPIKE, duration, engine=engine).spikes["h"]
        n = short.times.size
        assert np.array_equal(longer.times[:n], short.times)
        assert np.array_equal(longer.units[:n], short.units)


def test_many_arrivals_in_no_order_are_sorted():
    rng = np.random.default_rng(0)
    inputs = 3000
    delays = rng.uniform(5.0, 5.01, (2, inputs)).round(6)  # some are equal
    weights = rng.normal(size=(2, inputs)).round(2)
    spikes = evsim.SpikeTrains.from_lists([[(0.0, i) for i in range(inputs)]], units=inputs)
    results = []
    for recurrent in False, True:
        connections = [evsim.Connection("input", "h", weights, delays)]
        if recurrent:
            connections.append(evsim.Connection("h", "h", 0.0, 1.0))
        network = evsim.Network([evsim.Input("input", inputs), evsim.LIF("h", 2)], connections)
        run = evsim.simulate(network, spikes, 40.0)
        results.append(run.voltage("h", [5.002, 5.02]))
        # The sum of all responses, in the order in which they are listed.
        for unit in range(2):
            elapsed = 5.02 - delays[unit]
            response = (np.exp(-elapsed / 20.0) - np.exp(-elapsed / 5.0)) * 5.0 / 15.0
            expected = np.sum(weights[unit] * response)
            assert run.voltage("h", [5.02])[0, unit, 0] == pytest.approx(expected, rel=1e-9)
    np.testing.assert_allclose(results[0], results[1], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("duration", [5e-324, 1e-306, 1e-300, 1e-281, 1e-200])
def test_the_shortest_trials_end(duration):
    network = evsim.Network(
        [evsim.Input("input", 1), evsim.LIF("h", 1)],
        [evsim.Connection("input", "h", 5.0), evsim.Connection("h", "h", -1.0)],
    )
    with pytest.warns(evsim.TimeUnitWarning, match="seconds\\? a trial of duration"):
        run = evsim.simulate(network, ONE_SPIKE, duration)
    assert run.spikes["h"].times.size == 0
    assert run.report.arrivals == 1


@pytest.mark.parametrize("weight", [-0.01, 0.0])
def test_a_loop_that_does_not_excite_does_not_run_away(weight):
    network = evsim.Network(
        [evsim.Input("input", 20), evsim.LIF("h", 5)],
        [evsim.Connection("input", "h", 3.0), evsim.Connection("h", "h", weight, 1.0)],
    )
    times = np.sqrt(np.linspace(0.0, 1.0, 2000)) * 20.0
    events = [(t, k % 20) for k, t in enumerate(times)]
    run = evsim.simulate(network, evsim.SpikeTrains.from_lists([events], units=20), 25.0)
    first = run.spikes["h"].times[run.spikes["h"].units == 0]
    assert runaway_spike(first, 20.0, RATE_LIMIT) is not None


@pytest.mark.parametrize("tau_mem", [2e3, 1e6])
def test_units_that_hardly_leak_may_be_slow_and_speed_up(tau_mem):
    rng = np.random.default_rng(0)
    weight = 0.15 * tau_mem / 20.0
    network = evsim.Network(
        [evsim.Input("input", 20), evsim.LIF("h", 5, tau_mem=tau_mem)],
        [
            evsim.Connection("input", "h", weight),
            evsim.Connection("h", "h", 0.01 * weight, 1.0),
        ],
    )
    times = np.sort(4000.0 * np.sqrt(rng.uniform(size=16000)))
    events = [(t, k % 20) for k, t in enumerate(times)]
    run = evsim.simulate(network, evsim.SpikeTrains.from_lists([events], units=20), 4000.0)
    first = run.spikes["h"].times[run.spikes["h"].units == 0]
    assert runaway_spike(first, tau_mem, RATE_LIMIT) is not None  # by tau_mem alone it would
