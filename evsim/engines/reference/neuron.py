"""One neuron between its events, in any number type: each equation beside its adjoint.

    tau_mem dV/dt = -V + I          tau_syn dI/dt = -I

Every closed form here is a convolution of exponentials e^(-t/tau), and so a divided
difference of the exponential function,

    exp[x, y] = (e^x - e^y) / (x - y),    exp[x, y, z] = (exp[x, y] - exp[y, z]) / (x - z),

and so on, whose value where arguments meet is a limit and no exception.  So equal time
constants are no special case, and none of the digits is lost near them; derivatives by time
constants are convolutions in which these appear once more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

from evsim.readouts.weightings import WeightingForm

Number = Any  # a float, or an mpf of a private mpmath context
Response = Callable[..., Number]  # of time constants, whose exponentials are convolved


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

FAR_APART = 4  # arguments, where the difference of two divided differences keeps its digits


def exp_difference(numbers: Numbers, x: Number, y: Number) -> Number:
    """exp[x, y]; e^x where x = y."""
    highest, gap = (x, y - x) if x > y else (y, x - y)
    return numbers.exp(highest) * (numbers.expm1(gap) / gap if gap else 1)


def exp_divided_difference(numbers: Numbers, *arguments: Number) -> Number:
    """exp[x, y, ...] of any number of arguments, in any order; e^x/n! where all n + 1 are x."""
    return _ordered_difference(numbers, sorted(arguments))


def _ordered_difference(numbers: Numbers, arguments: list[Number]) -> Number:
    low, high = arguments[0], arguments[-1]
    if len(arguments) == 1:
        return numbers.exp(low)
    if len(arguments) == 2:
        return exp_difference(numbers, low, high)
    if high - low > FAR_APART:
        upper = _ordered_difference(numbers, arguments[1:])
        return (upper - _ordered_difference(numbers, arguments[:-1])) / (high - low)
    return numbers.exp(low) * _taylor_series(numbers, [x - low for x in arguments[1:]])


def _taylor_series(numbers: Numbers, gaps: list[Number]) -> Number:
    """exp[0, *gaps] of n gaps >= 0: the sum over k of h_k / (k + n)!, all of one sign.

    h_k is the sum of all products of k factors from the gaps; ``products[j]`` is that of the
    first j + 1 of them alone.
    """
    products = [numbers.convert(1)] * len(gaps)
    factorial = numbers.convert(math.factorial(len(gaps)))
    total, before, k = 1 / factorial, None, 0
    while total != before:
        k += 1
        product = numbers.convert(0)
        for j, gap in enumerate(gaps):
            product = products[j] = product + gap * products[j]
        factorial *= k + len(gaps)
        before, total = total, total + product / factorial
    return total


# -- the neuron ---------------------------------------------------------------------------


class Segment(NamedTuple):
    """V and I right after an event at ``time``; they flow freely until the next one.

    While ``held``, inside a refractory window, V stays at 0.
    """

    time: Number
    voltage: Number
    current: Number
    held: bool


class AdjointSegment(NamedTuple):
    """lambda_V and lambda_I right before an event at ``time``, to flow on to earlier times.

    With their difference, lambda_V - lambda_I, which loses no digits where both are nearly equal.
    """

    time: Number
    lambda_v: Number
    lambda_i: Number
    difference: Number
    held: bool


class Slopes(NamedTuple):
    """Derivatives by a neuron's two time constants."""

    tau_mem: Number
    tau_syn: Number


FLAT = WeightingForm(0.0, 0.0)


def weighting_at(numbers: Numbers, form: WeightingForm, time: Number) -> Number:
    """w(t) = (1 + slope t) e^(-rate t)."""
    return (1 + form.slope * time) * numbers.exp(-form.rate * time)


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
        current = segment.current * self._convolution(span, self.tau_syn)
        if segment.held:
            return segment.voltage, current
        return self._voltage(segment, partial(self._convolution, span)), current

    def _voltage(self, segment: Segment, response: Response) -> Number:
        """What a response makes of V after the segment's start: its value, or an integral."""
        by_current = response(self.tau_mem, self.tau_syn) / self.tau_mem
        return segment.voltage * response(self.tau_mem) + segment.current * by_current

    def adjoint_flow(
        self,
        segment: AdjointSegment,
        time: Number,
        drive: Number = 0,
        form: WeightingForm = FLAT,
    ) -> tuple[Number, Number, Number]:
        """lambda_V, lambda_I and their difference at a time of the segment, which goes back.

        The drive dF/dV of the readout at time t is ``drive`` times the weighting w(t).
        """
        span = segment.time - time
        lambda_i = segment.lambda_i * self._convolution(span, self.tau_syn)
        if segment.held:
            return segment.lambda_v, lambda_i, segment.lambda_v - lambda_i
        lambda_v = segment.lambda_v * self._convolution(span, self.tau_mem)
        both = self._convolution(span, self.tau_mem, self.tau_syn)
        lambda_i += segment.lambda_v * both / self.tau_syn
        difference = self._difference(segment, span, both)
        if drive:
            integral = partial(self._weighted_integral, form, time, span)
            both = integral(self.tau_mem, self.tau_syn) / self.tau_mem
            lambda_v -= drive * integral(self.tau_mem) / self.tau_mem
            lambda_i -= drive * both / self.tau_syn
            difference -= drive * self._integral_of_rise(form, time, span)
        return lambda_v, lambda_i, difference

    def _difference(self, segment: AdjointSegment, span: Number, both: Number) -> Number:
        """lambda_V - lambda_I, span ms earlier; ``both`` is the convolution of the exponentials.

        Of two forms of the same, the one whose terms shrink as the difference does: they begin
        with the difference itself, so that the larger two are nowhere subtracted.
        """
        if self.tau_syn <= self.tau_mem:
            own = self._convolution(span, self.tau_syn)
            return segment.difference * own - segment.lambda_v * both / self.tau_mem
        own = self._convolution(span, self.tau_mem) - both / self.tau_syn
        return segment.difference * own - segment.lambda_i * both / self.tau_mem

    def _integral_of_rise(self, form: WeightingForm, start: Number, span: Number) -> Number:
        """Integral of w(t) dV/dt from start to start + span, of V that rises from 0 by I = 1.

        By parts, with w' = slope e^(-rate t) - rate w.
        """
        taus = self.tau_mem, self.tau_syn
        at_end = weighting_at(self.numbers, form, start + span) * self._convolution(span, *taus)
        falling = 0
        if form.rate:
            falling += form.rate * self._weighted_integral(form, start, span, *taus)
        if form.slope:
            plain = WeightingForm(form.rate, 0.0)
            falling -= form.slope * self._weighted_integral(plain, start, span, *taus)
        return (at_end + falling) / self.tau_mem

    def _convolution(self, span: Number, *taus: Number) -> Number:
        """Convolution of e^(-t/tau) for each of the time constants, at t = span."""
        exponents = (-span / tau for tau in taus)
        return span ** (len(taus) - 1) * exp_divided_difference(self.numbers, *exponents)

    def slope(self, voltage: Number, current: Number) -> Number:
        """dV/dt."""
        return (current - voltage) / self.tau_mem

    # The weighted integral of V, which a mean voltage is made of.

    def integral(self, segment: Segment, end: Number, form: WeightingForm) -> Number:
        """Integral of w(t) V(t) dt from the segment's start to its end."""
        if segment.held:
            return self.numbers.convert(0)
        span = end - segment.time
        return self._voltage(segment, partial(self._weighted_integral, form, segment.time, span))

    def _weighted_integral(
        self, form: WeightingForm, start: Number, span: Number, *taus: Number
    ) -> Number:
        """Integral of w(start + t) times their convolution at t, for t from 0 to span.

        An integral is a convolution with 1 = e^0, and one with (span - t), which is how far w
        is from its line's end, is one with 1 twice; e^(-rate t) shifts every exponent.
        """
        exponents = [-span * (form.rate + 1 / tau) for tau in taus]
        zero = self.numbers.convert(0)
        integral = (1 + form.slope * (start + span)) * exp_divided_difference(
            self.numbers, zero, *exponents
        )
        if form.slope:
            twice = exp_divided_difference(self.numbers, zero, zero, *exponents)
            integral -= form.slope * span * twice
        return self.numbers.exp(-form.rate * start) * span ** len(taus) * integral

    # Derivatives by the time constants, with V and I as they are at the segment's start.

    def flow_slopes(self, segment: Segment, time: Number) -> tuple[Slopes, Number]:
        """Derivatives of V at a time of the segment by both, and of I by tau_syn."""
        span = time - segment.time
        twice = self._convolution(span, self.tau_syn, self.tau_syn)
        current = segment.current * twice / self.tau_syn**2
        if segment.held:
            return self._no_slopes, current
        return self._voltage_slopes(segment, partial(self._convolution, span)), current

    def integral_slopes(self, segment: Segment, end: Number, form: WeightingForm) -> Slopes:
        """Derivatives of ``integral``."""
        if segment.held:
            return self._no_slopes
        span = end - segment.time
        integral = partial(self._weighted_integral, form, segment.time, span)
        return self._voltage_slopes(segment, integral)

    @property
    def _no_slopes(self) -> Slopes:
        return Slopes(self.numbers.convert(0), self.numbers.convert(0))

    def _voltage_slopes(self, segment: Segment, response: Response) -> Slopes:
        """Derivatives of ``_voltage``.

        That of V by tau_mem, v, solves tau_mem dv/dt = -v - dV/dt; that by tau_syn is a
        response to the derivative of I.
        """
        mem, syn = self.tau_mem, self.tau_syn
        above = (segment.voltage - segment.current) * response(mem, mem)
        falling = segment.current / syn * response(mem, mem, syn)
        by_syn = segment.current * response(mem, syn, syn) / (mem * syn**2)
        return Slopes((above + falling) / mem**2, by_syn)

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
