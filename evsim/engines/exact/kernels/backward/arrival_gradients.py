"""Pulling arrivals back: each looks up the adjoints of its target at its time.

Arrivals are staged, a few hundred at a time: what belongs to each is looked up, then the adjoints
of all are computed in one loop over flat arrays, then they are added where they belong.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from evsim._compile.decorators import allocating, compiled
from evsim._compile.stop_polls import is_stopped, is_stopped_at
from evsim.engines.exact.kernels.backward.adjoint_intervals import adjoints_at, window_at
from evsim.engines.exact.kernels.backward.adjoint_sources import Entering
from evsim.engines.exact.kernels.trial import Trial
from evsim.equations.lif import adjoint_flow, arrival_slopes


class Gradients(NamedTuple):
    """Sums over samples: by weights and delays, each (synapses,), and by thresholds, (units,)."""

    weight: np.ndarray
    delay: np.ndarray
    threshold: np.ndarray


STAGED = 512
"""How many arrivals are staged at most; so many stay in the fastest cache."""


class Stage(NamedTuple):
    """Arrivals that wait to be pulled back; each array has room for STAGED.

    ``elapsed`` ms from the arrival to the end of its window, and lambda_V, lambda_I and their
    difference there, at first; then the last two at the arrival.
    """

    elapsed: np.ndarray
    lambda_v: np.ndarray
    lambda_i: np.ndarray
    difference: np.ndarray
    synapse: np.ndarray
    spike: np.ndarray


@allocating
def new_stage() -> Stage:
    """Room for STAGED arrivals."""
    return Stage(
        np.empty(STAGED), np.empty(STAGED), np.empty(STAGED), np.empty(STAGED),
        np.empty(STAGED, np.int64), np.empty(STAGED, np.int64),
    )  # fmt: skip


@compiled
def put_on_stage(
    stage: Stage,
    n: int,
    unit: int,
    time: float,
    entering: Entering,
    trial: Trial,
    windows: np.ndarray,
    w: int,
) -> None:
    """The adjoints at the end of an arrival's window; where something drives them, at its time."""
    stage.elapsed[n] = windows[w].end - time
    stage.lambda_v[n], stage.lambda_i[n] = windows[w].lambda_v, windows[w].lambda_i
    stage.difference[n] = windows[w].difference
    if windows[w].drive != 0.0:
        stage.elapsed[n] = 0.0
        stage.lambda_v[n], stage.lambda_i[n], stage.difference[n] = adjoints_at(
            unit, time, entering, trial, windows, w
        )


@compiled
def flow_back(stage: Stage, n: int, tau_mem: float, tau_syn: float) -> None:
    """The adjoints of n arrivals at units of these time constants, from those at later times."""
    for i in range(n):
        _, stage.lambda_i[i], stage.difference[i] = adjoint_flow(
            stage.lambda_v[i], stage.lambda_i[i], stage.difference[i], stage.elapsed[i], tau_mem,
            tau_syn,
        )  # fmt: skip


@compiled
def add_staged(
    stage: Stage,
    n: int,
    synapses: np.ndarray,
    tau_syn: float,
    adjoint: np.ndarray,
    gradients: Gradients,
) -> None:
    """Add what n arrivals at a unit give to the gradients and to the adjoints of their spikes."""
    i = 0
    while i < n:
        synapse = stage.synapse[i]
        weight = synapses[synapse].weight
        total_by_weight = total_by_time = 0.0
        while i < n and stage.synapse[i] == synapse:
            by_weight, by_time = arrival_slopes(
                weight, stage.lambda_i[i], stage.difference[i], tau_syn
            )
            total_by_weight += by_weight
            total_by_time += by_time
            adjoint[stage.spike[i]] += by_time
            i += 1
        gradients.weight[synapse] += total_by_weight
        gradients.delay[synapse] += total_by_time


@compiled
def pull_back_arrivals(
    unit: int,
    entering: Entering,
    trial: Trial,
    passed_over: np.ndarray,
    windows: np.ndarray,
    first_window: int,
    last_window: int,
    stage: Stage,
    adjoint: np.ndarray,
    gradients: Gradients,
) -> None:
    """Pull all arrivals at a unit back, synapse by synapse.

    Its windows are ``first_window`` to ``last_window``.  Arrivals at the end of the trial have no
    effect.  Sources with ``passed_over[source] >= 0`` are left out.
    """
    tau_mem, tau_syn = trial.units[unit].tau_mem, trial.units[unit].tau_syn
    # After the last jump both adjoints are 0, unless something drives them there.
    is_still = (
        windows[first_window].lambda_v == 0.0
        and windows[first_window].lambda_i == 0.0
        and windows[first_window].drive == 0.0
    )
    latest = min(trial.duration, windows[first_window].begin) if is_still else trial.duration
    n = 0
    for synapse in range(trial.incoming[unit], trial.incoming[unit + 1]):
        source, delay = trial.synapses[synapse].source, trial.synapses[synapse].delay
        if passed_over.size > 0 and passed_over[source] >= 0:
            continue
        w = first_window
        for spike in range(
            trial.starts[source] + trial.counts[source] - 1, trial.starts[source] - 1, -1
        ):
            if is_stopped_at(spike):
                return
            time = trial.spikes[spike].time + delay
            if time >= latest or trial.spikes[spike].is_dropped:
                continue
            w = window_at(time, windows, w, last_window)
            stage.synapse[n] = synapse
            stage.spike[n] = spike
            put_on_stage(stage, n, unit, time, entering, trial, windows, w)
            n += 1
            if n == STAGED:
                if is_stopped():
                    return
                flow_back(stage, n, tau_mem, tau_syn)
                add_staged(stage, n, trial.synapses, tau_syn, adjoint, gradients)
                n = 0
    flow_back(stage, n, tau_mem, tau_syn)
    add_staged(stage, n, trial.synapses, tau_syn, adjoint, gradients)
