"""Paths as users write them."""

from __future__ import annotations

import os
from pathlib import Path


def user_path(path: str | os.PathLike[str]) -> Path:
    """A path with ``~`` and ``~name`` at its beginning replaced by that home folder.

    A name that no user has stays as it is: a file may be called so.
    """
    path = Path(path)
    try:
        return path.expanduser()
    except RuntimeError:
        return path
