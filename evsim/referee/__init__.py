"""evsim as the referee of other simulators: it judges their spikes, voltages and gradients.

``compare`` judges them and returns its findings as a ``Comparison``.
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
