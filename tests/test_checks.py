"""A setting that is not a number is refused where it is given, and the error names it."""

import numpy as np
import pytest

import evsim
from evsim import losses, readouts
from evsim.arguments.checks import check_choice, check_number, checked_integer


@pytest.mark.parametrize("value", ["1", None, True, np.bool_(True), [1.0], 1j, np.complex128(1)])
def test_numbers_are_real(value):
    with pytest.raises(TypeError, match=r"rate = .*: it must be a number"):
        check_number(value, "rate")
    with pytest.raises(TypeError, match=r"count = .*: it must be an integer"):
        checked_integer(value, "count", 0)
    for number in (1, 1.0, np.float32(1), np.int8(1), np.inf):
        check_number(number, "rate")


def test_integers_have_a_minimum():
    assert checked_integer(np.int8(2), "count", 2) == 2
    with pytest.raises(ValueError, match="count = 1: it must be at least 2"):
        checked_integer(1, "count", 2)
    with pytest.raises(ValueError, match="kind = 'c': choose one of a, b"):
        check_choice("c", "kind", ("a", "b"))


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda value: evsim.Adam(value), "learning_rate"),
        (lambda value: evsim.Adam(0.1, epsilon=value), "epsilon"),
        (lambda value: evsim.SGD(0.1, momentum=value), "momentum"),
        (lambda value: evsim.SGD(0.1, clip=value), "clip"),
        (lambda value: losses.FirstSpikeCrossEntropy(tau0=value), "tau0"),
        (lambda value: losses.FirstSpikeCrossEntropy(alpha=value), "alpha"),
        (lambda value: losses.TimeInvariantMSE(value), "delta"),
        (lambda value: readouts.VoltageTrace(value), "tolerance"),
        (lambda value: evsim.RateRegulariser("hidden", value), "strength"),
        (lambda value: evsim.Dropout({"hidden": value}), "dropout of 'hidden'"),
    ],
)
def test_settings_that_are_no_numbers(make, name):
    with pytest.raises(TypeError, match=f"^{name} = '0.1': it must be a number$"):
        make("0.1")
