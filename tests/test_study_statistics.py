"""Intervals of differences and of accuracies, with values of textbooks and of the paper."""

import numpy as np
import pytest
from scipy import stats

from evsim.study import credible_interval, paired_difference

# Student's data of two sleeping drugs: hours of sleep gained by ten patients ("The probable error
# of a mean", 1908).
FIRST = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SECOND = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


def test_students_own_example():
    found = paired_difference(SECOND, FIRST)
    assert found.mean == pytest.approx(1.58)
    assert found.p == pytest.approx(0.002833, abs=1e-6)
    assert found.interval == pytest.approx((0.7001, 2.4599), abs=1e-4)
    assert 0.7 < found.bootstrap[0] < found.mean < found.bootstrap[1] < 3.0
    assert found.verdict == "a is larger"
    swapped = paired_difference(FIRST, SECOND)
    assert swapped.interval == pytest.approx([-end for end in found.interval[::-1]])
    assert swapped.verdict == "b is larger"
    assert "10 pairs: b is larger" in str(swapped)


def test_nothing_is_better_while_an_interval_includes_no_difference():
    found = paired_difference([0.90, 0.94, 0.91], [0.89, 0.90, 0.92])
    assert found.mean > 0
    assert found.verdict == "not decided"


def test_equal_differences_decide_nothing():
    found = paired_difference([0.5, 0.6], [0.4, 0.5])
    assert found.mean == pytest.approx(0.1)
    assert np.isnan(found.interval).all()
    assert str(found).endswith(f"in each of {found.pairs} pairs, so no interval: not decided")
    assert found.verdict == "not decided"


def test_intervals_include_the_true_difference_as_often_as_they_say():
    """Of intervals for twelve pairs with normal differences, of which the true mean is known."""
    generator = np.random.default_rng(0)
    inside = np.zeros(2)
    for _ in range(300):
        noise = generator.normal(size=12)
        found = paired_difference(0.3 + noise, np.zeros(12), confidence=0.9)
        inside += [low < 0.3 < high for low, high in (found.interval, found.bootstrap)]
    # Three standard errors of a fraction of 300; the bootstrap is known to be a little narrow.
    assert inside[0] / 300 == pytest.approx(0.9, abs=0.052)
    assert 0.8 < inside[1] / 300 < 0.95


def test_the_same_seed_gives_the_same_bootstrap():
    one, same, other = (paired_difference(FIRST, SECOND, seed=seed) for seed in (1, 1, 2))
    assert one.bootstrap == same.bootstrap != other.bootstrap


def test_the_credible_interval_of_the_paper():
    """0.93 on the 2264 test samples of SHD, section 2.3 of D."""
    low, high = credible_interval(0.93, 2264)
    assert (round(low, 3), round(high, 3)) == (0.919, 0.940)


@pytest.mark.parametrize(("accuracy", "samples"), [(0.0, 3), (1.0, 50), (0.5, 1)])
def test_a_credible_interval_holds_its_share_of_the_belief(accuracy, samples):
    low, high = credible_interval(accuracy, samples, confidence=0.8)
    right = accuracy * samples
    belief = stats.beta(1 + right, 1 + samples - right)
    assert belief.cdf(low) == pytest.approx(0.1)
    assert belief.sf(high) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: paired_difference([1.0], [2.0]), "a and b have 1 pairs: an interval needs"),
        (lambda: paired_difference([1.0, 2.0], [1.0]), "a has 2 results and b has 1: give pairs"),
        (lambda: paired_difference([1.0, np.nan], [1.0, 2.0]), r"a\[1\] = nan: give finite"),
        (lambda: credible_interval(93.0, 100), r"accuracy = 93.0: it must be in \[0, 1\]"),
        (lambda: credible_interval(0.5, 0), "samples = 0: it must be at least 1"),
        (lambda: paired_difference([1, 2], [2, 3], confidence=95), "confidence = 95: it must be"),
    ],
)  # fmt: skip
def test_what_has_no_interval_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
