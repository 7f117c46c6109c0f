"""Which time step explains the errors of spike times."""

from evsim.referee.time_step.fit import StepFit, TimeStep, time_step_of

__all__ = ["StepFit", "TimeStep", "time_step_of"]
