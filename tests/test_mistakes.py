"""Typical mistakes of users of other simulators, and the messages that they get."""

import inspect
import pickle
import re
import warnings
from dataclasses import asdict

import numpy as np
import pytest

import evsim
from evsim import losses, readouts
from evsim.arguments.named import Named
from evsim.engines import Grid
from evsim.tasks import sequence


def network(weight=9.0, connections=("input->hidden", "hidden->output")):
    return evsim.Network(
        [evsim.Input("input", 2), evsim.LIF("hidden", 3), evsim.LI("output", 3)],
        [evsim.Connection(*name.split("->"), weight) for name in connections],
    )


def spikes(*times):
    return evsim.SpikeTrains.from_lists([[(time, 0)] for time in times], units=2)


def fit(net=None, labels=(0, 1), loss=None, **options):
    data = (spikes(1.0, 2.0), labels)
    return evsim.fit(
        net or network(),
        data,
        loss or losses.CrossEntropy(),
        **{
            "duration": 20.0,
            "optimizers": {"weight": evsim.Adam(0.01)},
            "epochs": 1,
            "progress": False,
            **options,
        },
    )


# -- what arguments are called ------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: evsim.Adam(lr=0.1), "Adam has no argument 'lr': it is called 'learning_rate'"),
        (lambda: evsim.SGD(0.1, max_norm=1), "SGD has no argument 'max_norm': it is called 'clip'"),
        (lambda: evsim.LIF("a", 1, v_th=1.0), "LIF has no argument 'v_th': it is called 'thresh"),
        (lambda: evsim.LIF("a", 1, tau=9.0), "'tau': it is called 'tau_mem'$"),
        (lambda: evsim.LIF("a", 1, beta=0.9), "called 'tau_mem' .a time constant in ms, not a fac"),
        (lambda: evsim.LIF("a", 1, v_reset=0.0), "'v_reset': it is called 'reset'"),
        (lambda: evsim.LI("a", 1, threshold=1.0), "LI has no argument 'threshold': LI units never"),
        (lambda: evsim.LI("a", 1, v_th=1.0), "LI units never spike; for units that do, use LIF"),
        (lambda: evsim.Input(name="a", size=3), "Input has no argument 'size': it is called 'uni"),
        (lambda: evsim.Connection("a", "b", w=1.0), "'w': it is called 'weight'"),
        (lambda: evsim.Normal(0.0, std=1.0), "'std': it is called 'standard_deviation'"),
        (lambda: network().replace(parameters={}), r"Network.replace has no argument 'parameters'"),
        (lambda: evsim.simulate(network(), spikes(1.0), 9.0, dt=0.1), "no time step; for a grid"),
        (lambda: Grid(step=0.1), "Grid has no argument 'step': it is called 'dt'"),
        (lambda: fit(lr=0.1), "fit has no argument 'lr'; it has network, data"),
        (lambda: fit(regularizers=[]), "fit has no argument 'regularizers': it is called 'regul"),
        (lambda: fit(batchsize=3), "'batchsize': it is called 'batch_size'"),
        (lambda: fit(silent_left=3), "'silent_left'; did you mean 'silent_lift'"),
        (lambda: evsim.SpikeTrains.from_lists([[]], n=1), "from_lists has no argument 'n': it is"),
        (lambda: readouts.SpikeTimes(k=2), "SpikeTimes has no argument 'k': it is called 'count'"),
        (
            lambda: readouts.SampleTimes(np.zeros(1), offset=1),
            "SampleTimes has no argument 'offset'; did",
        ),
        (lambda: sequence.Settings(epoch=2), "Settings has no argument 'epoch': it is called 'ep"),
        (
            lambda: sequence.train(sequence.Settings(), epochs=3),
            r"train has no option 'epochs': it is a setting, Settings\(epochs=...\)",
        ),
        (lambda: sequence.train(sequence.Settings(), verbos=3), "train has no option 'verbos'"),
        (lambda: evsim.LIF("a"), r"LIF lacks units: give it, LIF\(name, units, tau_mem=..., "),
        (lambda: evsim.simulate(), "simulate lacks network, spikes, duration: give them"),
        (
            lambda: evsim.simulate(network(), spikes(1.0), 9.0, "exact", "dropout"),
            "simulate has no place for 'dropout': .* by name it takes dropout",
        ),
        (lambda: evsim.Input("a", 1, name="b"), "Input is given name twice, by its place and by"),
    ],
)
def test_a_wrong_name_of_an_argument_is_answered_with_the_right_one(call, message):
    with pytest.raises(TypeError, match=message) as refusal:
        call()
    assert refusal.value.__cause__ is None
    assert refusal.value.__context__ is None


def test_signatures_and_words_stay_as_they_are():
    assert list(inspect.signature(evsim.Adam).parameters)[:2] == ["learning_rate", "beta1"]
    parameters = list(inspect.signature(evsim.SpikeTrains.from_lists).parameters)
    assert parameters == ["samples", "units", "unit"]
    assert inspect.getdoc(evsim.simulate).startswith("Run a network on a batch of input spikes.")
    assert pickle.loads(pickle.dumps(evsim.simulate)) is evsim.simulate  # noqa: S301


def test_errors_from_within_a_call_are_left_alone():
    def predict(state):
        len(3)

    with pytest.raises(TypeError, match=r"object of type 'int' has no len\(\)"):
        fit(callbacks=[predict])


# -- names that are looked up -------------------------------------------------------------


@pytest.mark.parametrize(
    ("look", "message"),
    [
        (lambda run: run.spikes["hiden"], "there is no population 'hiden'; did you mean 'hidden'?"),
        (lambda run: run.spike_counts["x"], "there is no population 'x'; there are input, hidden"),
        (lambda run: run.inputs["imput"], "there is no input 'imput'; did you mean 'input'?"),
        (
            lambda run: run.network.parameters["hidden.tau"],
            "there is no parameter 'hidden.tau'; did you mean 'hidden.tau_syn'?",
        ),
        (lambda run: run.network.population("hiden"), "did you mean 'hidden'?"),
        (lambda run: run.read(readouts.Mean("expo")), "weighting = 'expo': choose one of flat"),
    ],
)
def test_a_name_that_is_not_there_is_answered_with_the_nearest(look, message):
    run = evsim.simulate(network(), spikes(1.0), 20.0)
    with pytest.raises(ValueError, match=re.escape(message)):
        look(run)


def test_a_mapping_by_name_is_a_mapping():
    run = evsim.simulate(network(), spikes(1.0), 20.0)
    assert "hiden" not in run.spikes
    assert run.spikes.get("hiden") is None
    with pytest.raises(KeyError):
        run.spikes["hiden"]
    with pytest.raises(TypeError, match="the mapping by population is read-only"):
        run.spikes["hidden"] = None
    again = pickle.loads(pickle.dumps(run.spike_counts))  # noqa: S301
    assert isinstance(again, Named)
    assert again["hidden"].tolist() == run.spike_counts["hidden"].tolist()


# -- spikes in other forms ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([(0.0, 0)], r"samples\[0\] = \(0.0, 0\) is one spike, .*, such as \[\[\(1.5, 0\), "),
        ({0: [1.0]}, "samples = {0: .*: give a list of .time, unit. pairs for each sample"),
        ([{0: [1.0]}], r"samples\[0\] = .*: a mapping; give \(time, unit\) pairs, \[\(time, unit"),
        ([[], [(1.0, 0, 2)]], r"samples\[1\]\[0\] = \(1.0, 0, 2\) has 3 entries: give a \(time, u"),
        ([[(0, 1.5), (1, 2.0)]], r"\[0\]\[0\] = \(0, 1.5\): .* time and unit seem to be exchanged"),
        ([[(1.0, 1.0)]], r"samples\[0\]\[0\] = \(1.0, 1.0\): the unit must be an integer$"),
        ([[(1.0, 0)], [(2.0, 0), (3.0, 7)]], r"samples\[1\]\[1\] = \(3.0, 7\): .* units 0 to 1"),
        ([[1.0, 2.0]], r"samples\[0\]\[0\] = 1.0: give a \(time, unit\) pair"),
        ([[("1", 0)]], r"samples\[0\]\[0\] = \('1', 0\): the time must be a number, in ms"),
    ],
)
def test_spikes_in_another_form_are_answered_with_the_right_one(samples, message):
    with pytest.raises((TypeError, ValueError), match=message):
        evsim.SpikeTrains.from_lists(samples, units=2)


# -- errors that name the right place -----------------------------------------------------


def test_validation_is_named_as_such():
    with pytest.raises(ValueError, match=r"^validation data: labels\[1\] = 7: with 3 output units"):
        fit(validation=(spikes(1.0, 2.0), [0, 7]))
    with pytest.raises(ValueError, match=r"^labels\[1\] = 7: with 3 output units"):
        fit(labels=[0, 7])


def test_integer_targets_are_targets_to_all():
    """``fit`` once refused those that ``gradient`` takes."""
    net = evsim.Network(
        [evsim.Input("input", 2), evsim.LIF("output", 2)],
        [evsim.Connection("input", "output", 9.0)],
    )
    loss = losses.SpikeTimeMSE()
    of_integers, of_floats = (
        fit(net, np.full((2, 2), 4, kind), loss).history[0].loss for kind in (int, float)
    )
    direct = evsim.gradient(net, spikes(1.0, 2.0), np.full((2, 2), 4), loss, 20.0).loss
    assert of_integers == of_floats == direct
    for labels in (np.full((2, 2), 20.1), np.array([[1.0, 2.0], [np.nan, 20.1]])):
        index = np.argwhere(labels > 20)[0].tolist()
        message = rf"^labels\[{index[0]}, {index[1]}, 0\] = 20.1 ms: no spike is after the end"
        with pytest.raises(ValueError, match=message):
            fit(net, labels, loss)
        with pytest.raises(ValueError, match=message):
            evsim.gradient(net, spikes(1.0, 2.0), labels, loss, 20.0)
        with pytest.raises(ValueError, match=message):
            evsim.evaluate(net, (spikes(1.0, 2.0), labels), loss, 20.0)
    evsim.gradient(net, spikes(1.0, 2.0), np.full((2, 2), 20.0), loss, 20.0)


def test_a_run_folder_is_a_folder(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(ValueError, match=r"run_folder = .*file is a file, name a folder"):
            fit(run_folder=folder)
    with pytest.raises(ValueError, match="run_folder = '': give the path of a folder"):
        fit(run_folder="")


def test_callbacks_cannot_change_what_is_stored(tmp_path):
    def meddle(state):
        for changed in (state.record.silent_units, state.record.learning_rates):
            with pytest.raises(TypeError, match="read-only"):
                changed["hidden"] = 99
            with pytest.raises(TypeError, match="read-only"):
                changed.clear()
        with pytest.raises(ValueError, match="read-only"):
            state.network.parameters["input->hidden.weight"][...] = 0.0

    plain = fit(epochs=2)
    watched = fit(epochs=2, callbacks=[meddle], run_folder=tmp_path / "run")
    for ours, theirs in zip(plain.history, watched.history, strict=True):
        assert {**asdict(ours), "seconds": 0} == {**asdict(theirs), "seconds": 0}
    for name, value in plain.network.parameters.items():
        np.testing.assert_array_equal(value, watched.network.parameters[name])


# -- what keeps a network silent ----------------------------------------------------------


def said(call):
    """The warnings of silence that a call brings, and where they are shown."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    assert all(each.category is evsim.SilentNetworkWarning for each in caught)
    assert all(each.filename == __file__ for each in caught)
    return [str(each.message) for each in caught]


def callers(net, trains):
    loss, labels = losses.CrossEntropy(), np.zeros(len(trains), int)
    yield lambda: evsim.simulate(net, trains, 20.0)
    yield lambda: evsim.gradient(net, trains, labels, loss, 20.0)
    yield lambda: evsim.evaluate(net, (trains, labels), loss, 20.0, batch_size=1)
    yield lambda: evsim.predict(net, trains, loss, 20.0, batch_size=1)
    optimizers = {"input->hidden.weight": evsim.Adam(0.01)}
    yield lambda: evsim.fit(
        net, (trains, labels), loss, duration=20.0, optimizers=optimizers, epochs=2,
        batch_size=1, progress=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("connections", "times", "message"),
    [
        (["input->hidden"], [1.0, 2.0], "no connection leads to 'output', so nothing happens"),
        (
            ["input->hidden", "second->output", "second->second"],
            [1.0, 2.0],
            "no path of connections leads from an input to 'output'",
        ),
        (
            ["input->hidden", "hidden->output"],
            [20.5, 30.0],
            "no input spike comes before the end of the trial at 20 ms, so nothing happens",
        ),
    ],
)
def test_what_nothing_reaches_is_said_once_by_every_call(connections, times, message):
    populations = [evsim.Input("input", 2), evsim.LIF("hidden", 3)]
    if "second->output" in connections:
        populations.append(evsim.LIF("second", 2))
    net = evsim.Network(
        [*populations, evsim.LI("output", 3)],
        [evsim.Connection(*name.split("->"), 9.0) for name in connections],
    )
    for call in callers(net, spikes(*times)):
        told = said(call)
        assert sum(message in each for each in told) == 1, told


def test_a_silent_hidden_layer_is_said_by_gradient_in_the_words_of_fit(capsys):
    net, labels = network(0.01), np.zeros(1, int)
    message = "no unit of 'hidden' spiked for any sample, so nothing behind it learns; raise the"
    call = [*callers(net, spikes(1.0))][1]
    assert [each[: len(message)] for each in said(call)] == [message]
    fit(net, progress=True)
    assert message in capsys.readouterr().err
    silent = evsim.SpikeTrains.from_lists([[]], units=2)
    assert not said(lambda: evsim.gradient(net, silent, labels, losses.CrossEntropy(), 20.0))
    assert not any(map(said, callers(network(), spikes(1.0, 30.0))))


def test_python_shows_what_a_loop_says_once():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for time in (21.0, 22.0, 23.0):
            evsim.simulate(network(), spikes(time), 20.0)
    assert len(caught) == 1


# -- times in seconds ---------------------------------------------------------------------


def seconds_said(call):
    """The warnings of units of time that a call brings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    found = [each for each in caught if each.category is evsim.TimeUnitWarning]
    assert all(each.filename == __file__ for each in found)
    return [str(each.message) for each in found]


def test_spikes_in_seconds_are_said_once_by_every_call():
    message = (
        "seconds? all input spikes come within 0.019 ms, less than a thousandth of the trial of "
        "20 ms; give times in ms, or say unit='s' where the SpikeTrains are made"
    )
    for call in callers(network(), spikes(*np.linspace(0.001, 0.019, 10))):
        assert seconds_said(call) == [message]


def test_a_trial_in_seconds_is_said_once():
    silent = evsim.SpikeTrains.from_lists([[]], units=2)
    for inputs in (spikes(0.004, 0.019), silent):
        assert seconds_said(lambda inputs=inputs: evsim.simulate(network(), inputs, 0.02)) == [
            "seconds? a trial of duration = 0.02 ms is short for time constants of at least 20 ms "
            "(tau_mem) and 5 ms (tau_syn); evsim has all times in ms"
        ]


@pytest.mark.parametrize(
    ("duration", "tau_mem", "tau_syn", "asked"),
    [
        # As people write trials of seconds beside usual time constants in ms.
        *((duration, 20.0, 5.0, True) for duration in (0.1, 0.5, 1.0, 1.4, 2.0)),
        *((duration, 10.0, 2.0, True) for duration in (0.1, 0.5, 1.0, 1.4, 2.0)),
        (1.0, 5.0, 1.0, True),
        # Trials of ms.
        (2.0, 0.5, 0.5, False),
        (2.0, 2.0, 0.5, False),
        (0.9, 0.3, 0.3, False),
        (2.5, 20.0, 5.0, False),
        # Units that hardly leak are as fast as their synapses.
        (2.0, 1e6, 1.0, False),
        (1.0, 1e6, 0.5, False),
    ],
)
def test_a_trial_is_short_by_both_time_constants(duration, tau_mem, tau_syn, asked):
    given = {
        f"{population}.{name}": value
        for population in ("hidden", "output")
        for name, value in (("tau_mem", tau_mem), ("tau_syn", tau_syn))
    }
    inputs = spikes(*np.linspace(0.0, duration, 12))  # spread over the trial in any unit
    changed = network().replace(given)
    told = seconds_said(lambda: evsim.simulate(changed, inputs, duration, "reference"))
    assert len(told) == asked, told


@pytest.mark.parametrize(
    "times", [[0.0] * 10, [0.01] * 20, [0.001] * 8 + [0.01], [0.0] * 9 + [0.021]]
)
def test_few_spikes_one_time_and_spikes_in_ms_are_no_reason_to_ask(times):
    for call in callers(network(), spikes(*times)):
        assert not seconds_said(call)
    fast = network().replace({"hidden.tau_mem": 0.3, "output.tau_mem": 0.3})
    assert not seconds_said(lambda: evsim.simulate(fast, spikes(*times), 0.9))
