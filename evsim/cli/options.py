"""The flags that every experiment shares: how a run is carried out."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from evsim.arguments.errors import naming
from evsim.arguments.paths import user_path

if TYPE_CHECKING:
    from evsim.engines import Engine

EngineName = Literal["exact", "reference", "grid", "cuda"]
Precision = Literal["float32", "float64"]

ENGINE_FLAGS: dict[EngineName, tuple[str, ...]] = {
    "exact": ("threads", "pieces", "rate_limit"),
    "reference": ("rate_limit",),
    "grid": ("dt", "precision", "threads", "rate_limit"),
    "cuda": ("dt", "precision", "rate_limit"),
}
"""The flags that are arguments of each engine."""

NO_SUCH_FLAG = {
    ("exact", "dt"): "the exact engine has no grid; leave it out, or choose --engine grid",
    ("exact", "precision"): "the exact engine has float64 only; leave it out",
    ("reference", "dt"): "the reference engine has no grid; leave it out, or choose --engine grid",
    ("reference", "precision"): "the reference engine has float64 only; leave it out",
    ("reference", "threads"): "the reference engine has only one; leave it out",
    ("reference", "pieces"): "the reference engine does not cut batches; leave it out",
    ("grid", "pieces"): "only the exact engine lets them be chosen; leave it out",
    ("cuda", "pieces"): "only the exact engine lets them be chosen; leave it out",
    ("cuda", "threads"): "they are the processor's, and cuda runs on a GPU; leave it out",
}
"""Why an engine lacks a flag that other engines have, and what to do."""


@dataclass(frozen=True)
class Run:
    """How the run is carried out. Only --engine, --dt and --precision change what is computed."""

    out: Path | None = None
    """The folder for everything that the run writes. By default a new folder in runs/."""

    resume: bool = False
    """Continue the run in the folder --out. Repeat its other settings; only --epochs may grow."""

    replace: bool = False
    """First delete the run in the folder --out. A folder with other files in it is refused."""

    engine: EngineName = "exact"
    """The engine: exact is fast; reference is slow and written to be read; grid computes in time
    steps, for large data; cuda does so on a GPU."""

    dt: float | None = None
    """The time step of the engines grid and cuda, in ms. By default the published step: 0.01 for
    yin-yang, 0.02 for sound-localisation, 0.1 for motion-detection, 1 for the others."""

    precision: Precision | None = None
    """The number format of the engines grid and cuda. By default float64 for grid, float32 for
    cuda."""

    rate_limit: float | None = None
    """The number of spikes per tau_mem from which on a unit is refused if its own loop of
    connections drives it faster and faster: the network runs away; inf for no limit. By default
    400."""

    threads: int | None = None
    """The number of threads of the engines exact and grid. By default the number of cores."""

    pieces: int | None = None
    """The number of pieces into which the engine exact cuts a batch, for its threads and processes.
    More pieces than the default let more cores take part, need more memory, and change the last
    digits of gradients."""

    mpi: bool = False
    """Share every batch among the processes that mpiexec has started, as in mpiexec -n 8 evsim
    train TASK --mpi. Needs mpi4py, pip install evsim[mpi]."""

    time_limit: float | None = None
    """Stop at the end of the epoch in which this many seconds have passed. By default, training
    has no time limit."""

    pictures: bool = True
    """Draw pictures after training."""

    progress: bool = True
    """Show the progress of training."""

    def __post_init__(self) -> None:
        if self.out is not None:
            object.__setattr__(self, "out", user_path(self.out))

    @property
    def on_grid(self) -> bool:
        """Whether the engine computes in time steps."""
        return "dt" in ENGINE_FLAGS[self.engine]

    def check(self) -> None:
        """Refuse flags that contradict each other."""
        if self.resume and self.out is None:
            raise ValueError("--resume goes on with the run in a folder: name it, --out FOLDER")
        if self.replace and self.out is None:
            raise ValueError("--replace removes the run in a folder: name it, --out FOLDER")
        if self.replace and self.resume:
            raise ValueError("--replace removes the run that --resume goes on with: leave one out")
        for (engine, name), reason in NO_SUCH_FLAG.items():
            if engine == self.engine and getattr(self, name) is not None:
                raise ValueError(f"--{name} {getattr(self, name)}: {reason}")
        if self.mpi and self.engine not in ("exact", "grid"):
            raise ValueError(f"--mpi: the engine {self.engine} cannot share batches; leave it out")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"--threads {self.threads}: it must be at least 1")
        if self.pieces is not None and self.pieces < 1:
            raise ValueError(f"--pieces {self.pieces}: it must be at least 1")
        if self.time_limit is not None and not self.time_limit > 0:
            raise ValueError(f"--time-limit {self.time_limit:g}: it must be a time > 0 in seconds")
        if self.out is not None:
            _check_folder(self.out, self.resume, self.replace)

    def create_engine(self, grid_step: float) -> Engine:
        """The chosen engine; ``grid_step`` is its time step in ms if --dt is not given."""
        from evsim import engines

        flags = {name: getattr(self, name) for name in ENGINE_FLAGS[self.engine]}
        if self.on_grid and self.dt is None:
            flags["dt"] = grid_step
        given: dict[str, Any] = {name: value for name, value in flags.items() if value is not None}
        engine: Any = engines.resolve(self.engine)
        with naming("dt", "precision", "rate_limit", "threads", "pieces"):
            chosen: Engine = dataclasses.replace(engine, **given)
        return chosen


def _check_folder(folder: Path, resume: bool, replace: bool) -> None:
    """Refuse a run folder in which other files would be mixed with those of the run."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ValueError(f"--out {folder} is a file: name a folder")
    if replace or all(_is_left_behind(file) for file in folder.iterdir()):
        return
    if not resume:
        raise ValueError(
            f"--out {folder} is not empty: go on with the run in it, --resume, put this one in "
            "its place, --replace, or choose another"
        )
    if not any((folder / name).exists() for name in ("config.json", "settings.json")):
        raise ValueError(f"--out {folder} holds files but no run to go on with: choose another")


def _is_left_behind(file: Path) -> bool:
    """Whether a run that was killed at its very beginning left this file; it holds nothing."""
    return file.name in ("lock", "lock.holder") or file.name.endswith(".partial")
