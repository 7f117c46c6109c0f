"""The command that certifies a float64 run of the exact engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import evsim
from evsim.cli.certify.spike_files import read_inputs
from evsim.cli.exit_status import FAILED
from evsim.engines.reference.undecided import DIGITS_LIMIT
from evsim.simulation.certificate import TOLERANCE


@dataclass(frozen=True)
class Certify:
    """Prove that the exact engine's float64 spikes are those of a network.

    The exit status is 1 if they are not, or if something cannot be decided.
    """

    model: Path
    """The file of a network, or the folder of a training run."""
    inputs: Path
    """A CSV file with the columns sample, time (ms) and unit, one row for each input spike."""
    duration: float
    """The length of the trial in ms."""
    tolerance: float = TOLERANCE
    """The largest deviation of a spike time that is certified, in ms."""
    digits: int = 30
    """Digits of the first attempt; each further one has twice as many."""
    digits_limit: int = DIGITS_LIMIT
    """The most digits with which a decision is tried."""

    def __call__(self) -> int:
        """Print the certificate."""
        network = evsim.load(self.model)
        certificate = evsim.certify(
            network,
            read_inputs(self.inputs, network),
            self.duration,
            tolerance=self.tolerance,
            digits=self.digits,
            digits_limit=self.digits_limit,
        )
        print(certificate)
        return 0 if certificate.certified else FAILED
