"""Warnings that point to the line of the user's program that called evsim."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from types import FrameType

import numpy as np

_PACKAGE = str(Path(__file__).parents[1])
_ERRSTATE = np.errstate.__call__.__code__.co_filename
"""Where the frames of functions lie that np.errstate decorates."""


def _is_between(frame: FrameType) -> bool:
    """Whether a frame is of evsim, or of PyTorch, which calls the modules of ``evsim.torch``."""
    is_torch = str(frame.f_globals.get("__name__")).partition(".")[0] == "torch"
    return is_torch or frame.f_code.co_filename.startswith((_PACKAGE, _ERRSTATE))


def warn_caller(text: str, category: type[Warning]) -> None:
    """Warn where evsim was called, so that Python shows a call in a loop once."""
    frame: FrameType | None = sys._getframe(1)
    level = 2
    while frame is not None and _is_between(frame):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, category, stacklevel=level)
