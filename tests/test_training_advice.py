"""What a training run says when it does not learn, and that it says nothing when it does."""

import re
import warnings

import numpy as np
import pytest
from evsim.schedules import EaseIn

import evsim
from evsim.losses import CrossEntropy, Existence, FirstSpikeCrossEntropy
from evsim.readouts import Mean

SAMPLES = 20
LABELS = np.arange(SAMPLES) % 2
SPIKES = evsim.SpikeTrains.from_latencies(np.where(LABELS[:, None] == [0, 1], 1.0, 8.0))


def network(weight=9.0, to_output=1.0, output=evsim.LI):
    """Two inputs, of which the one of the class spikes first, hidden units, and two outputs."""
    return evsim.Network(
        [evsim.Input("input", 2), evsim.LIF("hidden", 4), output("output", 2)],
        [
            evsim.Connection("input", "hidden", weight * np.array([[1, 0], [0, 1]] * 2)),
            evsim.Connection(
                "hidden", "output", to_output * np.array([[1, -1, 1, -1], [-1, 1] * 2])
            ),
        ],
    )


def fit(net=None, loss=None, rate=1e-9, **arguments):
    """Train, by default with steps that change nothing."""
    usual = {
        "duration": 20.0,
        "optimizers": {"weight": evsim.Adam(rate)},
        "epochs": 1,
        "batch_size": 10,
        "progress": False,
    }
    loss = CrossEntropy(Mean("exponential")) if loss is None else loss
    net = network() if net is None else net
    return evsim.fit(net, (SPIKES, LABELS), loss, **{**usual, **arguments})


def said(**arguments):
    """What a run warns of, at the line of this file that calls ``fit``."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(**arguments)
    assert all(each.filename == __file__ for each in caught)
    assert all(each.category is evsim.TrainingWarning for each in caught)
    return [str(each.message) for each in caught]


def test_a_network_that_learns_says_nothing():
    assert said(epochs=6, rate=0.01) == []


# -- learning rates that ease in ----------------------------------------------------------


def eased(**arguments):
    return {"optimizers": {"weight": evsim.Adam(1e-9, schedule=EaseIn(**arguments))}}


def test_an_ease_in_longer_than_the_run_is_said_before_it_with_numbers():
    (told,) = said(**eased(), epochs=10)  # 20 batches, of which the last has number 19
    assert told.startswith(
        "the run has 20 batches, at the last of which the learning rate of "
        "input->hidden.weight and 1 more "
        f"is {1e-3 * 1.05**19:.2g} of its full value, which it reaches after 142 batches; "
    )
    assert "train for 142 epochs or more" in told
    assert not said(**eased(), epochs=142)
    (told,) = said(**eased(start=0.5), epochs=14)
    assert "is below its full value until batch 15 of 28; train for 15 epochs or more" in told
    assert not said(**eased(start=0.5), epochs=15)
    assert not said(**eased(share=0.1), epochs=10)


def test_a_share_makes_the_rate_grow_just_fast_enough(tmp_path):
    records = fit(**eased(share=0.25), epochs=8, run_folder=tmp_path / "run").history
    found = [record.learning_rates["input->hidden.weight"] for record in records]
    growth = 1000 ** (1 / 4)  # a quarter of 16 batches; a record has the rate of its second one
    np.testing.assert_allclose(found, 1e-9 * np.minimum(1, 1e-3 * growth ** np.arange(1, 17, 2)))
    # A run that is continued for longer has the rates with which it began.
    folder = {"run_folder": tmp_path / "resumed"}
    fit(**eased(share=0.25), epochs=8, **folder, callbacks=[stop_after(1)])
    longer = fit(**eased(share=0.25), epochs=80, **folder, resume=True).history
    assert [r.learning_rates for r in longer[:8]] == [r.learning_rates for r in records]


def stop_after(epoch):
    def callback(state):
        if state.epoch == epoch:
            raise evsim.StopTraining("as asked")

    return callback


def test_a_run_that_stops_at_a_small_rate_says_so():
    told = said(**eased(), epochs=200, callbacks=[stop_after(3)])
    assert told == [
        "training ended after 6 batches, when the learning rate of input->hidden.weight and 1 more "
        f"was {1e-3 * 1.05**5:.2g} of its full value, which it reaches after 142 batches; let "
        "training go on for longer (patience, EarlyStopping(min_epochs=...)), use smaller "
        "batches, or shorten the ease-in: EaseIn(share=0.1), or a larger start, which tasks call "
        "ease_in"
    ]


# -- what the epochs show -----------------------------------------------------------------


def test_one_class_for_all_samples_and_guessing_are_said_once():
    same = network().replace({"hidden->output.weight": np.array([[2.0] * 4, [1.0] * 4])})
    one, chance = said(net=same, epochs=3)
    assert one.startswith("epoch 3: all samples were classified as class 0, for 3 epochs; use a")
    assert chance.startswith(
        "after 6 batches in 3 epochs, 50 % of the training samples are classified correctly, and "
        "always naming one class gives 50 %; train for more epochs"
    )
    turned = network(to_output=-1.0)  # every sample in the wrong class, but not all in one
    (told,) = said(net=turned)
    assert told.startswith("after 2 batches in 1 epoch, 0 % of")


def test_a_progress_display_says_the_same(capsys):
    same = network().replace({"hidden->output.weight": np.array([[2.0] * 4, [1.0] * 4])})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(same, epochs=3, progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert sum("all samples were classified as class 0" in line for line in lines) == 1
    assert "always naming one class gives 50 %" in lines[-1]


class Growing(evsim.SGD):
    """Makes all values larger, whatever the gradient is."""

    def step(self, values, gradient, state, learning_rate):
        values *= 2.0


def test_spike_counts_that_keep_growing_are_said():
    arguments = {"optimizers": {"input->hidden.weight": Growing(1.0)}, "epochs": 5}
    (told,) = [text for text in said(**arguments) if "more in each epoch" in text]
    found = re.fullmatch(
        r"epoch 4: a unit of 'hidden' spikes (\S+) times per sample, after (\S+) times in epoch 1, "
        r"and more in each epoch; add a rate regulariser, evsim.RateRegulariser\('hidden', "
        r"strength=1e-6\), or use a smaller learning rate",
        told,
    )
    assert float(found[1]) > 1.2**3 * float(found[2])
    regulariser = evsim.RateRegulariser("hidden", strength=1e-9)
    (told,) = [t for t in said(**arguments, regularisers=[regulariser]) if "each epoch" in t]
    assert "raise the strength of its rate regulariser, 1e-09 now" in told
    assert not any("each epoch" in text for text in said(epochs=5))


SILENT = network(weight=0.01)
READ = CrossEntropy(Mean("exponential"))


@pytest.mark.parametrize(
    ("arguments", "epoch", "remedy"),
    [
        (
            {},
            1,
            "so nothing behind it learns; raise the weights into it, or add the loss "
            "evsim.losses.Existence('hidden') (existence=1 in the settings of a task), or lift "
            "silent units, silent_lift=0.002",
        ),
        (
            {"loss": READ + Existence("hidden", strength=1e-3)},
            3,
            "so nothing behind it learns; raise the weights into it, or raise the strength of the "
            "loss Existence or the learning rate",
        ),
        (
            {"silent_lift": 1e-6},
            3,
            "so nothing behind it learns; raise the weights into it, or raise silent_lift, 1e-06 "
            "now, or add the loss evsim.losses.Existence('hidden') (existence=1 in the settings of "
            "a task)",
        ),
    ],
)
def test_a_silent_layer_gets_advice_that_is_not_followed_already(arguments, epoch, remedy):
    told = said(net=SILENT, epochs=4, **arguments)
    found = [text for text in told if "spiked" in text]
    assert found == [f"epoch {epoch}: no unit of 'hidden' spiked for any sample, {remedy}"]


def test_a_silent_output_gets_advice_for_outputs():
    net = network(to_output=0.01, output=evsim.LIF)
    told = said(net=net, loss=FirstSpikeCrossEntropy(), epochs=2)
    assert told[0] == (
        "epoch 1: no unit of 'output' spiked for any sample, so the loss reads no spike; raise "
        "the weights into it, or add the loss evsim.losses.Existence('output', when='wanted'), or "
        "lift silent units, silent_lift={'output': 0.002}"
    )


def test_a_loss_that_is_no_number_says_what_to_change():
    class Broken(CrossEntropy):
        def __call__(self, values, labels, duration):
            losses, derivative = super().__call__(values, labels, duration)
            return losses * np.inf, derivative

    with pytest.raises(FloatingPointError, match="is inf; use a smaller learning rate, or lambda"):
        fit(loss=Broken())
