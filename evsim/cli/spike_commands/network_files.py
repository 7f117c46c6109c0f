"""What the commands that read files of spikes have in common: the network and the trial."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import evsim
from evsim.arguments.errors import ArgumentError
from evsim.arguments.paths import user_path
from evsim.cli.spike_commands.files import Unit
from evsim.storage import RunFolder

NIR = (".nir", ".h5", ".hdf5")
"""Endings of the names of NIR files."""


@dataclass(frozen=True)
class SpikesOfNetwork:
    """A network, a file of its spikes, and the length of the trial."""

    model: Path
    """The network: a file that evsim has saved, a run folder, or a NIR file (.nir)."""

    spikes: Path
    """The spikes of the inputs and those that the other program computed: a table (.csv) with the
    columns population, sample, time and unit, or an archive (.npz) with arrays such as
    hidden.times, hidden.units and hidden.samples."""

    duration: float | None = None
    """The length of the trial in ms. By default that of the run folder."""

    unit: Unit = "ms"
    """The unit of the times in the file of spikes."""

    samples: int | None = None
    """The number of samples. By default one more than the largest in the file."""

    source: str | None = None
    """The program that wrote a NIR file: snntorch, norse, jaxsnn or spec."""

    time_unit: str | None = None
    """The unit of time of a NIR file: s, ms or us."""

    spike: str | None = None
    """What a spike of a NIR file does: event or pulse."""

    dt: float | None = None
    """The step in ms of the program that wrote a NIR file."""

    def network(self) -> evsim.Network:
        """The network of the file."""
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
