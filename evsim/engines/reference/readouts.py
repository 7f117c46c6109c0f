"""What is read from one simulated sample, each quantity next to its adjoint.

Papers: D is Mészáros, Knight, Nowotny (delay learning with EventProp); L is Nowotny, Turner,
Knight (loss shaping).
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from evsim.engines.reference.adjoint import Cotangents, Jump
from evsim.engines.reference.network import Arrival, Emission, Simulation
from evsim.engines.reference.neuron import Number, Segment, weighting_at
from evsim.readouts.adjoint_sources import AdjointSources
from evsim.readouts.sample_times import SampleTimes
from evsim.readouts.weightings import TrialWeighting


def add_sources(
    simulation: Simulation, units: range, sources: AdjointSources, entering: Cotangents
) -> None:
    """Add the contribution of a sample's part of the sources of some units to its adjoint."""
    sample = simulation.sample
    if sources.mean is not None:
        for unit, own in _converted(simulation, units, sources.mean.cotangents[sample]):
            if own:
                adjoint_mean(simulation, unit, sources.mean.weighting, own, entering)
    if sources.peak is not None:
        for unit, own in _converted(simulation, units, sources.peak[sample]):
            if own:
                adjoint_peak(simulation, unit, own, entering)
    if sources.spike_times is not None:
        convert = simulation.model.numbers.convert
        for unit, row in zip(units, sources.spike_times[sample].tolist(), strict=True):
            adjoint_spike_times(simulation, unit, [convert(c) for c in row], entering)
    if sources.voltages is not None:
        times, cotangents = sources.voltages
        begin, end = times.offsets[sample : sample + 2]
        of_times = times_of(simulation, times)
        for time, cotangent in zip(of_times, cotangents[begin:end], strict=True):
            for unit, own in _converted(simulation, units, cotangent):
                if own:
                    adjoint_voltage(simulation, unit, time, own, entering)


def _converted(
    simulation: Simulation, units: range, values: np.ndarray
) -> list[tuple[int, Number]]:
    """Each unit and its value, as a number of the engine."""
    convert = simulation.model.numbers.convert
    return list(zip(units, map(convert, values.tolist()), strict=True))


# -- mean ---------------------------------------------------------------------------------


def mean(simulation: Simulation, unit: int, weighting: TrialWeighting) -> Number:
    """(1/T) times the integral of w(t) V(t) dt (L 2, 5)."""
    neuron = simulation.model.neurons[unit]
    form = weighting.form(simulation.duration)
    history = simulation.history[unit]
    ends = _ends(simulation, unit)
    parts = (neuron.integral(s, end, form) for s, end in zip(history, ends, strict=True))
    return sum(parts) / simulation.duration


def _ends(simulation: Simulation, unit: int) -> list[Number]:
    """When each segment of a unit's history ends."""
    return [segment.time for segment in simulation.history[unit][1:]] + [simulation.duration]


def adjoint_mean(
    simulation: Simulation,
    unit: int,
    weighting: TrialWeighting,
    cotangent: Number,
    entering: Cotangents,
) -> None:
    """dF/dV = w(t)/T * dell/dz, and l_V- - l_V+ = (threshold - reset) dF/dV (D Table 1).

    In a refractory period, the readout depends on the reset.
    """
    model, neuron = simulation.model, simulation.model.neurons[unit]
    entering.forms[unit] = form = weighting.form(simulation.duration)
    entering.voltage_cotangents[unit] = of_voltage = cotangent / simulation.duration
    for emission in emissions_of(simulation, unit):
        weight = weighting_at(model.numbers, form, emission.time)
        jump = of_voltage * weight * (neuron.threshold - neuron.reset)
        entering.add_emission_slope(emission, jump)
    history = simulation.history[unit]
    for segment, end in zip(history, _ends(simulation, unit), strict=True):
        if segment.is_refractory:
            area = neuron.weighting_integral(form, segment.time, end)
            entering.resets[unit] += of_voltage * area


# -- voltages at given times --------------------------------------------------------------


def times_of(simulation: Simulation, sample_times: SampleTimes) -> list[Number]:
    """The sample's times; those with more digits than a float keep them."""
    times, offsets = sample_times
    own = times[offsets[simulation.sample] : offsets[simulation.sample + 1]]
    return [simulation.model.numbers.convert(time) for time in own.tolist()]


def adjoint_voltage(
    simulation: Simulation, unit: int, time: Number, cotangent: Number, entering: Cotangents
) -> None:
    """lambda_V jumps there by -(dell/dV)/tau_mem; if V is the reset, the reset gets dell/dV."""
    if simulation.is_reset(unit, time):
        entering.resets[unit] += cotangent
        return
    entering.jumps.append(Jump(time, unit, -cotangent / simulation.model.neurons[unit].tau_mem))


# -- peak ---------------------------------------------------------------------------------


class PeakAt(NamedTuple):
    """Where V is largest.

    ``arrival`` is the index, in the unit's history, of the arrival that ends the rise of V;
    None for a smooth maximum and for one at the start or the end of the trial.
    """

    voltage: Number
    time: Number
    arrival: int | None


def peak(simulation: Simulation, unit: int) -> PeakAt:
    """The largest V of the trial (L 29): the first if there are several."""
    neuron = simulation.model.neurons[unit]
    history = simulation.history[unit]
    best = PeakAt(history[0].voltage, history[0].time, None)
    end, current = neuron.flow(history[-1], simulation.duration)
    last = Segment(simulation.duration, end, current, is_refractory=False)
    for index, (segment, following) in enumerate(pairwise([*history, last])):
        arrival = index if index else None
        candidates = [PeakAt(segment.voltage, segment.time, arrival)]
        rise = neuron.time_to_maximum(segment.voltage, segment.current)
        if rise is not None and segment.time + rise < following.time:
            time = segment.time + rise
            candidates.append(PeakAt(neuron.flow(segment, time)[0], time, None))
        best = max([best, *candidates], key=lambda candidate: candidate.voltage)
    at_end = PeakAt(last.voltage, last.time, None)
    return max(best, at_end, key=lambda candidate: candidate.voltage)


def adjoint_peak(
    simulation: Simulation, unit: int, cotangent: Number, entering: Cotangents
) -> None:
    """lambda_V jumps at the peak by -(dell/dz)/tau_mem; at time 0, ``start`` gets dell/dz.

    If an arrival ends the rise of V, the peak is at the arrival and moves with it: dz/dt = V'(t-).
    Of the jump J, that arrival receives alpha J with alpha = V'(t-) / (V'(t-) - V'(t+)), which
    gives w alpha J = V'(t-) dell/dz; arrivals at the same instant share it in proportion to their
    weights, and all earlier events receive all of it.
    """
    neuron = simulation.model.neurons[unit]
    at = peak(simulation, unit)
    if at.time == 0:
        entering.starts[unit] += cotangent
        return
    jump = -cotangent / neuron.tau_mem
    entering.jumps.append(Jump(at.time, unit, jump))
    if at.arrival is None or at.time == simulation.duration:
        return
    before, after = simulation.history[unit][at.arrival - 1 : at.arrival + 1]
    slope_before = neuron.slope(*neuron.flow(before, at.time))
    slope_after = neuron.slope(after.voltage, after.current)
    if slope_before > 0 and slope_before > slope_after:  # else smooth, due to rounding
        arrivals = (e for e in simulation.events if isinstance(e, Arrival) and e.unit == unit)
        (arrival,) = (e for e in arrivals if e.time == at.time)
        entering.arrival_jumps[arrival] = jump * slope_before / (slope_before - slope_after)


# -- spike times --------------------------------------------------------------------------


def emissions_of(simulation: Simulation, unit: int) -> list[Emission]:
    """A unit's emissions in the order of time."""
    return [emission for emission in simulation.emissions if emission.unit == unit]


def spike_times(simulation: Simulation, unit: int, count: int) -> list[Number]:
    """Times of a unit's first emissions; infinity for those that are missing."""
    times = [emission.time for emission in emissions_of(simulation, unit)[:count]]
    return times + [float("inf")] * (count - len(times))


def adjoint_spike_times(
    simulation: Simulation, unit: int, cotangents: list[Number], entering: Cotangents
) -> None:
    """The loss's derivative enters S_k of each emission.

    If emissions are missing, there is a phantom spike at the end of the trial: lambda_V jumps there
    by the sum of their cotangents, as if tau_mem dV/dt were 1 (L section 4.1).
    """
    emissions = emissions_of(simulation, unit)[: len(cotangents)]
    for emission, cotangent in zip(emissions, cotangents, strict=False):
        entering.add_emission_slope(emission, cotangent)
    missing = sum(cotangents[len(emissions) :])
    if missing:
        entering.jumps.append(Jump(simulation.duration, unit, missing, phantom=True))
