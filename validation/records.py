"""The record of a finding, with the settings, versions, machine and time of its run."""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from claims import Finding

import evsim
from evsim.storage import write_atomically

PACKAGES = ("numpy", "scipy", "numba", "mpmath", "gmpy2", "nest-simulator", "cupy-cuda13x")


@dataclass(frozen=True)
class Record:
    """The content of a file ``<ClaimName>.json``.

    Parameters
    ----------
    claim : str
        The name of the claim.
    settings : dict
        The settings of the run, see ``Claim.settings``.
    finding : Finding
    error : str or None
        The error that ended the run, if the claim's program failed; the finding is then empty.
    seconds : float
        The duration of the run.
    date : str
        Year, month and day.
    machine : str
    versions : dict
        The versions of Python, evsim and its dependencies.
    """

    claim: str
    settings: dict[str, Any]
    finding: Finding
    error: str | None
    seconds: float
    date: str
    machine: str
    versions: dict[str, str]

    @property
    def verdict(self) -> str:
        """The verdict in a word or two."""
        if self.error is not None:
            return "failed"
        return {True: "holds", False: "refuted", None: "not examined"}[self.finding.holds]

    @property
    def finished(self) -> bool:
        """Whether the test of the claim ran to its end, so that it need not be repeated."""
        return self.finding.holds is not None

    def write(self, folder: Path) -> None:
        """Write the record into a folder; the file is complete or does not exist."""
        folder.mkdir(parents=True, exist_ok=True)
        stored = {**vars(self), "finding": self.finding.to_json()}
        file = folder / f"{self.claim}.json"
        text = json.dumps(stored, indent=1, ensure_ascii=False) + "\n"
        write_atomically(file, text.encode())

    @classmethod
    def read(cls, file: Path) -> Record:
        """The record in a file that ``write`` has written."""
        stored = json.loads(file.read_text(encoding="utf-8"))
        return cls(**{**stored, "finding": Finding.from_json(stored["finding"])})


def stored_record(folder: Path, claim: str) -> Record | None:
    """The record of a claim in a folder; None if there is none or it cannot be read."""
    try:
        return Record.read(folder / f"{claim}.json")
    except (FileNotFoundError, json.JSONDecodeError, KeyError, TypeError):
        return None


def versions() -> dict[str, str]:
    """The versions of Python, evsim, and those dependencies that are installed."""
    found = {"Python": platform.python_version(), "evsim": evsim.__version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
