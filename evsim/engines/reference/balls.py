"""Balls: a number type in which every result is an interval proven to contain the number.

A ball is an ``arb`` of FLINT, a midpoint and a radius.  Its arithmetic is FLINT's.  This module
adds what the engine needs for decisions:

- Two balls are compared only if they have no number in common.  Otherwise the comparison raises
  ``Undecided``, and the caller computes again with more digits.
- Two balls that contain the same number *by construction* are equal: the same operations on the
  same numbers gave both.  Each inexact result has a key, which stands for the operation and for
  the keys of its operands; equal keys are equal numbers.  A ball of radius 0 is known exactly, and
  is compared by its value, whatever operations gave it.

The precision of FLINT is one setting of the process.  It is set for each operation and then
restored.  If another thread changes it meanwhile, a ball may become wider, but never wrong.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from math import ceil, inf, log2, nextafter
from typing import Any

import flint

from evsim.engines.reference.neuron import Neuron, Numbers, Segment, numbers_with
from evsim.engines.reference.undecided import Undecided

GUARD_BITS = 64
"""Bits beyond the requested digits."""

_WIDENINGS = 8
"""How often a proof of a root is tried, each time with a radius four times as large."""

_MOST_STEPS = 100
"""The most steps of Newton's iteration; few suffice where V does not graze the threshold."""

_MANY_BITS = 2000
"""The bits with which ends of intervals are found; fewer would make a bound wider, never wrong."""

_floats_refused: ContextVar[bool] = ContextVar("_floats_refused", default=False)

_new_keys = count()


class Ball:
    """A number that is known to lie in an interval."""

    __slots__ = ("_key", "of", "value")

    def __init__(self, of: Balls, value: flint.arb, key: int | None = None) -> None:
        self.of = of
        self.value = value
        self._key = key

    @property
    def key(self) -> int:
        """Balls of one ``Balls`` with the same key contain the same number."""
        if self._key is None:
            self._key = self.of.key_of_exact(self.value)
        return self._key

    def distance(self, other: Ball) -> Ball:
        """By how much the two numbers differ."""
        with _bits(max(self.of.bits, other.of.bits)):
            return Ball(self.of, abs(self.value - other.value), next(_new_keys))

    @property
    def radius(self) -> Ball:
        """Half the width of the interval."""
        return Ball(self.of, self.value.rad())

    @property
    def upper(self) -> float:
        """The smallest float that is not below the number."""
        return upper_float(self.value)

    def at_most(self) -> str:
        """A number that is not less, with three digits, however small it is."""
        return str(self.value.upper().str(3, radius=False))

    # -- arithmetic -----------------------------------------------------------------------

    def __add__(self, other: Any) -> Any:
        other = self.of.coerced(other)
        if other is None:
            return NotImplemented
        if other.value.is_zero() or (_is_infinite(self.value) and other.value.is_finite()):
            return self
        if self.value.is_zero() or (_is_infinite(other.value) and self.value.is_finite()):
            return other
        return _result("+", operator.add, self, other, commutes=True)

    def __sub__(self, other: Any) -> Any:
        other = self.of.coerced(other)
        if other is None:
            return NotImplemented
        if other.value.is_zero() or (_is_infinite(self.value) and other.value.is_finite()):
            return self
        if _is_infinite(other.value) and self.value.is_finite():
            return -other
        if self.value.is_finite() and _same(self, other):
            return self.of.convert(0)
        return _result("-", operator.sub, self, other)

    def __mul__(self, other: Any) -> Any:
        other = self.of.coerced(other)
        if other is None:
            return NotImplemented
        for one, another in ((self, other), (other, self)):
            if one.value.is_zero() and another.value.is_finite():
                return one
            if one.value == 1:
                return another
        return _result("*", operator.mul, self, other, commutes=True)

    def __truediv__(self, other: Any) -> Any:
        other = self.of.coerced(other)
        if other is None:
            return NotImplemented
        if other.value == 1:
            return self
        if _same(self, other) and self.value.is_finite() and not self.value.contains(0):
            return self.of.convert(1)
        return _result("/", operator.truediv, self, other)

    __radd__ = __add__
    __rmul__ = __mul__

    def __rsub__(self, other: Any) -> Any:
        return self.of.convert(other) - self

    def __rtruediv__(self, other: Any) -> Any:
        return self.of.convert(other) / self

    def __pow__(self, exponent: int) -> Any:
        if exponent == 0:
            return self.of.convert(1)
        if exponent == 1:
            return self
        return _result(f"**{exponent}", lambda value: value**exponent, self)

    def __neg__(self) -> Ball:
        return _result("negative", operator.neg, self)

    def __abs__(self) -> Ball:
        return _result("absolute", abs, self)

    # -- decisions ------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        other = self.of.coerced(other)
        if other is None:
            return NotImplemented
        if not self.value.overlaps(other.value):
            return False
        return _same(self, other) or _undecided(self, other)

    def __hash__(self) -> int:
        return hash(_exactly(self.value)) if self.value.is_exact() else hash(self.key)

    def __lt__(self, other: Any) -> bool:
        other = self.of.coerced(other)
        if other is None:
            return NotImplemented
        if self.value < other.value:
            return True
        if self.value >= other.value or _same(self, other):
            return False
        return _undecided(self, other)

    def __le__(self, other: Any) -> bool:
        other = self.of.coerced(other)
        if other is None:
            return NotImplemented
        if self.value <= other.value:
            return True
        if self.value > other.value:
            return False
        return _same(self, other) or _undecided(self, other)

    def __gt__(self, other: Any) -> bool:
        other = self.of.coerced(other)
        return NotImplemented if other is None else other < self

    def __ge__(self, other: Any) -> bool:
        other = self.of.coerced(other)
        return NotImplemented if other is None else other <= self

    def __bool__(self) -> bool:
        return self != 0

    # -- other numbers --------------------------------------------------------------------

    def __float__(self) -> float:
        """The float nearest to the midpoint."""
        if _floats_refused.get():
            raise TypeError("a ball would become a float")
        return float(self.value.mid())

    # NumPy's functions call these for arrays of objects.

    def exp(self) -> Ball:
        """The exponential."""
        return _result("exp", flint.arb.exp, self)

    def expm1(self) -> Ball:
        """The exponential minus 1."""
        return _result("expm1", flint.arb.expm1, self)

    def log(self) -> Ball:
        """The natural logarithm."""
        return _result("log", flint.arb.log, self)

    def log1p(self) -> Ball:
        """The natural logarithm of 1 plus the number."""
        return _result("log1p", flint.arb.log1p, self)

    def __repr__(self) -> str:
        return f"Ball({self.value})"


@contextmanager
def _bits(bits: int) -> Iterator[None]:
    """Let FLINT compute with this number of bits."""
    before = flint.ctx.prec
    flint.ctx.prec = bits
    try:
        yield
    finally:
        flint.ctx.prec = before


def _result(
    name: str, function: Callable[..., flint.arb], *operands: Ball, commutes: bool = False
) -> Ball:
    """The result of a function of balls, with the highest precision among them.

    ``commutes`` says whether the operands may be exchanged, so that both orders have one key.
    """
    of = operands[0].of
    for operand in operands[1:]:
        of = of if of.bits >= operand.of.bits else operand.of
    before = flint.ctx.prec
    flint.ctx.prec = of.bits
    try:
        value = function(*[operand.value for operand in operands])
    finally:
        flint.ctx.prec = before
    if not (value.is_finite() or _is_infinite(value)):
        raise Undecided(operands[0], operands[-1])  # for example, a quotient by a ball around 0
    if value.is_exact():
        return Ball(of, value)
    keys = [operand.key for operand in operands]
    if commutes:
        keys.sort()
    return Ball(of, value, of.key_of(name, *keys))


def _same(one: Ball, other: Ball) -> bool:
    """Whether two balls contain the same number by construction."""
    if one.value.is_exact() and other.value.is_exact():
        return bool(one.value == other.value)
    return one.key == other.key


def _undecided(one: Ball, other: Ball) -> bool:
    raise Undecided(one, other)


def _is_infinite(value: flint.arb) -> bool:
    """Whether a ball is exactly one of the two infinities; NaN and the whole line are not."""
    return bool(value.is_exact() and not value.is_finite() and not value.is_nan())


def _exactly(value: flint.arb) -> tuple[Any, ...]:
    """A unique description of the number in a ball of radius 0."""
    if _is_infinite(value):
        return (float(value),)
    return tuple(map(int, value.man_exp()))


# -- the number type ----------------------------------------------------------------------


class Balls(Numbers):
    """Balls of one precision: the conversion to them, and their functions.

    ``digits`` are the decimal digits of a midpoint.
    """

    def __init__(self, digits: int) -> None:
        super().__init__(
            convert=self._convert,
            exp=lambda number: self._convert(number).exp(),
            expm1=lambda number: self._convert(number).expm1(),
            log=lambda number: self._convert(number).log(),
            log1p=lambda number: self._convert(number).log1p(),
            epsilon=0.1**digits,
        )
        self.digits = digits
        self.bits = ceil(digits * log2(10)) + GUARD_BITS
        self._keys: dict[tuple[Any, ...], int] = {}
        self._crossings: dict[int, Ball] = {}
        self._named = True

    def __repr__(self) -> str:
        return f"Balls({self.digits})"

    def _convert(self, number: Any) -> Ball:
        found = self.coerced(number)
        if found is None and number != number:
            return Ball(self, flint.arb.nan())  # of a unit that lacks a parameter; never used
        if found is None:
            raise TypeError(f"{number!r} is no number of which a ball can be made")
        return found

    def is_lost(self, difference: Ball, size: Ball) -> bool:
        """Whether a difference, which has no rounding, is not above 0."""
        return bool(difference <= 0)

    def coerced(self, number: Any) -> Ball | None:
        """A ball; for a float or an integer, the one that contains only this number."""
        if isinstance(number, Ball):
            return number
        if isinstance(number, str):
            number = float(number)  # "inf"
        if isinstance(number, (int, float)) and number == number:
            return Ball(self, flint.arb(number))  # exact, whatever the precision
        return None

    def key_of(self, *parts: Any) -> int:
        """The key of an operation on operands with these keys."""
        if not self._named:
            return next(_new_keys)
        return self._lasting_key(parts)

    def key_of_exact(self, value: flint.arb) -> int:
        """The key of a number that is known exactly."""
        return self._lasting_key(("exact", *_exactly(value)))

    def _lasting_key(self, parts: tuple[Any, ...]) -> int:
        key = self._keys.get(parts)
        if key is None:
            key = self._keys[parts] = next(_new_keys)
        return key

    @contextmanager
    def _scratch(self) -> Iterator[None]:
        """A block for numbers that are not compared with others and so need no lasting keys."""
        self._named, before = False, self._named
        try:
            yield
        finally:
            self._named = before

    def is_less(self, one: Ball, other: Any) -> bool:
        """Whether one midpoint is less."""
        return bool(one.value.mid() < self._convert(other).value.mid())

    def divided_difference(self, *arguments: Ball) -> Ball:
        """exp[x, y, ...], whose value is a limit if arguments are equal.

        It is the upper right entry of the exponential of the matrix with the arguments on the
        diagonal and 1 above it (Opitz's formula); FLINT has a function for this exponential.
        """
        return _result("exp[]", _exp_divided_difference, *arguments, commutes=True)

    def crossing(self, neuron: Neuron, start: Segment) -> Ball:
        """A ball that contains the first crossing of the threshold, which is known to exist.

        Newton's iteration finds a time, and one step of interval Newton proves that there is
        exactly one root in an interval around it, on which V rises.  Before that root V is below
        the threshold: a V that begins below it rises to it at most once, see
        ``Neuron.time_to_threshold``.
        """
        numbers = neuron.tau_mem, neuron.tau_syn, neuron.threshold, start.voltage, start.current
        key = self.key_of("crossing", *(number.key for number in numbers))
        if key not in self._crossings:
            with self._scratch():
                proven = self._proven_crossing(neuron, start)
            self._crossings[key] = Ball(self, proven, None if proven.is_exact() else key)
        return self._crossings[key]

    def _proven_crossing(self, neuron: Neuron, start: Segment) -> flint.arb:
        """Prove a time found in floats or, for example where V nearly grazes, in mpmath."""
        try:
            return self._proven_near(neuron, start, None)
        except (Undecided, ArithmeticError, ValueError):  # floats may also overflow
            return self._proven_near(neuron, start, self.digits + 5)

    def _proven_near(self, neuron: Neuron, start: Segment, digits: int | None) -> flint.arb:
        """Prove a time found with this number of digits; in floats if None."""
        near = self._ball_of(_rounded(neuron, start, numbers_with(digits)))
        return self._interval_newton(neuron, start, self._improved(neuron, start, near))

    def _ball_of(self, number: Any) -> Ball:
        """The ball of radius 0 around a float or a number of mpmath."""
        if isinstance(number, float):
            return self._convert(number)
        return Ball(self, flint.arb(tuple(map(int, number.man_exp))))

    def _improved(self, neuron: Neuron, start: Segment, near: Ball) -> Ball:
        """A better approximation, by Newton's iteration with midpoints."""
        before = inf
        for _ in range(_MOST_STEPS):
            voltage, current = neuron.flow(start, near)
            step = (neuron.threshold - voltage) / neuron.slope(voltage, current)
            size = abs(float(step.value.mid()))
            if not size < before / 2:
                break
            before = size
            near = Ball(self, (near + step).value.mid())
        return near

    def _interval_newton(self, neuron: Neuron, start: Segment, near: Ball) -> flint.arb:
        """The interval N = m - f(m)/f'(T) if it is inside T: then it contains T's only root.

        f' > 0 on T, so V rises at the root, and T > 0, so the root comes after the start.
        """
        voltage, current = neuron.flow(start, near)
        excess = voltage - neuron.threshold
        radius = upper_float(2 * abs(excess / neuron.slope(voltage, current)).value)
        for _ in range(_WIDENINGS):
            around = _result("around", lambda time, r=radius: time + flint.arb(0, r), near)
            slope = neuron.slope(*neuron.flow(start, around))
            if slope > 0 and around > 0:
                step = (near - excess / slope).value
                if around.value.contains(step):
                    return step
            radius = radius * 4
        raise Undecided(voltage, neuron.threshold)


def _rounded(neuron: Neuron, start: Segment, numbers: Numbers) -> Any:
    """The first crossing, computed from the midpoints in rounded numbers."""

    def midpoint(ball: Ball) -> Any:
        if numbers.convert is float or _is_infinite(ball.value):
            return numbers.convert(float(ball.value.mid()))
        mantissa, exponent = map(int, ball.value.mid().man_exp())
        return numbers.convert(mantissa) * numbers.convert(2) ** exponent

    parameters = {
        name: midpoint(value) for name, value in vars(neuron).items() if name != "numbers"
    }
    state = midpoint(start.voltage), midpoint(start.current)
    return Neuron(numbers, **parameters).newton(Segment(numbers.convert(0), *state, False))


def _exp_divided_difference(*arguments: flint.arb) -> flint.arb:
    """It is e^high times the divided difference of the gaps to the highest argument."""
    gaps = list(arguments)
    high = gaps.pop(max(range(len(gaps)), key=lambda i: float(gaps[i].mid())))
    if not gaps:
        return high.exp()
    if len(gaps) == 1:
        gap = gaps[0] - high
        growth = gap.hypgeom_1f1(1, 2) if gap.contains(0) else gap.expm1() / gap
        return high.exp() * growth
    size = len(arguments)
    matrix = flint.arb_mat(size, size)
    for i, argument in enumerate(gaps, start=1):
        matrix[i, i] = argument - high
        matrix[i - 1, i] = 1
    return high.exp() * matrix.exp()[0, size - 1]


@contextmanager
def no_floats() -> Iterator[None]:
    """Raise TypeError where other code would silently convert a ball to a float."""
    token = _floats_refused.set(True)
    try:
        yield
    finally:
        _floats_refused.reset(token)


# -- floats on either side ----------------------------------------------------------------


def lower_float(value: flint.arb) -> float:
    """The largest float that is not above any number of a ball."""
    if not value.is_finite():
        return float(value) if _is_infinite(value) else -inf
    with _bits(_MANY_BITS):
        lowest = value.lower()
    found = float(lowest)
    while flint.arb(found) > lowest:
        found = nextafter(found, -inf)
    return found


def upper_float(value: flint.arb) -> float:
    """The smallest float that is not below any number of a ball."""
    if not value.is_finite():
        return float(value) if _is_infinite(value) else inf
    with _bits(_MANY_BITS):
        highest = value.upper()
    found = float(highest)
    while flint.arb(found) < highest:
        found = nextafter(found, inf)
    return found
