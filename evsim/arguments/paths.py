"""Paths with ``~`` for the home folder."""

from __future__ import annotations

import os
from pathlib import Path


def user_path(path: str | os.PathLike[str]) -> Path:
    """The path, with ``~`` or ``~name`` at its beginning replaced by the home folder.

    ``~name`` is kept if no user has that name, because it may be the name of a file.
    """
    path = Path(path)
    try:
        return path.expanduser()
    except RuntimeError:
        return path
