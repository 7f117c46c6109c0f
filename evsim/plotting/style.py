"""The common look of pictures: colours, sizes, saving."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import matplotlib.axes
from matplotlib.backends.registry import BackendFilter, backend_registry
from matplotlib.figure import Figure

from evsim.arguments.checks import check_is, checked_path
from evsim.arguments.keywords import helpful
from evsim.display.picture_target import for_the_screen
from evsim.plotting.picture import Picture
from evsim.storage.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
"""The colours of Okabe and Ito, which colour-blind readers can tell apart."""

GREY = "#999999"
BLACK = "#222222"

TEXT = 8.0
SMALL_TEXT = 7.0

ONE_COLUMN = 3.4
TWO_COLUMNS = 7.0
"""Widths of a figure in inches."""


def axes_of(ax: Axes | None, width: float, height: float) -> Axes:
    """The given axes, or those of a new figure of that size in inches."""
    if ax is None:
        return new_figure(width, height).subplots()
    check_is(ax, "ax", matplotlib.axes.Axes, "give the axes of a figure, or leave them out")
    return ax


def new_figure(width: float, height: float) -> Picture:
    """An empty figure of that size in inches whose parts do not overlap.

    Unless it is for a file, it belongs to pyplot, so that ``pyplot.show()`` and notebooks show it.
    """
    look: dict[str, Any] = {"figsize": (width, height), "dpi": 200, "layout": "constrained"}
    if for_the_screen():
        from matplotlib import pyplot

        try:
            return pyplot.figure(FigureClass=Picture, **look)
        except ImportError:  # the requested backend needs a display, and there is none
            pass
    return Picture(**look)


def label(ax: Axes, x: str = "", y: str = "", title: str = "") -> None:
    """Label the axes (with units) and give them the common look."""
    ax.set_xlabel(x, fontsize=TEXT)
    ax.set_ylabel(y, fontsize=TEXT)
    if title:
        ax.set_title(title, fontsize=TEXT)
    ax.tick_params(width=0.6, length=2.5)
    ax.tick_params(which="minor", width=0.4, length=1.5)
    ax.tick_params(which="both", labelsize=SMALL_TEXT)  # a short logarithmic axis labels both
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for spine in ax.spines.values():
        spine.set_linewidth(0.6)


@helpful
def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure to a file and return its path; the suffix (png, pdf, svg) sets the format.

    The file is written completely or not at all.  Where pyplot cannot show figures, for example
    without a display, the figure is then closed if this module created it.
    """
    check_is(figure, "figure", Figure, "give a matplotlib Figure, such as that of axes, ax.figure")
    path = checked_path(path, "path", "a picture to write")
    known = figure.canvas.get_supported_filetypes()
    if path.suffix[1:].lower() not in known:
        raise ValueError(f"path = {str(path)!r}: end its name with one of .{', .'.join(known)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix[1:] or None)
    write_atomically(path, content.getvalue())
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None and isinstance(figure, Picture) and not can_show():
        pyplot.close(figure)
    return path


def can_show() -> bool:
    """Whether pyplot's backend shows figures, in windows or in a notebook."""
    hidden = backend_registry.list_builtin(BackendFilter.NON_INTERACTIVE)
    return matplotlib.get_backend().lower() not in hidden
