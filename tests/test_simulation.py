"""Arguments that simulate and gradient refuse before any engine runs."""

import numpy as np
import pytest

import evsim
from evsim import SpikeTrains, losses, readouts
from evsim.engines import Engine


class NeverRuns(Engine):
    """An engine that fails the test as soon as one of its methods is called."""

    def _fail(self, *arguments):
        raise AssertionError("an engine was asked to work on bad input")

    simulate = spikes = report = read_mean = read_peak = read_spike_times = _fail
    states_at = event_times = pull_back_sources = traces = adjoint_traces = _fail


def network_with(output, inputs=1):
    names = ["input", "second"][:inputs]
    return evsim.Network(
        [*(evsim.Input(name, 2) for name in names), output],
        [evsim.Connection(name, "output", 1.0) for name in names],
    )


VOLTAGES = network_with(evsim.LI("output", 3))
SPIKES = network_with(evsim.LIF("output", 3))
TWO_INPUTS = network_with(evsim.LI("output", 3), inputs=2)
CROSS_ENTROPY = losses.CrossEntropy()
TRAINS = SpikeTrains.from_lists([[(1.0, 0)], [(2.0, 1)]], units=2)


def simulate(network=VOLTAGES, spikes=TRAINS, duration=10.0):
    return evsim.simulate(network, spikes, duration, engine=NeverRuns())


def gradient(network=VOLTAGES, labels=(0, 2), loss=CROSS_ENTROPY, spikes=TRAINS, **others):
    return evsim.gradient(network, spikes, labels, loss, 10.0, engine=NeverRuns(), **others)


@pytest.mark.parametrize("duration", [0.0, -1.0, np.nan, np.inf])
def test_durations_are_finite_and_positive(duration):
    with pytest.raises(ValueError, match=rf"duration = {duration} ms: it must be finite and > 0"):
        simulate(duration=duration)


@pytest.mark.parametrize("duration", ["10", None, True, [10.0]])
def test_durations_are_numbers(duration):
    with pytest.raises(TypeError, match=r"duration = .*: it must be a time in ms"):
        simulate(duration=duration)


def test_inputs_get_spike_trains_of_their_size():
    with pytest.raises(TypeError, match=r"spikes is of type list: give SpikeTrains, for example"):
        simulate(spikes=[[(1.0, 0)]])
    with pytest.raises(TypeError, match="spikes of 'input' are of type list: give SpikeTrains"):
        simulate(spikes={"input": [[(1.0, 0)]]})
    wide = SpikeTrains.from_lists([[]], units=5)
    with pytest.raises(ValueError, match="'input' has 2 units but its spike trains have 5"):
        simulate(spikes=wide)


def test_every_input_gets_spikes_and_nothing_else_does():
    with pytest.raises(ValueError, match="the inputs input, second: give a mapping"):
        simulate(TWO_INPUTS)
    with pytest.raises(ValueError, match="no spikes are given for the input 'second'"):
        simulate(TWO_INPUTS, {"input": TRAINS})
    with pytest.raises(ValueError, match="no input 'inputs'; did you mean 'input'"):
        simulate(TWO_INPUTS, {"inputs": TRAINS})
    with pytest.raises(ValueError, match="no input 'output'"):
        simulate(VOLTAGES, {"input": TRAINS, "output": TRAINS})
    with pytest.raises(
        ValueError, match=r"differ in their number of samples: {'input': 2, 'second': 1}"
    ):
        simulate(TWO_INPUTS, {"input": TRAINS, "second": TRAINS[0]})
    with pytest.raises(ValueError, match="the network has no Input population"):
        simulate(evsim.Network([evsim.LI("output", 2)], []))


def test_labels_must_fit_the_output():
    with pytest.raises(ValueError, match=r"labels\[1\] = 3: with 3 output units labels are 0 to 2"):
        gradient(labels=[0, 3])
    with pytest.raises(ValueError, match=r"labels has shape \(1,\): give one per sample, shape"):
        gradient(labels=[0])
    with pytest.raises(ValueError, match="the batch is empty"):
        gradient(labels=[], spikes=TRAINS[:0])


def test_losses_look_at_units_that_have_what_they_read():
    with pytest.raises(ValueError, match="FirstSpike reads spike times of LIF units, but 'output'"):
        gradient(VOLTAGES, loss=losses.TimeInvariantMSE())
    with pytest.raises(ValueError, match="Peak reads voltages of LI units, but 'output' has LIF"):
        gradient(SPIKES, loss=losses.CrossEntropy(readouts.Peak()))
    for readout, message in [
        (
            readouts.Mean(population="input"),
            "Mean reads voltages, but 'input' is an input",
        ),
        (
            readouts.Peak(population="hidden"),
            "no population 'hidden'; there are input, output",
        ),
        (readouts.Peak(population=""), "no population ''"),
    ]:
        with pytest.raises(ValueError, match=message):
            gradient(loss=losses.CrossEntropy(readout))
    with pytest.raises(TypeError, match=r"loss = .*: it must be a Loss such as"):
        gradient(loss="cross-entropy")


def test_gradients_are_asked_for_by_known_names():
    with pytest.raises(ValueError, match=r"no parameter 'input->output\.weigth'; did you mean"):
        gradient(wrt=["input->output.weigth"])
    with pytest.raises(TypeError, match=r"give a list of names, \['input->output\.weight'\]"):
        gradient(wrt="input->output.weight")


def test_adjustments_must_fit_the_network():
    rate = evsim.RateRegulariser
    for regularisers, message in [
        ([rate("hidden", 1.0)], "no population 'hidden'"),
        ([rate("output", 1.0)], "the rate regulariser names 'output', which is no LIF"),
    ]:
        with pytest.raises(ValueError, match=message):
            gradient(regularisers=regularisers)
    first_spikes = losses.TimeInvariantMSE()
    with pytest.raises(ValueError, match="two rate regularisers name 'output': give one"):
        gradient(SPIKES, loss=first_spikes, regularisers=[rate("output", 1.0)] * 2)
    with pytest.raises(TypeError, match="regularisers is one regulariser: give a list of them"):
        gradient(SPIKES, loss=first_spikes, regularisers=rate("output", 1.0))
    for limit in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match=r"lambda_limit = .*: it must be > 0"):
            gradient(lambda_limit=limit)
    with pytest.raises(ValueError, match=r"strength = -1\.0: it must be finite and >= 0"):
        rate("output", -1.0)
    with pytest.raises(ValueError, match="target = nan: it must be finite and >= 0"):
        rate("output", 1.0, np.nan)


def test_what_can_be_gone_through_once_is_not_lost():
    names = "input->output.weight", "output.tau_mem"
    loss = losses.FirstSpikeCrossEntropy()

    def given(wrap):
        regularisers = wrap([evsim.RateRegulariser("output", 1.0)])
        return evsim.gradient(
            SPIKES.replace({"input->output.weight": 5.0}), TRAINS, [0, 2], loss, 10.0,
            wrt=wrap(names), regularisers=regularisers, engine="reference",
        ).parameters  # fmt: skip

    assert tuple(given(iter)) == names
    assert given(iter) == given(list)


class Returns(losses.Loss):
    """A loss that returns the arrays of the test."""

    readout = readouts.Mean()

    def __init__(self, loss, derivative):
        self.pair = loss, derivative

    def __call__(self, values, labels, duration):
        return self.pair


@pytest.mark.parametrize(
    ("loss", "derivative", "message"),
    [
        (np.ones(2), np.ones(3), r"the derivative of Returns .* shape \(3,\): .* \(2, 3\)"),
        (np.ones(2), np.ones((2, 1)), r"the derivative of Returns .* shape \(2, 1\)"),
        (np.ones(2), [[1.0] * 3] * 2, "the derivative of Returns are of type list"),
        (np.ones((2, 3)), np.ones((2, 3)), r"the losses of Returns .* shape \(2, 3\): .* \(2,\)"),
        (np.float64(1.0), np.ones((2, 3)), "the losses of Returns are of type float64"),
    ],
)
def test_losses_of_the_wrong_shape_are_not_broadcast(loss, derivative, message):
    own = Returns(loss, derivative)
    with pytest.raises(ValueError, match=message):
        evsim.gradient(VOLTAGES, TRAINS, [0, 2], own, 10.0, engine="reference")
    with pytest.raises(ValueError, match=message):
        evsim.evaluate(VOLTAGES, (TRAINS, [0, 2]), own, 10.0, engine="reference")


def test_dropout_must_fit_the_network():
    for rates, message in [
        ({"hidden": 0.1}, "dropout: there is no population 'hidden'"),
        ({"output": 0.1}, "dropout names 'output', whose LI units never spike"),
    ]:
        with pytest.raises(ValueError, match=message):
            gradient(dropout=evsim.Dropout(rates))
    with pytest.raises(TypeError, match=r"dropout = {.*}: give evsim\.Dropout"):
        gradient(dropout={"input": 0.1})
    with pytest.raises(ValueError, match="dropout has 3 keys: give one per sample, 2"):
        gradient(dropout=evsim.Dropout({"input": 0.1}, keys=[np.uint64(key) for key in range(3)]))
    for rate in (1.0, -0.1, np.nan):
        with pytest.raises(
            ValueError, match=rf"dropout of 'input' = {rate}: it must be in \[0, 1\)"
        ):
            evsim.Dropout({"input": rate})


def test_engines_are_known():
    with pytest.raises(ValueError, match="there is no engine 'fast'; there are exact, reference"):
        evsim.simulate(VOLTAGES, TRAINS, 10.0, engine="fast")


def test_readouts_know_their_weightings():
    with pytest.raises(ValueError, match="weighting = 'square': choose one of flat, exponential"):
        readouts.Mean("square")


class GivesNothing(NeverRuns):
    """An engine that runs without a result, for tests of what a run refuses."""

    def simulate(self, network, inputs, duration, dropout=None):
        return None


def test_runs_refuse_what_units_do_not_have():
    run = evsim.simulate(VOLTAGES, TRAINS, 10.0, engine=GivesNothing())
    with pytest.raises(ValueError, match="FirstSpike reads spike times of LIF units"):
        run.first_spike("output")
    with pytest.raises(ValueError, match="'input' is an input: its units have no voltage"):
        run.voltage("input", [1.0])
    with pytest.raises(ValueError, match="no population 'hidden'"):
        run.silent_units("hidden")


TIMES, OFFSETS = np.array([1.0, 5.0, 2.0]), np.array([0, 2, 3])


@pytest.mark.parametrize(
    ("times", "offsets", "error", "message"),
    [
        (
            TIMES,
            np.array([0, 3, 3]),
            ValueError,
            r"moment 2, of sample 0, is at 2\.0 ms: .* ascend",
        ),
        (TIMES + 6, OFFSETS, ValueError, r"moment 1, of sample 0, is at 11\.0 ms: .* 0 to 10 ms"),
        (TIMES - 3, OFFSETS, ValueError, r"moment 0, of sample 0, is at -2\.0 ms"),
        (TIMES * np.nan, OFFSETS, ValueError, r"moment 0, of sample 0, is at nan ms"),
        (TIMES, np.array([0, 3]), ValueError, r"in 3 entries, .* found \[0 3\]"),
        (TIMES, np.array([0, 2, 9]), ValueError, r"must rise from 0 to 3, .* found \[0 2 9\]"),
        (TIMES, np.array([0, 4, 3]), ValueError, r"must rise from 0 to 3, .* found \[0 4 3\]"),
        (TIMES.astype(int), OFFSETS, TypeError, "times of moments must be .* array of float64"),
        (TIMES, OFFSETS.tolist(), TypeError, "offsets of moments must be .* array of int64"),
    ],
)
def test_moments_fit_the_batch(times, offsets, error, message):
    run = evsim.simulate(VOLTAGES, TRAINS, 10.0, engine=GivesNothing())
    moments = readouts.SampleTimes(times, offsets)
    with pytest.raises(error, match=message):
        run.states_at("output", moments)
    with pytest.raises(error, match=message):
        run.read(readouts.VoltageAt(moments))


def test_inputs_have_neither_moments_nor_kinks():
    run = evsim.simulate(VOLTAGES, TRAINS, 10.0, engine=GivesNothing())
    with pytest.raises(ValueError, match="'input' is an input: its units have no voltage"):
        run.states_at("input", readouts.SampleTimes(TIMES, OFFSETS))
    with pytest.raises(ValueError, match="'input' is an input: its units have no voltage"):
        run.event_times("input")
    with pytest.raises(TypeError, match="moments = .*: give evsim.readouts.SampleTimes"):
        run.read(readouts.VoltageAt((TIMES, OFFSETS)))


def test_readouts_are_equal_if_all_their_settings_are():
    one, other = readouts.Voltage([1.0, 2.0]), readouts.Voltage(np.array([1, 2]))
    assert one == other
    assert hash(one) == hash(other)
    assert one != readouts.Voltage([1.0, 3.0])
    assert one != readouts.Voltage([1.0, 2.0], population="hidden")
    assert losses.VoltageMSE(one) != losses.VoltageMSE(readouts.Voltage([2.0]))


@pytest.mark.parametrize("time", [-0.1, 10.1, np.nan])
def test_traces_exist_within_the_trial(time):
    run = evsim.simulate(VOLTAGES, TRAINS, 10.0, engine=GivesNothing())
    with pytest.raises(ValueError, match=rf"times\[1\] = {time} ms: traces exist within .* 10 ms"):
        run.current("output", [1.0, time])
    with pytest.raises(TypeError, match=r"shape \(\): give a one-dimensional array"):
        run.voltage("output", 1.0)


@pytest.mark.parametrize("engine", ["exact", "reference", "grid"])
@pytest.mark.parametrize("kind", ["tau_mem", "tau_syn"])
@pytest.mark.parametrize("value", [1e-160, 1e-300, 1e160])
def test_time_constants_beyond_any_gradient_are_refused_before_anything_runs(engine, kind, value):
    network = evsim.Network(
        [evsim.Input("input", 1), evsim.LI("output", 2, tau_syn=[5.0, 6.0], tau_mem=[20.0, 8.0])],
        [evsim.Connection("input", "output", 1.0)],
    )
    taus = network.parameters[f"output.{kind}"].copy()
    taus[1] = value
    network = network.replace({f"output.{kind}": taus})
    spikes = evsim.SpikeTrains.from_lists([[(1.0, 0)]], units=1)
    loss = losses.VoltageMSE(readouts.Voltage([5.0]))
    rule = "the gradient with respect to a time constant is known from"
    message = rf"^output\.{kind}\[1\] = {value:g} ms: {rule}"
    with pytest.raises(ValueError, match=message.replace("e+", r"e\+")):
        evsim.gradient(network, spikes, [[[0.1], [0.2]]], loss, 10.0, engine=engine)
    names = ["input->output.weight"]
    found = evsim.gradient(network, spikes, [[[0.1], [0.2]]], loss, 10.0, wrt=names, engine=engine)
    assert np.isfinite(found.parameters["input->output.weight"]).all()


@pytest.mark.parametrize("engine", ["exact", "grid"])
@pytest.mark.parametrize("tau_mem", [1e-149, 1e-20, 20.0, 1e149])
@pytest.mark.parametrize("tau_syn", [1e-149, 1e-20, 20.0, 1e149])
def test_gradients_by_time_constants_up_to_there_are_numbers(engine, tau_mem, tau_syn):
    network = evsim.Network(
        [evsim.Input("input", 1), evsim.LI("output", 1, tau_mem=tau_mem, tau_syn=tau_syn)],
        [evsim.Connection("input", "output", 1.0)],
    )
    spikes = evsim.SpikeTrains.from_lists([[(1.0, 0), (2.0, 0)]], units=1)
    for readout in (readouts.Mean(), readouts.Mean("linear"), readouts.Peak()):
        loss = losses.CrossEntropy(readout)
        found = evsim.gradient(network, spikes, [0], loss, 10.0, engine=engine)
        assert all(np.isfinite(values).all() for values in found.parameters.values())
