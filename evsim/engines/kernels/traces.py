"""States at given times, from spikes that are all known; what traces are drawn from."""

from __future__ import annotations

from math import exp, inf

import numpy as np

from evsim.compiled import compiled, entry_point
from evsim.engines.kernels.arrivals import arrivals_at
from evsim.engines.kernels.layered import adjoint_advance
from evsim.engines.kernels.records import ARRIVAL
from evsim.engines.kernels.samples import PEAK
from evsim.engines.kernels.voltage import peak_voltage
from evsim.lif import adjoint_flow, flow, mean_drive


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
    voltage_out: np.ndarray,
    current_out: np.ndarray,
) -> None:
    """V and I of one unit at ascending times, after the jumps at each."""
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
    """V and I, (batch, units, times), of units first_unit to last_unit - 1."""
    arrivals = np.empty(64, ARRIVAL)
    for sample in range(first, last):
        for unit in range(first_unit, last_unit):
            arrivals, n = arrivals_at(
                unit, synapses, incoming, duration, spikes, start[sample], count[sample],
                arrivals,
            )  # fmt: skip
            own = start[sample, unit]
            trace_unit(
                unit, units, synapses, arrivals, n, spikes, own, own + count[sample, unit], times,
                voltage[sample, unit - first_unit], current[sample, unit - first_unit],
            )  # fmt: skip


@compiled
def adjoint_trace_lif(
    unit: int,
    units: np.ndarray,
    spikes: np.ndarray,
    first: int,
    last: int,
    phantom: float,
    duration: float,
    adjoint: np.ndarray,
    times: np.ndarray,
    lambda_v_out: np.ndarray,
    lambda_i_out: np.ndarray,
) -> None:
    """lambda_V and lambda_I of a LIF unit at ascending times, before (backwards) the jumps."""
    tau_mem, tau_syn = units[unit].tau_mem, units[unit].tau_syn
    now, lambda_v, lambda_i = duration, phantom, 0.0
    k = times.size - 1
    while k >= 0 and times[k] == duration:  # from later times: before a phantom's jump
        lambda_v_out[k], lambda_i_out[k] = 0.0, 0.0
        k -= 1
    for index in range(last - 1, first - 2, -1):
        emission, free_at, release_current = -1.0, -1.0, 0.0
        if index >= first:
            emission = spikes[index].time
            free_at = emission + units[unit].refractory
            release_current = spikes[index].release_current
        while k >= 0 and times[k] >= emission:
            # At the end of a refractory period the limit from later times is not 0 yet.
            window_end = emission if times[k] == free_at else free_at
            lambda_v_out[k], lambda_i_out[k], _ = adjoint_advance(
                lambda_v, lambda_i, 0.0, now, times[k], emission, window_end, release_current,
                tau_mem, tau_syn,
            )  # fmt: skip
            k -= 1
        if index >= first:
            lambda_v, lambda_i, h = adjoint_advance(
                lambda_v, lambda_i, 0.0, now, emission, emission, free_at, release_current,
                tau_mem, tau_syn,
            )  # fmt: skip
            now = emission
            lambda_v = (adjoint[index] + h) / spikes[index].drive


@entry_point
def adjoint_trace_samples(
    first: int,
    last: int,
    first_unit: int,
    last_unit: int,
    times: np.ndarray,
    rate: float,
    cotangent: np.ndarray,
    phantom: np.ndarray,
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
    for sample in range(first, last):
        for unit in range(first_unit, last_unit):
            v_out = lambda_v[sample, unit - first_unit]
            i_out = lambda_i[sample, unit - first_unit]
            own = start[sample, unit]
            given = cotangent[sample, unit]
            tau_mem, tau_syn = units[unit].tau_mem, units[unit].tau_syn
            if units[unit].is_lif:
                adjoint_trace_lif(
                    unit, units, spikes, own, own + count[sample, unit], phantom[sample, unit],
                    duration, adjoint, times, v_out, i_out,
                )  # fmt: skip
            elif rate == PEAK:
                arrivals, n = arrivals_at(
                    unit, synapses, incoming, duration, spikes, start[sample], count[sample],
                    arrivals,
                )  # fmt: skip
                _, peak, _ = peak_voltage(unit, units, synapses, arrivals, n, duration)
                for k in range(times.size):
                    if times[k] < peak < inf:
                        v_out[k], i_out[k] = adjoint_flow(
                            -given / tau_mem, 0.0, peak - times[k], tau_mem, tau_syn
                        )
            else:
                for k in range(times.size):
                    v, i = mean_drive(duration - times[k], rate, duration, tau_mem, tau_syn)
                    v_out[k], i_out[k] = given * v, given * i
