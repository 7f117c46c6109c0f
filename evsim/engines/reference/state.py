"""A simulated batch of the reference engine, in its number type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from evsim.display.short_repr import Brief
from evsim.engines.reference.network import InputEvent, Model, Simulation
from evsim.engines.reference.neuron import Number
from evsim.engines.reference.undecided import Undecided, UndecidedError, with_enough_digits
from evsim.network.network import Network
from evsim.network.spike_trains import SpikeTrains


@dataclass(frozen=True, eq=False, repr=False)
class State(Brief):
    """A simulated batch, in the engine's number type."""

    model: Model
    duration: Number
    input_events: list[list[InputEvent]]
    samples: list[Simulation]

    def answer(self, question: Callable[[], Any]) -> Any:
        """The answer to a question about the samples; see ``CertifiedState``."""
        return question()

    @property
    def network(self) -> Network:
        """The network that was run."""
        return self.model.network

    @cached_property
    def inputs(self) -> dict[str, SpikeTrains]:
        """The spikes of each input population, as they were given."""
        return {p.name: spike_trains(self, p.name) for p in self.network.inputs}


@dataclass(frozen=True, eq=False, repr=False)
class CertifiedState(State):
    """A batch that was simulated in balls.

    ``digits`` are those of each sample.  ``simulated`` simulates a sample with a given number of
    digits, for a question that needs more than the simulation did.
    """

    digits: list[int]
    digits_limit: int
    simulated: Callable[[int, int], Simulation]

    def answer(self, question: Callable[[], Any]) -> Any:
        """The answer to a question about the samples, with more digits until balls decide it."""
        while True:
            try:
                return question()
            except Undecided as undecided:
                self._refine(undecided)

    def _refine(self, undecided: Undecided) -> None:
        """Simulate the samples again with more digits; UndecidedError if none may have more."""
        limit = self.digits_limit
        if min(self.digits) >= limit:
            raise UndecidedError(undecided, limit)
        for sample, digits in enumerate(self.digits):
            if digits < limit:
                self.samples[sample], self.digits[sample] = with_enough_digits(
                    partial(self.simulated, sample), min(2 * digits, limit), limit, sample
                )


def events_of(state: State, population: str) -> list[list[Any]]:
    """The spikes of a population in each sample by time: within the trial, inputs as given."""
    units = state.model.units_of(population)
    given = population in [p.name for p in state.network.inputs]
    emitted = state.input_events if given else [sample.emissions for sample in state.samples]
    # ``simulate_model`` takes input events in any order.
    return [
        sorted((event for event in events if event.unit in units), key=lambda event: event.time)
        for events in emitted
    ]


def spike_trains(state: State, population: str) -> SpikeTrains:
    """The same, as float64 numbers."""
    own, units = events_of(state, population), state.model.units_of(population)
    return SpikeTrains(
        times=np.array([float(event.time) for events in own for event in events]),
        units=np.array([event.unit - units.start for events in own for event in events], np.int32),
        offsets=np.cumsum([0, *(len(events) for events in own)]),
        unit_count=len(units),
    )
