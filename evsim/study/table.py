"""Tables of the runs of a study, and means over seeds."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evsim.arguments.checks import check_choice, check_is, checked_path, shown, unknown_name
from evsim.arguments.keywords import helpful
from evsim.display.frames import data_frame
from evsim.display.html_table import html_table
from evsim.display.markdown_table import markdown_table
from evsim.storage.files import write_atomically
from evsim.study.cells.plan import RESERVED

if TYPE_CHECKING:
    from pandas import DataFrame

FORMATS = ("markdown", "csv", "parquet")


@helpful
@dataclass(frozen=True, eq=False, repr=False)
class Table:
    """A table with a row for each run of a study, or for each combination of settings.

    Parameters
    ----------
    columns : mapping from name to list
        All have the same length; None where a row has no value.
    settings : tuple of str
        Those columns that are settings of the study.
    """

    columns: Mapping[str, Sequence[Any]]
    settings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_is(self.columns, "columns", Mapping, "give a mapping from names to lists")
        check_is(self.settings, "settings", tuple, "give a tuple of names of columns")
        for name, values in self.columns.items():
            check_is(name, "the name of a column", str, "give words")
            check_is(values, f"columns[{name!r}]", (list, tuple), "give a list of values")
        lengths = {name: len(values) for name, values in self.columns.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns have different lengths: {lengths}")
        for name in self.settings:
            if name not in self.columns:
                raise ValueError(f"settings: {unknown_name('column', name, self.columns)}")

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows, each a mapping from column to value."""
        return [
            dict(zip(self.columns, values, strict=True))
            for values in zip(*self.columns.values(), strict=True)
        ]

    @property
    def measures(self) -> tuple[str, ...]:
        """The columns that a finished run measures, the most important one first."""
        others = {*self.settings, *_ABOUT_RUNS}
        found = [name for name in self.columns if name not in others]
        return tuple(sorted(found, key=lambda name: name != "accuracy"))

    def means(self, measure: str | None = None) -> Table:
        """The mean of a measure for each combination of settings, over its seeds and folds.

        The columns are the settings, ``mean``, ``standard_deviation`` with the divisor n - 1,
        which is None for a single run, and ``runs``, the number n of finished runs.

        Parameters
        ----------
        measure : str, optional
            By default the accuracy, or the first measure.
        """
        measure = self.measure(measure)
        groups: dict[str, list[dict[str, Any]]] = {}
        for row in self.rows:
            groups.setdefault(repr([row[name] for name in self.settings]), []).append(row)
        rows = []
        for group in groups.values():
            values = np.array([row[measure] for row in group if row[measure] is not None], float)
            rows.append(
                {
                    **{name: group[0][name] for name in self.settings},
                    "mean": float(values.mean()) if values.size else None,
                    "standard_deviation": float(values.std(ddof=1)) if values.size > 1 else None,
                    "runs": values.size,
                }
            )
        return table_of(rows, self.settings)

    def measure(self, name: str | None) -> str:
        """The name of a measure, or of the most important one.

        Raises ValueError for a name that no run has measured.
        """
        if name is None and self.measures:
            return self.measures[0]
        if name is None:
            raise ValueError("no run of the study has finished: there is nothing measured yet")
        check_choice(name, "measure", self.measures)
        return str(name)

    # -- formats -----------------------------------------------------------------------

    def to_markdown(self) -> str:
        """The table in Markdown."""
        rows = [[_as_text(value) for value in row.values()] for row in self.rows]
        return markdown_table(list(self.columns), rows)

    def to_csv(self) -> str:
        """The table as comma-separated values with all digits."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([_exactly(value) for value in row.values()] for row in self.rows)
        return text.getvalue()

    def to_parquet(self) -> bytes:
        """The content of a Parquet file.

        Raises ImportError without pyarrow.
        """
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError as error:
            raise ImportError(
                f"Parquet files need pyarrow ({error}): install it, pip install pyarrow"
            ) from error
        columns = {name: _of_one_kind(values) for name, values in self.columns.items()}
        content = io.BytesIO()
        parquet.write_table(pyarrow.table(columns), content)
        return content.getvalue()

    def to_frame(self) -> DataFrame:
        """The table as a pandas data frame.

        Raises ImportError without pandas.
        """
        return data_frame({name: list(values) for name, values in self.columns.items()})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the table to a file whose name ends with .md, .csv or .parquet."""
        path = checked_path(path, "path", "a file to write")
        endings = {".md": "markdown", ".csv": "csv", ".parquet": "parquet"}
        if path.suffix not in endings:
            raise ValueError(f"path = {str(path)!r}: end its name with .md, .csv or .parquet")
        write_atomically(path, self.content(endings[path.suffix]))

    def content(self, form: str) -> bytes:
        """The content of a file in the format "markdown", "csv" or "parquet"."""
        check_choice(form, "form", FORMATS)
        if form == "parquet":
            return self.to_parquet()
        return (f"{self.to_markdown()}\n" if form == "markdown" else self.to_csv()).encode()

    def __str__(self) -> str:
        return self.to_markdown()

    def __repr__(self) -> str:
        return f"Table({len(self)} rows; {', '.join(self.columns)})"

    def _repr_html_(self) -> str:
        rows = [[_for_html(value) for value in row.values()] for row in self.rows]
        return html_table(f"{len(self)} rows", list(self.columns), rows)


_ABOUT_RUNS = (*RESERVED, "best_epoch", "epochs", "samples")
"""Columns that do not measure how well a run did."""


def table_of(rows: Sequence[Mapping[str, Any]], settings: Sequence[str]) -> Table:
    """A table of rows, which need not all have the same columns.

    The columns ``warnings`` and ``error`` are the last.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    ordered = sorted(names, key=lambda name: name in ("warnings", "error"))
    return Table({name: [row.get(name) for row in rows] for name in ordered}, tuple(settings))


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return " ".join(text.split())


def _exactly(value: Any) -> Any:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else value


def _for_html(value: Any) -> str | float | int | None:
    return value if isinstance(value, (int, float, str)) or value is None else shown(value)


def _of_one_kind(values: Sequence[Any]) -> list[Any]:
    """Values that a column of a file can hold: text, unless all are numbers or all are flags."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) <= 1 and not kinds & {list, dict}:
        return list(values)
    if kinds == {int, float}:
        return [None if value is None else float(value) for value in values]
    return [None if value is None else str(value) for value in values]
