"""exp and expm1 computed with basic arithmetic, against many digits."""

from __future__ import annotations

import mpmath
import numba
import numpy as np
import pytest

from evsim.equations.exponential import fast_exp, fast_exp_and_expm1

mp = mpmath.mp.clone()
mp.dps = 40


@numba.njit(error_model="numpy")
def over(x, of_exp, same, of_expm1):
    """A loop that is compiled to do several numbers at once."""
    for i in range(x.size):
        of_exp[i] = fast_exp(x[i])
        same[i], of_expm1[i] = fast_exp_and_expm1(x[i])


def both(x):
    of_exp, same, of_expm1 = np.empty((3, x.size))
    over(x, of_exp, same, of_expm1)
    np.testing.assert_array_equal(of_exp, same)
    return of_exp, of_expm1


def units_in_the_last_place(found, truths):
    return max(
        float(abs(mp.mpf(value) - truth) / np.spacing(abs(float(truth))))
        for value, truth in zip(found.tolist(), truths, strict=True)
    )


def arguments():
    rng = np.random.default_rng(0)
    around = np.log(2) * np.arange(-40, 40)[:, None] / 2 + rng.uniform(-1e-3, 1e-3, (80, 20))
    return np.concatenate(
        [
            -(10.0 ** rng.uniform(-300, np.log10(708), 2000)),
            10.0 ** rng.uniform(-300, np.log10(700), 1000),
            rng.uniform(-2, 2, 4000),
            around.ravel(),  # where the power of two changes
        ]
    )


def test_less_than_a_unit_in_the_last_place():
    x = arguments()
    of_exp, of_expm1 = both(x)
    exact = [mp.mpf(value) for value in x.tolist()]
    assert units_in_the_last_place(of_exp, [mp.exp(value) for value in exact]) < 1.0
    truths = np.array([mp.expm1(value) for value in exact])
    assert units_in_the_last_place(of_expm1[x <= 0], truths[x <= 0]) < 1.0
    assert units_in_the_last_place(of_expm1[x > 0], truths[x > 0]) < 1.6


@pytest.mark.parametrize(
    ("x", "of_exp", "of_expm1"),
    [(0.0, 1.0, 0.0), (-0.0, 1.0, 0.0), (-1e-320, 1.0, -1e-320), (-np.inf, 0.0, -1.0)]
    + [(-745.0, 5e-324, -1.0), (-746.0, 0.0, -1.0), (-750.0, 0.0, -1.0), (-1e300, 0.0, -1.0)],
)
def test_ends(x, of_exp, of_expm1):
    found = both(np.array([x]))
    assert found[0] == of_exp
    assert found[1] == of_expm1


def test_below_the_smallest_normal_number():
    """Where digits are lost there is an error of half a unit at most, and another in rounding."""
    x = np.linspace(-745.0, -708.0, 2000)
    of_exp, _ = both(x)
    truths = [mp.exp(mp.mpf(value)) for value in x.tolist()]
    errors = [abs(mp.mpf(a) - b) for a, b in zip(of_exp.tolist(), truths, strict=True)]
    assert max(e - b * mp.mpf(2) ** -52 for e, b in zip(errors, truths, strict=True)) <= 2.5e-324


def test_the_same_bits_one_by_one():
    x = arguments()
    together = both(x)
    alone = np.hstack([both(x[i : i + 1]) for i in range(x.size)])
    np.testing.assert_array_equal(alone, together)
