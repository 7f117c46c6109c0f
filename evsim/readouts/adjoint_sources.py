"""What enters the adjoint: the cotangents of the few quantities that engines read.

An engine reads four quantities of a population: the weighted mean of V with a closed form, the
largest V, the times of the first spikes, and V at given times.  A readout is a function of them.
``AdjointSources`` holds the derivative of a loss with respect to each.

Papers: D is Mészáros, Knight, Nowotny (delay learning with EventProp), L is Nowotny, Turner,
Knight (loss shaping).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evsim.arguments.keywords import helpful
from evsim.display.short_repr import Brief
from evsim.readouts.sample_times import SampleTimes
from evsim.readouts.weightings import TrialWeighting


@helpful
class MeanCotangents(NamedTuple):
    """The derivative with respect to a weighted mean voltage, shape (batch, units)."""

    weighting: TrialWeighting
    cotangents: NDArray[np.float64]


@helpful
class VoltageCotangents(NamedTuple):
    """The derivative with respect to V at times of each sample, shape (times, units)."""

    times: SampleTimes
    cotangents: NDArray[np.float64]


@helpful
@dataclass(frozen=True, eq=False, repr=False)
class AdjointSources(Brief):
    """Everything that enters the adjoint of a batch.

    A readout fills in what it needs; the sources of two readouts of one population can be added.

    Parameters
    ----------
    population : str
        The population that is read.
    means : tuple of MeanCotangents
        With respect to weighted means ``(1/T) * integral of w(t) V(t) dt``.  Where V is reset,
        engines add the contribution of the reset jump: l_V- - l_V+ with l = w V/T.
    peak : array or None
        With respect to the largest V of LI units, shape (batch, units).
    spike_times : array or None
        With respect to the times of the first spikes, shape (batch, units, count).  Those of
        missing spikes make a phantom spike at the end of the trial (L section 4.1).
    voltages : VoltageCotangents or None
    spike_time_gradient : array or None
        The direct derivative with respect to the time of every spike of the population, shape
        (events,), in the order of ``run.spikes``: for a readout that integrates a function l of
        V, l_V- - l_V+ at each spike that resets V (D Table 1).
    input_times : mapping from input population to array
        The direct derivative with respect to each input time, shape (events,), of a readout that
        depends on them other than through the network.
    parameters : mapping from parameter name to array
        The direct derivative with respect to parameters, likewise.
    rate_jumps : mapping from LIF population to array
        (k/B) (mean count - nu) of each unit, shape (units,): subtracted from lambda_V- at each
        of its spikes (L 7).  Set by ``gradient``, not by readouts, like ``lambda_limit``.
    lambda_limit : float
        The largest |lambda_V-| of a spike; infinity for no limit.
    """

    population: str
    means: tuple[MeanCotangents, ...] = ()
    peak: NDArray[np.float64] | None = None
    spike_times: NDArray[np.float64] | None = None
    voltages: VoltageCotangents | None = None
    spike_time_gradient: NDArray[np.float64] | None = None
    input_times: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    rate_jumps: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    lambda_limit: float = np.inf

    @property
    def mean(self) -> MeanCotangents | None:
        """The only weighted mean: an engine receives at most one."""
        return self.means[0] if self.means else None

    def __add__(self, other: AdjointSources) -> AdjointSources:
        if not isinstance(other, AdjointSources):
            return NotImplemented
        if self.population != other.population:
            raise ValueError(
                f"one of two sources is of {self.population!r} and one of {other.population!r}: "
                "a readout is of one population"
            )
        return replace(
            self,
            means=_added_means(self.means, other.means),
            peak=_added(self.peak, other.peak),
            spike_times=_added_spike_times(self.spike_times, other.spike_times),
            voltages=added_voltages(self.voltages, other.voltages),
            spike_time_gradient=_added(self.spike_time_gradient, other.spike_time_gradient),
            input_times=_added_by_name(self.input_times, other.input_times),
            parameters=_added_by_name(self.parameters, other.parameters),
        )

    def check(self, batch_size: int, units: int, events: int) -> None:
        """Refuse arrays of other shapes, which NumPy would broadcast silently.

        ``units`` and ``events`` are the numbers of units and of spikes of the population.
        """
        batch = (batch_size, units)
        found: dict[str, tuple[Any, tuple[int, ...]]] = {
            "peak": (self.peak, batch),
            "spike_time_gradient": (self.spike_time_gradient, (events,)),
        }
        for mean in self.means:
            found[f"mean with the {mean.weighting}"] = mean.cotangents, batch
        if self.voltages is not None:
            found["voltages"] = self.voltages.cotangents, (len(self.voltages.times.times), units)
        if self.spike_times is not None:
            found["spike_times"] = self.spike_times, (*batch, np.shape(self.spike_times)[-1])
        for name, (array, shape) in found.items():
            if array is not None and np.shape(array) != shape:
                raise ValueError(
                    f"the cotangents of {name} have shape {np.shape(array)}: adjoint_sources must "
                    f"return them in shape {shape}"
                )


def _added(one: Any, other: Any) -> Any:
    if one is None or other is None:
        return other if one is None else one
    return one + other


def _added_by_name(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _added(one.get(name), other.get(name)) for name in (*one, *other)}


def _added_means(
    one: tuple[MeanCotangents, ...], other: tuple[MeanCotangents, ...]
) -> tuple[MeanCotangents, ...]:
    """Cotangents of the same weighting add up; means of different weightings stay apart."""
    by_weighting: dict[TrialWeighting, NDArray[np.float64]] = {}
    for weighting, cotangents in (*one, *other):
        by_weighting[weighting] = _added(by_weighting.get(weighting), cotangents)
    return tuple(MeanCotangents(*pair) for pair in by_weighting.items())


def _added_spike_times(
    one: NDArray[np.float64] | None, other: NDArray[np.float64] | None
) -> NDArray[np.float64] | None:
    """The sum of two arrays (batch, units, count); counts may differ."""
    if one is None or other is None:
        return other if one is None else one
    longer, shorter = (one, other) if one.shape[2] >= other.shape[2] else (other, one)
    total = longer.copy()
    total[:, :, : shorter.shape[2]] += shorter
    return total


def added_voltages(
    one: VoltageCotangents | None, other: VoltageCotangents | None
) -> VoltageCotangents | None:
    """Both together, in the order of sample and time; a time may occur twice."""
    if one is None or other is None:
        return other if one is None else one
    times = np.concatenate([one.times.times, other.times.times])
    samples = np.concatenate([one.times.samples, other.times.samples])
    order = np.argsort(times, kind="stable")
    order = order[np.argsort(samples[order], kind="stable")]
    merged = SampleTimes(times[order], one.times.offsets + other.times.offsets)
    return VoltageCotangents(merged, np.concatenate([one.cotangents, other.cotangents])[order])
