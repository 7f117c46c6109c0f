"""How all pictures look: colours, sizes, saving."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from evsim.paths import user_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
"""The colours of Okabe and Ito that are told apart by colour-blind readers too."""

GREY = "#999999"
BLACK = "#222222"

TEXT = 8.0
SMALL_TEXT = 7.0

ONE_COLUMN = 3.4
TWO_COLUMNS = 7.0
"""Widths of a figure in inches."""


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of that size in inches whose parts make room for each other."""
    return Figure(figsize=(width, height), dpi=200, layout="constrained")


def label(ax: Axes, x: str = "", y: str = "", title: str = "") -> None:
    """Name the axes (with their units) and give them the common look."""
    ax.set_xlabel(x, fontsize=TEXT)
    ax.set_ylabel(y, fontsize=TEXT)
    if title:
        ax.set_title(title, fontsize=TEXT)
    ax.tick_params(labelsize=SMALL_TEXT, width=0.6, length=2.5)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for spine in ax.spines.values():
        spine.set_linewidth(0.6)


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure to a file, whose ending says the format (png, pdf, svg), and return its path.

    The file is complete or not there at all.
    """
    path = user_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.stem}.unfinished{path.suffix}")
    figure.savefig(unfinished)
    os.replace(unfinished, path)
    return path
