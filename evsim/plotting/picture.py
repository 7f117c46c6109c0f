"""A figure that notebooks show, once."""

from __future__ import annotations

import io
import sys
from typing import Any

import matplotlib
from matplotlib.figure import Figure


class Picture(Figure):
    """A figure that is shown where it is the value of a notebook's cell."""

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        self.savefig(content, format="png")
        return content.getvalue()

    def _ipython_display_(self, **metadata: Any) -> None:
        """Show it now, and not again among those that are shown when the cell has ended."""
        from IPython.display import display

        display({"image/png": self._repr_png_(), "text/plain": repr(self)}, raw=True)
        pyplot = sys.modules.get("matplotlib.pyplot")
        if pyplot is not None and "inline" in matplotlib.get_backend():
            pyplot.close(self)
