"""The command ``evsim certify``: proven bounds of a float64 run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import evsim
from evsim.arguments.paths import user_path
from evsim.cli.exit_status import FAILED
from evsim.cli.spike_commands.files import read_spikes
from evsim.cli.spike_commands.network_files import SpikesOfNetwork
from evsim.engines.reference.undecided import DIGITS_LIMIT
from evsim.simulation.certificate import TOLERANCE


@dataclass(frozen=True)
class Certify(SpikesOfNetwork):
    """Prove that float64 spikes are those of a network: the exact engine's, or another program's.

    The exit status is 1 if they are not, or if something cannot be decided.
    """

    spikes: Path
    """The spikes of the inputs: a table (.csv) with the columns sample, time and unit, or an
    archive (.npz), as for compare. If it also has spikes of other populations, these are certified
    instead of the exact engine's."""

    tolerance: float = TOLERANCE
    """The largest deviation of a spike time that is certified, in ms."""

    digits: int = 30
    """Digits of the first attempt; each further one has twice as many."""

    digits_limit: int = DIGITS_LIMIT
    """The largest number of digits that is tried for a decision."""

    def __call__(self) -> int:
        """Print the certificate."""
        network = self.network()
        path = user_path(self.spikes)
        inputs, theirs = read_spikes(path, network, self.unit, self.samples, inputs_suffice=True)
        certificate = evsim.certify(
            network,
            inputs,
            self.known_duration(),
            theirs if any(trains.times.size for trains in theirs.values()) else None,
            tolerance=self.tolerance,
            digits=self.digits,
            digits_limit=self.digits_limit,
        )
        print(certificate)
        return 0 if certificate.certified else FAILED
