"""The closed forms of LIF and LI units with exponential synapses, each forward beside its adjoint.

    tau_mem dV/dt = -V + I        tau_mem lambda_V' = -lambda_V - dF/dV
    tau_syn dI/dt = -I            tau_syn lambda_I' = -lambda_I + lambda_V

(D Table 1; ' is the derivative in backward time.)  Times are in ms.  Every formula holds for
any ratio of the time constants: differences of exponentials are written as divided
differences, whose limit at equal arguments loses no digits.
"""

from __future__ import annotations

from math import exp, expm1, inf, log, log1p

from evsim.compiled import compiled

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

    Far apart it is the difference quotient of first differences; close together, where that
    would cancel, the series ``e^m sum_n h_n / (n + 2)!`` around the middle m, in which h_n is
    the complete homogeneous polynomial of degree n of the distances from m.
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


# -- free flow --------------------------------------------------------------------------------


@compiled
def decays_and_convolution(t: float, tau_mem: float, tau_syn: float) -> tuple[float, float, float]:
    """``e^{-t/tau_mem}``, ``e^{-t/tau_syn}`` and what couples them over t ms.

    The last is ``integral from 0 to t of e^{-u/tau_syn} e^{-(t-u)/tau_mem} du`` in ms:
    over tau_mem it is phi, which carries current into voltage; over tau_syn it carries
    lambda_V into lambda_I.  At tau_mem = tau_syn it is t e^{-t/tau}.
    """
    decay_mem = exp(-t / tau_mem)
    decay_syn = exp(-t / tau_syn)
    difference = abs(tau_mem - tau_syn) / tau_mem / tau_syn
    slower = max(decay_mem, decay_syn)
    return decay_mem, decay_syn, t * slower * relative_expm1(-t * difference)


@compiled
def flow(
    voltage: float, current: float, t: float, tau_mem: float, tau_syn: float
) -> tuple[float, float]:
    """V and I after t ms without events (equations: closed form between events)."""
    decay_mem, decay_syn, coupling = decays_and_convolution(t, tau_mem, tau_syn)
    return voltage * decay_mem + current * coupling / tau_mem, current * decay_syn


@compiled
def adjoint_flow(
    lambda_v: float, lambda_i: float, t: float, tau_mem: float, tau_syn: float
) -> tuple[float, float]:
    """lambda_V and lambda_I, t ms earlier, without events and without drive."""
    decay_mem, decay_syn, coupling = decays_and_convolution(t, tau_mem, tau_syn)
    return lambda_v * decay_mem, lambda_i * decay_syn + lambda_v * coupling / tau_syn


# -- peak and crossing ------------------------------------------------------------------------


@compiled
def peak_time(voltage: float, current: float, tau_mem: float, tau_syn: float) -> float:
    """When V is largest, if it rises now and falls later without events; infinity if never.

    The interior maximum needs I > 0 and V < I.  From V' = 0, that is V = I, follows
    ``t = -tau_syn log1p(-u)/epsilon`` with ``epsilon = 1 - tau_syn/tau_mem`` and
    ``u = (1 - V/I) epsilon``; ``t = tau_syn (1 - V/I)`` at equal time constants.  For u >= 1
    the voltage comes from so far below that it never turns.  Where u is near 1, as it is if
    tau_mem is far longer than tau_syn, 1 - u is formed without the difference.
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
    """Whether V passes the threshold if no event comes; a mere touch does not count.

    At the peak V = I as well, but V is flat there and so forgives an error of its time.
    """
    if current <= threshold:
        return False
    t = peak_time(voltage, current, tau_mem, tau_syn)
    return t < inf and flow(voltage, current, t, tau_mem, tau_syn)[0] > threshold


@compiled
def crossing_time(
    voltage: float, current: float, threshold: float, tau_mem: float, tau_syn: float
) -> float:
    """The first t > 0 at which V reaches the threshold, for a V that is known to do so.

    Where V rises it is concave, so Newton's iteration from the left is monotone and never
    passes the root.  It ends when the error that the curvature leaves in a step,
    ``|V''|/(2 V') step^2``, is below rounding.  NaN if it does not end.
    """
    t = 0.0
    now_voltage, now_current = voltage, current
    for _ in range(200):
        slope = (now_current - now_voltage) / tau_mem
        missing = threshold - now_voltage
        if missing <= 0.0 or slope <= 0.0:
            return t
        step = missing / slope
        t += step
        bend = (now_current / tau_syn + slope) / tau_mem
        if bend * step * step <= 1e-17 * slope * t:
            return t
        now_voltage, now_current = flow(voltage, current, t, tau_mem, tau_syn)
    return float("nan")


# -- mean voltage -------------------------------------------------------------------------------


@compiled
def mean_drive(
    remaining: float, rate: float, duration: float, tau_mem: float, tau_syn: float
) -> tuple[float, float]:
    """lambda_V and lambda_I, ``remaining`` ms before the end, of ``z = (1/T) int w V dt``.

    For ``w(t) = e^{-rate t}`` and no events in between, from 0 at the end.  lambda_V is minus
    the average of e^{-rate t} e^{-(t - now)/tau_mem}/tau_mem over the time that remains, a
    first divided difference of exp; lambda_I is a second one.
    """
    s = remaining
    scale = -exp(-rate * duration) / duration
    first = exp(rate * s) * relative_expm1(-s * (rate + 1.0 / tau_mem))
    second = second_divided_difference(rate * s, -s / tau_mem, -s / tau_syn)
    return scale * (s / tau_mem) * first, scale * (s / tau_mem) * (s / tau_syn) * second


@compiled
def mean_response(
    remaining: float, rate: float, duration: float, tau_mem: float, tau_syn: float
) -> float:
    """How much a unit arrival ``remaining`` ms before the end adds to the mean voltage.

    By duality it is ``-tau_syn lambda_I`` of the mean's own drive.
    """
    _, lambda_i = mean_drive(remaining, rate, duration, tau_mem, tau_syn)
    return -tau_syn * lambda_i
