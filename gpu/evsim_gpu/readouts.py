"""Readouts of voltages on a grid: their weights on V and I at the grid points, and the adjoints.

Between grid points V follows the closed form.  Therefore a mean is a sum over steps with the exact
integral over each, and the grid point before any moment determines the voltage then.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from evsim.display.short_repr import Brief
from evsim.equations import lif
from evsim.readouts.weightings import WeightingForm
from evsim_gpu.device import Emissions, MeanForm
from evsim_gpu.model.layout import GridLayout
from evsim_gpu.model.time_grid import grid_points, steps_before
from evsim_gpu.sampled_states import States

# -- means --------------------------------------------------------------------------------


def mean_form(layout: GridLayout, name: str, form: WeightingForm) -> MeanForm:
    """A weighting as weights of every step, and of V and I within it."""
    taus = tuple(_time_constants(layout, name))
    precision = np.dtype(layout.precision)
    return _mean_form(layout.duration, layout.dt, layout.steps, precision, form, taus)


@lru_cache(maxsize=16)
def _mean_form(
    duration: float,
    dt: float,
    steps: int,
    precision: np.dtype[np.floating],
    form: WeightingForm,
    taus: tuple[tuple[float, float], ...],
) -> MeanForm:
    """See ``mean_form``; ``taus`` are the time constants of each unit.  Do not write to it."""
    f, g = _step_weights(duration, dt, steps, form)
    flat = np.array([lif.integral_slopes(0.0, dt, form.rate, 0.0, *pair) for pair in taus])
    rising = np.array([lif.integral_slopes(0.0, dt, form.rate, 1.0, *pair) for pair in taus])
    parts = f, g, *(np.stack([flat[:, i], rising[:, i] - flat[:, i]]) for i in (0, 1))
    return MeanForm(*(np.ascontiguousarray(part, precision) for part in parts))


def held_weights(
    layout: GridLayout, units: slice, form: WeightingForm, emissions: Emissions
) -> np.ndarray:
    """``(1/T) * integral of w(t) dt`` over the refractory periods of LIF units, (batch, units).

    Multiplied by the reset, it is the contribution of V there to a weighted mean, which
    ``mean_form`` leaves out.  ``units`` are those of the population among the units of all.
    """
    steps = layout.steps
    per_step = [lif.weighting_integral(0.0, layout.dt, form.rate, slope) for slope in (0.0, 1.0)]
    f, g = _step_weights(layout.duration, layout.dt, steps, form)
    up_to = np.zeros(steps + 1)
    np.cumsum(f * per_step[0] + g * (per_step[1] - per_step[0]), out=up_to[1:])
    refractory = layout.units["refractory"][units].astype(np.int64)
    end = np.minimum(emissions.step + refractory[emissions.unit], steps)
    held = np.zeros((emissions.offsets.size - 1, refractory.size))
    np.add.at(held, (emissions.samples, emissions.unit), up_to[end] - up_to[emissions.step])
    return held


def _step_weights(
    duration: float, dt: float, steps: int, form: WeightingForm
) -> tuple[np.ndarray, np.ndarray]:
    """The weights f and g of every step, including the factor 1/T, float64."""
    starts = np.arange(steps) * dt
    decay = np.exp(-form.rate * starts) / duration
    return (1.0 + form.slope * starts) * decay, form.slope * decay


def _time_constants(layout: GridLayout, name: str) -> list[tuple[float, float]]:
    population = layout.network.population(name)
    pairs = (population.tau_mem, population.tau_syn)  # type: ignore[attr-defined]
    taus = (np.broadcast_to(tau, population.units).tolist() for tau in pairs)
    return list(zip(*taus, strict=True))


def mean_time_constant_slopes(
    states: States, form: WeightingForm, cotangents: np.ndarray
) -> np.ndarray:
    """Derivatives by tau_mem and tau_syn of the weights themselves, (2, batch, units).

    That is, of ``cotangents * mean`` with V and I at the grid points held fixed.
    """
    layout = states.layout
    f, g = _step_weights(layout.duration, layout.dt, layout.steps, form)
    moving = ~states.held[:, :-1]
    # Sums over the steps of f V, g V, f I and g I of each sample, (batch, units).
    f_v, g_v, f_i, g_i = (
        cotangents * (weights[:, None] * (values[:, :-1] * moving)).sum(axis=1)
        for values in (states.voltage, states.current)
        for weights in (f, g)
    )
    slopes = np.empty((2, *cotangents.shape))
    for unit, pair in enumerate(zip(states.tau_mem, states.tau_syn, strict=True)):
        flat, rising = (
            np.array(lif.integral_slopes_by_time_constants(0.0, layout.dt, form.rate, s, *pair))
            for s in (0.0, 1.0)
        )
        rising -= flat
        of_v = f_v[:, unit], g_v[:, unit]
        of_i = f_i[:, unit], g_i[:, unit]
        slopes[0, :, unit] = flat[0] * of_v[0] + rising[0] * of_v[1]
        slopes[0, :, unit] += flat[1] * of_i[0] + rising[1] * of_i[1]
        slopes[1, :, unit] = flat[2] * of_i[0] + rising[2] * of_i[1]
    return slopes


# -- voltages at moments ------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class SampleWeights(Brief):
    """V and I at moments as sums of V and I at the grid point before each.

    ``sample`` and ``step`` (moments,) say which grid point, ``after`` (moments,) how many ms
    before the moment; the weights have shape (moments, units).  ``still`` marks units whose V
    is the reset at the moment, whatever it was before; ``at_start`` (moments,) marks moments at
    the start of the trial, before arrivals.
    """

    sample: np.ndarray
    step: np.ndarray
    after: np.ndarray
    still: np.ndarray
    at_start: np.ndarray
    decay_mem: np.ndarray
    rise: np.ndarray
    decay_syn: np.ndarray

    def values(self, states: States) -> tuple[np.ndarray, np.ndarray]:
        """V and I, each (moments, units), float64."""
        voltage = states.voltage[self.sample, self.step].astype(np.float64)
        current = states.current[self.sample, self.step].astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):  # the engine checks for overflow
            moved = self.decay_mem * voltage + self.rise * current
            v = np.where(self.still, states.reset, moved)
            return v, self.decay_syn * current

    def adjoint_jumps(
        self, states: States, cotangents: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """How much smaller lambda_V and lambda_I are at the grid points, each (moments, units)."""
        moving = np.where(self.still | self.at_start[:, None], 0.0, cotangents)
        return moving * self.decay_mem / states.tau_mem, moving * self.rise / states.tau_syn

    def voltage_gradients(self, cotangents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Derivatives of ``cotangents * V`` with respect to the reset and start of each unit.

        These are the direct ones, where V is the reset or the start; each (moments, units).
        """
        at_start = self.at_start[:, None]
        return np.where(self.still, cotangents, 0.0), np.where(at_start, cotangents, 0.0)

    def time_constant_slopes(self, states: States, cotangents: np.ndarray) -> np.ndarray:
        """Derivatives of each sample's ``sum(cotangents * V)`` by tau_mem and tau_syn.

        V and I at the grid points are held fixed; the shape is (2, batch, units).
        """
        slopes = np.zeros((2, states.voltage.shape[0], cotangents.shape[1]))
        voltage = states.voltage[self.sample, self.step]
        current = states.current[self.sample, self.step]
        for moment, unit in np.argwhere(~self.still & (cotangents != 0)):
            by_mem, by_syn, _ = lif.flow_by_time_constants(
                float(voltage[moment, unit]), float(current[moment, unit]),
                float(self.after[moment]), float(states.tau_mem[unit]),
                float(states.tau_syn[unit]),
            )  # fmt: skip
            sample = self.sample[moment]
            slopes[:, sample, unit] += cotangents[moment, unit] * np.array([by_mem, by_syn])
        return slopes


def sample_weights(
    states: States, samples: np.ndarray, times: np.ndarray, *, sees_jumps: bool
) -> SampleWeights:
    """The weights of V and I at moments, (moments,) each of samples and times in ms.

    At a grid point V is taken after an emission; I is taken after arrivals if ``sees_jumps``, else
    before them.
    """
    dt, duration, steps = states.layout.dt, states.layout.duration, states.layout.steps
    step, on_grid = steps_before(times, duration, steps)
    after = np.where(on_grid, 0.0, times - grid_points(duration, steps)[step])[:, None]
    still = states.held[samples, step]
    at_start = on_grid & (step == 0) & (not sees_jumps)
    if not sees_jumps:
        # From the point before, over a whole step; before the first one I is 0.
        back = on_grid & (step > 0)
        still = np.where(back[:, None], states.emitted[samples, step], still)
        step = step - back
        still |= (back[:, None]) & states.held[samples, step]
        after = np.where(back[:, None], dt, after)
    decay_mem, decay_syn = np.exp(-after / states.tau_mem), np.exp(-after / states.tau_syn)
    difference = np.abs(states.tau_mem - states.tau_syn) / states.tau_mem / states.tau_syn
    x = -after * difference
    ratio = np.divide(np.expm1(x), x, out=np.ones_like(x), where=x != 0)
    rise = after * np.maximum(decay_mem, decay_syn) * ratio / states.tau_mem
    if not sees_jumps:
        decay_syn = np.where(at_start[:, None], 0.0, decay_syn)
    return SampleWeights(
        samples, step.astype(np.int32), after[:, 0], still, at_start, decay_mem, rise, decay_syn
    )
