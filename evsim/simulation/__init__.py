"""simulate and gradient: the two calls that run a network, and what they return."""

from evsim.simulation.gradients import Gradient, gradient
from evsim.simulation.run import Run, simulate
from evsim.simulation.silence import SilentNetworkWarning
from evsim.simulation.units_of_time import TimeUnitWarning

__all__ = [
    "Gradient",
    "Run",
    "SilentNetworkWarning",
    "TimeUnitWarning",
    "gradient",
    "simulate",
]
