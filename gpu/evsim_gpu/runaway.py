"""Networks that run away on a grid, found in the spikes of a simulated batch.

A unit emits at most once a step, so that the spikes of a network that runs away are bounded and
its simulation ends; what it ends with means nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evsim.arguments.checks import is_sparse
from evsim.engines import runaway
from evsim.engines.protocol import EngineError
from evsim.network.populations import LIF
from evsim.network.ragged_arrays import counted
from evsim_gpu.state import GridState

RUN = 2 * runaway.BLOCK  # steps one after the other at which a unit emits


def check_rates(state: GridState, rate_limit: float) -> None:
    """Refuse the first unit that runs away, see ``evsim.engines.runaway``.

    On the grid also one that has reached the highest rate there is, an emission at each of 100
    steps, where its own loop brings it more current over the trial than all else does.
    """
    if rate_limit == np.inf:
        return
    layout = state.layout
    for component in layout.components:
        if not component.recurrent:
            continue
        for index in component.first_column:
            population = layout.network.populations[index]
            if not isinstance(population, LIF):
                continue
            counts = state.activity.counts(population.name)
            if counts.max(initial=0) >= RUN:
                _check_population(state, population, counts, rate_limit)


@dataclass(frozen=True, eq=False)
class _Busy:
    """The spikes of units with enough of them in a sample, by sample, unit and step.

    ``sample``, ``unit``, ``first`` and ``count`` have one entry for each, ``step`` holds int64.
    """

    sample: np.ndarray
    unit: np.ndarray
    first: np.ndarray
    count: np.ndarray
    step: np.ndarray


def _check_population(
    state: GridState, population: LIF, counts: np.ndarray, rate_limit: float
) -> None:
    layout, name = state.layout, population.name
    busy = _busy(state, name, counts)
    first = state.units(name).start
    shortest = runaway.shortest_blocks(layout.network, rate_limit)[first:]
    allowed = shortest[busy.unit] / layout.dt
    found = runaway.runaways(busy.step, busy.first, busy.count, allowed)
    if found.unit.size:
        at = _earliest(busy, found.unit, found.spike)
        place = _place(state, name, busy, found.unit[at], found.spike[at])
        span = float(found.span[at]) * layout.dt
        raise EngineError(runaway.message(place, span, "Grid"))
    owner, spike = _full(busy)
    if owner.size:
        driven = _driven_by_loop(state, name)[busy.sample[owner], busy.unit[owner]]
        owner, spike = owner[driven], spike[driven]
    if owner.size:
        at = _earliest(busy, owner, spike)
        raise EngineError(
            _place(state, name, busy, owner[at], spike[at])
            + f": it has emitted at each of {RUN} steps, the highest rate on a grid of "
            f"{layout.dt:g} ms, and the spikes of its own loop drive it: the network runs away; "
            "use smaller weights, inhibition or a refractory period, or allow it with "
            "Grid(rate_limit=inf)"
        )


def _earliest(busy: _Busy, owner: np.ndarray, spike: np.ndarray) -> int:
    """Which of some spikes is the first of the first sample."""
    return int(np.lexsort((busy.step[busy.first[owner] + spike], busy.sample[owner]))[0])


def _busy(state: GridState, name: str, counts: np.ndarray) -> _Busy:
    emissions = state.emissions(name)
    samples = emissions.samples
    own = np.flatnonzero(counts[samples, emissions.unit] >= RUN)
    own = own[np.lexsort((emissions.step[own], emissions.unit[own], samples[own]))]
    sample, unit = np.nonzero(counts >= RUN)
    count = counts[sample, unit]
    return _Busy(
        sample, unit, np.cumsum(count) - count, count, emissions.step[own].astype(np.int64)
    )


def _full(busy: _Busy) -> tuple[np.ndarray, np.ndarray]:
    """Whose spike ends a run of steps with an emission each, and its number, each (found,)."""
    owner, number = counted(busy.count - RUN + 1)
    begin = busy.first[owner] + number
    ends = np.flatnonzero(busy.step[begin + RUN - 1] - busy.step[begin] == RUN - 1)
    whose, place = np.unique(owner[ends], return_index=True)
    return whose, number[ends[place]] + RUN - 1


def _driven_by_loop(state: GridState, name: str) -> np.ndarray:
    """Which units get more current from their own component than from elsewhere, over the trial.

    bool, (batch, units): sums of the weights of all spikes sent to each.
    """
    layout = state.layout
    network = layout.network
    index = [population.name for population in network.populations].index(name)
    component = next(c for c in layout.components if index in c.first_column)
    inside = {network.populations[i].name for i in component.first_column}
    population = network.populations[index]
    balance = np.zeros((state.batch, population.units))
    for connection in network.connections:
        if connection.target != name:
            continue
        source, weight = connection.source, connection.weight
        if source in state.inputs:
            counts = state.inputs[source].counts()
        else:
            counts = state.activity.counts(source)
        if not is_sparse(weight):
            weight = np.broadcast_to(weight, (population.units, counts.shape[1]))
        sent = (weight @ counts.T.astype(np.float64)).T
        balance += sent if source in inside else -sent
    return balance > 0


def _place(state: GridState, name: str, busy: _Busy, owner: np.int64, spike: np.int64) -> str:
    """Whose spike it is, and when, for a message."""
    step = int(busy.step[busy.first[owner] + spike])
    unit = state.units(name).start + int(busy.unit[owner])
    return state.place(int(busy.sample[owner]), unit, step).removesuffix(": ")
