"""What a loss reads: numbers per output unit and sample.

A readout is one class in one file.  It defines how its values follow from the quantities that every
engine reads, and how its cotangents enter the adjoint; see ``evsim.readouts.base``.
"""

from evsim.readouts.adjoint_sources import AdjointSources, MeanCotangents, VoltageCotangents
from evsim.readouts.base import ReadableRun, Readout, is_elementary
from evsim.readouts.mean import Mean
from evsim.readouts.mean import Weighting as Weighting
from evsim.readouts.peak import Peak
from evsim.readouts.sample_times import SampleTimes, check_sample_times
from evsim.readouts.silent_peak import SilentPeak
from evsim.readouts.spike_times import FirstSpike, SpikeTimes
from evsim.readouts.voltage import Voltage, VoltageAt
from evsim.readouts.voltage_trace import VoltageTrace
from evsim.readouts.weightings import TrialWeighting, WeightingForm

# Earlier names.
Moments = SampleTimes
check_moments = check_sample_times

__all__ = [
    "AdjointSources",
    "FirstSpike",
    "Mean",
    "MeanCotangents",
    "Moments",
    "Peak",
    "ReadableRun",
    "Readout",
    "SampleTimes",
    "SilentPeak",
    "SpikeTimes",
    "TrialWeighting",
    "Voltage",
    "VoltageAt",
    "VoltageCotangents",
    "VoltageTrace",
    "WeightingForm",
    "check_moments",
    "check_sample_times",
    "is_elementary",
]
