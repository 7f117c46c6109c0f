"""Options of fit: dropout, regularisers, schedules, stopping, targets and others."""

import json
from dataclasses import dataclass, replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from evsim.augment import DelayLine
from evsim.schedules import Decay, EarlyStopping, EaseIn, Halving
from training_runs import (
    DURATION,
    ENGINE,
    SAMPLES,
    KilledError,
    Spy,
    bits,
    everything,
    raise_after,
    small_data,
    small_network,
    train,
)

import evsim
from evsim import metrics
from evsim.engines import resolve
from evsim.losses import CrossEntropy, FirstSpikeCrossEntropy, VoltageMSE
from evsim.readouts import Mean, Voltage
from evsim.training import evaluate

LOSS = CrossEntropy(Mean("exponential"))

# Steps too short to change any bit, so that every epoch is of the same network.
STILL = {"optimizers": {"weight": evsim.SGD(1e-300)}, "delay_max": np.inf, "silent_lift": 0.0}


# -- everything at once -------------------------------------------------------------------


@pytest.fixture(scope="module")
def with_everything():
    return train(**everything())


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_run_with_everything_in_it_resumes_to_the_same_bits(tmp_path, with_everything, epoch):
    with pytest.raises(KilledError):
        train(tmp_path, callbacks=[raise_after(epoch, KilledError())], **everything())
    assert bits(train(tmp_path, resume=True, **everything())) == bits(with_everything)
    assert not (tmp_path / "lock.holder").exists()  # nobody trains there any more


def test_everything_took_part(with_everything):
    first, *_, last = with_everything.history
    assert first.steps == -(-(SAMPLES + 5) // 4)  # the blended samples are there
    for counter in ("spikes_lost", "dropped_spikes", "limited_spikes"):
        assert sum(getattr(record, counter) for record in with_everything.history) > 0
    assert 0 < sum(first.clipped_steps.values()) < 3 * first.steps
    assert list(first.clipped_steps) == [n for n in first.learning_rates if n.endswith(".weight")]
    assert last.learning_rates["hidden->output.weight"] == 0.5 * 0.3  # eased in, then halved
    assert last.learning_rates["input->hidden.delay"] == pytest.approx(20.0 * 0.9**3, rel=1e-14)
    start, end = small_network().parameters, with_everything.last_network.parameters
    for name in ("hidden.tau_mem", "hidden.tau_syn", "hidden.threshold", "output.tau_mem"):
        assert end[name] != start[name]


def test_resuming_with_another_setting_is_refused_by_its_name(tmp_path):
    train(tmp_path, epochs=1, **everything())
    for changes, message in [
        ({"dropout": {"input": 0.2, "hidden": 0.4}}, "dropout.hidden: 0.3 is stored, 0.4 is asked"),
        ({"regularisers": [evsim.RateRegulariser("hidden", 1e-3)]}, r"regularisers\[0\].target: 2"),
        ({"lambda_limit": np.inf}, "lambda_limit: 0.0001 is stored, inf is asked for"),
        ({"augmentation": everything()["augmentation"][:1]}, "augmentation: "),
        ({"early_stopping": None}, "early_stopping: .* None is asked for"),
        ({"watch": "loss"}, "watch: accuracy is stored, loss is asked for"),
    ]:
        with pytest.raises(evsim.storage.StorageError, match=message):
            train(tmp_path, resume=True, **everything() | changes)


# -- dropout, regularisers, limit ---------------------------------------------------------


def dropping(**changes):
    """Each epoch of the untrained network with dropout."""
    return train(dropout={"input": 0.3, "hidden": 0.3}, **STILL | changes)


def test_dropout_of_a_sample_depends_on_the_epoch_and_the_sample_alone():
    (whole, second) = dropping(epochs=2, batch_size=SAMPLES).history
    (single, _) = dropping(epochs=2, batch_size=1).history
    assert whole.dropped_spikes == single.dropped_spikes > 0
    assert whole.loss == single.loss
    assert (second.dropped_spikes, second.loss) != (whole.dropped_spikes, whole.loss)
    (other,) = dropping(epochs=1, seed=4).history
    assert other.loss != whole.loss


def test_validation_drops_nothing():
    result = dropping(epochs=2)
    outcome = evaluate(small_network(), small_data(7, seed=1), LOSS, DURATION, engine=ENGINE)
    assert [record.validation_loss for record in result.history] == [outcome.loss] * 2


def test_regularisers_and_the_limit_enter_the_gradient_of_each_step():
    data, name = small_data(4), "input->hidden.weight"
    options = {
        "regularisers": [evsim.RateRegulariser("hidden", 0.01, target=3.0)],
        "lambda_limit": 1e-4,
    }
    slope = evsim.gradient(
        small_network(), data.spikes, data.labels, LOSS, DURATION, wrt=[name], engine=ENGINE,
        **options,
    )  # fmt: skip
    assert slope.limited > 0
    arguments = {
        "data": data, "optimizers": {name: evsim.SGD(0.5)}, "epochs": 1, "delay_max": np.inf,
        "silent_lift": 0.0,
    }  # fmt: skip
    result = train(**arguments, **options)
    assert result.history[0].limited_spikes == slope.limited
    before = small_network().parameters[name]
    # The batch has the same samples in another order.
    np.testing.assert_allclose(
        result.last_network.parameters[name].data,
        before.data - 0.5 * slope.parameters[name].data,
        rtol=1e-13,
    )
    free = train(**arguments)
    assert not np.allclose(
        free.last_network.parameters[name].data, result.last_network.parameters[name].data
    )
    assert free.history[0].limited_spikes == 0


# -- schedules ----------------------------------------------------------------------------


def test_easing_in_counts_batches_of_the_whole_run():
    eased = evsim.Adam(0.3, schedule=EaseIn(start=1e-3, growth=1.05))
    result = train(epochs=3, optimizers={"weight": eased, "delay": evsim.SGD(0.1)})
    rates = [record.learning_rates["input->hidden.weight"] for record in result.history]
    # Three batches an epoch; those of epoch 2 are steps 3, 4 and 5.
    np.testing.assert_allclose(rates, 0.3e-3 * 1.05 ** np.array([2, 5, 8]), rtol=1e-13)
    assert {record.learning_rates["input->hidden.delay"] for record in result.history} == {0.1}
    assert [record.steps for record in result.history] == [3, 3, 3]


def test_every_step_is_taken_at_its_own_rate():
    # With a gradient that is clipped to a length, a step is as long as its rate.
    networks = [small_network()]
    name = "hidden->output.weight"

    def rate(step):
        return 0.5 * min(1.0, 0.25 * 2.0**step)

    train(
        epochs=3, batch_size=SAMPLES, delay_max=np.inf, silent_lift=0.0,
        optimizers={name: evsim.SGD(0.5, schedule=EaseIn(0.25, 2.0), clip=1e-9)},
        callbacks=[lambda state: networks.append(state.network)],
    )  # fmt: skip
    values = [network.parameters[name] for network in networks]
    lengths = [np.linalg.norm(after - before) for before, after in pairwise(values)]
    np.testing.assert_allclose(lengths, [1e-9 * rate(step) for step in range(3)], rtol=1e-5)


def test_halving_watches_the_records_of_past_epochs():
    schedule = Halving(fast=0.0, slow=0.5, wait=0, watch="validation_accuracy")
    result = train(epochs=5, optimizers={"weight": evsim.SGD(1e-300, schedule=schedule)},
                   delay_max=np.inf, silent_lift=0.0)  # fmt: skip
    rates = [record.learning_rates["hidden->output.weight"] for record in result.history]
    # The accuracy never changes; the slow average comes up to it from below and stays there.
    assert rates == [1e-300] * 5
    falling = replace(schedule, watch="loss", fast=0.5, slow=0.9)
    result = train(epochs=5, optimizers={"weight": evsim.SGD(0.05, schedule=falling)},
                   delay_max=np.inf, silent_lift=0.0, validation=None)  # fmt: skip
    rates = [record.learning_rates["hidden->output.weight"] for record in result.history]
    assert rates == [0.05 * falling(epoch, 0, result.history[: epoch - 1]) for epoch in range(1, 6)]


# -- augmentation -------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    data: evsim.Dataset
    lost: int


class Repeat:
    """Appends some of its samples again; writes down what it is called with."""

    def __init__(self, lost=0):
        self.lost = lost
        self.seen = []

    def __call__(self, data, generator, duration):
        again = generator.integers(len(data), size=3)
        self.seen.append((len(data), again.tolist(), duration))
        return Result(evsim.Dataset.concatenate([data, data[again]]), self.lost)


def test_augmentations_are_applied_anew_to_the_training_data_of_each_epoch_in_order():
    first, second = Repeat(lost=2), Repeat(lost=5)
    result = train(epochs=2, augmentation=[first, second], **STILL)
    assert [entry[::2] for entry in first.seen] == [(SAMPLES, DURATION)] * 2
    assert [entry[::2] for entry in second.seen] == [(SAMPLES + 3, DURATION)] * 2
    drawn = [tuple(entry[1]) for own in (first, second) for entry in own.seen]
    assert len(set(drawn)) > 1
    assert [record.spikes_lost for record in result.history] == [7, 7]
    assert [record.steps for record in result.history] == [4, 4]
    plain = evaluate(small_network(), small_data(7, seed=1), LOSS, DURATION, engine=ENGINE)
    assert {record.validation_loss for record in result.history} == {plain.loss}
    once, both = first.seen[0][1], np.array(second.seen[0][1])
    chosen = np.concatenate([np.arange(SAMPLES), once])
    shown = small_data()[np.concatenate([chosen, chosen[both]])]
    expected = evaluate(small_network(), shown, LOSS, DURATION, engine=ENGINE)
    assert result.history[0].loss == pytest.approx(expected.loss, rel=1e-14)
    again = Repeat()
    train(epochs=1, augmentation=[again], **STILL)
    assert again.seen[0] == first.seen[0]


def test_a_delay_line_may_be_what_makes_the_data_fit_the_network():
    spikes = evsim.SpikeTrains.from_lists([[(1.0, 0)], [(3.0, 1)]], units=2)
    network = evsim.Network(
        [evsim.Input("input", 6), evsim.LI("output", 2)],
        [evsim.Connection("input", "output", evsim.Normal(0.0, 1.0))],
        seed=0,
    )
    options = {
        "loss": evsim.losses.CrossEntropy(), "duration": 40.0, "epochs": 1, "progress": False,
        "optimizers": {"weight": evsim.Adam(0.1)},
    }  # fmt: skip
    line = evsim.augment.DelayLine(3, 5.0)
    result = evsim.fit(network, (spikes, [0, 1]), augmentation=[line], **options)
    assert result.history[0].arrivals == 2 * 3 * 2
    with pytest.raises(ValueError, match="has 6 units but its spike trains have 2"):
        evsim.fit(network, (spikes, [0, 1]), **options)
    shorter = evsim.augment.DelayLine(2, 5.0)
    with pytest.raises(ValueError, match="has 6 units but its spike trains have 4"):
        evsim.fit(network, (spikes, [0, 1]), augmentation=[shorter], **options)


def test_what_is_no_augmentation_is_refused():
    with pytest.raises(TypeError, match="returned Dataset: an augmentation returns what has"):
        train(augmentation=[lambda data, generator, duration: data])
    with pytest.raises(ValueError, match="left no sample to train on in epoch 1"):
        train(augmentation=[lambda data, generator, duration: Result(data[:0], 0)])


# -- stopping, and the best epoch ---------------------------------------------------------


def test_early_stopping_ends_a_run_that_no_longer_improves(tmp_path):
    stopping = EarlyStopping(patience=2, watch="validation_loss")
    result = train(tmp_path, epochs=10, early_stopping=stopping, **STILL)
    assert len(result.history) == 3
    assert not result.interrupted
    loss = result.history[0].validation_loss
    assert result.stopped == (
        f"validation_loss has not improved on the {loss:.4g} of epoch 1 for 2 epochs"
    )
    resumed = []
    again = train(
        tmp_path, epochs=12, early_stopping=stopping, resume=True,
        callbacks=[resumed.append], **STILL,
    )  # fmt: skip
    assert not resumed
    assert again.stopped == result.stopped
    assert bits(again) == bits(result)
    later = train(epochs=10, early_stopping=replace(stopping, min_epochs=5), **STILL)
    assert len(later.history) == 5
    # Where nothing is left to stop, nothing was stopped.
    assert train(epochs=3, early_stopping=stopping, **STILL).stopped is None


@pytest.mark.parametrize("watch", ["accuracy", "loss", "validation_accuracy", "validation_loss"])
@pytest.mark.parametrize("seed", [3, 4])
def test_what_is_watched_decides_the_best_epoch(watch, seed):
    networks = []
    result = train(epochs=6, seed=seed, watch=watch,
                   callbacks=[lambda state: networks.append(state.network)])  # fmt: skip
    values = np.array([getattr(record, watch) for record in result.history])
    best = values[result.best_epoch - 1]
    assert best == (values.min() if watch.endswith("loss") else values.max())
    losses = [getattr(record, watch.replace("accuracy", "loss")) for record in result.history]
    equal = [loss for loss, value in zip(losses, values, strict=True) if value == best]
    assert losses[result.best_epoch - 1] == min(equal)
    assert result.network is networks[result.best_epoch - 1]


# -- time constants and thresholds --------------------------------------------------------


def test_time_constants_of_a_teacher_are_found_again():
    weight = np.random.default_rng(1).normal(0, 1, (2, 3))
    teacher = evsim.Network(
        [evsim.Input("input", 3), evsim.LI("output", 2, tau_mem=[8.0, 30.0], tau_syn=4.0)],
        [evsim.Connection("input", "output", weight)],
    )
    times = np.linspace(2.0, 38.0, 10)
    spikes = small_data().spikes
    targets = evsim.simulate(teacher, spikes, DURATION, ENGINE).voltage("output", times)
    student = teacher.replace({"output.tau_mem": [20.0, 20.0], "output.tau_syn": 8.0})
    result = evsim.fit(
        student, (spikes, targets), VoltageMSE(Voltage(times)), duration=DURATION,
        optimizers={"tau_mem": evsim.Adam(0.6, decay=0.97), "tau_syn": evsim.Adam(0.3, decay=0.97)},
        projections={"tau_mem": (3.0, 60.0)}, epochs=100, batch_size=5, engine=ENGINE,
        progress=False,
    )  # fmt: skip
    found = result.network.parameters
    np.testing.assert_allclose(found["output.tau_mem"], [8.0, 30.0], rtol=0.01)
    np.testing.assert_allclose(found["output.tau_syn"], 4.0, rtol=0.01)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "output.tau_syn",
            r"the step took output\.tau_syn to -\d.*, and it must stay > 0: give it bounds within "
            r"which to learn, such as projections=\{'tau_syn': \(",
        ),
        (
            "hidden.threshold",
            r"the step led to hidden\.reset\[[01]\] = 0: it must be below hidden\.threshold"
            r"\[[01]\] = -\d.*; give hidden\.threshold bounds within which to learn, "
            r"projections=\{'hidden\.threshold': \(low, high\)\}, or a smaller learning rate",
        ),
    ],
)
def test_a_step_below_the_bound_is_refused_with_its_place_and_the_remedy(name, told):
    network = small_network().replace({"hidden.threshold": np.ones(4)})
    with pytest.raises(ValueError, match=f"^epoch 1, batch 1 of 1: {told}"):
        train(network=network, optimizers={name: evsim.Adam(1e3)}, batch_size=SAMPLES,
              delay_max=np.inf, silent_lift=0.0)  # fmt: skip


# -- targets ------------------------------------------------------------------------------


def voltage_task(samples, seed):
    """Voltages of a teacher network at two times, one of them missing."""
    data = small_data(samples, seed)
    run = evsim.simulate(small_network(), data.spikes, DURATION, ENGINE)
    targets = run.voltage("output", [15.0, 30.0])
    targets[0, 1, 0] = np.nan
    return evsim.Dataset(data.spikes, targets)


def test_a_network_learns_voltages_where_there_are_no_classes(tmp_path):
    data, validation = voltage_task(SAMPLES, 0), voltage_task(5, 1)
    student = small_network().replace({"hidden->output.weight": np.zeros((2, 4))})
    loss = VoltageMSE(Voltage([15.0, 30.0]))
    result = train(
        tmp_path, network=student, data=data, validation=validation, loss=loss, epochs=20,
        optimizers={"hidden->output.weight": evsim.Adam(0.2)}, delay_max=np.inf, silent_lift=0.0,
    )  # fmt: skip
    losses = [record.validation_loss for record in result.history]
    assert losses[-1] < 0.3 * losses[0]
    assert result.best_epoch == 1 + losses.index(min(losses))
    assert {r.accuracy for r in result.history} == {None}
    assert {r.validation_accuracy for r in result.history} == {None}
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["accuracy"] is None
    outcome = evaluate(result.network, validation, loss, DURATION, engine=ENGINE, batch_size=2)
    assert outcome.loss == pytest.approx(min(losses), rel=1e-13)
    assert (outcome.accuracy, outcome.predictions) == (None, None)
    assert outcome.readout.shape == (5, 2, 2)
    with pytest.raises(ValueError, match="the loss does not classify"):
        _ = outcome.confusion


def test_progress_without_classes_shows_losses(capsys):
    loss = VoltageMSE(Voltage([15.0, 30.0]))
    data = voltage_task(SAMPLES, 0)
    result = train(data=data, validation=data, loss=loss, epochs=1, progress=True)
    (record,) = result.history
    shown = capsys.readouterr().err
    assert f"loss {record.loss:.4g}, validation loss {record.validation_loss:.4g}," in shown
    assert "accuracy" not in shown


# -- evaluations --------------------------------------------------------------------------


def test_an_evaluation_says_which_classes_are_taken_for_which():
    network = evsim.Network(
        [evsim.Input("input", 3), evsim.LIF("output", 3)],
        [evsim.Connection("input", "output", 9.0 * np.eye(3))],
    )
    trains = [[(1.0, 0)], [(1.0, 1)], [(1.0, 1), (2.0, 0)], [(1.0, 2)], []]
    spikes = evsim.SpikeTrains.from_lists(trains, units=3)
    labels = [0, 0, 1, 1, 1]
    outcome = evaluate(
        network, (spikes, labels), FirstSpikeCrossEntropy(), DURATION, engine=ENGINE, batch_size=2
    )
    assert outcome.predictions.tolist() == [0, 1, 1, 2, -1]
    assert outcome.accuracy == 0.4
    assert outcome.confusion.tolist() == [[1, 1, 0], [0, 1, 1], [0, 0, 0]]
    assert outcome.unclassified.tolist() == [0, 1, 0]
    np.testing.assert_array_equal(outcome.accuracy_by_class, [0.5, 1 / 3, np.nan])
    counts = metrics.confusion_matrix(labels, outcome.predictions, 3)
    assert np.array_equal(outcome.confusion, counts)


# -- refusals -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"dropout": 0.1}, TypeError, "dropout = 0.1: give a mapping"),
        ({"dropout": {"hiden": 0.1}}, ValueError, "no population 'hiden'; did you mean 'hidden'"),
        ({"dropout": {"output": 0.1}}, ValueError, "'output', whose LI units never spike"),
        ({"dropout": {"hidden": 1.0}}, ValueError, r"'hidden' = 1.0: it must be in \[0, 1\)"),
        ({"regularisers": evsim.RateRegulariser("hidden", 1.0)}, TypeError, "give a list of them"),
        ({"regularisers": [evsim.RateRegulariser("output", 1.0)]}, ValueError, "no LIF population"),
        ({"lambda_limit": 0.0}, ValueError, "lambda_limit = 0.0: it must be > 0"),
        ({"augmentation": Repeat()}, TypeError, "give a list of augmentations"),
        ({"augmentation": [3]}, TypeError, "augmentation holds 3"),
        ({"early_stopping": 15}, TypeError, "early_stopping = 15: give evsim.EarlyStopping"),
        ({"watch": "best"}, ValueError, "watch = 'best': choose one of accuracy, loss"),
        ({"watch": "validation_loss", "validation": None}, ValueError,
         "the choice of the best epoch watches 'validation_loss', but there is no validation"),
        ({"early_stopping": EarlyStopping(), "validation": None}, ValueError,
         "early_stopping watches 'validation_accuracy', .* or watch 'accuracy'"),
        ({"optimizers": {"weight": evsim.SGD(1.0, schedule=Halving(watch="validation_loss"))},
          "validation": None, "delay_max": np.inf}, ValueError,
         "the schedule of input->hidden.weight watches 'validation_loss'"),
        ({"loss": VoltageMSE(Voltage([15.0, 30.0])), "data": voltage_task(4, 0),
          "validation": None, "watch": "accuracy"}, ValueError,
         "watches 'accuracy', but the loss does not classify: watch 'loss'"),
        ({"loss": VoltageMSE(Voltage([15.0, 300.0])), "data": voltage_task(4, 0),
          "validation": None}, ValueError, r"times\[1\] = 300.0 ms: the voltage is known within"),
        ({"loss": "cross-entropy", "augmentation": [DelayLine(2, 1.0)]}, TypeError,
         "loss = 'cross-entropy': it must be a Loss"),
        ({"projections": {"weight": ("-1", 1.0)}}, TypeError,
         r"a bound in projections\['weight'\] = '-1': it must be a number"),
        ({"data": voltage_task(4, 0)}, TypeError, "labels has type float64: it must hold integers"),
        ({"optimizers": {"weight": evsim.SGD(1.0), "tau_mem": evsim.SGD(1.0)},
          "projections": {"tau_mem": (0.0, 60.0)}, "delay_max": np.inf}, ValueError,
         r"the bounds of hidden.tau_mem are \[0, 60\]: it must stay > 0"),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit_are_refused_before_anything_runs(changes, error, message):
    engine = Spy(resolve(ENGINE))
    with pytest.raises(error, match=message):
        train(**{"engine": engine} | changes)
    assert engine.calls == 0


def test_regularisers_that_can_be_gone_through_once_are_not_lost():
    regulariser = evsim.RateRegulariser("hidden", 0.1, target=20.0)
    given, iterated, without = (
        train(epochs=1, regularisers=own) for own in ([regulariser], iter([regulariser]), ())
    )
    assert bits(given) == bits(iterated) != bits(without)


def test_decay_by_schedule_and_by_setting_are_the_same_run():
    optimizers = [
        {"weight": evsim.Adam(0.3, decay=0.5), "delay": evsim.SGD(20.0)},
        {"weight": evsim.Adam(0.3, schedule=Decay(0.5)), "delay": evsim.SGD(20.0)},
    ]
    first, second = (train(epochs=3, optimizers=own) for own in optimizers)
    assert bits(first) == bits(second)


class WithSettings:
    """An augmentation of a user's own; its settings are stored with the run."""

    def __init__(self, setting):
        self.setting = setting

    def __call__(self, data, generator, duration):
        return SimpleNamespace(data=data, lost=0)


def test_settings_of_any_kind_are_stored_or_named(tmp_path):
    network = evsim.Network(
        [evsim.Input("input", 1), evsim.LI("output", 2)],
        [evsim.Connection("input", "output", [[1.0], [2.0]])],
    )
    data = evsim.SpikeTrains.from_latencies([[1.0]]), [0]

    def train(setting, name):
        return evsim.fit(
            network, data, evsim.losses.CrossEntropy(evsim.readouts.Peak()), duration=10.0,
            optimizers={"weight": evsim.Adam(0.1)}, epochs=1, progress=False,
            augmentation=[WithSettings(setting)], run_folder=tmp_path / name, resume=True,
        )  # fmt: skip

    for name, setting in (("flag", np.True_), ("path", tmp_path), ("set", {2, 1})):
        train(setting, name)
        train(setting, name)
    with pytest.raises(TypeError, match="object .* cannot be described, so that a run with it"):
        train(object(), "object")
