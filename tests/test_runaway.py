"""Runaway networks are refused early, by one rule; other networks are accepted."""

from __future__ import annotations

import re

import numpy as np
import pytest

import evsim
from evsim.engines import EngineError, Grid, Reference
from evsim.engines.runaway import SpikeBlocks, runaways, shortest_blocks

pytestmark = pytest.mark.slow


def looked_up(times: np.ndarray, allowed: float) -> tuple[int, float] | None:
    """The documented rule: the spike, counted from 0, and the duration of the two blocks."""
    for end in range(100, len(times) + 1, 50):
        before_from = times[0] if end == 100 else times[end - 101]
        before = times[end - 51] - before_from
        latest = times[end - 1] - times[end - 51]
        if latest < before and latest + before < allowed:
            return end - 1, before + latest
    return None


def random_times(rng: np.random.Generator) -> np.ndarray:
    """Rates that rise and fall from block to block, for up to 400 spikes."""
    count = int(rng.integers(0, 400))
    rates = np.repeat(rng.choice([0.5, 1.0, 2.0, 4.0], 9), 50)[:count]
    return np.cumsum(np.round(rng.exponential(1.0, count) / rates, 2))


def test_the_rule_is_the_same_one_by_one_and_for_many():
    rng = np.random.default_rng(0)
    trains = [random_times(rng) for _ in range(300)]
    allowed = rng.uniform(20.0, 150.0, 300)
    expected = [looked_up(*each) for each in zip(trains, allowed, strict=True)]
    assert 50 < sum(found is not None for found in expected) < 250
    for times, limit, wanted in zip(trains, allowed, expected, strict=True):
        blocks = SpikeBlocks(limit)
        spans = [blocks.add(float(time)) for time in times]
        found = [(number, span) for number, span in enumerate(spans) if span is not None]
        assert (found[0] if found else None) == wanted
    counts = np.array([times.size for times in trains])
    together = runaways(np.concatenate(trains), np.cumsum(counts) - counts, counts, allowed)
    found = list(zip(together.spike.tolist(), together.span.tolist(), strict=True))
    assert dict(zip(together.unit.tolist(), found, strict=True)) == {
        k: wanted for k, wanted in enumerate(expected) if wanted is not None
    }


def exploding(units: int = 10, **hidden) -> evsim.Network:
    """Units that excite each other more and more, an output, and an input for each unit."""
    return evsim.Network(
        [
            evsim.Input("input", 1),
            evsim.LIF("calm", 1),
            evsim.LIF("hidden", units, **hidden),
            evsim.LIF("output", 1),
        ],
        [
            evsim.Connection("input", "calm", 30.0),
            evsim.Connection("input", "hidden", 30.0),
            evsim.Connection("hidden", "hidden", evsim.Uniform(0.0, 2.0), evsim.Uniform(0.1, 1.0)),
            evsim.Connection("hidden", "output", 50.0),
        ],
        seed=0,
    )


SPIKES = evsim.SpikeTrains.from_lists([[], [(0.0, 0)]], units=1)


@pytest.mark.parametrize("engine", [Reference(), Grid(2.0**-7)])
def test_a_network_that_runs_away_is_refused_early(engine):
    message = (
        r"sample 1, unit \d of 'hidden', at (?P<time>\d+\.?\d*) ms: its last 100 spikes came "
        r"within (?P<span>\d\.\d+) ms, (?P<rate>[\d.]+) per ms, and they come faster and "
        r"faster: the network runs away; use smaller weights, inhibition or a refractory "
        rf"period, or allow it with {type(engine).__name__}\(rate_limit=\.\.\.\)"
    )
    with pytest.raises(EngineError) as error:
        evsim.simulate(exploding(), SPIKES, 20.0, engine)
    found = re.fullmatch(message, str(error.value))
    assert found is not None, error.value
    time, span, rate = (float(found[name]) for name in ("time", "span", "rate"))
    assert rate == pytest.approx(100 / span, rel=0.01)
    assert 20.0 * rate > 400
    assert span < time < 20.0


def test_the_engines_refuse_the_same_unit_at_nearly_the_same_time():
    places = []
    for engine in (Reference(), Grid(2.0**-12)):
        with pytest.raises(EngineError) as error:
            evsim.simulate(exploding(), SPIKES, 20.0, engine)
        found = re.search(r"unit (\d) of 'hidden', at ([\d.]+) ms", str(error.value))
        places.append(found.groups())
    assert places[0][0] == places[1][0]
    assert float(places[0][1]) == pytest.approx(float(places[1][1]), abs=0.1)


@pytest.mark.parametrize("engine", [Reference, Grid])
def test_what_does_not_run_away_is_left_alone(engine):
    settings = {"dt": 0.125} if engine is Grid else {}
    calm = exploding(refractory=0.4)
    counts = evsim.simulate(calm, SPIKES, 90.0, engine(**settings)).spike_counts
    assert counts["hidden"][1].max() > 100  # fast, and no faster after that
    # Without loops there is nothing to refuse, however fast the units are.
    driven = evsim.Network(
        [evsim.Input("input", 1), evsim.LIF("hidden", 1, tau_syn=20.0)],
        [evsim.Connection("input", "hidden", 30.0)],
    )
    trains = evsim.SpikeTrains.from_lists([[(0.1 * k, 0) for k in range(100)]], units=1)
    counts = evsim.simulate(driven, trains, 10.0, engine(**settings)).spike_counts
    assert counts["hidden"].min() > 50
    assert not shortest_blocks(driven, 400.0).any()
    np.testing.assert_array_equal(np.flatnonzero(shortest_blocks(calm, 400.0)), np.arange(2, 12))


def test_the_limit_can_be_raised_and_switched_off():
    network, trial = exploding(), 13.6  # just long enough
    free = evsim.simulate(network, SPIKES, trial, Reference(rate_limit=np.inf))
    assert free.spike_counts["hidden"].max() > 100
    with pytest.raises(EngineError, match="runs away"):
        evsim.simulate(network, SPIKES, trial, Reference())
    same = evsim.simulate(network, SPIKES, trial, Reference(rate_limit=600.0))
    assert same.spikes == free.spikes


def test_on_a_grid_the_highest_rate_is_refused_where_the_loop_drives_it():
    network = exploding()
    message = (
        r"^sample 1, unit 0 of 'hidden', at \d+ ms: it has emitted at each of 100 steps, the "
        r"highest rate on a grid of 1 ms, and the spikes of its own loop drive it: the network "
        r"runs away; .* allow it with Grid\(rate_limit=inf\)$"
    )
    with pytest.raises(EngineError, match=message):
        evsim.simulate(network, SPIKES, 150.0, Grid(1.0))
    free = evsim.simulate(network, SPIKES, 150.0, Grid(1.0, rate_limit=np.inf))
    assert free.spike_counts["hidden"][1].min() > 100
    # The same rate, but the input drives it, and the loop only inhibits a little.
    driven = evsim.Network(
        [evsim.Input("input", 1), evsim.LIF("hidden", 2)],
        [
            evsim.Connection("input", "hidden", 30.0),
            evsim.Connection("hidden", "hidden", [[0.0, 0.1], [-0.1, 0.0]]),
        ],
    )
    trains = evsim.SpikeTrains.from_lists([[(float(k), 0) for k in range(150)]], units=1)
    counts = evsim.simulate(driven, trains, 150.0, Grid(1.0)).spike_counts["hidden"]
    assert counts.min() > 140
    # The same rate, but the rest drives it, and the loop does not matter.
    alone = evsim.Network(
        [evsim.Input("input", 1), evsim.LIF("hidden", 2, tau_mem=2.0, rest=50.0, start=0.0)],
        [evsim.Connection("hidden", "hidden", [[0.0, 0.1], [0.1, 0.0]])],
    )
    counts = evsim.simulate(alone, trains, 150.0, Grid(1.0)).spike_counts["hidden"]
    assert counts.min() == 150


@pytest.mark.parametrize("engine", [Reference, Grid])
def test_limits_that_are_none_are_refused(engine):
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match=f"^rate_limit = {wrong}: it must be > 0; infinity"):
            engine(rate_limit=wrong)
    for wrong in ("200", None, True):
        with pytest.raises(TypeError, match=r"^rate_limit = .*: it must be a number of spikes"):
            engine(rate_limit=wrong)
