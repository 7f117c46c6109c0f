"""Datasets: classes and targets, groups, selection and concatenation."""

import numpy as np
import pytest

import evsim


def spikes(samples, seed=0, units=3):
    latencies = np.random.default_rng(seed).uniform(0, 20, (samples, units))
    return evsim.SpikeTrains.from_latencies(latencies)


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([0, 1], ValueError, r"labels has shape \(2,\): give one per sample, shape \(3,\)"),
        (
            ["a", "b", "a"],
            TypeError,
            "labels has type <U1: it must hold classes as integers, or targets",
        ),
        ([0, 1, -1], ValueError, r"labels\[2\] = -1: classes are counted from 0"),
        ([[0, 1]], ValueError, r"labels has shape \(1, 2\): give targets for each of 3"),
        ([[0.0, 1.0]], ValueError, r"labels has shape \(1, 2\): give targets for each of 3"),
    ],
)
def test_labels_that_are_neither_classes_nor_targets_are_refused(labels, error, message):
    with pytest.raises(error, match=message):
        evsim.Dataset(spikes(3), labels)


def test_groups_that_are_not_one_per_sample_are_refused():
    with pytest.raises(ValueError, match=r"groups has shape \(2,\): give one per sample"):
        evsim.Dataset(spikes(3), [0, 1, 2], groups=[0, 1])
    with pytest.raises(TypeError, match="groups has type float64: it must hold integers"):
        evsim.Dataset(spikes(3), [0, 1, 2], groups=[0.0, 1.0, 2.0])


def test_samples_of_several_inputs_are_selected_together_with_labels_and_groups():
    left, right = spikes(4, seed=1), spikes(4, seed=2)
    data = evsim.Dataset({"left": left, "right": right}, [3, 2, 1, 0], groups=[7, 7, 8, 9])
    chosen = data[np.array([2, 0, 2])]
    assert chosen.labels.tolist() == [1, 3, 1]
    assert chosen.groups.tolist() == [8, 7, 8]
    assert chosen.spikes["left"] == left[np.array([2, 0, 2])]
    assert chosen.spikes["right"] == right[np.array([2, 0, 2])]
    assert len(data[1]) == 1
    assert data[-1].groups.tolist() == [9]
    assert data[data.groups == 7].labels.tolist() == [3, 2]
    with pytest.raises(IndexError, match="sample 4 of a batch of 4"):
        data[4]
    with pytest.raises(ValueError, match=r"differ in their number of samples: {'left': 4, 'right'"):
        evsim.Dataset({"left": left, "right": right[:3]}, [0, 1, 0, 1])


def test_targets_keep_their_shape_and_their_gaps():
    targets = np.arange(12.0).reshape(3, 2, 2)
    targets[1, 0, 1] = np.nan
    data = evsim.Dataset(spikes(3), targets)
    assert not data.has_classes
    assert len(data) == 3
    np.testing.assert_array_equal(data[1].labels, targets[1:2])
    np.testing.assert_array_equal(data[1:].labels, targets[1:])
    assert "targets of shape (2, 2)" in repr(data)
    none = evsim.Dataset(spikes(0), targets[:0])
    assert none.labels.shape == data[:0].labels.shape == (0, 2, 2)
    with pytest.raises(ValueError, match="read-only"):
        data.labels[0] = 0.0


def test_joined_parts_are_the_whole_and_every_array_is_named():
    whole = evsim.Dataset({"in": spikes(5)}, [0, 1, 0, 2, 2], groups=[1, 1, 2, 2, -3])
    joined = evsim.Dataset.concatenate([whole[:2], whole[2:2], whole[2:]])
    assert list(joined.arrays()) == ["labels", "groups", "in.times", "in.units", "in.offsets"]
    for name, array in whole.arrays().items():
        np.testing.assert_array_equal(joined.arrays()[name], array)
    single = evsim.Dataset(spikes(2), [[0.5], [np.nan]])
    twice = evsim.Dataset.concatenate([single, single])
    assert twice.spikes == evsim.SpikeTrains.concatenate([single.spikes] * 2)
    np.testing.assert_array_equal(twice.labels, [[0.5], [np.nan]] * 2)
    assert "groups" not in single.arrays()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            evsim.Dataset(spikes(2), [0, 1], groups=[0, 1]),
            "their groups .*no groups; numbered groups",
        ),
        (evsim.Dataset(spikes(2), [0.0, 1.0]), r"their labels .*classes; targets of shape \(\)"),
        (evsim.Dataset(spikes(2, units=4), [0, 1]), "their inputs .*3 units; 'spikes' of 4 units"),
        (evsim.Dataset({"in": spikes(2)}, [0, 1]), "their inputs .*; 'in' of 3 units"),
    ],
)
def test_parts_that_do_not_go_together_are_not_joined(other, message):
    with pytest.raises(ValueError, match=message):
        evsim.Dataset.concatenate([evsim.Dataset(spikes(2), [0, 1]), other])


def test_joining_nothing_or_no_datasets_is_refused():
    with pytest.raises(ValueError, match="parts is empty"):
        evsim.Dataset.concatenate([])
    with pytest.raises(TypeError, match=r"parts\[0\] = .*: give an evsim.Dataset"):
        evsim.Dataset.concatenate([(spikes(1), [0])])


def test_groups_of_one_name_are_one_in_what_is_joined():
    first = evsim.Dataset(spikes(3), [0, 1, 0], [1, 0, 1], group_names=["tim", "eva"])
    second = evsim.Dataset(spikes(3), [0, 1, 1], [1, 0, -1], group_names=["eva", "max"])
    joined = evsim.Dataset.concatenate([first, second])
    assert joined.group_names == ("tim", "eva", "max")
    assert joined.groups.tolist() == [1, 0, 1, 2, 1, -1]
    assert joined[1:4].group_names == joined.group_names
    assert joined[1:4].groups.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="their groups .*named groups; numbered groups"):
        evsim.Dataset.concatenate([first, evsim.Dataset(spikes(1), [0], [0])])


@pytest.mark.parametrize(
    ("groups", "names", "error", "message"),
    [
        ([0, 2], ["a", "b"], ValueError, r"groups\[1\] = 2: 2 group_names name the groups 0 to 1"),
        ([0, 0], ["a", "a"], ValueError, r"group_names\[1\] = 'a' is there twice"),
        ([0, 0], ["a", 1], TypeError, r"group_names\[1\] = 1: give a name"),
        ([0, 0], "ab", TypeError, "group_names = 'ab': give a list of names"),
        (None, ["a"], ValueError, "group_names are given without groups"),
    ],
)
def test_group_names_that_do_not_fit_are_refused(groups, names, error, message):
    with pytest.raises(error, match=message):
        evsim.Dataset(spikes(2), [0, 1], groups, names)


def test_blended_samples_keep_the_names():
    data = evsim.Dataset(spikes(4), [0, 0, 1, 1], [0, 1, 0, 0], group_names=["a", "b"])
    blended = evsim.augment.Blend(probability=1.0)(data, np.random.default_rng(0), 1000.0).data
    assert blended.group_names == ("a", "b")
    assert set(blended.groups[4:].tolist()) <= {-1, 0}
