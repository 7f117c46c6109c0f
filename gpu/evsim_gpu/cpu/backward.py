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
from evsim_gpu.cpu.records import Columns, Network, Spikes
from evsim_gpu.cpu.synapses import pull_back_spike


class SourceArrays(NamedTuple):
    """The sources of the adjoints: ``evsim_gpu.device.GridSources`` as arrays.

    The readout has the columns ``first_read`` to ``last_read - 1`` of component ``component``.
    Cotangents, phantoms and peak steps are zeros if the readout has none; ``f`` and ``g`` are empty
    unless it is a mean.
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
    phantom: np.ndarray
    moment_step: np.ndarray
    moment_start: np.ndarray
    moment_lambda_v: np.ndarray
    moment_lambda_i: np.ndarray
    rate_jump: np.ndarray
    limit: np.ndarray  # (1,), so that it has the precision of the others


class Gradients(NamedTuple):
    """Sums over samples: of weights and delays, (synapses,), and of the others, (columns,).

    ``threshold``, ``reset`` and ``start`` are those of voltages measured from rest.
    ``limited`` (1,) counts the emissions at which lambda_V- was limited; ``grazing`` (3,) has the
    sample, -1 for none, unit and step of the first one whose gradient is unbounded.
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


@compiled
def adjoint_step(columns: Columns, first: int, lambda_v: np.ndarray, lambda_i: np.ndarray) -> None:
    """lambda_V and lambda_I of all units a step earlier: the transpose of ``flow_step``."""
    for j in range(lambda_v.size):
        c = first + j
        lambda_i[j] = columns.decay_syn[c] * lambda_i[j] + columns.feed[c] * lambda_v[j]
        lambda_v[j] = columns.decay_mem[c] * lambda_v[j]


@compiled
def add_readout(
    n: int,
    sample: int,
    moment: int,
    sources: SourceArrays,
    columns: Columns,
    first: int,
    is_refractory: np.ndarray,
    lambda_v: np.ndarray,
    lambda_i: np.ndarray,
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
        if is_refractory[j]:
            continue
        tau_mem, tau_syn = columns.tau_mem[first + j], columns.tau_syn[first + j]
        cotangent = sources.cotangents[sample, unit]
        if n < sources.f.size:
            f, g = sources.f[n], sources.g[n]
            of_v = f * sources.by_voltage[0, unit] + g * sources.by_voltage[1, unit]
            of_i = f * sources.by_current[0, unit] + g * sources.by_current[1, unit]
            lambda_v[j] -= cotangent * of_v / tau_mem
            lambda_i[j] -= cotangent * of_i / tau_syn
        elif n > 0 and sources.peak_step[sample, unit] == n:
            lambda_v[j] -= cotangent / tau_mem
        for m in range(moment, moment - moments, -1):
            lambda_v[j] -= sources.moment_lambda_v[m, unit]
            lambda_i[j] -= sources.moment_lambda_i[m, unit]
    return moment - moments


@compiled
def pull_back_inside(
    component: int,
    j: int,
    step: int,
    spike: int,
    network: Network,
    adjoint: np.ndarray,
    gradients: Gradients,
    spike_time_gradient: np.ndarray,
) -> None:
    """Pull the arrivals of an emission inside its component back."""
    synapses = network.synapses
    for connection in range(
        synapses.internal_first[component], synapses.external_first[component + 1]
    ):
        i = j - synapses.source_column[connection]
        if 0 <= i < synapses.source_units[connection]:
            pull_back_spike(
                synapses.row_first[connection] + i, step, network, network.first[component],
                adjoint, gradients.weight, gradients.delay, spike_time_gradient, spike,
            )  # fmt: skip


@compiled
def add_time_constants(
    n: int,
    columns: Columns,
    first: int,
    slopes: np.ndarray,
    states: np.ndarray,
    lambda_v: np.ndarray,
    lambda_i: np.ndarray,
    gradients: Gradients,
) -> None:
    """Add the gradients of the step from grid point n to that of these adjoints.

    dL/dV and dL/dI after the step times the derivatives of V and I with respect to the time
    constants, ``GridLayout.time_constant_slopes``.  In a refractory period lambda_V is 0.
    """
    for j in range(lambda_v.size):
        c = first + j
        by_v, by_i = -columns.tau_mem[c] * lambda_v[j], -columns.tau_syn[c] * lambda_i[j]
        v, i = states[n, j, 0], states[n, j, 1]
        gradients.tau_mem[c] += by_v * (slopes[c, 0] * v + slopes[c, 1] * i)
        gradients.tau_syn[c] += (by_v * slopes[c, 2] + by_i * slopes[c, 3]) * i


@compiled
def pull_back_restart(
    j: int, c: int, columns: Columns, current: float, lambda_v: np.ndarray, gradients: Gradients
) -> float:
    """``restart_gradient`` where V starts to move again; adds to the gradient of the reset."""
    gradients.reset[c] += voltage_gradient(lambda_v[j], columns.tau_mem[c])
    return restart_gradient(current - columns.reset[c], lambda_v[j])


@compiled
def pull_back_emission(
    sample: int,
    j: int,
    spike: int,
    component: int,
    network: Network,
    sources: SourceArrays,
    spikes: Spikes,
    restart: np.ndarray,
    lambda_v: np.ndarray,
    adjoint: np.ndarray,
    spike_time_gradient: np.ndarray,
    gradients: Gradients,
) -> None:
    """Make lambda_V jump at an emission, and complete its S_k."""
    columns, c = network.columns, network.first[component] + j
    step, threshold_excess = spikes.step[spike], spikes.threshold_excess[spike]
    if columns.refractory[c] == 0:
        current = columns.threshold[c] + threshold_excess
        spike_time_gradient[spike] += pull_back_restart(j, c, columns, current, lambda_v, gradients)
    else:
        spike_time_gradient[spike] += restart[j]
        restart[j] = 0.0
    if not spikes.dropped[spike]:
        pull_back_inside(
            component, j, step, spike, network, adjoint, gradients, spike_time_gradient
        )
    limit, unit = sources.limit[0], columns.unit[c]
    gradient = spike_time_gradient[spike]
    is_grazing = not threshold_excess > 0.0 and limit == np.inf and gradient != 0.0
    if is_grazing and gradients.grazing[0] < 0:
        gradients.grazing[0], gradients.grazing[1], gradients.grazing[2] = sample, unit, step
    lambda_v[j], is_limited = lambda_v_before_emission(
        gradient, threshold_excess, limit, sources.rate_jump[unit]
    )
    gradients.limited[0] += is_limited
    gradients.threshold[c] += columns.tau_mem[c] * lambda_v[j]


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
    adjoint: np.ndarray,
    gradients: Gradients,
) -> None:
    """lambda_V and lambda_I of a component after every grid point, (steps + 1, columns, 2).

    ``spike_time_gradient`` comes with the readout's direct part of each emission's S_k, and leaves
    complete.  ``states`` is empty unless gradients of time constants are asked for.
    """
    columns, first = network.columns, network.first[component]
    size = adjoint.shape[1]
    lambda_v, lambda_i = np.zeros_like(adjoint[0, :, 0]), np.zeros_like(adjoint[0, :, 0])
    restart = np.zeros_like(lambda_v)
    is_refractory, free_at = np.zeros(size, np.bool_), np.empty(size, np.int64)
    begin, latest = np.empty(size, np.int64), np.empty(size, np.int64)
    for j in range(size):
        begin[j] = start[columns.unit[first + j]]
        latest[j] = begin[j] + count[columns.unit[first + j]] - 1
    is_read = component == sources.component
    moment = sources.moment_start[sample + 1] - 1
    for n in range(network.steps, -1, -1):
        if is_stopped():
            return
        if n < network.steps:
            if states.shape[0] > 0:
                add_time_constants(n, columns, first, slopes, states, lambda_v, lambda_i, gradients)
            adjoint_step(columns, first, lambda_v, lambda_i)
        for j in range(size):
            free_at[j] = -1
            if latest[j] >= begin[j] and columns.refractory[first + j] > 0:
                free_at[j] = spikes.step[latest[j]] + columns.refractory[first + j]
            is_refractory[j] = n < free_at[j]
        if is_read:
            moment = add_readout(
                n, sample, moment, sources, columns, first, is_refractory, lambda_v, lambda_i
            )
        for j in range(size):
            if free_at[j] == n:  # V moves again
                restart[j] = pull_back_restart(
                    j, first + j, columns, spikes.release[latest[j]], lambda_v, gradients
                )
                lambda_v[j] = 0.0
            adjoint[n, j, 0], adjoint[n, j, 1] = lambda_v[j], lambda_i[j]
        if is_read and n == network.steps:
            # Phantom spikes: emissions at the end of the trial, and so before arrivals there.
            for j in range(sources.first_read, sources.last_read):
                phantom = sources.phantom[sample, j - sources.first_read]
                lambda_v[j] += phantom
                gradients.threshold[first + j] += columns.tau_mem[first + j] * phantom
        for j in range(size):
            if is_stopped():
                return
            if latest[j] >= begin[j] and spikes.step[latest[j]] == n:
                pull_back_emission(
                    sample, j, latest[j], component, network, sources, spikes, restart,
                    lambda_v, adjoint, spike_time_gradient, gradients,
                )  # fmt: skip
                latest[j] -= 1
    for j in range(size):
        gradients.start[first + j] += voltage_gradient(lambda_v[j], columns.tau_mem[first + j])
