"""Gradients of the exact engine for every loss, weighting and parameter, against 50 digits.

The oracle is a separate implementation of the loss, applied to a forward simulation of the
reference engine in 50 digits.  Its central difference is taken along a direction in which all
weights, delays, time constants, thresholds and input times change.  It shares no code with the
gradient.
"""

from __future__ import annotations

from dataclasses import replace

import numba
import numpy as np
import pytest
from agreement import entries
from many_digits import ManyDigits
from networks import Case, random_case
from oracle import (
    PatternChangedError,
    difference_along,
    input_weighted_mean,
    random_direction,
    time_averaged_cross_entropy,
    weighted_mean,
)

import evsim
from evsim import losses, readouts
from evsim.engines import Exact
from evsim.engines.exact.kernels.backward import pull_back
from evsim.engines.exact.kernels.forward import simulate as samples
from evsim.engines.exact.kernels.readouts import traces
from evsim.engines.exact.kernels.readouts import voltages as readout_kernels

pytestmark = pytest.mark.slow

EXACT = Exact(threads=1)
REFERENCE = ManyDigits(digits=50)
NUMBERS = REFERENCE.numbers
BATCH = 2
ENTRY_POINTS = [
    samples.simulate_samples,
    samples.count_arrivals,
    readout_kernels.read_means,
    readout_kernels.read_peaks,
    readout_kernels.find_kinks,
    pull_back.pull_back_samples,
    pull_back.pull_back_time_constants,
    traces.trace_samples,
    traces.adjoint_trace_samples,
]


# -- the formulas -------------------------------------------------------------------------


def cross_entropy(values, label):
    return NUMBERS.log(sum(NUMBERS.exp(value - values[label]) for value in values))


def cross_entropy_of(values, labels):
    return sum(cross_entropy(row, label) for row, label in zip(values, labels, strict=True))


def mean_cross_entropy(state, case, labels, loss):
    population, weighting = case.network.output.name, loss.readout.weighting
    if weighting == "input":
        return cross_entropy_of(input_weighted_mean(state, population), labels)
    return cross_entropy_of(weighted_mean(state, population, weighting), labels)


def peak_cross_entropy(state, case, labels, loss):
    return cross_entropy_of(REFERENCE.read_exact(state, readouts.Peak()), labels)


def averaged_cross_entropy(state, case, labels, loss):
    return sum(time_averaged_cross_entropy(state, case.network.output.name, labels))


def first_spike_cross_entropy(state, case, labels, loss):
    times = REFERENCE.read_exact(state, readouts.FirstSpike())
    total = cross_entropy_of(-times / loss.tau0, labels)
    for row, label in zip(times, labels, strict=True):
        total += loss.alpha * NUMBERS.expm1(row[label] / loss.tau1)
    return total


def time_invariant_mse(state, case, labels, loss):
    times = REFERENCE.read_exact(state, readouts.FirstSpike())
    return sum(
        (row[k] - row[label] - loss.delta) ** 2 / 2
        for row, label in zip(times, labels, strict=True)
        for k in range(len(row))
        if k != label
    )


def squared_error(values, targets):
    return sum(
        (value - target) ** 2 / 2
        for value, target in zip(values.ravel(), targets.ravel(), strict=True)
        if not np.isnan(target)
    )


def spike_time_mse(state, case, targets, loss):
    return squared_error(REFERENCE.read_exact(state, loss.readout), targets)


def voltage_mse(state, case, targets, loss):
    return squared_error(REFERENCE.read_exact(state, loss.readout), targets)


# -- the comparison -----------------------------------------------------------------------

VOLTAGE_LOSSES = {
    **{
        f"mean, {weighting}": (
            losses.CrossEntropy(readouts.Mean(weighting)),
            mean_cross_entropy,
        )
        for weighting in ("flat", "exponential", "linear", "sigmoid", "input")
    },
    "time-averaged": (losses.TimeAveragedCrossEntropy(), averaged_cross_entropy),
    "voltage MSE": (losses.VoltageMSE(readouts.Voltage(times=[5.3, 11.1, 17.9])), voltage_mse),
}
LI_LOSSES = {
    **VOLTAGE_LOSSES,
    "peak": (losses.CrossEntropy(readouts.Peak()), peak_cross_entropy),
}
LIF_LOSSES = {
    **VOLTAGE_LOSSES,
    "first spike": (
        losses.FirstSpikeCrossEntropy(tau0=2.0, tau1=9.0, alpha=0.1),
        first_spike_cross_entropy,
    ),
    "time-invariant": (losses.TimeInvariantMSE(1.5), time_invariant_mse),
    "spike times": (losses.SpikeTimeMSE(readouts.SpikeTimes(2)), spike_time_mse),
}


def busy_case(rng, kind, **fixed):
    """A random network with some spikes at every output, but not many."""
    while True:
        case = random_case(rng, kind, batch=BATCH, duration=20.0, **fixed)
        run = evsim.simulate(case.network, case.inputs, case.duration, EXACT)
        counts = run.spike_counts
        total = sum(c.sum() for name, c in counts.items() if name not in case.inputs)
        if not case.network.output.spiking:
            if 4 <= total <= 25:
                return case
        elif total <= 100 and (counts[case.network.output.name] > 0).all():
            return case


def labels_for(loss, case, rng):
    """Classes, or targets for losses that do not classify; none for spikes that are missing."""
    units = case.network.output.units
    if loss.classifies:
        return rng.integers(0, units, BATCH)
    if isinstance(loss, losses.VoltageMSE):
        targets = rng.normal(0, 0.5, (BATCH, units, len(loss.readout.times)))
        targets[0, 0, 0] = np.nan
        return targets
    run = evsim.simulate(case.network, case.inputs, case.duration, EXACT)
    found = run.read(loss.readout)
    return np.where(np.isfinite(found), rng.uniform(0, case.duration, found.shape), np.nan)


def compare(name, kind, chosen, seed, **fixed):
    """The relative error of the derivative along a direction."""
    loss, formula = chosen[name]
    rng = np.random.default_rng([seed, len(name)])
    for _ in range(5):
        case: Case = busy_case(rng, kind, **fixed)
        labels = labels_for(loss, case, rng)
        direction = random_direction(rng, case.network, case.inputs)
        try:
            expected = difference_along(
                case.network,
                case.inputs,
                case.duration,
                lambda state, case=case, labels=labels: formula(state, case, labels, loss) / BATCH,
                direction,
            )
        except PatternChangedError:
            continue
        found = evsim.gradient(case.network, case.inputs, labels, loss, case.duration, engine=EXACT)
        parts = []
        for (parameter, index), size in direction.items():
            values = (
                found.adjoint.input_times[parameter.removesuffix(".times")]
                if parameter.endswith(".times")
                else entries(found.parameters[parameter])
            )
            parts.append(values[index] * size)
        return abs(float(expected) - sum(parts)) / np.abs(parts).sum()
    raise AssertionError("spikes came and went in every network tried")


def in_turn(chosen, kinds, numbers):
    """Each loss with both kinds and both numbers, in the pairs that its neighbour has not."""
    return [
        (name, kinds[k], numbers[(k + place) % 2])
        for place, name in enumerate(chosen)
        for k in range(2)
    ]


BOTH_KINDS = "feedforward", "recurrent"


@pytest.mark.parametrize(("name", "kind", "ratio"), in_turn(LI_LOSSES, BOTH_KINDS, (2.0, 1.0)))
def test_losses_of_integrators(name, kind, ratio):
    tolerance = 1e-9 if name == "time-averaged" else 1e-12
    assert compare(name, kind, LI_LOSSES, 1, output="LI", ratio=ratio) <= tolerance


@pytest.mark.parametrize(
    ("name", "kind", "refractory"), in_turn(LIF_LOSSES, BOTH_KINDS, (0.0, 3.0))
)
def test_losses_of_spiking_outputs(name, kind, refractory):
    """Voltages that are reset: l_V- - l_V+ at each spike of an output."""
    tolerance = 1e-9 if name == "time-averaged" else 1e-12
    error = compare(name, kind, LIF_LOSSES, 2, output="LIF", ratio=4.0, refractory=refractory)
    assert error <= tolerance


# -- dropout, rate jumps and limits, engine against engine ---------------------------------


@pytest.mark.parametrize("kind", ["feedforward", "recurrent", "two populations, mutual"])
@pytest.mark.parametrize("output", ["LI", "LIF"])
def test_dropout_rate_jumps_and_limits(kind, output):
    rng = np.random.default_rng(3)
    for _ in range(3):
        case = busy_case(rng, kind, output=output)
        spiking = [p.name for p in case.network.populations if isinstance(p, evsim.LIF)]
        names = [p.name for p in case.network.populations if p.spiking]
        options = {
            "dropout": evsim.Dropout(dict.fromkeys(names, 0.3), seed=int(rng.integers(99))),
            "regularisers": [
                evsim.RateRegulariser(name, float(rng.uniform(0, 0.1)), 2.0) for name in spiking
            ],
        }
        loss = losses.CrossEntropy()
        labels = labels_for(loss, case, rng)
        plain = evsim.gradient(
            case.network, case.inputs, labels, loss, case.duration, engine=EXACT, **options
        )
        times = np.linspace(0, case.duration, 200)
        largest = max(np.abs(plain.lambda_V(name, times)).max() for name in spiking)
        options["lambda_limit"] = 0.3 * largest + 1e-12
        found, expected = (
            evsim.gradient(
                case.network, case.inputs, labels, loss, case.duration, engine=engine, **options
            )
            for engine in (EXACT, REFERENCE)
        )
        assert found.report.dropped == expected.report.dropped
        assert found.report.arrivals == expected.report.arrivals
        assert found.limited == expected.limited
        for name, values in expected.parameters.items():
            scale = np.abs(entries(values)).max(initial=0.0)
            difference = entries(found.parameters[name]) - entries(values)
            # A rest that all outputs share changes no softmax: its gradient cancels to nothing.
            assert np.abs(difference).max(initial=0.0) <= 1e-11 * scale + 1e-15
        for name in case.inputs:
            np.testing.assert_allclose(
                found.adjoint.input_times[name], expected.adjoint.input_times[name],
                rtol=1e-10, atol=1e-13,
            )  # fmt: skip


def test_dropout_drops_as_many_as_it_says_and_depends_on_the_key_alone():
    rng = np.random.default_rng(5)
    spikes = evsim.SpikeTrains.from_events(
        rng.uniform(0, 50, 8000), rng.integers(0, 40, 8000), np.repeat(np.arange(8), 1000),
        batch_size=8, unit_count=40,
    )  # fmt: skip
    network = evsim.Network(
        [evsim.Input("input", 40), evsim.LIF("hidden", 20), evsim.LI("output", 3)],
        [
            evsim.Connection("input", "hidden", evsim.Normal(0.2, 0.1)),
            evsim.Connection("hidden", "hidden", evsim.Normal(0.0, 0.1), 1.0),
            evsim.Connection("hidden", "output", evsim.Normal(0.0, 0.1)),
        ],
        seed=0,
    )
    keys = rng.integers(0, 2**63, 8).astype(np.uint64)
    dropout = evsim.Dropout({"input": 0.3, "hidden": 0.1}, keys=keys)
    together = evsim.simulate(network, spikes, 60.0, EXACT, dropout=dropout)
    hidden = int(together.spike_counts["hidden"].sum())
    expected = 0.3 * 8000 + 0.1 * hidden
    deviation = np.sqrt(0.21 * 8000 + 0.09 * hidden)
    assert abs(together.report.dropped - expected) < 4 * deviation
    assert (
        together.report.dropped
        != evsim.simulate(
            network, spikes, 60.0, EXACT, dropout=replace(dropout, keys=None, seed=1)
        ).report.dropped
    )
    for sample in (0, 5):
        alone = evsim.simulate(
            network, spikes[sample], 60.0, EXACT,
            dropout=evsim.Dropout(dropout.rates, keys=keys[sample : sample + 1]),
        )  # fmt: skip
        assert alone.spikes["hidden"] == together.spikes["hidden"][sample]


# -- compiled once ------------------------------------------------------------------------


@pytest.mark.parametrize("output", ["LI", "LIF"])
def test_no_kernel_is_compiled_a_second_time(output):
    """Whether an array is read-only, or how it lies in memory, is part of its type for numba."""
    case = random_case(np.random.default_rng(8), "recurrent", batch=BATCH, output=output)
    keys = np.arange(2 * BATCH, dtype=np.uint64)[::2]
    keys.setflags(write=False)
    dropout = evsim.Dropout({"left": 0.1}, keys=keys)
    times = [case.duration, 0.0, 1.0]
    targets = np.zeros((BATCH, 2, 3))
    labels = np.arange(BATCH) % 2
    weightings = "flat", "exponential", "linear", "sigmoid", "input"
    pairs = [(losses.CrossEntropy(readouts.Mean(w)), labels) for w in weightings]
    pairs += [
        (losses.TimeAveragedCrossEntropy(), labels),
        (losses.VoltageMSE(readouts.Voltage(times)), targets),
    ]
    if output == "LI":
        pairs.append((losses.CrossEntropy(readouts.Peak()), labels))
    else:
        pairs.append((losses.FirstSpikeCrossEntropy(), labels))
        pairs.append((losses.SpikeTimeMSE(readouts.SpikeTimes(count=3)), targets))
    for loss, own in pairs:
        found = evsim.gradient(
            case.network, case.inputs, own, loss, case.duration, engine=EXACT, dropout=dropout
        )
        assert found.report.arrivals > 0
        found.lambda_V("output", times)
        found.run.voltage("first", times)
    # For networks without recurrent units those that have them are compiled a second time.
    of_this_network = {
        kernel.__name__: [s for s in kernel.signatures if numba.types.none not in s]
        for kernel in ENTRY_POINTS
    }
    assert {name: len(found) for name, found in of_this_network.items()} == dict.fromkeys(
        of_this_network, 1
    )
