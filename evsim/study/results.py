"""What the folder of a study contains: the states and results of its runs."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evsim.arguments.checks import check_is, checked_path, shown, unknown_name
from evsim.arguments.keywords import helpful
from evsim.display.warning_place import warn_caller
from evsim.study.cells.cell import Cell
from evsim.study.cells.folder import STATES, CellFolder
from evsim.study.cells.plan import RESERVED
from evsim.study.description import Description, cell_folder, stored_in
from evsim.study.grid import as_json, plain
from evsim.study.statistics import PairedDifference, paired_difference
from evsim.study.table import Table, table_of


@helpful
class StudyResults:
    """The runs of a study, whether or not they have finished.

    Parameters
    ----------
    description : Description
    folder : Path
    """

    def __init__(self, description: Description, folder: Path) -> None:
        check_is(description, "description", Description, "give load_study the folder of a study")
        self.description = description
        self.folder = checked_path(folder, "folder")

    @property
    def cells(self) -> list[Cell]:
        """All cells, one for each run."""
        return self.description.cells()

    def cell_folder(self, cell: Cell) -> CellFolder:
        """The files of a cell."""
        return cell_folder(self.folder, cell)

    def status(self) -> dict[str, int]:
        """How many runs are finished, failed, running, interrupted and waiting.

        Interrupted runs continue from their last epoch when the study is run.
        """
        found = Counter(self.cell_folder(cell).state() for cell in self.cells)
        return {state: found[state] for state in STATES}

    def table(self) -> Table:
        """A row for each run: its settings, seed, fold, state, measures and error.

        ``seconds`` is the time the run took, ``samples`` the number of test samples, and
        ``warnings`` how many different ones a run gave, if there were any.  A measure that has the
        name of another column, such as the setting ``loss``, is in ``measured_loss``.
        """
        grid = self.description.grid
        place = {
            name: {repr(value): number for number, value in enumerate(values)}
            for name, values in grid.items()
        }

        def order(cell: Cell) -> list[int]:
            return [place[name][repr(value)] for name, value in cell.settings.items()]

        return table_of([self._row(cell) for cell in sorted(self.cells, key=order)], tuple(grid))

    def warnings(self) -> dict[str, list[str]]:
        """The warnings of all runs, and for each the names of the runs that gave it."""
        found: dict[str, list[str]] = {}
        for cell in self.cells:
            for text in self.cell_folder(cell).warnings():
                found.setdefault(text, []).append(cell.name)
        return found

    def _row(self, cell: Cell) -> dict[str, Any]:
        folder = self.cell_folder(cell)
        row: dict[str, Any] = {**cell.settings, "seed": cell.seed}
        if self.description.folds is not None:
            row["fold"] = cell.fold
        state = folder.state()
        row["state"] = state
        if state == "finished":
            outcome = folder.outcome()
            taken = {*self.description.grid, *RESERVED}
            for name, value in outcome["measures"].items():
                row[f"measured_{name}" if name in taken else name] = value
            row["seconds"] = outcome["seconds"]
        warnings = folder.warnings()
        if warnings:
            row["warnings"] = len(warnings)
        failure = folder.failure() if state == "failed" else None
        if failure is not None:
            row["error"] = failure.error
        return row

    def compare(
        self,
        a: Mapping[str, Any],
        b: Mapping[str, Any],
        *,
        measure: str | None = None,
        confidence: float = 0.95,
    ) -> PairedDifference:
        """The mean difference a - b between runs that are otherwise the same.

        A pair has the same seed, fold and other settings.  Folds of one seed share training
        samples, so an interval over folds is somewhat too narrow.

        Parameters
        ----------
        a, b : mapping from setting to value
            Both name the same settings of the grid, such as ``{"delays": True}`` and
            ``{"delays": False}``.
        measure : str, optional
            By default the accuracy, or the first measure.
        confidence : float
            Of the intervals, in (0, 1).

        Raises
        ------
        TypeError, ValueError
            For settings or values that the grid does not have, and for fewer than two pairs.

        Warns
        -----
        UserWarning
            If runs that are not finished leave pairs out.
        """
        first, second = self._chosen(a, "a"), self._chosen(b, "b")
        if set(first) != set(second) or first == second:
            raise ValueError(
                f"a = {shown(a)} and b = {shown(b)}: give both the same settings, and other values"
            )
        table = self.table()
        measure = table.measure(measure)
        pairs: dict[str, dict[str, float]] = {}
        for row in table.rows:
            key = repr(
                [row[n] for n in (*table.settings, "seed") if n not in first] + [row.get("fold")]
            )
            for side, chosen in (("a", first), ("b", second)):
                if all(as_json(row[name]) == as_json(value) for name, value in chosen.items()):
                    pairs.setdefault(key, {})[side] = row[measure]
        whole = [pair for pair in pairs.values() if None not in pair.values() and len(pair) == 2]
        if len(whole) < len(pairs):
            warn_caller(
                f"{len(pairs) - len(whole)} of {len(pairs)} pairs are left out: their runs are not "
                "both finished",
                UserWarning,
            )
        return paired_difference(
            [pair["a"] for pair in whole], [pair["b"] for pair in whole], confidence=confidence
        )

    def _chosen(self, settings: Any, which: str) -> dict[str, Any]:
        """The settings of one side of a comparison, which the grid must have."""
        check_is(settings, which, Mapping, "give a mapping from settings to values")
        grid = self.description.grid
        chosen = {}
        for name, given in settings.items():
            if name not in grid:
                raise ValueError(f"{which}: {unknown_name('setting that varies', name, grid)}")
            value = plain(given, f"{which}[{name!r}]")
            # 5.0 stands for 5, unless the study has both.
            found = [each for each in grid[name] if each == value]
            if not found:
                values = ", ".join(map(str, grid[name]))
                raise ValueError(f"{which}: {name} = {shown(given)}: the study has {values}")
            chosen[name] = next(
                (each for each in found if as_json(each) == as_json(value)), found[0]
            )
        if not chosen:
            raise ValueError(f"{which} is empty: name at least one setting")
        return chosen


@helpful
def load_study(folder: str | os.PathLike[str]) -> StudyResults:
    """The results of a study in a folder, which need not be complete.

    Raises FileNotFoundError if there is no study, and StorageError for a damaged one.
    """
    path = checked_path(folder, "folder")
    description = stored_in(path)
    if description is None:
        raise FileNotFoundError(f"there is no study in {path}")
    return StudyResults(description, path)
