"""exp and expm1 from arithmetic only, so that loops over them use vector instructions.

A call of the C library's exp prevents these.  Both functions are a polynomial times a power of two
for every argument.  Their error is below one unit in the last place; that of expm1 of positive
numbers is below 1.6 units.

The polynomial consists of fused multiplications and additions, which are rounded once.  They are
called explicitly and not left to the compiler, which might fuse in one loop and not in another; the
last bits would then depend on the loop.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import config
from numba.extending import intrinsic

from evsim._compile.decorators import compiled

LOG2_E = 1.4426950408889634
LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10  # of 33 bits, the rest
ROUNDING = 6755399441055744.0  # 1.5 * 2**52: the last bits of a sum with it are an integer
SMALLEST = -746.0  # below this, exp is less than half of the smallest number
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


@intrinsic
def fused(_context: Any, factor: Any, other_factor: Any, addend: Any) -> Any:
    """``factor * other_factor + addend``, rounded once."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float64(types.float64, types.float64, types.float64), generate


if config.DISABLE_JIT:
    _library = ctypes.CDLL(ctypes.util.find_library("m") or "ucrtbase")
    fused = ctypes.CFUNCTYPE(*[ctypes.c_double] * 4)(("fma", _library))

    def _bits_of(number: float) -> int:
        return int(np.float64(number).view(np.int64))

    def _number_of(bits: int) -> float:
        return float(np.uint64(bits & 0xFFFFFFFFFFFFFFFF).view(np.float64))


@compiled
def _power_of_two(k: float) -> float:
    """``2**k`` for an integer k from -1022 to 1023."""
    return _number_of((_bits_of(k + ROUNDING) + 1023) << 52)


@compiled
def _split(x: float) -> tuple[float, float]:
    """The k and ``expm1(r)`` of x = k ln 2 + r, k an integer and r at most half of ln 2 in size."""
    k = fused(x, LOG2_E, ROUNDING) - ROUNDING
    high_part, low_part = fused(-k, LN2_HIGH, x), k * LN2_LOW
    r = high_part - low_part
    lost = (high_part - r) - low_part
    square = r * r
    fourth = square * square
    low = fused(square, fused(C5, r, C4), fused(C3, r, C2))
    middle = fused(square, fused(C9, r, C8), fused(C7, r, C6))
    high = fused(square, fused(C13, r, C12), fused(C11, r, C10))
    curve = fused(fourth, fused(fourth, high, middle), low)
    return k, r + fused(square, curve, lost)


@compiled
def fast_exp(x: float) -> float:
    """``exp(x)`` for x up to 700."""
    k, rest = _split(max(x, SMALLEST))
    half = (0.5 * k + ROUNDING) - ROUNDING
    # Two steps, because the result may be subnormal, and so may its power of two.
    return (1.0 + rest) * _power_of_two(half) * _power_of_two(k - half)


@compiled
def fast_exp_and_expm1(x: float) -> tuple[float, float]:
    """``exp(x)`` and ``expm1(x)`` for x up to 700, from one polynomial."""
    k, rest = _split(max(x, SMALLEST))
    half = (0.5 * k + ROUNDING) - ROUNDING
    power, other_power = _power_of_two(half), _power_of_two(k - half)
    whole = power * other_power
    return (1.0 + rest) * power * other_power, fused(whole, rest, whole - 1.0)


@compiled
def reciprocal(number: float) -> tuple[float, float]:
    """``1/number`` as a sum of two numbers, the second of which is the rounding error."""
    high = 1.0 / number
    return high, fused(-number, high, 1.0) * high
