"""The file settings.json of a run folder: what the command was asked to do."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evsim.cli.info import environment
from evsim.cli.options import Run

if TYPE_CHECKING:
    from evsim.tasks.settings import ExperimentSettings
    from evsim.training.fitting import TrainingState

GRID = ("dt", "precision")
"""The arguments of a grid engine that change what is computed."""

FREE_TO_CHANGE = {"epochs": None, "data": None, "download": None}
"""Settings that may differ when a run is resumed.  The data themselves are compared when read."""


class SettingsFile:
    """A callback that writes the settings once training has accepted them."""

    def __init__(
        self,
        folder: Path,
        name: str,
        settings: ExperimentSettings,
        run: Run,
        engine: Any,
        quick: Mapping[str, Any] | None = None,
    ) -> None:
        from evsim.storage.description import describe

        self.path = folder / "settings.json"
        self.content = {
            "task": name,
            "settings": describe(_as_text(dataclasses.asdict(settings))),
            "engine": run.engine,
        }
        self.defaults = describe(_as_text(dataclasses.asdict(type(settings)())))
        if run.on_grid:
            self.content |= {name: getattr(engine, name) for name in GRID}
        if quick is not None:
            self.content["quick"] = describe(dict(quick))  # what --quick has set, for people
        self.content["versions"] = environment()
        hyperparameters = settings.hyperparameters()
        if hyperparameters is not settings:
            self.content["hyperparameters"] = describe(dataclasses.asdict(hyperparameters))
        self.written = False
        self.epochs: int | None = None

    def compare(self) -> None:
        """Refuse to resume a run that had other settings; name the differences.

        A setting that an earlier version did not have counts as its default.
        """
        from evsim.storage.description import differences

        if not self.path.exists():
            return
        try:
            stored, asked = (
                {
                    **self.defaults,
                    **{name: content[name] for name in ("task", "engine")},
                    **{name: content[name] for name in GRID if name in content},
                    **content["settings"],
                    **FREE_TO_CHANGE,
                }
                for content in (json.loads(self.path.read_text()), self.content)
            )
            found = differences(stored, asked)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"{self.path} is damaged: delete it to go on without it") from error
        if found:
            raise ValueError(
                f"--resume with other settings than those of {self.path}: {'; '.join(found)}"
            )

    def __call__(self, state: TrainingState) -> None:
        self.epochs = state.epochs
        if not self.written:
            write_json(self.path, self.content)
            self.written = True


def _as_text(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings with paths as text, which JSON can hold."""
    return {k: str(value) if isinstance(value, Path) else value for k, value in settings.items()}


def write_json(path: Path, content: Any) -> None:
    """Write a file of a run folder, with each row of numbers on one line."""
    from evsim.storage.files import write_atomically

    text = json.dumps(content, indent=2)
    text = re.sub(r"\[[\d\s.,e+-]*\]", lambda row: " ".join(row.group().split()), text)
    write_atomically(path, f"{text}\n".encode())
