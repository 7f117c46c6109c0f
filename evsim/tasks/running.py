"""What the runs of all tasks have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from evsim.engines import Engine


class RunOptions(TypedDict, total=False):
    """How a run is carried out; the arguments of ``evsim.fit`` that change no result."""

    engine: str | Engine
    callbacks: Sequence[Callable[..., Any]]
    run_folder: str | Path | None
    resume: bool
    progress: bool
