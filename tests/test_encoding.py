"""Encoders of continuous channels: their formulas, what they keep, and what they refuse."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evsim import encoding

RNG = np.random.default_rng(0)
RAGGED = [RNG.uniform(-1, 1, (length, 3)) for length in (4, 1, 6)]
EVERY = {
    "latency": lambda samples, **more: encoding.latency(
        samples, **{"frame_length": 2.0, "low": -1.0, "high": 1.0} | more
    ),
    "population": lambda samples, **more: encoding.population(
        samples, **{"frame_length": 2.0, "low": -1.0, "high": 1.0, "curves": 5} | more
    ),
    "level_crossing": lambda samples, **more: encoding.level_crossing(
        samples, **{"frame_length": 2.0, "threshold": 0.25} | more
    ),
    "resample": lambda samples, **more: encoding.resample(samples, **{"frames": 2} | more),
}
SPIKING = [name for name in EVERY if name != "resample"]


# -- the formulas -------------------------------------------------------------------------


def test_latency_is_linear_in_the_value_and_can_be_inverted():
    trains = encoding.latency([[[1.0], [-1.0], [0.5]]], frame_length=2.0, low=-1.0, high=1.0)
    assert trains.to_lists() == [[(0.0, 0), (4.0, 0), (4.5, 0)]]
    low, high = np.array([-1.0, -2.0, -1.0]), np.array([1.0, 1.0, 4.0])
    trains = encoding.latency(RAGGED, frame_length=2.0, low=low, high=high)
    assert trains.unit_count == 3
    for sample, spikes in zip(RAGGED, trains, strict=True):
        for channel in range(3):
            late = spikes.times[spikes.units == channel] / 2.0 - np.arange(len(sample))
            np.testing.assert_allclose(
                high[channel] - late * (high - low)[channel], sample[:, channel]
            )


def test_population_follows_its_formula():
    low, high, curves, width, cutoff = -1.0, 3.0, 4, 0.8, 0.3
    trains = encoding.population(
        RAGGED, frame_length=[1.0, 2.0, 3.0], low=low, high=high, curves=curves, width=width,
        cutoff=cutoff,
    )  # fmt: skip
    spacing = (high - low) / (curves - 1)
    for sample, length, spikes in zip(RAGGED, (1.0, 2.0, 3.0), trains.to_lists(), strict=True):
        expected = []
        for frame, channel in np.ndindex(sample.shape):
            for curve in range(curves):
                distance = sample[frame, channel] - (low + curve * spacing)
                activation = np.exp(-(distance**2) / (2 * (width * spacing) ** 2))
                if activation >= cutoff:
                    late = (1 - activation) / (1 - cutoff)
                    expected.append((length * (frame + late), channel * curves + curve))
        expected.sort()
        assert [unit for _, unit in spikes] == [unit for _, unit in expected]
        np.testing.assert_allclose([t for t, _ in spikes], [t for t, _ in expected])


@given(st.floats(-1, 1), st.integers(2, 9), st.floats(0.3, 3.0))
def test_no_value_is_lost_between_two_curves(value, curves, width):
    cutoff = np.exp(-1 / (8 * width**2))
    trains = encoding.population(
        [[[value]]], frame_length=1.0, low=-1.0, high=1.0, curves=curves, width=width,
        cutoff=min(0.999, cutoff * (1 - 1e-9)),
    )  # fmt: skip
    assert trains.times.size >= 1


@given(st.floats(0.3, 3.0), st.sampled_from([2, 3, 5, 9]))
def test_a_value_halfway_at_the_highest_cutoff_is_not_lost(width, curves):
    cutoff = float(np.exp(-0.125 / width / width))
    halfway = np.arange(curves - 1) + 0.5
    trains = encoding.population(
        halfway[np.newaxis, :, np.newaxis], frame_length=1.0, low=0.0, high=curves - 1.0,
        curves=curves, width=width, cutoff=cutoff,
    )  # fmt: skip
    expected = np.arange(curves - 1)[:, np.newaxis] + [0, 1]
    np.testing.assert_array_equal(np.sort(trains.units), np.sort(expected.ravel()))
    np.testing.assert_allclose(np.sort(trains.times), np.repeat(halfway + 0.5, 2))


def test_level_crossings_lie_on_the_line_between_values():
    trains = encoding.level_crossing(
        [[[0.0], [1.0], [0.9], [-0.2]]], frame_length=2.0, threshold=0.5
    )
    # Up at 0.5 and 1; down from the reference 1 to 0.5 and 0, both in the last frame.
    expected = [(1.0, 0), (2.0, 0), (4 + 2 * 0.4 / 1.1, 1), (4 + 2 * 0.9 / 1.1, 1)]
    (spikes,) = trains.to_lists()
    np.testing.assert_allclose(np.array(spikes), np.array(expected))


def test_level_crossings_follow_the_signal_to_a_threshold():
    signals = [RNG.normal(0, 1, (length, 2)).cumsum(axis=0) for length in (30, 1, 17)]
    threshold = np.array([0.3, 0.7])
    trains = encoding.level_crossing(signals, frame_length=[1.0, 2.0, 5.0], threshold=threshold)
    for signal, length, spikes in zip(signals, (1.0, 2.0, 5.0), trains, strict=True):
        for frame, values in enumerate(signal):
            counts = np.bincount(spikes.units[spikes.times <= length * frame + 1e-9], minlength=4)
            followed = signal[0] + threshold * (counts[::2] - counts[1::2])
            assert (np.abs(values - followed) < threshold * (1 + 1e-9)).all()


def test_resampling_averages_the_line_between_values():
    line = np.array([0.0, 1.0, 2.0, 3.0, 4.0])[:, np.newaxis]
    np.testing.assert_allclose(encoding.resample([line], 4)[0, :, 0], [0.5, 1.5, 2.5, 3.5])
    np.testing.assert_allclose(encoding.resample([line], 1)[0, :, 0], [2.0])
    bent = np.array([0.0, 2.0, 0.0])[:, np.newaxis]
    np.testing.assert_allclose(encoding.resample([bent], 3)[0, :, 0], [2 / 3, 5 / 3, 2 / 3])
    constant = encoding.resample([np.ones((1, 2)), np.ones((9, 2))], 5)
    np.testing.assert_allclose(constant, np.ones((2, 5, 2)))


# -- every encoder ------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
def test_arrays_and_lists_of_samples_are_alike(name):
    encode = EVERY[name]
    array = RNG.uniform(-1, 1, (3, 5, 2))
    assert np.all(encode(array) == encode(list(array)))
    assert np.all(encode(array) == encode(array.tolist()))


@pytest.mark.parametrize("name", SPIKING)
def test_a_sample_does_not_depend_on_the_others(name):
    encode = EVERY[name]
    together = encode(RAGGED, frame_length=[1.0, 2.0, 3.0])
    for place, sample in enumerate(RAGGED):
        assert together[place] == encode([sample], frame_length=place + 1.0)


@pytest.mark.parametrize("name", ["latency", "population"])
def test_values_outside_are_refused_or_clipped_on_request(name):
    encode = EVERY[name]
    outside = [np.array([[0.5], [1.5], [-7.0]])]
    message = r"samples\[0\]\[1, 0\] = 1.5: it is not within low and high; widen them, or set"
    with pytest.raises(ValueError, match=message):
        encode(outside)
    assert encode(outside, outside="clip") == encode([np.array([[0.5], [1.0], [-1.0]])])
    with pytest.raises(ValueError, match="outside = 'drop': choose one of refuse, clip"):
        encode(outside, outside="drop")


@pytest.mark.parametrize("name", EVERY)
def test_what_is_no_samples_is_refused(name):
    encode = EVERY[name]
    for samples, message in (
        (np.zeros((2, 3)), r"samples has shape \(2, 3\): give an array of shape \(batch, time, ch"),
        ([], "samples is empty: give an array"),
        ([np.zeros((2, 3)), np.zeros((2, 2))], r"samples\[1\] has shape \(2, 2\): .* 3 channels"),
        ([np.zeros(2)], r"samples\[0\] has shape \(2,\): give"),
        (np.zeros((1, 2, 0)), "samples has no channels"),
        ([[[0.0], [np.nan]]], r"samples\[0\]\[1, 0\] = nan: leave frames that were not"),
    ):
        with pytest.raises(ValueError, match=message):
            encode(samples)


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        *((name, {"frame_length": 0.0}, "frame_length = 0 ms: it must be") for name in SPIKING),
        *(
            (name, {"frame_length": [1.0]}, r"frame_length has shape \(1,\): .* of 3 samples")
            for name in SPIKING
        ),
        ("latency", {"low": 1.0}, "low = 1 and high = 1 of channel 0: they must be finite, and"),
        ("latency", {"high": [1.0, 2.0]}, r"high has shape \(2,\): .* each of 3 channels"),
        ("population", {"curves": 1}, "curves = 1: it must be at least 2"),
        ("population", {"width": 0.0}, "width = 0.0: it must be finite and > 0"),
        ("population", {"cutoff": 1.0}, r"cutoff = 1.0: it must be in \(0, 1\)"),
        (
            "population",
            {"width": 0.2, "cutoff": 0.1},
            "cutoff = 0.1 is above 0.0439, the activation halfway between two centres, so some",
        ),
        ("level_crossing", {"threshold": -1.0}, "threshold = -1: it must be finite and > 0"),
        *(
            (
                "level_crossing",
                {"threshold": [1.0, small, 1.0]},
                rf"threshold = {small:g} of channel 1 is too small for these samples: they would "
                r"give (\d\S+e\+\d+|inf) spikes; give a larger threshold",
            )
            for small in (1e-10, 1e-300, 5e-324)
        ),
        ("level_crossing", {"threshold": [1.0]}, r"threshold has shape \(1,\): .* 3 channels"),
        ("resample", {"frames": 0}, "frames = 0: it must be at least 1"),
    ],
)
def test_wrong_settings_are_refused(name, more, message):
    with pytest.raises(ValueError, match=message):
        EVERY[name](RAGGED, **more)


def test_an_empty_sample_cannot_be_resampled():
    with pytest.raises(ValueError, match=r"samples\[1\] is empty: give at least one value"):
        encoding.resample([np.zeros((2, 1)), np.zeros((0, 1))], 3)
