"""What a claim is, and what is found when it is examined.

A claim is a class with one sentence that could be wrong, an opponent, and a way to find out.
Claims return findings and print nothing; ``run.py`` runs them, ``page.py`` writes the page.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self

# -- what is found ------------------------------------------------------------------------


@dataclass(frozen=True)
class Table:
    """Rows of cells as they are to be read; units are in the names of the ``columns``."""

    title: str
    columns: list[str]
    rows: list[list[str]]

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(
                    f"table {self.title!r}: row {number} has {len(row)} cells and the table "
                    f"{len(self.columns)} columns"
                )


@dataclass(frozen=True)
class Picture:
    """A PNG file in the claim's folder, by its name there, and what it shows in words."""

    file: str
    text: str


@dataclass(frozen=True)
class Finding:
    """What came out when a claim was examined.

    Parameters
    ----------
    holds : bool or None
        None if it could not be examined here; ``summary`` says why.
    summary : str
        One or two sentences with the figures.
    tables : list of Table
    pictures : list of Picture
    refutations : list of str
        What does not hold, by how much, and why if that is known.
    """

    holds: bool | None
    summary: str
    tables: list[Table] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    refutations: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.holds and self.refutations:
            raise ValueError(f"a claim cannot hold and be refuted: {self.refutations[0]}")
        if self.holds is False and not self.refutations:
            raise ValueError("a claim that does not hold needs a sentence that says what does not")

    @classmethod
    def of(
        cls,
        summary: str,
        refutations: Iterable[str],
        tables: Sequence[Table] = (),
        pictures: Sequence[Picture] = (),
    ) -> Finding:
        """Of a claim that was examined: it holds if nothing refutes it."""
        lines = list(refutations)
        return cls(not lines, summary, list(tables), list(pictures), lines)

    def to_json(self) -> dict[str, Any]:
        """Nothing but dicts, lists, strings, booleans and None."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Finding:
        """What ``to_json`` gave."""
        return cls(
            stored["holds"],
            stored["summary"],
            [Table(**table) for table in stored["tables"]],
            [Picture(**picture) for picture in stored["pictures"]],
            list(stored["refutations"]),
        )


# -- the claim ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Claim(ABC):
    """A sentence that could be wrong, and how to find out.

    Fields are the sizes of the run, with those of the full run as defaults; a field of type
    ``Path | None`` called ``data`` is a folder of data that the user names.  The docstring's
    first paragraph is the claim, the last begins "Refuted".
    """

    against: ClassVar[str] = ""
    """The opponent, in a few words for a table."""

    counts: ClassVar[tuple[str, ...]] = ()
    """Names of the fields that ``smaller`` scales."""

    @abstractmethod
    def examine(self, folder: Path) -> Finding:
        """Find out; pictures, and what lets an interrupted run go on, are put into the folder."""

    def smaller(self, effort: float) -> Self:
        """The same claim with its counts multiplied, each at least 1."""
        scaled = {name: max(1, round(effort * getattr(self, name))) for name in self.counts}
        return replace(self, **scaled)

    @property
    def name(self) -> str:
        """That of its class."""
        return type(self).__name__

    def settings(self) -> dict[str, Any]:
        """The fields by name as JSON has them; where data lie is no setting."""
        values = {own.name: getattr(self, own.name) for own in fields(self) if own.name != "data"}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
        }

    @classmethod
    def paragraphs(cls) -> list[str]:
        """Of the docstring: the claim first, what refutes it last."""
        return inspect.cleandoc(cls.__doc__ or "").split("\n\n")

    @classmethod
    def sentence(cls) -> str:
        """The claim, on one line."""
        return " ".join(cls.paragraphs()[0].split())
