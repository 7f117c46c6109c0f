"""Readouts that are made of voltages at moments: which moments, and with what weights.

An engine knows elementary readouts only.  The mean voltage with a sigmoid weighting is a sum
over the nodes of a quadrature, that weighted by input spikes a sum over those spikes, and the
voltage at given times is itself; each is linear in V at its moments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from evsim.engines.protocol import Adjoint, Adjustments
from evsim.network.populations import LIF
from evsim.network.ragged_arrays import counted
from evsim.readouts.integration import (
    Panels,
    graded_panels,
    offsets_of,
    shortest_time_constant,
    sum_by_sample,
)
from evsim.readouts.readouts import (
    Mean,
    Moments,
    Readout,
    Voltage,
    VoltageAt,
    check_moments,
    is_elementary,
)

if TYPE_CHECKING:
    from evsim.simulation.run import Run


def read(run: Run, readout: Readout) -> np.ndarray:
    """The values of any readout, in the shape the readout states."""
    check_times(readout, run.duration, run.batch_size)
    if is_elementary(readout):
        return run.engine.read(run.state, readout)
    if isinstance(readout, Voltage):
        return _read_voltages(run, readout)
    if isinstance(readout, Mean):
        return _read_mean(run, readout)
    raise _unknown(readout)


def pull_back(
    run: Run,
    readout: Readout,
    cotangents: np.ndarray,
    wrt: Sequence[str],
    adjustments: Adjustments,
) -> Adjoint:
    """Gradients of ``sum(cotangents * readout)`` for any readout, see ``Engine.pull_back``."""
    check_times(readout, run.duration, run.batch_size)
    if is_elementary(readout):
        return run.engine.pull_back(run.state, readout, cotangents, wrt, adjustments)
    if isinstance(readout, Voltage):
        return _pull_back_voltages(run, readout, cotangents, wrt, adjustments)
    if isinstance(readout, Mean):
        return _pull_back_mean(run, readout, cotangents, wrt, adjustments)
    raise _unknown(readout)


def check_times(readout: Readout, duration: float, batch_size: int | None = None) -> None:
    """Refuse a readout of voltages outside the trial; or that of a batch of another size."""
    if isinstance(readout, VoltageAt) and batch_size is not None:
        check_moments(readout.moments, batch_size, duration)
    if isinstance(readout, Voltage) and np.max(readout.times) > duration:
        index = int(np.argmax(np.asarray(readout.times) > duration))
        raise ValueError(
            f"times[{index}] = {readout.times[index]} ms: the voltage is known within the trial, "
            f"0 to {duration:g} ms"
        )


def _unknown(readout: Readout) -> TypeError:
    return TypeError(f"{readout} is not one of evsim.readouts, and there is no way to compute it")


# -- voltages at given times --------------------------------------------------------------


def _read_voltages(run: Run, readout: Voltage) -> np.ndarray:
    times, inverse = np.unique(readout.times, return_inverse=True)
    moments = _same_times(run, times)
    voltages, _ = run.probe(readout.population_of(run.network), moments)
    return voltages.reshape(-1, times.size, voltages.shape[1])[:, inverse].transpose(0, 2, 1)


def _pull_back_voltages(
    run: Run,
    readout: Voltage,
    cotangents: np.ndarray,
    wrt: Sequence[str],
    adjustments: Adjustments,
) -> Adjoint:
    times, inverse = np.unique(readout.times, return_inverse=True)
    moments = _same_times(run, times)
    # One row per time; the cotangents of a time that is asked for twice add up.
    rows = np.zeros((times.size, *cotangents.shape[:2]))
    np.add.at(rows, inverse, np.moveaxis(cotangents, 2, 0))
    at_moments = np.moveaxis(rows, 0, 1).reshape(moments.times.size, cotangents.shape[1])
    return _pull_back_at(run, readout, moments, at_moments, wrt, adjustments)


def _same_times(run: Run, times: np.ndarray) -> Moments:
    batch_size = run.batch_size
    return Moments(np.tile(times, batch_size), times.size * np.arange(batch_size + 1))


# -- weighted means -----------------------------------------------------------------------


def _read_mean(run: Run, readout: Mean) -> np.ndarray:
    moments, weights = _weighted_moments(run, readout)
    voltages, _ = run.probe(readout.population_of(run.network), moments)
    return sum_by_sample(weights[:, None] * voltages, moments.offsets)


def _weighted_moments(run: Run, readout: Mean) -> tuple[Moments, np.ndarray]:
    """The moments whose voltages, times these weights, add up to the mean."""
    if readout.weighting == "input":
        moments, counts, _ = _input_moments(run)
        return moments, counts / run.duration
    return _quadrature(run, readout.population_of(run.network))


def _pull_back_mean(
    run: Run, readout: Mean, cotangents: np.ndarray, wrt: Sequence[str], adjustments: Adjustments
) -> Adjoint:
    moments, weights = _weighted_moments(run, readout)
    at_moments = weights[:, None] * cotangents[moments.samples]
    if readout.weighting == "sigmoid":
        adjustments = _with_reset_slopes(run, readout, cotangents, adjustments)
    adjoint = _pull_back_at(run, readout, moments, at_moments, wrt, adjustments)
    if readout.weighting == "input":
        adjoint = _with_moment_slopes(run, readout, cotangents, adjoint)
    return adjoint


def _pull_back_at(
    run: Run,
    readout: Readout,
    moments: Moments,
    cotangents: np.ndarray,
    wrt: Sequence[str],
    adjustments: Adjustments,
) -> Adjoint:
    at = VoltageAt(moments, population=readout.population_of(run.network))
    return run.engine.pull_back(run.state, at, cotangents, wrt, adjustments)


# The sigmoid weighting: an integral.


def sigmoid(times: np.ndarray, duration: float) -> np.ndarray:
    """The weighting ``w(t) = 1/(1 + exp((t/T - 0.5)/0.2))``."""
    return 1.0 / (1.0 + np.exp((times / duration - 0.5) / 0.2))


def _quadrature(run: Run, population: str) -> tuple[Moments, np.ndarray]:
    """(1/T) times the integral of w(t) V(t) dt as a sum over Gauss nodes between the kinks.

    The scale is the shortest of the time constants and T/5, which is that of w.  What changes
    faster than w does so after a kink, so that only there panels are as short as its scale.
    """
    slow = run.duration / 5
    scale = min(shortest_time_constant(run.network, population), slow)
    panels = graded_panels(run.kinks(population), run.duration, 2 * scale, 2 * slow)
    node_counts = nodes_wanted(panels.lengths, scale)
    moments, weights = gauss_moments(panels, node_counts, run.batch_size)
    return moments, weights * sigmoid(moments.times, run.duration) / run.duration


def nodes_wanted(lengths: np.ndarray, scale: float) -> np.ndarray:
    """How many nodes make the error a rounding of V and I on panels, graded from 2 scales on.

    On a panel of length h it is at most h/2 64/15 M r^(-2n) / (1 - r^-2) with n nodes, where M
    bounds w V in the ellipse with foci at the panel's ends and r h/2 as the sum of its
    semi-axes (Trefethen, Approximation Theory and Approximation Practice, theorem 19.3).  w
    has its poles pi s from the real axis, s being the scale, so take the ellipse that reaches
    5/2 s from it: then r >= 10 s/h, w < 1.7 and V, two exponentials, < 30 (|V| + |I|) at the
    panel's start.  So ``n = 20.8 / log(10 s/h)``: 13 for h = 2 s, 4 for h = s/20.

    A longer panel is at least its own length away from the kink before it, and the ellipse with
    r = 5 reaches back over less than that length.  There no exponential is larger than at the
    kink, and w is as on the others, if h is at most 2/5 T: 13 nodes again.
    """
    ratio = np.maximum(10 * scale / lengths, 5.0)
    return np.maximum(np.ceil(20.8 / np.log(ratio)), 2).astype(np.int64)


def gauss_moments(
    panels: Panels, node_counts: np.ndarray, batch_size: int
) -> tuple[Moments, np.ndarray]:
    """Gauss nodes of each panel and their weights in ms; ``node_counts`` has shape (panels,)."""
    nodes, weights = _gauss_rules(int(node_counts.max(initial=1)))
    panel, number = counted(node_counts)
    row = (node_counts * (node_counts - 1) // 2)[panel] + number
    times = panels.starts[panel] + panels.lengths[panel] * nodes[row]
    offsets = offsets_of(panels.samples[panel], batch_size)
    return Moments(times, offsets), panels.lengths[panel] * weights[row]


@cache
def _gauss_rules(most: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on [0, 1] of the rules of 1, 2, ... nodes, one after the other."""
    rules = [np.polynomial.legendre.leggauss(n) for n in range(1, most + 1)]
    nodes, weights = (np.concatenate(part) for part in zip(*rules, strict=True))
    return (1.0 + nodes) / 2, weights / 2


def _with_reset_slopes(
    run: Run, readout: Mean, cotangents: np.ndarray, adjustments: Adjustments
) -> Adjustments:
    """Adds l_V- - l_V+ of each spike that resets V: V goes from the threshold to 0 there."""
    name = readout.population_of(run.network)
    population = run.network.population(name)
    if not isinstance(population, LIF):
        return adjustments
    spikes = run.spikes[name]
    threshold = np.broadcast_to(population.threshold, population.units)[spikes.units]
    weight = sigmoid(spikes.times, run.duration) / run.duration
    slopes = cotangents[spikes.samples, spikes.units] * weight * threshold
    return with_spike_slopes(adjustments, slopes)


def with_spike_slopes(adjustments: Adjustments, slopes: np.ndarray) -> Adjustments:
    """The same adjustments with more derivatives by spike times, shape (events,)."""
    own = adjustments.spike_slopes
    return replace(adjustments, spike_slopes=slopes if own is None else own + slopes)


# The weighting by input spikes: their times are the moments.


def _input_moments(run: Run) -> tuple[Moments, np.ndarray, dict[str, np.ndarray]]:
    """The times within the trial at which any input spikes, and how many spikes there are.

    The last are, for each input, the moment of each of its events (events,); -1 for one after
    the end of the trial.  The times are those at which the engine lets the spikes happen, so
    that V is read before the arrivals that a spike makes without delay, on a time grid too.
    """
    samples = np.concatenate([trains.samples for trains in run.inputs.values()])
    times = np.concatenate([trains.times for trains in run.inputs.values()])
    within = times <= run.duration
    times = run.engine.placed(times, run.duration)
    keys, inverse, counts = np.unique(
        _keys(samples[within], times[within]), return_inverse=True, return_counts=True
    )
    moments = Moments(keys.imag.copy(), offsets_of(keys.real, run.batch_size))
    moment_of = np.full(times.size, -1)
    moment_of[within] = inverse
    ends = np.cumsum([trains.times.size for trains in run.inputs.values()])
    return moments, counts, dict(zip(run.inputs, np.split(moment_of, ends[:-1]), strict=True))


def _with_moment_slopes(
    run: Run, readout: Mean, cotangents: np.ndarray, adjoint: Adjoint
) -> Adjoint:
    """Adds what an input time does as a moment: ``cotangent/T * dV/dt`` there, over all units."""
    moments, _, moment_of = _input_moments(run)
    slopes = _voltage_slopes(run, readout.population_of(run.network), moments)
    by_moment = (cotangents[moments.samples] * slopes).sum(axis=1) / run.duration
    by_event = {name: np.append(by_moment, 0.0)[index] for name, index in moment_of.items()}
    added = {name: times + by_event[name] for name, times in adjoint.input_times.items()}
    return replace(adjoint, input_times=added)


def _voltage_slopes(run: Run, population: str, moments: Moments) -> np.ndarray:
    """dV/dt at moments, before arrivals there, shape (moments, units)."""
    units = run.network.population(population)
    voltages, currents = run.probe(population, moments)
    slopes = (currents - voltages) / units.tau_mem  # type: ignore[attr-defined]
    if isinstance(units, LIF) and np.any(units.refractory > 0):
        slopes[_held(run, units, moments)] = 0.0
    return slopes


def _held(run: Run, population: LIF, moments: Moments) -> np.ndarray:
    """Whether a unit is in its refractory window, shape (moments, units)."""
    spikes = run.spikes[population.name]
    refractory = np.broadcast_to(population.refractory, population.units)[spikes.units]
    release = spikes.times + run.engine.placed(refractory, run.duration)
    release = run.engine.placed(release, run.duration)  # to the bit, where moments are too
    keys = _keys(moments.samples, moments.times)
    first = np.searchsorted(keys, _keys(spikes.samples, spikes.times))
    after = np.searchsorted(keys, _keys(spikes.samples, release))
    changes = np.zeros((moments.times.size + 1, population.units), np.int64)
    np.add.at(changes, (first, spikes.units), 1)
    np.add.at(changes, (after, spikes.units), -1)
    return np.cumsum(changes[:-1], axis=0) > 0


def _keys(samples: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Numbers in the order of sample, then time: complex ones, which NumPy sorts in that order."""
    keys = np.empty(samples.size, np.complex128)
    keys.real, keys.imag = samples, times
    return keys
