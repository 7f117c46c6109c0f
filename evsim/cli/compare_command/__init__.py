"""The command ``evsim compare``, and the files of spikes that it reads."""

from evsim.cli.compare_command.command import Compare

__all__ = ["Compare"]
