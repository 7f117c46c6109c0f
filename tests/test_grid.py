"""The grid engine on the CPU.

There are three oracles: a loop over grid points in plain Python for the forward pass; the exact
engine for trials whose events all lie on the grid; and for other trials the exact engine in the
limit dt -> 0, where the order of convergence is measured.
"""

from __future__ import annotations

import re
from functools import cache

import mpmath
import numpy as np
import pytest
from agreement import entries
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf
from networks import Case, random_case, random_trains, tied_case
from scipy.sparse import csr_array

import evsim
from evsim import losses, readouts
from evsim.engines import EngineError, Exact, Reference
from evsim.engines.protocol import Adjustments
from evsim.network.dropout import Dropout, is_dropped
from evsim_gpu import Grid

EXACT = Exact(threads=1)
DT = 0.25


# -- forward: a loop over grid points -----------------------------------------------------


def looped_spikes(case: Case, dt: float) -> list[set[tuple[int, int]]]:
    """Unit and step of every emission of each sample, by what the grid engine is said to do."""
    network, steps = case.network, round(case.duration / dt)
    edges, topology = network.topology.first_unit, network.topology
    tau_mem, tau_syn = network.per_unit("tau_mem"), network.per_unit("tau_syn")
    threshold, refractory = network.per_unit("threshold"), network.per_unit("refractory", 0.0)
    reset, rest, start = (network.per_unit(name, 0.0) for name in ("reset", "rest", "start"))
    delays = np.rint(network.delay_per_synapse() / dt)
    weights = network.weight_per_synapse()
    found = []
    for sample in range(case.batch_size):
        current = np.zeros((steps + 1, topology.unit_count))

        def deliver(unit, step, current=current):
            own = np.flatnonzero(topology.source == unit)
            arrivals = (step + delays[own]).astype(int)
            seen = arrivals <= steps
            np.add.at(current, (arrivals[seen], topology.target[own[seen]]), weights[own[seen]])

        for first, population in zip(edges, network.populations, strict=False):
            if population.name in case.inputs:
                trains = case.inputs[population.name][sample]
                for time, unit in zip(trains.times, trains.units, strict=True):
                    deliver(first + unit, round(time / dt))
        lif = ~np.isnan(threshold)
        voltage, now = start, current[0].copy()
        free = np.full(topology.unit_count, -1.0)
        spikes = set()
        ratio = 1.0 / (tau_mem / tau_syn - 1.0)  # the textbook form; not for equal constants
        for n in range(1, steps + 1):
            a, c = np.exp(-dt / tau_mem), np.exp(-dt / tau_syn)
            voltage = rest + (voltage - rest) * a + now * ratio * (a - c)
            now = now * c
            voltage[n <= free] = reset[n <= free]
            for unit in np.flatnonzero(lif & (voltage >= threshold)):
                voltage[unit] = reset[unit]
                free[unit] = n + np.rint(min(refractory[unit] / dt, steps + 1))
                spikes.add((int(unit), n))
                deliver(unit, n)
            now += current[n]
        found.append(spikes)
    return found


def engine_spikes(run: evsim.simulation.Run, dt: float) -> list[set[tuple[int, int]]]:
    found = []
    for sample in range(run.batch_size):
        spikes = set()
        for first, population in zip(
            run.network.topology.first_unit, run.network.populations, strict=False
        ):
            if population.name not in run.inputs:
                own = run.spikes[population.name][sample]
                steps = np.rint(own.times / dt).astype(int).tolist()
                spikes |= set(zip((own.units + first).tolist(), steps, strict=True))
        found.append(spikes)
    return found


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    kind=st.sampled_from(["single neurons", "feedforward", "recurrent", "two populations, mutual"]),
    ratio=st.sampled_from([4.0, 2.0, 1 / 3]),
    voltages=st.booleans(),
)
def test_spikes_are_those_of_a_loop_over_the_grid(seed, kind, ratio, voltages):
    rng = np.random.default_rng(seed)
    case = random_case(rng, kind, batch=2, ratio=ratio, duration=20.0, voltages=voltages)
    run = evsim.simulate(case.network, case.inputs, case.duration, Grid(DT, threads=1))
    assert engine_spikes(run, DT) == looped_spikes(case, DT)


def test_spikes_of_tied_networks_are_those_of_a_loop_over_the_grid():
    spikes, together = 0, 0
    for seed in range(60):
        case = tied_case(np.random.default_rng([seed, 11]), DT)
        run = evsim.simulate(case.network, case.inputs, case.duration, Grid(DT, threads=1))
        found = engine_spikes(run, DT)
        assert found == looped_spikes(case, DT), seed
        steps = [step for _, step in found[0]]
        spikes, together = spikes + len(steps), together + len(steps) - len(set(steps))
    assert spikes > 1000
    assert together > 300


def test_units_that_tie_spike_together_and_converge():
    """Three equal input sums in another order; the times are those of 40 digits."""
    network = evsim.Network(
        [evsim.Input("input", 3), evsim.LIF("hidden", 2)],
        [
            evsim.Connection("input", "hidden", [[2.2, 2.2, 2.4], [2.2, 2.4, 2.2]]),
            evsim.Connection("hidden", "hidden", [[0, 5.0], [5.0, 0]]),
        ],
    )
    trains = evsim.SpikeTrains.from_lists([[(6.0, 0), (6.0, 1), (6.0, 2)]], units=3)
    wanted = np.repeat([12.067931, 17.589708, 22.547782, 26.970348], 2)
    for dt in (2.0**-7, 2.0**-11):
        own = evsim.simulate(network, trains, 30.0, Grid(dt)).spikes["hidden"]
        np.testing.assert_array_equal(own.units, [0, 1] * 4)
        np.testing.assert_allclose(own.times, wanted, atol=8 * dt)


@pytest.mark.parametrize("refractory", [0.0, 1e-17, 1e-14, 2.0**-13])
def test_a_refractory_period_that_rounds_to_no_step_is_none_forward_and_backward(refractory):
    """With a loop without delay, whose arrival is at the emission, and so in no period."""
    network = evsim.Network(
        [evsim.Input("input", 1), evsim.LIF("output", 1, refractory=refractory)],
        [evsim.Connection("input", "output", [[30.0]]), evsim.Connection("output", "output", 2.0)],
    )
    trains = evsim.SpikeTrains.from_lists([[(10.0, 0)]], units=1)
    loss = losses.SpikeTimeMSE(readouts.SpikeTimes(2))
    targets = [[[np.nan, 20.0]]]
    found = [
        evsim.gradient(network, trains, targets, loss, 40.0, engine=Grid(dt))
        .parameters["input->output.weight"]
        .item()
        for dt in (2.0**-7, 2.0**-11)
    ]
    errors = np.abs(np.array(found) - 0.4934437)
    assert errors[1] < 0.005 * 0.4934437
    assert errors[1] < errors[0] / 4


# -- where no event is moved, the grid is exact -------------------------------------------


def integrator(rng: np.random.Generator, ratio: float) -> Case:
    """Inputs and delays on grid points, and units that never spike."""
    delay = DT * rng.integers(0, 20, (3, 4))
    network = evsim.Network(
        [
            evsim.Input("input", 4),
            # The gradients with respect to one rest for all classes would add up to 0.
            evsim.LI(
                "output",
                3,
                tau_mem=20.0,
                tau_syn=rng.uniform(0.8, 1.2, 3) * 20.0 / ratio,
                rest=np.zeros(3),
            ),
        ],
        [evsim.Connection("input", "output", rng.normal(0.5, 1.0, (3, 4)), delay)],
    )
    trains = random_trains(rng, 4, 3, 20.0, 12)
    times = DT * np.round(trains.times / DT)
    trains = evsim.SpikeTrains.from_events(
        times, trains.units, trains.samples, batch_size=3, unit_count=4
    )
    return Case(network, {"input": trains}, 20.0)


@pytest.mark.parametrize("ratio", [4.0, 2.0, 1.0, 1 / 3])
@pytest.mark.parametrize("weighting", ["flat", "exponential", "linear", "sigmoid", "input"])
def test_means_and_their_gradients_are_exact_without_spikes(ratio, weighting):
    case = integrator(np.random.default_rng(int(10 * ratio)), ratio)
    loss = losses.CrossEntropy(readouts.Mean(weighting=weighting))
    assert_same_gradient(case, loss, np.arange(3))


def test_voltages_anywhere_and_their_gradients_are_exact_without_spikes():
    case = integrator(np.random.default_rng(1), 3.0)
    times = np.array([0.0, DT, 3.1, 7.77, 20.0])
    runs = [evsim.simulate(case.network, case.inputs, 20.0, e) for e in (EXACT, Grid(DT))]
    exact, grid = (run.voltage("output", times) for run in runs)
    np.testing.assert_allclose(grid, exact, rtol=1e-12, atol=1e-14)
    exact, grid = (run.current("output", times) for run in runs)
    np.testing.assert_allclose(grid, exact, rtol=1e-12, atol=1e-14)
    targets = np.random.default_rng(2).normal(size=(3, 3, times.size))
    assert_same_gradient(case, losses.VoltageMSE(readouts.Voltage(times)), targets)
    assert_same_gradient(case, losses.TimeAveragedCrossEntropy(), np.arange(3), 1e-9)


def test_voltages_near_a_grid_point_are_not_those_at_it():
    """A quadrature's node that comes within 1e-9 of a grid point by chance, late in the trial."""
    dt, duration = 2.0**-10, 16.0
    network = evsim.Network(
        [evsim.Input("input", 1), evsim.LI("output", 1, tau_mem=0.3, tau_syn=0.2)],
        [evsim.Connection("input", "output", 3.0)],
    )
    trains = evsim.SpikeTrains.from_lists([[(1.0, 0), (15.0, 0)]], units=1)
    runs = [evsim.simulate(network, trains, duration, e) for e in (EXACT, Grid(dt))]
    points = np.array([15.125, 15.25, 15.5])
    for offset in (0.0, 2e-14, 1e-12, 1e-9, 1e-8):
        for times in (points + offset, points - offset):
            exact, grid = (run.voltage("output", times) for run in runs)
            np.testing.assert_allclose(grid, exact, rtol=2e-12)
            exact, grid = (run.read(readouts.Voltage(times)) for run in runs)
            np.testing.assert_allclose(grid, exact, rtol=2e-12)


@pytest.mark.slow
def test_the_sigmoid_weighting_of_short_time_constants_against_30_digits():
    """Random time constants from 0.01 to 1000 ms, on a fine grid that moves no spike."""
    rng, dt, duration = np.random.default_rng(0), 2.0**-10, 8.0
    for _ in range(12):
        tau_mem, tau_syn = np.exp(rng.uniform(np.log(0.01), np.log(1000.0), 2))
        spikes = np.sort(dt * rng.integers(1, 7000, 6))
        network = evsim.Network(
            [evsim.Input("input", 1), evsim.LI("output", 1, tau_mem=tau_mem, tau_syn=tau_syn)],
            [evsim.Connection("input", "output", 3.0)],
        )
        trains = evsim.SpikeTrains.from_lists([[(float(t), 0) for t in spikes]], units=1)
        m, s = mpf(tau_mem), mpf(tau_syn)

        def weighted(t, m=m, s=s, spikes=spikes):
            v = sum(
                3 * s / (m - s) * (mp.exp((k - t) / m) - mp.exp((k - t) / s))
                for k in spikes.tolist()
                if k < t
            )
            return v / (1 + mp.exp((t / duration - mpf(1) / 2) * 5))

        short = min(m, s)
        edges = {mpf(0), mpf(duration)}
        for k in spikes.tolist():
            edges |= {k + short * factor for factor in (0, 1, 4, 16, 64)}
        with mpmath.workdps(30):
            edges = sorted(edge for edge in edges if edge <= duration)
            expected = float(mp.quad(weighted, edges) / duration)
        for engine in (EXACT, Grid(dt)):
            found = evsim.simulate(network, trains, duration, engine).mean("output", "sigmoid")
            assert found[0, 0] == pytest.approx(expected, rel=1e-12)


def assert_same_gradient(case, loss, labels, tolerance=1e-11):
    exact, grid = (
        evsim.gradient(case.network, case.inputs, labels, loss, case.duration, engine=engine)
        for engine in (EXACT, Grid(DT, threads=1))
    )
    np.testing.assert_allclose(grid.losses, exact.losses, rtol=tolerance)
    for name, values in exact.parameters.items():
        found = grid.parameters[name]
        np.testing.assert_allclose(found, values, tolerance, tolerance * np.abs(values).max())


# -- where events are moved, it goes to the exact engine at first order --------------------

STEPS = 2.0 ** -np.arange(5, 11)


@cache
def convergence_case(kind: str, output: str, refractory: float) -> Case:
    """A network whose spikes stay the same down to the longest step, with few near-grazes."""
    for seed in range(200):
        rng = np.random.default_rng([seed, 7])
        case = random_case(
            rng, kind, batch=2, ratio=2.0, output=output, refractory=refractory, duration=20.0,
            delays="synaptic", sparse=False, heterogeneous=True,
        )  # fmt: skip
        run = evsim.simulate(case.network, case.inputs, case.duration, EXACT)
        coarse = evsim.simulate(case.network, case.inputs, case.duration, Grid(STEPS[0]))
        same = all(
            np.array_equal(run.spike_counts[name], coarse.spike_counts[name])
            for name in run.spike_counts
        )
        spikes = sum(c.sum() for n, c in run.spike_counts.items() if n not in case.inputs)
        if same and spikes >= 8 and run.report.smallest_drive > 0.3:
            return case
    raise AssertionError("no such network was found")


def slope(errors: list[float], steps: np.ndarray = STEPS) -> float:
    """The order of convergence: the slope of the error's logarithm."""
    return float(np.polyfit(np.log(steps), np.log(np.maximum(errors, 1e-15)), 1)[0])


@pytest.mark.parametrize("refractory", [0.0, 3.0])
@pytest.mark.parametrize(
    ("kind", "output"),
    [("feedforward", "LIF"), ("feedforward", "LI"), ("two populations, mutual", "LI")],
)
def test_spikes_losses_and_gradients_converge_at_first_order(kind, output, refractory):
    case = convergence_case(kind, output, refractory)
    loss = losses.TimeInvariantMSE() if output == "LIF" else losses.CrossEntropy(readouts.Mean())
    labels = np.zeros(2, int)
    exact = evsim.gradient(case.network, case.inputs, labels, loss, case.duration, engine=EXACT)
    errors: dict[str, list[float]] = {}
    for dt in STEPS:
        grid = evsim.gradient(
            case.network, case.inputs, labels, loss, case.duration, engine=Grid(float(dt))
        )
        found = {"loss": abs(grid.loss - exact.loss)}
        for name, trains in exact.run.spikes.items():
            if name not in case.inputs and trains.times.size:
                others = sorted_by_unit(grid.run.spikes[name])
                found[f"spikes of {name}"] = np.abs(others - sorted_by_unit(trains)).max()
        for kind_of in ("weight", "delay", "tau_mem", "tau_syn", "threshold"):
            pairs = [
                (entries(grid.parameters[n]) - entries(v), entries(v))
                for n, v in exact.parameters.items()
                if n.endswith(kind_of)
            ]
            difference = np.concatenate([np.ravel(d) for d, _ in pairs])
            found[kind_of] = np.linalg.norm(difference)
        found["input times"] = np.linalg.norm(
            np.concatenate([grid.input_times[n] - exact.input_times[n] for n in case.inputs])
        )
        for name, error in found.items():
            errors.setdefault(name, []).append(float(error))
    orders = {name: slope(values) for name, values in errors.items()}
    # Signs of errors change now and then, so that single slopes scatter around 1.
    assert min(orders.values()) > 0.5, orders
    assert np.median(list(orders.values())) > 0.9, orders
    assert orders["spikes of first"] > 0.9


LI_LOSSES = [
    *(losses.CrossEntropy(readouts.Mean(w)) for w in ("flat", "exponential", "linear")),
    losses.CrossEntropy(readouts.Mean("sigmoid")),
    losses.CrossEntropy(readouts.Mean("input")),
    losses.CrossEntropy(readouts.Peak()),
    losses.CrossEntropy(readouts.Voltage([11.0]), label_smoothing=0.1),
    losses.TimeAveragedCrossEntropy(),
    losses.VoltageMSE(readouts.Voltage([3.3, 11.0, 19.0])),
]
LIF_LOSSES = [
    losses.FirstSpikeCrossEntropy(tau0=2.0, tau1=10.0),
    losses.TimeInvariantMSE(),
    losses.SpikeTimeMSE(readouts.SpikeTimes(2)),
    losses.CrossEntropy(readouts.Mean("linear")),
    losses.CrossEntropy(readouts.Mean("sigmoid")),
    losses.TimeAveragedCrossEntropy(),
]


@pytest.mark.parametrize(
    ("output", "loss"),
    [("LI", loss) for loss in LI_LOSSES] + [("LIF", loss) for loss in LIF_LOSSES],
)
def test_every_loss_goes_to_that_of_the_exact_engine(output, loss):
    case = convergence_case("feedforward", output, 0.0)
    shape = loss.readout.shape(2, 2) if not loss.classifies else None
    labels = [0, 1] if shape is None else np.linspace(0.5, 15.0, int(np.prod(shape))).reshape(shape)
    found = [
        evsim.gradient(case.network, case.inputs, labels, loss, case.duration, engine=engine)
        for engine in (EXACT, Grid(2.0**-6), Grid(2.0**-10))
    ]
    exact, coarse, fine = (
        np.concatenate([np.ravel(entries(values)) for values in own.parameters.values()])
        for own in found
    )
    scale = np.linalg.norm(exact)
    errors = [np.linalg.norm(own - exact) / scale for own in (coarse, fine)]
    assert errors[1] < 0.02, errors  # and 16 times smaller than at the longer step, or nearly so
    assert errors[1] < errors[0] / 4, errors
    assert abs(found[2].loss - found[0].loss) < 0.01 * abs(found[0].loss)


@pytest.mark.parametrize("refractory", [None, 0.0, 1.0])
def test_a_mean_at_input_spikes_has_gradients_by_delays_of_0_that_converge(refractory):
    """Each moment is the time of an arrival without delay, and V is read before that arrival."""
    rng = np.random.default_rng(4)
    if refractory is None:
        output = evsim.LI("output", 2)
    else:
        output = evsim.LIF("output", 2, refractory=refractory)
    network = evsim.Network(
        [evsim.Input("input", 3), evsim.LIF("hidden", 3), output],
        [
            evsim.Connection("input", "hidden", rng.normal(1.2, 0.5, (3, 3))),
            evsim.Connection("hidden", "output", rng.normal(1.5, 0.5, (2, 3)), np.zeros((2, 3))),
            evsim.Connection("input", "output", rng.normal(0.8, 0.5, (2, 3)), np.zeros((2, 3))),
        ],
    )
    trains = random_trains(rng, 3, 2, 20.0, 12)
    loss = losses.CrossEntropy(readouts.Mean("input"))
    exact, *grids = (
        evsim.gradient(network, trains, [0, 1], loss, 20.0, engine=engine)
        for engine in (EXACT, *(Grid(float(dt)) for dt in STEPS))
    )
    found = {"loss": [abs(grid.loss - exact.loss) for grid in grids]}
    for name in ("input->output.delay", "input->output.weight", "hidden->output.delay"):
        wanted = exact.parameters[name]
        assert np.linalg.norm(wanted) > 1e-3
        found[name] = [np.linalg.norm(grid.parameters[name] - wanted) for grid in grids]
    wanted = exact.input_times
    found["input times"] = [np.linalg.norm(grid.input_times - wanted) for grid in grids]
    orders = {name: slope(errors) for name, errors in found.items()}
    assert min(orders.values()) > 0.7, orders
    for name, errors in found.items():
        assert errors[-1] < 0.01 * np.linalg.norm(exact.parameters.get(name, 1.0)), (name, errors)


def sorted_by_unit(trains: evsim.SpikeTrains) -> np.ndarray:
    return trains.times[np.lexsort((trains.times, trains.units, trains.samples))]


def test_the_loss_is_differentiated_as_it_is_computed():
    """Parameters of units that never spike: differences of the same loss."""
    rng = np.random.default_rng(3)
    case = random_case(
        rng, "feedforward", batch=2, ratio=3.0, output="LI", refractory=0.0, sparse=False,
        delays="synaptic", duration=20.0, heterogeneous=False, voltages=True,
    )  # fmt: skip
    for readout in (readouts.Mean(), readouts.Mean("linear"), readouts.Peak()):
        loss = losses.CrossEntropy(readout)

        def value(network, loss=loss):
            return evsim.gradient(
                network, case.inputs, [0, 1], loss, case.duration, wrt=[], engine=Grid(DT)
            ).loss

        own = evsim.gradient(
            case.network, case.inputs, [0, 1], loss, case.duration, engine=Grid(DT)
        )
        parts = ("tau_mem", "tau_syn", "rest", "start")
        for name in ("second->output.weight", *(f"output.{part}" for part in parts)):
            parameter = case.network.parameters[name]
            direction = rng.normal(size=parameter.shape)
            step = 1e-4 * direction
            forward, backward = (
                value(case.network.replace({name: parameter + sign * step})) for sign in (1, -1)
            )
            found = float(np.sum(own.parameters[name] * direction))
            assert found == pytest.approx((forward - backward) / 2e-4, rel=1e-5, abs=1e-9)


# -- reset, rest and start ------------------------------------------------------------------


def test_a_unit_whose_rest_is_above_its_threshold_spikes_by_itself():
    """From start and from reset V takes tau log((rest - V)/(rest - threshold)) to the threshold."""
    dt, refractory, tau = 0.125, 2.0, np.array([20.0, 7.0])
    unit = {"tau_mem": tau, "threshold": 1.2, "rest": [2.0, 1.5], "reset": -0.5}
    network = evsim.Network(
        [
            evsim.Input("input", 1),
            evsim.LIF("output", 2, refractory=refractory, start=[0.7, -0.2], **unit),
        ],
        [evsim.Connection("input", "output", 1.0)],
    )
    silence = evsim.SpikeTrains.from_lists([[]], units=1)
    run = evsim.simulate(network, silence, 100.0, Grid(dt))
    rest = np.array(unit["rest"])
    first, later = (
        np.ceil(tau * np.log((rest - v) / (rest - 1.2)) / dt) * dt
        for v in (np.array([0.7, -0.2]), -0.5)
    )
    for i in range(2):
        own = run.spikes["output"][0]
        times = own.times[own.units == i]
        assert times.size > 2
        np.testing.assert_array_equal(
            times, first[i] + (later[i] + refractory) * np.arange(times.size)
        )
    np.testing.assert_array_equal(run.voltage("output", [0.0, first[0] + 1.0])[0, 0], [0.7, -0.5])


def test_a_mean_sees_the_reset_at_which_v_is_held():
    """With an infinite refractory period V is the reset from the spike to the end of the trial."""
    network = evsim.Network(
        [evsim.Input("input", 1), evsim.LIF("output", 2, reset=[-0.7, 0.2], refractory=np.inf)],
        [evsim.Connection("input", "output", [[30.0], [20.0]])],
    )
    spikes = evsim.SpikeTrains.from_lists([[(1.0, 0)]], units=1)
    loss = losses.CrossEntropy(readouts.Mean("linear"))

    def found(reset):
        changed = network.replace({"output.reset": np.array(reset)})
        return evsim.gradient(changed, spikes, [0], loss, 20.0, engine=Grid(DT))

    own, other = found([-0.7, 0.2]), found([0.3, 1.2 - 0.5])
    held = (1 - own.run.first_spike("output") / 20.0) ** 2 / 2  # of w(t) = 1 - t/T, over T
    difference = other.run.mean("output", "linear") - own.run.mean("output", "linear")
    np.testing.assert_allclose(difference, held * [1.0, 0.5], rtol=1e-13)
    for unit, step in enumerate(1e-5 * np.eye(2)):
        up, down = (found([-0.7, 0.2] + sign * step).loss for sign in (1, -1))
        gradient = own.parameters["output.reset"][unit]
        assert gradient == pytest.approx((up - down) / 2e-5, rel=1e-7)


def test_a_peak_may_be_the_start():
    """Unit 0 starts below rest and stays below its start; unit 1 decays from its start."""
    network = evsim.Network(
        [evsim.Input("input", 1), evsim.LI("output", 2, start=[-0.1, 0.8], rest=[-0.3, 0.1])],
        [evsim.Connection("input", "output", 0.2)],
    )
    spikes = evsim.SpikeTrains.from_lists([[(0.0, 0)]], units=1)
    loss = losses.CrossEntropy(readouts.Peak())
    own = evsim.gradient(network, spikes, [0], loss, 20.0, engine=Grid(DT))
    np.testing.assert_allclose(own.run.peak("output"), [[-0.1, 0.8]], rtol=1e-15)
    wrong = 1 / (1 + np.exp(-0.9))  # the probability of class 1
    np.testing.assert_allclose(own.parameters["output.start"], [-wrong, wrong], rtol=1e-13)
    assert not own.parameters["output.rest"].any()
    assert not own.input_times.any()


@pytest.mark.parametrize(
    ("output", "loss"),
    [
        ("LI", losses.CrossEntropy(readouts.Mean("exponential"))),
        ("LI", losses.CrossEntropy(readouts.Mean("input"))),
        ("LI", losses.VoltageMSE(readouts.Voltage([0.0, 3.1, 20.0]))),
        ("LIF", losses.CrossEntropy(readouts.Mean("linear"))),
    ],
)
def test_gradients_of_voltages_are_exact_where_no_event_is_moved(output, loss):
    """Inputs and delays on grid points, and units that never spike, against the reference."""
    rng = np.random.default_rng(2)
    case = integrator(rng, 3.0)
    trains = case.inputs["input"]
    voltages = {"rest": rng.normal(0, 0.3, 3), "start": rng.normal(0, 0.3, 3)}
    if output == "LI":
        population = evsim.LI("output", 3, **voltages)
    else:
        population = evsim.LIF("output", 3, threshold=50.0, reset=-1.0, **voltages)
    # One spike arrives at the start of the trial, at which V is read before arrivals.
    delay = np.array(case.network.connections[0].delay)
    delay[:, 0] = 0.0
    connection = evsim.Connection("input", "output", case.network.connections[0].weight, delay)
    network = evsim.Network([case.network.populations[0], population], [connection])
    events = [np.append(part, 0) for part in (trains.times, trains.units, trains.samples)]
    trains = evsim.SpikeTrains.from_events(*events, batch_size=3, unit_count=4)
    labels = np.arange(3) if loss.classifies else rng.normal(size=loss.readout.shape(3, 3))
    reference, grid = (
        evsim.gradient(network, trains, labels, loss, 20.0, engine=engine)
        for engine in (Reference(), Grid(DT))
    )
    assert np.abs(reference.parameters["output.start"]).min() > 0
    for name, values in (reference.parameters | {"times": reference.input_times}).items():
        own = grid.input_times if name == "times" else grid.parameters[name]
        np.testing.assert_allclose(own, values, 1e-11, 1e-11 * np.abs(values).max())


@pytest.mark.parametrize(
    ("seed", "kind", "output", "refractory", "loss"),
    [
        (4, "feedforward", "LIF", 3.0, losses.CrossEntropy(readouts.Mean("linear"))),
        (6, "feedforward", "LI", np.inf, losses.CrossEntropy(readouts.Mean("exponential"))),
        (2, "two populations, mutual", "LI", 3.0, losses.TimeAveragedCrossEntropy()),
        pytest.param(
            19, "two populations, mutual", "LI", 0.0, losses.CrossEntropy(readouts.Peak()),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            38, "feedforward", "LIF", 0.0, losses.TimeInvariantMSE(), marks=pytest.mark.slow
        ),
    ],
)  # fmt: skip
def test_gradients_of_voltages_converge_at_first_order(seed, kind, output, refractory, loss):
    rng = np.random.default_rng([seed, 7])
    case = random_case(
        rng, kind, batch=2, ratio=2.0, output=output, refractory=refractory, duration=20.0,
        delays="synaptic", sparse=False, heterogeneous=True, voltages=True,
    )  # fmt: skip
    steps = 2.0 ** -np.arange(6, 13)
    reference, *grids = (
        evsim.gradient(case.network, case.inputs, [0, 1], loss, case.duration, engine=engine)
        for engine in (Reference(), *(Grid(float(dt)) for dt in steps))
    )
    for grid in grids:
        for name, counts in reference.run.spike_counts.items():
            np.testing.assert_array_equal(grid.run.spike_counts[name], counts)
    orders = {}
    for kind_of in ("threshold", "reset", "rest", "start"):
        values, *found = (
            np.concatenate([np.ravel(v) for n, v in own.parameters.items() if n.endswith(kind_of)])
            for own in (reference, *grids)
        )
        if kind_of == "reset" and refractory == np.inf:  # V never moves again
            assert not values.any()
            assert not np.any(found)
            continue
        errors = [np.linalg.norm(own - values) / np.linalg.norm(values) for own in found]
        assert errors[-1] < 1e-3, (kind_of, errors)
        orders[kind_of] = slope(errors, steps)
    assert min(orders.values()) > 0.75, orders


@pytest.mark.parametrize(
    ("name", "value", "difference"), [("reset", 1.0 - 1e-9, 1e-9), ("start", 1.0 - 1e-10, 1e-10)]
)
def test_voltages_that_float32_rounds_to_the_threshold_are_refused(name, value, difference):
    network = lone_unit(evsim.LIF("output", 1, **{name: value}), 1.0)
    spikes = evsim.SpikeTrains.from_lists([[(1.0, 0)]], units=1)
    message = (
        f"unit 0 of 'output': {name} is below threshold by {difference:g}, which float32 rounds "
        'to 0: use Grid(precision="float64")'
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        evsim.simulate(network, spikes, 4.0, Grid(1.0, precision="float32"))
    evsim.simulate(network, spikes, 4.0, Grid(1.0))


# -- nothing depends on what must not matter ----------------------------------------------


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_results_do_not_depend_on_threads_or_the_rest_of_the_batch(precision):
    case = random_case(np.random.default_rng(5), "recurrent", batch=40, output="LI", duration=20.0)
    loss, labels = losses.CrossEntropy(readouts.Mean("exponential")), np.arange(40) % 2
    runs = [
        evsim.gradient(
            case.network, case.inputs, labels, loss, case.duration,
            engine=Grid(DT, precision=precision, threads=threads),
        )
        for threads in (1, 2, 5)
    ]  # fmt: skip
    for other in runs[1:]:
        for name, values in runs[0].parameters.items():
            np.testing.assert_array_equal(entries(other.parameters[name]), entries(values))
    order = np.random.default_rng(6).permutation(40)[:11]
    part = evsim.gradient(
        case.network, {n: t[order] for n, t in case.inputs.items()}, labels[order], loss,
        case.duration, engine=Grid(DT, precision=precision),
    )  # fmt: skip
    np.testing.assert_array_equal(part.losses, runs[0].losses[order])


@pytest.mark.parametrize("voltages", [False, True])
def test_float32_agrees_with_float64(voltages):
    case = random_case(
        np.random.default_rng(8), "feedforward", batch=3, ratio=2.0, output="LI", duration=20.0,
        voltages=voltages,
    )  # fmt: skip
    loss = losses.CrossEntropy(readouts.Mean())
    fine, coarse = (
        evsim.gradient(
            case.network, case.inputs, [0, 1, 0], loss, case.duration,
            engine=Grid(DT, precision=precision),
        )
        for precision in ("float64", "float32")
    )  # fmt: skip
    assert fine.run.spikes == coarse.run.spikes
    for name, values in fine.parameters.items():
        scale = np.abs(entries(values)).max()
        np.testing.assert_allclose(
            entries(coarse.parameters[name]), entries(values), rtol=0, atol=1e-4 * scale + 1e-9
        )


# -- dropout, regulariser, limit, refractory period -----------------------------------------


def test_dropout_takes_the_spikes_that_its_hash_says():
    case = random_case(np.random.default_rng(9), "feedforward", batch=3, duration=50.0)
    dropout = Dropout({"left": 0.5, "first": 0.3}, seed=4)
    run = evsim.simulate(case.network, case.inputs, 50.0, Grid(DT), dropout=dropout)
    keys, edges = dropout.sample_keys(3).tolist(), case.network.topology.first_unit
    expected = 0
    for index, population in enumerate(case.network.populations):
        rate = dropout.rates.get(population.name, 0.0)
        counts = run.spike_counts[population.name]
        for (sample, unit), count in np.ndenumerate(counts):
            expected += sum(
                is_dropped(keys[sample], int(edges[index]) + unit, number, rate)
                for number in range(count)
            )
    assert run.report.dropped == expected > 0


def test_a_regulariser_and_a_limit_do_what_they_do_in_the_exact_engine():
    case = convergence_case("feedforward", "LI", 0.0)
    jumps = {"first": np.linspace(-0.02, 0.03, 4), "second": np.full(3, 0.01)}
    names = tuple(case.network.parameters)
    readout = readouts.Mean()
    for adjustments in (Adjustments(rate_jumps=jumps), Adjustments(lambda_limit=1e-4)):
        results = []
        for engine in (EXACT, Grid(2.0**-11)):
            run = evsim.simulate(case.network, case.inputs, case.duration, engine)
            cotangents = np.array([[1.0, -0.5], [0.3, 2.0]])
            results.append(engine.pull_back(run.state, readout, cotangents, names, adjustments))
        assert results[0].limited == results[1].limited
        assert (results[0].limited > 0) == (adjustments.lambda_limit < 1)
        for name in names:
            exact, grid = (entries(result.parameters[name]) for result in results)
            np.testing.assert_allclose(grid, exact, rtol=0, atol=0.02 * np.abs(exact).max() + 1e-9)


def test_reports_count_arrivals_and_find_the_smallest_drive():
    case = random_case(np.random.default_rng(10), "feedforward", batch=2, duration=20.0)
    coarse = evsim.simulate(case.network, case.inputs, 20.0, Grid(2.0**-10)).report
    fine = evsim.simulate(case.network, case.inputs, 20.0, EXACT).report
    assert abs(coarse.arrivals - fine.arrivals) <= 0.02 * fine.arrivals
    assert coarse.smallest_drive_at is not None
    assert coarse.smallest_drive > 0


def test_adjoint_traces_are_those_of_the_exact_engine_as_dt_goes_to_0():
    case = convergence_case("feedforward", "LI", 0.0)
    times = np.linspace(0.3, 19.7, 9)
    traces = [
        evsim.gradient(
            case.network, case.inputs, [0, 1], losses.CrossEntropy(readouts.Mean()),
            case.duration, engine=engine,
        ).lambda_I("first", times)
        for engine in (EXACT, Grid(2.0**-10))
    ]  # fmt: skip
    np.testing.assert_allclose(traces[1], traces[0], atol=0.05 * np.abs(traces[0]).max())


# -- refusals -----------------------------------------------------------------------------


def test_settings_that_make_no_grid_are_refused():
    for wrong, message in (
        ({"dt": 0.0}, "dt = 0.0 ms: it must be finite and > 0"),
        ({"dt": np.nan}, "dt = nan"),
        ({"device": "gpu"}, "device"),
        ({"precision": "float16"}, "precision"),
        ({"threads": 0}, "threads = 0"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            Grid(**wrong)


def test_a_step_that_does_not_divide_the_trial_is_refused():
    case = random_case(np.random.default_rng(0), "single neurons", duration=20.0)
    with pytest.raises(ValueError, match=r"dt = 0\.3 ms does not divide the trial of 20 ms"):
        evsim.simulate(case.network, case.inputs, 20.0, Grid(0.3))


def lone_unit(output: evsim.Population, weight: float) -> evsim.Network:
    connection = evsim.Connection("input", "output", weight)
    return evsim.Network([evsim.Input("input", 1), output], [connection])


def test_an_overflowing_current_is_named():
    network = lone_unit(evsim.LIF("output", 1), 3e38)
    spikes = evsim.SpikeTrains.from_lists([[], [(1.0, 0)] * 3], units=1)
    message = (
        "sample 1, unit 0 of 'output', at 1 ms: its current is no longer finite: use "
        'smaller weights, or Grid(precision="float64")'
    )
    with pytest.raises(EngineError, match=f"^{re.escape(message)}$"):
        evsim.simulate(network, spikes, 4.0, Grid(1.0, precision="float32"))
    assert evsim.simulate(network, spikes, 4.0, Grid(1.0)).spike_counts["output"].sum() > 0


@pytest.mark.parametrize("signs", [(1.0, 1.0), (1.0, -1.0)])
def test_no_readout_or_trace_is_nan(signs):
    """Two arrivals of 2e38, or four of both signs, whose sum is NaN at once."""
    network = evsim.Network(
        [evsim.Input("input", 2), evsim.LI("output", 1)],
        [evsim.Connection("input", "output", [[2e38 * sign for sign in signs]])],
    )
    lists = [[(1.0, 0)], [(2.0, 0), (2.0, 0), (2.0, 1), (2.0, 1)]]
    spikes = evsim.SpikeTrains.from_lists(lists, units=2)
    run = evsim.simulate(network, spikes, 8.0, Grid(1.0, precision="float32"))
    assert np.isfinite(run.voltage("output", [0.0, 1.9])).all()
    moments = readouts.SampleTimes(np.array([6.0]), np.array([0, 0, 1]))
    for time, read in (
        ("7", lambda: run.voltage("output", [0.5, 7.0])),
        ("7.5", lambda: run.current("output", [7.5])),
        ("2", lambda: run.mean("output")),
        ("2", lambda: run.mean("output", "linear")),
        ("2", lambda: run.peak("output")),
        ("4.5", lambda: run.read(readouts.Voltage([4.5]))),
        ("6", lambda: run.states_at("output", moments)),
        (r"2\.\d+", lambda: run.mean("output", "sigmoid")),
    ):
        message = rf"^sample 1, unit 0 of 'output', at {time} ms: .*its current is no longer finite"
        with pytest.raises(EngineError, match=message):
            read()


FLOAT32 = r"float32 holds 0 and magnitudes from 1\.18e-38 to 3\.4e\+38"


@pytest.mark.parametrize("value", [1e-46, 1e-40, 1e39])
@pytest.mark.parametrize("name", ["output.threshold", "output.tau_mem", "output.tau_syn", "weight"])
def test_what_float32_cannot_hold_is_refused_by_name(name, value):
    """Rounded, a threshold of 1e-46 is 0 and would be reached at every step."""
    name = name if name != "weight" else "input->output.weight"
    network = lone_unit(evsim.LIF("output", 1), 1e-3).replace({name: value})
    spikes = evsim.SpikeTrains.from_lists([[(1.0, 0)]], units=1)
    unit = " ms" if "tau" in name else ""
    message = rf'^{name} = {value:g}{unit}: {FLOAT32}: use Grid\(precision="float64"\)$'
    with pytest.raises(ValueError, match=message.replace("1e+39", r"1e\+39")):
        evsim.simulate(network, spikes, 4.0, Grid(1.0, precision="float32"))
    evsim.simulate(network, spikes, 4.0, Grid(1.0))


def test_what_float32_can_hold_is_computed_in_it():
    """The smallest sizes, and 0, in the middle of a sparse matrix as well."""
    network = evsim.Network(
        [evsim.Input("input", 2), evsim.LIF("output", 2, threshold=[1.2e-38, 1.0])],
        [
            evsim.Connection("input", "output", csr_array([[1e-36, 0.0], [1e-37, -2e-38]])),
            evsim.Connection("input", "output", [[0.0, 0.0], [-1e-36, 1e-37]], name="again"),
        ],
    )
    spikes = evsim.SpikeTrains.from_lists([[(1.0, 0)]], units=2)
    fine, coarse = (
        evsim.simulate(network, spikes, 4.0, Grid(1.0, precision=precision)).spikes["output"]
        for precision in ("float64", "float32")
    )
    assert fine == coarse
    assert fine.times.size == 3
    wrong = network.replace({"input->output.weight": csr_array([[1e-36, 0.0], [1e-46, -2e-38]])})
    with pytest.raises(ValueError, match=r"^input->output.weight\[1, 0\] = 1e-46: float32"):
        evsim.simulate(wrong, spikes, 4.0, Grid(1.0, precision="float32"))


@pytest.mark.parametrize(
    ("precision", "tau_mem", "tau_syn", "dt"),
    [
        ("float32", 1e30, 1e-10, 1.0),
        ("float32", 1e-20, 1e20, 1.0),
        ("float32", 1e35, 1e35, 1e-5),
        ("float64", 20.0, 1e-307, 1.0),
        ("float64", 1e200, 1e-200, 1.0),
    ],
)
def test_ratios_of_time_constants_that_no_number_holds_are_refused(precision, tau_mem, tau_syn, dt):
    network = lone_unit(evsim.LIF("output", 1, tau_mem=tau_mem, tau_syn=tau_syn), 1.0)
    spikes = evsim.SpikeTrains.from_lists([[(1.0, 0)]], units=1)
    message = f"unit 0 of 'output' has tau_mem = {tau_mem:g} ms and tau_syn = {tau_syn:g} ms"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}, and dt = {dt:g} ms: {precision}"):
        evsim.simulate(network, spikes, 4.0, Grid(dt, precision=precision))


def test_arrivals_after_the_end_are_counted_and_do_nothing():
    network = evsim.Network(
        [evsim.Input("input", 1), evsim.LI("output", 1)],
        [evsim.Connection("input", "output", 1.0, 1e12)],
    )
    spikes = evsim.SpikeTrains.from_lists([[(1.0, 0), (1e300, 0)]], units=1)
    run = evsim.simulate(network, spikes, 4.0, Grid(1.0))
    assert (run.report.arrivals, run.report.arrivals_after_end) == (0, 2)
    assert run.peak("output") == 0


def test_a_silent_network_has_zero_gradients():
    case = random_case(np.random.default_rng(0), "recurrent", batch=2, output="LI")
    empty = {
        name: evsim.SpikeTrains.from_lists([[], []], units=trains.unit_count)
        for name, trains in case.inputs.items()
    }
    found = evsim.gradient(
        case.network, empty, [0, 1], losses.CrossEntropy(), case.duration, engine=Grid(DT)
    )
    assert all(not entries(values).any() for values in found.parameters.values())
