"""What a loss reads: numbers per output unit and sample."""

from evsim.readouts.readouts import (
    FirstSpike,
    Mean,
    Moments,
    Peak,
    Readout,
    SpikeTimes,
    Voltage,
    VoltageAt,
    VoltageTrace,
    Weighting,
    WeightingForm,
    check_moments,
    is_elementary,
)

__all__ = [
    "FirstSpike",
    "Mean",
    "Moments",
    "Peak",
    "Readout",
    "SpikeTimes",
    "Voltage",
    "VoltageAt",
    "VoltageTrace",
    "Weighting",
    "WeightingForm",
    "check_moments",
    "is_elementary",
]
