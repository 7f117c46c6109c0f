"""The commands that read files of spikes: ``evsim compare`` and ``evsim certify``."""

from evsim.cli.spike_commands.certify import Certify
from evsim.cli.spike_commands.compare import Compare

__all__ = ["Certify", "Compare"]
