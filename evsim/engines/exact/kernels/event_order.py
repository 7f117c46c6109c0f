"""The order of the events of a unit at one instant, and every comparison that depends on it.

    emission, reading of the voltage, arrivals, end of a refractory period

Therefore the slope of the voltage at an emission is its slope before any arrival of that instant,
all arrivals of one instant are added up before the next threshold crossing is sought, and a spike
that arrives exactly at the end of a refractory period still belongs to the period.  Backwards in
time the order is reversed.
"""

from __future__ import annotations

from evsim._compile.decorators import compiled

EMISSION = 0
READING = 1
ARRIVAL = 2
RELEASE = 3  # the end of a refractory period
"""Kinds of events, in their order at one instant."""


@compiled
def next_event(
    emission: float, reading: float, arrival: float, release: float
) -> tuple[float, int]:
    """Time and kind of the earliest of four events; the time infinity means no event."""
    time = min(emission, reading, arrival, release)
    if emission == time:
        return time, EMISSION
    if reading == time:
        return time, READING
    if arrival == time:
        return time, ARRIVAL
    return time, RELEASE


@compiled
def is_after_emission(time: float, emission: float) -> bool:
    """Whether a reading or an arrival comes after an emission of the same unit."""
    return time >= emission


@compiled
def is_after_reading(arrival: float, reading: float) -> bool:
    """Whether an arrival comes after a reading of the same unit."""
    return arrival >= reading


@compiled
def is_before_release(time: float, free_at: float) -> bool:
    """Whether a reading or an arrival comes before the end of a refractory period."""
    return time <= free_at
