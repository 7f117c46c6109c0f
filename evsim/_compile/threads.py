"""How compiled engines share a batch among threads, in a way that no result depends on.

Compiled loops run on threads of their own while the one that asks for them waits: only there, and
not within such a loop, Ctrl-C and other signals are heard.  Whatever ends the waiting stops them.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from evsim._compile import stopping
from evsim.arguments.checks import is_integer, shown

WAITING = 0.1
"""Seconds after which a waiting thread looks whether Ctrl-C has ended the program."""


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
        raise TypeError(f"{name} = {shown(value)}: it must be an integer")
    if not 1 <= value <= 2**62:
        raise ValueError(f"{name} = {shown(value)}: it must be from 1 to 2**62")


def over(run: Callable[[Any], Any], items: Sequence[Any], threads: int | None) -> list[Any]:
    """Call a function with each item, on so many threads; its results in the items' order.

    An exception of the waiting thread, as KeyboardInterrupt, stops compiled loops, and goes on when
    they have ended.  So it is in a thread that is not the main one, when Ctrl-C has ended that.
    """
    if stopping.of_thread.work is not None or not items:  # this is such a thread
        results = [run(item) for item in items]
        stopping.check_stopped()
        return results
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main and _is_program_interrupted():
        raise KeyboardInterrupt
    work = _Work(run, items)
    try:
        work.begin(min(threads or available_threads(), len(items)))
        while not work.is_over:
            work.wakes.acquire(timeout=WAITING)
            if not is_main and _is_program_interrupted():
                raise KeyboardInterrupt
    except BaseException:
        work.stop()
        while not work.is_over:
            work.wakes.acquire(timeout=WAITING)
        raise
    return work.outcome()


def alone(run: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function that is a compiled loop, or calls some; see ``over``."""
    return over(lambda own: run(*own), [arguments], 1)[0]


def _is_program_interrupted() -> bool:
    """Whether Ctrl-C has ended the main thread, which nothing caught; not so at a prompt."""
    is_prompt = hasattr(sys, "ps1") or sys.flags.interactive
    return getattr(sys, "last_type", None) is KeyboardInterrupt and not is_prompt


class _Work:
    """Items that threads go through together.

    ``is_over`` says that all of these have ended, and ``wakes`` is released then.
    """

    def __init__(self, run: Callable[[Any], Any], items: Sequence[Any]) -> None:
        self.run = run
        self.items = enumerate(items)
        self.results: list[Any] = [None] * len(items)
        self.errors: dict[int, BaseException] = {}
        self.workers: list[_Worker] = []
        self.started = self.ended = 0  # of the workers
        self.is_stopped = self.is_over = False
        self.wakes = threading.Lock()
        self.wakes.acquire()

    def begin(self, threads: int) -> None:
        """Let so many threads go through the items; this one where none can be started."""
        for _ in range(threads):
            try:
                worker = _idle_worker()
            except RuntimeError:  # the interpreter comes to its end
                break
            self.workers.append(worker)
        if not self.workers:
            self.go_through()
            self.is_over = True
        for worker in self.workers:  # an interrupt comes after a call, or at the end of the loop
            worker.work = self
            self.started += 1
            worker.wake.release()

    def go_through(self) -> None:
        """What each thread does."""
        for index, item in self.items:
            if self.is_stopped or self.errors:
                return
            try:
                self.results[index] = self.run(item)
            except BaseException as error:  # for the thread that waits
                self.errors[index] = error

    def leave(self) -> None:
        """A thread has ended."""
        with _lock:
            self.ended += 1
            if self.ended == len(self.workers):
                stopping.requests[0] -= self.is_stopped
                self.is_over = True
                self.wakes.release()

    def stop(self) -> None:
        """Tell the threads to end as soon as they can; ``begin`` may have been interrupted."""
        with _lock:
            _idle.extend(self.workers[self.started :])
            del self.workers[self.started :]
            if self.ended == self.started:
                self.is_over = True
            elif not self.is_stopped:
                self.is_stopped = True
                stopping.requests[0] += 1

    def outcome(self) -> list[Any]:
        """The results, or the first item's error."""
        if self.errors:
            raise self.errors[min(self.errors)]
        return self.results


class _Worker(threading.Thread):
    """A thread that compiled loops run on.

    Python ends without waiting for such threads.
    """

    def __init__(self) -> None:
        super().__init__(name="evsim", daemon=True)
        self.work: _Work | None = None
        self.wake = threading.Lock()
        self.wake.acquire()

    def run(self) -> None:
        while True:
            self.wake.acquire()
            work, self.work = self.work, None
            assert work is not None
            stopping.of_thread.work = work
            work.go_through()
            stopping.of_thread.work = None
            _idle.append(self)
            work.leave()
            del work  # what it holds may be large


_idle: list[_Worker] = []
_lock = threading.Lock()


def _idle_worker() -> _Worker:
    try:
        return _idle.pop()
    except IndexError:
        worker = _Worker()
        worker.start()
        return worker


def _forget() -> None:
    """In a forked process, to which no thread but the forking one has come along."""
    global _lock
    _lock = threading.Lock()
    _idle.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


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
