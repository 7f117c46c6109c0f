"""Augmentation: comparison with plain loops, independence, statistics, and refused arguments."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from evsim.augment import Blend, DelayLine, Dilate, Jitter, Shift, Thin, delay_line
from hypothesis import given
from hypothesis import strategies as st

import evsim
from evsim import SpikeTrains
from evsim.network.dropout import is_dropped

UNITS = 7
DURATION = 20.0
SAMPLE_AUGMENTATIONS = [
    Shift(3),
    Shift(3, rounding="uniform"),
    Jitter(1.5),
    Dilate(0.5, 2.0),
    Dilate(0.5, 2.0, distribution="uniform"),
    Thin(0.4),
    DelayLine(3, 4.0),
]
each_sample_augmentation = pytest.mark.parametrize("augmentation", SAMPLE_AUGMENTATIONS, ids=str)
each_augmentation = pytest.mark.parametrize(
    "augmentation", [*SAMPLE_AUGMENTATIONS, Blend()], ids=str
)


@st.composite
def trains(draw, min_samples=0, min_spikes=0):
    """Samples with few distinct times, so that ties and silent samples are common."""
    time = st.one_of(st.floats(0.0, DURATION), st.sampled_from([0.0, 1.0, 2.5, DURATION]))
    event = st.tuples(time, st.integers(0, UNITS - 1))
    sample = st.lists(event, min_size=min_spikes, max_size=6)
    samples = draw(st.lists(sample, min_size=min_samples, max_size=5))
    return SpikeTrains.from_lists(samples, units=UNITS)


seeds = st.integers(0, 2**32)


def random_trains(samples=40, seed=0, unit_count=UNITS, duration=DURATION):
    """Samples of 0 to 19 spikes, with ties."""
    generator = np.random.default_rng(seed)
    counts = generator.integers(0, 20, samples)
    return SpikeTrains.from_events(
        generator.integers(0, 4 * int(duration), counts.sum()) / 4,
        generator.integers(0, unit_count, counts.sum()),
        np.repeat(np.arange(samples), counts),
        batch_size=samples,
        unit_count=unit_count,
    )


def random_data(**changes):
    spikes = random_trains(**changes)
    sample = np.arange(len(spikes))
    return evsim.Dataset(spikes, sample % 3, sample % 4)


def generator(seed=0):
    return np.random.default_rng(seed)


# -- against plain loops ---------------------------------------------------------------


def streams(seed, samples):
    """A generator for each sample, as augmentations that draw per spike make them."""
    return [np.random.default_rng(s) for s in generator(seed).integers(0, 2**63, samples)]


def shift_loop(samples, seed, augmentation):
    """What the loops return: the events of each sample, lost ones included."""
    limit = augmentation.channels
    if augmentation.rounding == "truncate":
        shifts = [int(s) for s in generator(seed).uniform(-limit, limit, len(samples))]
    else:
        shifts = generator(seed).integers(-limit, limit, len(samples)).tolist()
    return [[(t, u + s) for t, u in sample] for sample, s in zip(samples, shifts, strict=True)]


def jitter_loop(samples, seed, augmentation):
    return [
        [(t, u + round(augmentation.deviation * stream.standard_normal())) for t, u in sample]
        for sample, stream in zip(samples, streams(seed, len(samples)), strict=True)
    ]


def dilate_loop(samples, seed, augmentation):
    low, high = augmentation.low, augmentation.high
    if augmentation.distribution == "uniform":
        factors = generator(seed).uniform(low, high, len(samples))
    else:
        factors = np.exp(generator(seed).uniform(np.log(low), np.log(high), len(samples)))
    return [[(t * f, u) for t, u in sample] for sample, f in zip(samples, factors, strict=True)]


def thin_loop(samples, seed, augmentation):
    return [
        [event for event in sample if stream.random() >= augmentation.probability]
        for sample, stream in zip(samples, streams(seed, len(samples)), strict=True)
    ]


def delay_line_loop(samples, seed, augmentation):
    return [
        [
            (t + k * augmentation.spacing, u + k * UNITS)
            for k in range(augmentation.copies)
            for t, u in sample
        ]
        for sample in samples
    ]


LOOPS = {
    Shift: shift_loop,
    Jitter: jitter_loop,
    Dilate: dilate_loop,
    Thin: thin_loop,
    DelayLine: delay_line_loop,
}


def inside(samples, unit_count):
    """The events of a loop that stay in channels and trial, and how many do not."""
    kept = [[e for e in s if 0 <= e[0] <= DURATION and 0 <= e[1] < unit_count] for s in samples]
    return kept, sum(map(len, samples)) - sum(map(len, kept))


@each_sample_augmentation
@given(trains(), seeds)
def test_augmentations_agree_with_plain_loops(augmentation, spikes, seed):
    outcome = augmentation.transform(spikes, generator(seed), DURATION)
    changed = LOOPS[type(augmentation)](spikes.to_lists(), seed, augmentation)
    kept, lost = inside(changed, outcome.spikes.unit_count)
    assert outcome.spikes.to_lists() == [sorted(sample) for sample in kept]
    assert outcome.lost == lost
    # What was there is kept, lost or removed.
    copies = augmentation.copies if isinstance(augmentation, DelayLine) else 1
    assert outcome.spikes.times.size + outcome.lost + outcome.removed == copies * spikes.times.size
    assert outcome.removed == 0 or isinstance(augmentation, Thin)


@st.composite
def exact_trains(draw):
    """Samples whose means are exact: 1, 2 or 4 spikes at multiples of 1/4 ms."""
    event = st.tuples(st.integers(0, 4 * int(DURATION)), st.integers(0, UNITS - 1))
    sizes = draw(st.lists(st.sampled_from([1, 2, 4]), min_size=2, max_size=5))
    samples = [draw(st.lists(event, min_size=size, max_size=size)) for size in sizes]
    return SpikeTrains.from_lists([[(t / 4, u) for t, u in s] for s in samples], units=UNITS)


def blend_loop(samples, pairs, seed, augmentation):
    """The events of each new sample, lost ones included."""
    blended = []
    keys = generator(seed).integers(0, 2**64, (len(pairs), 2), dtype=np.uint64).tolist()
    for pair, own_keys in zip(pairs, keys, strict=True):
        events = []
        means = [np.mean(samples[parent], axis=0) for parent in pair]
        for parent, mean, key in zip(pair, means, own_keys, strict=True):
            time, channel = sum(means) / 2 - mean
            if augmentation.time_step is not None:
                time = int(time / augmentation.time_step) * augmentation.time_step
            seen = Counter()
            for t, u in sorted(samples[parent]):
                if is_dropped(key, u, seen[u], augmentation.probability):  # kept by that hash
                    events.append((t + time, u + int(channel)))
                seen[u] += 1
        blended.append(events)
    return blended


@given(
    exact_trains(),
    st.data(),
    seeds,
    st.floats(0.1, 1.0),
    st.sampled_from([None, 1.0, 0.25]),
)
def test_blends_agree_with_a_plain_loop(spikes, data, seed, probability, time_step):
    augmentation = Blend(probability=probability, time_step=time_step)
    place = st.integers(0, len(spikes) - 1)
    pairs = data.draw(st.lists(st.tuples(place, place), min_size=1, max_size=4))
    outcome = augmentation.blend(spikes, pairs, generator(seed), DURATION)
    events = blend_loop(spikes.to_lists(), pairs, seed, augmentation)
    kept, lost = inside(events, UNITS)
    assert outcome.spikes.to_lists() == [sorted(sample) for sample in kept]
    assert outcome.lost == lost
    parents = sum(len(spikes.to_lists()[parent]) for pair in pairs for parent in pair)
    assert outcome.spikes.times.size + outcome.lost + outcome.removed == parents


# -- what blends are made of -----------------------------------------------------------


def countable_data(samples, classes, groups=None):
    """Sample i has 2**i spikes at one place: a sum of two tells which."""
    spikes = SpikeTrains.from_lists(
        [[(5.0 + i / 8, 3)] * 2**i for i in range(samples)], units=UNITS
    )
    return evsim.Dataset(spikes, classes, groups)


def parents_of(spikes):
    """The samples that each blend of countable data is made of."""
    return [[i for i in range(16) if count >> i & 1] for count in np.diff(spikes.offsets)]


def test_blends_are_made_of_two_samples_of_one_class():
    classes = np.array([0, 1, 0, 2, 1, 0, 1])
    groups = np.array([0, 0, 1, 0, 0, 0, 1])
    data = countable_data(7, classes, groups)
    outcome = Blend(samples=400, probability=1.0)(data, generator(), DURATION)
    new = outcome.data[7:]
    pairs = parents_of(new.spikes)
    assert {tuple(pair) for pair in pairs} == {(0, 2), (0, 5), (2, 5), (1, 4), (1, 6), (4, 6)}
    for (first, second), label, group in zip(pairs, new.labels, new.groups, strict=True):
        assert label == classes[first] == classes[second]
        assert group == (groups[first] if groups[first] == groups[second] else -1)
    # The first is one of six, so two in six pairs of a class of three: five standard errors.
    assert abs(np.mean([pair == [0, 2] for pair in pairs]) - 1 / 6) < 5 * np.sqrt(5 / 36 / 400)


def test_blends_keep_to_one_group_where_asked():
    classes, groups = np.array([0, 0, 0, 0, 1, 1]), np.array([3, 4, 3, 4, 3, 4])
    data = countable_data(6, classes, groups)
    augmentation = Blend(samples=50, probability=1.0, same_group=True, keep_originals=False)
    outcome = augmentation(data, generator(), DURATION)
    pairs = [tuple(pair) for pair in parents_of(outcome.data.spikes)]
    assert set(pairs) == {(0, 2), (1, 3)}
    np.testing.assert_array_equal(outcome.data.groups, [3 if p == (0, 2) else 4 for p in pairs])


def test_samples_of_no_group_share_it_with_none():
    data = countable_data(4, np.zeros(4, int), np.array([-1, 0, -1, 0]))
    blend = Blend(samples=50, probability=1.0, same_group=True, keep_originals=False)
    outcome = blend(data, generator(), DURATION)
    assert {tuple(pair) for pair in parents_of(outcome.data.spikes)} == {(1, 3)}
    alone = countable_data(2, np.zeros(2, int), np.array([-1, -1]))
    with pytest.raises(ValueError, match="no two of the 2 samples can be blended"):
        blend(alone, generator(), DURATION)


@given(trains(min_samples=2, min_spikes=1))
def test_blends_are_aligned_in_time_and_channel(spikes):
    # Moved where nothing can be lost.
    spikes = SpikeTrains(spikes.times + 100.0, spikes.units + 50, spikes.offsets, 120)
    new = Blend(probability=1.0).blend(spikes, [[0, 1]], generator(), 300.0).spikes
    first, second = spikes[0], spikes[1]
    # The mean of all is the middle whatever the numbers of spikes of the two, only if both
    # means are there; a channel is cut off by less than 1.
    assert abs(new.times.mean() - (first.times.mean() + second.times.mean()) / 2) < 1e-10
    assert abs(new.units.mean() - (first.units.mean() + second.units.mean()) / 2) < 1.0


def test_a_sample_blended_with_itself_stays_in_place():
    spikes = random_trains(samples=3)
    outcome = Blend(probability=1.0).blend(spikes, [[1, 1]], generator(), DURATION)
    assert outcome.spikes.to_lists() == [sorted(2 * spikes.to_lists()[1])]
    outcome = Blend().blend(spikes, [[1, 1]], generator(), DURATION)
    assert set(outcome.spikes.to_lists()[0]) <= set(spikes.to_lists()[1])


def test_blends_come_after_the_data_or_instead_of_it():
    data = random_data()
    both = Blend(samples=11)(data, generator(), DURATION).data
    alone = Blend(samples=11, keep_originals=False)(data, generator(), DURATION).data
    assert both.spikes[: len(data)] == data.spikes
    assert both.spikes[len(data) :] == alone.spikes
    np.testing.assert_array_equal(both.labels, [*data.labels, *alone.labels])
    assert len(Blend()(data, generator(), DURATION).data) == 2 * len(data)
    named = evsim.Dataset({"ear": data.spikes}, data.labels)
    inputs = Blend(samples=11)(named, generator(), DURATION).data.spikes
    assert inputs == {"ear": both.spikes}


def test_samples_without_a_partner_are_not_blended():
    # Sample 1 is silent and 0 its only classmate; 2 and 3 remain.
    spikes = SpikeTrains.from_lists([[(1.0, 1)], [], [(5.0, 2)] * 2, [(5.0, 3)] * 4], units=UNITS)
    data = evsim.Dataset(spikes, [0, 0, 1, 1])
    outcome = Blend(samples=20, probability=1.0)(data, generator(), DURATION)
    assert set(np.diff(outcome.data.spikes.offsets[4:])) == {6}
    np.testing.assert_array_equal(outcome.data.labels[4:], 1)
    with pytest.raises(ValueError, match="no two of the 2 samples can be blended: .* two that"):
        Blend()(data[:2], generator(), DURATION)
    with pytest.raises(ValueError, match="sample 1 is silent: it has no mean"):
        Blend().blend(spikes, [[0, 2], [3, 1]], generator(), DURATION)
    with pytest.raises(ValueError, match=r"pairs has shape \(1, 3\): give two samples each"):
        Blend().blend(spikes, [[0, 2, 3]], generator(), DURATION)


# -- what must not matter --------------------------------------------------------------


@each_augmentation
def test_the_same_generator_gives_the_same_bits(augmentation):
    data = random_data()
    before = {name: array.copy() for name, array in data.arrays().items()}
    first, second, other = (augmentation(data, generator(s), DURATION) for s in (1, 1, 2))
    assert first.data.spikes == second.data.spikes
    assert (first.lost, first.removed, first.silenced) == (
        second.lost,
        second.removed,
        second.silenced,
    )
    assert first.data.spikes != other.data.spikes or isinstance(augmentation, DelayLine)
    for name, array in data.arrays().items():
        np.testing.assert_array_equal(array, before[name])


@each_augmentation
def test_the_stored_order_of_simultaneous_spikes_does_not_matter(augmentation):
    data = random_data()
    spikes = data.spikes
    order = np.lexsort((-spikes.units, spikes.times, spikes.samples))
    reversed_ties = SpikeTrains(spikes.times, spikes.units[order], spikes.offsets, UNITS)
    assert reversed_ties != spikes
    if isinstance(augmentation, Blend):
        augmentation = replace(augmentation, keep_originals=False)
    outcome = augmentation(data, generator(), DURATION)
    again = augmentation(replace(data, spikes=reversed_ties), generator(), DURATION)
    assert again.data.spikes == outcome.data.spikes
    assert (again.lost, again.removed) == (outcome.lost, outcome.removed)


@each_sample_augmentation
def test_a_sample_does_not_depend_on_the_others(augmentation):
    spikes, others = random_trains(seed=0), random_trains(seed=1)
    mixed = SpikeTrains.concatenate([spikes[:10], others[10:20], spikes[20:30]])
    whole = augmentation.transform(spikes, generator(), DURATION).spikes
    part = augmentation.transform(mixed, generator(), DURATION).spikes
    assert part[:10] == whole[:10]
    assert part[10:20] != whole[10:20]
    assert part[20:] == whole[20:30]


@each_sample_augmentation
def test_labels_groups_and_names_are_kept(augmentation):
    spikes = random_trains()
    targets = generator().normal(size=(len(spikes), 2, 3))
    data = evsim.Dataset({"ear": spikes}, targets, np.arange(len(spikes)))
    outcome = augmentation(data, generator(), DURATION)
    np.testing.assert_array_equal(outcome.data.labels, targets)
    np.testing.assert_array_equal(outcome.data.groups, data.groups)
    expected = augmentation.transform(spikes, generator(), DURATION).spikes
    assert outcome.data.spikes == {"ear": expected}


def test_a_delay_line_may_come_after_a_shift_only():
    spikes = random_trains()
    line = DelayLine(3, 4.0)
    shifted = Shift(3).transform(spikes, generator(), DURATION)
    late = line.transform(shifted.spikes, generator(), DURATION).spikes
    for copy in range(3):
        channels = (late.units >= copy * UNITS) & (late.units < (copy + 1) * UNITS)
        events = sorted(zip(late.samples[channels], late.times[channels], strict=True))
        on_time = shifted.spikes.times + 4.0 * copy <= DURATION
        times = shifted.spikes.times[on_time] + 4.0 * copy
        assert events == sorted(zip(shifted.spikes.samples[on_time], times, strict=True))


def test_a_delay_line_without_a_duration_loses_nothing():
    spikes = SpikeTrains.from_lists([[(1.0, 0), (9.0, 1)], []], units=2)
    outcome = delay_line(spikes, copies=3, spacing=5.0)
    assert outcome.spikes.to_lists() == [
        [(1.0, 0), (6.0, 2), (9.0, 1), (11.0, 4), (14.0, 3), (19.0, 5)],
        [],
    ]
    assert (outcome.spikes.unit_count, outcome.lost) == (6, 0)
    outcome = delay_line(spikes, copies=3, spacing=5.0, duration=11.0)
    assert outcome.spikes.to_lists()[0] == [(1.0, 0), (6.0, 2), (9.0, 1), (11.0, 4)]
    assert outcome.lost == 2
    assert delay_line(spikes, copies=1).spikes == spikes


# -- statistics, to five standard errors -----------------------------------------------


def drawn(augmentation, samples=20000, unit=500, time=1.0):
    """Many samples of one spike each, augmented."""
    spikes = SpikeTrains.from_lists([[(time, unit)]] * samples, units=1000)
    return augmentation.transform(spikes, generator(), 100.0).spikes


def test_shifts_are_distributed_as_in_the_programs():
    truncated = np.bincount(drawn(Shift(4)).units - 500 + 4, minlength=9) / 20000
    uniform = np.bincount(drawn(Shift(4, "uniform")).units - 500 + 4, minlength=9) / 20000
    expected = np.array([0, 1, 1, 1, 2, 1, 1, 1, 0]) / 8
    np.testing.assert_array_less(np.abs(truncated - expected), 5 * np.sqrt(expected / 20000) + 1e-9)
    expected = np.array([1, 1, 1, 1, 1, 1, 1, 1, 0]) / 8
    np.testing.assert_array_less(np.abs(uniform - expected), 5 * np.sqrt(expected / 20000) + 1e-9)


def test_jitter_has_its_deviation():
    moves = drawn(Jitter(10.0)).units - 500
    assert abs(moves.mean()) < 5 * 10 / np.sqrt(20000)
    # Rounding adds the variance of a uniform number, 1/12.
    assert abs(moves.std() - np.sqrt(100 + 1 / 12)) < 5 * 10 / np.sqrt(2 * 20000)


def test_dilations_are_distributed_as_said():
    logs = np.log(drawn(Dilate(0.5, 2.0)).times)
    assert abs(logs.mean()) < 5 * np.log(4.0) / np.sqrt(12 * 20000)
    assert logs.min() < np.log(0.51)
    assert logs.max() > np.log(1.96)
    times = drawn(Dilate(0.5, 2.0, "uniform")).times
    assert abs(times.mean() - 1.25) < 5 * 1.5 / np.sqrt(12 * 20000)
    assert times.min() >= 0.5
    assert times.max() <= 2.0


def test_thinning_and_blending_pick_with_their_probability():
    spikes = SpikeTrains.from_lists([[(1.0, 3)] * 10000] * 2, units=UNITS)
    kept = np.diff(Thin(0.3).transform(spikes, generator(), DURATION).spikes.offsets)
    np.testing.assert_array_less(np.abs(kept - 7000), 5 * np.sqrt(0.21 * 10000))
    assert kept[0] != kept[1]
    outcome = Blend(probability=0.3).blend(spikes, [[0, 1]], generator(), DURATION)
    assert abs(outcome.spikes.times.size - 6000) < 5 * np.sqrt(0.21 * 20000)


# -- what is lost, and refusals --------------------------------------------------------


def test_a_silenced_sample_stays_and_is_counted():
    spikes = SpikeTrains.from_lists([[(1.0, 1)], [(15.0, 1), (19.0, 2)], []], units=UNITS)
    data = evsim.Dataset(spikes, [0, 1, 0], [5, 6, 7])
    outcome = Dilate(2.0, 2.0)(data, generator(), DURATION)
    assert outcome.data.spikes.to_lists() == [[(2.0, 1)], [], []]
    assert (outcome.lost, outcome.removed, outcome.silenced) == (2, 0, 1)
    np.testing.assert_array_equal(outcome.data.labels, data.labels)
    np.testing.assert_array_equal(outcome.data.groups, data.groups)


def test_factors_and_jitter_beyond_all_numbers_lose_spikes():
    spikes = SpikeTrains.from_lists([[(0.0, 1), (19.0, 1)]], units=UNITS)
    outcome = Dilate(1e308, 1e308).transform(spikes, generator(), DURATION)
    assert outcome.spikes.to_lists() == [[(0.0, 1)]]
    assert Jitter(1e300).transform(spikes, generator(), DURATION).lost == 2


def test_silent_data_stays_silent_but_spikes_may_not_all_go():
    silent = evsim.Dataset(SpikeTrains.from_lists([[], []], units=UNITS), [0, 1])
    for augmentation in SAMPLE_AUGMENTATIONS:
        outcome = augmentation(silent, generator(), DURATION)
        assert (len(outcome.data), outcome.data.spikes.times.size, outcome.lost) == (2, 0, 0)
        assert outcome.silenced == 0
    late = evsim.Dataset(SpikeTrains.from_lists([[(15.0, 1)], [(19.0, 2)]], units=UNITS), [0, 1])
    with pytest.raises(
        ValueError,
        match=r"Dilate\(low=2\.0, high=3\.0.*\) leaves none of the 2 spikes .* \(2 lost, 0 removed",
    ):
        Dilate(2.0, 3.0)(late, generator(), DURATION)
    with pytest.raises(ValueError, match="leaves none of the 2 spikes"):
        Thin(1 - 1e-12)(late, generator(), DURATION)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Shift(0), "channels = 0: it must be at least 1"),
        (lambda: Shift(2.0), r"channels = 2\.0: it must be an integer"),
        (lambda: Shift(2, "nearest"), "rounding = 'nearest': choose one of truncate, uniform"),
        (lambda: Jitter(0.0), r"deviation = 0\.0: it must be > 0 channels"),
        (lambda: Jitter(np.nan), "deviation = nan: it must be finite"),
        (lambda: Jitter(True), "deviation = True: it must be a number"),
        (lambda: Dilate(0.0, 1.0), r"Dilate\(0\.0, 1\.0\): low must be > 0"),
        (lambda: Dilate(2.0, 1.0), r"Dilate\(2\.0, 1\.0\): .* must not exceed high"),
        (lambda: Dilate(1.0, np.inf), "high = inf: it must be finite"),
        (lambda: Dilate(1.0, 2.0, "normal"), "distribution = 'normal': choose one of log-unif"),
        (lambda: Thin(1.0), r"probability = 1\.0: it must be in \[0, 1\); 1 would remove"),
        (lambda: Thin(-0.1), r"probability = -0\.1: it must be in \[0, 1\)"),
        (lambda: Blend(samples=0), "samples = 0: it must be at least 1"),
        (lambda: Blend(probability=0.0), r"probability = 0\.0: it must be in \(0, 1\]"),
        (lambda: Blend(time_step=0.0), r"time_step = 0\.0 ms: .* None shifts times exactly"),
        (lambda: Blend(same_group=1), "same_group = 1: it must be True or False"),
        (lambda: DelayLine(0), "copies = 0: it must be at least 1"),
        (lambda: DelayLine(2, -1.0), r"spacing = -1\.0 ms: it must be >= 0"),
    ],
)
def test_settings_out_of_range_are_refused(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_data_that_cannot_be_augmented_is_refused():
    data = random_data()
    shift = Shift(2)
    with pytest.raises(TypeError, match="generator = 3: give numpy.random.default_rng"):
        shift(data, 3, DURATION)
    with pytest.raises(ValueError, match=r"duration = 0\.0 ms: it must be finite and > 0"):
        shift(data, generator(), 0.0)
    with pytest.raises(TypeError, match="data is of type int: give an evsim.Dataset"):
        shift(3, generator(), DURATION)
    two = evsim.Dataset({"left": data.spikes, "right": data.spikes}, data.labels)
    with pytest.raises(ValueError, match="the data has the inputs left, right: .* one input"):
        shift(two, generator(), DURATION)
    with pytest.raises(ValueError, match=r"targets of shape \(2,\): Blend needs one class per"):
        Blend()((data.spikes, np.zeros((len(data), 2))), generator(), DURATION)
    with pytest.raises(ValueError, match="same_group=True needs data with groups"):
        Blend(same_group=True)((data.spikes, data.labels), generator(), DURATION)
