"""How the compiled engines share a batch among threads, without an effect on any result.

Compiled loops run on worker threads while the calling thread waits.  Python handles Ctrl-C and
other signals only between its own instructions, so a waiting thread can handle them and a compiled
loop cannot.  An exception that ends the waiting stops the loops.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from evsim._compile import stopping
from evsim.arguments.checks import is_integer, shown

WAITING = 0.1
"""Seconds after which a waiting thread checks again whether Ctrl-C has ended the program."""


def available_threads() -> int:
    """How many threads this process may run at once."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_threads(threads: Any) -> None:
    """Refuse what is not a number of threads; None is accepted and means all available ones."""
    if threads is not None:
        check_count(threads, "threads")


def check_count(value: Any, name: str) -> None:
    """Refuse what is not an integer from 1 to 2**62."""
    if not is_integer(value):
        raise TypeError(f"{name} = {shown(value)}: it must be an integer")
    if not 1 <= value <= 2**62:
        raise ValueError(f"{name} = {shown(value)}: it must be from 1 to 2**62")


def over(run: Callable[[Any], Any], items: Sequence[Any], threads: int | None) -> list[Any]:
    """Call a function with each item, on up to ``threads`` threads; the results in item order.

    If an exception such as KeyboardInterrupt ends the waiting, compiled loops are stopped, and the
    exception is raised once they have ended.  If the calling thread is not the main thread, and
    Ctrl-C has ended the main thread, KeyboardInterrupt is raised here.
    """
    if stopping.of_thread.work is not None or not items:  # this is itself a worker thread
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
            work.over_signal.acquire(timeout=WAITING)
            if not is_main and _is_program_interrupted():
                raise KeyboardInterrupt
    except BaseException:
        work.stop()
        while not work.is_over:
            work.over_signal.acquire(timeout=WAITING)
        raise
    return work.outcome()


def alone(run: Callable[..., Any], *arguments: Any) -> Any:
    """Call one function, which runs compiled loops, on a worker thread; see ``over``."""
    return over(lambda given: run(*given), [arguments], 1)[0]


def _is_program_interrupted() -> bool:
    """Whether an uncaught Ctrl-C has ended the main thread; never at an interactive prompt."""
    is_prompt = hasattr(sys, "ps1") or sys.flags.interactive
    return getattr(sys, "last_type", None) is KeyboardInterrupt and not is_prompt


class _Work:
    """A list of items that worker threads process together.

    ``is_over`` becomes true, and the lock ``over_signal`` is released, when all workers have ended.
    """

    def __init__(self, run: Callable[[Any], Any], items: Sequence[Any]) -> None:
        self.run = run
        self.items = enumerate(items)
        self.results: list[Any] = [None] * len(items)
        self.errors: dict[int, BaseException] = {}
        self.workers: list[_Worker] = []
        self.started = self.ended = 0  # numbers of workers
        self.is_stopped = self.is_over = False
        self.over_signal = threading.Lock()
        self.over_signal.acquire()

    def begin(self, threads: int) -> None:
        """Start so many workers; if none can be started, process the items on this thread."""
        for _ in range(threads):
            try:
                worker = _idle_worker()
            except RuntimeError:  # the interpreter is shutting down
                break
            self.workers.append(worker)
        if not self.workers:
            self.go_through()
            self.is_over = True
        # Python raises KeyboardInterrupt only after a call or at the end of a loop's body, so not
        # between the two assignments: ``started`` counts exactly the workers that have work.
        for worker in self.workers:
            worker.work = self
            self.started += 1
            worker.start_signal.release()

    def go_through(self) -> None:
        """Process the next items until none is left; each worker runs this."""
        for index, item in self.items:
            if self.is_stopped or self.errors:
                return
            try:
                self.results[index] = self.run(item)
            except BaseException as error:  # the waiting thread raises it
                self.errors[index] = error

    def leave(self) -> None:
        """Note that a worker has ended."""
        with _lock:
            self.ended += 1
            if self.ended == len(self.workers):
                stopping.requests[0] -= self.is_stopped
                self.is_over = True
                self.over_signal.release()

    def stop(self) -> None:
        """Tell the workers to end as soon as they can.  ``begin`` may have been interrupted."""
        with _lock:
            _idle.extend(self.workers[self.started :])
            del self.workers[self.started :]
            if self.ended == self.started:
                self.is_over = True
            elif not self.is_stopped:
                self.is_stopped = True
                stopping.requests[0] += 1

    def outcome(self) -> list[Any]:
        """The results; raises the error of the first item that failed."""
        if self.errors:
            raise self.errors[min(self.errors)]
        return self.results


class _Worker(threading.Thread):
    """A thread that runs compiled loops.

    It is a daemon thread: Python does not wait for it when the program ends.
    """

    def __init__(self) -> None:
        super().__init__(name="evsim", daemon=True)
        self.work: _Work | None = None
        self.start_signal = threading.Lock()
        self.start_signal.acquire()

    def run(self) -> None:
        while True:
            self.start_signal.acquire()
            work, self.work = self.work, None
            assert work is not None
            stopping.of_thread.work = work
            work.go_through()
            stopping.of_thread.work = None
            _idle.append(self)
            work.leave()
            del work  # it may hold large arrays


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
    """Forget the workers in a forked process, in which only the forking thread still runs."""
    global _lock
    _lock = threading.Lock()
    _idle.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
