"""What happens if balls do not decide: more digits, and finally a report."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from evsim.engines.protocol import EngineError
from evsim.engines.reference.neuron import Number

Result = TypeVar("Result")

DIGITS_LIMIT = 1000
"""The largest number of digits that is tried for a decision, unless another limit is given."""


class Undecided(EngineError):  # noqa: N818 (it asks for more digits)
    """Two balls overlap, so the order of the numbers in them is unknown.

    ``what`` describes the decision in words; None as long as only the numbers are known.
    """

    def __init__(self, one: Number, other: Number, what: str | None = None) -> None:
        super().__init__(what or "two numbers cannot be told apart: give more digits")
        self.one = one
        self.other = other
        self.what = what

    def about(self, what: str) -> Undecided:
        """The same with a description of the decision, unless it already has one."""
        return Undecided(self.one, self.other, self.what or what)


class UndecidedError(EngineError):
    """Two numbers could not be told apart with the most digits allowed.

    Attributes
    ----------
    sample : int or None
        The sample in which it happened; None for a decision of a readout or of a gradient.
    values : tuple of two floats
        The two numbers: times in ms, or voltages.
    width : float
        The largest possible difference between them, rounded up.
    digits : int
        The number of digits with which this was found.
    """

    def __init__(self, undecided: Undecided, digits: int, sample: int | None = None) -> None:
        self.sample = sample
        self.values = float(undecided.one), float(undecided.other)
        difference = undecided.one.distance(undecided.other)
        self.width = difference.upper
        self.digits = digits
        one, other = self.values
        found = (
            f"it is {one:.17g} give or take {undecided.one.radius.at_most()}"
            if undecided.one is undecided.other
            else f"{one:.17g} and {other:.17g} differ by less than {difference.at_most()} and may "
            "be equal"
        )
        super().__init__(
            f"{undecided.what or 'a decision'} is not decided with {digits} digits: {found}; "
            "change the input or a parameter a little, or allow more digits with digits_limit"
        )


def with_enough_digits(
    attempt: Callable[[int], Result], digits: int, limit: int, sample: int | None = None
) -> tuple[Result, int]:
    """The result of an attempt with this number of digits, or with twice, four times ... as many.

    Also returns the digits that were enough.  Raises UndecidedError if ``limit`` is not enough.
    """
    while True:
        try:
            return attempt(digits), digits
        except Undecided as undecided:
            if digits >= limit:
                raise UndecidedError(undecided, digits, sample) from None
            digits = min(2 * digits, limit)
