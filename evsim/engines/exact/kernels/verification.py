"""Whether the spikes of a run are what the arrivals at each unit make of its voltage.

A check of the engine by itself, from the spikes it has left and not from what it computed on the
way: V at each emission is the sum of the responses to all arrivals since V last began to move,
each in closed form.  How far rounding may take it follows from the sum of their magnitudes.
"""

from __future__ import annotations

from math import exp, inf

import numpy as np

from evsim._compile.decorators import compiled, entry_point, record
from evsim.engines.exact.kernels.arrivals import (
    Arrivals,
    arrivals_at,
    most_arrivals,
    new_arrivals,
    with_room,
)
from evsim.engines.exact.kernels.trial import Batch, Trial, trial_of
from evsim.equations.lif import decays_and_convolution, is_refractory_after, peak_time

# What can be wrong.
RIGHT = 0
NOT_AT_THRESHOLD = 1  # V at an emission
MISSING = 2  # V is above the threshold, and the unit has not spiked
TOO_EARLY = 3  # an emission in a refractory period, or not after the one before it
OTHER_DRIVE = 4  # I - threshold at an emission, as the spike records it
OTHER_RELEASE = 5  # I when V moves again, as the spike records it

ULPS = 16.0  # how many units in the last place each number and each time may be off

SUMS = record(
    [
        ("time", np.float64),
        ("voltage", np.float64),
        ("current", np.float64),
        ("voltage_size", np.float64),  # the same of all weights' magnitudes
        ("current_size", np.float64),
        ("voltage_error", np.float64),  # what rounding so far may have done
        ("current_error", np.float64),
    ]
)
"""V and I of a unit at a time, and how well they are known."""

EPSILON = float(np.finfo(np.float64).eps)


@compiled
def go_on(sums: np.ndarray, time: float, is_held: bool, tau_mem: float, tau_syn: float) -> None:
    """Move on to a time without events before it; V only if it is not held."""
    own = sums[0]
    span = time - own.time
    decay_syn = exp(-span / tau_syn)
    if not is_held:
        decay_mem, decay_syn, coupling = decays_and_convolution(span, tau_mem, tau_syn)
        phi = coupling / tau_mem
        own.voltage = own.voltage * decay_mem + own.current * phi
        own.voltage_size = own.voltage_size * decay_mem + own.current_size * phi
        own.voltage_error = own.voltage_error * decay_mem + own.current_error * phi
        own.voltage_error += EPSILON * own.voltage_size
    own.current *= decay_syn
    own.current_size *= decay_syn
    own.current_error = own.current_error * decay_syn + EPSILON * own.current_size
    own.time = time


@compiled
def voltage_allowed(sums: np.ndarray, threshold: float, tau_mem: float, tau_syn: float) -> float:
    """How far V may be from where it should be."""
    own = sums[0]
    size = own.voltage_size + threshold
    by_time = np.spacing(own.time) * (size + own.current_size) / min(tau_mem, tau_syn)
    return ULPS * (own.voltage_error + EPSILON * size + by_time)


@compiled
def current_allowed(sums: np.ndarray, threshold: float, tau_syn: float) -> float:
    """The same of I."""
    own = sums[0]
    by_time = np.spacing(own.time) * own.current_size / tau_syn
    return ULPS * (own.current_error + EPSILON * (own.current_size + threshold) + by_time)


@compiled
def voltage_by_responses(
    begin: float,
    current: float,
    first: int,
    last: int,
    time: float,
    arrivals: Arrivals,
    trial: Trial,
    tau_mem: float,
    tau_syn: float,
) -> float:
    """V at a time, of a unit whose V began to move from 0 with a current.

    The sum of the responses to this current and to arrivals ``first`` to ``last - 1``.
    """
    _, _, coupling = decays_and_convolution(time - begin, tau_mem, tau_syn)
    voltage = current * (coupling / tau_mem)
    for i in range(first, last):
        _, _, coupling = decays_and_convolution(time - arrivals.time[i], tau_mem, tau_syn)
        voltage += trial.synapses[arrivals.synapse[i]].weight * (coupling / tau_mem)
    return voltage


@compiled
def peak_before(
    sums: np.ndarray, time: float, highest_response: float, threshold: float, tau_mem: float,
    tau_syn: float,
) -> float:  # fmt: skip
    """The largest V up to a time if no event comes, where it may pass the threshold; else V."""
    own = sums[0]
    highest = max(own.voltage, 0.0) + own.current * highest_response
    if own.current <= threshold or highest <= threshold:
        return own.voltage
    wait = peak_time(own.voltage, own.current, tau_mem, tau_syn)
    if not own.time + wait < time:
        return own.voltage
    decay_mem, _, coupling = decays_and_convolution(wait, tau_mem, tau_syn)
    return own.voltage * decay_mem + own.current * (coupling / tau_mem)


@compiled
def verify_unit(
    unit: int, trial: Trial, arrivals: Arrivals, n: int, sums: np.ndarray, failure: np.ndarray
) -> int:
    """What is wrong with the spikes of a LIF unit; if something is, its time, and two numbers.

    They are V, or another, and what it should be or stay below.
    """
    tau_mem, tau_syn = trial.units[unit].tau_mem, trial.units[unit].tau_syn
    threshold, highest = trial.units[unit].threshold, trial.units[unit].highest_response
    own = sums[0]
    own.time = own.voltage = own.current = own.voltage_size = own.current_size = 0.0
    own.voltage_error = own.current_error = 0.0
    is_held, free_at = False, -inf
    begin, begin_current, begin_arrival = 0.0, 0.0, 0
    i, first = 0, trial.starts[unit]
    end = first + trial.counts[unit]
    for spike in range(first, end + 1):
        until = trial.spikes[spike].time if spike < end else trial.duration
        while True:
            is_arrival = i < n and arrivals.time[i] < until
            time = arrivals.time[i] if is_arrival else until
            failure[1] = time
            if is_held:
                go_on(sums, min(time, free_at), True, tau_mem, tau_syn)
                if time > free_at:
                    is_held = False
                    begin, begin_current, begin_arrival = free_at, own.current, i
                    recorded = trial.spikes[spike - 1].release_current
                    failure[4], failure[5] = recorded, own.current
                    if abs(recorded - own.current) > current_allowed(sums, threshold, tau_syn):
                        return OTHER_RELEASE
            if not is_held:
                top = peak_before(sums, time, highest, threshold, tau_mem, tau_syn)
                allowed = voltage_allowed(sums, threshold, tau_mem, tau_syn)
                go_on(sums, time, False, tau_mem, tau_syn)
                allowed = max(allowed, voltage_allowed(sums, threshold, tau_mem, tau_syn))
                failure[4], failure[5] = max(top, own.voltage), threshold
                if max(top, own.voltage) > threshold + allowed:
                    return MISSING
            if not is_arrival:
                break
            weight = trial.synapses[arrivals.synapse[i]].weight
            own.current += weight
            own.current_size += abs(weight)
            i += 1
        if spike == end:
            break
        failure[4], failure[5] = until, free_at
        if is_held or until <= free_at:
            return TOO_EARLY
        voltage = voltage_by_responses(
            begin, begin_current, begin_arrival, i, until, arrivals, trial, tau_mem, tau_syn
        )
        failure[4], failure[5] = voltage, threshold
        if abs(voltage - threshold) > voltage_allowed(sums, threshold, tau_mem, tau_syn):
            return NOT_AT_THRESHOLD
        recorded = trial.spikes[spike].drive
        failure[4], failure[5] = recorded, own.current - threshold
        if abs(recorded - failure[5]) > current_allowed(sums, threshold, tau_syn):
            return OTHER_DRIVE
        own.voltage = own.voltage_size = own.voltage_error = 0.0
        free_at = until + trial.units[unit].refractory
        is_held = is_refractory_after(until, trial.units[unit].refractory)
        begin, begin_current, begin_arrival = until, own.current, i
        recorded = trial.spikes[spike].release_current
        failure[4], failure[5] = recorded, own.current
        if not is_held and abs(recorded - own.current) > current_allowed(sums, threshold, tau_syn):
            return OTHER_RELEASE
    return RIGHT


@entry_point
def verify_samples(first: int, last: int, batch: Batch, failure: np.ndarray) -> int:
    """How many arrivals the samples have; ``failure`` says what is wrong first, if something is.

    It is (what, time, unit, sample, number found, number expected).
    """
    arrivals, sums = new_arrivals(64), np.empty(1, SUMS)
    total = 0
    for sample in range(first, last):
        trial = trial_of(batch, sample)
        arrivals = with_room(arrivals, most_arrivals(0, trial.counts.size, trial))
        held, n = -1, 0
        for unit in range(trial.counts.size):
            if trial.incoming[unit] == trial.incoming[unit + 1] and not trial.units[unit].is_lif:
                continue
            n = arrivals_at(unit, trial, arrivals, held, n)
            held = unit
            total += n
            if trial.units[unit].is_lif:
                what = verify_unit(unit, trial, arrivals, n, sums, failure)
                if what != RIGHT:
                    failure[0], failure[2], failure[3] = what, unit, sample
                    return total
    return total
