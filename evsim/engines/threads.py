"""How compiled engines share a batch among threads, in a way that no result depends on."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

from evsim.checks import is_integer


def available_threads() -> int:
    """How many threads this process may run at once."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_threads(threads: Any) -> None:
    """Refuse what is no number of threads; None, for as many as there are, is one."""
    if threads is not None:
        check_count(threads, "threads")


def check_count(value: Any, name: str) -> None:
    """Refuse what is no positive integer."""
    if not is_integer(value):
        raise TypeError(f"{name} = {value!r}: it must be an integer")
    if not 1 <= value <= 2**62:
        raise ValueError(f"{name} = {value}: it must be from 1 to 2**62")


def over(run: Callable[[Any], Any], items: Sequence[Any], threads: int | None) -> list[Any]:
    """Call a function with each item, on so many threads; its results in the items' order."""
    threads = threads or available_threads()
    if threads == 1 or len(items) < 2:
        return [run(item) for item in items]
    return list(_pool(threads, os.getpid()).map(run, items))


@cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Threads of this process: a forked one inherits the pool but not the threads in it."""
    return ThreadPoolExecutor(threads, thread_name_prefix="evsim")


SMALL = 10_000  # synapses


def piece_bounds(batch: int, synapses: int) -> list[tuple[int, int]]:
    """How a batch is cut into pieces, each with its own sum of gradients.

    A function of batch and network alone: sums over pieces in this order do not depend on
    the number of threads.  Large networks get fewer pieces, because each holds a gradient, and
    so do small ones, because a piece costs something of itself.
    """
    samples = 32 if synapses < SMALL else 16
    wanted = max(batch // samples, 4)
    affordable = max(2, 4_000_000 // max(synapses, 1))
    pieces = max(1, min(batch, wanted, affordable))
    edges = np.linspace(0, batch, pieces + 1).astype(int).tolist()
    return list(pairwise(edges))
