"""One neuron and its events, in any number type; each equation is next to its adjoint.

    tau_mem dV/dt = -V + I          tau_syn dI/dt = -I

V is measured from rest, see ``evsim.engines.rest``.

Every closed form here is a convolution of exponentials e^(-t/tau), and thus a divided
difference of the exponential function,

    exp[x, y] = (e^x - e^y) / (x - y),    exp[x, y, z] = (exp[x, y] - exp[y, z]) / (x - z),

and so on, whose value for equal arguments is a limit.  So equal time constants are not a special
case, and no digits are lost near them.  Derivatives with respect to a time constant are
convolutions in which it appears once more.

Papers: D is Mészáros, Knight, Nowotny (learning delays with EventProp),
L is Nowotny, Turner, Knight (loss shaping).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

from evsim.readouts.weightings import WeightingForm

Number = Any  # a float, an mpf of a private mpmath context, or a ball
Response = Callable[..., Number]  # of time constants, whose exponentials are convolved


@dataclass(frozen=True)
class Numbers:
    """A number type: the conversion to it, and its elementary functions.

    ``epsilon`` is the distance from 1 to the next larger number.  The methods are for rounded
    numbers; ``balls`` has its own methods, which prove what they return.
    """

    convert: Callable[[Any], Number]
    exp: Callable[[Number], Number]
    expm1: Callable[[Number], Number]
    log: Callable[[Number], Number]
    log1p: Callable[[Number], Number]
    epsilon: Number

    def divided_difference(self, *arguments: Number) -> Number:
        """exp[x, y, ...] of any number of arguments, in any order."""
        return _ordered_difference(self, sorted(arguments))

    def is_less(self, one: Number, other: Number) -> bool:
        """Whether one number is less; if both are nearly equal, either answer will do."""
        return bool(one < other)

    def is_lost(self, difference: Number, size: Number) -> bool:
        """Whether a difference is not above the rounding of a number of that size."""
        return bool(difference <= 4 * self.epsilon * abs(size))

    def crossing(self, neuron: Neuron, start: Segment) -> Number:
        """The time from the start until V first reaches the threshold; it is known to do so."""
        return neuron.newton(start)


@lru_cache
def numbers_with(digits: int | None) -> Numbers:
    """Python's floats for None, otherwise numbers of mpmath with that many decimal digits."""
    if digits is None:
        return Numbers(float, math.exp, math.expm1, math.log, math.log1p, math.ulp(1.0))
    import mpmath

    # A private context: the precision of the user's mpmath.mp must not change.
    context = mpmath.mp.clone()
    context.dps = digits
    functions = context.exp, context.expm1, context.log, context.log1p
    return Numbers(context.mpf, *functions, +context.eps)


# -- divided differences of exp -----------------------------------------------------------

FAR_APART = 4  # if arguments are this far apart, the quotient of differences loses no digits


def exp_difference(numbers: Numbers, x: Number, y: Number) -> Number:
    """exp[x, y]; e^x where x = y."""
    highest, gap = (x, y - x) if x > y else (y, x - y)
    return numbers.exp(highest) * (numbers.expm1(gap) / gap if gap else 1)


def exp_divided_difference(numbers: Numbers, *arguments: Number) -> Number:
    """exp[x, y, ...] of any number of arguments, in any order; e^x/n! if n + 1 arguments are x."""
    return numbers.divided_difference(*arguments)


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
    """exp[0, *gaps] of n gaps >= 0: the sum over k of h_k / (k + n)!, whose terms have one sign.

    h_k is the sum of all products of k factors from the gaps; ``products[j]`` is the same sum for
    the first j + 1 gaps only.
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
    """V and I right after an event at ``time``; until the next event they follow their equations.

    While ``is_refractory``, in a refractory period, V stays at the reset.
    """

    time: Number
    voltage: Number
    current: Number
    is_refractory: bool


class AdjointSegment(NamedTuple):
    """lambda_V and lambda_I right before an event at ``time``, which continue to earlier times.

    ``difference`` is lambda_V - lambda_I, without loss of digits if both are nearly equal.
    """

    time: Number
    lambda_v: Number
    lambda_i: Number
    difference: Number
    is_refractory: bool


class Slopes(NamedTuple):
    """Derivatives with respect to a neuron's two time constants."""

    tau_mem: Number
    tau_syn: Number


FLAT = WeightingForm(0.0, 0.0)


def weighting_at(numbers: Numbers, form: WeightingForm, time: Number) -> Number:
    """w(t) = (1 + slope t) e^(-rate t)."""
    return (1 + form.slope * time) * numbers.exp(-form.rate * time)


@dataclass(frozen=True)
class Neuron:
    """Parameters of one LIF or LI unit and its dynamics; an LI unit's threshold is infinite.

    ``threshold``, ``reset`` and ``start`` are measured from ``rest``.
    """

    numbers: Numbers
    tau_mem: Number
    tau_syn: Number
    threshold: Number
    refractory: Number
    reset: Number
    start: Number
    rest: Number

    # Free flow.

    def flow(self, segment: Segment, time: Number) -> tuple[Number, Number]:
        """V and I at a time in the segment, or at a later time if no event had happened."""
        span = time - segment.time
        current = segment.current * self._convolution(span, self.tau_syn)
        if segment.is_refractory:
            return segment.voltage, current
        return self._voltage(segment, partial(self._convolution, span)), current

    def _voltage(self, segment: Segment, response: Response) -> Number:
        """V after the segment's start, or an integral of V, according to ``response``."""
        by_current = response(self.tau_mem, self.tau_syn) / self.tau_mem
        return segment.voltage * response(self.tau_mem) + segment.current * by_current

    def adjoint_flow(
        self,
        segment: AdjointSegment,
        time: Number,
        voltage_cotangent: Number = 0,
        form: WeightingForm = FLAT,
    ) -> tuple[Number, Number, Number]:
        """lambda_V, lambda_I and their difference at a time in the segment, before its event.

        The source dF/dV of the readout at time t is ``voltage_cotangent`` times the weighting w(t).
        """
        span = segment.time - time
        lambda_i = segment.lambda_i * self._convolution(span, self.tau_syn)
        if segment.is_refractory:
            return segment.lambda_v, lambda_i, segment.lambda_v - lambda_i
        lambda_v = segment.lambda_v * self._convolution(span, self.tau_mem)
        both = self._convolution(span, self.tau_mem, self.tau_syn)
        lambda_i += segment.lambda_v * both / self.tau_syn
        difference = self._difference(segment, span, both)
        if voltage_cotangent:
            integral = partial(self._weighted_integral, form, time, span)
            both = integral(self.tau_mem, self.tau_syn) / self.tau_mem
            lambda_v -= voltage_cotangent * integral(self.tau_mem) / self.tau_mem
            lambda_i -= voltage_cotangent * both / self.tau_syn
            difference -= voltage_cotangent * self._integral_of_rise(form, time, span)
        return lambda_v, lambda_i, difference

    def _difference(self, segment: AdjointSegment, span: Number, both: Number) -> Number:
        """lambda_V - lambda_I, span ms earlier; ``both`` is the convolution of the exponentials.

        Of two equivalent forms, this uses the one whose terms decrease with the difference: it
        starts from the difference itself and never subtracts lambda_I from lambda_V.
        """
        if self.tau_syn <= self.tau_mem:
            factor = self._convolution(span, self.tau_syn)
            return segment.difference * factor - segment.lambda_v * both / self.tau_mem
        factor = self._convolution(span, self.tau_mem) - both / self.tau_syn
        return segment.difference * factor - segment.lambda_i * both / self.tau_mem

    def _integral_of_rise(self, form: WeightingForm, start: Number, span: Number) -> Number:
        """Integral of w(t) dV/dt from start to start + span; V starts at 0 and I at 1.

        Integrated by parts, with w' = slope e^(-rate t) - rate w.
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

    # The weighted integral of V, from which a mean voltage is computed.

    def integral(self, segment: Segment, end: Number, form: WeightingForm) -> Number:
        """Integral of w(t) V(t) dt from the segment's start to its end."""
        if segment.is_refractory:
            return segment.voltage * self.weighting_integral(form, segment.time, end)
        span = end - segment.time
        return self._voltage(segment, partial(self._weighted_integral, form, segment.time, span))

    def weighting_integral(self, form: WeightingForm, start: Number, end: Number) -> Number:
        """Integral of w(t) dt from start to end: for a V that is 1 and does not decay."""
        forever = self.numbers.convert("inf")
        return self._weighted_integral(form, start, end - start, forever)

    def _weighted_integral(
        self, form: WeightingForm, start: Number, span: Number, *taus: Number
    ) -> Number:
        """Integral of w(start + t) c(t) for t from 0 to span; c is the exponentials' convolution.

        The linear factor of w is its value at the end minus slope (span - t).  An integral is a
        convolution with 1 = e^0; with the factor (span - t) it is a convolution with 1 twice.  The
        factor e^(-rate t) shifts every exponent.
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

    # Derivatives with respect to the time constants, for fixed V and I at the segment's start.

    def flow_slopes(self, segment: Segment, time: Number) -> tuple[Slopes, Number]:
        """dV/dtau_mem and dV/dtau_syn at a time in the segment, and dI/dtau_syn."""
        span = time - segment.time
        twice = self._convolution(span, self.tau_syn, self.tau_syn)
        current = segment.current * twice / self.tau_syn**2
        if segment.is_refractory:
            return self._no_slopes, current
        return self._voltage_slopes(segment, partial(self._convolution, span)), current

    def integral_slopes(self, segment: Segment, end: Number, form: WeightingForm) -> Slopes:
        """Derivatives of ``integral``."""
        if segment.is_refractory:
            return self._no_slopes
        span = end - segment.time
        integral = partial(self._weighted_integral, form, segment.time, span)
        return self._voltage_slopes(segment, integral)

    @property
    def _no_slopes(self) -> Slopes:
        return Slopes(self.numbers.convert(0), self.numbers.convert(0))

    def _voltage_slopes(self, segment: Segment, response: Response) -> Slopes:
        """Derivatives of ``_voltage`` with respect to both time constants.

        The derivative v = dV/dtau_mem solves tau_mem dv/dt = -v - dV/dt; the derivative with
        respect to tau_syn is the response of V to dI/dtau_syn.
        """
        mem, syn = self.tau_mem, self.tau_syn
        above = (segment.voltage - segment.current) * response(mem, mem)
        falling = segment.current / syn * response(mem, mem, syn)
        by_syn = segment.current * response(mem, syn, syn) / (mem * syn**2)
        return Slopes((above + falling) / mem**2, by_syn)

    # Maximum and threshold crossing.

    def time_to_maximum(self, voltage: Number, current: Number) -> Number | None:
        """How long V keeps rising to a positive maximum; None if it does not reach one.

        At the maximum, V = I.  With eps = 1 - tau_syn/tau_mem and u = eps (1 - V0/I0), the time is
        -tau_syn log(1 - u) / eps.  If V stays negative, it has no positive maximum.
        """
        if current <= 0 or current <= voltage:
            return None
        rise = (current - voltage) / current
        eps = (self.tau_mem - self.tau_syn) / self.tau_mem
        u = eps * rise
        if self.numbers.is_less(2 * u, 1):
            return self.tau_syn * rise * (-self.numbers.log1p(-u) / u if u else 1)
        # For u near 1, 1 - u loses digits; this is the same value without that difference.
        rest = (rise * self.tau_syn + self.tau_mem * voltage / current) / self.tau_mem
        return None if rest <= 0 else -self.tau_syn * self.numbers.log(rest) / eps

    def time_to_threshold(self, voltage: Number, current: Number) -> Number | None:
        """The time until V first reaches the threshold; None if V never exceeds the threshold.

        If V begins below a threshold that is not below rest, it rises to its only maximum or not at
        all; so it crosses the threshold at most once while it rises, and then for the first time.
        V crosses a threshold below rest exactly once.
        """
        if voltage >= self.threshold and current > self.threshold:
            return self.numbers.convert(0)  # up to rounding, V crosses at the event itself
        start = Segment(self.numbers.convert(0), voltage, current, is_refractory=False)
        if self.threshold >= 0 and not self._exceeds_threshold(start):
            return None
        return self.numbers.crossing(self, start)

    def _exceeds_threshold(self, start: Segment) -> bool:
        """Whether the maximum of V is above the threshold, which is not below rest."""
        if start.current <= self.threshold:
            return False
        to_maximum = self.time_to_maximum(start.voltage, start.current)
        if to_maximum is None:
            return False
        maximum, _ = self.flow(start, to_maximum)
        return not maximum <= self.threshold

    def newton(self, start: Segment) -> Number:
        """The first crossing of the threshold, which is known to exist, by Newton's iteration.

        V is concave while it rises to a threshold that is not below rest.  So the iteration from
        the left never passes the crossing and has converged when it no longer moves to the right.
        """
        if self.threshold < 0:
            return self._newton_below_rest(start)
        time = start.time
        while True:
            voltage, current = self.flow(start, time)
            slope = self.slope(voltage, current)
            if slope <= 0:  # rounding has led beyond the maximum of V that grazes the threshold
                return start.time + self.time_to_maximum(start.voltage, start.current)
            later = time + (self.threshold - voltage) / slope
            if later <= time:
                return time
            time = later

    def _newton_below_rest(self, start: Segment) -> Number:
        """The time until V reaches a threshold below rest, which it always does.

        If V > I, V first falls to its only minimum.  f = log(V/threshold) is a concave or a convex
        function of time as long as V is negative, since f'' V^2 = V V'' - V'^2 is one exponential
        times the product of the coefficients of the two exponentials in V.  Newton's iteration for
        f = 0 is monotone from the left if f is convex, and from the right if it is concave.
        """
        slope = self.slope(start.voltage, start.current)
        bend = -(start.current / self.tau_syn + slope) / self.tau_mem
        concave = start.voltage * bend < slope**2
        time = self._right_of_crossing(start) if concave else start.time
        while True:
            voltage, current = self.flow(start, time)
            slope = self.slope(voltage, current)
            if slope <= 0 or voltage >= 0:  # only due to rounding
                return time
            excess = self.numbers.log(voltage / self.threshold)
            later = time - excess * voltage / slope
            if (later >= time) if concave else (later <= time):
                return time
            time = later

    def _right_of_crossing(self, start: Segment) -> Number:
        """A time at which threshold <= V < 0; if rounding leaves none, the first with V >= 0."""
        time = self.time_to_maximum(-start.voltage, -start.current) or start.time
        lower, higher, step = time, None, min(self.tau_mem, self.tau_syn)
        while True:
            voltage, _ = self.flow(start, time)
            if self.threshold <= voltage < 0:
                return time
            lower, higher = (time, higher) if voltage < self.threshold else (lower, time)
            time = lower + step if higher is None else (lower + higher) / 2
            if higher is not None and not lower < time < higher:
                return higher
            step *= 2

    # Emission: V := reset, and lambda_V jumps.

    def threshold_excess(self, current: Number) -> Number:
        """I - threshold right before an emission: tau_mem dV/dt there."""
        return current - self.threshold

    def lambda_v_before_emission(
        self, spike_time_gradient: Number, excess: Number, limit: Number, rate_jump: Number
    ) -> tuple[Number, bool]:
        """lambda_V- = S_k/(I - threshold) (D Table 1), and whether it was limited.

        Its size is at most ``limit``; then the rate regulariser changes it (L 7).
        """
        is_limited = abs(spike_time_gradient) > limit * max(excess, 0)
        if is_limited:
            lambda_v = limit if spike_time_gradient > 0 else -limit
        else:
            lambda_v = spike_time_gradient / excess if excess > 0 else spike_time_gradient
        return lambda_v - rate_jump, is_limited

    def restart_gradient(self, current: Number, lambda_v: Number) -> Number:
        """``h = (I - reset) lambda_V``: the part of S_k due to V starting to move again.

        Both are taken at the time when V starts to move: right after the emission, or at the end of
        the refractory period.
        """
        return (current - self.reset) * lambda_v

    # Arrival.

    def arrival_gradient(
        self, weight: Number, lambda_i: Number, difference: Number
    ) -> tuple[Number, Number]:
        """Gradients with respect to the weight and to the time of one arrival (D Table 1)."""
        return -self.tau_syn * lambda_i, weight * difference
