"""simulate and gradient: the two calls that run a network, and what they return."""

from evsim.simulation.gradients import Gradient, gradient
from evsim.simulation.run import Run, simulate
from evsim.simulation.silence import SilentNetworkWarning

__all__ = ["Gradient", "Run", "SilentNetworkWarning", "gradient", "simulate"]
