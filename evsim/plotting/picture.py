"""A figure that notebooks show exactly once."""

from __future__ import annotations

import io
import sys
from typing import Any

import matplotlib
from matplotlib.figure import Figure


class Picture(Figure):
    """A figure that a notebook shows if it is the value of a cell."""

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        self.savefig(content, format="png")
        return content.getvalue()

    def _ipython_display_(self, **metadata: Any) -> None:
        """Show the figure now, and not again at the end of the cell."""
        from IPython.display import display

        display({"image/png": self._repr_png_(), "text/plain": repr(self)}, raw=True)
        pyplot = sys.modules.get("matplotlib.pyplot")
        if pyplot is not None and "inline" in matplotlib.get_backend():
            pyplot.close(self)
