"""Folds partition the data; scores are collected, averaged, and kept after Ctrl-C."""

import statistics
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import evsim
from evsim.study import Fold, Scores, cross_validate, k_fold, leave_one_group_out, repeat

pytestmark = pytest.mark.slow


def small_data(labels, groups=None):
    """One spike per sample, at a time that identifies the sample."""
    spikes = evsim.SpikeTrains.from_lists([[(float(i), 0)] for i in range(len(labels))], units=1)
    return evsim.Dataset(spikes, labels, groups)


def check_division(data, folds):
    """Every sample is held out once and trained on in all other folds, with all it has."""
    held_out = np.concatenate([fold.held_out for fold in folds])
    np.testing.assert_array_equal(np.sort(held_out), np.arange(len(data)))
    for fold in folds:
        assert len(fold.train) > 0
        for part in (fold.train, fold.validation):
            samples = part.spikes.times.astype(int)
            np.testing.assert_array_equal(part.labels, data.labels[samples])
            if data.groups is not None:
                np.testing.assert_array_equal(part.groups, data.groups[samples])
        np.testing.assert_array_equal(fold.validation.spikes.times, fold.held_out)
        both = np.concatenate([fold.train.spikes.times, fold.validation.spikes.times])
        np.testing.assert_array_equal(np.sort(both), np.arange(len(data)))


# -- folds -----------------------------------------------------------------------------


@given(
    st.lists(st.integers(0, 3), min_size=2, max_size=30),
    st.integers(2, 6),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_parts_divide_the_data_evenly(labels, count, stratified, seed):
    labels = np.array(labels + labels if stratified else labels)
    count = min(count, labels.size)
    data = small_data(labels, np.arange(labels.size) % 3)
    folds = k_fold(data, count, seed=seed, stratified=stratified)
    check_division(data, folds)
    sizes = [fold.held_out.size for fold in folds]
    assert max(sizes) - min(sizes) <= 1
    if stratified:
        for label in np.unique(labels):
            numbers = [int((fold.validation.labels == label).sum()) for fold in folds]
            assert max(numbers) - min(numbers) <= 1


def test_the_seed_decides_the_parts():
    data = small_data(np.arange(40) % 4)
    first, again, other = (
        [fold.held_out.tolist() for fold in k_fold(data, 5, seed=seed)] for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
    # Samples stand in no order of their own in the folds, so neither do neighbours.
    assert first != [fold.held_out.tolist() for fold in k_fold(data, 5, seed=1, stratified=False)]
    assert [fold.name for fold in k_fold(data, 2)] == ["fold 1 of 2", "fold 2 of 2"]


@given(st.lists(st.integers(0, 4), min_size=2, max_size=20).filter(lambda g: len(set(g)) > 1))
def test_groups_are_held_out_whole(groups):
    data = small_data(np.zeros(len(groups), int), groups)
    folds = leave_one_group_out(data)
    check_division(data, folds)
    assert [fold.name for fold in folds] == [f"group {group}" for group in sorted(set(groups))]
    for fold in folds:
        assert not set(fold.train.groups) & set(fold.validation.groups)
        assert len(set(fold.validation.groups)) == 1


def test_folds_share_the_data_and_cannot_be_changed():
    data = small_data([0, 1, 0, 1], [3, 3, 4, 4])
    folds = leave_one_group_out(data)
    assert all(fold.data is data for fold in folds)
    assert repr(folds[1]) == "Fold('group 4', 2 of 4 samples held out)"
    with pytest.raises(ValueError, match="read-only"):
        folds[0].held_out[0] = 1


def test_held_out_samples_are_sorted_and_there_once():
    data = evsim.Dataset(evsim.SpikeTrains.from_latencies(np.arange(4.0)[:, None]), [0, 1, 0, 1])
    fold = Fold("one", data, np.array([3, 0]))
    assert fold.held_out.tolist() == [0, 3]
    with pytest.raises(ValueError, match="held_out holds a sample twice"):
        Fold("one", data, np.array([3, 0, 0]))


def test_data_that_cannot_be_divided_is_refused():
    data = small_data([0, 0, 0, 1])
    with pytest.raises(ValueError, match="folds = 1: it must be at least 2"):
        k_fold(data, 1)
    with pytest.raises(ValueError, match="folds = 5: 4 samples make at most as many folds"):
        k_fold(data, 5)
    with pytest.raises(ValueError, match="class 1 has a single sample, .* stratified=False"):
        k_fold(data, 2)
    assert len(k_fold(data, 4, stratified=False)) == 4
    with pytest.raises(ValueError, match=r"targets of shape \(2,\).* pass stratified=False"):
        k_fold(small_data(np.zeros((4, 2))), 2)
    with pytest.raises(ValueError, match="the dataset has no groups: give Dataset"):
        leave_one_group_out(data)
    with pytest.raises(ValueError, match="the dataset has 1 group in 2 samples: .* at least two"):
        leave_one_group_out(small_data([0, 1], [7, 7]))
    with pytest.raises(ValueError, match=r"groups\[1\] = -1: .* folds first, then augment"):
        leave_one_group_out(small_data([0, 1, 0], [7, -1, 8]))


# -- scores ----------------------------------------------------------------------------


FOLDS = leave_one_group_out(small_data([0, 1, 0, 1, 0], [0, 0, 2, 2, 5]))


def test_scores_are_averaged_over_folds():
    seen = []

    def train(fold, seed):
        seen.append((fold.name, seed))
        return fold.held_out.size / 4 + seed

    scores = cross_validate(train, FOLDS, seed=3, progress=False)
    assert seen == [("group 0", 3), ("group 2", 3), ("group 5", 3)]
    assert scores.names == ("group 0", "group 2", "group 5")
    assert scores.values.tolist() == [3.5, 3.5, 3.25]
    assert scores.mean == pytest.approx(statistics.mean(scores.values))
    assert scores.standard_deviation == pytest.approx(statistics.stdev(scores.values))
    assert str(scores) == "3.417 ± 0.144 (3 scores)"
    assert not scores.interrupted


def test_a_single_score_has_no_deviation():
    scores = repeat(lambda seed: 0.5, [0], progress=False)
    assert np.isnan(scores.standard_deviation)
    assert str(scores) == "0.500 (1 score)"


def test_repetitions_take_scores_numbers_and_their_seeds(capsys):
    def train(fold, seed):
        return fold.held_out.size * seed

    scores = repeat(lambda seed: cross_validate(train, FOLDS, seed=seed), range(1, 3))
    assert scores.names == ("seed 1", "seed 2")
    np.testing.assert_allclose(scores.values, [5 / 3, 10 / 3])
    lines = capsys.readouterr().err.splitlines()
    assert lines[1] == "group 2: 2.0000 (2 of 3 folds)"
    assert lines[-1] == "seed 2: 3.3333 (2 of 2 seeds)"
    assert len(lines) == 8


LOSS = evsim.losses.CrossEntropy(evsim.readouts.Mean())


def two_channels():
    """The class is the channel that spikes."""
    classes = np.arange(12) % 2
    spikes = evsim.SpikeTrains.from_lists([[(float(i), i % 2)] for i in range(12)], units=2)
    return evsim.Dataset(spikes, classes)


def trained(fold, seed, validation=True):
    """A network that begins with every class wrong and gets them right in its second epoch."""
    network = evsim.Network(
        [evsim.Input("input", 2), evsim.LI("output", 2)],
        [evsim.Connection("input", "output", [[-1.0, 1.0], [1.0, -1.0]])],
    )
    return evsim.fit(
        network,
        fold.train,
        LOSS,
        duration=20.0,
        optimizers={"weight": evsim.SGD(32.0)},
        epochs=3,
        seed=seed,
        validation=fold.validation if validation else None,
        progress=False,
    )


def test_a_trained_network_scores_by_its_validation():
    folds = k_fold(two_channels(), 3)
    results = {fold.name: trained(fold, 1) for fold in folds}
    scores = cross_validate(lambda fold, seed: results[fold.name], folds, progress=False)
    evaluations = [
        evsim.evaluate(results[fold.name].network, fold.validation, LOSS, 20.0) for fold in folds
    ]
    assert scores.values.tolist() == [evaluation.accuracy for evaluation in evaluations]
    # Not those of the first epoch.
    assert scores.values.tolist() == [1.0, 1.0, 1.0]
    assert all(result.history[0].validation_accuracy == 0.0 for result in results.values())
    by_evaluation = repeat(evaluations.__getitem__, range(3), progress=False)
    assert by_evaluation.values.tolist() == scores.values.tolist()
    with pytest.raises(ValueError, match="no validation accuracy: give fit validation=fold.valid"):
        cross_validate(lambda fold, seed: trained(fold, seed, validation=False), folds)


def test_an_interrupt_keeps_the_scores_there_are():
    result = trained(k_fold(two_channels(), 3)[0], 1)

    def interrupted_fit(fold, seed):
        return 1.0 if fold is FOLDS[0] else replace(result, interrupted=True)

    def interrupt(fold, seed):
        if fold is not FOLDS[0]:
            raise KeyboardInterrupt
        return 1.0

    for train in (interrupted_fit, interrupt):
        scores = cross_validate(train, FOLDS, progress=False)
        assert (scores.names, scores.values.tolist()) == (("group 0",), [1.0])
        assert scores.interrupted
        assert str(scores) == "1.000 (1 score, interrupted)"
        with pytest.raises(KeyboardInterrupt):
            cross_validate(train, FOLDS[1:], progress=False)
        # Half a cross-validation is no score of its seed.
        with pytest.raises(KeyboardInterrupt):
            repeat(lambda seed, train=train: cross_validate(train, FOLDS, progress=False), [0, 1])


def test_what_is_no_score_is_refused():
    with pytest.raises(ValueError, match="the score is nan: it must be finite") as refusal:
        cross_validate(lambda fold, seed: float("nan"), FOLDS)
    assert refusal.value.__notes__ == ["in group 0"]
    with pytest.raises(TypeError, match="the score is of type NoneType: return a number, an Eval"):
        cross_validate(lambda fold, seed: None, FOLDS)
    with pytest.raises(TypeError, match="the score is of type bool"):
        repeat(lambda seed: True, [0])
    with pytest.raises(ValueError, match="folds is empty: give at least one"):
        cross_validate(lambda fold, seed: 1.0, [])
    with pytest.raises(TypeError, match="folds holds 3: give a list of what k_fold"):
        cross_validate(lambda fold, seed: 1.0, [3])
    with pytest.raises(ValueError, match="seeds holds 4 twice: it would count the same run"):
        repeat(lambda seed: 1.0, [4, 5, 4])
    with pytest.raises(TypeError, match=r"seeds\[0\] = 0.5: it must be an integer"):
        repeat(lambda seed: 1.0, [0.5])
    assert isinstance(FOLDS[0], Fold)
    assert isinstance(repeat(lambda seed: 1, [np.int64(3)], progress=False), Scores)
