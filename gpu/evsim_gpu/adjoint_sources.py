"""How the sources of a readout enter the adjoints of a grid.

The papers: D is Mészáros, Knight and Nowotny (delay learning with EventProp).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from evsim.network.populations import LIF
from evsim.readouts.adjoint_sources import AdjointSources, MeanCotangents, VoltageCotangents
from evsim.readouts.panels import sum_by_sample
from evsim_gpu.device import GridSources
from evsim_gpu.readouts import mean_form, mean_time_constant_slopes, sample_weights

if TYPE_CHECKING:
    from evsim_gpu.state import GridState


def grid_sources(state: GridState, sources: AdjointSources) -> GridSources:
    """Everything that enters the adjoints, in the form that a device takes."""
    layout, name = state.layout, sources.population
    slopes: list[np.ndarray] = []
    parts: dict[str, Any] = {
        "moment_step": np.empty(0, np.int32),
        "moment_start": np.zeros(state.batch + 1, np.int64),
    }
    units = layout.network.population(name).units
    nothing = np.empty((0, units))
    of_reset, of_start = np.zeros((2, state.batch, units))
    reals: dict[str, np.ndarray] = {
        "rate_jump": np.zeros(layout.units.size),
        "moment_lambda_v": nothing,
        "moment_lambda_i": nothing,
    }
    for population, jumps in sources.rate_jumps.items():
        reals["rate_jump"][state.units(population)] = jumps
    if sources.spike_times is not None:
        slopes.append(state.slopes_by_number(name, sources.spike_times))
        reals["phantom"] = state.phantom(name, sources.spike_times)
    if sources.peak is not None:
        _, parts["peak_step"], reals["peak_share"] = state.activity.peak(name)
        reals["cotangents"] = sources.peak
        of_start += np.where(parts["peak_step"] == 0, sources.peak, 0.0)
    elif sources.mean is not None:
        form = sources.mean.weighting.form(state.duration)
        reals["cotangents"], parts["mean"] = sources.mean.cotangents, mean_form(layout, name, form)
        if state.is_lif(name):
            slopes.append(_reset_slopes(state, name, sources.mean))
            held = state.held_weights(name, form)
            of_reset += sources.mean.cotangents * held
    if sources.voltages is not None:
        times, states = sources.voltages.times, state.states(name)
        weights = sample_weights(states, times.samples, times.times, sees_jumps=False)
        jumps_v, jumps_i = weights.adjoint_jumps(states, sources.voltages.cotangents)
        parts["moment_step"] = weights.step
        parts["moment_start"] = np.ascontiguousarray(times.offsets)
        reals["moment_lambda_v"], reals["moment_lambda_i"] = jumps_v, jumps_i
        directly = weights.voltage_gradients(sources.voltages.cotangents)
        of_reset += sum_by_sample(directly[0], times.offsets)
        of_start += sum_by_sample(directly[1], times.offsets)
    if sources.spike_time_gradient is not None:
        slopes.append(sources.spike_time_gradient)
    if slopes:
        reals["slopes"] = sum(slopes[1:], slopes[0])
    for key, part in reals.items():
        parts[key] = np.ascontiguousarray(part, layout.precision)
    return GridSources(
        population=name, limit=sources.lambda_limit, reset_gradient=of_reset,
        start_gradient=of_start, **parts,
    )  # fmt: skip


def _reset_slopes(state: GridState, name: str, mean: MeanCotangents) -> np.ndarray:
    """l_V- - l_V+ of dF/dV = w(t)/T at each spike: V is the threshold before and reset after it."""
    population = state.layout.network.population(name)
    assert isinstance(population, LIF)
    own, duration = state.emissions(name), state.duration
    weight = mean.weighting.form(duration).at(state.points[own.step]) / duration
    fall = np.broadcast_to(population.threshold - population.reset, population.units)
    jumps: np.ndarray = mean.cotangents[own.samples, own.unit] * weight * fall[own.unit]
    return jumps


def direct_time_constant_slopes(state: GridState, sources: AdjointSources) -> dict[str, np.ndarray]:
    """The derivatives of the readout with V and I at the grid points held fixed.

    They are with respect to tau_mem and tau_syn of the units that are read, each (batch, units).
    """
    units = state.layout.network.population(sources.population).units
    slopes = np.zeros((2, state.batch, units))
    if sources.mean is not None:
        slopes += _of_mean(state, sources.population, sources.mean)
    if sources.voltages is not None:
        slopes += _of_voltages(state, sources.population, sources.voltages)
    return {"tau_mem": slopes[0], "tau_syn": slopes[1]}


def _of_mean(state: GridState, name: str, mean: MeanCotangents) -> np.ndarray:
    form = mean.weighting.form(state.duration)
    return mean_time_constant_slopes(state.states(name), form, mean.cotangents)


def _of_voltages(state: GridState, name: str, voltages: VoltageCotangents) -> np.ndarray:
    times, states = voltages.times, state.states(name)
    weights = sample_weights(states, times.samples, times.times, sees_jumps=False)
    return weights.time_constant_slopes(states, voltages.cotangents)
