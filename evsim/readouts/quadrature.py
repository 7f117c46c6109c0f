"""Weighted means of V as sums over the nodes of a quadrature.

Engines compute means whose weighting has a closed form, one at a time.  Any other mean is a sum of
voltages at Gauss nodes between the events of each sample, with an error as small as rounding.

Paper: D is Mészáros, Knight, Nowotny (delay learning with EventProp).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from evsim.network.populations import LIF
from evsim.network.ragged_arrays import counted
from evsim.readouts.adjoint_sources import AdjointSources, VoltageCotangents
from evsim.readouts.base import ReadableRun
from evsim.readouts.panels import (
    Panels,
    graded_panels,
    offsets_of,
    shortest_time_constant,
    sum_by_sample,
)
from evsim.readouts.sample_times import SampleTimes

Weights = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""A weighting: w at times in ms, in their shape."""


def mean_by_quadrature(
    run: ReadableRun, population: str, weights_at: Weights, scale: float
) -> NDArray[np.float64]:
    """``(1/T) * integral of w(t) V(t) dt``, shape (batch, units).

    ``scale`` is a time in ms in which w changes little.
    """
    nodes, weights = _weighted_nodes(run, population, weights_at, scale)
    voltages, _ = run.states_at(population, nodes)
    return sum_by_sample(weights[:, None] * voltages, nodes.offsets)


def sources_by_quadrature(
    run: ReadableRun,
    population: str,
    weights_at: Weights,
    scale: float,
    cotangents: NDArray[np.float64],
) -> AdjointSources:
    """What enters the adjoint for cotangents, shape (batch, units), of that mean."""
    nodes, weights = _weighted_nodes(run, population, weights_at, scale)
    at_nodes = weights[:, None] * cotangents[nodes.samples]
    return AdjointSources(
        population,
        voltages=VoltageCotangents(nodes, at_nodes),
        spike_time_gradient=_reset_jumps(run, population, weights_at, cotangents),
    )


def _weighted_nodes(
    run: ReadableRun, population: str, weights_at: Weights, scale: float
) -> tuple[SampleTimes, NDArray[np.float64]]:
    """The Gauss nodes between events, and the weights whose sum with V is the mean.

    The scale is the shortest of the time constants and that of w.  Whatever changes faster than w
    does so after an event, so panels are that short only there.
    """
    shortest = min(shortest_time_constant(run.network, population), scale)
    panels = graded_panels(run.event_times(population), run.duration, 2 * shortest, 2 * scale)
    nodes, weights = gauss_nodes(panels, nodes_wanted(panels.lengths, shortest), run.batch_size)
    return nodes, weights * weights_at(nodes.times) / run.duration


def _reset_jumps(
    run: ReadableRun, name: str, weights_at: Weights, cotangents: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """l_V- - l_V+ of each spike, where V goes from the threshold to the reset (D Table 1)."""
    population = run.network.population(name)
    if not isinstance(population, LIF):
        return None
    spikes = run.spikes[name]
    fall = population.threshold - population.reset
    falls = np.broadcast_to(fall, population.units)[spikes.units]
    weight = weights_at(spikes.times) / run.duration
    jumps: NDArray[np.float64] = cotangents[spikes.samples, spikes.units] * weight * falls
    return jumps


def with_one_mean(run: ReadableRun, sources: AdjointSources) -> AdjointSources:
    """The same sources, with at most one weighted mean or peak; the others by quadrature."""
    first = 0 if sources.peak is not None else 1
    if len(sources.means) <= first:
        return sources
    reduced = replace(sources, means=sources.means[:first])
    for weighting, cotangents in sources.means[first:]:
        scale = run.duration / max(5.0, abs(weighting.rate))
        weights_at = weighting.form(run.duration).at
        reduced += sources_by_quadrature(run, sources.population, weights_at, scale, cotangents)
    return reduced


# -- Gauss nodes on panels ------------------------------------------------------------------


def nodes_wanted(lengths: NDArray[np.float64], scale: float) -> NDArray[np.int64]:
    """How many nodes make the error as small as rounding, on panels graded from 2 scales on.

    On a panel of length h, the error is at most h/2 64/15 M r^(-2n) / (1 - r^-2) with n nodes,
    where M bounds w V in the ellipse with foci at the panel's ends and r h/2 as the sum of its
    semi-axes (Trefethen, Approximation Theory and Approximation Practice, theorem 19.3).  w has its
    poles pi s from the real axis, s being the scale, so take the ellipse that reaches 5/2 s from
    it: then r >= 10 s/h, w < 1.7 and V, two exponentials, < 30 (|V| + |I|) at the panel's start.
    So ``n = 20.8 / log(10 s/h)``: 13 for h = 2 s, 4 for h = s/20.

    A longer panel is at least its own length away from the event before it, and the ellipse with
    r = 5 reaches back over less than that length.  There no exponential is larger than at the
    event, and w is as on the others, if h is at most 2/5 T: 13 nodes again.
    """
    ratio = np.maximum(10 * scale / lengths, 5.0)
    counts: NDArray[np.int64] = np.maximum(np.ceil(20.8 / np.log(ratio)), 2).astype(np.int64)
    return counts


def gauss_nodes(
    panels: Panels, node_counts: NDArray[np.int64], batch_size: int
) -> tuple[SampleTimes, NDArray[np.float64]]:
    """Gauss nodes of each panel and their weights in ms; ``node_counts`` has shape (panels,)."""
    nodes, weights = _gauss_rules(int(node_counts.max(initial=1)))
    panel, number = counted(node_counts)
    row = (node_counts * (node_counts - 1) // 2)[panel] + number
    times = panels.starts[panel] + panels.lengths[panel] * nodes[row]
    offsets = offsets_of(panels.samples[panel], batch_size)
    return SampleTimes(times, offsets), panels.lengths[panel] * weights[row]


@cache
def _gauss_rules(most: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes and weights on [0, 1] of the rules of 1, 2, ... nodes, one after the other."""
    rules = [np.polynomial.legendre.leggauss(n) for n in range(1, most + 1)]
    nodes, weights = (np.concatenate(part) for part in zip(*rules, strict=True))
    return (1.0 + nodes) / 2, weights / 2
