"""Readouts of one simulated sample, each beside what it brings into the adjoint.

Paper: L is Nowotny, Turner, Knight (loss shaping).
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from evsim.engines.reference.adjoint import Cotangents, Jump
from evsim.engines.reference.network import Arrival, Emission, Simulation
from evsim.engines.reference.neuron import Number, Segment, weighting_at
from evsim.readouts.readouts import FirstSpike, Mean, Peak, Readout, SpikeTimes, VoltageAt


def rows_of(readout: Readout, values: np.ndarray, sample: int) -> np.ndarray:
    """One sample's part of an array in the readout's shape, as a view."""
    if isinstance(readout, VoltageAt):
        offsets = readout.moments.offsets
        return values[offsets[sample] : offsets[sample + 1]]
    return values[sample]


def read(simulation: Simulation, units: range, readout: Readout, values: np.ndarray) -> None:
    """Write a sample's part of the readout's values."""
    if isinstance(readout, VoltageAt):
        for row, time in zip(values, moments_of(simulation, readout), strict=True):
            row[:] = [simulation.probe(unit, time)[0] for unit in units]
        return
    for k, unit in enumerate(units):
        if isinstance(readout, Mean):
            values[k] = mean(simulation, unit, readout)
        elif isinstance(readout, Peak):
            values[k] = peak(simulation, unit).voltage
        elif isinstance(readout, FirstSpike):
            values[k] = spike_times(simulation, unit, 1)[0]
        elif isinstance(readout, SpikeTimes):
            values[k] = spike_times(simulation, unit, readout.count)
        else:
            raise NotImplementedError(f"the engine Reference cannot read {readout}")


def pull_back(
    simulation: Simulation,
    units: range,
    readout: Readout,
    cotangents: np.ndarray,
    entering: Cotangents,
) -> None:
    """Add what a sample's part of the cotangents brings into its adjoint."""
    convert = simulation.model.numbers.convert
    if isinstance(readout, VoltageAt):
        for row, time in zip(cotangents.tolist(), moments_of(simulation, readout), strict=True):
            for unit, cotangent in zip(units, row, strict=True):
                if cotangent:
                    adjoint_voltage(simulation, unit, time, convert(cotangent), entering)
        return
    for unit, own in zip(units, cotangents.tolist(), strict=True):
        if isinstance(readout, SpikeTimes):
            adjoint_spike_times(simulation, unit, [convert(c) for c in own], entering)
        elif not own:
            continue
        elif isinstance(readout, Mean):
            adjoint_mean(simulation, unit, readout, convert(own), entering)
        elif isinstance(readout, Peak):
            adjoint_peak(simulation, unit, convert(own), entering)
        elif isinstance(readout, FirstSpike):
            adjoint_spike_times(simulation, unit, [convert(own)], entering)
        else:
            raise NotImplementedError(f"the engine Reference cannot pull back {readout}")


# -- mean ---------------------------------------------------------------------------------


def mean(simulation: Simulation, unit: int, readout: Mean) -> Number:
    """(1/T) times the integral of w(t) V(t) dt (L 2, 5)."""
    neuron = simulation.model.neurons[unit]
    form = readout.form(simulation.duration)
    history = simulation.history[unit]
    ends = [segment.time for segment in history[1:]] + [simulation.duration]
    parts = (neuron.integral(s, end, form) for s, end in zip(history, ends, strict=True))
    return sum(parts) / simulation.duration


def adjoint_mean(
    simulation: Simulation, unit: int, readout: Mean, cotangent: Number, entering: Cotangents
) -> None:
    """dF/dV = w(t)/T * dell/dz, and l_V- - l_V+ = w(t)/T * dell/dz * threshold at a reset."""
    model = simulation.model
    entering.form = readout.form(simulation.duration)
    entering.drive[unit] = drive = cotangent / simulation.duration
    for emission in emissions_of(simulation, unit):
        weight = weighting_at(model.numbers, entering.form, emission.time)
        entering.add_emission_slope(emission, drive * weight * model.neurons[unit].threshold)


# -- voltages at moments ------------------------------------------------------------------


def moments_of(simulation: Simulation, readout: VoltageAt) -> list[Number]:
    """The sample's moments, of which numbers with more digits than a float keep them."""
    times, offsets = readout.moments
    own = times[offsets[simulation.sample] : offsets[simulation.sample + 1]]
    return [simulation.model.numbers.convert(time) for time in own.tolist()]


def adjoint_voltage(
    simulation: Simulation, unit: int, time: Number, cotangent: Number, entering: Cotangents
) -> None:
    """lambda_V jumps at the moment by -(dell/dV)/tau_mem."""
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
    """lambda_V jumps at the peak by -(dell/dz)/tau_mem; nothing for the V = 0 at the start.

    Where an arrival ends the rise of V, the peak is at the arrival and moves with it:
    dz/dt = V'(t-).  Of the jump J, that arrival sees alpha J with alpha = V'(t-) /
    (V'(t-) - V'(t+)), which gives w alpha J = V'(t-) dell/dz; arrivals at the same instant
    share it in proportion to their weights, and all earlier events see the whole of it.
    """
    neuron = simulation.model.neurons[unit]
    at = peak(simulation, unit)
    if at.time == 0:
        return
    jump = -cotangent / neuron.tau_mem
    entering.jumps.append(Jump(at.time, unit, jump))
    if at.arrival is None or at.time == simulation.duration:
        return
    before, after = simulation.history[unit][at.arrival - 1 : at.arrival + 1]
    slope_before = neuron.slope(*neuron.flow(before, at.time))
    slope_after = neuron.slope(after.voltage, after.current)
    if slope_before > 0 and slope_before > slope_after:  # else a smooth maximum, by rounding
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

    Where emissions are missing there is a phantom spike at the end of the trial: lambda_V
    jumps there, by the sum of their cotangents, as if tau_mem dV/dt were 1 (L section 4.1).
    """
    emissions = emissions_of(simulation, unit)[: len(cotangents)]
    for emission, cotangent in zip(emissions, cotangents, strict=False):
        entering.add_emission_slope(emission, cotangent)
    missing = sum(cotangents[len(emissions) :])
    if missing:
        entering.jumps.append(Jump(simulation.duration, unit, missing, phantom=True))
