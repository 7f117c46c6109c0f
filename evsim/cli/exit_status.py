"""The exit statuses of the command."""

from evsim.training.termination import STATUS as TERMINATED

__all__ = ["BROKEN_PIPE", "FAILED", "INTERRUPTED", "TERMINATED", "WRONG_USE"]

FAILED = 1
WRONG_USE = 2
INTERRUPTED = 130
BROKEN_PIPE = 141
