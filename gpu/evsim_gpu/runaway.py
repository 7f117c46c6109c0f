"""Checks whether a simulated network runs away.

In such a network units excite each other to ever more spikes.  On a grid a unit emits at most once
per step, so the simulation ends, but its results are meaningless.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evsim.arguments.checks import is_sparse
from evsim.engines import runaway
from evsim.engines.protocol import EngineError
from evsim.network.populations import LIF
from evsim.network.ragged_arrays import counted
from evsim_gpu.state import GridState

RUN = 2 * runaway.BLOCK
"""A unit that emits at this many consecutive steps has reached the highest rate on a grid."""


def check_rates(state: GridState, rate_limit: float) -> None:
    """Raise an EngineError for the first unit that runs away, see ``evsim.engines.runaway``.

    On a grid a unit also runs away if it emits at ``RUN`` consecutive steps and its own loop of
    connections brings it more current over the trial than all other connections.
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
class _SpikeTrains:
    """The spike trains of a population that have at least ``RUN`` spikes, one per unit and sample.

    Parameters
    ----------
    sample, unit : shape (trains,)
        The sample and the unit of each spike train.
    first, count : shape (trains,)
        The index of its first spike in ``step``, and the number of its spikes.
    step : shape (spikes,)
        The steps of all spikes, sorted by sample, unit and time.
    """

    sample: NDArray[np.int64]
    unit: NDArray[np.int64]
    first: NDArray[np.int64]
    count: NDArray[np.int64]
    step: NDArray[np.int64]

    def step_of(self, train: NDArray[np.int64], spike: NDArray[np.int64]) -> NDArray[np.int64]:
        """The steps of some spikes, given by train and by number in the train."""
        steps: NDArray[np.int64] = self.step[self.first[train] + spike]
        return steps


def _check_population(
    state: GridState, population: LIF, counts: NDArray[np.int64], rate_limit: float
) -> None:
    """Raise an EngineError if a unit of the population runs away; ``counts`` (batch, units)."""
    layout, name = state.layout, population.name
    trains = _busy_trains(state, name, counts)
    first_unit = state.units(name).start
    shortest = runaway.shortest_blocks(layout.network, rate_limit)[first_unit:]
    allowed = shortest[trains.unit] / layout.dt
    found = runaway.runaways(trains.step, trains.first, trains.count, allowed)
    if found.unit.size:
        at = _earliest(trains, found.unit, found.spike)
        place = _place(state, name, trains, found.unit[at], found.spike[at])
        span = float(found.span[at]) * layout.dt
        raise EngineError(runaway.message(place, span, "Grid"))
    train, spike = _ends_of_runs(trains)
    if train.size:
        driven = _driven_by_loop(state, name)[trains.sample[train], trains.unit[train]]
        train, spike = train[driven], spike[driven]
    if train.size:
        at = _earliest(trains, train, spike)
        raise EngineError(
            _place(state, name, trains, train[at], spike[at])
            + f": it has emitted at each of {RUN} steps, the highest rate on a grid of "
            f"{layout.dt:g} ms, and the spikes of its own loop drive it: the network runs away; "
            "use smaller weights, inhibition or a refractory period, or allow it with "
            "Grid(rate_limit=inf)"
        )


def _busy_trains(state: GridState, name: str, counts: NDArray[np.int64]) -> _SpikeTrains:
    """The spike trains of a population with at least ``RUN`` spikes."""
    emissions = state.emissions(name)
    samples = emissions.samples
    index = np.flatnonzero(counts[samples, emissions.unit] >= RUN)
    index = index[np.lexsort((emissions.step[index], emissions.unit[index], samples[index]))]
    sample, unit = np.nonzero(counts >= RUN)
    count = counts[sample, unit]
    first = np.cumsum(count) - count
    return _SpikeTrains(sample, unit, first, count, emissions.step[index].astype(np.int64))


def _earliest(trains: _SpikeTrains, train: NDArray[np.int64], spike: NDArray[np.int64]) -> int:
    """Which of some spikes is the first one of the first sample."""
    return int(np.lexsort((trains.step_of(train, spike), trains.sample[train]))[0])


def _ends_of_runs(trains: _SpikeTrains) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Trains with ``RUN`` spikes at consecutive steps, and the last spike of their first such run.

    Both have shape (trains found,); spikes are numbered from 0 in their train.
    """
    train, number = counted(trains.count - RUN + 1)
    begin = trains.first[train] + number
    runs = np.flatnonzero(trains.step[begin + RUN - 1] - trains.step[begin] == RUN - 1)
    found, first_run = np.unique(train[runs], return_index=True)
    return found, number[runs[first_run]] + RUN - 1


def _driven_by_loop(state: GridState, name: str) -> NDArray[np.bool_]:
    """Which units get more current from their component than from elsewhere, (batch, units).

    Currents are compared as sums over the trial of the weights of all spikes sent to a unit.  A
    rest above the threshold drives a unit like a constant current of the difference.
    """
    layout = state.layout
    network = layout.network
    index = [population.name for population in network.populations].index(name)
    component = next(c for c in layout.components if index in c.first_column)
    inside = {network.populations[i].name for i in component.first_column}
    population = network.populations[index]
    own = layout.units[state.units(name)]
    constant = np.maximum(-own["threshold"].astype(np.float64), 0.0)
    balance = np.tile(-constant * layout.duration / own["tau_syn"], (state.batch, 1))
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


def _place(
    state: GridState, name: str, trains: _SpikeTrains, train: np.int64, spike: np.int64
) -> str:
    """The sample, unit and time of a spike, for a message."""
    step = int(trains.step[trains.first[train] + spike])
    unit = state.units(name).start + int(trains.unit[train])
    return state.place(int(trains.sample[train]), unit, step).removesuffix(": ")
