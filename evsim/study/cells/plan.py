"""What a run of a study is, whatever it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from evsim.study.cells.stopping import StopWhenAsked

Measures = dict[str, float | int | str | None]
"""The numbers that a run ends with, by name."""

RESERVED = ("seed", "fold", "state", "seconds", "warnings", "error")
"""Columns that the table of every study has, or may have."""

Folds = int | str | None
"""The number of parts of a k-fold, "groups" to leave one group out, or None."""


@dataclass(frozen=True)
class RunPlan:
    """How one run of a study is carried out.

    Parameters
    ----------
    settings : dict
        All settings except the seed.
    seed : int
    folds : int, "groups" or None
    fold : str or None
        The name of the fold.
    validate : bool
        Whether the task's validation samples choose the best epoch; otherwise they are trained on.
    """

    settings: dict[str, Any]
    seed: int
    folds: Folds = None
    fold: str | None = None
    validate: bool = True


@dataclass(frozen=True)
class RunPlace:
    """Where a run takes place: its engine, its folder, and what may stop it."""

    engine: Any
    folder: Path
    stop: StopWhenAsked


class Subject(Protocol):
    """What a study runs."""

    @property
    def reference(self) -> str:
        """The module and the name by which other processes find it, "module:name"."""

    def check(self, settings: Mapping[str, Any], seed: int) -> None:
        """Refuse settings that it does not have or that it does not accept."""

    def fold_names(self, settings: dict[str, Any], folds: Folds) -> list[str]:
        """The names of the folds of its training samples."""

    def epochs(self, settings: dict[str, Any]) -> int | None:
        """The number of epochs of a run; None if it is not known."""

    def compile(self, settings: dict[str, Any], engine: Any) -> None:
        """Compile what runs need, so that not every process of a machine has to."""

    def run(self, plan: RunPlan, place: RunPlace) -> Measures:
        """Run once, or continue an interrupted run."""
