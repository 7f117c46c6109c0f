"""The exact engine does the work of several units together: each gets what it gets alone."""

from __future__ import annotations

import numpy as np
import pytest

import evsim
from evsim.engines.exact.kernels.backward.adjoint_intervals import ADJOINT_INTERVAL, interval_at
from evsim.engines.exact.kernels.backward.arrival_gradients import (
    CELLS,
    list_intervals,
    listed_interval,
)
from evsim.readouts import SpikeTimes

INPUTS, DURATION = 30, 100.0
READOUT = SpikeTimes(count=4)


def spikes(each):
    """So many spikes of each input in each of two samples; some come at the same time."""
    rng = np.random.default_rng(2)
    lists = [
        [
            (float(time), unit)
            for unit in range(INPUTS)
            for time in np.sort(np.round(rng.uniform(0, 0.9 * DURATION, each), 1))
        ]
        for _ in range(2)
    ]
    return evsim.SpikeTrains.from_lists([sorted(events) for events in lists], units=INPUTS)


def network(units, weight, delay, tau, refractory):
    population = evsim.LIF(
        "unit", len(units), tau_mem=tau[0], tau_syn=tau[1], refractory=refractory
    )
    connection = evsim.Connection(
        "input", "unit", weight[units], delay if np.ndim(delay) == 0 else delay[units]
    )
    return evsim.Network([evsim.Input("input", INPUTS), population], [connection])


@pytest.mark.parametrize("tau", [(20.0, 5.0), (10.0, 5.0), (10.0, 10.0), (5.0, 20.0)])
@pytest.mark.parametrize("refractory", [0.0, 3.0])
@pytest.mark.parametrize(("each", "has_delays"), [(3, True), (12, False), (12, True)])
def test_units_together_are_units_alone(tau, refractory, each, has_delays):
    """With 90 arrivals some units fill the memory; with 360 that are shared they are in blocks."""
    rng = np.random.default_rng(1)
    units = 20
    weight = rng.normal(1.2 / each, 2.0 / each, (units, INPUTS))
    delay = rng.uniform(0, 20, (units, INPUTS)) if has_delays else 0.0
    cotangents = rng.normal(size=(2, units, 4))
    inputs = spikes(each)

    def pulled_back(chosen):
        one = network(chosen, weight, delay, tau, refractory)
        run = evsim.simulate(one, inputs, DURATION)
        return run, run.pull_back(READOUT, cotangents[:, chosen])

    run, together = pulled_back(np.arange(units))
    assert run.spike_counts["unit"].sum() > units
    times = run.read(READOUT)
    of_inputs = np.zeros_like(together.input_times)
    names = ["input->unit.weight", "unit.threshold", *(["input->unit.delay"] * has_delays)]
    for unit in range(units):
        run_alone, alone = pulled_back(np.array([unit]))
        np.testing.assert_array_equal(run_alone.read(READOUT)[:, 0], times[:, unit])
        of_inputs += alone.input_times
        for name in names[:1] + names[2:]:
            expected = alone.parameters[name][0]
            scale = np.abs(expected).max(initial=0.0)
            found = together.parameters[name][unit]
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * scale)
    scale = np.abs(of_inputs).max()
    np.testing.assert_allclose(together.input_times, of_inputs, rtol=0, atol=1e-12 * scale)


def test_listed_intervals_are_those_of_the_search():
    rng = np.random.default_rng(0)
    duration = 73.0
    for last in (1, 2, 5, 40):
        edges = np.sort(np.append(rng.uniform(0, duration, last - 1), [duration * 0.25]))[::-1]
        intervals = np.zeros(last + 1, ADJOINT_INTERVAL)
        intervals["begin"] = np.append(edges, -np.inf)
        cells = np.empty(CELLS + 1, np.int32)
        list_intervals(cells, duration, intervals, 0, last)
        times = np.concatenate([rng.uniform(0, duration, 500), edges, np.nextafter(edges, 0), [0]])
        for time in times:
            found = listed_interval(time, cells, duration, intervals)
            assert found == interval_at(time, intervals, 0, last)
