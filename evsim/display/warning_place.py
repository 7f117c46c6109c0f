"""Warnings that point to the line of the user's program that called evsim."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from types import FrameType

_PACKAGE = str(Path(__file__).parents[1])
_CALLED_BETWEEN = ("contextlib", "evsim_gpu", "jax", "numpy", "torch")
"""Packages whose functions lie between evsim's own on the call stack.

PyTorch and JAX call ``evsim.torch`` and ``evsim.jax``; the others decorate evsim's functions.
"""


def _is_between(frame: FrameType) -> bool:
    """Whether a frame belongs to evsim, or to a package through which evsim is called."""
    package = str(frame.f_globals.get("__name__")).partition(".")[0]
    return package in _CALLED_BETWEEN or frame.f_code.co_filename.startswith(_PACKAGE)


def warn_caller(text: str, category: type[Warning]) -> None:
    """Warn at the line that called evsim, so that Python shows a call in a loop once."""
    frame: FrameType | None = sys._getframe(1)
    level = 2
    while frame is not None and _is_between(frame):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, category, stacklevel=level)
