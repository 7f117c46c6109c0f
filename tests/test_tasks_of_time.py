"""Sound localisation and motion detection: stimuli in their units, geometry, and training."""

import json

import numpy as np
import pytest

import evsim
from evsim.cli import main
from evsim.tasks import motion_detection, sound_localisation
from evsim.tasks.of_time.bar_pictures import steps_off
from evsim.tasks.of_time.ears import Sound, heard
from evsim.tasks.of_time.moving_bar import Row, seen
from evsim.tasks.of_time.place_code import PlaceCodeMSE

# -- what two ears hear -------------------------------------------------------------------


def ears(sound, itds, *, jitter, fibres=4, arrival=5.0):
    """Spikes of every sample, and those of the left and of the right ear of the first."""
    spikes = heard(
        sound, itds, np.full(len(itds), arrival), fibres=fibres, jitter=jitter,
        generator=np.random.default_rng(3),
    )  # fmt: skip
    assert spikes.unit_count == 2 * fibres
    pairs = spikes.to_lists()[0]
    return spikes, *(
        np.array([time for time, unit in pairs if (unit >= fibres) == right])
        for right in (False, True)
    )


def test_the_itd_is_the_difference_of_the_ears_without_jitter():
    itds = np.array([0.3, -0.5, 0.0])
    spikes, left, right = ears(Sound.clicks(2, 4.0), itds, jitter=0.0)
    first = spikes.first()
    np.testing.assert_allclose(first[:, 4:] - first[:, :4], itds[:, None] * np.ones(4), atol=1e-12)
    np.testing.assert_allclose(first[:, :4] + first[:, 4:], 10.0)
    np.testing.assert_allclose(left, np.repeat([4.85, 8.85], 4))  # the left ear hears it first
    np.testing.assert_allclose(right, np.repeat([5.15, 9.15], 4))


def test_jitter_is_a_standard_deviation_in_ms_and_each_spike_has_its_own():
    spikes, *_ = ears(Sound.clicks(1, 1.0), np.zeros(4000), jitter=0.02, fibres=3)
    deviations = spikes.first() - 5.0
    np.testing.assert_allclose(deviations.std(axis=0), 0.02, rtol=0.05)
    np.testing.assert_allclose(np.corrcoef(deviations.T), np.eye(6), atol=0.06)


def test_a_fibre_is_locked_to_some_cycles_of_a_tone():
    sound = Sound.tone(400.0, cycles=5, spike_probability=0.6)
    spikes, left, right = ears(sound, np.full(2000, 0.4), jitter=0.0)
    assert spikes.counts().mean() == pytest.approx(5 * 0.6, rel=0.02)
    for times, onset in ((left, 4.8), (right, 5.2)):
        cycles = (times - onset) / 2.5
        np.testing.assert_allclose(cycles, np.round(cycles), atol=1e-9)
        assert set(np.round(cycles)) <= set(range(5))


def test_a_sound_before_the_trial_is_refused():
    with pytest.raises(ValueError, match=r"would spike at -0.05 ms, before the trial: let sounds"):
        ears(Sound.clicks(1, 1.0), np.array([0.3]), jitter=0.0, arrival=0.1)


# -- what receptors see -------------------------------------------------------------------


def test_neighbours_spike_one_after_the_other_at_the_bars_speed():
    row = Row(receptors=6, spacing=0.5, off_width=2.0)
    spikes = seen(
        row, np.array([100.0, -250.0]), np.array([1, 2]), np.array([3.0, 7.0]), crossed=3,
        jitter=0.0, generator=np.random.default_rng(0),
    )  # fmt: skip
    first = spikes.first()
    nothing = np.inf
    # To the right: 0.5 degrees take 5 ms, and the bar is 20 ms long; to the left 2 and 8 ms.
    right = [nothing, 3.0, 8.0, 13.0, nothing, nothing]
    left = [nothing, nothing, 11.0, 9.0, 7.0, nothing]
    np.testing.assert_allclose(first[0], [*right, *(time + 20.0 for time in right)])
    np.testing.assert_allclose(first[1], [*left, *(time + 8.0 for time in left)])
    assert row.positions.tolist() == [-1.25, -0.75, -0.25, 0.25, 0.75, 1.25]


def test_a_bar_that_stands_still_is_refused():
    with pytest.raises(ValueError, match="a velocity is 0"):
        seen(
            Row(3, 1.0), np.zeros(1), np.zeros(1, int), np.ones(1), crossed=2, jitter=0.0,
            generator=np.random.default_rng(0),
        )  # fmt: skip


@pytest.mark.parametrize("task", [sound_localisation, motion_detection])
def test_samples_depend_on_the_seed_of_the_data_alone(task):
    sizes = {"train_size": 12, "validation_size": 12, "test_size": 12}
    splits = task.data(task.Settings(**sizes))
    again = task.data(task.Settings(seed=5, **sizes))
    others = task.data(task.Settings(data_seed=1, **sizes))
    for ours, same, other in zip(splits, again, others, strict=True):
        assert ours.spikes == same.spikes
        assert ours.labels.tolist() == same.labels.tolist()
        assert ours.spikes != other.spikes
    times = np.concatenate([split.spikes.times for split in splits])
    assert np.unique(times).size == times.size  # no sample is in two splits


# -- the place code -----------------------------------------------------------------------


def test_the_place_code_is_a_mean_and_knows_no_absolute_time():
    loss = PlaceCodeMSE((-1.0, 0.0, 3.0), tau=0.5)
    late = 0.5 * np.log(3.0)
    values = np.array([[2.0, 2.0 + late, np.inf], [2.0, 2.0, 2.0], [np.inf, np.inf, np.inf]])
    told = loss.told(values, duration=1e3)
    np.testing.assert_allclose(told, [-0.75, 2.0 / 3.0, 2.0 / 3.0])
    np.testing.assert_allclose(loss.told(values + 5.0, duration=1e3), told)
    losses, derivative = loss(values, np.array([0.25, np.nan, 1.0]), 1e3)
    np.testing.assert_allclose(losses, [0.5, 0.0, 1.0 / 18.0])
    assert np.count_nonzero(derivative) == 2  # not of missing spikes, nor without a target
    assert derivative[0, :2].sum() == pytest.approx(0.0)


def test_the_derivative_of_the_place_code_is_that_of_differences():
    evsim.testing.check_loss(PlaceCodeMSE((-0.5, 0.1, 0.4), tau=2.0), labels=np.array([0.2, -0.3]))


@pytest.mark.parametrize(
    ("places", "tau", "message"),
    [
        ((1.0,), 1.0, "give at least two"),
        ((0.0, np.inf), 1.0, r"places\[1\] = inf: it must be finite"),
        ((0.0, 1.0), 0.0, "tau = 0.0 ms: it must be finite and > 0"),
    ],
)
def test_a_place_code_that_tells_nothing_is_refused(places, tau, message):
    with pytest.raises(ValueError, match=message):
        PlaceCodeMSE(places, tau)


# -- geometry -----------------------------------------------------------------------------


@pytest.mark.slow
def test_detectors_with_jeffress_delays_prefer_their_place_and_need_both_ears():
    settings = sound_localisation.Settings(detectors=5)
    places = np.array(settings.places)
    ear = np.repeat([0.5, -0.5], settings.fibres)
    delays = {f"{sound_localisation.CONNECTION}.delay": 0.6 + places[:, None] * ear}
    network = sound_localisation.network(settings).replace(delays)
    np.testing.assert_allclose(
        sound_localisation.delay_differences(network, settings), places, atol=1e-12
    )
    itds = np.linspace(-0.6, 0.6, 241)
    latencies = sound_localisation.tuning(network, settings, itds)
    np.testing.assert_allclose(itds[np.argmin(latencies, axis=0)], places, atol=0.006)
    # A gap of 0.65 ms between the ears is too long: what the first has left has decayed.
    far = np.abs(itds[:, None] - places) > 0.65
    assert far.any()
    assert np.isinf(latencies[far]).all()


@pytest.mark.slow
@pytest.mark.parametrize("off", [False, True])
def test_detectors_with_the_delays_of_geometry_tell_every_bar(off):
    settings = motion_detection.Settings(off=off, jitter=0.0, test_size=60, delay_max=200.0)
    times = settings.row.passages(settings.velocities)
    delays = {f"{motion_detection.CONNECTION}.delay": 100.0 - times}
    network = motion_detection.network(settings).replace(delays)
    test = motion_detection.samples(settings, "test")
    tested = motion_detection.experiment.test(network, test, settings, "exact")
    assert tested.accuracy == 1.0
    assert steps_off(settings.row, settings.velocities[0], 100.0 - times[0]).max() < 1e-9
    assert steps_off(settings.row, settings.velocities[3], 100.0 - times[0]).min() > 1.0


# -- training -----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_short_training_tells_itds_to_less_than_the_jitter(tmp_path, capsys):
    folder = tmp_path / "run"
    status = main(
        ["train", "sound-localisation", "--epochs", "8", "--train-size", "1000", "--test-size",
         "400", "--validation-size", "100", "--out", str(folder), "--threads", "1"]
    )  # fmt: skip
    assert status == 0
    tested = json.loads((folder / "test.json").read_text())
    assert f"test mean error {tested['mean_error_us']:.4g} µs" in capsys.readouterr().out
    assert 7.0 < tested["mean_error_us"] < 20.0  # 8 µs: the difference of the ears' mean times
    assert tested["share_silent"] == 0.0
    assert "accuracy" not in tested
    pictures = {path.name for path in (folder / "pictures").iterdir()}
    assert pictures == {"learning.png", "estimates.png", "delays.png"}


@pytest.mark.slow
def test_delays_tell_motion_and_weights_alone_do_not(tmp_path):
    sizes = {"epochs": 12, "train_size": 600, "validation_size": 150, "test_size": 300}
    accuracies = []
    for delays in (True, False):
        settings = motion_detection.Settings(delays=delays, **sizes)
        assert ("delay" in motion_detection.optimizers(settings)) == delays
        result = motion_detection.train(settings, progress=False)
        accuracies.append(motion_detection.evaluate(result, settings).accuracy)
        names = {path.stem for path in motion_detection.pictures(result, settings, tmp_path / "x")}
        assert names == {"learning", "confusion", "delays"} - (set() if delays else {"delays"})
    assert accuracies[0] > 0.9
    assert accuracies[1] < 0.7


@pytest.mark.parametrize(
    ("settings", "arguments", "message"),
    [
        (
            sound_localisation.Settings,
            {"stimulus": "tone", "frequency": 1000.0},
            "itd_max = 0.5 ms: it must be below 0.5 ms, half a cycle of 1000 Hz",
        ),
        (sound_localisation.Settings, {"arrival_min": 0.3}, "must be at least 0.37 ms, half of"),
        (sound_localisation.Settings, {"delays": False}, "nothing is learned: set delays or"),
        (sound_localisation.Settings, {"detectors": 1}, "detectors = 1: it must be at least 2"),
        (sound_localisation.Settings, {"spike_probability": 0.0}, r"must be in \(0, 1\]"),
        (
            sound_localisation.Settings,
            {"delay_max": 0.4},
            "initial_delay_max = 0.5 ms: it must not exceed delay_max = 0.4 ms",
        ),
        (motion_detection.Settings, {"speeds": (100.0, 100.0)}, "give each once"),
        (motion_detection.Settings, {"speeds": (0.0, 100.0)}, "each must be finite and > 0"),
        (motion_detection.Settings, {"crossed": 13}, "crossed = 13: a bar must cross at least 2"),
        (motion_detection.Settings, {"jitter": 2.0}, "start_min = 10 ms: it must be at least 12"),
        (motion_detection.Settings, {"speeds": (30.0,)}, "the slowest bar takes 166.667 ms"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, arguments, message):
    with pytest.raises(ValueError, match=message):
        settings(**arguments)
