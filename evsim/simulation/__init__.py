"""simulate and gradient: the two calls that run a network, and what they return."""

from evsim.simulation.gradient_report import GradientReport
from evsim.simulation.gradients import Gradient, gradient
from evsim.simulation.pattern_changes import Change, NearestChange, nearest_change
from evsim.simulation.run import Run, simulate
from evsim.simulation.silence import SilentNetworkWarning
from evsim.simulation.units_of_time import TimeUnitWarning

__all__ = [
    "Change",
    "Gradient",
    "GradientReport",
    "NearestChange",
    "Run",
    "SilentNetworkWarning",
    "TimeUnitWarning",
    "gradient",
    "nearest_change",
    "simulate",
]
