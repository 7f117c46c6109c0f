"""The command ``evsim``: train the experiments of the papers, run studies, judge spikes.

``entry`` runs a command and turns errors into exit statuses, ``parsing`` reads the command line,
``flags`` turns settings into flags, ``options`` has the flags that all experiments share,
``train``, ``settings_file`` and ``info`` carry out the commands, and ``spike_commands`` has
``evsim compare`` and ``evsim certify``; ``study``, ``study_options``, ``study_file`` and
``schedulers`` are about ``evsim study``.
"""

from evsim.cli.entry import main
from evsim.cli.info import environment
from evsim.cli.parsing import TASKS

__all__ = ["TASKS", "environment", "main"]
