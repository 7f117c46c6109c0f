"""SpikeTrains: conversions between forms, selections, counts, and refused arguments."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evsim import SpikeTrains

TIMES = st.floats(0.0, 1e9)
UNITS = 3


@st.composite
def trains(draw, min_samples=0):
    """Samples with few distinct times, so that ties and silent samples are common."""
    time = st.one_of(TIMES, st.sampled_from([0.0, 1.0, 2.5]))
    sample = st.lists(st.tuples(time, st.integers(0, UNITS - 1)), max_size=6)
    samples = draw(st.lists(sample, min_size=min_samples, max_size=5))
    return SpikeTrains.from_lists(samples, units=UNITS)


# -- round trips -----------------------------------------------------------------------


@given(st.lists(st.lists(st.tuples(TIMES, st.integers(0, UNITS - 1)), max_size=6), max_size=5))
def test_lists_come_back_sorted_and_complete(samples):
    batch = SpikeTrains.from_lists(samples, units=UNITS)
    assert batch.to_lists() == [sorted(sample) for sample in samples]
    assert len(batch) == len(samples)


@given(trains())
def test_every_form_builds_the_same_trains(batch):
    assert SpikeTrains.from_lists(batch.to_lists(), units=UNITS) == batch
    assert SpikeTrains(batch.times, batch.units, batch.offsets, UNITS) == batch
    backwards = SpikeTrains.from_events(
        batch.times[::-1],
        batch.units[::-1],
        batch.samples[::-1],
        batch_size=len(batch),
        unit_count=UNITS,
    )
    assert backwards == batch


@given(trains(min_samples=1), st.data())
def test_selecting_and_concatenating_are_inverse(batch, data):
    assert SpikeTrains.concatenate([batch[sample] for sample in range(len(batch))]) == batch
    assert SpikeTrains.concatenate(list(batch)) == batch
    index = data.draw(st.lists(st.integers(-len(batch), len(batch) - 1), max_size=6))
    as_lists = batch.to_lists()
    assert batch[np.array(index, int)].to_lists() == [as_lists[sample] for sample in index]
    chosen = data.draw(st.slices(len(batch)))
    assert batch[chosen].to_lists() == as_lists[chosen]
    mask = np.arange(len(batch)) % 2 == 0
    assert batch[mask] == batch[::2]


@given(trains())
def test_counts_and_first_spikes_agree_with_the_lists(batch):
    counts = np.zeros((len(batch), UNITS), int)
    first = np.full((len(batch), UNITS), np.inf)
    for sample, events in enumerate(batch.to_lists()):
        for time, unit in events:
            counts[sample, unit] += 1
            first[sample, unit] = min(first[sample, unit], time)
    np.testing.assert_array_equal(batch.counts(), counts)
    np.testing.assert_array_equal(batch.first(), first)


@given(
    st.lists(
        st.lists(st.one_of(TIMES, st.just(np.nan)), min_size=UNITS, max_size=UNITS), max_size=5
    )
)
def test_latencies_come_back_as_first_spikes(latencies):
    latencies = np.array(latencies).reshape(-1, UNITS)
    first = SpikeTrains.from_latencies(latencies).first()
    np.testing.assert_array_equal(first, np.where(np.isnan(latencies), np.inf, latencies))


def test_types_and_the_printed_form():
    batch = SpikeTrains.from_lists([[(0.0, 0), (10.0, 1)], [(10.0, 0), (0.0, 1)]], units=2)
    assert [batch.times.dtype, batch.units.dtype, batch.offsets.dtype] == ["f8", "i4", "i8"]
    np.testing.assert_array_equal(batch.times, [0.0, 10.0, 0.0, 10.0])
    np.testing.assert_array_equal(batch.units, [0, 1, 1, 0])
    np.testing.assert_array_equal(batch.offsets, [0, 2, 4])
    assert repr(batch) == "SpikeTrains(2 samples, 2 units, 4 spikes)"


def test_trains_differ_in_any_part():
    batch = SpikeTrains.from_lists([[(1.0, 0)], []], units=2)
    assert batch != SpikeTrains.from_lists([[(1.0, 0)], []], units=3)
    assert batch != SpikeTrains.from_lists([[], [(1.0, 0)]], units=2)
    assert batch != SpikeTrains.from_lists([[(1.0, 1)], []], units=2)
    assert batch != SpikeTrains.from_lists([[(2.0, 0)], []], units=2)
    assert batch != batch.to_lists()


def test_trains_are_frozen_copies():
    times = np.array([1.0, 2.0])
    batch = SpikeTrains(times, [0, 1], [0, 2], 2)
    times[:] = 7.0
    np.testing.assert_array_equal(batch.times, [1.0, 2.0])
    for trains in (batch, batch[0], SpikeTrains.concatenate([batch, batch])):
        for array in (trains.times, trains.units, trains.offsets):
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0
    with pytest.raises(AttributeError, match="unit_count"):
        batch.unit_count = 3


# -- refusals --------------------------------------------------------------------------


def two_samples(times=(1.0, 2.0, 0.5), units=(0, 1, 1), offsets=(0, 2, 3), unit_count=2):
    return SpikeTrains(np.array(times), np.array(units), np.array(offsets), unit_count)


@pytest.mark.parametrize("time", [np.nan, np.inf, -np.inf, -0.5])
def test_times_must_be_finite_and_not_negative(time):
    message = rf"^times\[{{}}\] = {time} ms in sample 1: spike times must be finite and >= 0"
    with pytest.raises(ValueError, match=message.format(2)):
        two_samples(times=(1.0, 2.0, time))
    message = rf"^samples\[1\]\[0\] = \({time}, 0\): spike times must be finite and >= 0"
    with pytest.raises(ValueError, match=message):
        SpikeTrains.from_lists([[(1.0, 0)], [(time, 0)]], units=2)


@pytest.mark.parametrize("unit", [-1, 2, 2**31 - 1])
def test_units_must_be_in_range(unit):
    message = rf"^units\[{{}}\] = {unit} in sample {{}}: a population of 2 has units 0 to 1$"
    with pytest.raises(ValueError, match=message.format(1, 0)):
        two_samples(units=(0, unit, 1))
    # The index is that of the caller's order, not of the sorted events.
    with pytest.raises(ValueError, match=message.format(0, 1)):
        SpikeTrains.from_events([9.0, 1.0], [unit, 0], [1, 0], batch_size=2, unit_count=2)


def test_units_beyond_their_type_are_refused_not_wrapped():
    with pytest.raises(ValueError, match="units holds values beyond int32"):
        two_samples(units=(0, 2**32, 1))


def test_times_must_be_sorted_inside_each_sample():
    with pytest.raises(
        ValueError, match=r"times\[2\] = 0\.5 ms comes after 2 ms in sample 1: sort the events"
    ):
        two_samples(offsets=(0, 1, 3))
    assert two_samples(offsets=(0, 2, 3)).to_lists() == [[(1.0, 0), (2.0, 1)], [(0.5, 1)]]


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ([], "offsets is empty"),
        ([0, 2], "offsets runs from 0 to 2: it must run from 0 to the number of events, 3"),
        ([1, 3], "offsets runs from 1 to 3"),
        ([0, 4, 3], r"offsets\[2\] = 3 is below offsets\[1\] = 4"),
        ([0, 2, 1, 3], r"offsets\[2\] = 1 is below offsets\[1\] = 2"),
    ],
)
def test_offsets_must_partition_the_events(offsets, message):
    with pytest.raises(ValueError, match=message):
        two_samples(offsets=np.array(offsets, int))


def test_arrays_must_have_one_entry_per_event():
    with pytest.raises(ValueError, match="times has 3 events but units has 2"):
        two_samples(units=(0, 1))
    with pytest.raises(ValueError, match="times, units and samples have 2, 1 and 2 entries"):
        SpikeTrains.from_events([1.0, 2.0], [0], [0, 0], batch_size=1, unit_count=1)
    with pytest.raises(ValueError, match=r"times has shape \(1, 1\): it must be one-dimensional"):
        SpikeTrains([[1.0]], [0], [0, 1], 1)


def test_types_are_not_converted_with_loss():
    with pytest.raises(TypeError, match="units has type float64: it must hold integers"):
        two_samples(units=(0.0, 1.0, 1.0))
    with pytest.raises(TypeError, match="times has type <U1: it must hold numbers"):
        two_samples(times=("1", "2", "3"))
    with pytest.raises(TypeError, match="times has type complex128"):
        two_samples(times=(1j, 2j, 3j))


def test_samples_must_lie_in_the_batch():
    for sample in (-1, 2):
        with pytest.raises(
            ValueError, match=rf"samples\[1\] = {sample}: a batch of 2 has samples 0 to 1"
        ):
            SpikeTrains.from_events([1.0, 2.0], [0, 0], [0, sample], batch_size=2, unit_count=1)


def test_counts_must_be_whole_and_large_enough():
    with pytest.raises(ValueError, match="unit_count = 0: it must be at least 1"):
        two_samples(unit_count=0)
    with pytest.raises(TypeError, match=r"unit_count = 2\.0: it must be an integer"):
        two_samples(unit_count=2.0)
    with pytest.raises(ValueError, match="batch_size = -1: it must be at least 0"):
        SpikeTrains.from_events([], [], [], batch_size=-1, unit_count=1)


def test_latencies_are_not_negative():
    with pytest.raises(ValueError, match=r"latencies\[0, 1\] = -3\.0 ms"):
        SpikeTrains.from_latencies([[1.0, -3.0]])
    with pytest.raises(ValueError, match=r"latencies has shape \(2,\): .* \(batch, units\)"):
        SpikeTrains.from_latencies([1.0, 2.0])


def test_only_batches_of_one_population_can_be_joined():
    one = SpikeTrains.from_lists([[]], units=1)
    with pytest.raises(ValueError, match=r"spike trains of \[1, 2\] units cannot be joined"):
        SpikeTrains.concatenate([one, SpikeTrains.from_lists([[]], units=2)])
    with pytest.raises(ValueError, match="batches is empty"):
        SpikeTrains.concatenate([])


def test_selections_must_exist():
    batch = two_samples()
    for sample in (2, -3):
        with pytest.raises(IndexError, match=f"sample {sample} of a batch of 2"):
            batch[sample]
    with pytest.raises(IndexError, match="sample 2 of a batch of 2"):
        batch[[0, 2]]
    for index in ([[0], [1]], True, "0", None, (0, 1), [True]):
        with pytest.raises(TypeError, match=r"index = .*: select samples by an integer, a slice"):
            batch[index]
    with pytest.raises(TypeError, match="index has type float64: it must hold integers or truth"):
        batch[[0.0]]
    assert batch[[True, False]] == batch[:1] == batch[np.array([-2])]
