"""The grid of a study: every combination of the values of some settings."""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evsim.arguments.checks import (
    check_flag,
    check_is,
    checked_count,
    checked_integer,
    is_integer,
    listed,
    shown,
)
from evsim.arguments.errors import ArgumentError
from evsim.arguments.paths import user_path
from evsim.study.cells.plan import RESERVED

LARGE = 10_000
"""A study with more cells runs only if it is explicitly allowed."""

MOST_SEEDS = 10**6

_GRID = "give a mapping from each setting that varies to the list of its values"


def checked_grid(grid: Any) -> dict[str, list[Any]]:
    """The values of each setting that varies, as JSON has them.

    Raises TypeError and ValueError for empty lists, and for values that occur twice or are not
    plain.
    """
    check_is(grid, "grid", Mapping, _GRID)
    checked = {}
    for name, values in grid.items():
        check_is(name, "the name of a setting in grid", str, _GRID)
        if not name:
            raise ValueError(f"grid = {shown(grid)}: a setting has no name")
        if name in RESERVED and name != "seed":
            raise ValueError(f"{name} is a column of every table of a study: rename the setting")
        given = [
            plain(value, f"grid[{name!r}][{place}]")
            for place, value in enumerate(listed(values, f"grid[{name!r}]", _GRID))
        ]
        if not given:
            raise ValueError(f"grid[{name!r}] is empty: give at least one value, or leave it out")
        seen: set[str] = set()
        for value in given:
            if as_json(value) in seen:
                raise ValueError(f"grid[{name!r}] holds {shown(value)} twice: give each value once")
            seen.add(as_json(value))
        checked[name] = given
    return checked


def checked_settings(settings: Any, grid: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that are the same in every cell, as JSON has them."""
    check_is(settings, "settings", Mapping, "give a mapping from settings to their values")
    checked = {}
    for name, value in settings.items():
        check_is(name, "the name of a setting in settings", str, "give words")
        if name in grid:
            raise ValueError(f"{name} varies and is also given as a setting: leave one out")
        checked[name] = plain(value, f"settings[{name!r}]")
    for name in ("seed",):
        if name in checked or name in grid:
            raise ValueError(f"{name} is no setting of a study: give Study(..., seeds=...)")
    return checked


def checked_seeds(seeds: Any) -> list[int]:
    """The seeds; a number stands for that many seeds, from 0 on."""
    if is_integer(seeds):
        return list(range(checked_count(seeds, "seeds", 1, MOST_SEEDS)))
    checked: list[int] = []
    for place, each in enumerate(listed(seeds, "seeds", "give their number or a list of integers")):
        seed = checked_integer(each, f"seeds[{place}]", 0)
        if seed in checked:
            raise ValueError(f"seeds holds {seed} twice: it would count the same run again")
        checked.append(seed)
    if not checked:
        raise ValueError("seeds is empty: give at least one")
    return checked


def combinations(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of the values, the last setting varying fastest; one if there are none."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def check_size(grid: Mapping[str, Sequence[Any]], runs: int, allow_large: bool) -> None:
    """Refuse studies of very many runs; each combination is run ``runs`` times."""
    check_flag(allow_large, "allow_large")
    cells = runs * math.prod(len(values) for values in grid.values())
    if cells > LARGE and not allow_large:
        raise ArgumentError(
            f"the study has {cells} runs: for more than {LARGE}, give allow_large too",
            "allow_large",
        )


def plain(value: Any, name: str) -> Any:
    """A value as JSON has it, which is the same in any process.

    Raises TypeError for values that JSON does not have.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if math.isnan(value):
            raise ValueError(f"{name} = nan: it must be a number")
        return value
    if isinstance(value, os.PathLike):
        return os.path.abspath(user_path(value))  # other processes may run in another folder
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(entry, f"{name}[{place}]") for place, entry in enumerate(value)]
    if isinstance(value, Mapping):
        return {str(key): plain(entry, f"{name}[{key!r}]") for key, entry in value.items()}
    raise TypeError(
        f"{name} = {shown(value)}: give a number, text, True, False, None, or a list or mapping of "
        "those"
    )


def as_json(value: Any) -> str:
    """A plain value as text, the same for the same values; True, 1 and 1.0 are different."""
    return json.dumps(value, sort_keys=True)
