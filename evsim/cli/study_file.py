"""A study as a TOML file: task, seeds, folds, settings, and the values of those that vary."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from evsim.arguments.checks import is_integer, shown, unknown_name
from evsim.arguments.paths import user_path

CROSS_VALIDATION = "cross-validation"


@dataclass(frozen=True)
class StudyFile:
    """The content of a file.

    Parameters
    ----------
    task : str
        The name of a task, or "module:name" of a function or experiment.
    vary, settings : dict
    seeds : int or list of int
    folds : int, "groups" or None
    choose : str or None
        "cross-validation", or None.
    fold_seeds : int or list of int
    engine : dict
        The "name" of the engine, and its arguments.
    validate : bool
    """

    task: str
    vary: dict[str, list[Any]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    seeds: int | list[int] = 8
    folds: int | str | None = None
    choose: str | None = None
    fold_seeds: int | list[int] = 1
    engine: dict[str, Any] = field(default_factory=dict)
    validate: bool = True


_TABLES = ("vary", "settings", "engine")


def read_study(path: Path) -> StudyFile:
    """The study in a file.

    Raises FileNotFoundError, and ValueError for a file that does not describe a study.
    """
    path = user_path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no TOML file: {error}") from error
    known = [each.name for each in fields(StudyFile)]
    for name, value in content.items():
        if name not in known:
            raise ValueError(f"{path}: {unknown_name('entry', name, known)}")
        if (name in _TABLES) != isinstance(value, dict):
            form = f"a table, [{name}]" if name in _TABLES else f"a value, {name} = ..."
            raise ValueError(f"{path}: {name} = {shown(value)}: it must be {form}")
    if not isinstance(content.get("task"), str):
        raise ValueError(f'{path} names no task: begin it with task = "yin-yang"')
    study = StudyFile(**content)
    for name in ("seeds", "fold_seeds"):
        seeds = getattr(study, name)
        if not all(map(is_integer, seeds if isinstance(seeds, list) else [seeds])):
            raise ValueError(
                f"{path}: {name} = {shown(seeds)}: give their number, or a list of them"
            )
    if not (study.folds is None or isinstance(study.folds, str) or is_integer(study.folds)):
        raise ValueError(
            f"{path}: folds = {shown(study.folds)}: give 'groups', or the number of parts"
        )
    if study.choose not in (None, CROSS_VALIDATION):
        raise ValueError(
            f"{path}: choose = {shown(study.choose)}: the one way is {CROSS_VALIDATION!r}"
        )
    if study.choose and study.folds is None:
        raise ValueError(f"{path}: choose compares what is held out: say what, folds = ...")
    return study
