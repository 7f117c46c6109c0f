"""What a study is, in a file of its folder, so that it can be continued and read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from evsim.storage.description import differences
from evsim.storage.files import StorageError
from evsim.storage.locks import held
from evsim.study.cells.cell import Cell, check_names
from evsim.study.cells.folder import CellFolder, read_json, write_json
from evsim.study.cells.plan import Folds
from evsim.study.cells.running import CELLS, STUDY_FILE
from evsim.study.grid import as_json, combinations

FORMAT = "evsim study 1"

GROWS = ("grid", "seeds")
"""What may have more values when a study is continued."""

_RESTORE = "restore it from a copy, or begin the study again in another folder"

PLACES = ("data", "download")
"""Settings that say where data are, which may be elsewhere on another machine."""


@dataclass(frozen=True)
class Description:
    """What a study is; see the arguments of ``Study``.

    ``fold_names`` are the names of the folds, ``engine`` is the description of the engine, and
    ``evsim`` the version that runs the study.
    """

    task: str
    grid: dict[str, list[Any]]
    seeds: list[int]
    folds: Folds
    fold_names: list[str]
    settings: dict[str, Any]
    validate: bool
    engine: dict[str, Any]
    evsim: str

    @property
    def title(self) -> str:
        """The name of a task of evsim, or the reference of a user's own function."""
        module, _, attribute = self.task.partition(":")
        package, _, name = module.rpartition(".")
        if (package, attribute) == ("evsim.tasks", "experiment"):
            return name.replace("_", "-")
        return self.task

    def cells(self) -> list[Cell]:
        """All cells; the seed varies slowest, so that all combinations advance together."""
        names: list[str | None] = [*self.fold_names] if self.folds is not None else [None]
        return [
            Cell(combination, seed, fold)
            for seed in self.seeds
            for combination in combinations(self.grid)
            for fold in names
        ]

    def check_goes_on(self, stored: Description, folder: Path) -> None:
        """Refuse to continue a study that differs in more than its number of cells."""
        ours, theirs = (
            {
                **{name: value for name, value in asdict(each).items() if name not in GROWS},
                "settings": {k: v for k, v in each.settings.items() if k not in PLACES},
                "varying settings": ", ".join(sorted(each.grid)) or "none",
            }
            for each in (self, stored)
        )
        found = differences(theirs, ours)
        if found:
            raise StorageError(
                f"{folder} holds another study: {'; '.join(found)}. Choose another folder, or go "
                "on with the study as it is stored"
            )

    def joined_with(self, stored: Description) -> Description:
        """The study with the values and seeds of both."""
        grid = {}
        for name, values in stored.grid.items():
            known = set(map(as_json, values))
            grid[name] = [*values, *(v for v in self.grid[name] if as_json(v) not in known)]
        seeds = [*stored.seeds, *(seed for seed in self.seeds if seed not in stored.seeds)]
        return replace(self, grid=grid, seeds=seeds)

    def store(self, folder: Path) -> None:
        """Write the description, with what is already stored.

        Raises StorageError for the folder of another study, and ValueError for one that holds
        other files, and for values that are written as stored ones are.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with held(folder / "study.lock", f"begins {folder}", "try again", wait=10.0):
            stored = stored_in(folder)
            if stored is None:
                _check_empty(folder)
                whole = self
            else:
                self.check_goes_on(stored, folder)
                whole = self.joined_with(stored)
                check_names(whole.cells())
            if whole != stored:
                write_json(folder / STUDY_FILE, {"format": FORMAT, **asdict(whole)})


def stored_in(folder: Path) -> Description | None:
    """The study in a folder, if there is one.

    Raises StorageError for a damaged description, and for one of another version of evsim that
    this one cannot read.
    """
    path = folder / STUDY_FILE
    content: Mapping[str, Any] = read_json(path, _RESTORE)
    if not content:
        return None
    if content.get("format") != FORMAT:
        raise StorageError(f"{path} is {content.get('format')!r}, not {FORMAT!r}")
    try:
        return Description(**{name: value for name, value in content.items() if name != "format"})
    except TypeError as error:
        raise StorageError(f"{path} is damaged ({error}): {_RESTORE}") from error


def cell_folder(folder: Path, cell: Cell) -> CellFolder:
    """The folder of a cell of the study in a folder."""
    return CellFolder(folder / CELLS / cell.name)


def _check_empty(folder: Path) -> None:
    others = [path.name for path in folder.iterdir() if not path.name.startswith("study.lock")]
    if others:
        raise ValueError(
            f"{folder} holds files but no study, {others[0]} among them: choose another folder"
        )
