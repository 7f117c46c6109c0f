"""How a stopped study informs the processes that run its cells, wherever they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evsim.training.fitting import StopTraining

STOPPED = "stopped"
"""The file of a study's folder with the names of those runs of the study that were stopped."""


class StopWhenAsked:
    """A callback that ends training after an epoch in which the study was stopped.

    ``run`` is the name of one run of the study.
    """

    def __init__(self, study: Path, run: str) -> None:
        self.file = study / STOPPED
        self.run = run
        self.has_stopped = False

    def __call__(self, state: Any) -> None:
        if state.epoch == state.epochs:
            return
        try:
            names = self.file.read_text().split()
        except OSError:
            return
        if self.run in names:
            self.has_stopped = True
            raise StopTraining("the study was stopped")


def stop(study: Path, run: str) -> None:
    """Tell all processes that work for one run of a study to stop after their epoch."""
    with open(study / STOPPED, "a") as file:
        file.write(f"{run}\n")
