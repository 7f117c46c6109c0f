"""The exact engine against the reference engine in 50 digits, and against finite differences.

The two engines share no code.  Other tests check the backward pass of the reference engine against
finite differences.  Here a few gradient entries of every kind of network are compared with finite
differences directly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product
from math import log, sqrt
from typing import Any

import numpy as np
import pytest
from agreement import entries, gradient_error, spike_errors
from many_digits import ManyDigits
from networks import KINDS, RATIOS, Case, looped, random_case
from oracle import PatternChangedError, difference_of, entries_of
from scipy.special import lambertw

import evsim
from evsim import losses
from evsim.engines import Exact, Reference
from evsim.readouts import FirstSpike, Mean, Peak

EXACT = Exact(threads=1)
REFERENCE = ManyDigits(digits=50)
FEW = 40  # spikes, up to which networks are compared


@dataclass(frozen=True)
class Solved:
    """A network run by both engines; ``spikes`` counts those of LIF units."""

    case: Case
    exact: Any
    reference: Any
    spikes: int


def solve(case: Case) -> Solved:
    arguments = case.network, case.inputs, case.duration
    state = EXACT.simulate(*arguments)
    return Solved(case, state, REFERENCE.simulate(*arguments), count_spikes(case, state))


def count_spikes(case: Case, state: Any) -> int:
    inputs = [p.name for p in case.network.inputs]
    counts = EXACT.spike_counts(state)
    return int(sum(count.sum() for name, count in counts.items() if name not in inputs))


@cache
def solved(kind: str, ratio: float, voltages: bool) -> Solved:
    """A network of a kind, with no more spikes than are to be compared."""
    rng = np.random.default_rng([KINDS.index(kind), RATIOS.index(ratio)])
    while True:
        case = random_case(rng, kind, ratio=ratio, batch=2, voltages=voltages)
        state = EXACT.simulate(case.network, case.inputs, case.duration)
        if 2 <= count_spikes(case, state) < FEW:
            return solve(case)


def weights_and_delays(network: evsim.Network) -> list[str]:
    return [name for name in network.parameters if name.endswith((".weight", ".delay"))]


NETWORKS = [
    *((kind, ratio, False) for kind, ratio in product(KINDS, RATIOS)),
    *((kind, ratio, True) for kind, ratio in zip(KINDS, RATIOS[::-1], strict=False)),
]
"""Kind, ratio of the time constants, and whether reset, rest and start are drawn too."""
QUICK = (NETWORKS[5], NETWORKS[12], NETWORKS[-2])  # those that make test-fast runs

every_ratio = pytest.mark.parametrize("ratio", RATIOS)
every_network = pytest.mark.parametrize(
    ("kind", "ratio", "voltages"),
    [pytest.param(*each, marks=[pytest.mark.slow] * (each not in QUICK)) for each in NETWORKS],
)


# -- all of it, against 50 digits -----------------------------------------------------------


@every_network
def test_spike_times(kind, ratio, voltages):
    """At most 4 units in the last place of the trial's length, where rounding allows it.

    How far rounding alone may take a spike is its bound, see ``agreement``; a spike just
    before its unit falls silent may be a hundred times worse conditioned than the first.
    """
    network = solved(kind, ratio, voltages)
    case = network.case
    trains = EXACT.spikes(network.exact)
    errors = spike_errors(case.network, case.inputs, case.duration, trains, network.reference)
    assert not errors.pattern_differs
    assert errors.error.size == network.spikes
    assert errors.well_conditioned.max(initial=0.0) <= 4.0
    assert (errors.error <= errors.bound).all()
    assert (errors.error * np.spacing(case.duration) <= 1e-11).all()


@every_network
def test_readouts_and_gradients(kind, ratio, voltages):
    rng = np.random.default_rng(0)
    network = solved(kind, ratio, voltages)
    case = network.case
    names = list(case.network.parameters)
    for readout in case.readouts:
        values = EXACT.read(network.exact, readout)
        truth = REFERENCE.read(network.reference, readout)
        np.testing.assert_allclose(values, truth, rtol=1e-13, atol=1e-13)
        cotangents = rng.normal(0, 1, values.shape)
        found, expected = (
            engine.pull_back(state, readout, cotangents, names)
            for engine, state in ((EXACT, network.exact), (REFERENCE, network.reference))
        )
        assert gradient_error(case.network, found, expected) <= 1e-12
        for name, gradient in found.parameters.items():
            assert gradient.shape == case.network.parameters[name].shape


@every_network
def test_traces(kind, ratio, voltages):
    rng = np.random.default_rng(1)
    network = solved(kind, ratio, voltages)
    case = network.case
    times = rng.permutation(np.concatenate([rng.uniform(0, case.duration, 12), [0, case.duration]]))
    for population in case.network.populations[len(case.network.inputs) :]:
        pairs = zip(
            EXACT.traces(network.exact, population.name, times),
            REFERENCE.traces(network.reference, population.name, times),
            strict=True,
        )
        for found, expected in pairs:
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    for readout in case.readouts:
        values = EXACT.read(network.exact, readout)
        adjoints = [
            engine.pull_back(state, readout, np.ones(values.shape), [])
            for engine, state in ((EXACT, network.exact), (REFERENCE, network.reference))
        ]
        for population in case.network.populations[len(case.network.inputs) :]:
            pairs = zip(
                EXACT.adjoint_traces(network.exact, adjoints[0], population.name, times),
                REFERENCE.adjoint_traces(network.reference, adjoints[1], population.name, times),
                strict=True,
            )
            for found, expected in pairs:
                scale = 1e-12 * (1e-3 + np.abs(expected).max())
                np.testing.assert_allclose(found, expected, rtol=0, atol=scale)


@pytest.mark.parametrize("is_recurrent", [False, True])
def test_traces_at_the_very_time_of_an_event(is_recurrent):
    """V and I after the jumps of that time; their adjoints from later times."""
    network = evsim.Network(
        [evsim.Input("input", 2), evsim.LIF("unit", 1), evsim.LI("output", 1)],
        [
            evsim.Connection("input", "unit", np.array([[20.0, -0.5]])),
            evsim.Connection("unit", "output", 2.0, 0.5),
        ],
    )
    network = looped(network, "unit") if is_recurrent else network
    inputs = {"input": evsim.SpikeTrains.from_lists([[(1.0, 0), (30.0, 1)]], units=2)}
    state = EXACT.simulate(network, inputs, 40.0)
    voltage, current = (
        trace[0, 0] for trace in EXACT.traces(state, "unit", np.array([30.0, 1.0, 0.0]))
    )
    assert current.tolist()[1:] == [20.0, 0.0]
    assert voltage.tolist()[1:] == [0.0, 0.0]
    first, *_ = EXACT.spikes(state)["unit"].times
    around = np.array([np.nextafter(first, 0), first])
    (before, after), (current, same_current) = (
        trace[0, 0] for trace in EXACT.traces(state, "unit", around)
    )
    assert (before, after) == (pytest.approx(1.0, rel=1e-14), 0.0)
    assert same_current == pytest.approx(current, rel=1e-14)
    arrived = EXACT.traces(state, "output", np.array([np.nextafter(first + 0.5, 0), first + 0.5]))
    np.testing.assert_array_equal(arrived[1][0, 0], [0.0, 2.0])

    adjoint = EXACT.pull_back(state, Mean(), np.ones((1, 1)), [])
    lambda_v, lambda_i = (
        trace[0, 0] for trace in EXACT.adjoint_traces(state, adjoint, "unit", around)
    )
    later = np.array([np.nextafter(first, 40)])
    from_later = EXACT.adjoint_traces(state, adjoint, "unit", later)[0][0, 0, 0]
    assert lambda_v[1] == pytest.approx(from_later, rel=1e-12)
    # lambda_V jumps at an emission, lambda_I does not.
    assert abs(lambda_v[0] - lambda_v[1]) > 0.05 * abs(lambda_v[0])
    assert lambda_i[0] == pytest.approx(lambda_i[1], rel=1e-12)
    reference = REFERENCE.simulate(network, inputs, 40.0)
    expected = REFERENCE.adjoint_traces(
        reference, REFERENCE.pull_back(reference, Mean(), np.ones((1, 1)), []), "unit", around
    )
    for found, truth in zip((lambda_v[0], lambda_i[0]), expected, strict=True):
        assert found == pytest.approx(truth[0, 0, 0], rel=1e-12)


# -- finite differences -----------------------------------------------------------------------


@every_network
def test_gradients_equal_finite_differences(kind, ratio, voltages):
    """Some entries of every parameter, by the 50-digit forward simulation alone."""
    rng = np.random.default_rng(2)
    network = solved(kind, ratio, voltages)
    case = network.case
    readout = case.readouts[rng.integers(len(case.readouts))]
    values = EXACT.read(network.exact, readout)
    cotangents = np.where(np.isfinite(values), rng.normal(0, 1, values.shape), 0.0)
    names = weights_and_delays(case.network)
    if voltages:
        names = [name for name in case.network.parameters if "tau" not in name]
    found = EXACT.pull_back(network.exact, readout, cotangents, names)

    def weighted_sum(state):
        chosen = cotangents != 0
        return np.sum(REFERENCE.read_exact(state, readout)[chosen] * cotangents[chosen])

    choices = [(name, entries_of(case.network, name)) for name in found.parameters]
    choices += [
        (f"{name}.times", list(range(trains.times.size))) for name, trains in case.inputs.items()
    ]
    compared = 0
    for index in rng.permutation(len(choices))[:3]:
        name, own = choices[index]
        entry = own[rng.integers(len(own))]
        try:
            expected = difference_of(
                case.network, case.inputs, case.duration, weighted_sum, name, entry
            )
        except PatternChangedError:
            continue
        compared += 1
        gradients = (
            found.input_times[name.removesuffix(".times")]
            if name.endswith(".times")
            else entries(found.parameters[name])
        )
        # 1e-9 of itself, or where contributions cancel 1e-12 of its parameter's largest.
        tolerance = 1e-9 * abs(float(expected)) + 1e-12 * np.abs(gradients).max()
        assert abs(gradients[entry] - float(expected)) <= tolerance, (name, entry, readout)
    assert compared


# -- losses -------------------------------------------------------------------------------------

LOSSES = {
    "LI": [
        losses.CrossEntropy(Mean("flat")),
        losses.CrossEntropy(Mean("exponential")),
        losses.CrossEntropy(Peak()),
    ],
    "LIF": [
        losses.FirstSpikeCrossEntropy(tau0=2.0, tau1=30.0, alpha=0.1),
        losses.FirstSpikeCrossEntropy(tau0=1.0, alpha=0.0),
        losses.TimeInvariantMSE(delta=1.5),
    ],
}


@pytest.mark.parametrize("output", LOSSES)
@pytest.mark.parametrize(
    "kind", [KINDS[1], *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS[2:])]
)
def test_every_loss(kind, output):
    """Through ``evsim.gradient``, batches with silent outputs and silent true classes included."""
    rng = np.random.default_rng(3)
    silent_true_classes = 0
    for refractory, duration in ((0.0, 20.0), (3.0, 10.0)):
        case = random_case(
            rng, kind, output=output, batch=4, refractory=refractory, duration=duration
        )
        labels = np.array([0, 1, 1, 0])
        for loss in LOSSES[output]:
            found, expected = (
                evsim.gradient(
                    case.network, case.inputs, labels, loss, case.duration, engine=engine
                )
                for engine in (EXACT, REFERENCE)
            )
            np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-12, atol=1e-14)
            np.testing.assert_allclose(found.readout, expected.readout, rtol=1e-13, atol=1e-14)
            np.testing.assert_array_equal(found.predictions, expected.predictions)
            assert gradient_error(case.network, found.adjoint, expected.adjoint) <= 1e-12
            if output == "LIF":
                silent_true_classes += np.isinf(found.readout[np.arange(4), labels]).sum()
    if output == "LIF":
        assert silent_true_classes > 0


@pytest.mark.parametrize("is_recurrent", [False, True])
def test_a_silent_true_class_is_drawn_towards_the_end(is_recurrent):
    """The phantom spike: lambda_V at the end is the loss's slope, here written out.

    An arrival at the very end comes too late for it.
    """
    weight, t, end, tau = 1.2, 4.0, 15.0, 10.0
    loops = [evsim.Connection("unit", "unit", 0.0)] if is_recurrent else []
    network = evsim.Network(
        [evsim.Input("input", 1), evsim.LIF("unit", 1, tau_mem=tau, tau_syn=tau)],
        [evsim.Connection("input", "unit", weight), *loops],
    )
    spikes = evsim.SpikeTrains.from_lists([[(t, 0), (end, 0)]], units=1)
    loss = losses.FirstSpikeCrossEntropy(tau0=1.0, tau1=20.0, alpha=0.5)
    found = evsim.gradient(network, spikes, [0], loss, end, engine=EXACT)
    assert found.readout == np.inf
    assert found.predictions == -1
    slope, s = 0.5 / 20 * np.exp(end / 20), (end - t) / tau
    lambda_v, lambda_i = slope * np.exp(-s), slope * s * np.exp(-s)
    np.testing.assert_allclose(found.loss, 0.5 * np.expm1(end / 20), rtol=1e-15)
    np.testing.assert_allclose(found.parameters["input->unit.weight"], -tau * lambda_i, rtol=1e-14)
    np.testing.assert_allclose(found.input_times, [weight * (lambda_v - lambda_i), 0.0], rtol=1e-14)
    found_lambda_v = found.lambda_V("unit", [end, np.nextafter(end, 0), t])[0, 0]
    np.testing.assert_allclose(found_lambda_v, [0.0, slope, lambda_v], rtol=1e-14)


# -- closed forms ---------------------------------------------------------------------------------


@pytest.mark.parametrize("is_recurrent", [False, True])
def test_one_spike_has_a_closed_form(is_recurrent):
    """A quadratic for tau_mem = 2 tau_syn, Lambert W for equal; slopes by implicit functions."""
    weight, arrival = 5.0, 2.0
    y = (1 + sqrt(1 - 4 / weight)) / 2
    rise_of = {5.0: -10 * log(y), 10.0: -10 * lambertw(-1 / weight).real}
    for tau_syn, rise in rise_of.items():
        loops = [evsim.Connection("unit", "unit", 0.0)] if is_recurrent else []
        network = evsim.Network(
            [evsim.Input("input", 1), evsim.LIF("unit", 1, 10.0, tau_syn, refractory=np.inf)],
            [evsim.Connection("input", "unit", weight, 1.5), *loops],
        )
        inputs = {"input": evsim.SpikeTrains.from_lists([[(arrival - 1.5, 0)]], units=1)}
        state = EXACT.simulate(network, inputs, 30.0)
        np.testing.assert_allclose(
            EXACT.read(state, FirstSpike()), arrival + rise, rtol=2 * np.finfo(float).eps
        )
        gradient = EXACT.pull_back(
            state, FirstSpike(), np.ones((1, 1)), list(network.parameters)[:2]
        )
        slope = (weight * np.exp(-rise / tau_syn) - 1) / 10.0
        by_weight = -1 / weight / slope  # V is linear in the weight, and 1 then
        np.testing.assert_allclose(gradient.parameters["input->unit.weight"], by_weight, rtol=1e-14)
        np.testing.assert_allclose(gradient.parameters["input->unit.delay"], 1.0, rtol=1e-14)
        np.testing.assert_allclose(gradient.input_times["input"], 1.0, rtol=1e-14)


# -- peaks that arrivals make ---------------------------------------------------------------------


@every_ratio
def test_peaks_cut_off_by_inhibition(ratio):
    """A kink moves with the arrivals that make it, and they share it by their weights."""
    rng = np.random.default_rng(4)
    kinks = 0
    for _ in range(8):
        inhibition = rng.uniform(2, 9), rng.uniform(0, 4)
        weight = np.array([[3.0, -inhibition[0], -inhibition[1], 1.0]])
        network = evsim.Network(
            [evsim.Input("input", 4), evsim.LI("output", 1, tau_mem=20.0, tau_syn=20.0 / ratio)],
            [evsim.Connection("input", "output", weight, delay=1.25)],
        )
        cut = rng.uniform(0.5, 6)
        events = [(0.0, 0), (cut, 1), (cut, 2), (cut + rng.uniform(5, 20), 3)]
        case = solve(
            Case(network, {"input": evsim.SpikeTrains.from_lists([events], units=4)}, 40.0)
        )
        found, expected = (
            engine.pull_back(state, Peak(), np.ones((1, 1)), weights_and_delays(network))
            for engine, state in ((EXACT, case.exact), (REFERENCE, case.reference))
        )
        assert gradient_error(network, found, expected) <= 1e-12
        at = cut + 1.25
        (_, voltage), (current, _) = (
            trace[0, 0]
            for trace in EXACT.traces(case.exact, "output", np.array([np.nextafter(at, 0), at]))
        )
        if current > voltage and EXACT.read(case.exact, Peak())[0, 0] == pytest.approx(voltage):
            kinks += 1
            slopes = found.input_times["input"][1:3]
            np.testing.assert_allclose(slopes.sum(), (current - voltage) / 20.0, rtol=1e-12)
            np.testing.assert_allclose(slopes[0] / slopes[1], np.divide(*inhibition), rtol=1e-12)
    assert kinks >= 3


@pytest.mark.parametrize("tau_mem", [1e3, 1e6, 1e12, 1e18])
@pytest.mark.parametrize("engine", [EXACT, Reference()], ids=["exact", "reference"])
def test_units_that_hardly_leak(engine, tau_mem):
    """Peak and crossing where 1 - u, u = (1 - V/I) (1 - tau_syn/tau_mem), would lose its digits."""
    inputs = {"input": evsim.SpikeTrains.from_lists([[(0.0, 0)]], units=1)}
    weight = 2 * tau_mem / 5.0  # V would come to almost 2
    for output, readout in ((evsim.LIF, FirstSpike()), (evsim.LI, Peak())):
        network = evsim.Network(
            [evsim.Input("input", 1), output("output", 1, tau_mem, 5.0)],
            [evsim.Connection("input", "output", weight)],
        )
        value, truth = (
            each.read(each.simulate(network, inputs, 500.0), readout)
            for each in (engine, Reference(digits=60))
        )
        np.testing.assert_allclose(value, truth, rtol=1e-15)
        counts = [
            each.spike_counts(each.simulate(network, inputs, 500.0))["output"].sum()
            for each in (engine, Reference(digits=60))
        ]
        assert counts[0] == counts[1]


@pytest.mark.parametrize("loops", [(), ("hidden",)], ids=["layered", "recurrent"])
def test_adjoint_traces_where_a_refractory_period_ends(loops):
    network = looped(
        evsim.Network(
            [
                evsim.Input("input", 1),
                evsim.LIF("hidden", 1, refractory=2.0),
                evsim.LI("output", 2),
            ],
            [
                evsim.Connection("input", "hidden", 30.0),
                evsim.Connection("hidden", "output", [[1.0], [2.0]]),
            ],
        ),
        *loops,
    )
    spikes = evsim.SpikeTrains.from_lists([[(0.0, 0)]], units=1)
    results = []
    for engine in (EXACT, Reference()):
        gradient = evsim.gradient(
            network, spikes, [0], evsim.losses.CrossEntropy(), 30.0, engine=engine
        )
        ends = gradient.run.spikes["hidden"].times[:2] + 2.0
        times = np.sort(np.concatenate([ends - 1e-6, ends, ends + 1e-6]))
        results.append(gradient.lambda_V("hidden", times)[0, 0])
    np.testing.assert_allclose(*results, rtol=1e-12)
    assert (results[0].reshape(2, 3) != 0).tolist() == [[False, True, True]] * 2
