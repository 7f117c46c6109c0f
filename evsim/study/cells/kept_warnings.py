"""Warnings of runs of a study, which are kept with the run: nobody may see a worker's output.

Python's own way to catch warnings is not safe with threads, and some executors run cells in
threads.  So a run in a thread that catches warnings itself may change which of them are kept.
"""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Keep = Callable[[str], None]


def kind_of(warning: str) -> str:
    """The text of a warning without its numbers, which differ from run to run."""
    return re.sub(r"\d[\d.,]*", "0", warning)


class _Keepers(threading.local):
    """What keeps the warnings of the cell that this thread runs."""

    keep: Keep | None = None


_keepers = _Keepers()
_lock = threading.Lock()
_running = 0
_caught: Any = None


@contextmanager
def kept_warnings(keep: Keep) -> Iterator[None]:
    """Call ``keep`` with each warning of this thread instead of showing it.

    A warning that an earlier cell of this process has given is given again.
    """
    _begin()
    before, _keepers.keep = _keepers.keep, keep
    try:
        yield
    finally:
        _keepers.keep = before
        _end()


def _begin() -> None:
    """Take over the warnings of this process, unless another thread has done so."""
    global _running, _caught
    with _lock:
        if not _running:
            _caught = warnings.catch_warnings()
            _caught.__enter__()
            shown = warnings.showwarning

            def show(message: Any, category: type[Warning], *place: Any, **more: Any) -> None:
                if _keepers.keep is None:
                    shown(message, category, *place, **more)
                else:
                    _keepers.keep(f"{category.__name__}: {' '.join(str(message).split())}")

            warnings.showwarning = show
        # Any call like this one makes Python forget which warnings it has shown before.
        warnings.simplefilter("default", append=True)
        _running += 1


def _end() -> None:
    """Hand the warnings back once no thread runs a cell."""
    global _running
    with _lock:
        _running -= 1
        if not _running:
            _caught.__exit__()
