"""Warnings that point to the line of the user's program that called evsim."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from types import FrameType

_PACKAGE = str(Path(__file__).parents[1])
_CALLED_BETWEEN = ("contextlib", "evsim_gpu", "jax", "numpy", "torch")
"""Packages with functions that stand between evsim's own.

The others decorate them, and PyTorch and JAX call ``evsim.torch`` and ``evsim.jax``.
"""


def _is_between(frame: FrameType) -> bool:
    """Whether a frame is of evsim, or of a package that evsim is called through."""
    package = str(frame.f_globals.get("__name__")).partition(".")[0]
    return package in _CALLED_BETWEEN or frame.f_code.co_filename.startswith(_PACKAGE)


def warn_caller(text: str, category: type[Warning]) -> None:
    """Warn where evsim was called, so that Python shows a call in a loop once."""
    frame: FrameType | None = sys._getframe(1)
    level = 2
    while frame is not None and _is_between(frame):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, category, stacklevel=level)
