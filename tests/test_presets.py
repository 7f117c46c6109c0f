"""The papers' experiments on MNIST, spoken words and Braille, at sizes that take seconds."""

import json
import re
import sys
from dataclasses import fields, replace

import numpy as np
import pytest
from evsim.augment import Blend, Shift, delay_line
from hypothesis import given
from hypothesis import strategies as st
from preset_files import write_braille, write_mnist, write_vowels, write_words

import evsim
from evsim import storage
from evsim.cli import TASKS, main
from evsim.cli.flags import field_help
from evsim.data.dataset import Dataset
from evsim.data.splits import draw_in_proportion, only_classes
from evsim.losses.loss import terms_of
from evsim.tasks import braille, japanese_vowels, mnist, sequence, shd, spoken_digits, ssc, yin_yang
from evsim.tasks.named_losses import named_loss


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with small files of all data sets."""
    folder = tmp_path_factory.mktemp("data")
    write_mnist(folder)
    write_words(folder, "spoken_digits", classes=10, speakers=3)
    write_words(folder, "shd", classes=20, speakers=3)
    write_words(folder, "ssc", classes=35, speakers=1, parts=("train", "valid", "test"))
    write_braille(folder)
    write_vowels(folder)
    return folder


def run(*arguments):
    return main([str(argument) for argument in arguments])


def train(task, files, folder, *flags):
    """Train one epoch through the command; the network, what test.json says and the settings."""
    arguments = ("--data", files, "--out", folder, "--epochs", 1, "--threads", 1, "--no-progress")
    assert run("train", task, *arguments, *flags) == 0
    tested, settings = (
        json.loads((folder / f"{name}.json").read_text()) for name in ("test", "settings")
    )
    return storage.load_network(folder / "best.safetensors"), tested, settings


# -- every preset runs --------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["xent", "sum", "max", "time"])
def test_mnist_is_trained_with_each_loss(loss, files, tmp_path):
    network, tested, settings = train(
        "mnist", files, tmp_path / "run", "--loss", loss, "--hidden", 12, "--validation-size", 10,
        "--batch-size", 5, "--no-pictures",
    )  # fmt: skip
    assert isinstance(network.output, evsim.LIF if loss == "time" else evsim.LI)
    assert network.parameters["input->hidden.weight"].shape == (12, 784)
    assert np.sum(tested["confusion"]) + np.sum(tested["unclassified"]) == 20
    assert np.trace(tested["confusion"]) == pytest.approx(20 * tested["accuracy"])
    assert list(tested["accuracy_by_class"]) == list("0123456789")
    assert settings["hyperparameters"]["weight_rate"] == (0.005 if loss == "time" else 0.01)


def test_both_engines_learn_the_same(files, tmp_path):
    flags = ("--hidden", 3, "--validation-size", 0, "--train-size", 6, "--test-size", 4,
             "--classes", 1, 7, "--batch-size", 3, "--loss", "max", "--more-losses", "0.5*sum",
             "0.1 * xent", "--no-pictures")  # fmt: skip
    network, tested, _ = train("mnist", files, tmp_path / "exact", *flags)
    folder = tmp_path / "reference"
    assert run("train", "mnist", "--data", files, "--out", folder, "--epochs", 1, "--no-progress",
               "--engine", "reference", *flags) == 0  # fmt: skip
    other = storage.load_network(folder / "best.safetensors")
    for name, value in network.parameters.items():
        np.testing.assert_allclose(value, other.parameters[name], rtol=1e-6)
    assert json.loads((folder / "test.json").read_text())["confusion"] == tested["confusion"]


WORDS = ("--hidden", 8, "--batch-size", 10, "--no-pictures")


@pytest.mark.parametrize(
    "loss", ["sum", "sum_exp", "linear", "sigmoid", "input", "max", "xent", "time"]
)
def test_spoken_digits_are_trained_with_each_loss(loss, files, tmp_path):
    flags = ("--experiment", "loss-comparison", "--loss", loss, "--duration", 150)
    network, tested, _ = train("spoken-digits", files, tmp_path / "run", *flags, *WORDS)
    assert network.output.units == 10
    assert np.sum(tested["confusion"]) + np.sum(tested["unclassified"]) == 30


@pytest.mark.parametrize(
    ("task", "flags", "trained"),
    [
        (
            "spoken-digits",
            ("--recurrent", "--delays"),
            {"input->hidden.delay": (8, 700), "hidden->hidden.delay": (8, 8)},
        ),
        (
            "shd",
            ("--delays", "--held-out-speaker", 1),
            {"input->hidden1.delay": (8, 700), "hidden1->hidden2.delay": (8, 8)},
        ),
        (
            "shd",
            ("--experiment", "loss-shaping", "--recurrent", "--learn-taus", "--delay-line", 3),
            {"hidden.tau_mem": (8,), "input->hidden copy 2.weight": (8, 700)},
        ),
        (
            "ssc",
            ("--experiment", "loss-shaping", "--recurrent", "--heterogeneous", "--delay-line", 1,
             "--blend", 0),
            {"hidden.tau_mem": (8,), "hidden.tau_syn": (8,)},
        ),
        ("japanese-vowels", (), {"input->hidden.weight": (8, 72)}),
        (
            "japanese-vowels",
            ("--delays", "--recurrent", "--validation-size", 9, "--more-losses", "0.5*max",
             "-0.1*xent", "--regulariser-strength", 1e-8),
            {"input->output 6.delay": (9, 24), "hidden->hidden.weight": (8, 8)},
        ),
        ("braille", ("--delays",), {"input->hidden1.delay": (8, 24)}),
        ("braille", ("--recurrent", "--delays"), {"hidden->hidden.delay": ()}),
    ],
)  # fmt: skip
def test_presets_train_what_they_say(task, flags, trained, files, tmp_path):
    duration = () if task == "braille" else ("--duration", 150)
    network, tested, _ = train(task, files, tmp_path / "run", *flags, *duration, *WORDS)
    for name, shape in trained.items():
        assert network.parameters[name].shape == shape
    assert 0 <= tested["accuracy"] <= 1
    metrics = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())
    validated = task in ("ssc", "braille") or {"--held-out-speaker", "--validation-size"} & {*flags}
    assert (metrics["validation_accuracy"] is not None) == bool(validated)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    terms = [weight for weight, _ in config["loss"].get("terms", [])]
    assert terms == ([1.0, 0.5, -0.1] if "--more-losses" in flags else [])
    if "--regulariser-strength" in flags:
        (regulariser,) = config["regularisers"]
        assert (regulariser["population"], regulariser["strength"]) == ("hidden", 1e-8)


def test_pictures_show_learning_confusion_delays_and_activity(files, tmp_path, capsys):
    folder = tmp_path / "run"
    train("spoken-digits", files, folder, "--hidden", 8, "--duration", 150, "--recurrent",
          "--delays", "--classes", 3, 7, "--batch-size", 3)  # fmt: skip
    assert f"pictures in {folder / 'pictures'}" in capsys.readouterr().out
    assert {path.name for path in (folder / "pictures").iterdir()} == {
        "learning.png", "confusion.png", "delays_input_hidden.png", "delays_hidden_hidden.png",
        "spikes.png", "rates.png",
    }  # fmt: skip
    tested = json.loads((folder / "test.json").read_text())
    assert list(tested["accuracy_by_class"]) == ["3", "7"]


def test_easy_words_are_learned(files):
    settings = spoken_digits.Settings(
        data=files, hidden=24, layers=1, duration=150.0, epochs=6, batch_size=5, ease_in=1.0,
        weight_rate=0.01, blend=0.0, shift=0, output_weight_deviation=0.3,
    )  # fmt: skip
    result = spoken_digits.train(settings, progress=False)
    assert spoken_digits.evaluate(result, settings).accuracy > 0.7


def test_the_delays_of_vowels_bring_each_frame_to_the_end_of_the_trial(files):
    settings = japanese_vowels.Settings(data=files, delays=True, frames=4, epochs=1, hidden=8)
    spikes = japanese_vowels.data(settings)[0].spikes
    spikes_per_frame = spikes.times.size / len(spikes) / 4
    network = japanese_vowels.network(settings)
    assert settings.duration == japanese_vowels.loss(settings).readout.times[0] == 120.0
    for place in range(4):
        (delay,) = np.unique(network.parameters[f"input->output {place + 1}.delay"])
        assert delay == 30.0 * place
        in_frame = (spikes.times >= 90.0 - delay) & (spikes.times <= 120.0 - delay)
        assert in_frame.sum() >= spikes_per_frame * len(spikes)
    result = japanese_vowels.train(settings, progress=False)
    moved = result.network.parameters["input->output 4.delay"] - 90.0
    assert 0.0 < abs(moved).max() < 30.0


def test_vowels_are_learned_with_noise_that_depends_on_the_seed_alone(files):
    settings = japanese_vowels.Settings(data=files, hidden=24, epochs=6)
    training, validation, test = japanese_vowels.data(settings)
    assert (len(training), validation, len(test)) == (27, None, 27)
    noise = japanese_vowels.Noise(settings)
    generators = [np.random.default_rng(seed) for seed in (0, 0, 1)]
    first, again, other = (noise(training, g, 120.0).data for g in generators)
    assert first.spikes == again.spikes
    assert first.spikes not in (other.spikes, training.spikes)
    # The groups say which utterance a sample is, so a part of the data gets noise of its own.
    part = noise(training[[5]], np.random.default_rng(0), 120.0).data
    assert part.labels.tolist() == training.labels[[5]].tolist()
    silent = japanese_vowels.Settings(data=files, utterance_noise=0.0, frame_noise=0.0)
    same = japanese_vowels.Noise(silent)(training, generators[0], 120.0)
    assert same.data.spikes == training.spikes
    result = japanese_vowels.train(settings, progress=False)
    assert japanese_vowels.evaluate(result, settings).accuracy > 0.7


# -- speakers -----------------------------------------------------------------------------


def test_a_held_out_speaker_is_in_the_validation_samples_alone(files):
    settings = spoken_digits.Settings(data=files, held_out_speaker=2)
    training, validation, test = spoken_digits.data(settings)
    assert np.unique(training.groups).tolist() == [0, 1]
    assert validation.groups.tolist() == [2] * 10
    assert np.unique(test.groups).tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="held_out_speaker = 9: the training data has 0, 1, 2"):
        spoken_digits.data(spoken_digits.Settings(data=files, held_out_speaker=9))


def test_cross_validation_holds_out_each_speaker_and_can_be_resumed(files, tmp_path, capsys):
    folder = tmp_path / "run"
    arguments = ("train", "spoken-digits", "--data", files, "--out", folder, "--folds", "speakers",
                 "--duration", 150, *WORDS, "--no-progress", "--epochs")  # fmt: skip
    assert run(*arguments, 1) == 0
    said = capsys.readouterr().out
    found = json.loads((folder / "folds.json").read_text())
    assert list(found["accuracy"]) == ["group 0", "group 1", "group 2"]
    values = list(found["accuracy"].values())
    assert found["mean"] == pytest.approx(np.mean(values))
    assert found["standard_deviation"] == pytest.approx(np.std(values, ddof=1))
    assert f"mean {100 * found['mean']:.1f} %, standard deviation" in said
    assert all(f"{name}: {100 * value:.1f} %" in said for name, value in found["accuracy"].items())
    assert run(*arguments, 2, "--resume") == 0
    for speaker in range(3):
        lines = (folder / f"speaker_{speaker}" / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["epoch"] for line in lines] == [1, 2]


# -- samples ------------------------------------------------------------------------------


def labelled(labels):
    spikes = evsim.SpikeTrains.from_latencies(np.arange(len(labels), dtype=float)[:, None])
    return Dataset(spikes, np.asarray(labels, np.int64), np.arange(len(labels)))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.data(), st.integers(0, 5))
def test_a_part_is_drawn_evenly_from_the_classes(labels, data, seed):
    whole = labelled(labels)
    size = data.draw(st.integers(0, len(labels)))
    taken, rest = draw_in_proportion(whole, size, "train", seed)
    assert len(taken) == size
    assert sorted([*taken.groups, *rest.groups]) == list(range(len(labels)))
    for label in set(labels):
        share = size * labels.count(label) / len(labels)
        assert abs(np.sum(taken.labels == label) - share) <= 1
    assert (
        draw_in_proportion(whole, size, "train", seed)[0].groups.tolist() == taken.groups.tolist()
    )


def test_chosen_classes_are_numbered_in_the_order_given():
    chosen = only_classes(labelled([4, 2, 0, 2, 1]), (2, 4))
    assert chosen.groups.tolist() == [0, 1, 3]
    assert chosen.labels.tolist() == [1, 0, 0]


def test_too_many_samples_are_refused(files):
    with pytest.raises(ValueError, match="train_size = 99: there are only 40 samples"):
        mnist.data(mnist.Settings(data=files, train_size=99, validation_size=0))


def test_training_and_validation_images_make_up_the_training_set(files):
    whole, nothing, _ = mnist.data(mnist.Settings(data=files, validation_size=0))
    training, validation, _ = mnist.data(mnist.Settings(data=files, validation_size=10))
    assert nothing is None
    assert np.bincount(validation.labels).tolist() == [1] * 10
    sizes = (validation.spikes.times.size, training.spikes.times.size)
    assert sum(sizes) == whole.spikes.times.size


# -- what the papers say ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "recurrent", "expected"),
    [
        # tau_mem, tau_syn, k of the program times tau_mem, weights to the output, rate
        ("sum", False, (20, 10, 1e-12 * 20, 0, 0.03, 0.002)),
        ("sum", True, (20, 10, 1e-12 * 20, 0, 0.03, 0.002)),
        ("sum_exp", False, (40, 5, 1e-10 * 40, 0, 0.03, 0.001)),
        ("sum_exp", True, (40, 5, 1e-9 * 40, 0, 0.03, 0.001)),
        ("time", False, (40, 5, 1e-7, 1.2, 0.6, 0.001)),
        ("max", False, (40, 10, 5e-9 * 1400 / (1 - np.exp(-1 / 40)), 0, 0.03, 0.002)),
    ],
)
def test_the_comparison_of_losses_has_the_numbers_of_its_table(loss, recurrent, expected):
    settings = shd.Settings(experiment="loss-comparison", loss=loss, recurrent=recurrent)
    numbers = settings.hyperparameters()
    names = ("tau_mem", "tau_syn", "regulariser_strength", "output_weight_mean",
             "output_weight_deviation", "weight_rate")  # fmt: skip
    found = [getattr(numbers, name) for name in names]
    found[2] = found[2][0]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert (numbers.hidden, numbers.duration, numbers.epochs) == (256, 1400.0, 300)
    assert (numbers.batch_size, numbers.shift, numbers.blend) == (32, 0, 0.0)
    assert (numbers.silent_lift, numbers.patience, numbers.halving) == (0.0, 0, 0)


def test_delay_learning_has_the_numbers_of_its_tables():
    recurrent = {"recurrent": True, "delays": True}
    found = shd.Settings(**recurrent).hyperparameters()
    assert (found.layers, found.initial_delay_max, found.batch_size) == (1, 150.0, 256)
    assert found.regulariser_strength == pytest.approx((1e-9,))
    assert (found.output_weight_mean, found.output_weight_deviation) == (0.02, 0.03)
    found = shd.Settings(delays=True).hyperparameters()
    assert (found.layers, found.initial_delay_max) == (2, 100.0)
    assert found.regulariser_strength == pytest.approx((1e-10, 1e-9))
    found = ssc.Settings(delays=True).hyperparameters()
    assert (found.layers, found.initial_delay_max, found.blend) == (2, 50.0, 0.0)
    assert found.regulariser_strength == pytest.approx((1e-10,))
    found = ssc.Settings(**recurrent).hyperparameters()
    assert (found.output_weight_mean, found.output_weight_deviation) == (0.02, 0.3)
    found = braille.Settings(**recurrent).hyperparameters()
    assert (found.weight_rate, found.delay_rate, found.ease_in) == (0.0015, 0.025, 1.0)
    assert found.regulariser_strength == pytest.approx((2e-9,))


def test_a_small_network_learns_in_long_steps_that_become_shorter():
    settings = spoken_digits.Settings(experiment="small", recurrent=True, delays=True)
    numbers = settings.hyperparameters()
    assert (numbers.layers, numbers.hidden, numbers.duration) == (1, 128, 800.0)
    assert (numbers.epochs, numbers.batch_size) == (40, 8)
    assert settings.augmentation(100) == [Shift(20, "uniform")]
    optimizers = spoken_digits.optimizers(settings)
    assert {optimizer.decay for optimizer in optimizers.values()} == {0.94}
    assert optimizers["input->hidden.delay"].learning_rate_in(41) == 0.5 * 0.94**40
    published = spoken_digits.optimizers(spoken_digits.Settings(delays=True))
    assert {optimizer.decay for optimizer in published.values()} == {1.0}


def test_what_is_given_wins_over_the_papers():
    given_numbers = {
        field.name: 3 if field.type in ("int", int) else 0.25
        for field in fields(shd.Settings().hyperparameters())
        if field.name not in ("regulariser_strength", "tau0", "tau1", "alpha", "delay_line")
    }
    settings = shd.Settings(
        delays=True, learn_taus=True, regulariser_strength=(1.0, 2.0, 3.0), **given_numbers
    )
    numbers = settings.hyperparameters()
    for name, value in given_numbers.items():
        assert getattr(numbers, name) == value
    assert numbers.regulariser_strength == (1.0, 2.0, 3.0)


@pytest.mark.parametrize(
    ("task", "blend", "epochs"),
    [(shd, None, 100), (shd, 1.0, 50), (ssc, None, 50), (ssc, 0.0, 100)],
)
def test_loss_shaping_takes_half_as_many_epochs_of_twice_the_samples(task, blend, epochs):
    settings = task.Settings(experiment="loss-shaping", blend=blend)
    assert settings.hyperparameters().epochs == epochs


def test_augmentation_follows_the_order_of_each_paper():
    of_d = shd.Settings().augmentation(8156)
    assert of_d == [Blend(7644, 0.5), Shift(40, "uniform")]
    of_l = shd.Settings(experiment="loss-shaping", blend=1.0).augmentation(100)
    assert of_l == [Shift(40, "truncate"), Blend(100, 0.5)]
    assert shd.Settings(experiment="loss-comparison").augmentation(100) == []


def test_a_delay_line_does_what_delayed_copies_of_the_inputs_do(files):
    settings = spoken_digits.Settings(
        data=files, hidden=5, layers=1, duration=150.0, delay_line=3, train_size=4
    )
    network = spoken_digits.network(settings)
    samples = spoken_digits.data(settings)[0]
    names = ["input->hidden", "input->hidden copy 1", "input->hidden copy 2"]
    weights = np.hstack([network.parameters[f"{name}.weight"] for name in names])
    assert np.mean(weights) == pytest.approx(0.01, rel=0.05)
    copies = evsim.Network(
        [evsim.Input("input", 2100), *network.populations[1:]],
        [evsim.Connection("input", "hidden", weights), network.connections[-1]],
    )
    ours = evsim.simulate(network, samples.spikes, 150.0)
    theirs = evsim.simulate(copies, delay_line(samples.spikes, 3, 30.0).spikes, 150.0)
    assert ours.spikes["hidden"].counts().sum() > 0
    np.testing.assert_array_equal(ours.spike_counts["hidden"], theirs.spike_counts["hidden"])
    np.testing.assert_allclose(ours.mean("output"), theirs.mean("output"), rtol=1e-9)


# -- further terms of the loss ------------------------------------------------------------

OF_VOLTAGES = {"sum", "sum_exp", "linear", "sigmoid", "input", "xent"}
SPIKES_OR_PEAK = {"time", "time_invariant", "max"}


def takes_terms(task):
    return "more_losses" in {field.name for field in fields(task.settings_type)}


@pytest.mark.parametrize("task", [name for name, task in TASKS.items() if takes_terms(task)])
def test_a_loss_takes_the_terms_that_can_be_read_from_the_outputs_and_names_them(task):
    experiment = TASKS[task]
    make = experiment.settings_type
    names = {field.name for field in fields(make)}
    has_choice, without = "loss" in names, {"existence": 0.0} if "existence" in names else {}
    told = set(re.findall(r"\w+", field_help(make)["more_losses"]))
    one, other = ("time", "time_invariant") if task == "yin-yang" else ("max", "time")
    for main_loss in [{"loss": one}, {"loss": other}] if has_choice else [{}]:
        chosen = {**without, **main_loss}
        plain = make(**chosen)
        network = experiment.network(plain)
        spiking = isinstance(network.output, evsim.LIF)
        names = OF_VOLTAGES | ({"time", "time_invariant"} if spiking else {"max"})
        assert names == told & {*names, *SPIKES_OR_PEAK} or (has_choice and names <= told)
        for name in names:
            loss = experiment.loss(make(**chosen, more_losses=(f"-0.5*{name}",)))
            loss.check_readouts(network, plain.number("duration"))
            (one, main), (weight, term) = loss.terms
            assert (one, main, weight) == (1.0, experiment.loss(plain), -0.5)
            assert type(term) is type(named_loss(name))
        for name in SPIKES_OR_PEAK - names:
            with pytest.raises(ValueError, match=f"{name} cannot be .*; names are sum, ") as error:
                make(**chosen, more_losses=(f"0.5*{name}",))
            assert set(str(error.value).partition("names are ")[2].split(", ")) == names


def test_the_arguments_of_a_term_are_those_given_or_the_settings_or_the_defaults():
    terms = ("1*time", "2*time(tau0=2, alpha=0)", "3*time_invariant", "4*time_invariant(delta=1)")
    settings = yin_yang.Settings(delta=5.0, tau0=0.7, more_losses=terms)
    found = yin_yang.loss(settings)
    first_spikes = evsim.losses.FirstSpikeCrossEntropy
    assert found.terms == (
        (1.0, first_spikes(tau0=0.7, alpha=0.0)),
        (1.0, first_spikes(tau0=0.7, alpha=0.0)),
        (2.0, first_spikes(tau0=2.0, alpha=0.0)),
        (3.0, evsim.losses.TimeInvariantMSE(delta=5.0)),
        (4.0, evsim.losses.TimeInvariantMSE(delta=1.0)),
        (1.0, evsim.losses.Existence("hidden")),
    )
    squared = yin_yang.Settings(delta=5.0, loss="time_invariant", existence=0.0)
    assert yin_yang.loss(squared) == evsim.losses.TimeInvariantMSE(delta=5.0)
    found = mnist.loss(mnist.Settings(loss="time", tau1=7.0, more_losses=("1*time(tau0=3)",)))
    assert found.terms[1][1] == first_spikes(tau0=3.0, tau1=7.0, alpha=3.6e-4)


def test_a_late_spike_of_an_output_has_a_large_mean_voltage():
    network = evsim.Network(
        [evsim.Input("input", 1), evsim.LIF("output", 3, refractory=np.inf)],
        [evsim.Connection("input", "output", [[6.4], [8.0], [16.0]])],
    )
    spikes = evsim.SpikeTrains.from_lists([[(1.0, 0)]], units=1)
    run = evsim.simulate(network, spikes, 40.0, "reference")
    assert np.isfinite(run.first_spike("output")).all()
    assert (np.diff(run.mean("output")) < 0).all()


# -- refusals -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "arguments", "message"),
    [
        (mnist.Settings, {"hidden": 0}, "hidden = 0: it must be at least 1"),
        (mnist.Settings, {"tau0": 2.0}, "tau0 = 2 is given but the loss is xent"),
        (mnist.Settings, {"more_losses": ("max",)}, "more_losses = 'max': give terms of the form"),
        (shd.Settings, {"more_losses": ("1*time",)}, "names are sum, sum_exp, linear"),
        (sequence.Settings, {"more_losses": ("1*mean",)}, "give terms of the form 0.5.sum, a fini"),
        (sequence.Settings, {"more_losses": ("nan*sum",)}, "'nan.sum': give terms of the form"),
        (sequence.Settings, {"more_losses": ("1*sum(tau0=1)",)}, "sum takes no arguments: write"),
        (
            yin_yang.Settings,
            {"more_losses": ("1*time(tau=1)",)},
            "time takes tau0, tau1, alpha, each at most once and with a number, as in 0.5.time",
        ),
        (yin_yang.Settings, {"more_losses": ("1*time(tau0=1,tau0=2)",)}, "each at most once"),
        (yin_yang.Settings, {"more_losses": ("1*time(tau0=-1)",)}, "tau0 = -1.0 ms: it must be"),
        (yin_yang.Settings, {"regulariser_strength": -1.0}, "regulariser_strength = -1.0: it must"),
        (shd.Settings, {"regulariser_strength": (1.0, -1.0)}, "-1.0.: it must be finite and >= 0"),
        (mnist.Settings, {"classes": (3, 10)}, "classes names 10: there are 0 to 9"),
        (mnist.Settings, {"classes": (3, 3)}, "give at least two, each once"),
        (mnist.Settings, {"train_size": 0}, "train_size = 0: it must be at least 1"),
        (shd.Settings, {"delay_rate": 0.1}, "delay_rate = 0.1 ms is given but no delays"),
        (shd.Settings, {"tau_rate": 0.1}, "tau_rate = 0.1 ms is given but no time constants"),
        (shd.Settings, {"layers": 0}, "layers = 0: it must be at least 1"),
        (shd.Settings, {"regulariser_strength": (1.0,) * 3}, "or one for each of 2"),
        (shd.Settings, {"delays": True, "delay_line": 10}, "choose it or delays, not both"),
        (
            shd.Settings,
            {"delays": True, "delay_max": 50.0},
            "initial_delay_max = 100 ms: it must be within 0 and delay_max = 50 ms",
        ),
        (shd.Settings, {"blend": -1.0}, "blend = -1.0: it must be finite and >= 0"),
        (shd.Settings, {"shift": -1}, "shift = -1: it must be >= 0"),
        (shd.Settings, {"patience": -1}, "patience = -1: it must be >= 0; 0 for none"),
        (
            spoken_digits.Settings,
            {"folds": "speakers", "held_out_speaker": 1},
            "is given with folds, which hold out every speaker in turn",
        ),
        (ssc.Settings, {"validation_size": -1}, "validation_size = -1: it must be at least 0"),
        (braille.Settings, {"seed": -1}, "seed = -1: it must be at least 0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, arguments, message):
    with pytest.raises(ValueError, match=message):
        settings(**arguments)


def refused(capsys, *arguments):
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("evsim: ")
    assert captured.err.count("\n") == 1
    return captured.err


def test_missing_files_are_named_with_the_flags_that_help(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = refused(capsys, "train", "shd", "--data", tmp_path)
    assert f"no shd_train.h5, shd_test.h5 in {tmp_path}" in said
    assert "fetch them with --download, put them there, or name their folder with --data" in said
    said = refused(capsys, "train", "spoken-digits", "--data", tmp_path)
    assert "; put them there, or name their folder with --data or the environment" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mnist", "--epochs", 0), "--epochs = 0: it must be at least 1"),
        (("mnist", "--batch-size", 0), "--batch-size = 0: it must be at least 1"),
        (("mnist", "--weight-rate", -1), "--weight-rate = -1.0: it must be finite and > 0"),
        (("mnist", "--input-dropout", 1.5), "--input-dropout = 1.5: it must be in [0, 1)"),
        (("mnist", "--classes", 3, 30), "classes names 30"),
        (("japanese-vowels", "--delay-rate", 1), "--delay-rate = 1 ms is given but no delays are"),
        (
            ("japanese-vowels", "--delays", "--initial-delay-max", 500),
            "--initial-delay-max = 500 ms: it must be within 0 and --delay-max = ",
        ),
        (
            ("japanese-vowels", "--delays", "--initial-delay-max", 50, "--delay-max", 60),
            "--delay-max = 60 ms: it must be at least 100 ms, the largest initial delay from an ",
        ),
        (
            ("japanese-vowels", "--curve-width", 0.1),
            "is above 3.73e-06, the activation halfway between two centres, so some values",
        ),
        (("shd", "--epochs", 0), "--epochs = 0: it must be at least 1"),
        (("shd", "--shift", -3), "--shift = -3: it must be >= 0"),
        (("shd", "--tau-rate", 1), "--tau-rate = 1 ms is given but no time constants"),
        (("shd", "--delays", "--delay-line", 3), "--delay-line = 3 gives the inputs fixed delays"),
        (("shd", "--target-spikes", -1), "--target-spikes = -1.0: it must be"),
        (
            ("japanese-vowels", "--more-losses", "0.5*time"),
            "--more-losses = '0.5*time': time cannot be read from outputs that never spike; names",
        ),
    ],
)
def test_settings_are_refused_before_data_are_looked_for(arguments, message, tmp_path, capsys):
    said = refused(capsys, "train", *arguments, "--data", tmp_path / "nowhere")
    assert message in said


def test_spikes_that_are_left_out_are_told_and_kept(tmp_path, capsys):
    write_words(tmp_path, "spoken_digits", 10, 2)
    folder = tmp_path / "run"
    status = run(
        "train", "spoken-digits", "--data", tmp_path, "--duration", 60, "--hidden", 4, "--layers",
        1, "--epochs", 1, "--shift", 0, "--blend", 0, "--out", folder, "--no-progress",
        "--no-pictures", "--threads", 1,
    )  # fmt: skip
    assert status == 0
    lines = capsys.readouterr().err.splitlines()
    told = [line for line in lines if "left out" in line]
    assert len(told) == 2
    assert "come at 60 ms or later; they are left out" in told[0]
    assert json.loads((folder / "test.json").read_text())["left_out"] == [
        line.removeprefix("evsim: ") for line in told
    ]
    assert any(line.startswith("spoken-digits: 1 x 4 hidden units, feedforward") for line in lines)


def test_a_time_limit_does_not_go_with_folds(files, tmp_path, capsys):
    said = refused(capsys, "train", "shd", "--data", files, "--folds", "speakers",
                   "--time-limit", 5, "--out", tmp_path / "run")  # fmt: skip
    assert "--time-limit is for single runs" in said


# -- settings that several presets share --------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "populations"),
    [
        (yin_yang.Settings(existence=0.5), ["hidden"]),
        (mnist.Settings(existence=0.5), ["hidden"]),
        (mnist.Settings(existence=0.5, loss="time", more_losses=("0.5*sum",)), ["hidden"]),
        (japanese_vowels.Settings(existence=0.5), ["hidden"]),
        (spoken_digits.Settings(existence=0.5, recurrent=True), ["hidden"]),
        (shd.Settings(existence=0.5), ["hidden1", "hidden2"]),
        (ssc.Settings(existence=0.5, layers=3), ["hidden1", "hidden2", "hidden3"]),
        (braille.Settings(existence=0.5), ["hidden1", "hidden2"]),
    ],
)
def test_existence_pulls_every_hidden_layer(settings, populations):
    task = sys.modules[type(settings).__module__]
    terms = [term for _, term in task.loss(settings).terms]
    assert terms[-len(populations) :] == [
        evsim.losses.Existence(name, strength=0.5) for name in populations
    ]
    assert set(populations) <= {p.name for p in task.network(settings).populations}
    without = task.loss(replace(settings, existence=0.0))
    assert not any(isinstance(term, evsim.losses.Existence) for _, term in terms_of(without))


def test_the_default_ease_in_fits_short_runs_and_a_given_one_is_the_papers(files, tmp_path):
    flags = ("--duration", 150, "--layers", 1, "--hidden", 4, "--batch-size", 10, "--blend", 0,
             "--no-pictures")  # fmt: skip
    rates = []
    for name, more in (("default", ()), ("given", ("--ease-in", 0.001))):
        train("spoken-digits", files, tmp_path / name, *flags, *more)
        metrics = json.loads((tmp_path / name / "metrics.jsonl").read_text())
        rates.append(metrics["learning_rates"]["input->hidden.weight"])
    np.testing.assert_allclose(rates, [0.001, 0.001 * 0.001 * 1.05**2])  # 3 batches


# -- quick forms --------------------------------------------------------------------------


def test_every_task_has_a_quick_form_of_settings_that_it_has():
    for name, task in TASKS.items():
        form = task.settings_type.quick_form
        known = {field.name for field in fields(task.settings_type)}
        assert set(form.settings) <= known, name
        assert set(form.engine) <= {"engine", "dt", "precision"}, name
        settings = task.settings_type.quick()
        for setting, value in form.settings.items():
            assert getattr(settings, setting) == value
        engine = form.create_engine()
        assert engine == evsim.engines.Exact() or (engine.dt, engine.precision) == (
            form.engine["dt"],
            form.engine["precision"],
        )
    assert mnist.Settings.quick(epochs=9, hidden=7).hidden == 7
    assert mnist.Settings.quick(epochs=9).epochs == 9


@pytest.mark.parametrize(
    ("task", "given", "chance"),
    [
        ("shd", ("--train-size", 60), 1 / 20),
        ("ssc", ("--train-size", 35, "--validation-size", 35), 1 / 35),
        ("braille", ("--epochs", 12), 1 / 27),  # the value of the quick form
    ],
)
def test_quick_forms_learn_and_say_what_they_set(task, given, chance, files, tmp_path, capfd):
    folder = tmp_path / "run"
    assert run("train", task, "--quick", "--data", files, "--out", folder, "--no-pictures",
               "--threads", 1, *given) == 0  # fmt: skip
    said = capfd.readouterr().err
    (line,) = [each for each in said.splitlines() if each.startswith(f"{task}: --quick sets ")]
    tested, settings = (
        json.loads((folder / f"{name}.json").read_text()) for name in ("test", "settings")
    )
    assert tested["accuracy"] > 4 * chance
    form = TASKS[task].settings_type.quick_form
    changed = {flag[2:].replace("-", "_") for flag in given[::2]} - {"epochs"}
    assert set(settings["quick"]) == {*form.settings, *form.engine} - changed
    for name, value in settings["quick"].items():
        flag = f"--{name.replace('_', '-')}"
        assert flag in line
        assert {**settings["settings"], **settings}[name] == value
    assert settings["engine"] == "grid"


def test_flags_win_over_the_quick_form(files, tmp_path, capfd):
    flags = ("train", "mnist", "--data", files, "--threads", 1, "--no-pictures", "--no-progress",
             "--train-size", 20, "--validation-size", 5, "--test-size", 10)  # fmt: skip
    assert run(*flags, "--quick", "--epochs", 1, "--engine", "exact", "--out", tmp_path / "a") == 0
    assert "mnist: --quick sets nothing" in capfd.readouterr().err
    stored = json.loads((tmp_path / "a" / "settings.json").read_text())
    assert (stored["quick"], stored["settings"]["epochs"]) == ({}, 1)
    assert run(*flags, "--epochs", 1, "--out", tmp_path / "b") == 0
    other = json.loads((tmp_path / "b" / "settings.json").read_text())
    assert "quick" not in other
    assert other["settings"] == stored["settings"]


def test_what_contradicts_a_quick_form_is_refused_with_what_it_sets(files, capfd):
    assert run("train", "shd", "--quick", "--data", files, "--delay-line", 3) == 2
    assert "--quick sets --hidden 64 --layers 1 --delays" in capfd.readouterr().err
