"""simulate: run a network on a batch of input spikes; Run: what it returns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evsim.arguments.checks import check_duration, real_array, shown
from evsim.arguments.keywords import helpful
from evsim.arguments.named import Named
from evsim.arguments.words import number_of
from evsim.display.html_table import html_table
from evsim.display.short_repr import and_more, first
from evsim.engines import resolve
from evsim.engines.protocol import Engine, Report, SimulatedBatch
from evsim.network.checks import (
    check_has_voltage,
    check_inputs,
    check_network,
    check_trace,
    check_wrt,
)
from evsim.network.dropout import Dropout
from evsim.network.network import Network
from evsim.network.spike_trains import SpikeTrains
from evsim.readouts import FirstSpike, Mean, Peak, Readout
from evsim.readouts.base import ReadoutCotangents
from evsim.readouts.sample_times import SampleTimes, check_sample_times
from evsim.simulation.checks import check_time_constants
from evsim.simulation.pulled_back import PulledBack
from evsim.simulation.silence import warn_of_unreached
from evsim.simulation.units_of_time import warn_of_seconds

if TYPE_CHECKING:
    from evsim.engines.reference.enclosures import Enclosure


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
        For a population that no input reaches, and for input spikes that all come too late.
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
    """As ``simulate``, for arguments that have already been checked, except dropout."""
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
        trials = f"{number_of(self.batch_size, 'sample')} of {self.duration:g} ms"
        engine, told = type(self.engine).__name__, and_more(counts, len(spiking))
        return f"Run({trials} on {engine}, spikes: {told})"

    def _repr_html_(self) -> str:
        """A table for notebooks: the spikes and the mean firing rate of each population."""
        rows = [
            (p.name, type(p).__name__, p.units, *self._activity(p.name, p.units))
            if p.spiking
            else (p.name, type(p).__name__, p.units, None, None, None)
            for p in self.network.populations
        ]
        engine = type(self.engine).__name__
        title = f"Run: {number_of(self.batch_size, 'sample')} of {self.duration:g} ms on {engine}"
        header = ("population", "kind", "units", "spikes", "spikes per unit and s", "silent units")
        return html_table(title, header, rows)

    def _activity(self, population: str, units: int) -> tuple[int, float | None, int]:
        """Spikes of all samples, their mean rate in spikes per unit and s, and silent units."""
        spikes = int(self.spike_counts[population].sum())
        seconds = self.batch_size * self.duration / 1000.0
        rate = spikes / (units * seconds) if seconds else None
        return spikes, rate, self.silent_units(population).size

    @cached_property
    def report(self) -> Report:
        """What happened in the batch that its results do not show."""
        return self.engine.report(self.state)

    @cached_property
    def enclosure(self) -> Enclosure:
        """Proven bounds of spike times, readouts and voltages.

        Only for runs on ``evsim.engines.Reference(digits=30, certified=True)``; others raise
        ValueError.
        """
        found: Enclosure = self.engine.enclosure(self.state)
        return found

    def silent_units(self, population: str) -> NDArray[np.int64]:
        """Indices of the units that spike in no sample of the batch, int64."""
        self.network.population(population)
        return np.flatnonzero(self.spike_counts[population].sum(axis=0) == 0)

    @np.errstate(under="ignore")
    def read(self, readout: Readout) -> NDArray[np.float64]:
        """The values of any readout, in the shape the readout states."""
        self._check_readout(readout)
        return super().read(readout)

    @np.errstate(under="ignore")
    def pull_back(
        self,
        readout: Readout | Mapping[Readout, NDArray[np.float64]],
        cotangents: NDArray[np.float64] | None = None,
        wrt: Iterable[str] | None = None,
    ) -> PulledBack:
        """The gradients of ``sum(cotangents * values)`` of any readouts: a vector-Jacobian product.

        So any function of a network's activity has exact gradients: read what it depends on with
        ``read``, compute its derivative with respect to those values, and pull that back.

        Parameters
        ----------
        readout : Readout, or a mapping from Readout to array
            What was read; a mapping gives the cotangents of several readouts, of any populations,
            which are pulled back together.
        cotangents : array
            The derivative of the function with respect to the readout's values, in their shape,
            finite.  A cotangent of a missing spike makes a phantom spike at the end of the trial
            (L section 4.1); 0 there makes none.  Not given with a mapping.
        wrt : iterable of str, optional
            Names of parameters; every one if not given.

        Raises
        ------
        TypeError, ValueError
            For arguments that do not fit the run.
        EngineError
            For a gradient that is unbounded.
        """
        names = check_wrt(self.network, wrt)
        check_time_constants(self.network, names)
        given = _cotangents_by_readout(readout, cotangents)
        parts = [self._checked_part(one, array) for one, array in given.items()]
        return PulledBack(self, self.pull_back_parts(parts, names))

    def _checked_part(self, readout: Any, cotangents: Any) -> ReadoutCotangents:
        self._check_readout(readout)
        units = self.network.population(readout.population_of(self.network)).units
        shape = readout.shape(self.batch_size, units)
        name = f"the cotangents of {readout}"
        array = real_array(cotangents, "cotangents", f"{name}, numbers").astype(np.float64)
        if array.shape != shape:
            raise ValueError(
                f"{name} have shape {array.shape}: give them in the shape of its values, {shape}"
            )
        if not np.isfinite(array).all():
            index = np.unravel_index(int(np.argmin(np.isfinite(array))), shape)
            raise ValueError(
                f"{name} at {tuple(map(int, index))} are {array[index]}: they must be finite; "
                "give 0 where the function does not depend on a value"
            )
        return ReadoutCotangents(readout, array)

    def _check_readout(self, readout: Any) -> None:
        if not isinstance(readout, Readout):
            raise TypeError(f"readout = {shown(readout)}: give one such as evsim.readouts.Peak()")
        readout.population_of(self.network)
        readout.check(self.duration, self.batch_size)

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
        return super().traces(population, checked)


def _cotangents_by_readout(readout: Any, cotangents: Any) -> Mapping[Any, Any]:
    """The cotangents of each readout, from either form in which ``pull_back`` takes them."""
    if isinstance(readout, Mapping):
        if cotangents is not None:
            raise TypeError(
                "cotangents are given beside a mapping that has them already: leave them out"
            )
        if not readout:
            raise ValueError("the mapping is empty: give the cotangents of at least one readout")
        return readout
    if cotangents is None:
        raise TypeError(
            "cotangents are missing: give the derivative with respect to the readout's values, or "
            "a mapping {readout: cotangents}"
        )
    if not isinstance(readout, Readout):
        raise TypeError(
            f"readout = {shown(readout)}: give one such as evsim.readouts.Peak(), or a mapping "
            "{readout: cotangents} of several"
        )
    return {readout: cotangents}
