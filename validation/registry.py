"""Finds all claims and their modules without importing them: a dependency may be missing."""

from __future__ import annotations

import ast
from functools import cache
from importlib import import_module
from pathlib import Path

from claims import Claim

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent

ORDER = (
    "ReferenceVsClosedForm",
    "ExactVsReference",
    "GradientVsFiniteDifferences",
    "ExactVsNest",
    "ThreadsDoNotMatter",
    "ProcessesDoNotMatter",
    "NumberingDoesNotMatter",
    "StudiesSurvive",
    "RandomNetworksAgree",
    "ExactVsOlderEvsim",
    "GridVsExact",
    "CudaVsGrid",
    "WorkPrecision",
    "TimeStepDecides",
    "PaperSequence",
    "PaperYinYang",
    "PaperMnist",
    "PaperLosses",
    "SilentHiddenLayer",
)
"""The order of the page: each claim relies on those before it."""


@cache
def modules() -> dict[str, str]:
    """The module of each claim, in the order of the page; unlisted claims come last."""
    found = {}
    for file in sorted(FOLDER.glob("*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            bases = node.bases if isinstance(node, ast.ClassDef) else []
            if any(isinstance(base, ast.Name) and base.id == "Claim" for base in bases):
                found[node.name] = file.stem
    known = [name for name in ORDER if name in found]
    return {name: found[name] for name in [*known, *(found.keys() - set(known))]}


def claim_class(name: str) -> type[Claim]:
    """The class of a claim; ImportError if a dependency of its module is not installed."""
    return getattr(import_module(modules()[name]), name)


def selected(words: str) -> list[str]:
    """The names of the claims that contain one of the words, in any case; all for ''."""
    wanted = words.lower().split()
    return [name for name in modules() if not wanted or any(w in name.lower() for w in wanted)]
