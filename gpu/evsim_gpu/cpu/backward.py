"""The time loop of a component, backward: from what drives the adjoints to every gradient.

Between grid points it is the transpose of the forward loop's step; at emissions, and for delays,
it is EventProp (D Table 1, L Table 6), with the drive D of the forward loop for I - threshold.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from evsim._compile.decorators import allocating, compiled
from evsim._compile.stop_polls import is_stopped
from evsim.engines.exact.kernels.backward.adjoint_intervals import emission_adjoint
from evsim_gpu.cpu.records import Columns, Network, Spikes
from evsim_gpu.cpu.synapses import pull_back_spike


class Entering(NamedTuple):
    """How a loss enters the adjoints: ``evsim_gpu.device.GridSources`` as arrays.

    It reads the columns ``first_read`` to ``last_read - 1`` of component ``component``.  What
    there is none of has zeros: cotangents, phantoms, peak steps; ``f`` and ``g`` are empty for
    what is no mean.
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
    """Sums over samples.

    Per synapse, per unit, and per unit for both time constants; ``counts`` has the limited
    emissions, and of a grazing one sample (-1 for none), unit and step.
    """

    weight: np.ndarray
    delay: np.ndarray
    threshold: np.ndarray
    tau_mem: np.ndarray
    tau_syn: np.ndarray
    counts: np.ndarray


@compiled
def adjoint_step(columns: Columns, first: int, lambda_v: np.ndarray, lambda_i: np.ndarray) -> None:
    """lambda_V and lambda_I of all units a step earlier: the transpose of ``flow_step``."""
    for j in range(lambda_v.size):
        c = first + j
        lambda_i[j] = columns.decay_syn[c] * lambda_i[j] + columns.feed[c] * lambda_v[j]
        lambda_v[j] = columns.decay_mem[c] * lambda_v[j]


@compiled
def add_drive(
    n: int,
    sample: int,
    moment: int,
    entering: Entering,
    columns: Columns,
    first: int,
    held: np.ndarray,
    lambda_v: np.ndarray,
    lambda_i: np.ndarray,
) -> int:
    """What the readout's dependence on V and I at a grid point adds; the next moment to come.

    Units whose V stays at 0 over the step that follows have no part in it.
    """
    moments = 0
    while moment - moments >= entering.moment_start[sample]:
        if entering.moment_step[moment - moments] != n:
            break
        moments += 1
    for unit in range(entering.last_read - entering.first_read):
        j = entering.first_read + unit
        if held[j]:
            continue
        tau_mem, tau_syn = columns.tau_mem[first + j], columns.tau_syn[first + j]
        cotangent = entering.cotangents[sample, unit]
        if n < entering.f.size:
            f, g = entering.f[n], entering.g[n]
            of_v = f * entering.by_voltage[0, unit] + g * entering.by_voltage[1, unit]
            of_i = f * entering.by_current[0, unit] + g * entering.by_current[1, unit]
            lambda_v[j] -= cotangent * of_v / tau_mem
            lambda_i[j] -= cotangent * of_i / tau_syn
        elif n > 0 and entering.peak_step[sample, unit] == n:
            lambda_v[j] -= cotangent / tau_mem
        for m in range(moment, moment - moments, -1):
            lambda_v[j] -= entering.moment_lambda_v[m, unit]
            lambda_i[j] -= entering.moment_lambda_i[m, unit]
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
    by_time: np.ndarray,
) -> None:
    """Pull an emission's arrivals inside its own component back."""
    synapses = network.synapses
    for connection in range(synapses.inner_first[component], synapses.outer_first[component + 1]):
        i = j - synapses.source_column[connection]
        if 0 <= i < synapses.source_units[connection]:
            pull_back_spike(
                synapses.row_first[connection] + i, step, network, network.first[component],
                adjoint, gradients.weight, gradients.delay, by_time, spike,
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
    """What the step from n to the grid point of these adjoints adds.

    dL/dV and dL/dI after it times the derivatives of V and I by the time constants,
    ``GridLayout.time_constant_slopes``.  While V is held lambda_V is 0.
    """
    for j in range(lambda_v.size):
        c = first + j
        by_v, by_i = -columns.tau_mem[c] * lambda_v[j], -columns.tau_syn[c] * lambda_i[j]
        v, i = states[n, j, 0], states[n, j, 1]
        gradients.tau_mem[c] += by_v * (slopes[c, 0] * v + slopes[c, 1] * i)
        gradients.tau_syn[c] += (by_v * slopes[c, 2] + by_i * slopes[c, 3]) * i


@compiled
def pull_back_emission(
    sample: int,
    j: int,
    spike: int,
    component: int,
    network: Network,
    entering: Entering,
    spikes: Spikes,
    released: np.ndarray,
    lambda_v: np.ndarray,
    adjoint: np.ndarray,
    by_time: np.ndarray,
    gradients: Gradients,
) -> None:
    """lambda_V before an emission, from what is known of the derivative by its time."""
    columns, c = network.columns, network.first[component] + j
    step, drive = spikes.step[spike], spikes.drive[spike]
    if columns.refractory[c] == 0:
        by_time[spike] += (columns.threshold[c] + drive) * lambda_v[j]
    else:
        by_time[spike] += released[j]
        released[j] = 0.0
    if not spikes.dropped[spike]:
        pull_back_inside(component, j, step, spike, network, adjoint, gradients, by_time)
    limit, unit = entering.limit[0], columns.unit[c]
    slope = by_time[spike]
    if not drive > 0.0 and limit == np.inf and slope != 0.0 and gradients.counts[1] < 0:
        gradients.counts[1], gradients.counts[2], gradients.counts[3] = sample, unit, step
    lambda_v[j], is_limited = emission_adjoint(slope, drive, limit, entering.rate_jump[unit])
    gradients.counts[0] += is_limited
    gradients.threshold[c] += columns.tau_mem[c] * lambda_v[j]


@allocating
def pull_back_component(
    component: int,
    sample: int,
    network: Network,
    entering: Entering,
    spikes: Spikes,
    start: np.ndarray,
    count: np.ndarray,
    slopes: np.ndarray,
    states: np.ndarray,
    by_time: np.ndarray,
    adjoint: np.ndarray,
    gradients: Gradients,
) -> None:
    """lambda_V and lambda_I of a component after every grid point, (steps + 1, columns, 2).

    ``by_time`` comes with what is known of each emission's S_k, the derivative of the loss by
    its time, and leaves with all of it.  ``states`` is empty unless time constants are asked
    for.
    """
    columns, first = network.columns, network.first[component]
    size = adjoint.shape[1]
    lambda_v, lambda_i = np.zeros_like(adjoint[0, :, 0]), np.zeros_like(adjoint[0, :, 0])
    released = np.zeros_like(lambda_v)
    held, free_at = np.zeros(size, np.bool_), np.empty(size, np.int64)
    begin, latest = np.empty(size, np.int64), np.empty(size, np.int64)
    for j in range(size):
        begin[j] = start[columns.unit[first + j]]
        latest[j] = begin[j] + count[columns.unit[first + j]] - 1
    is_read = component == entering.component
    moment = entering.moment_start[sample + 1] - 1
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
            held[j] = n < free_at[j]
        if is_read:
            moment = add_drive(
                n, sample, moment, entering, columns, first, held, lambda_v, lambda_i
            )
        for j in range(size):
            if free_at[j] == n:  # V moves again
                released[j] = spikes.release[latest[j]] * lambda_v[j]
                lambda_v[j] = 0.0
            adjoint[n, j, 0], adjoint[n, j, 1] = lambda_v[j], lambda_i[j]
        if is_read and n == network.steps:
            # Phantom spikes: emissions at the end of the trial, and so before arrivals there.
            for j in range(entering.first_read, entering.last_read):
                phantom = entering.phantom[sample, j - entering.first_read]
                lambda_v[j] += phantom
                gradients.threshold[first + j] += columns.tau_mem[first + j] * phantom
        for j in range(size):
            if is_stopped():
                return
            if latest[j] >= begin[j] and spikes.step[latest[j]] == n:
                pull_back_emission(
                    sample, j, latest[j], component, network, entering, spikes, released,
                    lambda_v, adjoint, by_time, gradients,
                )  # fmt: skip
                latest[j] -= 1
