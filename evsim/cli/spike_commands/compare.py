"""The command ``evsim compare``: another program's spikes against the exact ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import evsim
from evsim.arguments.paths import user_path
from evsim.cli.spike_commands.files import read_spikes
from evsim.cli.spike_commands.network_files import SpikesOfNetwork


@dataclass(frozen=True)
class Compare(SpikesOfNetwork):
    """Judge the spikes of another program by the exact ones of the same network."""

    largest_shift: float | None = None
    """Spikes that are further apart, in ms, are not the same. By default the shortest time constant
    of the populations."""

    tolerance: float = 1e-9
    """Spikes that are further apart, in ms, are called moved."""

    time_step: float | None = None
    """The time step of the other program in ms, if you know it. By default that of the grid on
    which its spikes lie."""

    out: Path | None = None
    """A folder for the report as a page, its picture, and a table of all spikes."""

    def __call__(self) -> int:
        """Print the report; the exit status is 0, whatever the report says."""
        network = self.network()
        inputs, theirs = read_spikes(user_path(self.spikes), network, self.unit, self.samples)
        found = evsim.compare(
            network,
            inputs,
            theirs,
            self.known_duration(),
            largest_shift=self.largest_shift,
            tolerance=self.tolerance,
            time_step=self.time_step,
        )
        print(found)
        if self.out is not None:
            print(f"\nthe report is in {found.save(user_path(self.out))}")
        return 0
