"""The weighted mean of the voltage over the trial.

The papers: D is Mészáros, Knight and Nowotny (delay learning with EventProp), L is Nowotny,
Turner and Knight (loss shaping with EventProp).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from evsim.arguments.checks import check_choice
from evsim.arguments.keywords import helpful
from evsim.network.populations import LIF
from evsim.readouts.adjoint_sources import AdjointSources, MeanCotangents, VoltageCotangents
from evsim.readouts.base import ReadableRun, Readout
from evsim.readouts.panels import offsets_of, sum_by_sample
from evsim.readouts.quadrature import mean_by_quadrature, sources_by_quadrature
from evsim.readouts.sample_times import SampleTimes
from evsim.readouts.weightings import TrialWeighting, WeightingForm

Weighting = Literal["flat", "exponential", "linear", "sigmoid", "input"]

_CLOSED_FORMS = {
    "flat": TrialWeighting(),
    "exponential": TrialWeighting(rate=1.0),
    "linear": TrialWeighting(slope=-1.0),
}
"""The weightings whose integral between events has a closed form, which engines compute."""


@helpful
@dataclass(frozen=True)
class Mean(Readout):
    """Weighted mean of the voltage over the trial, ``(1/T) * integral of w(t) V(t) dt``.

    Both programs published with L average over T where the paper writes the plain integral.

    Parameters
    ----------
    weighting : str
        "flat", w = 1 (L 2); "exponential", w = exp(-t/T) (L 5); "linear", w = 1 - t/T;
        "sigmoid", w = 1/(1 + exp((t/T - 0.5)/0.2)); "input", the sample's own input spikes,
        ``w(t) = sum over k of delta(t - t_k)``, those of all inputs (L section 2.2).
    population : str, optional
        By default the output of the network, its last population.
    """

    weighting: Weighting = "flat"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self.weighting, "weighting", get_args(Weighting))

    @property
    def is_elementary(self) -> bool:
        """Whether the integral between events has a closed form, which engines compute."""
        return self.weighting in _CLOSED_FORMS

    def form(self, duration: float) -> WeightingForm:
        """The closed form of an elementary weighting for a trial of ``duration`` ms."""
        if not self.is_elementary:
            raise ValueError(f"the weighting {self.weighting!r} has no closed form")
        return _CLOSED_FORMS[self.weighting].form(duration)

    def read(self, run: ReadableRun) -> NDArray[np.float64]:
        name = self.population_of(run.network)
        if self.is_elementary:
            return run.weighted_mean(name, _CLOSED_FORMS[self.weighting])
        if self.weighting == "sigmoid":
            return mean_by_quadrature(run, name, *_sigmoid_of(run.duration))
        spikes = InputSpikes.of(run)
        voltages, _ = run.states_at(name, spikes.times)
        return sum_by_sample(spikes.weights[:, None] * voltages, spikes.times.offsets)

    def adjoint_sources(self, run: ReadableRun, cotangents: NDArray[np.float64]) -> AdjointSources:
        name = self.population_of(run.network)
        if self.is_elementary:
            mean = MeanCotangents(_CLOSED_FORMS[self.weighting], cotangents)
            return AdjointSources(name, means=(mean,))
        if self.weighting == "sigmoid":
            return sources_by_quadrature(run, name, *_sigmoid_of(run.duration), cotangents)
        spikes = InputSpikes.of(run)
        at_spikes = spikes.weights[:, None] * cotangents[spikes.times.samples]
        return AdjointSources(
            name,
            voltages=VoltageCotangents(spikes.times, at_spikes),
            input_times=spikes.time_gradient(run, name, cotangents),
        )


# -- the sigmoid weighting ----------------------------------------------------------------


def sigmoid(times: NDArray[np.float64], duration: float) -> NDArray[np.float64]:
    """The weighting ``w(t) = 1/(1 + exp((t/T - 0.5)/0.2))``."""
    weights: NDArray[np.float64] = 1.0 / (1.0 + np.exp((times / duration - 0.5) / 0.2))
    return weights


def _sigmoid_of(duration: float) -> tuple[Any, float]:
    """The weighting as a function of time, and a time in ms in which it changes little."""
    return lambda times: sigmoid(times, duration), duration / 5


# -- the weighting by input spikes ----------------------------------------------------------


@dataclass(frozen=True)
class InputSpikes:
    """The times within the trial at which any input spikes.

    ``weights``, shape (times,), are the numbers of spikes at each time, over T.  ``places`` has,
    for each input population, the place of each of its events among the times, shape (events,);
    -1 for one after the end of the trial.
    """

    times: SampleTimes
    weights: NDArray[np.float64]
    places: Mapping[str, NDArray[np.int64]]

    @classmethod
    def of(cls, run: ReadableRun) -> InputSpikes:
        """Those of a run, at the times at which the engine places the spikes.

        So V is read before the arrivals of a spike without delay, also on a time grid.
        """
        samples = np.concatenate([trains.samples for trains in run.inputs.values()])
        times = np.concatenate([trains.times for trains in run.inputs.values()])
        within = times <= run.duration
        times = run.placed(times)
        keys, inverse, counts = np.unique(
            _keys(samples[within], times[within]), return_inverse=True, return_counts=True
        )
        sample_times = SampleTimes(keys.imag.copy(), offsets_of(keys.real, run.batch_size))
        place = np.full(times.size, -1)
        place[within] = inverse
        ends = np.cumsum([trains.times.size for trains in run.inputs.values()])
        places = dict(zip(run.inputs, np.split(place, ends[:-1]), strict=True))
        return cls(sample_times, counts / run.duration, places)

    def time_gradient(
        self, run: ReadableRun, population: str, cotangents: NDArray[np.float64]
    ) -> dict[str, NDArray[np.float64]]:
        """The direct derivative with respect to each input time, (events,), by input population.

        An input spike moves the time at which V is read: ``cotangent/T * dV/dt`` over all units.
        """
        slopes = _voltage_slopes(run, population, self.times)
        gradient = (cotangents[self.times.samples] * slopes).sum(axis=1) / run.duration
        return {name: np.append(gradient, 0.0)[place] for name, place in self.places.items()}


def _voltage_slopes(run: ReadableRun, population: str, times: SampleTimes) -> NDArray[np.float64]:
    """dV/dt before arrivals at the times, shape (times, units)."""
    units: Any = run.network.population(population)
    voltages, currents = run.states_at(population, times)
    slopes: NDArray[np.float64] = (currents - (voltages - units.rest)) / units.tau_mem
    if isinstance(units, LIF) and np.any(units.refractory > 0):
        slopes[_is_refractory(run, units, times)] = 0.0
    return slopes


def _is_refractory(run: ReadableRun, population: LIF, times: SampleTimes) -> NDArray[np.bool_]:
    """Whether a unit is in its refractory period, shape (times, units)."""
    spikes = run.spikes[population.name]
    refractory = np.broadcast_to(population.refractory, population.units)[spikes.units]
    release = spikes.times + run.placed(refractory)
    release = run.placed(release)  # to the bit, where the times are placed too
    keys = _keys(times.samples, times.times)
    first = np.searchsorted(keys, _keys(spikes.samples, spikes.times))
    after = np.searchsorted(keys, _keys(spikes.samples, release))
    changes = np.zeros((times.times.size + 1, population.units), np.int64)
    np.add.at(changes, (first, spikes.units), 1)
    np.add.at(changes, (after, spikes.units), -1)
    inside: NDArray[np.bool_] = np.cumsum(changes[:-1], axis=0) > 0
    return inside


def _keys(samples: NDArray[np.int64], times: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Numbers in the order of sample, then time: complex ones, which NumPy sorts in that order."""
    keys = np.empty(samples.size, np.complex128)
    keys.real, keys.imag = samples, times
    return keys
