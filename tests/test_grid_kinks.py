"""On a grid, gradients with respect to the times of arrivals at which V is read or is largest.

The oracles are a closed form; the exact engine for trials whose events all lie on the grid; and for
other trials the exact engine in the limit dt -> 0, where the order of convergence is measured.
"""

from __future__ import annotations

import numpy as np
import pytest

import evsim
from evsim.engines import Exact
from evsim.losses import TimeAveragedCrossEntropy
from evsim.readouts import Mean, Peak, SampleTimes, SilentPeak, Voltage
from evsim_gpu import Grid

EXACT = Exact(threads=1)
DT = 0.25


def peak_of(output: evsim.Population) -> Peak | SilentPeak:
    """The readout of the largest voltage of a population."""
    reads = Peak if isinstance(output, evsim.LI) else SilentPeak
    return reads(population=output.name)


def peaks_at_events(run: evsim.Run, population: str) -> np.ndarray:
    """Whether V is largest at an event inside the trial, of each sample and unit."""
    times = run.event_times(population)
    voltages, _ = run.states_at(population, times)
    found = np.zeros((run.batch_size, voltages.shape[1]), bool)
    for sample, (begin, end) in enumerate(zip(times.offsets[:-1], times.offsets[1:], strict=True)):
        largest = voltages[begin:end].max(axis=0)
        found[sample] = np.abs(largest - run.peak_voltage(population)[sample]) < 1e-12
    return found


# -- a closed form --------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("dt", [1.0, 0.25])
@pytest.mark.parametrize("output", [evsim.LI("output", 1), evsim.LIF("output", 1, threshold=9.0)])
def test_the_arrivals_that_end_a_rise_move_the_peak_by_its_slope(output, dt, precision):
    """By their weights they share it, and the earlier arrival moves the peak by minus the slope."""
    network = evsim.Network(
        [evsim.Input("input", 3), output],
        [evsim.Connection("input", "output", [[6.0, -4.0, -2.0]], [[0.0, 1.0, 2.0]])],
    )
    spikes = evsim.SpikeTrains.from_lists([[(1.0, 0), (2.0, 2), (3.0, 1)]], units=3)
    engine = Grid(dt, precision=precision)
    run = evsim.simulate(network, spikes, 30.0, engine=engine)
    readout = peak_of(output)
    found = run.pull_back(readout, np.ones((1, 1)))
    # 3 ms after the first arrival, with tau_mem = 20 ms and tau_syn = 5 ms.
    current, voltage = 6.0 * np.exp(-3 / 5), 2.0 * (np.exp(-3 / 20) - np.exp(-3 / 5))
    slope = (current - voltage) / 20.0
    tolerance = 1e-12 if precision == "float64" else 1e-5
    threshold = getattr(output, "threshold", 0.0)
    assert run.read(readout)[0, 0] == pytest.approx(voltage - threshold, rel=tolerance)
    by_delay = found.parameters["input->output.delay"]
    np.testing.assert_allclose(by_delay, [[-slope, slope * 2 / 3, slope / 3]], rtol=tolerance)
    np.testing.assert_allclose(
        found.input_times, [-slope, slope / 3, slope * 2 / 3], rtol=tolerance
    )
    by_weight = found.parameters["input->output.weight"]
    np.testing.assert_allclose(by_weight, [[voltage / 6.0, 0.0, 0.0]], rtol=tolerance)


# -- where no event is moved, the grid is exact ---------------------------------------------------


def integrators(rng: np.random.Generator) -> tuple[evsim.Network, evsim.SpikeTrains]:
    """Units that never spike; times and delays on grid points, some at the start and the end."""
    delay = DT * rng.integers(0, 20, (12, 4))
    delay[:, 1] = 0.0
    # The gradients with respect to one rest for all classes would add up to 0.
    output = evsim.LI("output", 12, tau_mem=20.0, tau_syn=8.0, rest=np.zeros(12))
    network = evsim.Network(
        [evsim.Input("input", 4), output],
        [evsim.Connection("input", "output", rng.normal(0.2, 1.0, (12, 4)), delay)],
    )
    events = [
        sorted((DT * float(step), unit) for unit in range(4) for step in rng.integers(0, 81, 3))
        for _ in range(3)
    ]
    events[0] = [(0.0, 0), *events[0], (20.0, 1), (20.0, 2)]
    return network, evsim.SpikeTrains.from_lists(events, units=4)


def assert_same_adjoints(exact: evsim.Run, grid: evsim.Run, readout, cotangents) -> None:
    wanted, found = (run.pull_back(readout, cotangents) for run in (exact, grid))
    for name, values in (wanted.parameters | {"times": wanted.input_times}).items():
        own = found.input_times if name == "times" else found.parameters[name]
        np.testing.assert_allclose(own, values, 1e-10, 1e-11 * np.abs(values).max(), err_msg=name)


@pytest.mark.parametrize("seed", range(3))
def test_gradients_of_peaks_at_grid_points_are_exact(seed):
    """At arrivals that end a rise, and at the end of the trial, whose arrivals move no peak."""
    rng = np.random.default_rng(seed)
    network, spikes = integrators(rng)
    exact, grid = (evsim.simulate(network, spikes, 20.0, engine) for engine in (EXACT, Grid(DT)))
    points = SampleTimes.same(np.arange(81) * DT, 3)
    voltages, _ = exact.states_at("output", points)
    voltages = voltages.reshape(3, 81, 12)
    at_points = np.abs(voltages.max(axis=1) - exact.peak("output")) < 1e-12
    at_end = at_points & (voltages.argmax(axis=1) == 80)
    at_start = at_points & (voltages.argmax(axis=1) == 0)
    assert (at_points & ~at_end & ~at_start).sum() >= 5
    assert at_end[0].any()
    assert_same_adjoints(exact, grid, Peak(), np.where(at_points, rng.normal(size=(3, 12)), 0.0))


def test_gradients_of_voltages_at_the_times_of_arrivals_are_exact():
    """V is read before the arrivals at the time at which it is read."""
    rng = np.random.default_rng(5)
    network, spikes = integrators(rng)
    exact, grid = (evsim.simulate(network, spikes, 20.0, engine) for engine in (EXACT, Grid(DT)))
    times = np.unique(exact.event_times("output").times)
    assert times.size > 40
    for readout in (Voltage([0.0, *times, 20.0]), Mean("input"), Mean("linear"), Mean("sigmoid")):
        cotangents = rng.normal(size=exact.read(readout).shape)
        assert_same_adjoints(exact, grid, readout, cotangents)


def test_gradients_of_an_integral_with_arrivals_are_exact():
    network, spikes = integrators(np.random.default_rng(6))
    wanted, found = (
        evsim.gradient(network, spikes, [0, 1, 2], TimeAveragedCrossEntropy(), 20.0, engine=engine)
        for engine in (EXACT, Grid(DT))
    )
    for name, values in (wanted.parameters | {"times": wanted.input_times}).items():
        own = found.input_times if name == "times" else found.parameters[name]
        np.testing.assert_allclose(own, values, 1e-9, 1e-10 * np.abs(values).max(), err_msg=name)


# -- where events are moved, it goes to the exact engine at first order ---------------------------

STEPS = 2.0 ** -np.arange(2, 9)


def inhibited_network(output: evsim.Population, seed: int, *, loops: bool) -> evsim.Network:
    """Inputs raise V of the output, and a layer that they make spike ends the rise."""
    normal, delay = evsim.Normal, evsim.Uniform(0.0, 3.0)
    connections = [
        evsim.Connection("input", "first", normal(4.0, 1.0), delay),
        evsim.Connection("input", "output", normal(1.5, 0.3), delay),
        evsim.Connection("first", "output", normal(-1.5, 0.3), delay),
    ]
    if loops:
        later = evsim.Uniform(1.0, 3.0)
        connections.append(evsim.Connection("first", "first", normal(0.2, 0.3), later))
    if loops and isinstance(output, evsim.LIF):
        connections.append(evsim.Connection("output", "first", 0.1, 1.0))
    first = evsim.LIF("first", 3, tau_mem=15.0, refractory=4.0)
    return evsim.Network([evsim.Input("input", 3), first, output], connections, seed=seed)


def inhibited_runs(
    output: evsim.Population, *, loops: bool
) -> list[tuple[evsim.Run, list[evsim.Run]]]:
    """Runs with most peaks at arrivals, and with the same spikes on the grids of all steps."""
    runs = []
    for seed in range(100):
        network = inhibited_network(output, seed, loops=loops)
        latencies = np.random.default_rng(seed).uniform(0.0, 10.0, (2, 3))
        spikes = evsim.SpikeTrains.from_latencies(latencies)
        exact, *grids = (
            evsim.simulate(network, spikes, 30.0, engine=engine)
            for engine in (EXACT, *(Grid(float(dt), threads=1) for dt in STEPS))
        )
        same = all(
            np.array_equal(grid.spike_counts[name], counts)
            for grid in grids
            for name, counts in exact.spike_counts.items()
        )
        silent = not exact.spike_counts["output"].any()
        clear = exact.report.smallest_drive > 0.3
        if same and silent and clear and peaks_at_events(exact, "output").sum() >= 6:
            runs.append((exact, grids))
        if len(runs) == 8:
            return runs
    raise AssertionError("no such networks were found")


@pytest.mark.parametrize("loops", [False, True])
@pytest.mark.parametrize(
    "output",
    [evsim.LI("output", 4, tau_mem=12.0), evsim.LIF("output", 4, tau_mem=12.0, threshold=3.0)],
)
def test_gradients_of_peaks_at_arrivals_converge_at_first_order(output, loops):
    logarithms: dict[str, list[np.ndarray]] = {}
    readout = peak_of(output)
    for exact, grids in inhibited_runs(output, loops=loops):
        cotangents = np.random.default_rng(1).normal(size=(2, 4))
        wanted, *found = (run.pull_back(readout, cotangents) for run in (exact, *grids))
        for name, values in (wanted.parameters | {"times": wanted.input_times}).items():
            if not name.endswith(("weight", "delay", "times")):
                continue
            size = np.linalg.norm(values)
            if size == 0.0:  # of spikes that the peak does not depend on
                continue
            own = [f.input_times if name == "times" else f.parameters[name] for f in found]
            errors = np.array([np.linalg.norm(part - values) for part in own]) / size
            logarithms.setdefault(name, []).append(np.log(errors))
    orders = {}
    for name, of_seeds in logarithms.items():
        mean = np.mean(of_seeds, axis=0)
        assert np.exp(mean[-1]) < 0.01, (name, np.exp(mean))
        orders[name] = float(np.polyfit(np.log(STEPS), mean, 1)[0])
    assert {"first->output.delay", "input->first.delay", "input->first.weight"} <= orders.keys()
    assert min(orders.values()) > 0.8, orders
    # Where the loop matters, errors at 1/4 ms are too large to belong to that order yet.
    assert 0.9 < np.median(list(orders.values())) < 1.15, orders
