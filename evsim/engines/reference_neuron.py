"""One neuron between its events, in any number type: each equation beside its adjoint.

    tau_mem dV/dt = -V + I          tau_syn dI/dt = -I

Every closed form here is a divided difference of the exponential function,

    exp[x, y] = (e^x - e^y) / (x - y),    exp[x, y, z] = (exp[x, y] - exp[y, z]) / (x - z),

whose value where arguments meet is a limit and no exception.  So equal time constants are
no special case, and none of the digits is lost near them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

Number = Any  # a float, or an mpf of a private mpmath context


@dataclass(frozen=True)
class Numbers:
    """A number type: how to make one, and its elementary functions.

    ``epsilon`` is the distance from 1 to the next number.
    """

    convert: Callable[[Any], Number]
    exp: Callable[[Number], Number]
    expm1: Callable[[Number], Number]
    log: Callable[[Number], Number]
    log1p: Callable[[Number], Number]
    epsilon: Number


@lru_cache
def numbers_with(digits: int | None) -> Numbers:
    """Python's floats for None, else numbers of that many decimal digits by mpmath."""
    if digits is None:
        return Numbers(float, math.exp, math.expm1, math.log, math.log1p, math.ulp(1.0))
    import mpmath

    # A context of our own: the precision of the user's mpmath.mp is none of our business.
    context = mpmath.mp.clone()
    context.dps = digits
    functions = context.exp, context.expm1, context.log, context.log1p
    return Numbers(context.mpf, *functions, +context.eps)


# -- divided differences of exp -----------------------------------------------------------


def exp_difference(numbers: Numbers, x: Number, y: Number) -> Number:
    """exp[x, y]; e^x where x = y."""
    highest, gap = (x, y - x) if x > y else (y, x - y)
    return numbers.exp(highest) * (numbers.expm1(gap) / gap if gap else 1)


def exp_second_difference(numbers: Numbers, x: Number, y: Number, z: Number) -> Number:
    """exp[x, y, z]; half of e^x where all are equal."""
    low, middle, high = sorted((x, y, z))
    if high - low > 1:
        upper = exp_difference(numbers, high, middle)
        return (upper - exp_difference(numbers, middle, low)) / (high - low)
    # Closer together, the difference above would cancel.  The Taylor series around the
    # highest one is e^high times the sum over k of h_k / (k + 2)!, where h_k is the sum of
    # all products of k factors from {middle - high, low - high}.
    middle, low = middle - high, low - high
    power, products, factorial = numbers.convert(1), numbers.convert(1), numbers.convert(2)
    total, before, k = products / factorial, None, 0
    while total != before:
        k += 1
        power *= low
        products = middle * products + power
        factorial *= k + 2
        before, total = total, total + products / factorial
    return numbers.exp(high) * total


# -- the neuron ---------------------------------------------------------------------------


class Segment(NamedTuple):
    """V and I right after an event at ``time``; they flow freely until the next one.

    While ``held``, V stays where it is: inside a refractory window, at 0.
    """

    time: Number
    voltage: Number
    current: Number
    held: bool


class AdjointSegment(NamedTuple):
    """lambda_V and lambda_I right before an event at ``time``, to flow on to earlier times."""

    time: Number
    lambda_v: Number
    lambda_i: Number
    held: bool


@dataclass(frozen=True)
class Neuron:
    """Parameters of one LIF or LI unit and its dynamics; an LI unit's threshold is infinite."""

    numbers: Numbers
    tau_mem: Number
    tau_syn: Number
    threshold: Number
    refractory: Number

    # Free flow.

    def flow(self, segment: Segment, time: Number) -> tuple[Number, Number]:
        """V and I at a time of the segment, or later if nothing had happened."""
        span = time - segment.time
        current = segment.current * self.numbers.exp(-span / self.tau_syn)
        if segment.held:
            return segment.voltage, current
        decay, response = self._response(span)
        return segment.voltage * decay + segment.current * response / self.tau_mem, current

    def adjoint_flow(
        self, segment: AdjointSegment, time: Number, drive: Number = 0, rate: Number = 0
    ) -> tuple[Number, Number]:
        """lambda_V and lambda_I at a time of the segment, which goes back from its start.

        The drive dF/dV of the readout at time t is ``drive * exp(-rate * t)``.
        """
        span = segment.time - time
        lambda_i = segment.lambda_i * self.numbers.exp(-span / self.tau_syn)
        if segment.held:
            return segment.lambda_v, lambda_i
        decay, response = self._response(span)
        lambda_v = segment.lambda_v * decay
        lambda_i += segment.lambda_v * response / self.tau_syn
        if drive:
            by_voltage, by_current = self._integral_slopes(span, rate)
            drive = drive * self.numbers.exp(-rate * time)
            lambda_v -= drive * by_voltage / self.tau_mem
            lambda_i -= drive * by_current / self.tau_syn
        return lambda_v, lambda_i

    def _response(self, span: Number) -> tuple[Number, Number]:
        """e^(-t/tau_mem), and the convolution of e^(-t/tau_mem) with e^(-t/tau_syn)."""
        x, y = -span / self.tau_mem, -span / self.tau_syn
        return self.numbers.exp(x), span * exp_difference(self.numbers, x, y)

    def slope(self, voltage: Number, current: Number) -> Number:
        """dV/dt."""
        return (current - voltage) / self.tau_mem

    # The weighted integral of V, which a mean voltage is made of.

    def integral(self, segment: Segment, end: Number, rate: Number) -> Number:
        """Integral of exp(-rate * t) V(t) dt from the segment's start to its end."""
        by_voltage, by_current = self._integral_slopes(end - segment.time, rate)
        weight = self.numbers.exp(-rate * segment.time)
        return weight * (segment.voltage * by_voltage + segment.current * by_current)

    def _integral_slopes(self, span: Number, rate: Number) -> tuple[Number, Number]:
        """Integral of exp(-rate * t) V(t) over [0, span] per unit of V(0), and of I(0)."""
        numbers = self.numbers
        growth, x, y = rate * span, -span / self.tau_mem, -span / self.tau_syn
        weight = span * numbers.exp(-growth)
        by_voltage = weight * exp_difference(numbers, growth, x)
        by_current = weight * span * exp_second_difference(numbers, growth, x, y)
        return by_voltage, by_current / self.tau_mem

    # Maximum and threshold crossing.

    def time_to_maximum(self, voltage: Number, current: Number) -> Number | None:
        """How long V goes on rising to a positive maximum; None if there is none ahead.

        There V = I.  With eps = 1 - tau_syn/tau_mem and u = eps (1 - V0/I0) it is at
        -tau_syn log(1 - u) / eps; V that is negative for ever has no positive maximum.
        """
        if current <= 0 or current <= voltage:
            return None
        rise = (current - voltage) / current
        eps = (self.tau_mem - self.tau_syn) / self.tau_mem
        u = eps * rise
        if 2 * u < 1:
            return self.tau_syn * rise * (-self.numbers.log1p(-u) / u if u else 1)
        # Near 1, 1 - u loses its digits; this is the same without a difference.
        rest = (rise * self.tau_syn + self.tau_mem * voltage / current) / self.tau_mem
        return None if rest <= 0 else -self.tau_syn * self.numbers.log(rest) / eps

    def time_to_threshold(self, voltage: Number, current: Number) -> Number | None:
        """How long until V first reaches the threshold; None if it never exceeds it.

        Where V rises it is concave: Newton's iteration from the left never passes the
        crossing, and it has converged when it no longer moves right.
        """
        if current <= self.threshold:
            return None
        time = self.numbers.convert(0)
        if voltage >= self.threshold:  # an event within rounding before the crossing
            return time
        to_maximum = self.time_to_maximum(voltage, current)
        if to_maximum is None:
            return None
        start = Segment(time, voltage, current, held=False)
        maximum, _ = self.flow(start, to_maximum)
        if maximum <= self.threshold:
            return None
        while True:
            voltage, current = self.flow(start, time)
            slope = self.slope(voltage, current)
            if slope <= 0:  # only by rounding, at the very top of a grazing crossing
                return time
            later = time + (self.threshold - voltage) / slope
            if later <= time:
                return time
            time = later

    # Emission: V := 0.

    def drive(self, current: Number) -> Number:
        """tau_mem dV/dt right before an emission."""
        return current - self.threshold
