"""exp and expm1 in arithmetic alone: loops over them work on several numbers at a time.

A call of the C library's exp ends the vector instructions of a loop.  These two are a polynomial
and a power of two, whatever the argument.  They err by less than a unit in the last place, expm1 of
positive numbers by less than 1.5.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

from evsim.compiled import compiled

LOG2_E = 1.4426950408889634
LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10  # of 33 bits, the rest
ROUNDING = 6755399441055744.0  # 1.5 * 2**52: in the last bits of a sum with it stands an integer
SMALLEST = -708.0  # below, exp is less than the smallest normal number, and 0 here
C2, C3, C4, C5, C6, C7 = 1 / 2, 1 / 6, 1 / 24, 1 / 120, 1 / 720, 1 / 5040
C8, C9, C10, C11 = 1 / 40320, 1 / 362880, 1 / 3628800, 1 / 39916800
C12, C13 = 1 / 479001600, 1 / 6227020800


@intrinsic
def _bits_of(_context: Any, number: Any) -> Any:
    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.int64(types.float64), generate


@intrinsic
def _number_of(_context: Any, bits: Any) -> Any:
    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.int64), generate


@compiled
def _power_and_rest(x: float) -> tuple[float, float]:
    """``2**k`` and ``expm1(r)`` where x = k ln 2 + r and r at most half of ln 2 either way."""
    shifted = x * LOG2_E + ROUNDING
    k = shifted - ROUNDING
    high_part, low_part = x - k * LN2_HIGH, k * LN2_LOW
    r = high_part - low_part
    lost = (high_part - r) - low_part
    square = r * r
    fourth = square * square
    low = (C2 + C3 * r) + square * (C4 + C5 * r)
    middle = (C6 + C7 * r) + square * (C8 + C9 * r)
    high = (C10 + C11 * r) + square * (C12 + C13 * r)
    rest = r + (square * (low + fourth * (middle + fourth * high)) + lost)
    return _number_of((_bits_of(shifted) + 1023) << 52), rest


@compiled
def fast_exp(x: float) -> float:
    """``exp(x)`` for x up to 700; 0 below -708."""
    power, rest = _power_and_rest(max(x, SMALLEST))
    return power + power * rest if x >= SMALLEST else 0.0


@compiled
def fast_expm1(x: float) -> float:
    """``expm1(x)`` for x up to 700."""
    power, rest = _power_and_rest(max(x, SMALLEST))
    return power * rest + (power - 1.0)
