"""The flags of ``evsim study``, and the meaning of their values."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evsim.arguments.paths import user_path
from evsim.cli.options import EngineName, Precision, Run

if TYPE_CHECKING:
    from evsim.engines import Engine


@dataclass(frozen=True)
class StudyOptions:
    """How a study is carried out."""

    vary: tuple[str, ...] = ()
    """A setting and its values, such as hidden=5,10,15. Repeat the flag for more settings; every
    combination is run."""

    seeds: str = "8"
    """The number of seeds of each combination, or the seeds, such as 0,1,5."""

    folds: str | None = None
    """Hold out a part of the training samples, each in turn, and test on it: groups for one group
    at a time, such as a speaker, or the number of parts. By default, runs are tested on the test
    samples."""

    choose: bool = False
    """Choose the combination that is best on the --folds; then train with it on all training
    samples, once for each seed, and test."""

    out: Path | None = None
    """The folder of the study. A study in it continues where it stopped."""

    engine: EngineName = "exact"
    """The engine: exact, reference, grid or cuda."""

    dt: float | None = None
    """The time step of the engines grid and cuda, in ms. By default the published step."""

    precision: Precision | None = None
    """The number format of the engines grid and cuda."""

    rate_limit: float | None = None
    """The number of spikes per tau_mem at which a unit in a loop of connections runs away; inf for
    no limit. By default 400."""

    threads: int = 1
    """The number of threads of each run."""

    scheduler: str | None = None
    """Where the runs are carried out: local:8 for 8 processes on this machine, the address of a
    Dask scheduler, such as tcp://host:8786, or a SLURM cluster, such as
    slurm:partition=cpu,cores=16,memory=32GB,walltime=04:00:00,jobs=4. By default, as many processes
    as this machine has cores."""

    retry_failed: bool = False
    """Also repeat runs that have failed."""

    allow_large: bool = False
    """Allow more than 10000 runs."""

    picture: bool = True
    """Draw the results."""

    progress: bool = True
    """Show the progress of the study."""

    def check(self) -> None:
        """Refuse flags that contradict each other."""
        if self.out is None:
            raise ValueError("a study is stored in a folder: name it, --out FOLDER")
        if self.choose and self.folds is None:
            raise ValueError(
                "--choose compares what is held out: say what, --folds groups or --folds 5"
            )
        self._run().check()

    @property
    def folder(self) -> Path:
        """The folder of the study."""
        assert self.out is not None
        return user_path(self.out)

    def create_engine(self, grid_step: float) -> Engine:
        """The chosen engine; ``grid_step`` is its time step in ms if --dt is not given."""
        return self._run().create_engine(grid_step)

    def _run(self) -> Run:
        return Run(
            engine=self.engine,
            dt=self.dt,
            precision=self.precision,
            rate_limit=self.rate_limit,
        )


def grid_of(words: Iterable[str]) -> dict[str, list[Any]]:
    """The grid that the words after --vary name."""
    grid: dict[str, list[Any]] = {}
    for word in words:
        name, equals, values = word.partition("=")
        name = name.strip().replace("-", "_")
        if not (name and equals and values.strip()):
            raise ValueError(f"--vary {word}: give a setting and its values, such as hidden=5,10")
        if name in grid:
            raise ValueError(f"--vary {word}: {name} varies already; give all its values at once")
        # Commas inside brackets belong to a value.
        grid[name] = [value_of(text) for text in re.split(r",(?![^\[]*\])", values)]
    return grid


def value_of(text: str) -> Any:
    """The value that a word stands for: as in TOML, or None, or the word itself."""
    text = text.strip()
    if text.lower() == "none":
        return None
    try:
        return tomllib.loads(f"value = {text.lower() if text.lower() in _FLAGS else text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


_FLAGS = ("true", "false")


def seeds_of(text: str) -> int | list[int]:
    """The number of seeds, or the seeds themselves where there is a comma."""
    try:
        seeds = [int(word) for word in text.split(",") if word.strip()]
    except ValueError:
        raise ValueError(f"--seeds {text}: give their number, or the seeds as 0,1,5") from None
    if not seeds:
        raise ValueError(f"--seeds {text}: give their number, or the seeds as 0,1,5")
    return seeds if "," in text else seeds[0]


def folds_of(text: str | None) -> int | str | None:
    """The number of parts, "groups" or None."""
    if text is None or text == "groups":
        return text
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"--folds {text}: give groups, or the number of parts") from None
