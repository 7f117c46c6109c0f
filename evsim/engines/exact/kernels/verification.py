"""Whether the spikes of a run follow from the arrivals at each unit.

This check of the engine uses only the spikes, and no intermediate results: V at each emission is
the sum of the responses to all arrivals since V last began to move, each in closed form.  The sum
of their magnitudes says how large the rounding error may be.
"""

from __future__ import annotations

from enum import IntEnum
from math import inf

import numpy as np

from evsim._compile.decorators import compiled, entry_point, record
from evsim.engines.exact.kernels.arrivals import (
    Arrivals,
    arrivals_at,
    largest_arrival_count,
    new_arrivals,
    with_room,
)
from evsim.engines.exact.kernels.event_order import is_after_emission, is_before_release
from evsim.engines.exact.kernels.trial import Batch, Trial, trial_of
from evsim.equations.lif import (
    decays_and_convolution,
    is_refractory_after,
    peak_time,
    refractory_decay,
)


class Fault(IntEnum):
    """What can be wrong."""

    NONE = 0
    NOT_AT_THRESHOLD = 1  # V at an emission
    MISSING = 2  # V is above the threshold, and the unit has not spiked
    TOO_EARLY = 3  # an emission in a refractory period, or not after the one before it
    WRONG_EXCESS = 4  # I - threshold at an emission, as the spike records it
    WRONG_RELEASE = 5  # I when V moves again, as the spike records it


FINDING = record(
    [
        ("fault", np.int64),
        ("time", np.float64),  # ms
        ("unit", np.int64),  # among the units of all populations
        ("sample", np.int64),
        ("found", np.float64),  # V or another number
        ("expected", np.float64),  # what it should equal or stay below
    ]
)
"""The first fault of some samples."""

ULPS = 16.0  # the error allowed, in units in the last place of each number and time

STATE = record(
    [
        ("time", np.float64),
        ("voltage", np.float64),
        ("current", np.float64),
        ("voltage_size", np.float64),  # the same of all weights' magnitudes
        ("current_size", np.float64),
        ("voltage_error", np.float64),  # bound on the rounding error so far
        ("current_error", np.float64),
    ]
)
"""V and I of a unit at a time, and their errors."""

EPSILON = float(np.finfo(np.float64).eps)


@compiled
def advance(
    states: np.ndarray, time: float, is_refractory: bool, tau_mem: float, tau_syn: float
) -> None:
    """Move on to a time without events before it; in a refractory period V stays."""
    state = states[0]
    span = time - state.time
    decay_syn = refractory_decay(span, tau_syn)
    if not is_refractory:
        decay_mem, decay_syn, coupling = decays_and_convolution(span, tau_mem, tau_syn)
        phi = coupling / tau_mem
        state.voltage = state.voltage * decay_mem + state.current * phi
        state.voltage_size = state.voltage_size * decay_mem + state.current_size * phi
        state.voltage_error = state.voltage_error * decay_mem + state.current_error * phi
        state.voltage_error += EPSILON * state.voltage_size
    state.current *= decay_syn
    state.current_size *= decay_syn
    state.current_error = state.current_error * decay_syn + EPSILON * state.current_size
    state.time = time


@compiled
def voltage_allowed(states: np.ndarray, threshold: float, tau_mem: float, tau_syn: float) -> float:
    """The allowed error of V."""
    state = states[0]
    size = state.voltage_size + abs(threshold)
    of_time = np.spacing(state.time) * (size + state.current_size) / min(tau_mem, tau_syn)
    return ULPS * (state.voltage_error + EPSILON * size + of_time)


@compiled
def current_allowed(states: np.ndarray, threshold: float, tau_syn: float) -> float:
    """The allowed error of I."""
    state = states[0]
    of_time = np.spacing(state.time) * state.current_size / tau_syn
    return ULPS * (state.current_error + EPSILON * (state.current_size + abs(threshold)) + of_time)


@compiled
def voltage_by_responses(
    begin: float,
    voltage: float,
    current: float,
    first: int,
    last: int,
    time: float,
    arrivals: Arrivals,
    trial: Trial,
    tau_mem: float,
    tau_syn: float,
) -> float:
    """V at a time, for a unit that began to move with a voltage and a current.

    It is the sum of what remains of these and of the responses to arrivals ``first`` to
    ``last - 1``.
    """
    decay_mem, _, coupling = decays_and_convolution(time - begin, tau_mem, tau_syn)
    voltage = voltage * decay_mem + current * (coupling / tau_mem)
    for i in range(first, last):
        _, _, coupling = decays_and_convolution(time - arrivals.time[i], tau_mem, tau_syn)
        voltage += trial.synapses[arrivals.synapse[i]].weight * (coupling / tau_mem)
    return voltage


@compiled
def peak_before(
    states: np.ndarray, time: float, highest_response: float, threshold: float, tau_mem: float,
    tau_syn: float,
) -> float:  # fmt: skip
    """The largest V up to a time without events, if it may exceed the threshold; else V now."""
    state = states[0]
    highest = max(state.voltage, 0.0) + state.current * highest_response
    if state.current <= threshold or highest <= threshold:
        return state.voltage
    wait = peak_time(state.voltage, state.current, tau_mem, tau_syn)
    if not state.time + wait < time:
        return state.voltage
    decay_mem, _, coupling = decays_and_convolution(wait, tau_mem, tau_syn)
    return state.voltage * decay_mem + state.current * (coupling / tau_mem)


@compiled
def report(finding: np.ndarray, found: float, expected: float) -> None:
    """Record the two numbers that were compared last."""
    finding.found = found
    finding.expected = expected


@compiled
def verify_unit(
    unit: int, trial: Trial, arrivals: Arrivals, n: int, states: np.ndarray, finding: np.ndarray
) -> int:
    """The fault of the spikes of a LIF unit, if any; ``finding`` receives the time and numbers."""
    tau_mem, tau_syn = trial.units[unit].tau_mem, trial.units[unit].tau_syn
    threshold, highest = trial.units[unit].threshold, trial.units[unit].highest_response
    state = states[0]
    reset = trial.units[unit].reset
    state.time = state.current = state.current_size = 0.0
    state.voltage_error = state.current_error = 0.0
    begin_voltage = state.voltage = trial.units[unit].start
    state.voltage_size = abs(state.voltage)
    is_refractory, free_at = False, -inf
    begin, begin_current, begin_arrival = 0.0, 0.0, 0
    i, first = 0, trial.starts[unit]
    end = first + trial.counts[unit]
    for spike in range(first, end + 1):
        until = trial.spikes[spike].time if spike < end else trial.duration
        while True:
            is_arrival = i < n and not is_after_emission(arrivals.time[i], until)
            time = arrivals.time[i] if is_arrival else until
            finding.time = time
            if is_refractory:
                advance(states, min(time, free_at), True, tau_mem, tau_syn)
                if not is_before_release(time, free_at):
                    is_refractory = False
                    begin, begin_current, begin_arrival = free_at, state.current, i
                    recorded = trial.spikes[spike - 1].release_current
                    report(finding, recorded, state.current)
                    if abs(recorded - state.current) > current_allowed(states, threshold, tau_syn):
                        return Fault.WRONG_RELEASE
            if not is_refractory:
                top = peak_before(states, time, highest, threshold, tau_mem, tau_syn)
                allowed = voltage_allowed(states, threshold, tau_mem, tau_syn)
                advance(states, time, False, tau_mem, tau_syn)
                allowed = max(allowed, voltage_allowed(states, threshold, tau_mem, tau_syn))
                report(finding, max(top, state.voltage), threshold)
                if max(top, state.voltage) > threshold + allowed:
                    return Fault.MISSING
            if not is_arrival:
                break
            weight = trial.synapses[arrivals.synapse[i]].weight
            state.current += weight
            state.current_size += abs(weight)
            i += 1
        if spike == end:
            break
        report(finding, until, free_at)
        if is_refractory or until <= free_at:
            return Fault.TOO_EARLY
        voltage = voltage_by_responses(
            begin, begin_voltage, begin_current, begin_arrival, i, until, arrivals, trial, tau_mem,
            tau_syn,
        )  # fmt: skip
        report(finding, voltage, threshold)
        if abs(voltage - threshold) > voltage_allowed(states, threshold, tau_mem, tau_syn):
            return Fault.NOT_AT_THRESHOLD
        recorded, excess = trial.spikes[spike].threshold_excess, state.current - threshold
        report(finding, recorded, excess)
        if abs(recorded - excess) > current_allowed(states, threshold, tau_syn):
            return Fault.WRONG_EXCESS
        begin_voltage = state.voltage = reset
        state.voltage_size, state.voltage_error = abs(reset), 0.0
        free_at = until + trial.units[unit].refractory
        is_refractory = is_refractory_after(until, trial.units[unit].refractory)
        begin, begin_current, begin_arrival = until, state.current, i
        recorded = trial.spikes[spike].release_current
        report(finding, recorded, state.current)
        is_off = abs(recorded - state.current) > current_allowed(states, threshold, tau_syn)
        if not is_refractory and is_off:
            return Fault.WRONG_RELEASE
    return Fault.NONE


@entry_point
def verify_samples(first: int, last: int, batch: Batch, findings: np.ndarray) -> int:
    """The number of arrivals in the samples; ``findings`` (1,) receives the first fault, if any."""
    arrivals, states = new_arrivals(64), np.empty(1, STATE)
    total = 0
    for sample in range(first, last):
        trial = trial_of(batch, sample)
        arrivals = with_room(arrivals, largest_arrival_count(0, trial.counts.size, trial))
        cached, n = -1, 0
        for unit in range(trial.counts.size):
            if trial.incoming[unit] == trial.incoming[unit + 1] and not trial.units[unit].is_lif:
                continue
            n = arrivals_at(unit, trial, arrivals, cached, n)
            cached = unit
            total += n
            if trial.units[unit].is_lif:
                fault = verify_unit(unit, trial, arrivals, n, states, findings[0])
                if fault != Fault.NONE:
                    findings[0].fault = fault
                    findings[0].unit, findings[0].sample = unit, sample
                    return total
    return total
