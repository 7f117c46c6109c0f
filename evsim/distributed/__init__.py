"""One training run on many processes and machines, bit-identical to a run on one process."""

from evsim.distributed.processes import Processes, ranks_of
from evsim.distributed.ranks import Alone, Ranks
from evsim.distributed.shared_data import read_once

__all__ = ["Alone", "Processes", "Ranks", "ranks_of", "read_once"]
