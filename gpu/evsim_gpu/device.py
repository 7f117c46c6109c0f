"""What a device does for the grid engine: the work on arrays, by numba or by CUDA.

Everything here is on the host, in NumPy arrays; a device keeps its own copies.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from evsim.display.short_repr import Brief
from evsim.engines.pieces import Share
from evsim_gpu.model.layout import GridLayout


@dataclass(frozen=True, eq=False, repr=False)
class GridInputs(Brief):
    """Spikes of all inputs on the grid, sorted by sample, unit and time.

    ``step``, int32, (events,), is the step of each event, ``steps + 1`` for those after the end.
    ``start``, int64, (batch * units of all populations + 1,), says where the events of a unit in a
    sample begin (units that are not inputs have none).  ``place`` contains, for each input
    population, the places of its events.
    """

    step: np.ndarray
    start: np.ndarray
    place: Mapping[str, np.ndarray]
    batch: int


@dataclass(frozen=True, eq=False, repr=False)
class Emissions(Brief):
    """Emissions of a population's units, sorted by sample, step and unit.

    ``step`` and ``unit`` are int32, ``threshold_excess``, I - threshold, has the engine's
    precision, ``dropped`` is bool, each (events,); ``offsets`` is int64, (batch + 1,).
    """

    step: np.ndarray
    unit: np.ndarray
    threshold_excess: np.ndarray
    dropped: np.ndarray
    offsets: np.ndarray

    @property
    def samples(self) -> np.ndarray:
        """The sample of each emission, int64."""
        return np.repeat(np.arange(self.offsets.size - 1), np.diff(self.offsets))


@dataclass(frozen=True, eq=False, repr=False)
class MeanForm(Brief):
    """A weighted mean as a sum over steps, ``sum_n f_n (P V_n + R I_n) + g_n (Q V_n + U I_n)``.

    The sum leaves out the steps over which V is held at the reset.
    ``f`` and ``g`` have shape (steps,) and include the factor 1/T; ``by_voltage`` contains P and Q,
    and ``by_current`` R and U, each (2, units).  All are in the engine's precision.
    """

    f: np.ndarray
    g: np.ndarray
    by_voltage: np.ndarray
    by_current: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class GridSources(Brief):
    """``AdjointSources`` as arrays on the grid: what enters the adjoints of one population.

    Parameters
    ----------
    population : str
    mean : MeanForm or None
        With ``cotangents`` (batch, units) of the mean.
    peak_step : int32, (batch, units), or None
        Where V peaks, with ``cotangents`` of the peak; 0 for none.
    peak_share : (batch, units) or None
        The share of lambda_V's jump there that applies to arrivals at the same grid point.
    cotangents : (batch, units) or None
    phantom : (batch, units) or None
        lambda_V at the end of the trial.
    slopes : (emissions of the population,) or None
        The direct derivative of the loss with respect to each emission's time in ms.
    moment_step, moment_start : int32 (moments,), int64 (batch + 1,)
        Grid points, ascending in each sample, at which adjoints jump.
    moment_lambda_v, moment_lambda_i : (moments, units)
        How much smaller lambda_V and lambda_I are before these grid points; without effect where
        the unit's V is held at the reset over the next step.
    rate_jump : (units of all populations,)
        Subtracted from lambda_V- at each emission.
    limit : float
        The largest |lambda_V-| at an emission.
    reset_gradient, start_gradient : float64, (batch, units)
        The direct derivatives of each sample's loss with respect to reset and start, from readings
        of V while it is held at the reset, and at the start of the trial.  Devices do not need
        them.

    All other reals are in the engine's precision.
    """

    population: str
    rate_jump: np.ndarray
    moment_step: np.ndarray
    moment_start: np.ndarray
    moment_lambda_v: np.ndarray
    moment_lambda_i: np.ndarray
    reset_gradient: np.ndarray
    start_gradient: np.ndarray
    limit: float = np.inf
    mean: MeanForm | None = None
    peak_step: np.ndarray | None = None
    peak_share: np.ndarray | None = None
    cotangents: np.ndarray | None = None
    phantom: np.ndarray | None = None
    slopes: np.ndarray | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Pulled(Brief):
    """Gradients summed over the batch, float64: per synapse, per unit, per event.

    Synapses are those of one connection after the other, as in the network, each row by row.
    ``events`` are those of ``GridInputs``.  ``limited`` counts emissions whose lambda_V- was set
    to the limit; ``grazing`` is an emission with I - threshold not > 0 and without a limit, as
    (sample, unit of all, step), or None.  ``reset``, ``start``, ``tau_mem`` and ``tau_syn`` contain
    the parts through the steps of V and I.  The latter two are zero unless they were requested, and
    ``delay`` may be zero for connections whose delays were not requested.
    """

    weight: np.ndarray
    delay: np.ndarray
    threshold: np.ndarray
    reset: np.ndarray
    start: np.ndarray
    tau_mem: np.ndarray
    tau_syn: np.ndarray
    events: np.ndarray
    limited: int
    grazing: tuple[int, int, int] | None
    activity: Activity
    sources: GridSources

    def adjoints(self, population: str) -> tuple[np.ndarray, np.ndarray]:
        """lambda_V and lambda_I after every grid point, each (batch, steps + 1, units).

        They apply to arrivals there: lambda_V has ``GridSources.peak_share`` of the jump at a peak.
        """
        return self.activity.adjoints(self, population)


class Activity(ABC):
    """A simulated batch.

    ``overflow`` is the first unit of a LIF population whose current is not finite at the end of the
    trial, as (sample, unit of all, first step at which it is not finite), or None.
    """

    overflow: tuple[int, int, int] | None

    @abstractmethod
    def emissions(self, population: str) -> Emissions:
        """The emissions of a LIF population."""

    @abstractmethod
    def counts(self, population: str) -> np.ndarray:
        """Number of emissions of each unit of a LIF population, int64, (batch, units)."""

    @abstractmethod
    def arrivals(self) -> tuple[int, int, int]:
        """Numbers of arrivals within the trial and after it, and of dropped spikes, with inputs."""

    @abstractmethod
    def states(self, population: str) -> tuple[np.ndarray, np.ndarray]:
        """V and I after every grid point, each (batch, steps + 1, units)."""

    @abstractmethod
    def mean(self, population: str, form: MeanForm) -> np.ndarray:
        """A weighted mean, in the engine's precision, (batch, units)."""

    @abstractmethod
    def peak(self, population: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The largest V over all grid points, the first with it, int32, and its share.

        Each has shape (batch, units).  The share is that of ``GridSources.peak_share``.
        """

    @abstractmethod
    def pull_back(
        self, sources: GridSources, *, delays: Collection[str], time_constants: bool
    ) -> Pulled:
        """All gradients; those with respect to time constants only on request.

        ``delays`` are the connections for which gradients of delays are requested.
        """

    @abstractmethod
    def adjoints(self, pulled: Pulled, population: str) -> tuple[np.ndarray, np.ndarray]:
        """See ``Pulled.adjoints``."""


class Device(ABC):
    """Where the loops run."""

    @abstractmethod
    def simulate(
        self, layout: GridLayout, inputs: GridInputs, keys: np.ndarray | None, share: Share
    ) -> Activity:
        """Run a network on a batch; ``keys`` (batch,) uint64 decide which spikes are dropped.

        ``share`` says how the batch is cut, and how the sums of its pieces are added; a device that
        does not cut batches ignores it.
        """
