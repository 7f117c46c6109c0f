"""The closed forms of LIF and LI units with exponential synapses, each forward beside its adjoint.

    tau_mem dV/dt = -V + I        tau_mem lambda_V' = -lambda_V - dF/dV
    tau_syn dI/dt = -I            tau_syn lambda_I' = -lambda_I + lambda_V

(D Table 1; ' is the derivative in backward time.)  V is measured from rest, and so are threshold,
reset and the start of V; the threshold may be below rest.  Every formula holds for any ratio of the
time constants: differences of exponentials are written as divided differences, which lose no digits
as their arguments become equal.

Units: times, delays and time constants are in ms; V, I, thresholds and weights share one unit of
voltage; with a dimensionless loss L, lambda_V and lambda_I are in 1/(ms volt), S_k in 1/ms.

The gradient with respect to the time of an arrival contains lambda_V - lambda_I.  If the time
constants are far apart, both are nearly equal, and subtracting one from the other would lose
digits.  Therefore the *difference* is computed as a third adjoint, with closed forms that avoid
this subtraction.

Papers: D is Mészáros, Knight, Nowotny (learning delays with EventProp), L is Nowotny, Turner,
Knight (loss shaping), W is Wunderlich, Pehle (EventProp).
"""

from __future__ import annotations

from math import exp, expm1, inf, log, log1p, sqrt

from evsim._compile.decorators import compiled
from evsim.equations.exponential import fast_exp, fast_exp_and_expm1, fused, reciprocal

LOST = 4 * 2.0**-52  # four units in the last place

# -- divided differences of the exponential -------------------------------------------------


@compiled
def relative_expm1(x: float) -> float:
    """``expm1(x)/x``, the divided difference of exp between 0 and x; 1 at x = 0."""
    if x == 0.0:
        return 1.0
    return expm1(x) / x


@compiled
def relative_log1p(x: float) -> float:
    """``log1p(x)/x``; 1 at x = 0."""
    if x == 0.0:
        return 1.0
    return log1p(x) / x


@compiled
def second_divided_difference(a: float, b: float, c: float) -> float:
    """``exp[a, b, c]``, the second divided difference of exp; e^a/2 where all are equal.

    For arguments far apart it is the difference quotient of first differences.  For arguments close
    together, where digits would cancel, it is the series ``e^m sum_n h_n / (n + 2)!`` around the
    middle m, in which h_n is the complete homogeneous polynomial of degree n of the distances from
    m.
    """
    high, low = max(a, b, c), min(a, b, c)
    middle = max(min(a, b), min(max(a, b), c))
    if high - low > 1.0:
        upper = exp(high) * relative_expm1(middle - high)
        lower = exp(middle) * relative_expm1(low - middle)
        return (upper - lower) / (high - low)
    x, y = high - middle, low - middle
    e1, e2 = x + y, x * y
    previous, polynomial = 0.0, 1.0
    factor = 0.5
    total = factor
    for n in range(1, 19):  # the next term is below 1e-18
        previous, polynomial = polynomial, e1 * polynomial - e2 * previous
        factor /= n + 2
        total += polynomial * factor
    return exp(middle) * total


@compiled
def first_divided_difference(a: float, b: float) -> float:
    """``exp[a, b]``; e^a where they are equal."""
    high, low = max(a, b), min(a, b)
    return exp(high) * relative_expm1(low - high)


@compiled
def third_divided_difference(a: float, b: float, c: float, d: float) -> float:
    """``exp[a, b, c, d]``; e^a/6 where all are equal."""
    a, b = min(a, b), max(a, b)
    c, d = min(c, d), max(c, d)
    a, c = min(a, c), max(a, c)
    b, d = min(b, d), max(b, d)
    b, c = min(b, c), max(b, c)
    if d - a > 2.0:
        upper = second_divided_difference(b, c, d)
        return (upper - second_divided_difference(a, b, c)) / (d - a)
    return _series_from_lowest(a, b - a, c - a, d - a, 0.0, 3)


@compiled
def fourth_divided_difference(low: float, a: float, b: float, c: float, high: float) -> float:
    """``exp[low, a, b, c, high]`` for low <= a <= b <= c <= high; e^low/24 where all are equal."""
    if high - low > 2.0:
        upper = third_divided_difference(a, b, c, high)
        return (upper - third_divided_difference(low, a, b, c)) / (high - low)
    return _series_from_lowest(low, a - low, b - low, c - low, high - low, 4)


@compiled
def _series_from_lowest(low: float, a: float, b: float, c: float, d: float, order: int) -> float:
    """``e^low sum_n h_n / (n + order)!``, h_n the sum of all products of n of a, b, c, d >= 0.

    This is the divided difference of exp, expanded around the lowest argument: no term is negative,
    so no digits cancel.  h_n of all distances follows from h_n of fewer distances and h_(n-1).
    """
    factor = 1.0
    for n in range(2, order + 1):
        factor /= n
    of_a = of_b = of_c = of_d = 1.0
    total = factor
    for n in range(1, 32):  # distances up to 2: the next term is below 1e-18 of the sum
        of_a *= a
        of_b = of_a + b * of_b
        of_c = of_b + c * of_c
        of_d = of_c + d * of_d
        factor /= n + order
        total += of_d * factor
    return exp(low) * total


# -- refractory periods -----------------------------------------------------------------------


@compiled
def is_refractory_after(time: float, refractory: float) -> bool:
    """Whether a refractory period follows an emission.

    A period so short that adding it does not change the time, in float64, counts as no period.
    Only this decides whether spikes that arrive together with the emission arrive in the period.
    """
    return time + refractory > time


@compiled
def refractory_decay(t: float, tau_syn: float) -> float:
    """``e^{-t/tau_syn}``: how I decays over t ms of a refractory period, in which V does not move.

    Backwards in time, lambda_I decays by the same factor over t ms of the period, because lambda_V
    is 0.
    """
    return exp(-t / tau_syn)


@compiled
def flow_through_refractory(
    voltage: float,
    current: float,
    now: float,
    time: float,
    free_at: float,
    tau_mem: float,
    tau_syn: float,
) -> tuple[float, float]:
    """V and I at a later time without events; V stays where it is until ``free_at``."""
    if now < free_at:
        until = min(time, free_at)
        current *= refractory_decay(until - now, tau_syn)
        now = until
    if now < time:
        return flow(voltage, current, time - now, tau_mem, tau_syn)
    return voltage, current


# -- free flow --------------------------------------------------------------------------------


@compiled
def decays_and_convolution(t: float, tau_mem: float, tau_syn: float) -> tuple[float, float, float]:
    """``e^{-t/tau_mem}``, ``e^{-t/tau_syn}`` and their convolution over t ms.

    The last is ``integral from 0 to t of e^{-u/tau_syn} e^{-(t-u)/tau_mem} du`` in ms.  Divided by
    tau_mem it is phi, the response of the voltage to the current; divided by tau_syn it is the
    response of lambda_I to lambda_V.  At tau_mem = tau_syn it is t e^{-t/tau}.
    """
    return decays_and_response(t, tau_mem, tau_syn, 1.0)


@compiled
def decays_and_response(
    t: float, tau_mem: float, tau_syn: float, tau: float
) -> tuple[float, float, float]:
    """Like ``decays_and_convolution``, with the last divided by ``tau``.

    With the time constants called long and short, and ``x = t (1/long - 1/short)``, they are
    ``e^{-t/long}``, ``e^{-t/long} e^x`` and ``-e^{-t/long} expm1(x)/(1/short - 1/long)``.  Whatever
    depends only on the time constants is computed once for a loop's many t, with more digits than
    a single number has.  So no division is left, and rounding errors are no larger than with
    divisions.
    """
    long, short = max(tau_mem, tau_syn), min(tau_mem, tau_syn)
    rate, rest_of_rate = reciprocal(long)
    short_rate, rest_of_short_rate = reciprocal(short)
    difference = short_rate - rate
    lost = ((short_rate - difference) - rate) + (rest_of_short_rate - rest_of_rate)
    gap = difference + lost
    rest_of_gap = (difference - gap) + lost
    divisor = gap * tau
    rest_of_divisor = fused(gap, tau, -divisor) + rest_of_gap * tau
    factor = 1.0 / divisor if gap != 0.0 else 0.0
    factor -= factor * fused(factor, rest_of_divisor, fused(factor, divisor, -1.0))
    slower = fast_exp(-fused(t, rate, t * rest_of_rate))
    ratio, change = fast_exp_and_expm1(-fused(t, gap, t * rest_of_gap))
    faster = slower * ratio
    response = -(slower * change) * factor if gap != 0.0 else slower * (t / tau)
    if tau_mem >= tau_syn:
        return slower, faster, response
    return faster, slower, response


@compiled
def flow(
    voltage: float, current: float, t: float, tau_mem: float, tau_syn: float
) -> tuple[float, float]:
    """V and I after t ms without events (equations: closed form between events)."""
    decay_mem, decay_syn, response = decays_and_response(t, tau_mem, tau_syn, tau_mem)
    return voltage * decay_mem + current * response, current * decay_syn


@compiled
def adjoint_flow(
    lambda_v: float, lambda_i: float, difference: float, t: float, tau_mem: float, tau_syn: float
) -> tuple[float, float, float]:
    """lambda_V, lambda_I and their difference, t ms earlier, without events and with dF/dV = 0."""
    decay_mem, decay_syn, response = decays_and_response(t, tau_mem, tau_syn, tau_syn)
    return adjoint_step(
        lambda_v, lambda_i, difference, decay_mem, decay_syn, response, tau_mem, tau_syn
    )


@compiled
def adjoint_step(
    lambda_v: float,
    lambda_i: float,
    difference: float,
    decay_mem: float,
    decay_syn: float,
    response: float,
    tau_mem: float,
    tau_syn: float,
) -> tuple[float, float, float]:
    """``adjoint_flow`` over a time whose ``decays_and_response`` are known."""
    of_difference, of_v, of_i = difference_factors(decay_mem, decay_syn, response, tau_mem, tau_syn)
    return (
        lambda_v * decay_mem,
        lambda_i * decay_syn + lambda_v * response,
        difference * of_difference - lambda_v * of_v - lambda_i * of_i,
    )


@compiled
def difference_factors(
    decay_mem: float, decay_syn: float, response: float, tau_mem: float, tau_syn: float
) -> tuple[float, float, float]:
    """Factors a, b, c: the difference is ``a D - b lambda_V - c lambda_I``, with values t ms later.

    D is the difference lambda_V - lambda_I at that later time.  ``response`` is c(t)/tau_syn with
    the convolution c(t) of both exponentials.  D Table 1 implies ``tau_syn D' = -D -
    tau_syn/tau_mem lambda_V`` for the difference D, and therefore

        D(t) = D e^{-t/tau_syn} - lambda_V c(t)/tau_mem
             = D (e^{-t/tau_mem} - c(t)/tau_syn) - lambda_I c(t)/tau_mem

    The first form is used if tau_syn is the shorter: what it subtracts is then as small as the
    result.  The second is used if tau_mem is the shorter.
    """
    toward = response * (tau_syn / tau_mem)
    if tau_syn <= tau_mem:
        return decay_syn, toward, 0.0
    return decay_mem - response, 0.0, toward


# -- arrivals and emissions ---------------------------------------------------------------------


@compiled
def arrival_gradient(
    weight: float, lambda_i: float, difference: float, tau_syn: float
) -> tuple[float, float]:
    """Gradients with respect to the weight and to the time of one arrival (D Table 1).

    They are ``-tau_syn lambda_I`` and ``w (lambda_V - lambda_I)``.  The arrival adds the latter to
    the gradient with respect to its delay, and to S_k of the spike that was sent.
    """
    return -tau_syn * lambda_i, arrival_time_gradient(weight, difference)


@compiled
def arrival_time_gradient(weight: float, difference: float) -> float:
    """``w (lambda_V - lambda_I)``: the gradient with respect to the time of one arrival."""
    return weight * difference


@compiled
def restart_gradient(drive: float, lambda_v: float) -> float:
    """``h = (I - reset) lambda_V``: the part of S_k from V starting to move again at the reset.

    ``drive`` is I - reset = tau_mem dV/dt.  Both arguments are taken at the time when V starts:
    right after the emission, or at the end of the refractory period.
    """
    return drive * lambda_v


@compiled
def voltage_gradient(lambda_v: float, tau_mem: float) -> float:
    """``dL/dV = -tau_mem lambda_V`` for a change of V at a time and its effect afterwards.

    Its value at time 0 is the gradient with respect to the start.  Each spike adds its value at the
    time when V starts to move again to the gradient with respect to the reset.
    """
    return -tau_mem * lambda_v


@compiled
def is_lost_in_rounding(threshold_excess: float, threshold: float) -> bool:
    """Whether I - threshold at an emission is no more than the rounding of I.

    Then no digit of lambda_V- = S_k/(I - threshold) is right.
    """
    return not threshold_excess > LOST * abs(threshold)


@compiled
def lambda_v_before_emission(
    spike_time_gradient: float, threshold_excess: float, limit: float, rate_jump: float
) -> tuple[float, bool]:
    """The jump at the reset: lambda_V- right before an emission, and whether it was limited.

    ``lambda_V- = S_k/(I - threshold)`` (D Table 1), at most ``limit`` in size, minus the
    jump of the rate regulariser (L 7).  S_k is the gradient with respect to the emission's time,
    through readout, synapses and ``restart_gradient``.  If the excess I - threshold rounds to 0,
    lambda_V- is the limit itself.
    """
    is_limited = abs(spike_time_gradient) > limit * max(threshold_excess, 0.0)
    if is_limited:
        lambda_v = limit if spike_time_gradient > 0.0 else -limit
    else:
        lambda_v = spike_time_gradient / threshold_excess if spike_time_gradient != 0.0 else 0.0
    return lambda_v - rate_jump, is_limited


@compiled
def difference_jump(
    direct_gradient: float,
    later_lambda_v: float,
    fall: float,
    threshold_excess: float,
    rate_jump: float,
) -> float:
    """``lambda_V- - lambda_V+`` at an emission without a refractory period and without a limit.

    There S_k is the ``direct_gradient``, through readout and synapses, plus (I - reset) lambda_V+.
    Therefore, with the ``fall`` = threshold - reset of V,

        S_k/(I - threshold) - lambda_V+ = (direct + fall lambda_V+)/(I - threshold)

    The difference lambda_V - lambda_I jumps by this.  No digits cancel if I is far above the
    threshold and the jump is small.
    """
    return (direct_gradient + fall * later_lambda_v) / threshold_excess - rate_jump


@compiled
def flow_by_time_constants(
    voltage: float, current: float, t: float, tau_mem: float, tau_syn: float
) -> tuple[float, float, float]:
    """dV/dtau_mem, dV/dtau_syn and dI/dtau_syn of ``flow``; I does not depend on tau_mem."""
    mem, syn = -t / tau_mem, -t / tau_syn
    mem_by_tau, syn_by_tau = t / tau_mem / tau_mem, t / tau_syn / tau_syn
    response = t / tau_mem * first_divided_difference(mem, syn)
    by_mem = t / tau_mem * second_divided_difference(mem, mem, syn)
    by_syn = t / tau_mem * second_divided_difference(mem, syn, syn)
    return (
        voltage * exp(mem) * mem_by_tau + current * (by_mem * mem_by_tau - response / tau_mem),
        current * by_syn * syn_by_tau,
        current * exp(syn) * syn_by_tau,
    )


# -- peak and crossing ------------------------------------------------------------------------


@compiled
def peak_time(voltage: float, current: float, tau_mem: float, tau_syn: float) -> float:
    """When V is largest, if it rises now and falls later without events; infinity if never.

    An interior maximum requires I > 0 and V < I.  V' = 0, that is V = I, implies
    ``t = -tau_syn log1p(-u)/epsilon`` with ``epsilon = 1 - tau_syn/tau_mem`` and
    ``u = (1 - V/I) epsilon``; ``t = tau_syn (1 - V/I)`` at equal time constants.  For u >= 1
    the voltage starts so low that it never has a maximum.  Where u is near 1, as it is if tau_mem
    is far longer than tau_syn, 1 - u is computed without this subtraction.
    """
    if current <= 0.0 or voltage >= current:
        return inf
    gap = (current - voltage) / current
    epsilon = (tau_mem - tau_syn) / tau_mem
    u = gap * epsilon
    if u < 0.5:
        return tau_syn * gap * relative_log1p(-u)
    rest = (tau_syn / tau_mem * (current - voltage) + voltage) / current
    if rest <= 0.0:
        return inf
    return -tau_syn * log(rest) / epsilon


@compiled
def reaches_threshold(
    voltage: float, current: float, threshold: float, tau_mem: float, tau_syn: float
) -> bool:
    """Whether V exceeds the threshold if no event comes; merely touching it does not count.

    V is evaluated at its peak, where it is flat, so an error of the peak's time hardly changes it.
    A threshold below rest is always exceeded in the end, as V tends to rest.
    """
    if threshold < 0.0:
        return abs(current) < inf
    if current <= threshold:
        return False
    t = peak_time(voltage, current, tau_mem, tau_syn)
    return t < inf and flow(voltage, current, t, tau_mem, tau_syn)[0] > threshold


@compiled
def first_crossing(
    voltage: float,
    current: float,
    threshold: float,
    tau_mem: float,
    tau_syn: float,
    is_certain: bool,
) -> float:
    """When V first reaches the threshold if no event comes; infinity if it does not exceed it.

    ``is_certain`` says that V is known to exceed it.  Returns NaN if the search does not end.
    """
    t = clear_crossing_time(voltage, current, threshold, tau_mem, tau_syn)
    if t >= 0.0:
        return t
    if is_certain or reaches_threshold(voltage, current, threshold, tau_mem, tau_syn):
        return crossing_time(voltage, current, threshold, tau_mem, tau_syn)
    return inf


@compiled
def clear_crossing_time(
    voltage: float, current: float, threshold: float, tau_mem: float, tau_syn: float
) -> float:
    """The first t > 0 at which V reaches the threshold, if it clearly exceeds it; -1 if unclear.

    As a function of ``x = e^{-t/tau}`` with ``3/tau = 1/tau_mem + 1/tau_syn``, V is nearly a
    parabola; at tau_mem = 2 tau_syn it is one.  The search begins where the parabola that V
    initially follows reaches the threshold, corrected for the next two terms of the series.  All
    derivatives of V follow from V and I, so Householder steps of the third order are used: the
    error after a step is proportional to the fourth power of the error before, and one or two steps
    are enough.

    V rises until its peak, so a root at which it rises is the first.  If V at the root rises so
    steeply that its peak is clearly above the threshold, the crossing does not depend on rounding.
    ``crossing_time`` finds the other crossings.
    """
    missing = threshold - voltage
    mem_rate, syn_rate = 1.0 / tau_mem, 1.0 / tau_syn
    tau = 3.0 / (mem_rate + syn_rate)
    # tau^n times the n-th derivative of V with respect to t, then with respect to w = 1 - x.
    first, of_current = tau * mem_rate * (current - voltage), tau * syn_rate * current
    second = -tau * mem_rate * (of_current + first)
    third = tau * mem_rate * (tau * syn_rate * of_current - second)
    fourth = -tau * mem_rate * (tau * syn_rate * tau * syn_rate * of_current + third)
    bend = second + first
    twist = third + 3.0 * second + 2.0 * first
    last = fourth + 6.0 * third + 11.0 * second + 6.0 * first
    root = first * first + 2.0 * missing * bend
    if not (missing > 0.0 and first > 0.0 and root > 0.0 and threshold > 0.0):
        return -1.0
    w = 2.0 * missing / (first + sqrt(root))
    excess = w * w * w * (1 / 6) * (twist + 0.25 * w * last)
    w -= excess / (first + w * (bend + w * (0.5 * twist + w * (1 / 6) * last)))
    if not 0.0 < w < 0.8:
        return -1.0
    if tau_mem == 2.0 * tau_syn:
        t = -tau * log1p(-w)
    else:
        s = w / (2.0 - w)
        square = s * s
        series = 1 / 5 + square * (1 / 7 + square * (1 / 9 + square * (1 / 11)))
        t = 2.0 * tau * s * (1.0 + square * (1 / 3 + square * series))
    for _ in range(8):
        now_voltage, now_current = flow(voltage, current, t, tau_mem, tau_syn)
        missing = threshold - now_voltage
        slope = (now_current - now_voltage) * mem_rate
        bend = (now_current * syn_rate + slope) * mem_rate
        twist = (now_current * syn_rate * syn_rate + bend) * mem_rate
        cube = slope * slope * slope
        divisor = slope * (slope * slope - missing * bend) + missing * missing * twist * (1 / 6)
        if not (cube > 1e-250 and divisor > 0.25 * cube):
            return -1.0
        step = missing * (slope * slope - 0.5 * missing * bend) / divisor
        moved = abs(step)
        change = bend * moved  # of the slope
        t += step
        if not t > 0.0:
            return -1.0
        if change * change * change * moved <= 1e-17 * t * cube:
            is_clear = slope * slope > 1e-7 * bend * threshold
            return t if is_clear else -1.0
    return -1.0


@compiled
def crossing_time(
    voltage: float, current: float, threshold: float, tau_mem: float, tau_syn: float
) -> float:
    """The first t > 0 at which V reaches the threshold, for a V that is known to do so.

    Where V rises it is concave.  So a step of Newton's iteration from the left of the root never
    passes it, and a step from the right leads to the left of it.  The iteration begins where the
    parabola that V initially follows reaches the threshold, and ends when the error of a step due
    to the curvature, ``|V''|/(2 V') step^2``, is below rounding.  If V only grazes the threshold,
    rounding may lead beyond its peak; then the crossing is at the peak, within rounding of V.
    Returns NaN if the iteration does not end.
    """
    if threshold < 0.0:
        return crossing_time_below_rest(voltage, current, threshold, tau_mem, tau_syn)
    if threshold == 0.0:
        return time_to_rest(voltage, current, tau_mem, tau_syn)
    slope = (current - voltage) / tau_mem
    missing = threshold - voltage
    if missing <= 0.0 or slope <= 0.0:
        return 0.0
    rest = slope * slope - 2.0 * missing * (current / tau_syn + slope) / tau_mem
    t = 2.0 * missing / (slope + sqrt(rest)) if rest > 0.0 else missing / slope
    now_voltage, now_current = flow(voltage, current, t, tau_mem, tau_syn)
    if now_current <= now_voltage:  # beyond the peak
        t = missing / slope
        now_voltage, now_current = flow(voltage, current, t, tau_mem, tau_syn)
    may_be_beyond = now_voltage > threshold
    for _ in range(200):
        slope = (now_current - now_voltage) / tau_mem
        missing = threshold - now_voltage
        if slope <= 0.0:
            return min(t, peak_time(voltage, current, tau_mem, tau_syn))
        if missing <= 0.0 and not may_be_beyond:
            return t
        may_be_beyond = False
        step = missing / slope
        t += step
        bend = (now_current / tau_syn + slope) / tau_mem
        if bend * step * step <= 1e-17 * slope * t:
            return t
        now_voltage, now_current = flow(voltage, current, t, tau_mem, tau_syn)
    return float("nan")


@compiled
def time_to_rest(voltage: float, current: float, tau_mem: float, tau_syn: float) -> float:
    """When V reaches 0 from below, for a V that is known to do so; 0 if V is not below 0.

    ``V0 e^{-t/tau_mem} + I0 phi(t) = 0`` for ``t = tau_mem c log1p(y)/y`` with ``c = -V0/I0`` and
    ``y = c (1 - tau_mem/tau_syn)``; ``t = tau_mem c`` at equal time constants.
    """
    c = -voltage / current
    y = c * ((tau_syn - tau_mem) / tau_syn)
    return max(tau_mem * c * relative_log1p(y), 0.0)


@compiled
def crossing_time_below_rest(
    voltage: float, current: float, threshold: float, tau_mem: float, tau_syn: float
) -> float:
    """The first t > 0 at which V reaches a threshold below rest, which it always does.

    If V > I, it first falls to its only minimum.  ``f = log(V/threshold)`` is a concave or a convex
    function of time as long as V is negative, as ``f'' V^2 = V V'' - V'^2`` has one sign, that of
    the product of the coefficients of the two exponentials in V.  Newton's iteration for f = 0 is
    monotone from the left if f is convex, and from the right if it is concave.  Returns NaN if it
    does not end.
    """
    if voltage >= threshold and current > threshold:
        return 0.0
    slope = (current - voltage) / tau_mem
    is_concave = -voltage * (current / tau_syn + slope) / tau_mem < slope * slope
    t, now_voltage, now_current = 0.0, voltage, current
    if is_concave:  # begin where threshold <= V < 0, to the right of the crossing
        minimum = peak_time(-voltage, -current, tau_mem, tau_syn)
        t = minimum if minimum < inf else 0.0
        lower, higher, step = t, inf, min(tau_mem, tau_syn)
        now_voltage, now_current = flow(voltage, current, t, tau_mem, tau_syn)
        for _ in range(2000):
            if threshold <= now_voltage < 0.0:
                break
            if now_voltage < threshold:
                lower = t
            else:
                higher = t
            t = lower + step if higher == inf else 0.5 * (lower + higher)
            if t <= lower or t >= higher:
                return higher
            step *= 2.0
            now_voltage, now_current = flow(voltage, current, t, tau_mem, tau_syn)
    for _ in range(200):
        slope = (now_current - now_voltage) / tau_mem
        excess = log(now_voltage / threshold)
        is_there = excess >= 0.0 if is_concave else excess <= 0.0
        if is_there or slope <= 0.0:
            return t
        later = t - excess * now_voltage / slope
        if later >= t if is_concave else later <= t:
            return t
        t = later
        now_voltage, now_current = flow(voltage, current, t, tau_mem, tau_syn)
    return float("nan")


# -- weighted integral of the voltage ------------------------------------------------------------


@compiled
def weighting_integral(start: float, span: float, rate: float, slope: float) -> float:
    """``integral of w(t) dt`` over [start, start + span], as for a V that stays at 1."""
    x = -span * rate
    integral = span * relative_expm1(x)
    if slope != 0.0:
        moment = span * span * second_divided_difference(0.0, x, x)
        integral = (1.0 + slope * start) * integral + slope * moment
    return exp(-rate * start) * integral


@compiled
def integral_slopes(
    start: float, span: float, rate: float, slope: float, tau_mem: float, tau_syn: float
) -> tuple[float, float]:
    """Derivatives of the integral of w(t) V(t) dt over [start, start + span] by V and I at start.

    ``w(t) = (1 + slope t) e^{-rate t}``.  As dL/dV = -tau_mem lambda_V and dL/dI = -tau_syn
    lambda_I, the integral adds minus these, divided by tau_mem and by tau_syn, to the adjoints.
    """
    mem, syn = -span * (rate + 1.0 / tau_mem), -span * (rate + 1.0 / tau_syn)
    by_voltage = span * relative_expm1(mem)
    by_current = span * span / tau_mem * second_divided_difference(0.0, mem, syn)
    if slope != 0.0:
        weight = 1.0 + slope * start
        moment = span * span * second_divided_difference(0.0, mem, mem)
        by_voltage = weight * by_voltage + slope * moment
        moment = third_divided_difference(0.0, mem, mem, syn)
        moment += third_divided_difference(0.0, mem, syn, syn)
        by_current = weight * by_current + slope * span**3 / tau_mem * moment
    scale = exp(-rate * start)
    return scale * by_voltage, scale * by_current


@compiled
def integral_of_rise(
    by_current: float,
    start: float,
    span: float,
    rate: float,
    slope: float,
    tau_mem: float,
    tau_syn: float,
) -> float:
    """``integral of w(t) dV/dt dt`` over [start, start + span], for V rising from 0 with I = 1.

    The integral of w(t) V(t) adds minus this to the difference of the adjoints: if an arrival
    comes later, V rises later.  Integration by parts gives w V at the end minus the integral of
    w'(t) V(t) with ``w' = slope e^{-rate t} - rate w``; no digits cancel, as weightings fall.
    ``by_current`` is that of ``integral_slopes``.
    """
    _, _, coupling = decays_and_convolution(span, tau_mem, tau_syn)
    end = start + span
    rise = (1.0 + slope * end) * exp(-rate * end) * coupling / tau_mem + rate * by_current
    if slope != 0.0:
        _, area = integral_slopes(start, span, rate, 0.0, tau_mem, tau_syn)
        rise -= slope * area
    return rise


@compiled
def integral_slopes_by_time_constants(
    start: float, span: float, rate: float, slope: float, tau_mem: float, tau_syn: float
) -> tuple[float, float, float]:
    """Derivatives of ``integral_slopes``: both by tau_mem, and the second also by tau_syn.

    Each argument of a divided difference depends on its time constant, and differentiation with
    respect to an argument repeats this argument: d exp[0, m, s]/dm = exp[0, m, m, s].
    """
    mem, syn = -span * (rate + 1.0 / tau_mem), -span * (rate + 1.0 / tau_syn)
    mem_by_tau, syn_by_tau = span / tau_mem / tau_mem, span / tau_syn / tau_syn
    area = span * span / tau_mem
    of_mem = third_divided_difference(0.0, mem, mem, syn)
    of_syn = third_divided_difference(0.0, mem, syn, syn)
    voltage_by_mem = span * second_divided_difference(0.0, mem, mem) * mem_by_tau
    by_current = area * second_divided_difference(0.0, mem, syn)
    current_by_mem = area * of_mem * mem_by_tau - by_current / tau_mem
    current_by_syn = area * of_syn * syn_by_tau
    if slope != 0.0:
        weight = 1.0 + slope * start
        moment = span * span * 2.0 * third_divided_difference(0.0, mem, mem, mem)
        voltage_by_mem = weight * voltage_by_mem + slope * moment * mem_by_tau
        low, high = min(mem, syn), max(mem, syn)
        both = fourth_divided_difference(low, low, high, high, 0.0)
        mostly_low = 2.0 * fourth_divided_difference(low, low, low, high, 0.0) + both
        mostly_high = 2.0 * fourth_divided_difference(low, high, high, high, 0.0) + both
        mostly_mem = mostly_low if mem <= syn else mostly_high
        mostly_syn = mostly_high if mem <= syn else mostly_low
        volume = slope * span**3 / tau_mem
        current_by_mem = weight * current_by_mem + volume * (
            mostly_mem * mem_by_tau - (of_mem + of_syn) / tau_mem
        )
        current_by_syn = weight * current_by_syn + volume * mostly_syn * syn_by_tau
    scale = exp(-rate * start)
    return scale * voltage_by_mem, scale * current_by_mem, scale * current_by_syn


@compiled
def driven_adjoint_flow(
    lambda_v: float,
    lambda_i: float,
    difference: float,
    later: float,
    earlier: float,
    voltage_cotangent: float,
    rate: float,
    slope: float,
    tau_mem: float,
    tau_syn: float,
) -> tuple[float, float, float]:
    """lambda_V, lambda_I and their difference at an earlier time, without events in between.

    ``dF/dV = voltage_cotangent w(t)`` with the weighting ``w(t) = (1 + slope t) e^{-rate t}``.
    """
    span = later - earlier
    lambda_v, lambda_i, difference = adjoint_flow(
        lambda_v, lambda_i, difference, span, tau_mem, tau_syn
    )
    if voltage_cotangent != 0.0:
        by_voltage, by_current = integral_slopes(earlier, span, rate, slope, tau_mem, tau_syn)
        lambda_v -= voltage_cotangent * by_voltage / tau_mem
        lambda_i -= voltage_cotangent * by_current / tau_syn
        difference -= voltage_cotangent * integral_of_rise(
            by_current, earlier, span, rate, slope, tau_mem, tau_syn
        )
    return lambda_v, lambda_i, difference
