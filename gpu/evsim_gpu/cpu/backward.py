"""The time loop of a component, backward: from the readout's cotangents to every gradient.

Between grid points it is the transpose of the forward loop's step; at emissions, and for delays,
it is EventProp (D Table 1, L Table 6), with the threshold excess of the forward loop for
I - threshold.

Papers: D is Mészáros, Knight, Nowotny (learning delays with EventProp), L is Nowotny, Turner,
Knight (loss shaping).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from evsim._compile.decorators import allocating, compiled
from evsim._compile.stop_polls import is_stopped
from evsim.equations.lif import lambda_v_before_emission, restart_gradient, voltage_gradient
from evsim_gpu.cpu.records import Columns, Network, Spikes, columns_of
from evsim_gpu.cpu.synapses import Adjoints, ArrivalSums, pull_back_spike


class SourceArrays(NamedTuple):
    """The sources of the adjoints: ``evsim_gpu.device.GridSources`` as arrays.

    The readout has the columns ``first_read`` to ``last_read - 1`` of component ``component``.
    Cotangents, phantoms and peak steps are zeros if the readout has none.  ``f`` and ``g`` are
    empty unless it is a mean, and ``peak_share`` is empty unless it is a peak.
    """

    component: int
    first_read: int
    last_read: int
    f: np.ndarray
    g: np.ndarray
    by_voltage: np.ndarray
    by_current: np.ndarray
    cotangents: np.ndarray
    peak_step: np.ndarray
    peak_share: np.ndarray
    phantom: np.ndarray
    moment_step: np.ndarray
    moment_start: np.ndarray
    moment_lambda_v: np.ndarray
    moment_lambda_i: np.ndarray
    rate_jump: np.ndarray
    limit: np.ndarray  # (1,), an array so that it has the precision of the others


class Gradients(NamedTuple):
    """Sums over samples: of weights and delays, (synapses,), and of the others, (columns,).

    ``threshold``, ``reset`` and ``start`` are those of voltages measured from rest.
    ``limited`` (1,) counts the emissions at which lambda_V- was limited; ``grazing`` (3,) contains
    the sample (-1 for none), unit and step of the first one whose gradient is unbounded.
    """

    weight: np.ndarray
    delay: np.ndarray
    threshold: np.ndarray
    reset: np.ndarray
    start: np.ndarray
    tau_mem: np.ndarray
    tau_syn: np.ndarray
    limited: np.ndarray
    grazing: np.ndarray


class Pass(NamedTuple):
    """The state of the backward pass of a component, (columns,) except for ``scratch``.

    While V is held, ``restart`` is the part of S_k of the latest emission that comes from V
    starting to move again.  ``latest`` is the latest emission that has not been pulled back.
    ``scratch`` (2, columns) is overwritten repeatedly.
    """

    lambda_v: np.ndarray
    lambda_i: np.ndarray
    restart: np.ndarray
    latest: np.ndarray
    is_refractory: np.ndarray
    scratch: np.ndarray


@compiled
def adjoint_step(columns: Columns, lambda_v: np.ndarray, lambda_i: np.ndarray) -> None:
    """lambda_V and lambda_I of all units a step earlier: the transpose of ``flow_step``."""
    for j in range(lambda_v.size):
        lambda_i[j] = columns.decay_syn[j] * lambda_i[j] + columns.feed[j] * lambda_v[j]
    for j in range(lambda_v.size):
        lambda_v[j] = columns.decay_mem[j] * lambda_v[j]


@compiled
def add_readout(
    n: int,
    sample: int,
    moment: int,
    sources: SourceArrays,
    columns: Columns,
    now: Pass,
) -> int:
    """Add the readout's derivatives with respect to V and I at a grid point.

    Units whose V is held at the reset over the following step are left out.  Returns the next
    earlier moment.
    """
    moments = 0
    while moment - moments >= sources.moment_start[sample]:
        if sources.moment_step[moment - moments] != n:
            break
        moments += 1
    for unit in range(sources.last_read - sources.first_read):
        j = sources.first_read + unit
        if now.is_refractory[j]:
            continue
        tau_mem, tau_syn = columns.tau_mem[j], columns.tau_syn[j]
        cotangent = sources.cotangents[sample, unit]
        if n < sources.f.size:
            f, g = sources.f[n], sources.g[n]
            of_v = f * sources.by_voltage[0, unit] + g * sources.by_voltage[1, unit]
            of_i = f * sources.by_current[0, unit] + g * sources.by_current[1, unit]
            now.lambda_v[j] -= cotangent * of_v / tau_mem
            now.lambda_i[j] -= cotangent * of_i / tau_syn
        elif n > 0 and sources.peak_step[sample, unit] == n:
            now.lambda_v[j] -= cotangent / tau_mem
        for m in range(moment, moment - moments, -1):
            now.lambda_v[j] -= sources.moment_lambda_v[m, unit]
            now.lambda_i[j] -= sources.moment_lambda_i[m, unit]
    return moment - moments


@compiled
def share_peaks(
    n: int,
    sample: int,
    sources: SourceArrays,
    columns: Columns,
    now: Pass,
    lambda_v: np.ndarray,
    adjoints: Adjoints,
) -> None:
    """Reduce the jump of lambda_V at a peak to the share that applies to arrivals at that point.

    Changes the adjoints that are written, but not those with which the loop continues: the whole
    jump applies to earlier events.
    """
    for unit in range(sources.last_read - sources.first_read):
        j = sources.first_read + unit
        if sources.peak_step[sample, unit] == n and n > 0 and not now.is_refractory[j]:
            jump = -sources.cotangents[sample, unit] / columns.tau_mem[j]
            unseen = (1.0 - sources.peak_share[sample, unit]) * jump
            lambda_v[n, j] -= unseen
            adjoints.difference[n, j] -= unseen


@compiled
def pull_back_inside(
    component: int,
    j: int,
    step: int,
    network: Network,
    adjoints: Adjoints,
    sums: ArrivalSums,
    scratch: np.ndarray,
) -> float:
    """Pull back the arrivals of an emission inside its component; return their part of S_k."""
    synapses, of_time = network.synapses, 0.0
    for connection in range(
        synapses.internal_first[component], synapses.external_first[component + 1]
    ):
        i = j - synapses.source_column[connection]
        if 0 <= i < synapses.source_units[connection]:
            row = synapses.row_first[connection] + i
            of_time += pull_back_spike(row, step, network, adjoints, sums, scratch)
    return of_time


@compiled
def add_time_constants(
    n: int,
    columns: Columns,
    slopes: np.ndarray,
    states: np.ndarray,
    now: Pass,
    gradients: Gradients,
) -> None:
    """Add the gradients of the step from grid point n to that of these adjoints.

    They are dL/dV and dL/dI after the step times the derivatives of V and I with respect to the
    time constants, ``GridLayout.time_constant_slopes``.  In a refractory period lambda_V is 0.
    """
    for j in range(now.lambda_v.size):
        by_v = -columns.tau_mem[j] * now.lambda_v[j]
        by_i = -columns.tau_syn[j] * now.lambda_i[j]
        v, i = states[n, j, 0], states[n, j, 1]
        gradients.tau_mem[j] += by_v * (slopes[j, 0] * v + slopes[j, 1] * i)
        gradients.tau_syn[j] += (by_v * slopes[j, 2] + by_i * slopes[j, 3]) * i


@compiled
def pull_back_restart(
    j: int, columns: Columns, current: float, lambda_v: np.ndarray, gradients: Gradients
) -> float:
    """``restart_gradient`` where V starts to move again; also adds to the gradient of the reset."""
    gradients.reset[j] += voltage_gradient(lambda_v[j], columns.tau_mem[j])
    return restart_gradient(current - columns.reset[j], lambda_v[j])


@compiled
def end_refractory_periods(
    n: int, columns: Columns, spikes: Spikes, begin: np.ndarray, now: Pass, gradients: Gradients
) -> None:
    """Set lambda_V before this grid point to 0 where V starts to move again at it."""
    for j in range(begin.size):
        if now.latest[j] < begin[j] or columns.refractory[j] == 0:
            continue
        if spikes.step[now.latest[j]] + columns.refractory[j] == n:
            release = spikes.release[now.latest[j]]
            now.restart[j] = pull_back_restart(j, columns, release, now.lambda_v, gradients)
            now.lambda_v[j] = 0.0


@compiled
def mark_refractory(n: int, columns: Columns, spikes: Spikes, begin: np.ndarray, now: Pass) -> None:
    """Mark the units whose V is held over the step after a grid point."""
    for j in range(begin.size):
        now.is_refractory[j] = (
            now.latest[j] >= begin[j] and n < spikes.step[now.latest[j]] + columns.refractory[j]
        )


@compiled
def pull_back_emission(
    sample: int,
    j: int,
    component: int,
    network: Network,
    columns: Columns,
    sources: SourceArrays,
    spikes: Spikes,
    now: Pass,
    adjoints: Adjoints,
    spike_time_gradient: np.ndarray,
    sums: ArrivalSums,
    gradients: Gradients,
) -> None:
    """Make lambda_V jump at a unit's latest emission, and complete its S_k."""
    spike = now.latest[j]
    step, threshold_excess = spikes.step[spike], spikes.threshold_excess[spike]
    if columns.refractory[j] == 0:
        current = columns.threshold[j] + threshold_excess
        restart = pull_back_restart(j, columns, current, now.lambda_v, gradients)
    else:
        restart = now.restart[j]
        now.restart[j] = 0.0
    spike_time_gradient[spike] += restart
    if not spikes.dropped[spike]:
        spike_time_gradient[spike] += pull_back_inside(
            component, j, step, network, adjoints, sums, now.scratch
        )
    limit, unit = sources.limit[0], columns.unit[j]
    gradient = spike_time_gradient[spike]
    is_grazing = not threshold_excess > 0.0 and limit == np.inf and gradient != 0.0
    if is_grazing and gradients.grazing[0] < 0:
        gradients.grazing[0], gradients.grazing[1], gradients.grazing[2] = sample, unit, step
    now.lambda_v[j], is_limited = lambda_v_before_emission(
        gradient, threshold_excess, limit, sources.rate_jump[unit]
    )
    gradients.limited[0] += is_limited
    gradients.threshold[j] += columns.tau_mem[j] * now.lambda_v[j]
    now.latest[j] -= 1


@allocating
def emissions_by_step(
    columns: Columns, steps: int, spikes: Spikes, start: np.ndarray, count: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The columns of a component's emissions by step, then column, and where each step begins."""
    first = np.zeros(steps + 2, np.int64)
    for j in range(columns.unit.size):
        begin = start[columns.unit[j]]
        for spike in range(begin, begin + count[columns.unit[j]]):
            first[spikes.step[spike] + 1] += 1
    for n in range(steps + 1):
        first[n + 1] += first[n]
    place, column = first.copy(), np.empty(first[steps + 1], np.int32)
    for j in range(columns.unit.size):
        begin = start[columns.unit[j]]
        for spike in range(begin, begin + count[columns.unit[j]]):
            column[place[spikes.step[spike]]] = j
            place[spikes.step[spike]] += 1
    return column, first


@allocating
def gradients_of(gradients: Gradients, first: int, last: int) -> Gradients:
    """The sums of some columns; the others are those of the whole network."""
    return Gradients(
        gradients.weight,
        gradients.delay,
        gradients.threshold[first:last],
        gradients.reset[first:last],
        gradients.start[first:last],
        gradients.tau_mem[first:last],
        gradients.tau_syn[first:last],
        gradients.limited,
        gradients.grazing,
    )


@allocating
def pull_back_component(
    component: int,
    sample: int,
    network: Network,
    sources: SourceArrays,
    spikes: Spikes,
    start: np.ndarray,
    count: np.ndarray,
    slopes: np.ndarray,
    states: np.ndarray,
    spike_time_gradient: np.ndarray,
    lambda_v: np.ndarray,
    adjoints: Adjoints,
    sums: ArrivalSums,
    of_network: Gradients,
) -> None:
    """lambda_V (steps + 1, columns) and the adjoints of a component after every grid point.

    On entry ``spike_time_gradient`` contains the readout's direct part of each emission's S_k; on
    return S_k is complete.  ``slopes`` (columns, 4) are those of the component's columns, and
    ``states`` is empty unless gradients of time constants are wanted.
    """
    first, last = network.first[component], network.first[component + 1]
    columns = columns_of(network.columns, first, last)
    gradients = gradients_of(of_network, first, last)
    size, real = last - first, lambda_v.dtype
    begin = start[columns.unit]
    now = Pass(
        lambda_v=np.zeros(size, real),
        lambda_i=np.zeros(size, real),
        restart=np.zeros(size, real),
        latest=begin + count[columns.unit] - 1,
        is_refractory=np.zeros(size, np.bool_),
        scratch=np.empty((2, size), real),
    )
    column, first_of_step = emissions_by_step(columns, network.steps, spikes, start, count)
    is_read = component == sources.component
    moment = sources.moment_start[sample + 1] - 1
    for n in range(network.steps, -1, -1):
        if is_stopped():
            return
        if n < network.steps:
            if states.shape[0] > 0:
                add_time_constants(n, columns, slopes, states, now, gradients)
            adjoint_step(columns, now.lambda_v, now.lambda_i)
        if network.is_held[component]:
            mark_refractory(n, columns, spikes, begin, now)
        if is_read:
            moment = add_readout(n, sample, moment, sources, columns, now)
        if network.is_held[component]:
            end_refractory_periods(n, columns, spikes, begin, now, gradients)
        write_adjoints(n, now, lambda_v, adjoints)
        if is_read and sources.peak_share.size > 0:
            share_peaks(n, sample, sources, columns, now, lambda_v, adjoints)
        if is_read and n == network.steps:
            # Phantom spikes are emissions at the end of the trial, hence before arrivals there.
            for j in range(sources.first_read, sources.last_read):
                phantom = sources.phantom[sample, j - sources.first_read]
                now.lambda_v[j] += phantom
                gradients.threshold[j] += columns.tau_mem[j] * phantom
        for event in range(first_of_step[n], first_of_step[n + 1]):
            if is_stopped():
                return
            pull_back_emission(
                sample, column[event], component, network, columns, sources, spikes, now,
                adjoints, spike_time_gradient, sums, gradients,
            )  # fmt: skip
    for j in range(size):
        gradients.start[j] += voltage_gradient(now.lambda_v[j], columns.tau_mem[j])


@compiled
def write_adjoints(n: int, now: Pass, lambda_v: np.ndarray, adjoints: Adjoints) -> None:
    """Write the adjoints right after a grid point."""
    of_v, of_i, difference = lambda_v[n], adjoints.lambda_i[n], adjoints.difference[n]
    for j in range(of_v.size):
        of_v[j] = now.lambda_v[j]
    for j in range(of_v.size):
        of_i[j] = now.lambda_i[j]
    for j in range(of_v.size):
        difference[j] = now.lambda_v[j] - now.lambda_i[j]
