import io
import json
import os
import re
import time
from dataclasses import dataclass, replace

import numpy as np
import pytest
from rich.console import Console
from training_runs import (
    DURATION,
    ENGINE,
    SAMPLES,
    KilledError,
    Spy,
    bits,
    raise_after,
    small_data,
    small_network,
    train,
)

import evsim
from evsim import storage
from evsim.engines import resolve
from evsim.losses import CrossEntropy, FirstSpikeCrossEntropy, Loss
from evsim.readouts import Mean, Peak, Readout
from evsim.training import EpochRecord, evaluate
from evsim.training.progress import Bar, Lines


@pytest.fixture(scope="module")
def uninterrupted():
    return train()


# Steps too short to change any bit.
STANDSTILL = {"optimizers": {"weight": evsim.SGD(1e-300)}, "delay_max": np.inf, "silent_lift": 0.0}


# -- learning -----------------------------------------------------------------------------


def test_two_delays_learn_to_detect_a_sequence():
    # Mészáros, Knight, Nowotny (delay learning), section 2.1: all delays start on the wrong
    # inputs, the worst case, and six presentations per sample are enough.
    network = evsim.Network(
        [evsim.Input("input", 2), evsim.LI("output", 2, tau_mem=10.0, tau_syn=5.0)],
        [evsim.Connection("input", "output", np.ones((2, 2)), [[0.0, 10.0], [10.0, 0.0]])],
    )
    spikes = evsim.SpikeTrains.from_lists([[(0.0, 0), (10.0, 1)], [(10.0, 0), (0.0, 1)]], units=2)
    loss = CrossEntropy(Peak())
    before = evaluate(network, (spikes, [0, 1]), loss, DURATION, engine=ENGINE)
    assert before.accuracy == 0.0
    result = evsim.fit(
        network, (spikes, [0, 1]), loss, duration=DURATION,
        optimizers={"delay": evsim.Adam(1.0)}, epochs=6, batch_size=1, engine=ENGINE,
        progress=False,
    )  # fmt: skip
    losses = [record.loss for record in result.history]
    assert losses == sorted(losses, reverse=True)
    after = evaluate(result.last_network, (spikes, [0, 1]), loss, DURATION, engine=ENGINE)
    assert after.accuracy == 1.0
    assert after.loss < 0.9 * before.loss
    assert np.array_equal(result.network.parameters["input->output.weight"], np.ones((2, 2)))


def test_an_epoch_is_a_step_per_batch_and_the_last_batch_is_its_own_mean():
    network, data, rate = small_network(), small_data(3), 0.05
    loss, names = CrossEntropy(Mean()), ["hidden->output.weight"]

    def descend(*batches):
        current = network
        for batch in batches:
            part = data[np.array(batch)]
            slope = evsim.gradient(
                current, part.spikes, part.labels, loss, DURATION, wrt=names, engine=ENGINE
            )
            step = rate * slope.parameters[names[0]]
            current = current.replace({names[0]: current.parameters[names[0]] - step})
        return current.parameters[names[0]]

    result = evsim.fit(
        network, data, loss, duration=DURATION, optimizers={"weight": evsim.SGD(rate)}
        | dict.fromkeys(["input->hidden.weight", "hidden->hidden.weight"]),
        epochs=1, batch_size=2, engine=ENGINE, progress=False,
    )  # fmt: skip
    found = result.last_network.parameters[names[0]]
    possible = [descend([0, 1], [2]), descend([0, 2], [1]), descend([1, 2], [0])]
    fits = [np.allclose(found, expected, rtol=1e-12, atol=1e-14) for expected in possible]
    assert sum(fits) == 1


def test_gradients_are_asked_for_trained_parameters_only_and_the_others_stay():
    spy = Spy(resolve(ENGINE))
    optimizers = {"input->hidden.delay": evsim.SGD(20.0)}
    result = train(engine=spy, epochs=1, optimizers=optimizers, silent_lift=0.0)
    assert spy.asked == [("input->hidden.delay",)] * 3
    for name, value in storage.network_arrays(small_network()).items():
        found = storage.network_arrays(result.last_network)[name]
        assert np.array_equal(found, value) == (name != "input->hidden.delay.data")


def test_the_seed_decides_the_run(uninterrupted):
    assert bits(train()) == bits(uninterrupted)
    assert bits(train(seed=4)) != bits(uninterrupted)


@pytest.mark.parametrize("seed", [3, 4])  # a tie in accuracy; the best accuracy at a high loss
def test_the_best_epoch_is_kept_and_history_tells_what_evaluate_finds(seed):
    networks = []
    result = train(epochs=6, seed=seed, callbacks=[lambda state: networks.append(state.network)])
    found = [
        evaluate(network, small_data(7, seed=1), CrossEntropy(Mean("exponential")), DURATION,
                 engine=ENGINE, batch_size=2)
        for network in networks
    ]  # fmt: skip
    for record, outcome in zip(result.history, found, strict=True):
        assert (record.validation_loss, record.validation_accuracy) == (
            outcome.loss,
            outcome.accuracy,
        )
    merits = [(outcome.accuracy, -outcome.loss) for outcome in found]
    assert result.best_epoch == 1 + merits.index(max(merits))
    assert 1 < result.best_epoch < 6  # else the choice could not be told from the ends
    assert result.network is networks[result.best_epoch - 1]
    assert result.last_network is networks[-1]
    without = train(epochs=6, seed=seed, validation=None)
    losses = [record.loss for record in without.history]
    assert without.best_epoch == 1 + losses.index(min(losses))


def test_among_equal_epochs_the_first_is_the_best():
    assert train(epochs=3, **STANDSTILL).best_epoch == 1
    assert train(epochs=3, validation=None, **STANDSTILL).best_epoch == 1


def test_the_record_counts_what_a_simulation_shows():
    duration = 20.0  # short enough for some arrivals to come too late
    (record,) = train(epochs=1, validation=None, duration=duration, **STANDSTILL).history
    run = evsim.simulate(small_network(), small_data().spikes, duration, engine=ENGINE)
    assert run.report.arrivals_after_end > 0
    values = run.read(Mean("exponential"))
    assert record.spikes_per_sample == {"hidden": run.spikes["hidden"].times.size / SAMPLES}
    assert record.silent_units == {"hidden": 1}
    assert record.smallest_drive == run.report.smallest_drive
    assert record.arrivals == run.report.arrivals
    assert record.arrivals_after_end == run.report.arrivals_after_end
    assert record.accuracy == np.mean(np.argmax(values, axis=1) == small_data().labels)


# -- silent units -------------------------------------------------------------------------


def test_a_population_that_falls_silent_is_told_of_once(capsys):
    network = small_network()
    names = [f"{c.name}.weight" for c in network.connections if c.target == "hidden"]
    quiet = network.replace({name: 0 * network.parameters[name] for name in names})
    result = train(network=quiet, epochs=3, progress=True, silent_lift=0.0)
    told = [line for line in capsys.readouterr().err.splitlines() if "no unit of" in line]
    assert len(told) == 1
    assert told[0].startswith("epoch 1: no unit of 'hidden' spiked for any sample")
    assert repr(result).startswith("FitResult(3 epochs, the best is ")
    assert len(repr(result)) < 150


def test_the_lift_raises_weights_of_units_silent_in_the_whole_epoch_and_of_no_others():
    weight = np.array([[9.0, 3.0, 0.0], [0.0, 0.1, 0.0], [0.0, 0.0, 9.0]])
    network = evsim.Network(
        [evsim.Input("input", 3), evsim.LIF("hidden", 3), evsim.LIF("output", 2)],
        [
            evsim.Connection("input", "hidden", weight),
            evsim.Connection("hidden", "output", [[9.0, 2.0, 9.0], [0.0, 0.0, 0.0]]),
        ],
    )
    # Unit 2 of the hidden layer spikes in the last sample alone, one batch of six.
    trains = [[(1.0, 0), (2.0, 1)]] * 5 + [[(1.0, 2), (2.0, 2)]]
    spikes = evsim.SpikeTrains.from_lists(trains, units=3)

    def last(lift):
        return evsim.fit(
            network, (spikes, [0] * 6), FirstSpikeCrossEntropy(), duration=DURATION,
            optimizers={"weight": evsim.Adam(1e-3)}, epochs=1, batch_size=1, silent_lift=lift,
            engine=ENGINE, progress=False,
        ).last_network.parameters  # fmt: skip

    plain, hidden, both = last(0.0), last(0.25), last({"hidden": 0.25, "output": 0.5})
    for name, lifted, rows in [
        ("input->hidden.weight", hidden, [0, 0.25, 0]),
        ("hidden->output.weight", hidden, [0, 0]),
        ("input->hidden.weight", both, [0, 0.25, 0]),
        ("hidden->output.weight", both, [0, 0.5]),
    ]:
        expected = plain[name] + np.array(rows)[:, np.newaxis]
        assert np.array_equal(lifted[name], expected), name


# -- nothing is lost ----------------------------------------------------------------------


@pytest.mark.parametrize("epoch", [1, 2, 3, 4])
def test_a_run_killed_after_any_epoch_resumes_to_the_same_bits(tmp_path, uninterrupted, epoch):
    with pytest.raises(KilledError):
        train(tmp_path, callbacks=[raise_after(epoch, KilledError())])
    resumed = []
    result = train(tmp_path, resume=True, callbacks=[lambda state: resumed.append(state.epoch)])
    assert resumed == list(range(epoch + 1, 5))
    assert bits(result) == bits(uninterrupted)
    check_folder(tmp_path, result)


@pytest.mark.parametrize("write", range(1, 11))
def test_a_run_killed_at_any_write_resumes_to_the_same_bits(
    tmp_path, monkeypatch, uninterrupted, write
):
    replace_file, writes = os.replace, []

    def cut(source, target):
        writes.append(target)
        if len(writes) == write:
            raise KilledError
        replace_file(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", cut)
        with pytest.raises(KilledError):
            train(tmp_path)
    result = train(tmp_path, resume=True)
    assert bits(result) == bits(uninterrupted)
    check_folder(tmp_path, result)


def test_ctrl_c_after_an_epoch_ends_training_with_what_is_finished(tmp_path, uninterrupted):
    result = train(tmp_path, callbacks=[raise_after(2, KeyboardInterrupt())])
    assert result.interrupted
    assert not uninterrupted.interrupted
    assert [record.epoch for record in result.history] == [1, 2]
    check_folder(tmp_path, result)
    assert bits(train(tmp_path, resume=True)) == bits(uninterrupted)


def test_a_callback_stops_training_and_says_why(tmp_path, uninterrupted):
    result = train(tmp_path, callbacks=[raise_after(2, evsim.StopTraining("good enough"))])
    assert (result.stopped, result.interrupted) == ("good enough", False)
    assert len(result.history) == 2
    assert bits(train(tmp_path, resume=True)) == bits(uninterrupted)
    assert uninterrupted.stopped is None


@pytest.mark.parametrize("call", [1, 4, 5, 9])
def test_ctrl_c_within_an_epoch_loses_that_epoch_alone(tmp_path, uninterrupted, call):
    # An epoch calls simulate four times: three batches and the validation.
    engine = Spy(resolve(ENGINE), interrupt_at=call)
    result = train(tmp_path, engine=engine)
    done = (call - 1) // 4
    assert result.interrupted
    assert len(result.history) == done
    assert bits(result) == bits(train(epochs=done) if done else initial_result(result))
    if done:
        check_folder(tmp_path, result)


def test_ctrl_c_while_an_epoch_is_stored_stores_it_all_the_same(tmp_path, monkeypatch):
    replace_file, writes = os.replace, []

    def interrupt_once(source, target):
        writes.append(target)
        if writes.count(tmp_path / "checkpoint.safetensors") == 1:
            raise KeyboardInterrupt
        replace_file(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupt_once)
        result = train(tmp_path)
    assert result.interrupted
    assert len(result.history) == 1
    check_folder(tmp_path, result)


def test_a_finished_run_is_returned_and_can_be_continued(tmp_path, uninterrupted):
    train(tmp_path, epochs=3)
    again = train(tmp_path, epochs=3, resume=True)
    assert bits(again) == bits(train(epochs=3))
    assert bits(train(tmp_path, epochs=4, resume=True)) == bits(uninterrupted)
    with pytest.raises(ValueError, match="holds 4 finished epochs, more than epochs = 3"):
        train(tmp_path, epochs=3, resume=True)


def test_a_folder_that_holds_another_run_is_refused(tmp_path):
    train(tmp_path, epochs=1)
    stored = (tmp_path / "checkpoint.safetensors").read_bytes()
    with pytest.raises(FileExistsError, match="holds a run already: give resume=True"):
        train(tmp_path)
    other = small_network().replace({"hidden->output.weight": np.ones((2, 4))})
    for changes, message in [
        ({"batch_size": 5}, "batch_size: 4 is stored, 5 is asked for"),
        ({"delay_max": 6.0}, r"input->hidden.delay\[0\].high: 5.0 is stored, 6.0 is asked for"),
        ({"network": other}, "initial values.hidden->output.weight: "),
        ({"data": small_data(seed=8)}, r"settings: data: \w+ is stored"),
        ({"validation": None}, "validation: .* None is asked for"),
    ]:
        with pytest.raises(storage.StorageError, match=f"checkpoint.safetensors .*{message}"):
            train(tmp_path, resume=True, **changes)
    (tmp_path / "checkpoint.safetensors").write_bytes(stored[:-100])
    with pytest.raises(storage.StorageError, match=r"checkpoint.safetensors cannot be read"):
        train(tmp_path, resume=True)


def check_folder(folder, result):
    """The files for readers say what the result says."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    assert [EpochRecord(**json.loads(line)) for line in lines] == list(result.history)
    best = storage.network_arrays(storage.load_network(folder / "best.safetensors"))
    for name, array in storage.network_arrays(result.network).items():
        assert np.array_equal(best[name], array)
    assert json.loads((folder / "config.json").read_text())["batch_size"] == 4


def initial_result(result):
    network = small_network()
    return replace(result, network=network, last_network=network, best_epoch=0, history=())


# -- refusals -----------------------------------------------------------------------------


@dataclass(frozen=True)
class NotANumberForClassOne(Loss):
    readout: Readout = Mean()

    def __call__(self, values, labels, duration):
        losses, derivative = CrossEntropy(self.readout)(values, labels, duration)
        return np.where(labels == 1, np.nan, losses), derivative


def test_a_loss_that_is_not_finite_is_refused_with_its_place():
    data = evsim.Dataset(small_data(5).spikes, [0, 0, 0, 1, 0])
    with pytest.raises(
        FloatingPointError, match=r"epoch 1, batch \d of 5: the loss of sample 3 is nan"
    ):
        train(data=data, loss=NotANumberForClassOne(), batch_size=1, validation=None)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200])
def test_a_gradient_no_step_can_be_taken_with_is_refused_before_anything_moves(tmp_path, value):
    engine = Spy(resolve(ENGINE), spoil_at=5, spoil=value)
    seen = []
    place = "epoch 2, batch 2 of 3: the gradient with respect to hidden->hidden.weight reaches "
    with pytest.raises(FloatingPointError, match=re.escape(f"{place}{value:g}")):
        train(tmp_path, engine=engine, callbacks=[seen.append])
    (state,) = seen
    best = storage.load_network(tmp_path / "best.safetensors")
    for name, array in storage.network_arrays(state.network).items():
        assert np.array_equal(storage.network_arrays(best)[name], array)


def test_an_error_in_a_batch_is_given_its_place():
    engine = Spy(resolve(ENGINE), fail_at=6, error=KilledError("no"))
    with pytest.raises(KilledError) as caught:
        train(engine=engine)
    assert caught.value.__notes__ == ["in epoch 2, batch 2 of 3"]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"epochs": 0}, ValueError, "epochs = 0: it must be at least 1"),
        ({"batch_size": 2.5}, TypeError, "batch_size = 2.5: it must be an integer"),
        ({"duration": -1.0}, ValueError, "duration = -1.0 ms"),
        ({"seed": -1}, ValueError, "seed = -1: it must be at least 0"),
        ({"network": "net"}, TypeError, "give an evsim.Network"),
        ({"loss": "mse"}, TypeError, "it must be a Loss"),
        ({"data": small_data().spikes}, TypeError, r"give an evsim.Dataset or a pair"),
        ({"data": small_data()[:0]}, ValueError, "the dataset is empty"),
        ({"data": (small_data().spikes, [2] * SAMPLES)}, ValueError, r"labels\[0\] = 2"),
        ({"resume": True}, ValueError, "resume=True needs a run_folder"),
        ({"callbacks": [3]}, TypeError, "callbacks holds 3"),
        ({"silent_lift": {"output": 0.1}}, ValueError, "'output', whose units never spike"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_before_anything_runs(changes, error, message):
    engine = Spy(resolve(ENGINE))
    with pytest.raises(error, match=message):
        train(**{"engine": engine} | changes)
    assert engine.calls == 0


# -- what is shown ------------------------------------------------------------------------


def test_without_a_terminal_the_first_and_the_last_epoch_are_lines(capsys, tmp_path, uninterrupted):
    train(tmp_path, progress=True)
    lines = capsys.readouterr().err.splitlines()
    accuracy = f"validation {100 * uninterrupted.history[-1].validation_accuracy:.1f} %"
    assert lines[0] == f"run folder: {tmp_path}"
    epochs = [line for line in lines[1:] if "/4: " in line]
    assert [line.split(":")[0] for line in epochs] == ["epoch 1/4", "epoch 4/4"]
    assert accuracy in epochs[-1]
    assert epochs[-1].endswith("0:00 left")


def test_long_epochs_report_within_them(capsys, monkeypatch):
    clock = iter(np.arange(0.0, 1000.0, 4.0))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    lines = Lines(epochs=2, batches=10, finished=0)
    for batch in range(1, 6):
        lines.batch(1, batch, 0.25)
    shown = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in shown] == [
        "epoch 1/2, batch 3/10",
        "epoch 1/2, batch 5/10",
    ]
    assert "loss 0.25" in shown[0]


def test_short_epochs_report_their_accuracy_and_no_batches(capsys, monkeypatch):
    """Also the last one of a run that is stopped, and that one once."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    lines = Lines(epochs=300, batches=10, finished=0)
    for epoch in range(1, 14):
        for batch in range(1, 11):
            clock[0] += 0.29
            lines.batch(epoch, batch, 0.25)
        lines.epoch(EpochRecord(epoch, 0.5, epoch / 100, None, None, 1.0, {}, {}, None, 0, 0))
    lines.stop("stopped after epoch 13 of 300: enough")
    shown = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in shown] == [
        *(f"epoch {epoch}/300" for epoch in (1, 5, 9, 13)),
        "stopped after epoch 13 of 300",
    ]
    assert "loss 0.5, accuracy 9.0 %," in shown[2]
    lines.stop("again")
    assert capsys.readouterr().err == "again\n"
    lines.epoch(EpochRecord(14, 0.5, 0.14, None, None, 1.0, {}, {}, None, 0, 0))
    lines.stop("interrupted")
    epoch, why = capsys.readouterr().err.splitlines()
    assert epoch.startswith("epoch 14/300: loss 0.5, accuracy 14.0 %")
    assert why == "interrupted"


@pytest.mark.parametrize("width", [50, 79, 80, 100])
def test_all_that_a_bar_says_has_room_on_a_narrow_terminal(width):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=width)
    record = EpochRecord(122, 0.1506, 0.985, 0.4, 0.982, 1.0, {}, {}, None, 0, 0)
    with Bar(epochs=300, batches=3, finished=0, console=console) as bar:
        bar.epoch(record)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue())
    assert "epoch 122/300" in shown
    assert "loss 0.1506, accuracy 98.5 %, validation 98.2 %" in shown
    lines = re.split("[\r\n]+", shown)
    assert max(len(line.rstrip()) for line in lines) <= width


def test_on_a_terminal_a_bar_shows_epochs_and_metrics():
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    record = EpochRecord(2, 0.5, 0.75, 0.4, 0.875, 1.0, {}, {}, None, 0, 0)
    with Bar(epochs=5, batches=3, finished=1, console=console) as bar:
        bar.say("run folder: [here]")
        bar.epoch(record)
    shown = screen.getvalue()
    assert "run folder: [here]" in shown
    assert "epoch 2/5" in shown
    assert "loss 0.5, accuracy 75.0 %, validation 87.5 %" in shown
