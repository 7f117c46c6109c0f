"""The simulation of a sample in balls, which reports what it could not decide."""

from __future__ import annotations

from evsim.engines.reference.network import Event, Simulation
from evsim.engines.reference.neuron import Number
from evsim.engines.reference.undecided import Undecided


class CertifiedSimulation(Simulation):
    """A simulation in balls."""

    def run(self) -> Simulation:
        try:
            return super().run()
        except Undecided as undecided:
            place = f"sample {self.sample}, at {float(self.now):.17g} ms"
            raise undecided.about(f"{place}: what happens there") from None

    def check_times(self, precision: float) -> None:
        """Raise Undecided if a spike time may be off by more than ``precision`` ms."""
        for emission in self.emissions:
            if emission.time.radius.upper > precision:
                what = f"sample {self.sample}: the time of {self._told(emission)}"
                raise Undecided(emission.time, emission.time, f"{what} to {precision:g} ms")

    def _wait_for(self, event: Event) -> None:
        try:
            super()._wait_for(event)
        except Undecided as undecided:
            times = (undecided.one, undecided.other)
            rivals = [e for e in self.queue if any(e.time is time for time in times)]
            both = " and ".join(self._told(each) for each in (event, *rivals))
            raise undecided.about(f"sample {self.sample}: the order of {both}") from None

    def _predict(self, unit: int, voltage: Number, current: Number) -> None:
        try:
            super()._predict(unit, voltage, current)
        except Undecided as undecided:
            what = "whether and when V reaches the threshold"
            raise undecided.about(f"{self._place(unit)}: {what}") from None

    def _told(self, event: Event) -> str:
        population, unit = self.model.place_of(event.unit)
        return f"the {event.kind.name.lower()} at {population!r} unit {unit}"
