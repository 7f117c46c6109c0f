"""The protocol that every engine satisfies, and a simulated batch.

An engine knows networks and spike trains.  It reads four quantities of a population, which are
the primitives of all readouts, and pulls their cotangents back to the parameters:

- the weighted mean of V, with a weighting whose integral has a closed form (``read_mean``),
- the largest V of LI units (``read_peak``),
- the times of the first spikes (``read_spike_times``),
- V and I at given times of each sample (``states_at``).

It measures V from the rest of each unit, here and in ``traces``: see ``evsim.engines.rest``.  It
knows no readout and no loss.  All its arguments have been checked.  In this module, L is Nowotny,
Turner and Knight, loss shaping with EventProp.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.arguments.named import Named
from evsim.display.short_repr import Brief
from evsim.engines.rest import (
    FromRest,
    direct_rest_gradient,
    is_voltage_parameter,
    rest_of,
    voltage_gradients,
)
from evsim.network.dropout import Dropout
from evsim.network.network import Network
from evsim.network.parameters import Parameter, added
from evsim.network.spike_trains import SpikeTrains
from evsim.readouts.adjoint_sources import AdjointSources
from evsim.readouts.base import Readout, ReadoutCotangents
from evsim.readouts.quadrature import with_one_mean
from evsim.readouts.sample_times import SampleTimes
from evsim.readouts.weightings import TrialWeighting


class EngineError(RuntimeError):
    """A simulation that cannot go on; the message names sample, unit, time and a remedy."""


@dataclass(frozen=True)
class Report:
    """What happened in a batch that its results do not show.

    Parameters
    ----------
    arrivals : int
        Spikes that reached a synapse's target within the trial.
    arrivals_after_end : int
        Spikes that would have arrived after the end: they have no effect and no gradient.
    smallest_drive : float
        The smallest I - threshold at an emission, infinity if there was none.  As it approaches
        0, the voltage grazes the threshold and gradients grow without bound.
    smallest_drive_at : tuple of (population, sample, unit, time in ms), or None
    dropped : int
        Spikes that dropout kept from reaching any synapse; their arrivals are not counted.
    """

    arrivals: int
    arrivals_after_end: int
    smallest_drive: float
    smallest_drive_at: tuple[str, int, int, float] | None
    dropped: int = 0


@dataclass(frozen=True, eq=False, repr=False)
class Adjustments(Brief):
    """What changes the adjoint besides a readout's cotangents.

    Parameters
    ----------
    spike_slopes : array or None
        Derivative of the loss with respect to each spike time of the readout's population, shape
        (events,) in the order of its spikes, without the readout's own derivative.
    rate_jumps : mapping from LIF population to array
        (k/B) (mean count - nu) of each unit, shape (units,).  It is subtracted from lambda_V- at
        each of the unit's spikes, after the division (L 7).
    lambda_limit : float
        Where |lambda_V-| of a spike's own adjoint exceeds this limit, it is set to the limit,
        before the rate jump.  Infinity means no limit.
    """

    spike_slopes: NDArray[np.float64] | None = None
    rate_jumps: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    lambda_limit: float = np.inf


NO_ADJUSTMENTS = Adjustments()


@dataclass(frozen=True, eq=False, repr=False)
class Adjoint(Brief):
    """The gradients of a batch, as an engine returns them.

    ``parameters`` contains a gradient, in the parameter's shape, for each requested name;
    ``input_times`` contains one per input event, for each input population.  ``voltages`` contains
    those with respect to the threshold, reset and start of every unit, measured from rest, without
    the direct effect of the rest on the readout.  ``limited`` counts the spikes at which lambda_V
    was limited.  ``state`` is used by the engine for traces.  If an engine made one pass for each
    population that is read, ``passes`` contains the adjoints of these passes instead; this adjoint
    is their sum.  ``parts`` and ``adjustments`` are what was pulled back.
    """

    parameters: dict[str, Parameter]
    input_times: Mapping[str, NDArray[np.float64]]
    voltages: FromRest
    limited: int = 0
    state: Any = None
    passes: tuple[Adjoint, ...] = ()
    parts: tuple[ReadoutCotangents, ...] = ()
    adjustments: Adjustments = NO_ADJUSTMENTS


class Engine(ABC):
    """Simulates networks and pulls cotangents back to their parameters.

    ``state`` is whatever ``simulate`` returned; only the engine uses its content.  For ``read`` and
    ``pull_back`` it has the attributes ``network``, ``inputs`` and ``duration``.
    """

    @abstractmethod
    def simulate(
        self,
        network: Network,
        inputs: Mapping[str, SpikeTrains],
        duration: float,
        dropout: Dropout | None = None,
    ) -> Any:
        """Run the network on a batch over [0, duration] ms and return the engine's state."""

    @abstractmethod
    def spikes(self, state: Any) -> dict[str, SpikeTrains]:
        """Spikes of every population within the trial; inputs as they were given."""

    def spike_counts(self, state: Any) -> dict[str, NDArray[np.int64]]:
        """Number of the spikes of each unit, int64, (batch, units), by population."""
        return {name: trains.counts() for name, trains in self.spikes(state).items()}

    def placed(self, times: NDArray[np.float64], duration: float) -> NDArray[np.float64]:
        """When events of these times in ms happen: at these times, unless there is a time grid."""
        return times

    @abstractmethod
    def report(self, state: Any) -> Report:
        """What happened in the batch that its results do not show."""

    # -- the primitives of readouts, with V measured from rest --------------------------------

    @abstractmethod
    def read_mean(
        self, state: Any, population: str, weighting: TrialWeighting
    ) -> NDArray[np.float64]:
        """``(1/T) * integral of w(t) V(t) dt``, shape (batch, units)."""

    @abstractmethod
    def read_peak(self, state: Any, population: str) -> NDArray[np.float64]:
        """The largest V of LI units, shape (batch, units)."""

    @abstractmethod
    def read_spike_times(self, state: Any, population: str, count: int) -> NDArray[np.float64]:
        """The first spikes of LIF units in ms, (batch, units, count); infinity for none."""

    @abstractmethod
    def states_at(
        self, state: Any, population: str, times: SampleTimes
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """V and I at given times of each sample, each (times, units).

        They are taken after emissions and before arrivals at the same instant.
        """

    @abstractmethod
    def event_times(self, state: Any, population: str) -> SampleTimes:
        """The times within the trial at which V of a population's units is not smooth.

        These are the times of arrivals, emissions and ends of refractory periods of any of its
        units, each time once, without 0 and the end of the trial.
        """

    @abstractmethod
    def pull_back_sources(self, state: Any, sources: AdjointSources, wrt: Sequence[str]) -> Adjoint:
        """Gradients with respect to the named parameters and all input times.

        The names are those of weights, delays and time constants; gradients of the voltages of
        units are always computed (``Adjoint.voltages``).  ``sources`` contains the cotangents of
        the primitives, at most one of a mean and a peak.  The caller adds its direct derivatives,
        ``input_times`` and ``parameters``.
        """

    def pull_back_populations(
        self, state: Any, sources: Sequence[AdjointSources], wrt: Sequence[str]
    ) -> Adjoint:
        """The same for sources of several populations, at most one of each.

        The adjoint is linear in its sources, so the gradients of one pass for each are added.  The
        limit on lambda_V applies to their sum, which no pass computes; therefore it is refused.
        """
        if len(sources) == 1:
            return self.pull_back_sources(state, sources[0], wrt)
        if sources[0].lambda_limit != np.inf:
            raise ValueError(
                f"lambda_limit = {sources[0].lambda_limit:g} with a loss of several populations: "
                f"{type(self).__name__} pulls them back one by one and cannot limit their sum; "
                "leave the limit out or use the engine 'exact'"
            )
        alone = [sources[0], *(replace(part, rate_jumps={}) for part in sources[1:])]
        passes = tuple(self.pull_back_sources(state, part, wrt) for part in alone)
        parameters, input_times = passes[0].parameters, passes[0].input_times
        for one in passes[1:]:
            parameters = {n: added(sums, one.parameters[n]) for n, sums in parameters.items()}
            input_times = {n: sums + one.input_times[n] for n, sums in input_times.items()}
        return Adjoint(
            parameters,
            input_times,
            FromRest(
                *(np.sum(kind, axis=0) for kind in zip(*(p.voltages for p in passes), strict=True))
            ),
            passes=passes,
        )

    # -- traces -------------------------------------------------------------------------------

    @abstractmethod
    def traces(
        self, state: Any, population: str, times: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """V, measured from rest, and I, each (batch, units, times); after the jumps at a time."""

    @abstractmethod
    def adjoint_traces(
        self, state: Any, adjoint: Adjoint, population: str, times: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """lambda_V and lambda_I, each (batch, units, times); limits from later times at jumps."""

    # -- enclosures ---------------------------------------------------------------------------

    def enclosure(self, state: Any) -> Any:
        """Proven bounds of what was simulated; ValueError for an engine that proves none."""
        raise ValueError(self._without_enclosures)

    def gradient_enclosure(
        self,
        state: Any,
        parts_of: Callable[[SimulatedBatch], Sequence[ReadoutCotangents]],
        wrt: Sequence[str],
        adjustments: Adjustments = NO_ADJUSTMENTS,
    ) -> Any:
        """Proven bounds of gradients; ValueError for an engine that proves none.

        ``parts_of`` computes what is pulled back from a batch whose readouts are numbers of the
        engine's type.
        """
        raise ValueError(self._without_enclosures)

    @property
    def _without_enclosures(self) -> str:
        return (
            f"{self!r} computes no enclosures: simulate with "
            "engine=evsim.engines.Reference(digits=30, certified=True)"
        )

    # -- readouts -----------------------------------------------------------------------------

    def read(self, state: Any, readout: Readout) -> NDArray[np.float64]:
        """A readout's values, float64, in the shape that the readout specifies."""
        return self.batch(state).read(readout)

    def pull_back(
        self,
        state: Any,
        readout: Readout,
        cotangents: NDArray[np.float64],
        wrt: Sequence[str],
        adjustments: Adjustments = NO_ADJUSTMENTS,
    ) -> Adjoint:
        """Gradients of ``sum(cotangents * readout)``; both factors have the same shape."""
        part = ReadoutCotangents(readout, cotangents, adjustments.spike_slopes)
        return self.batch(state).pull_back_parts([part], wrt, adjustments)

    def batch(self, state: Any) -> SimulatedBatch:
        """A state in the form that readouts use."""
        return SimulatedBatch(state.network, state.inputs, state.duration, self, state)


@dataclass(frozen=True, eq=False, repr=False)
class SimulatedBatch(Brief):
    """A simulated batch in the form that readouts use; see ``evsim.readouts.ReadableRun``."""

    network: Network
    inputs: Mapping[str, SpikeTrains]
    duration: float
    engine: Engine
    state: Any

    @property
    def batch_size(self) -> int:
        """Number of samples."""
        return len(next(iter(self.inputs.values())))

    @cached_property
    def spikes(self) -> dict[str, SpikeTrains]:
        """Spikes of every population by name: those within the trial, and inputs as given."""
        return Named(self.engine.spikes(self.state), "population")

    @cached_property
    def spike_counts(self) -> dict[str, NDArray[np.int64]]:
        """Number of the spikes of each unit, (batch, units), by population; read-only."""
        return Named(self.engine.spike_counts(self.state), "population")

    def placed(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """When events of these times in ms happen: at these times, unless there is a time grid."""
        return self.engine.placed(times, self.duration)

    # -- the primitives of readouts ---------------------------------------------------------

    def weighted_mean(self, population: str, weighting: TrialWeighting) -> NDArray[np.float64]:
        """``(1/T) * integral of w(t) V(t) dt``, shape (batch, units)."""
        values = self.engine.read_mean(self.state, population, weighting)
        rest = rest_of(self.network, population)
        return values if rest is None else values + rest * weighting.mean()

    def peak_voltage(self, population: str) -> NDArray[np.float64]:
        """The largest V of LI units, shape (batch, units)."""
        values = self.engine.read_peak(self.state, population)
        rest = rest_of(self.network, population)
        return values if rest is None else values + rest

    def spike_times(self, population: str, count: int) -> NDArray[np.float64]:
        """The first spikes of LIF units in ms, (batch, units, count); infinity for none."""
        return self.engine.read_spike_times(self.state, population, count)

    def states_at(
        self, population: str, times: SampleTimes
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """V and I at given times of each sample, each (times, units); before arrivals then."""
        voltage, current = self.engine.states_at(self.state, population, times)
        rest = rest_of(self.network, population)
        return (voltage if rest is None else voltage + rest), current

    def event_times(self, population: str) -> SampleTimes:
        """The times at which V of any of a population's units is not smooth."""
        return self.engine.event_times(self.state, population)

    # -- readouts -----------------------------------------------------------------------------

    def read(self, readout: Readout) -> NDArray[np.float64]:
        """A readout's values, in the shape that the readout specifies."""
        return readout.read(self)

    def adjoint_sources(
        self, parts: Sequence[ReadoutCotangents], adjustments: Adjustments
    ) -> tuple[AdjointSources, ...]:
        """What an engine needs to pull back cotangents: the sources of each population read."""
        found: dict[str, AdjointSources] = {}
        for part in parts:
            sources = part.readout.adjoint_sources(self, part.cotangents)
            name = sources.population
            if part.spike_slopes is not None:
                sources += AdjointSources(name, spike_time_gradient=part.spike_slopes)
            found[name] = found[name] + sources if name in found else sources
        return tuple(
            replace(
                with_one_mean(self, sources),
                rate_jumps=adjustments.rate_jumps,
                lambda_limit=adjustments.lambda_limit,
            )
            for sources in found.values()
        )

    def pull_back_parts(
        self,
        parts: Sequence[ReadoutCotangents],
        wrt: Sequence[str],
        adjustments: Adjustments = NO_ADJUSTMENTS,
    ) -> Adjoint:
        """Gradients of the sum over parts of ``sum(cotangents * readout)``."""
        by_population = self.adjoint_sources(parts, adjustments)
        for sources in by_population:
            events = 0
            if sources.spike_time_gradient is not None:
                events = int(self.spike_counts[sources.population].sum())
            units = self.network.population(sources.population).units
            sources.check(self.batch_size, units, events)
        voltages = [name for name in wrt if is_voltage_parameter(name)]
        others = [name for name in wrt if not is_voltage_parameter(name)]
        adjoint = self.engine.pull_back_populations(self.state, by_population, others)
        if voltages:
            direct = np.sum(
                [direct_rest_gradient(self.network, sources) for sources in by_population], axis=0
            )
            found = voltage_gradients(self.network, adjoint.voltages, direct, voltages)
            found |= adjoint.parameters
            adjoint = replace(adjoint, parameters={name: found[name] for name in wrt})
        for sources in by_population:
            if sources.input_times or sources.parameters:
                adjoint = replace(
                    adjoint,
                    parameters=_with_direct(adjoint.parameters, sources.parameters),
                    input_times=_with_direct(adjoint.input_times, sources.input_times),
                )
        return replace(adjoint, parts=tuple(parts), adjustments=adjustments)

    # -- traces -------------------------------------------------------------------------------

    def traces(
        self, population: str, times: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """V and I, each (batch, units, times); after the jumps at a time."""
        voltage, current = self.engine.traces(self.state, population, times)
        rest = rest_of(self.network, population)
        return (voltage if rest is None else voltage + rest[:, None]), current


def _with_direct(found: Mapping[str, Any], direct: Mapping[str, Any]) -> dict[str, Any]:
    """Gradients through the network, plus the direct derivatives of those that have one."""
    return {
        name: added(part, direct[name]) if name in direct else part for name, part in found.items()
    }
