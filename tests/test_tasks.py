import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from evsim.tasks import sequence, yin_yang

pytestmark = pytest.mark.slow

# -- the Yin-Yang figure ------------------------------------------------------------------


def figure_class(x, y):
    """The class by the drawing: one boundary of two half circles and two straight ends."""
    u, v = x - 0.5, y - 0.5
    if math.hypot(u, v) > 0.5:
        return -1
    if math.hypot(abs(u) - 0.25, v) < 0.1:
        return 2
    # The boundary bulges downwards left of the centre and upwards right of it.
    bulge = math.sqrt(max(0.0, 0.25**2 - (abs(u) - 0.25) ** 2))
    return int(v > -bulge) if u < 0 else int(v > bulge)


unit = st.floats(0.0, 1.0)


@given(unit, unit)
def test_a_point_has_the_class_of_the_drawing(x, y):
    assert yin_yang.classify(np.array([[x, y]]))[0] == figure_class(x, y) or on_a_boundary(x, y)


def on_a_boundary(x, y):
    near = [(x + dx, y + dy) for dx in (-1e-9, 1e-9) for dy in (-1e-9, 1e-9)]
    return len({figure_class(*point) for point in near}) > 1


@given(unit, unit)
def test_half_a_turn_swaps_yin_and_yang(x, y):
    if on_a_boundary(x, y):
        return
    here, there = yin_yang.classify(np.array([[x, y], [1.0 - x, 1.0 - y]]))
    assert there == {0: 1, 1: 0, 2: 2, -1: -1}[int(here)]


def test_classes_are_balanced_and_points_uniform_in_them():
    points, classes = yin_yang.draw_points(30_001, np.random.default_rng(4))
    assert np.bincount(classes).tolist() == [10_001, 10_000, 10_000]
    assert [figure_class(*point) for point in points] == classes.tolist()
    # Both dots have the same area, so half of their points are in the left one, and so on.
    dots = points[classes == 2]
    assert np.mean(dots[:, 0] < 0.5) == pytest.approx(0.5, abs=0.02)
    radii = np.hypot(np.abs(dots[:, 0] - 0.5) - 0.25, dots[:, 1] - 0.5) / 0.1
    assert np.mean(radii**2) == pytest.approx(0.5, abs=0.01)
    # The centroids of yin and yang lie opposite of each other.
    centroids = [points[classes == label].mean(axis=0) - 0.5 for label in (0, 1)]
    np.testing.assert_allclose(centroids[0], -centroids[1], atol=0.01)


def test_inputs_are_latencies_of_the_coordinates():
    settings = yin_yang.Settings(early=1.0, late=11.0)
    spikes = yin_yang.encode([[0.25, 0.9]], settings)
    assert spikes.first()[0].tolist() == pytest.approx([3.5, 10.0, 8.5, 2.0])
    assert spikes.counts().tolist() == [[1, 1, 1, 1]]


def test_data_depend_on_their_seed_alone():
    settings = yin_yang.Settings(train_size=60, validation_size=30, test_size=33)
    splits = yin_yang.data(settings)
    assert [len(split) for split in splits] == [60, 30, 33]
    other_run = yin_yang.Settings(seed=5, train_size=90, validation_size=30, test_size=33)
    for ours, theirs in zip(splits[1:], yin_yang.data(other_run)[1:], strict=True):
        assert ours.spikes == theirs.spikes
    # No point is in two splits, and other seeds give other points.
    times = [split.spikes.times for split in splits]
    times += [
        split.spikes.times
        for split in yin_yang.data(yin_yang.Settings(data_seed=1, train_size=60, test_size=33))
    ]
    flat = np.concatenate(times)
    assert np.unique(flat).size == flat.size


# -- the Yin-Yang network -----------------------------------------------------------------


def test_delays_are_learned_where_they_are_asked_for():
    plain = yin_yang.Settings()
    assert set(yin_yang.optimizers(plain)) == {"weight"}
    one = yin_yang.Settings(hidden=7, delays=True, output_delays=False, initial_delay=1.5)
    assert set(yin_yang.optimizers(one)) == {"weight", "input->hidden.delay"}
    network = yin_yang.network(one)
    np.testing.assert_array_equal(network.parameters["input->hidden.delay"], np.full((7, 4), 1.5))
    assert network.parameters["hidden->output.delay"].shape == ()
    both = yin_yang.Settings(hidden=7, delays=True, delay_max=8.0)
    middle = np.full((3, 7), 4.0)
    np.testing.assert_array_equal(yin_yang.network(both).parameters["hidden->output.delay"], middle)
    assert "hidden->output.delay" in yin_yang.optimizers(both)


def test_learning_rates_given_win_and_delays_have_one_only_if_learned():
    assert set(yin_yang.Settings().learning_rates()) == {"weight"}
    assert set(yin_yang.Settings(delays=True).learning_rates()) == {"weight", "delay"}
    given_rates = yin_yang.Settings(delays=True, weight_rate=0.4, delay_rate=0.5)
    assert given_rates.learning_rates() == {"weight": 0.4, "delay": 0.5}
    assert yin_yang.optimizers(given_rates)["input->hidden.delay"].learning_rate == 0.5


def test_learning_rates_fall_to_a_fiftieth_in_the_run():
    settings = yin_yang.Settings(delays=True)
    for name, optimizer in yin_yang.optimizers(settings).items():
        first = settings.learning_rates()[name.rpartition(".")[2]]
        assert optimizer.learning_rate_in(settings.epochs + 1) == pytest.approx(first / 50)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden": 0}, "hidden = 0: it must be at least 1"),
        ({"late": 41.0}, "late = 41 and duration = 40 ms: they must satisfy"),
        ({"delay_rate": 0.1}, "delay_rate = 0.1 ms is given but no delays are learned"),
        ({"initial_delay": 1.0}, "initial_delay = 1 ms is given but no delays are learned"),
        ({"delays": True, "initial_delay": 11.0}, "within 0 and delay_max = 10 ms"),
        ({"delta": 3.0}, "delta = 3 is given but the loss is time: it belongs to"),
        ({"delay_max": 5.0}, "delay_max = 5 ms is given but no delays are learned"),
        ({"loss": "time_invariant", "alpha": 0.1}, "alpha = 0.1 is given but the loss is time_inv"),
        ({"loss": "time_invariant", "tau0": 1.0}, "tau0 = 1 is given but the loss is time_inv"),
        ({"data_seed": -1}, "data_seed = -1: it must be at least 0"),
    ],
)
def test_yin_yang_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        yin_yang.Settings(**settings)


def test_few_hidden_units_keep_their_spikes_because_the_loss_favours_early_ones():
    # The softmax of first spikes does not change if all of them come later by the same time.
    small = {"hidden": 5, "seed": 1, "epochs": 8}
    drifts = yin_yang.train(yin_yang.Settings(**small, alpha=0.0), progress=False).history
    kept = yin_yang.train(yin_yang.Settings(**small), progress=False).history
    assert drifts[-1].silent_units["hidden"] > 0
    assert all(epoch.silent_units["hidden"] == 0 for epoch in kept)
    assert kept[-1].spikes_per_sample["output"] == 3.0


@pytest.mark.parametrize(
    ("settings", "alpha"),
    [
        ({"hidden": 9}, 0.003),
        ({"hidden": 9, "delays": True, "output_delays": False}, 0.003),
        ({"hidden": 9, "delays": True}, 0.0),
        ({"hidden": 10}, 0.0),
        ({"hidden": 9, "alpha": 0.0}, 0.0),
        ({"hidden": 30, "alpha": 0.5}, 0.5),
    ],
)
def test_the_term_for_early_spikes_is_there_by_default_for_few_units(settings, alpha):
    assert yin_yang.Settings(**settings).loss_numbers()["alpha"] == alpha


def test_yin_yang_is_learned_the_better_the_longer():
    settings = yin_yang.Settings(
        hidden=10, delays=True, epochs=8, train_size=600, validation_size=150, test_size=300,
        batch_size=30,
    )  # fmt: skip
    result = yin_yang.train(settings, progress=False)
    accuracy = yin_yang.evaluate(result, settings).accuracy
    assert accuracy > 0.75
    assert result.history[-1].loss < 0.5 * result.history[0].loss
    points, classes = yin_yang.points_and_classes(settings, "test")
    assert np.mean(yin_yang.predict(result.network, points, settings) == classes) == accuracy


# -- sequence detection -------------------------------------------------------------------


def sequence_loss(difference, interval=10.0, tau_mem=10.0, tau_syn=5.0):
    """The loss if each output delays the spike it expects first by so much more, by closed form.

    Both sequences then excite the right output by two arrivals |difference - interval| apart,
    and the wrong one by two that are difference + interval apart.
    """

    def response(times):
        factor = tau_syn / (tau_mem - tau_syn)
        return np.where(
            times > 0, factor * (np.exp(-times / tau_mem) - np.exp(-times / tau_syn)), 0.0
        )

    times = np.linspace(0.0, 80.0, 200_001)

    def peak(gap):
        return np.max(response(times) + response(times - gap))

    return np.log1p(np.exp(peak(difference + interval) - peak(abs(difference - interval))))


def test_the_worst_start_is_learned_within_six_presentations():
    settings = sequence.Settings()
    start = sequence.network(settings).parameters["input->output.delay"]
    np.testing.assert_array_equal(start, [[0.0, 10.0], [10.0, 0.0]])
    result = sequence.train(settings, progress=False)
    assert len(result.history) == 6
    assert result.history[0].validation_accuracy == 0.0
    assert result.history[-1].validation_accuracy == 1.0
    delays = result.last_network.parameters["input->output.delay"]
    np.testing.assert_allclose(delays, [[10.0, 0.0], [0.0, 10.0]], atol=2.0)
    np.testing.assert_array_equal(result.network.parameters["input->output.weight"], 1.0)


def test_long_training_finds_the_minimum_of_the_loss():
    # It is not where the right spikes arrive together: the loss also parts the wrong ones.
    best = minimize_scalar(sequence_loss, bounds=(8.0, 15.0), method="bounded")
    assert best.x == pytest.approx(12.2, abs=0.05)
    result = sequence.train(sequence.Settings(epochs=60, delay_rate=0.5), progress=False)
    assert result.history[result.best_epoch - 1].validation_loss == pytest.approx(
        best.fun, abs=2e-5
    )
    delays = result.network.parameters["input->output.delay"]
    np.testing.assert_allclose(delays[[0, 1], [0, 1]] - delays[[0, 1], [1, 0]], best.x, atol=0.4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"interval": 16.0}, "interval = 16 ms: it must be > 0 and no longer than delay_max"),
        ({"duration": 10.0}, "duration = 10 ms: it must be longer than interval = 10 ms"),
        ({"seed": -2}, "seed = -2: it must be at least 0"),
    ],
)
def test_sequence_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        sequence.Settings(**settings)
