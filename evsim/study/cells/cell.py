"""Cells: one run of a study is one combination of settings with one seed and one fold."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LONGEST = 120
"""The largest number of characters of the name of a cell's folder."""


@dataclass(frozen=True)
class Cell:
    """One run of a study.

    Parameters
    ----------
    settings : mapping
        The settings that vary in the study.
    seed : int
    fold : str or None
        The name of the fold.
    """

    settings: Mapping[str, Any]
    seed: int
    fold: str | None = None

    @property
    def name(self) -> str:
        """The name of the cell's folder, such as "hidden=5,delays=true,seed=0"."""
        parts = {**self.settings, "seed": self.seed}
        if self.fold is not None:
            parts["fold"] = self.fold
        text = ",".join(f"{name}={_text(value)}" for name, value in parts.items())
        safe = re.sub(r"[^\w.,=+-]", "_", text, flags=re.ASCII)
        if safe == text and len(safe) <= LONGEST:
            return text
        # Different values may be written in the same way.
        digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]
        return f"{safe[:LONGEST]}~{digest}"

    def __str__(self) -> str:
        return self.name


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "+".join(map(_text, value)) or "[]"
    return str(value)


def check_names(cells: list[Cell]) -> None:
    """Refuse values that would share a folder: the text "5" and the number 5."""
    found: dict[str, Cell] = {}
    for cell in cells:
        other = found.setdefault(cell.name.lower(), cell)
        if other is not cell:
            raise ValueError(
                f"{dict(other.settings)} and {dict(cell.settings)} are both written {cell.name}: "
                "give values that differ in words"
            )
