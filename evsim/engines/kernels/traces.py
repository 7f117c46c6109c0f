"""States at given times, from spikes that are all known; what traces are drawn from."""

from __future__ import annotations

from math import exp, inf

import numpy as np

from evsim.compiled import compiled, entry_point
from evsim.engines.kernels.arrivals import arrivals_at
from evsim.engines.kernels.entering import PEAK, Entering
from evsim.engines.kernels.integrators import end_of_group, trace_group, with_states
from evsim.engines.kernels.layered import adjoint_advance, emission_adjoint
from evsim.engines.kernels.peak import peak_moment
from evsim.engines.kernels.records import ARRIVAL
from evsim.lif import flow


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
    """V and I at a later time; V stays where it is until ``free_at``."""
    if now < free_at:
        until = min(time, free_at)
        current *= exp(-(until - now) / tau_syn)
        now = until
    if now < time:
        return flow(voltage, current, time - now, tau_mem, tau_syn)
    return voltage, current


@compiled
def trace_unit(
    unit: int,
    units: np.ndarray,
    synapses: np.ndarray,
    arrivals: np.ndarray,
    n: int,
    spikes: np.ndarray,
    first: int,
    last: int,
    times: np.ndarray,
    sees_arrivals: bool,
    voltage_out: np.ndarray,
    current_out: np.ndarray,
) -> None:
    """V and I of one unit at ascending times, after an emission there.

    Before or after arrivals there, as ``sees_arrivals`` says.
    """
    tau_mem, tau_syn = units[unit].tau_mem, units[unit].tau_syn
    now, voltage, current, free_at = 0.0, 0.0, 0.0, 0.0
    i, emission = 0, first
    for k in range(times.size):
        while True:
            arrival_time = arrivals[i].time if i < n else inf
            emission_time = spikes[emission].time if emission < last else inf
            event = min(arrival_time, emission_time)
            if event > times[k]:
                break
            if event == times[k] and emission_time > event and not sees_arrivals:
                break
            voltage, current = flow_through_refractory(
                voltage, current, now, event, free_at, tau_mem, tau_syn
            )
            now = event
            if emission_time <= arrival_time:
                voltage = 0.0
                free_at = emission_time + units[unit].refractory
                emission += 1
            else:
                current += synapses[arrivals[i].synapse].weight
                i += 1
        voltage_out[k], current_out[k] = flow_through_refractory(
            voltage, current, now, times[k], free_at, tau_mem, tau_syn
        )


@entry_point
def trace_samples(
    first: int,
    last: int,
    first_unit: int,
    last_unit: int,
    times: np.ndarray,
    times_start: np.ndarray,
    sees_arrivals: bool,
    units: np.ndarray,
    synapses: np.ndarray,
    incoming: np.ndarray,
    duration: float,
    spikes: np.ndarray,
    start: np.ndarray,
    count: np.ndarray,
    voltage: np.ndarray,
    current: np.ndarray,
) -> None:
    """V and I, (times, units), of units first_unit to last_unit - 1.

    ``times[times_start[b]:times_start[b + 1]]`` are sample b's, ascending.
    """
    arrivals = np.empty(64, ARRIVAL)
    states = np.empty((2, 16))
    for sample in range(first, last):
        held, n = -1, 0
        begin, end = times_start[sample], times_start[sample + 1]
        unit = first_unit
        while unit < last_unit and end > begin:
            arrivals, n = arrivals_at(
                unit, units, synapses, incoming, duration, spikes, start[sample], count[sample],
                arrivals, held, n,
            )  # fmt: skip
            held, own, column = unit, start[sample, unit], unit - first_unit
            if units[unit].is_lif:
                trace_unit(
                    unit, units, synapses, arrivals, n, spikes, own, own + count[sample, unit],
                    times[begin:end], sees_arrivals, voltage[begin:end, column],
                    current[begin:end, column],
                )  # fmt: skip
                unit += 1
            else:
                unit = end_of_group(units, held, last_unit)
                states = with_states(states, unit - held)
                trace_group(
                    held, unit, units, synapses, incoming, arrivals, n, times[begin:end],
                    sees_arrivals, states, voltage[begin:end, column:], current[begin:end, column:],
                )  # fmt: skip


@compiled
def adjoint_trace_unit(
    unit: int,
    units: np.ndarray,
    spikes: np.ndarray,
    first: int,
    last: int,
    duration: float,
    phantom: float,
    drive: float,
    rate: float,
    slope: float,
    moments: np.ndarray,
    moment_cotangent: np.ndarray,
    limit: float,
    adjoint: np.ndarray,
    times: np.ndarray,
    lambda_v_out: np.ndarray,
    lambda_i_out: np.ndarray,
) -> None:
    """lambda_V and lambda_I of a unit at ascending times, before (backwards) the jumps there."""
    tau_mem, tau_syn = units[unit].tau_mem, units[unit].tau_syn
    now, lambda_v, lambda_i = duration, phantom, 0.0
    k, m = times.size - 1, moments.size - 1
    while k >= 0 and times[k] == duration:  # from later times: before a phantom's jump
        lambda_v_out[k], lambda_i_out[k] = 0.0, 0.0
        k -= 1
    for index in range(last - 1, first - 2, -1):
        emission, free_at, release_current, h = -1.0, -1.0, 0.0, 0.0
        if index >= first:
            emission = spikes[index].time
            free_at = emission + units[unit].refractory
            release_current = spikes[index].release_current
        while (k >= 0 and times[k] >= emission) or (m >= 0 and moments[m] >= emission):
            if k >= 0 and (m < 0 or times[k] >= moments[m]):
                # At the end of a refractory period the limit from later times is not 0 yet.
                window_end = emission if times[k] == free_at else free_at
                lambda_v_out[k], lambda_i_out[k], _ = adjoint_advance(
                    lambda_v, lambda_i, h, now, times[k], emission, window_end, release_current,
                    drive, rate, slope, tau_mem, tau_syn,
                )  # fmt: skip
                k -= 1
            else:
                lambda_v, lambda_i, h = adjoint_advance(
                    lambda_v, lambda_i, h, now, moments[m], emission, free_at, release_current,
                    drive, rate, slope, tau_mem, tau_syn,
                )  # fmt: skip
                now = moments[m]
                if now > max(free_at, 0.0):
                    lambda_v -= moment_cotangent[m] / tau_mem
                m -= 1
        if index >= first:
            lambda_v, lambda_i, h = adjoint_advance(
                lambda_v, lambda_i, h, now, emission, emission, free_at, release_current, drive,
                rate, slope, tau_mem, tau_syn,
            )  # fmt: skip
            now = emission
            lambda_v, _ = emission_adjoint(
                adjoint[index] + h, spikes[index].drive, limit, units[unit].rate_jump
            )


@entry_point
def adjoint_trace_samples(
    first: int,
    last: int,
    first_unit: int,
    last_unit: int,
    times: np.ndarray,
    entering: Entering,
    units: np.ndarray,
    synapses: np.ndarray,
    incoming: np.ndarray,
    duration: float,
    spikes: np.ndarray,
    start: np.ndarray,
    count: np.ndarray,
    adjoint: np.ndarray,
    lambda_v: np.ndarray,
    lambda_i: np.ndarray,
) -> None:
    """lambda_V and lambda_I, (batch, units, times), of units first_unit to last_unit - 1."""
    arrivals = np.empty(64, ARRIVAL)
    peak, peak_cotangent = np.empty(1), np.empty(1)
    for sample in range(first, last):
        begin, end = entering.moment_start[sample], entering.moment_start[sample + 1]
        for unit in range(first_unit, last_unit):
            drive = entering.drive[sample, unit]
            moments, moment_cotangent = peak[:0], peak_cotangent[:0]
            if entering.rate == PEAK:
                if drive != 0.0:
                    arrivals, n = arrivals_at(
                        unit, units, synapses, incoming, duration, spikes, start[sample],
                        count[sample], arrivals, -1, 0,
                    )  # fmt: skip
                    peak_cotangent[0] = drive
                    found = peak_moment(unit, units, synapses, arrivals, n, duration, peak)
                    moments, moment_cotangent = peak[:found], peak_cotangent[:found]
                drive = 0.0
            elif entering.first_read <= unit < entering.last_read:
                column = unit - entering.first_read
                moments = entering.moments[begin:end]
                moment_cotangent = entering.moment_cotangent[begin:end, column]
            own = start[sample, unit]
            adjoint_trace_unit(
                unit, units, spikes, own, own + count[sample, unit], duration,
                entering.phantom[sample, unit], drive, entering.rate, entering.slope, moments,
                moment_cotangent, entering.limit, adjoint, times,
                lambda_v[sample, unit - first_unit], lambda_i[sample, unit - first_unit],
            )  # fmt: skip
