"""The command ``evsim compare``: another program's spikes against the exact ones."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import evsim
from evsim.arguments.errors import ArgumentError
from evsim.arguments.paths import user_path
from evsim.cli.spike_commands.files import Unit, read_spikes
from evsim.storage import RunFolder

NIR = (".nir", ".h5", ".hdf5")
"""Endings of the names of NIR files."""


@dataclass(frozen=True)
class Compare:
    """Judge the spikes of another program by the exact ones of the same network."""

    model: Path
    """The network: a file that evsim has saved, a run folder, or a NIR file (.nir)."""

    spikes: Path
    """The spikes that the inputs got and those that the other program computed: a table (.csv) with
    the columns population, sample, time and unit, or an archive (.npz) with arrays such as
    hidden.times, hidden.units and hidden.samples."""

    duration: float | None = None
    """The trial lasts this many ms. By default that of the run folder."""

    unit: Unit = "ms"
    """The unit of the times in the file of spikes."""

    samples: int | None = None
    """The number of samples. By default one more than the largest in the file."""

    largest_shift: float | None = None
    """Spikes that are further apart, in ms, are not the same. By default the shortest time constant
    of the populations."""

    tolerance: float = 1e-9
    """Spikes that are further apart, in ms, are called moved."""

    time_step: float | None = None
    """The time step of the other program in ms, if you know it. By default that of the grid on
    which its spikes are."""

    out: Path | None = None
    """A folder for the report as a page, its picture, and a table of all spikes."""

    source: str | None = None
    """The program that wrote a NIR file: snntorch, norse, jaxsnn or spec."""

    time_unit: str | None = None
    """The unit of time of a NIR file: s, ms or us."""

    spike: str | None = None
    """What a spike of a NIR file does: event or pulse."""

    dt: float | None = None
    """The step in ms of the program that wrote a NIR file."""

    def __call__(self) -> int:
        """Print the report; the exit status is 0 whatever it says."""
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

    def network(self) -> evsim.Network:
        """The network to compare with."""
        path = user_path(self.model)
        flags = {
            name: getattr(self, name)
            for name in ("source", "time_unit", "spike", "dt")
            if getattr(self, name) is not None
        }
        if path.suffix.lower() in NIR:
            return evsim.nir.read(path, **flags)
        if flags:
            flag = next(iter(flags)).replace("_", "-")
            raise ValueError(f"--{flag} is about NIR files, and {path} is none: leave it out")
        return evsim.load(path)

    def known_duration(self) -> float:
        """The duration that is given, or that of the run."""
        if self.duration is not None:
            return self.duration
        config = RunFolder(user_path(self.model)).config
        if not config.is_file():
            raise ArgumentError("duration = None: give the length of the trial in ms", "duration")
        return float(json.loads(config.read_text())["duration"])
