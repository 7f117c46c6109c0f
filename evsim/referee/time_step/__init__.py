"""Which time step explains the errors of spike times."""

from evsim.referee.time_step.fit import StepFit, TimeStep, time_step_of
from evsim.referee.time_step.local import History, predictions

__all__ = ["History", "StepFit", "TimeStep", "predictions", "time_step_of"]
