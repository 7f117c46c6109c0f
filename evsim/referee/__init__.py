"""evsim as the referee of other simulators: their spikes, voltages and gradients are judged.

``compare`` judges, a ``Comparison`` is what it found.
"""

from evsim.referee.comparing import compare
from evsim.referee.divergence import Divergence
from evsim.referee.gradients import GradientError
from evsim.referee.matching import SpikeMatches
from evsim.referee.report import Comparison
from evsim.referee.time_step import StepFit, TimeStep
from evsim.referee.timing import TimingErrors
from evsim.referee.voltages import VoltageErrors

__all__ = [
    "Comparison",
    "Divergence",
    "GradientError",
    "SpikeMatches",
    "StepFit",
    "TimeStep",
    "TimingErrors",
    "VoltageErrors",
    "compare",
]
