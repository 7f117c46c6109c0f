"""The base class of claims, and the finding that a claim returns when it is tested.

A claim is a class with a sentence that could be wrong, an opponent (what evsim is compared with),
and a program that tries to refute the sentence.  Claims return findings and print nothing;
``run.py`` runs them, ``page.py`` writes the page.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self

# -- findings -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Table:
    """A table of formatted cells; the names of the ``columns`` include the units."""

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
    """The name of a PNG file in the claim's folder, and a description of what it shows."""

    file: str
    text: str


@dataclass(frozen=True)
class Finding:
    """The result of testing a claim.

    Parameters
    ----------
    holds : bool or None
        None if the claim could not be tested; ``summary`` says why.
    summary : str
        One or two sentences with the figures.
    tables : list of Table
    pictures : list of Picture
    refutations : list of str
        Each says what does not hold, by how much, and why if that is known.
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
        """The finding of a claim that was tested; the claim holds if there are no refutations."""
        lines = list(refutations)
        return cls(not lines, summary, list(tables), list(pictures), lines)

    def to_json(self) -> dict[str, Any]:
        """The finding as dicts, lists, strings, booleans and None."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Finding:
        """The finding from the result of ``to_json``."""
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
    """A sentence that could be wrong, and the program that tests it.

    The fields are the sizes of the run; their defaults are those of the full run.  The field
    ``data``, of type ``Path | None``, is a folder of data that the user names.  The first paragraph
    of the docstring is the claim; the last one begins with "Refuted".
    """

    against: ClassVar[str] = ""
    """The opponent, in a few words for a table."""

    counts: ClassVar[tuple[str, ...]] = ()
    """Names of the fields that ``smaller`` scales."""

    @abstractmethod
    def examine(self, folder: Path) -> Finding:
        """Test the claim; pictures and the state of an interrupted run go into the folder."""

    def smaller(self, effort: float) -> Self:
        """The same claim with its counts multiplied by ``effort``; each count is at least 1."""
        scaled = {name: max(1, round(effort * getattr(self, name))) for name in self.counts}
        return replace(self, **scaled)

    @property
    def name(self) -> str:
        """The name of the claim, which is that of its class."""
        return type(self).__name__

    def settings(self) -> dict[str, Any]:
        """The fields by name, as JSON stores them, except the folder of the data."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "data"}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
        }

    @classmethod
    def paragraphs(cls) -> list[str]:
        """The paragraphs of the docstring: first the claim, last what refutes it."""
        return inspect.cleandoc(cls.__doc__ or "").split("\n\n")

    @classmethod
    def sentence(cls) -> str:
        """The claim as one line."""
        return " ".join(cls.paragraphs()[0].split())
