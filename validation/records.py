"""A finding as it is kept: with the settings, versions, machine and seconds that made it."""

from __future__ import annotations

import json
import os
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
    """One ``<ClaimName>.json``.

    Parameters
    ----------
    claim : str
        Its name.
    settings : dict
        Of the run, see ``Claim.settings``.
    finding : Finding
    error : str or None
        What ended the run, where the claim's program failed; the finding then says no more.
    seconds : float
    date : str
        Year, month and day.
    machine : str
    versions : dict
        Of Python, evsim, and what it computes with.
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
        """In a word or two."""
        if self.error is not None:
            return "failed"
        return {True: "holds", False: "refuted", None: "not examined"}[self.finding.holds]

    @property
    def finished(self) -> bool:
        """Whether the claim was examined to the end, so that it need not be again."""
        return self.finding.holds is not None

    def write(self, folder: Path) -> None:
        """Put it into a folder, complete or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        stored = {**vars(self), "finding": self.finding.to_json()}
        file = folder / f"{self.claim}.json"
        text = json.dumps(stored, indent=1, ensure_ascii=False) + "\n"
        write_atomically(file, text.encode())

    @classmethod
    def read(cls, file: Path) -> Record:
        """What ``write`` put there."""
        stored = json.loads(file.read_text(encoding="utf-8"))
        return cls(**{**stored, "finding": Finding.from_json(stored["finding"])})


def stored_record(folder: Path, claim: str) -> Record | None:
    """That of a claim in a folder, if there is one that can be read."""
    try:
        return Record.read(folder / f"{claim}.json")
    except (FileNotFoundError, json.JSONDecodeError, KeyError, TypeError):
        return None


def versions() -> dict[str, str]:
    """Of Python, evsim, and what is installed of what they compute with."""
    found = {"Python": platform.python_version(), "evsim": evsim.__version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def machine() -> str:
    """The processor, and how many of them, as far as the system tells."""
    names = []
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as lines:
            names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"
