"""Who is right where events tie, or nearly do: the same events, in many digits.

An engine in float64 cannot always tell which of two events comes first: the sums of the same
weights in another order differ in their last bits, and so does the time at which V reaches the
threshold.  What it must do is to be right about *some* order, the one of its own times.  So there
are two questions.

*Is each spike right, given those before it?*  A run of the reference engine in many digits is
made to spike at the engine's times, with arrivals and the ends of refractory periods at theirs,
in float64, and in the order of events that the documentation states.  V and I between these
events then have many digits.  V must be at the threshold at each emission and nowhere above it,
up to what a few units in the last place of times, V and I make of it.  The gradient is that of
the same events in the same order, pulled back in many digits.  No network is exempt.

*Is it the right network, from the first spike to the last?*  The reference engine's own run in
many digits says.  Spikes must agree with it, unless that run itself has a *near-tie*, which
float64 cannot decide: an emission and an inhibition that would have prevented it, a few units in
the last place apart; a peak of V as close to the threshold; an emission as close to the end of
the trial.  Then spikes must agree up to the first one.  In a network that is symmetric, emissions
of its units tie in floats as well, and those near-ties do not count.
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
"""How many units in the last place times, V and I and their parts may be off in each step."""
NEAR = 64.0
"""How many units in the last place of the trial's length apart events nearly tie."""
SAME_TIME = 256.0
"""Units in the last place of the trial's length that spikes may be off at the end of it all."""
SAME_VALUE = 1e-11
"""Of the size of what is added up, that gradients and readouts may be off."""
EPSILON = float(np.finfo(float).eps)


# -- the events of an engine, in many digits ------------------------------------------------


class Follower(Simulation):
    """A sample whose neurons spike when they are told to, whatever V is.

    Arrivals and the ends of refractory periods are at the times that float64 gives them.
    ``drive`` has, beside each entry of ``history``, the sum of the magnitudes that I is made of.
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
        """What is wrong with the spikes."""
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
    """How far rounding may take V at the end of a segment, or at the end of an earlier one."""
    tau_mem, tau_syn = float(neuron.tau_mem), float(neuron.tau_syn)
    size = drive + float(neuron.threshold) + abs(float(segment.voltage))
    by_time = float(np.spacing(float(end))) * size / min(tau_mem, tau_syn)
    return ULPS * (EPSILON * size + by_time)


def follow(case: SmallCase, found: Results, digits: int | None) -> tuple[Results, list[str]]:
    """What many digits say of an engine's spikes; its readout and gradient at those."""
    engine = Reference(digits)
    model = Model.from_network(case.network, engine.numbers)
    events = engine.input_events(case.network, case.inputs)
    duration = engine.numbers.convert(case.duration)
    samples: list[Simulation] = []
    faults: list[str] = []
    for b, (own, dropout) in enumerate(zip(events, sample_dropouts(case), strict=True)):
        spikes = {unit: found.spikes[b, unit] for unit in model.neurons}
        follower = Follower(model, own, duration, spikes, dropout)
        samples.append(follower.run())
        faults += [f"sample {b}, {fault}" for fault in follower.faults()]
    state = State(model, duration, events, samples)
    adjoint = engine.pull_back_exact(state, case.readout, case.cotangents, case.adjustments)
    return results_of(case, state, adjoint, engine.read_exact(state, case.readout)), faults


# -- near-ties in the run in many digits ------------------------------------------------------


@dataclass(frozen=True)
class NearTie:
    """A time in ms from which float64 may go another way, and why.

    ``is_exact`` if the events are at one instant in many digits.  ``matters`` if a spike hangs on
    it; where none does, it is a derivative that has two sides.
    """

    time: float
    unit: int
    reason: str
    is_exact: bool = False
    matters: bool = True


@dataclass
class Crossing:
    """A unit's latest emission, and the inhibition that came within rounding of it."""

    time: Number
    current: Number
    inhibition: float = 0.0


class Watcher(BoundedSimulation):
    """A sample that notes what float64 cannot decide."""

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
        """Note how an arrival meets its unit's latest emission, and the end of its period."""
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
"""An inhibition that slows V down to this share of its rise could have prevented the emission."""


def watch(case: TiedCase, digits: int | None) -> tuple[Results, list[NearTie]]:
    """The run in many digits, and its near-ties that count, earliest first."""
    engine = Reference(digits)
    model = Model.from_network(case.network, engine.numbers)
    events = engine.input_events(case.network, case.inputs)
    duration = engine.numbers.convert(case.duration)
    samples: list[Simulation] = []
    near_ties: list[NearTie] = []
    for own, dropout in zip(events, sample_dropouts(case), strict=True):
        watcher = Watcher(model, own, duration, dropout=dropout)
        samples.append(watcher.run())
        near_ties += watcher.near_ties
    state = State(model, duration, events, samples)
    adjoint = engine.pull_back_exact(state, case.readout, case.cotangents, case.adjustments)
    results = results_of(case, state, adjoint, engine.read_exact(state, case.readout))
    counting = [tie for tie in near_ties if not (tie.is_exact and case.is_symmetric)]
    return results, sorted(counting, key=lambda tie: tie.time)


# -- the verdict ------------------------------------------------------------------------------


@dataclass(frozen=True)
class TieVerdict:
    """What is wrong, None for nothing, in words; and by what near-tie a network was exempt."""

    wrong: str | None = None
    exempt: str | None = None


def judge_spikes(
    case: SmallCase, found: Results, truth: Results, ties: list[NearTie]
) -> TieVerdict:
    """Whether spikes are those of the run in many digits, or are up to its first near-tie."""
    if _same_spikes(case, found, truth, np.inf):
        return TieVerdict()
    decisive = next((tie for tie in ties if tie.matters), None)
    if decisive is None:
        return TieVerdict(wrong="other spikes than in many digits")
    if _same_spikes(case, found, truth, decisive.time):
        return TieVerdict(exempt=decisive.reason)
    return TieVerdict(wrong="other spikes than in many digits before a near-tie")


def _same_spikes(case: SmallCase, found: Results, truth: Results, before: float) -> bool:
    """Whether spikes before a time, by more than rounding, are the same."""
    slack = SAME_TIME * float(np.spacing(case.duration))
    for owner, times in truth.spikes.items():
        expected, own = times.astype(float), found.spikes[owner].astype(float)
        count = int(np.sum(expected < before - 2.0 * slack))
        if own.size < count or (before == np.inf and own.size > count):
            return False
        if np.any(np.abs(own[:count] - expected[:count]) > slack):
            return False
        if np.any(own[count:] < before - 2.0 * slack):
            return False
    return True


def judge_ties(case: TiedCase, found: Results, digits: int) -> TieVerdict:
    """All that is asked of an engine in float64 that follows the documented order of events."""
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


def looks_right(case: TiedCase, found: Results) -> bool:
    """Whether the reference engine in floats finds nothing that many digits should judge."""
    followed, faults = follow(case, found, None)
    if faults or _other_gradients(case, found, followed, SAME_VALUE):
        return False
    own, _ = watch(case, None)
    return judge_spikes(case, found, own, []).wrong is None


def _other_gradients(case: SmallCase, found: Results, truth: Results, relative: float) -> str:
    """Which kinds of gradients, or the readout, are further off than rounding explains.

    That of gradients that cancel to nothing, or are weighted with next to nothing, is a matter
    of the largest one.
    """
    largest = max([0.0, *(float(truth.scales[name]) for name in truth.gradients)])
    more = ULPS * EPSILON * largest
    _, differs = compare(case, found, truth, lambda name: more, SAME_TIME, relative)
    return ", ".join(sorted({name.rsplit(".")[-1] for name in differs} - {"spikes"}))


CARRIED_VALUE = 1e-8
"""As ``SAME_VALUE``, of the gradient at spikes that rounding has moved."""
