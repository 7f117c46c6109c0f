"""Comparison: what ``evsim.compare`` returns."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from evsim.arguments.keywords import helpful
from evsim.display.html_table import html_table
from evsim.referee.divergence import Divergence
from evsim.referee.gradients import GradientError
from evsim.referee.matching import SpikeMatches
from evsim.referee.page import save_page, text_of
from evsim.referee.time_step import TimeStep
from evsim.referee.timing import TimingErrors
from evsim.referee.verdict import sentence, verdict_on_spikes, verdict_on_values
from evsim.referee.voltages import VoltageErrors
from evsim.simulation import Run

if TYPE_CHECKING:
    from pandas import DataFrame


@helpful
@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Another program's results against the exact ones; ``print`` shows the report.

    Parameters
    ----------
    run : Run
        evsim's simulation.
    matches : SpikeMatches
        All spikes, in pairs where both programs have them.
    timing : mapping from str to TimingErrors
        Errors of spike times by population; "all" has those of all populations together.
    rounding : str or None
        "float64" or "float32" if rounding of such numbers explains the errors of all pairs.
    time_step : TimeStep or None
        What is known of a time step; None if there are too few errors, or if rounding explains
        them.
    divergences : tuple of Divergence
        The first missing or additional spike of each sample that has one.
    voltages : tuple of VoltageErrors
    loss : (float, float) or None
        The loss of evsim and that of the other program.
    gradients : tuple of GradientError
    """

    run: Run
    matches: SpikeMatches
    timing: Mapping[str, TimingErrors]
    rounding: str | None = None
    time_step: TimeStep | None = None
    divergences: tuple[Divergence, ...] = ()
    voltages: tuple[VoltageErrors, ...] = ()
    loss: tuple[float, float] | None = None
    gradients: tuple[GradientError, ...] = ()

    @cached_property
    def verdict(self) -> str:
        """What was found, in one sentence."""
        parts = []
        if self.matches.populations:
            parts.append(
                verdict_on_spikes(
                    self.timing["all"], self.rounding, self.time_step, self.divergences
                )
            )
        parts += verdict_on_values(self.voltages, self.loss_error, self.gradients)
        return sentence(parts)

    @property
    def loss_error(self) -> float | None:
        """The relative error of the loss; None if it was not compared."""
        if self.loss is None:
            return None
        exact, theirs = self.loss
        return (theirs - exact) / max(abs(exact), 1e-300)

    @property
    def first_divergence(self) -> Divergence | None:
        """The earliest of ``divergences``; None if every spike has a partner."""
        return min(self.divergences, key=lambda each: each.time, default=None)

    @property
    def agrees(self) -> bool:
        """Whether all spikes have a partner and errors of their times are rounding."""
        total = self.timing["all"]
        return not total.missing and not total.additional and (
            self.rounding is not None or not total.matched
        )  # fmt: skip

    def to_frame(self) -> DataFrame:
        """All spikes as a pandas data frame, see ``SpikeMatches.to_frame``.

        Raises ImportError without pandas.
        """
        return self.matches.to_frame()

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write a page, a picture and all spikes to a folder, and return the page's path.

        The files are comparison.md, comparison.png and spikes.csv.

        Raises ValueError if the folder, or a folder above it, is a file.
        """
        return save_page(self, folder)

    def __str__(self) -> str:
        return text_of(self)

    def __repr__(self) -> str:
        total = self.timing["all"]
        return (
            f"Comparison({total.matched} spikes matched, {total.moved} of them moved, "
            f"{total.missing} missing, {total.additional} additional)"
        )

    def _repr_html_(self) -> str:
        header = ("population", "evsim", "other program", "missing", "additional", "median error "
                  "(ms)", "95 %", "largest")  # fmt: skip
        rows = [
            (name, t.ours, t.theirs, t.missing, t.additional, t.median, t.p95, t.largest)
            for name, t in self.timing.items()
        ]
        return html_table(self.verdict, header, rows)
