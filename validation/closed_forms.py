"""Closed forms for single units, derived from the equations without any of evsim's code.

A unit receives spikes with weights w that arrive at times a (emission time plus delay):

    V(t) = sum of w psi(t - a)
    psi(t) = tau_syn/(tau_mem - tau_syn) (e^(-t/tau_mem) - e^(-t/tau_syn))

and psi(t) = t/tau e^(-t/tau) for equal time constants.  Each formula takes the parameters of a
``Unit`` as numbers of mpmath and returns the value of a readout: spike times, a mean or a peak.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mpmath import mp

Number = Any


@dataclass(frozen=True)
class Unit:
    """The parameters of one unit and of its input; times in ms."""

    weights: tuple[Number, ...]
    arrivals: tuple[Number, ...]
    tau_mem: Number
    tau_syn: Number
    threshold: Number
    refractory: Number
    duration: Number
    spikes: int = 1  # the number of spike times that the readout gives


Formula = Callable[[Unit], list[Number]]


def psi(unit: Unit, t: Number) -> Number:
    """V for one spike of weight 1, t ms after its arrival, for different time constants."""
    mem, syn = unit.tau_mem, unit.tau_syn
    return syn / (mem - syn) * (mp.exp(-t / mem) - mp.exp(-t / syn))


# -- threshold crossings --------------------------------------------------------------------


def quadratic(unit: Unit) -> list[Number]:
    """tau_mem = 2 tau_syn: V = b x - c x^2 for x = e^(-t/tau_mem), t from the last arrival on.

    The larger root is the earlier crossing.  All spikes have arrived before it.
    """
    last = max(unit.arrivals)
    factors = [mp.exp((a - last) / unit.tau_mem) for a in unit.arrivals]
    b = sum(w * q for w, q in zip(unit.weights, factors, strict=True))
    c = sum(w * q * q for w, q in zip(unit.weights, factors, strict=True))
    x = (b + mp.sqrt(b * b - 4 * c * unit.threshold)) / (2 * c)
    return [last - unit.tau_mem * mp.log(x)]


def inverse_quadratic(unit: Unit) -> list[Number]:
    """tau_syn = 2 tau_mem: V = 2 w (y - y^2) for y = e^(-t/tau_syn)."""
    (w,), (a,) = unit.weights, unit.arrivals
    return [a - unit.tau_syn * mp.log((1 + mp.sqrt(1 - 2 * unit.threshold / w)) / 2)]


def cubic(unit: Unit) -> list[Number]:
    """tau_mem = 3 tau_syn: V = w/2 (x - x^3) for x = e^(-t/tau_mem), by Viete's cosines."""
    (w,), (a,) = unit.weights, unit.arrivals
    angle = mp.acos(-3 * mp.sqrt(3) * unit.threshold / w) / 3
    return [a - unit.tau_mem * mp.log(2 / mp.sqrt(3) * mp.cos(angle))]


def lambert(unit: Unit) -> list[Number]:
    """tau_mem = tau_syn = tau: w t/tau e^(-t/tau) = threshold, with branch W_0 of Lambert's W."""
    (w,), (a,) = unit.weights, unit.arrivals
    return [a - unit.tau_mem * mp.lambertw(-unit.threshold / w).real]


def lambert_by_taus(unit: Unit) -> tuple[Number, Number]:
    """The derivatives of ``lambert`` with respect to tau_mem and tau_syn: -(dV/dtau)/(dV/dt).

    For rates x = 1/tau_mem and y = 1/tau_syn, V = w x (e^(-x t) - e^(-y t))/(y - x), whose
    derivatives at x = y are w e^(-x t) (t - x t^2/2) and -w e^(-x t) x t^2/2.
    """
    tau = unit.tau_mem
    s = (lambert(unit)[0] - unit.arrivals[0]) / tau
    slope = (1 - s) / tau
    by_mem, by_syn = -(s - s * s / 2) / tau, s * s / 2 / tau
    return -by_mem / slope, -by_syn / slope


def any_ratio(unit: Unit) -> list[Number]:
    """Any two time constants: the root of w psi = threshold, bracketed by 0 and the peak."""
    (w,), (a,) = unit.weights, unit.arrivals
    peak_time = mp.log(unit.tau_mem / unit.tau_syn) / (1 / unit.tau_syn - 1 / unit.tau_mem)
    bracket = mp.mpf(0), peak_time
    missing = lambda t: w * psi(unit, t) - unit.threshold  # noqa: E731
    return [a + mp.findroot(missing, bracket, solver="anderson", tol=mp.eps**2 * 1e8)]


def train(unit: Unit) -> list[Number]:
    """tau_mem = 2 tau_syn: the spikes after one arrival, each the first crossing after a reset.

    After a spike V is 0 for the refractory period, while I continues to decay.
    """
    (current,), (start,) = unit.weights, unit.arrivals
    times = []
    for _ in range(unit.spikes):
        root = (1 + mp.sqrt(1 - 4 * unit.threshold / current)) / 2
        wait = -unit.tau_mem * mp.log(root)
        times.append(start + wait)
        current *= mp.exp(-(wait + unit.refractory) / unit.tau_syn)
        start += wait + unit.refractory
    return times


def held_current(unit: Unit) -> list[Number]:
    """tau_syn infinite: I = w is constant, and every interval is -tau_mem log(1 - threshold/w)."""
    (w,), (a,) = unit.weights, unit.arrivals
    interval = -unit.tau_mem * mp.log(1 - unit.threshold / w)
    return [a + interval * (k + 1) + unit.refractory * k for k in range(unit.spikes)]


# -- readouts of an LI unit -----------------------------------------------------------------


def mean(unit: Unit) -> list[Number]:
    """(1/T) times the integral of V from 0 to T."""
    mem, syn = unit.tau_mem, unit.tau_syn
    total = 0
    for w, a in zip(unit.weights, unit.arrivals, strict=True):
        span = unit.duration - a
        areas = mem * (1 - mp.exp(-span / mem)) - syn * (1 - mp.exp(-span / syn))
        total += w * syn / (mem - syn) * areas
    return [total / unit.duration]


def exponential_mean(unit: Unit) -> list[Number]:
    """(1/T) times the integral of e^(-t/T) V from 0 to T."""
    mem, syn = unit.tau_mem, unit.tau_syn
    total = 0
    for w, a in zip(unit.weights, unit.arrivals, strict=True):
        span, rate = unit.duration - a, 1 / unit.duration
        areas = [(1 - mp.exp(-span * (rate + 1 / tau))) / (rate + 1 / tau) for tau in (mem, syn)]
        total += w * syn / (mem - syn) * mp.exp(-rate * a) * (areas[0] - areas[1])
    return [total / unit.duration]


def equal_mean(unit: Unit) -> list[Number]:
    """``mean`` for equal time constants: each spike adds tau - (span + tau) e^(-span/tau)."""
    tau = unit.tau_mem
    total = 0
    for w, a in zip(unit.weights, unit.arrivals, strict=True):
        span = unit.duration - a
        total += w * (tau - (span + tau) * mp.exp(-span / tau))
    return [total / unit.duration]


def peak(unit: Unit) -> list[Number]:
    """The largest V after one arrival: w r^(-r/(r - 1)) with r = tau_mem/tau_syn."""
    (w,) = unit.weights
    r = unit.tau_mem / unit.tau_syn
    return [w * r ** (-r / (r - 1))]
