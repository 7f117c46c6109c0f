"""Learning-rate schedules against their definitions, and the time of early stopping."""

import numpy as np
import pytest
from evsim.schedules import Decay, EarlyStopping, EaseIn, Halving, Schedule, StepDecay
from hypothesis import given
from hypothesis import strategies as st

import evsim
from evsim.training.history import EpochRecord


def history(values, watch="accuracy"):
    """The records of epochs 1, 2, ... with these values of the monitored quantity."""
    kept = dict.fromkeys(("loss", "accuracy", "validation_loss", "validation_accuracy"))
    return [
        EpochRecord(**{"epoch": epoch, "seconds": 1.0, "spikes_per_sample": {},
                       "silent_units": {}, "smallest_drive": None, "arrivals": 0,
                       "arrivals_after_end": 0} | kept | {watch: value})
        for epoch, value in enumerate(values, 1)
    ]  # fmt: skip


# -- schedules ----------------------------------------------------------------------------


def test_easing_in_takes_142_batches_over_the_whole_run_as_in_the_paper():
    factors = np.array([EaseIn()(1, step, ()) for step in range(200)])
    assert factors[0] == 1e-3
    np.testing.assert_allclose(factors[1:142] / factors[:141], 1.05, rtol=1e-12)
    assert factors[141] < 1
    assert (factors[142:] == 1).all()
    assert EaseIn()(7, 10**9, ()) == 1.0  # powers of so many steps would overflow
    assert EaseIn(start=1.0)(1, 0, ()) == 1.0


@given(start=st.floats(1e-4, 1.0), share=st.floats(0.01, 1.0), steps=st.integers(1, 3000))
def test_easing_in_takes_no_more_than_its_share_of_a_run(start, share, steps):
    schedule = EaseIn(start, share=share).in_run(steps)
    most = max(1, int(share * steps))
    assert schedule.steps <= most
    assert (schedule == EaseIn(start)) == (EaseIn(start).steps <= most)
    assert [schedule(1, step, ()) for step in (0, most)] == [min(1.0, start), 1.0]
    assert EaseIn(start).in_run(steps) == EaseIn(start)


def published_halvings(values, fast, slow, wait):
    """The learning rate's factor after each epoch, as published with Nowotny, Turner, Knight."""
    factor, mean, slow_mean, last, factors = 1.0, 0.0, 0.0, 0, []
    for epoch, value in enumerate(values):
        mean = fast * mean + (1.0 - fast) * value
        slow_mean = slow * slow_mean + (1.0 - slow) * value
        if epoch - last > wait and mean <= slow_mean:
            factor *= 0.5
            last = epoch
        factors.append(factor)
    return factors


@given(
    values=st.lists(st.floats(0, 1), max_size=40),
    averages=st.sampled_from([(0.8, 0.85), (0.0, 0.5), (0.3, 0.9)]),
    wait=st.integers(0, 6),
)
def test_halvings_are_those_of_the_published_program_after_every_epoch(values, averages, wait):
    schedule = Halving(*averages, wait)
    found = [schedule(epoch, 99, history(values[:epoch])) for epoch in range(1, len(values) + 1)]
    assert found == published_halvings(values, *averages, wait)


def test_halving_waits_for_a_plateau_and_then_again():
    # fast = 0 follows the value itself, slow = 0.5 halves its distance to it.
    values = [0.5, 0.6, 0.7, 0.6, 0.5, 0.4, 0.9, 0.8]
    means = [0.25, 0.425, 0.5625, 0.58125, 0.540625, 0.4703125]
    assert values[3] > means[3]
    assert values[4] < means[4]
    schedule = Halving(fast=0.0, slow=0.5, wait=1)
    factors = [schedule(len(values[:n]) + 1, 0, history(values[:n])) for n in range(9)]
    # Epoch 6 is below its mean too, but comes too soon; so it is halved after epoch 5 alone.
    assert factors == [1, 1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5]


def test_halving_follows_losses_downwards():
    falling = 2.0 * 0.9 ** np.arange(30)
    schedule = Halving(wait=2, watch="validation_loss")
    assert schedule(31, 0, history(falling, "validation_loss")) == 1.0
    rising = np.concatenate([falling, np.full(3, 9.0)])
    assert schedule(34, 0, history(rising, "validation_loss")) == 0.5


def test_decays_count_epochs():
    assert [Decay(0.5)(epoch, 77, ()) for epoch in (1, 2, 4)] == [1.0, 0.5, 0.125]
    factors = [StepDecay(0.5, every=3)(epoch, 77, ()) for epoch in range(1, 8)]
    assert factors == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25]


def test_an_optimiser_multiplies_its_schedules_and_its_decay():
    optimizer = evsim.Adam(
        0.8, decay=0.5, schedule=[EaseIn(start=0.25, growth=2.0), StepDecay(0.1, every=2)]
    )
    assert optimizer.learning_rate_at(1, 0, ()) == 0.8 * 0.25
    assert optimizer.learning_rate_at(1, 1, ()) == 0.8 * 0.5
    assert optimizer.learning_rate_at(3, 9, ()) == 0.8 * 0.25 * 0.1
    assert optimizer.changes_within_epochs
    single = evsim.SGD(0.8, schedule=Decay(0.5))
    assert not single.changes_within_epochs
    assert single.learning_rate_at(2, 0, ()) == 0.4
    assert single == evsim.SGD(0.8, schedule=[Decay(0.5)])


def test_a_schedule_of_ones_own_is_a_function():
    class Cosine(Schedule):
        def __call__(self, epoch, step, history):
            return 0.5 + 0.5 * np.cos(np.pi * (epoch - 1) / 10)

    assert evsim.SGD(2.0, schedule=Cosine()).learning_rate_at(6, 0, ()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: EaseIn(start=0.0), ValueError, r"start = 0.0: it must be in \(0, 1\]"),
        (lambda: EaseIn(growth=1.0), ValueError, "growth = 1.0: it must be finite and > 1"),
        (
            lambda: EaseIn(share=0.0),
            ValueError,
            r"share = 0.0: it must be in \(0, 1\]; None for no",
        ),
        (lambda: EaseIn(growth="2"), TypeError, "growth = '2': it must be a number"),
        (lambda: Halving(fast=0.9), ValueError, "fast = 0.9, slow = 0.85: .* fast < slow"),
        (lambda: Halving(wait=-1), ValueError, "wait = -1: it must be at least 0"),
        (lambda: Halving(watch="acc"), ValueError, "watch = 'acc': choose one of accuracy, loss"),
        (lambda: Decay(1.5), ValueError, r"factor = 1.5: it must be in \(0, 1\]"),
        (lambda: StepDecay(0.5, every=0), ValueError, "every = 0: it must be at least 1"),
        (lambda: EarlyStopping(patience=0), ValueError, "patience = 0: it must be at least 1"),
        (lambda: EarlyStopping(watch="epochs"), ValueError, "watch = 'epochs': choose one of"),
        (lambda: evsim.Adam(0.1, schedule=0.9), TypeError, "schedule = 0.9: give a schedule"),
        (lambda: evsim.Adam(0.1, schedule=[0.9]), TypeError, "schedule holds 0.9"),
    ],
)
def test_settings_out_of_range_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


# -- early stopping -----------------------------------------------------------------------


@given(
    values=st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4]), min_size=1, max_size=12),
    patience=st.integers(1, 4),
    min_epochs=st.integers(0, 8),
    watch=st.sampled_from(["accuracy", "validation_loss"]),
)
def test_early_stopping_counts_epochs_without_a_better_value(values, patience, min_epochs, watch):
    stopping = EarlyStopping(patience, watch, min_epochs)
    best, waited = None, 0
    for epoch, value in enumerate(values, 1):
        if best is None or (value > best if watch == "accuracy" else value < best):
            best, waited = value, 0
        else:
            waited += 1
        reason = stopping.reason(history(values[:epoch], watch))
        assert (reason is not None) == (waited >= patience and epoch >= min_epochs)
        if reason is not None:
            first = values.index(best) + 1
            assert reason == (
                f"{watch} has not improved on the {best:.4g} of epoch {first} for {patience} epochs"
            )
    assert stopping.reason([]) is None
