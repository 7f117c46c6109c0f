"""simulate: run a network on a batch of input spikes; Run: what it returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from evsim.arguments.checks import check_duration, shown
from evsim.arguments.keywords import helpful
from evsim.arguments.named import Named
from evsim.display.short_repr import and_more, first
from evsim.engines import resolve
from evsim.engines.protocol import Engine, Report, SimulatedBatch
from evsim.network.checks import check_has_voltage, check_inputs, check_network, check_trace
from evsim.network.dropout import Dropout
from evsim.network.network import Network
from evsim.network.spike_trains import SpikeTrains
from evsim.readouts import FirstSpike, Mean, Peak, Readout
from evsim.readouts.sample_times import SampleTimes, check_sample_times
from evsim.simulation.silence import warn_of_unreached
from evsim.simulation.units_of_time import warn_of_seconds


@np.errstate(under="ignore")
@helpful
def simulate(
    network: Network,
    spikes: SpikeTrains | Mapping[str, SpikeTrains],
    duration: float,
    engine: str | Engine = "exact",
    *,
    dropout: Dropout | None = None,
) -> Run:
    """Run a network on a batch of input spikes.

    Parameters
    ----------
    network : Network
    spikes : SpikeTrains, or a mapping from input population to SpikeTrains
        All inputs with the same number of samples.
    duration : float
        The trial is [0, duration] ms; a spike exactly at its end is part of it.
    engine : str or Engine
        "exact", "reference", "grid", "cuda", or an engine with settings.
    dropout : Dropout, optional
        Which spikes reach none of their synapses.

    Raises
    ------
    TypeError, ValueError
        For arguments that do not fit together, before anything runs.
    EngineError
        For a simulation that cannot go on.

    Warns
    -----
    SilentNetworkWarning
        Of a population that no input reaches, and of input spikes that all come too late.
    """
    check_network(network)
    engine = resolve(engine)
    duration = check_duration(duration)
    inputs = check_inputs(network, spikes)
    warn_of_unreached(network, inputs, duration)
    warn_of_seconds(network, inputs, duration)
    return run_checked(network, inputs, duration, engine, dropout)


def run_checked(
    network: Network,
    inputs: dict[str, SpikeTrains],
    duration: float,
    engine: Engine,
    dropout: Dropout | None = None,
) -> Run:
    """As ``simulate``, of arguments that have been checked; only dropout has not."""
    if dropout is not None:
        if not isinstance(dropout, Dropout):
            found = shown(dropout)
            raise TypeError(f"dropout = {found}: give evsim.Dropout({{'hidden': 0.1}}, seed=0)")
        dropout.check(network, len(next(iter(inputs.values()))))
    state = engine.simulate(network, inputs, duration, dropout)
    return Run(network, Named(inputs, "input"), duration, engine, state)


@helpful
@dataclass(frozen=True, eq=False, repr=False)
class Run(SimulatedBatch):
    """A simulated batch: its spikes, readouts, and voltages at any time."""

    def __repr__(self) -> str:
        spiking = [p.name for p in self.network.populations if p.spiking]
        counts = [f"{name} {self.spike_counts[name].sum()}" for name in first(spiking)]
        trials = f"{self.batch_size} samples of {self.duration:g} ms"
        engine, told = type(self.engine).__name__, and_more(counts, len(spiking))
        return f"Run({trials} on {engine}, spikes: {told})"

    @cached_property
    def report(self) -> Report:
        """What happened in the batch that its results do not show."""
        return self.engine.report(self.state)

    def silent_units(self, population: str) -> NDArray[np.int64]:
        """Indices of the units that spike in no sample of the batch, int64."""
        self.network.population(population)
        return np.flatnonzero(self.spike_counts[population].sum(axis=0) == 0)

    @np.errstate(under="ignore")
    def read(self, readout: Readout) -> NDArray[np.float64]:
        """The values of any readout, in the shape the readout states."""
        if not isinstance(readout, Readout):
            raise TypeError(f"readout = {shown(readout)}: give one such as evsim.readouts.Peak()")
        readout.population_of(self.network)
        readout.check(self.duration, self.batch_size)
        return super().read(readout)

    @np.errstate(under="ignore")
    def event_times(self, population: str) -> SampleTimes:
        """The times at which V of any of a population's units is not smooth."""
        check_has_voltage(self.network, population)
        return super().event_times(population)

    @np.errstate(under="ignore")
    def states_at(
        self, population: str, times: SampleTimes
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """V and I at times of each sample, each (times, units); before arrivals there."""
        check_has_voltage(self.network, population)
        check_sample_times(times, self.batch_size, self.duration)
        return super().states_at(population, times)

    def kinks(self, population: str) -> SampleTimes:
        """An earlier name of ``event_times``."""
        return self.event_times(population)

    def probe(
        self, population: str, moments: SampleTimes
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """An earlier name of ``states_at``."""
        return self.states_at(population, moments)

    def mean(self, population: str, weighting: str = "flat") -> NDArray[np.float64]:
        """Weighted mean voltage, see ``evsim.readouts.Mean``, shape (batch, units)."""
        return self.read(Mean(weighting, population=population))  # type: ignore[arg-type]

    def peak(self, population: str) -> NDArray[np.float64]:
        """Largest voltage of LI units, shape (batch, units)."""
        return self.read(Peak(population=population))

    def first_spike(self, population: str) -> NDArray[np.float64]:
        """First spike times of LIF units in ms, infinity where silent, shape (batch, units)."""
        return self.read(FirstSpike(population=population))

    def voltage(
        self, population: str, times: Sequence[float] | NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """V at the given times in ms, shape (batch, units, times); after the jumps at a time."""
        return self._traces(population, times)[0]

    def current(
        self, population: str, times: Sequence[float] | NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """I at the given times in ms, shape (batch, units, times); after the jumps at a time."""
        return self._traces(population, times)[1]

    @np.errstate(under="ignore")
    def _traces(
        self, population: str, times: Sequence[float] | NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        checked = check_trace(self.network, population, times, self.duration)
        return self.engine.traces(self.state, population, checked)
