"""How the cotangents of a readout enter the adjoints of a grid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from evsim.engines.protocol import Adjustments
from evsim.network.populations import LIF
from evsim.readouts.readouts import FirstSpike, Mean, Peak, Readout, SpikeTimes, VoltageAt
from evsim_gpu.device import Drive
from evsim_gpu.readouts import mean_form, mean_time_constant_slopes, sample_weights

if TYPE_CHECKING:
    from evsim_gpu.state import GridState


def drive_of(
    state: GridState, readout: Readout, cotangents: np.ndarray, adjustments: Adjustments
) -> Drive:
    """Everything that drives the adjoints: a readout's cotangents and the adjustments."""
    layout = state.layout
    name = readout.population_of(layout.network)
    parts = _parts(state, name, readout, cotangents)
    if adjustments.spike_slopes is not None:
        parts["slopes"] = parts.get("slopes", 0.0) + adjustments.spike_slopes
    rate_jump = np.zeros(layout.units.size)
    for population, jumps in adjustments.rate_jumps.items():
        rate_jump[state.units(population)] = jumps
    nothing = np.empty((0, layout.network.population(name).units))
    whole: dict[str, Any] = {
        "moment_step": np.empty(0, np.int32),
        "moment_start": np.zeros(state.batch + 1, np.int64),
        **{key: parts.pop(key) for key in _WHOLE if key in parts},
    }
    reals = {
        "rate_jump": rate_jump,
        "moment_lambda_v": nothing,
        "moment_lambda_i": nothing,
        **parts,
    }
    for key, part in reals.items():
        whole[key] = np.ascontiguousarray(part, layout.precision)
    return Drive(population=name, limit=adjustments.lambda_limit, **whole)


_WHOLE = ("mean", "peak_step", "moment_step", "moment_start")  # what is no array of reals


def _parts(state: GridState, name: str, readout: Readout, cotangents: np.ndarray) -> dict[str, Any]:
    """What a readout fills of a ``Drive``."""
    if isinstance(readout, (FirstSpike, SpikeTimes)):
        by_number = cotangents.reshape(*cotangents.shape[:2], -1)
        return {
            "slopes": state.slopes_by_number(name, by_number),
            "phantom": state.phantom(name, by_number),
        }
    if isinstance(readout, Peak):
        return {"cotangents": cotangents, "peak_step": state.activity.peak(name)[1]}
    if isinstance(readout, VoltageAt):
        moments, states = readout.moments, state.states(name)
        weights = sample_weights(states, moments.samples, moments.times, sees_jumps=False)
        lambda_v, lambda_i = weights.adjoint_jumps(states, cotangents)
        return {
            "moment_step": weights.step,
            "moment_start": np.ascontiguousarray(moments.offsets),
            "moment_lambda_v": lambda_v,
            "moment_lambda_i": lambda_i,
        }
    if isinstance(readout, Mean):
        form = readout.form(state.layout.duration)
        parts: dict[str, Any] = {
            "cotangents": cotangents,
            "mean": mean_form(state.layout, name, form),
        }
        if state.is_lif(name):
            parts["slopes"] = _reset_slopes(state, name, readout, cotangents)
        return parts
    raise TypeError(f"the grid engine does not know the readout {readout}")


def _reset_slopes(state: GridState, name: str, readout: Mean, cotangents: np.ndarray) -> np.ndarray:
    """l_V- - l_V+ of dF/dV = w(t)/T at each spike: V is the threshold before it, 0 after it."""
    population = state.layout.network.population(name)
    assert isinstance(population, LIF)
    own, duration = state.emissions(name), state.layout.duration
    weight = readout.form(duration).at(state.points[own.step]) / duration
    threshold = np.broadcast_to(population.threshold, population.units)
    return cotangents[own.samples, own.unit] * weight * threshold[own.unit]


def direct_time_constant_slopes(
    state: GridState, readout: Readout, cotangents: np.ndarray
) -> np.ndarray:
    """By tau_mem and tau_syn, with V and I at the grid points as they are, (2, all units)."""
    slopes = np.zeros((2, state.layout.units.size))
    name = readout.population_of(state.layout.network)
    own = slopes[:, state.units(name)]
    if isinstance(readout, Mean):
        form = readout.form(state.layout.duration)
        own[:] = mean_time_constant_slopes(state.states(name), form, cotangents)
    elif isinstance(readout, VoltageAt):
        moments, states = readout.moments, state.states(name)
        weights = sample_weights(states, moments.samples, moments.times, sees_jumps=False)
        own[:] = weights.time_constant_slopes(states, cotangents)
    return slopes
