"""Tests engines where events tie or nearly tie, by computing the same events in many digits.

An engine in float64 cannot always tell which of two events comes first: sums of the same weights in
another order differ in their last bits, and so does the time at which V reaches the threshold.  But
its results must be right for *some* order, that of its own event times.  So there are two
questions.

*Is each spike right, given the spikes before it?*  A simulation of the reference engine in many
digits is forced to spike at the engine's times.  Arrivals and ends of refractory periods are at
their float64 times, in the documented order of events.  Between these events V and I have many
digits.  V must be at the threshold at each emission, and never above it, up to the effect of a few
units in the last place of times, V and I.  The gradient must be that of the same events in the same
order, propagated back in many digits.  No network is exempt.

*Are all spikes right, from the first to the last?*  The spikes must agree with those of the
reference engine's own simulation in many digits, unless that simulation has a *near-tie*, which
float64 cannot decide: an emission within a few units in the last place of an inhibition that would
have prevented it, a peak of V as close to the threshold, or an emission as close to the end of the
trial.  Then the spikes must agree up to the first near-tie.  In a symmetric network emissions of
identical units tie in floats, too; these near-ties do not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from referee import BoundedSimulation, Results, compare, results_of, sample_dropouts
from small_networks import SmallCase, TiedCase

from evsim.engines import Reference
from evsim.engines.reference.engine import State
from evsim.engines.reference.network import (
    Arrival,
    Emission,
    InputEvent,
    Model,
    Release,
    SampleDropout,
    Simulation,
)
from evsim.engines.reference.neuron import Neuron, Number, Segment

ULPS = 8.0
"""The accepted error of times, V, I and their terms in each step, in units in the last place."""
NEAR = 64.0
"""Events nearly tie within this many units in the last place of the trial's duration."""
SAME_TIME = 256.0
"""The accepted error of spike times overall, in units in the last place of the trial's duration."""
SAME_VALUE = 1e-11
"""The accepted error of gradients and readouts, relative to the size of the summed terms."""
EPSILON = float(np.finfo(float).eps)


# -- the events of an engine, in many digits ------------------------------------------------


class Follower(Simulation):
    """A simulation whose neurons spike at given times, whatever V is.

    Arrivals and the ends of refractory periods are at their float64 times.  For each entry of
    ``history``, ``drive`` contains the sum of the magnitudes of the terms of I.
    """

    def __init__(
        self,
        model: Model,
        inputs: list[InputEvent],
        duration: Number,
        spikes: dict[int, np.ndarray],
        dropout: SampleDropout | None,
    ) -> None:
        super().__init__(model, inputs, duration, dropout=dropout)
        self.drive = {unit: [0.0] for unit in model.neurons}
        for unit, times in spikes.items():
            for time in times.tolist():
                self.queue.add(Emission(model.numbers.convert(time), unit))

    def _emit(self, emission: Emission) -> None:
        unit, now = emission.unit, emission.time
        if unit in self.model.neurons:
            neuron = self.model.neurons[unit]
            _, emission.current = neuron.flow(self.history[unit][-1], now)
            self.resets[unit].append(len(self.history[unit]))
            release = self._sum(now, neuron.refractory)
            self._enter(
                unit, self.model.numbers.convert(0), emission.current, is_refractory=release > now
            )
            if now < release <= self.duration:
                self.queue.add(Release(release, unit))
        emission.dropped = self._drops(unit)
        if not emission.dropped:
            for synapse in self.model.outgoing[unit]:
                self._send(emission, synapse)

    def _send(self, emission: Emission, synapse: int) -> None:
        delay = self.model.delay[synapse]
        self.model.delay[synapse] = self._sum(emission.time, delay) - emission.time
        super()._send(emission, synapse)
        self.model.delay[synapse] = delay

    def _sum(self, time: Number, span: Number) -> Number:
        return self.model.numbers.convert(float(time) + float(span))

    def _arrive(self, arrival: Arrival) -> None:
        super()._arrive(arrival)
        weights = (abs(float(self.model.weight[synapse])) for _, synapse in arrival.spikes)
        self.drive[arrival.unit][-1] += sum(weights)

    def _enter(self, unit: int, voltage: Number, current: Number, is_refractory: bool) -> None:
        span = float(self.now - self.history[unit][-1].time)
        decay = np.exp(-span / float(self.model.neurons[unit].tau_syn))
        self.drive[unit].append(self.drive[unit][-1] * float(decay))
        self.history[unit].append(Segment(self.now, voltage, current, is_refractory))

    def faults(self) -> list[str]:
        """Descriptions of all wrong spikes."""
        return [fault for unit in self.model.neurons for fault in self._faults_of(unit)]

    def _faults_of(self, unit: int) -> list[str]:
        neuron, found = self.model.neurons[unit], []
        emitted = set(self.resets[unit])
        ends = [segment.time for segment in self.history[unit][1:]] + [self.duration]
        for k, (segment, end) in enumerate(zip(self.history[unit], ends, strict=True)):
            allowed = _allowed(neuron, segment, end, self.drive[unit][k])
            highest = float(_highest(neuron, segment, end) - neuron.threshold)
            place = f"unit {unit}, {float(end):.17g} ms"
            if highest > allowed:
                found.append(f"{place}: V - threshold was {highest:.3g}, an emission is missing")
            if k + 1 in emitted:
                reached = float(neuron.flow(segment, end)[0] - neuron.threshold)
                if segment.is_refractory:
                    found.append(f"{place}: an emission in a refractory period")
                elif reached < -allowed:
                    found.append(f"{place}: an emission at V - threshold = {reached:.3g}")
        return found


def _highest(neuron: Neuron, segment: Segment, end: Number) -> Number:
    """The largest V from a segment's start to its end."""
    if segment.is_refractory:
        return segment.voltage
    highest = max(segment.voltage, neuron.flow(segment, end)[0])
    wait = neuron.time_to_maximum(segment.voltage, segment.current)
    if wait is not None and segment.time + wait < end:
        highest = max(highest, neuron.flow(segment, segment.time + wait)[0])
    return highest


def _allowed(neuron: Neuron, segment: Segment, end: Number, drive: float) -> float:
    """The possible effect of rounding on V at the end of this segment or of an earlier one."""
    tau_mem, tau_syn = float(neuron.tau_mem), float(neuron.tau_syn)
    size = drive + float(neuron.threshold) + abs(float(segment.voltage))
    by_time = float(np.spacing(float(end))) * size / min(tau_mem, tau_syn)
    return ULPS * (EPSILON * size + by_time)


def follow(case: SmallCase, found: Results, digits: int | None) -> tuple[Results, list[str]]:
    """The readout and gradient for an engine's spikes in many digits, and the wrong spikes."""
    engine = Reference(digits)
    model = Model.from_network(case.network, engine.numbers)
    events = engine.input_events(case.network, case.inputs)
    duration = engine.numbers.convert(case.duration)
    samples: list[Simulation] = []
    faults: list[str] = []
    for b, (inputs, dropout) in enumerate(zip(events, sample_dropouts(case), strict=True)):
        spikes = {unit: found.spikes[b, unit] for unit in model.neurons}
        follower = Follower(model, inputs, duration, spikes, dropout)
        samples.append(follower.run())
        faults += [f"sample {b}, {fault}" for fault in follower.faults()]
    state = State(model, duration, events, samples)
    adjoint = engine.pull_back_exact(state, case.readout, case.cotangents, case.adjustments)
    return results_of(case, state, adjoint, engine.read_exact(state, case.readout)), faults


# -- near-ties in the run in many digits ------------------------------------------------------


@dataclass(frozen=True)
class NearTie:
    """A time in ms after which float64 may give other spikes, and the reason.

    ``is_exact`` is true if the events coincide exactly in many digits.  ``matters`` is true if a
    spike depends on the order; otherwise only a derivative does, which has two one-sided values.
    """

    time: float
    unit: int
    reason: str
    is_exact: bool = False
    matters: bool = True


@dataclass
class Crossing:
    """A unit's latest emission, and the inhibition that arrived within rounding of it."""

    time: Number
    current: Number
    inhibition: float = 0.0


class Watcher(BoundedSimulation):
    """A simulation that records near-ties, which float64 cannot decide."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.near_ties: list[NearTie] = []
        self._latest: dict[int, Crossing] = {}
        super().__init__(*args, **kwargs)
        self.near = NEAR * float(np.spacing(float(self.duration)))

    def _note(self, unit: int, reason: str, is_exact: bool = False, matters: bool = True) -> None:
        self.near_ties.append(NearTie(float(self.now), unit, reason, is_exact, matters))

    def _emit(self, emission: Emission) -> None:
        super()._emit(emission)
        if emission.index is None:
            self._latest[emission.unit] = Crossing(emission.time, emission.current)
            if self.duration - emission.time <= self.near:
                self._note(emission.unit, "an emission at the end")

    def _arrive(self, arrival: Arrival) -> None:
        unit = arrival.unit
        due = self._predicted.get(unit)
        super()._arrive(arrival)
        after = self._predicted.get(unit)
        if due is not None and due.time - self.now <= self.near:
            is_prevented = after is None or after.time - self.now > self.near
            self._note(unit, "an arrival just before an emission", matters=is_prevented)
        latest = self._latest.get(unit)
        if latest is not None:
            self._meet(arrival, latest, self.model.neurons[unit])

    def _meet(self, arrival: Arrival, latest: Crossing, neuron: Neuron) -> None:
        """Record an arrival close to its unit's latest emission or end of refractory period."""
        if abs(float(self.now - latest.time - neuron.refractory)) <= self.near:
            self._note(arrival.unit, "an arrival at the end of a period", matters=False)
        if self.now - latest.time > self.near:
            return
        weights = (float(self.model.weight[synapse]) for _, synapse in arrival.spikes)
        latest.inhibition += sum(min(weight, 0.0) for weight in weights)
        left = float(latest.current - neuron.threshold)
        is_exact, is_inhibited = self.now == latest.time, left + latest.inhibition < SLOWED * left
        self._note(arrival.unit, "an arrival just after an emission", is_exact, is_inhibited)

    def _enter(self, unit: int, voltage: Number, current: Number, is_refractory: bool) -> None:
        super()._enter(unit, voltage, current, is_refractory)
        if is_refractory:
            return
        neuron = self.model.neurons[unit]
        wait = neuron.time_to_maximum(voltage, current)
        if wait is None:
            return
        peak, _ = neuron.flow(self.history[unit][-1], self.now + wait)
        size = abs(float(current)) + abs(float(voltage)) + float(neuron.threshold)
        if abs(float(peak - neuron.threshold)) <= NEAR * EPSILON * size:
            self._note(unit, "a peak at the threshold")
        if peak > neuron.threshold and unit not in self._predicted:
            crossing = neuron.time_to_threshold(voltage, current)
            if crossing is not None and self.now + crossing - self.duration <= self.near:
                self._note(unit, "an emission at the end")


SLOWED = 1e-3
"""An inhibition that reduces dV/dt to less than this share could have prevented the emission."""


def watch(case: SmallCase, digits: int | None) -> tuple[Results, list[NearTie]]:
    """The results in many digits, and the near-ties that count, earliest first."""
    engine = Reference(digits)
    model = Model.from_network(case.network, engine.numbers)
    events = engine.input_events(case.network, case.inputs)
    duration = engine.numbers.convert(case.duration)
    samples: list[Simulation] = []
    near_ties: list[NearTie] = []
    for inputs, dropout in zip(events, sample_dropouts(case), strict=True):
        watcher = Watcher(model, inputs, duration, dropout=dropout)
        samples.append(watcher.run())
        near_ties += watcher.near_ties
    state = State(model, duration, events, samples)
    adjoint = engine.pull_back_exact(state, case.readout, case.cotangents, case.adjustments)
    results = results_of(case, state, adjoint, engine.read_exact(state, case.readout))
    is_symmetric = isinstance(case, TiedCase) and case.is_symmetric
    counting = [tie for tie in near_ties if not (tie.is_exact and is_symmetric)]
    return results, sorted(counting, key=lambda tie: tie.time)


# -- the verdict ------------------------------------------------------------------------------


@dataclass(frozen=True)
class TieVerdict:
    """What is wrong, in words or None; and the near-tie that exempts the network, if any."""

    wrong: str | None = None
    exempt: str | None = None


def judge_spikes(
    case: SmallCase, found: Results, truth: Results, ties: list[NearTie]
) -> TieVerdict:
    """Compare spikes with those in many digits, up to the first near-tie if there is one."""
    if _same_spikes(case, found, truth, np.inf):
        return TieVerdict()
    decisive = next((tie for tie in ties if tie.matters), None)
    if decisive is None:
        return TieVerdict(wrong="other spikes than in many digits")
    if _same_spikes(case, found, truth, decisive.time):
        return TieVerdict(exempt=decisive.reason)
    return TieVerdict(wrong="other spikes than in many digits before a near-tie")


def _same_spikes(case: SmallCase, found: Results, truth: Results, before: float) -> bool:
    """Whether spikes agree that are before a time by more than rounding."""
    slack = SAME_TIME * float(np.spacing(case.duration))
    for owner, times in truth.spikes.items():
        expected, actual = times.astype(float), found.spikes[owner].astype(float)
        count = int(np.sum(expected < before - 2.0 * slack))
        if actual.size < count or (before == np.inf and actual.size > count):
            return False
        if np.any(np.abs(actual[:count] - expected[:count]) > slack):
            return False
        if np.any(actual[count:] < before - 2.0 * slack):
            return False
    return True


def judge_ties(case: TiedCase, found: Results, digits: int) -> TieVerdict:
    """The verdict on an engine in float64 that follows the documented order of events."""
    followed, faults = follow(case, found, digits)
    if faults:
        return TieVerdict(wrong=f"wrong spike: {faults[0]}")
    differs = _other_gradients(case, found, followed, SAME_VALUE)
    if differs:
        return TieVerdict(wrong=f"gradient of the same events: {differs}")
    truth, ties = watch(case, digits)
    verdict = judge_spikes(case, found, truth, ties)
    if verdict.wrong is None and not ties:
        differs = _other_gradients(case, found, truth, CARRIED_VALUE)
        if differs:
            return TieVerdict(wrong=f"gradient in many digits: {differs}")
    return verdict


def has_the_gradient_of_its_events(case: SmallCase, found: Results, digits: int) -> bool:
    """Whether events nearly tie, and the gradient is right for the order in which they came.

    Their order may decide a derivative, which then has several one-sided values, and change no
    spike by more than rounding.
    """
    _, near_ties = watch(case, digits)
    if not near_ties:
        return False
    followed, faults = follow(case, found, digits)
    return not faults and not _other_gradients(case, found, followed, SAME_VALUE)


def looks_right(case: TiedCase, found: Results) -> bool:
    """Whether the reference engine in floats agrees, so that many digits are not needed."""
    followed, faults = follow(case, found, None)
    if faults or _other_gradients(case, found, followed, SAME_VALUE):
        return False
    floats, _ = watch(case, None)
    return judge_spikes(case, found, floats, []).wrong is None


def _other_gradients(case: SmallCase, found: Results, truth: Results, relative: float) -> str:
    """The kinds of gradients, or the readout, whose errors rounding cannot explain.

    The error of gradients whose terms cancel, or have tiny weights, is compared with the largest
    gradient.
    """
    largest = max([0.0, *(float(truth.scales[name]) for name in truth.gradients)])
    more = ULPS * EPSILON * largest
    _, differs = compare(case, found, truth, lambda name: more, SAME_TIME, relative)
    return ", ".join(sorted({name.rsplit(".")[-1] for name in differs} - {"spikes"}))


CARRIED_VALUE = 1e-8
"""Like ``SAME_VALUE``, for the gradient at spikes that rounding has moved."""
