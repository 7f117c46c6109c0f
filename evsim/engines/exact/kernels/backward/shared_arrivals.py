"""Pulling back the arrivals at units that receive the same spikes at the same times.

The arrivals are sorted once for all these units, and cut into blocks.  How the adjoints change from
the end of a block back to each of its arrivals is also computed once.  For each unit, the adjoints
at the end of a block follow from those at the end of the next one.  In a block without a jump, the
adjoints at the arrivals follow from those at its end, without a search or an exponential.  Then
they are added up synapse by synapse.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from evsim._compile.decorators import allocating, compiled
from evsim._compile.stop_polls import is_stopped
from evsim.engines.exact.kernels.arrivals import (
    Arrivals,
    new_arrivals,
    possible_arrivals,
    sorted_arrivals,
)
from evsim.engines.exact.kernels.backward.adjoint_intervals import interval_at
from evsim.engines.exact.kernels.backward.gradients import Gradients
from evsim.engines.exact.kernels.trial import Trial, share_decays
from evsim.equations.lif import (
    adjoint_flow,
    adjoint_step,
    arrival_gradient,
    decays_and_response,
    difference_factors,
)

BLOCK = 32  # arrivals
FEWEST_UNITS = 8  # sharing arrivals; with fewer the preparation does not pay
FEWEST_ARRIVALS = 4 * BLOCK


class SharedArrivals(NamedTuple):
    """The sorted arrivals at some units, how adjoints change between them, and the adjoints.

    ``syn``, ``response`` and ``difference_factor`` are those of ``lif.adjoint_flow`` from the end
    of the block, its last arrival, back to each arrival.  Column b of ``between`` contains what
    ``lif.adjoint_step`` needs from the end of block b + 1 back to the end of block b.
    ``by_synapse`` lists the arrivals synapse by synapse, those of the j-th synapse from
    ``first[j]`` on.  ``elapsed``, ``lambda_v``, ``lambda_i`` and ``difference`` are used for one
    unit after the other.
    """

    arrivals: Arrivals
    syn: np.ndarray
    response: np.ndarray
    difference_factor: np.ndarray
    between: np.ndarray
    by_synapse: np.ndarray
    first: np.ndarray
    elapsed: np.ndarray
    lambda_v: np.ndarray
    lambda_i: np.ndarray
    difference: np.ndarray


@allocating
def new_shared_arrivals(arrivals: int, synapses: int) -> SharedArrivals:
    """Room for so many arrivals at a unit with so many synapses."""
    return SharedArrivals(
        new_arrivals(arrivals), np.empty(arrivals), np.empty(arrivals), np.empty(arrivals),
        np.empty((3, arrivals // BLOCK + 1)), np.empty(arrivals, np.int64),
        np.empty(synapses + 2, np.int64), np.empty(arrivals), np.empty(arrivals),
        np.empty(arrivals), np.empty(arrivals),
    )  # fmt: skip


@compiled
def end_of_sharing(unit: int, last: int, trial: Trial) -> int:
    """The end, at most ``last``, of the units with the same arrivals and time constants."""
    end = unit + 1
    while end < last and share_decays(unit, end, trial.units):
        end += 1
    return end


@compiled
def is_worth_sharing(unit: int, end: int, trial: Trial) -> bool:
    """Whether the arrivals at units up to ``end - 1`` are pulled back here."""
    return end - unit >= FEWEST_UNITS and possible_arrivals(unit, trial) >= FEWEST_ARRIVALS


@compiled
def prepare(shared: SharedArrivals, unit: int, trial: Trial) -> int:
    """Sort the arrivals at a unit and set all factors; return how many arrivals have an effect.

    Arrivals at the end of the trial have none.  After a stop the memory is not valid.
    """
    n = sorted_arrivals(unit, trial, shared.arrivals, possible_arrivals(unit, trial))
    if is_stopped():
        return 0
    time = shared.arrivals.time
    while n > 0 and time[n - 1] >= trial.duration:
        n -= 1
    tau_mem, tau_syn = trial.units[unit].tau_mem, trial.units[unit].tau_syn
    for begin in range(0, n, BLOCK):
        end = min(begin + BLOCK, n)
        for i in range(begin, end):
            shared.elapsed[i] = time[end - 1] - time[i]
    for i in range(n):
        mem, syn, response = decays_and_response(shared.elapsed[i], tau_mem, tau_syn, tau_syn)
        shared.syn[i], shared.response[i] = syn, response
        factor, _, _ = difference_factors(mem, syn, response, tau_mem, tau_syn)
        shared.difference_factor[i] = factor
    for block in range((n - 1) // BLOCK):
        end, end_of_next = (block + 1) * BLOCK, min((block + 2) * BLOCK, n)
        mem, syn, response = decays_and_response(
            time[end_of_next - 1] - time[end - 1], tau_mem, tau_syn, tau_syn
        )
        shared.between[0, block], shared.between[1, block] = mem, syn
        shared.between[2, block] = response
    list_by_synapse(shared, n, trial.incoming[unit], trial.incoming[unit + 1])
    return n


@compiled
def list_by_synapse(shared: SharedArrivals, n: int, first: int, last: int) -> None:
    """List n arrivals by synapse, those of each in the order of time."""
    place, synapse = shared.first, shared.arrivals.synapse
    place[: last - first + 2] = 0
    for i in range(n):
        place[synapse[i] - first + 2] += 1
    for j in range(2, last - first + 2):
        place[j] += place[j - 1]
    for i in range(n):
        j = synapse[i] - first + 1
        shared.by_synapse[place[j]] = i
        place[j] += 1


@compiled
def pull_back_shared(
    unit: int,
    n: int,
    trial: Trial,
    intervals: np.ndarray,
    last_interval: int,
    shared: SharedArrivals,
    spike_time_gradient: np.ndarray,
    gradients: Gradients,
) -> None:
    """Pull the n arrivals at a unit back, for a readout without a dF/dV there."""
    fill_adjoints(unit, n, trial, intervals, last_interval, shared)
    tau_syn, begin = trial.units[unit].tau_syn, trial.incoming[unit]
    for j in range(trial.incoming[unit + 1] - begin):
        if is_stopped():
            return
        weight = trial.synapses[begin + j].weight
        weight_total = delay_total = 0.0
        for place in range(shared.first[j], shared.first[j + 1]):
            i = shared.by_synapse[place]
            of_weight, of_time = arrival_gradient(
                weight, shared.lambda_i[i], shared.difference[i], tau_syn
            )
            weight_total += of_weight
            delay_total += of_time
            spike_time_gradient[shared.arrivals.spike[i]] += of_time
        gradients.weight[begin + j] += weight_total
        gradients.delay[begin + j] += delay_total


@compiled
def fill_adjoints(
    unit: int,
    n: int,
    trial: Trial,
    intervals: np.ndarray,
    last_interval: int,
    shared: SharedArrivals,
) -> None:
    """lambda_I and the difference of the adjoints of a unit at its n arrivals."""
    tau_mem, tau_syn = trial.units[unit].tau_mem, trial.units[unit].tau_syn
    time = shared.arrivals.time
    ratio = tau_syn / tau_mem
    k, follows = 0, False
    lambda_v = lambda_i = difference = 0.0  # at the end of a block
    for block in range((n - 1) // BLOCK, -1, -1):
        first, last = block * BLOCK, min((block + 1) * BLOCK, n)
        before = k
        k = interval_at(time[last - 1], intervals, k, last_interval)
        if time[first] < intervals[k].begin:  # the adjoints jump within the block
            k = fill_adjoints_of_block(
                unit, first, last, trial, intervals, k, last_interval, shared
            )
            follows = False
            continue
        if follows and k == before:
            lambda_v, lambda_i, difference = adjoint_step(
                lambda_v, lambda_i, difference, shared.between[0, block], shared.between[1, block],
                shared.between[2, block], tau_mem, tau_syn,
            )  # fmt: skip
        else:
            lambda_v, lambda_i, difference = adjoint_flow(
                intervals[k].lambda_v, intervals[k].lambda_i, intervals[k].difference,
                intervals[k].end - time[last - 1], tau_mem, tau_syn,
            )  # fmt: skip
        follows = True
        toward = ratio * (lambda_v if tau_syn <= tau_mem else lambda_i)
        for i in range(first, last):
            shared.lambda_i[i] = lambda_i * shared.syn[i] + lambda_v * shared.response[i]
            shared.difference[i] = (
                difference * shared.difference_factor[i] - toward * shared.response[i]
            )


@compiled
def fill_adjoints_of_block(
    unit: int,
    first: int,
    last: int,
    trial: Trial,
    intervals: np.ndarray,
    k: int,
    last_interval: int,
    shared: SharedArrivals,
) -> int:
    """The same at arrivals ``first`` to ``last - 1``, among which the adjoints jump.

    ``k`` is the interval of the last arrival; the interval of the first is returned.
    """
    for i in range(last - 1, first - 1, -1):
        k = interval_at(shared.arrivals.time[i], intervals, k, last_interval)
        shared.elapsed[i] = intervals[k].end - shared.arrivals.time[i]
        shared.lambda_v[i], shared.lambda_i[i] = intervals[k].lambda_v, intervals[k].lambda_i
        shared.difference[i] = intervals[k].difference
    tau_mem, tau_syn = trial.units[unit].tau_mem, trial.units[unit].tau_syn
    for i in range(first, last):
        _, shared.lambda_i[i], shared.difference[i] = adjoint_flow(
            shared.lambda_v[i], shared.lambda_i[i], shared.difference[i], shared.elapsed[i],
            tau_mem, tau_syn,
        )  # fmt: skip
    return k
