"""The protocol every engine satisfies.

An engine knows networks, spike trains and elementary readouts; it knows no losses.  All
arguments it gets have been checked.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from evsim.display.short_repr import Brief
from evsim.network.network import Network
from evsim.network.spike_trains import SpikeTrains
from evsim.readouts.readouts import Moments, Readout

if TYPE_CHECKING:
    from evsim.network.dropout import Dropout


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
        Those that would have arrived after its end: without effect and without gradient.
    smallest_drive : float
        The smallest I - threshold at an emission, infinity if there was none.  As it goes
        to 0 the voltage grazes the threshold and gradients grow without bound.
    smallest_drive_at : tuple of (population, sample, unit, time in ms), or None
    dropped : int
        Spikes that dropout kept from all their synapses; their arrivals are not counted.
    """

    arrivals: int
    arrivals_after_end: int
    smallest_drive: float
    smallest_drive_at: tuple[str, int, int, float] | None
    dropped: int = 0


@dataclass(frozen=True, eq=False, repr=False)
class Adjustments(Brief):
    """What enters the adjoints besides a readout's cotangents.

    Parameters
    ----------
    spike_slopes : array or None
        Derivative of the loss by each spike time of the readout's population, shape (events,)
        beside its spikes: the l_V- - l_V+ of a voltage loss at a spike that resets V.
        Elementary readouts bring their own; these are added to them.
    rate_jumps : mapping from LIF population to array
        (k/B) (mean count - nu) of each unit, shape (units,): subtracted from lambda_V- at
        each of its spikes, after the division (L 7).
    lambda_limit : float
        Where |lambda_V-| of a spike's own adjoint exceeds it, it is set to it; before the
        rate jump.  Infinity for no limit.
    """

    spike_slopes: np.ndarray | None = None
    rate_jumps: Mapping[str, np.ndarray] = field(default_factory=dict)
    lambda_limit: float = np.inf


@dataclass(frozen=True, eq=False, repr=False)
class Adjoint(Brief):
    """What comes back from pulling a readout's cotangents through a network.

    ``parameters`` has a gradient, in the parameter's shape, for each name asked for;
    ``input_times`` one per input event, for each input population.  ``limited`` counts the
    spikes at which the limit on lambda_V acted.  ``state`` is the engine's own, for traces.
    """

    parameters: dict[str, Any]
    input_times: dict[str, np.ndarray]
    limited: int = 0
    state: Any = None


class Engine(ABC):
    """Simulates networks and pulls readouts' cotangents back.

    ``state`` is whatever ``simulate`` returned; only the engine looks inside.
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

    def spike_counts(self, state: Any) -> dict[str, np.ndarray]:
        """Number of those spikes of each unit, int64, (batch, units), by population."""
        return {name: trains.counts() for name, trains in self.spikes(state).items()}

    def placed(self, times: np.ndarray, duration: float) -> np.ndarray:
        """Where events of these times in ms happen in a trial: there, unless on a time grid."""
        return times

    @abstractmethod
    def report(self, state: Any) -> Report:
        """What the results do not show."""

    @abstractmethod
    def read(self, state: Any, readout: Readout) -> np.ndarray:
        """An elementary readout's values, float64, in the shape the readout states."""

    @abstractmethod
    def kinks(self, state: Any, population: str) -> Moments:
        """The times within the trial at which V of a population's units is not smooth.

        Arrivals, emissions and ends of refractory periods of any of its units, each time
        once, without 0 and the end of the trial.
        """

    @abstractmethod
    def probe(self, state: Any, population: str, moments: Moments) -> tuple[np.ndarray, np.ndarray]:
        """Voltage and current at moments of each sample, each (moments, units).

        At one instant after emissions and before arrivals.
        """

    @abstractmethod
    def pull_back(
        self,
        state: Any,
        readout: Readout,
        cotangents: np.ndarray,
        wrt: Sequence[str],
        adjustments: Adjustments = Adjustments(),
    ) -> Adjoint:
        """Gradients of ``sum(cotangents * readout)`` by the named parameters and input times.

        ``readout`` is elementary; ``cotangents`` has the shape of its values.
        """

    @abstractmethod
    def traces(
        self, state: Any, population: str, times: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Voltage and current, each (batch, units, times); after the jumps at a time."""

    @abstractmethod
    def adjoint_traces(
        self, state: Any, adjoint: Adjoint, population: str, times: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """lambda_V and lambda_I, each (batch, units, times); their limit from later times."""
