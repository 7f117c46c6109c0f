"""Ranks that are processes of an MPI program and communicate through a communicator.

Only buffers are sent; nothing is pickled.  Every exchange begins with a number from each rank that
says whether it has failed.  So a rank that fails anywhere takes part in the others' next exchange,
whatever that is, and all end with the same error instead of waiting for each other.
"""

from __future__ import annotations

import contextlib
import json
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from evsim.distributed.failures import Failure
from evsim.distributed.held_signals import HeldSignals
from evsim.distributed.ranks import Checkpoint, Ranks, described, empty_like
from evsim.engines.protocol import Engine

Result = TypeVar("Result")


class Processes(Ranks):
    """The processes of a communicator of mpi4py, or of one with the same methods for buffers.

    Parameters
    ----------
    communicator : mpi4py.MPI.Comm
        It must not be used for anything else while the ranks use it.
    """

    def __init__(self, communicator: Any) -> None:
        self.communicator = communicator
        self.index = int(communicator.Get_rank())
        self.count = int(communicator.Get_size())
        self._signals = HeldSignals()
        self._told: BaseException | None = None  # the error that all ranks raise

    # -- failing together --------------------------------------------------------------------

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        with self._signals.installed(), self.together():
            yield

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            if error is self._told:
                raise
            self._told = self._exchange(error)
            if self._told is error:
                raise
            assert self._told is not None
            raise self._told from error
        self._communicate(lambda: None)

    def _communicate(self, action: Callable[[], Result]) -> Result:
        """Exchange something, unless a rank has failed; then all ranks raise its error."""
        results: list[Result] = []
        error = self._exchange(None, lambda: results.append(action()))
        if error is not None:
            self._told = error
            raise error
        return results[0]

    def _exchange(
        self, own: BaseException | None, action: Callable[[], None] = lambda: None
    ) -> BaseException | None:
        """Report whether and how this rank has failed; exchange something if no rank has failed.

        Returns the error that all ranks raise.  Signals then continue to wait, because no other
        rank would receive a further error of this rank.
        """
        self._signals.hold()
        try:
            error = self._error_of_all(own)
            if error is None:
                action()
        except BaseException as broken:
            self._abort(broken)
            raise
        if error is None:
            if self._told is not None:  # Ctrl-C reaches all ranks, and all have raised its error
                self._told = None
                self._signals.forget()
            self._signals.release()
        return error

    def _error_of_all(self, own: BaseException | None) -> BaseException | None:
        failure = None if own is None else Failure.of(own)
        text = b"" if failure is None else failure.text().encode()
        digest = 0 if failure is None else failure.digest
        words = np.empty((self.count, 2), np.int64)
        self.communicator.Allgather(np.array([digest, len(text)], np.int64), words)
        digests, lengths = words.T
        if not digests.any():
            return None
        first = int(np.argmax(digests != 0))
        told = np.empty(lengths[first], np.uint8)
        if first == self.index:
            told[:] = np.frombuffer(text, np.uint8)
        self.communicator.Bcast(told, root=first)
        if (digests == digests[first]).all():
            return own
        error = Failure.from_text(told.tobytes().decode()).error(first, self.count)
        return own if type(error) is type(own) and str(error) == str(own) else error

    def _abort(self, error: BaseException) -> None:
        """End all processes: this one has failed while others wait for what it sends."""
        print(
            f"evsim: rank {self.index} of {self.count} on {platform.node()}: "
            f"{type(error).__name__}: {error}; the run ends and can be resumed from its last epoch",
            file=sys.__stderr__,  # sys.stderr may be silenced on this rank
            flush=True,
        )
        self.communicator.Abort(1)

    # -- sharing -----------------------------------------------------------------------------

    def engine(self, engine: Engine) -> Engine:
        from evsim.distributed.shared_engine import shared_engine

        return shared_engine(engine, self)

    def gathered(self, own: NDArray[Any]) -> NDArray[Any]:
        found = np.empty((self.count, *own.shape), own.dtype)
        sent = np.ascontiguousarray(own)
        self._communicate(lambda: self.communicator.Allgather(sent, found))
        return found

    def rows(self, own: NDArray[Any], counts: Sequence[int]) -> NDArray[Any]:
        found = np.empty((sum(counts), *own.shape[1:]), own.dtype)
        width = int(np.prod(own.shape[1:], dtype=np.int64))
        into = [found, _places([count * width for count in counts])]
        sent = np.ascontiguousarray(own)
        self._communicate(lambda: self.communicator.Allgatherv(sent, into))
        return found

    def summed(self, own: Sequence[NDArray[Any]], counts: Sequence[int]) -> NDArray[np.float64]:
        # Each rank sums its part of all vectors, in the order of the vectors, and sends it to all.
        size = own[0].size
        edges = np.linspace(0, size, self.count + 1).astype(np.int64).tolist()
        widths = np.diff(edges).tolist()
        width = widths[self.index]
        mine = counts[self.index]
        parts = [own[piece][a:b] for a, b in pairwise(edges) for piece in range(mine)]
        sent = np.concatenate([np.empty(0), *parts])
        received = np.empty((sum(counts), width))
        total = np.zeros(width)
        found = np.empty(size)

        def exchange() -> None:
            self.communicator.Alltoallv(
                [sent, _places([mine * w for w in widths])],
                [received, _places([count * width for count in counts])],
            )
            for vector in received:
                np.add(total, vector, out=total)
            self.communicator.Allgatherv(total, [found, _places(widths)])

        self._communicate(exchange)
        return found

    def texts(self, own: str) -> list[str]:
        sent = np.frombuffer(own.encode(), np.uint8)
        lengths = self.gathered(np.array([sent.size], np.int64))[:, 0].tolist()
        found = self.rows(sent, lengths).tobytes()
        ends = np.cumsum(lengths).tolist()
        return [
            found[end - length : end].decode() for end, length in zip(ends, lengths, strict=True)
        ]

    def from_first(self, value: Any) -> Any:
        text = json.dumps(value if self.is_first else None).encode()
        sizes = self.gathered(np.array([len(text)], np.int64))
        told = np.empty(int(sizes[0, 0]), np.uint8)
        if self.is_first:
            told[:] = np.frombuffer(text, np.uint8)
        self._communicate(lambda: self.communicator.Bcast(told, root=0))
        return json.loads(told.tobytes())

    def checkpoint_from_first(self, checkpoint: Checkpoint | None) -> Checkpoint | None:
        given = None
        if self.is_first and checkpoint is not None:
            given = [described(checkpoint[0]), checkpoint[1]]
        told = self.from_first(given)
        if told is None:
            return None
        description, text = told
        arrays = empty_like(description)
        for name, array in arrays.items():
            if self.is_first and checkpoint is not None:
                array[...] = checkpoint[0][name]
            self._send_from_first(array)
        return arrays, text

    def _send_from_first(self, array: NDArray[Any]) -> None:
        self._communicate(lambda: self.communicator.Bcast(array, root=0))


def _places(counts: Sequence[int]) -> tuple[list[int], list[int]]:
    """The number of entries of each rank in a buffer, and where they begin."""
    return list(counts), [0, *np.cumsum(counts).tolist()[:-1]]


def ranks_of(communicator: Any) -> Ranks:
    """The ranks of a communicator; None means a single process.

    Raises TypeError for anything that is not a communicator.
    """
    from evsim.distributed.ranks import Alone

    if communicator is None:
        return Alone()
    if isinstance(communicator, Ranks):
        return communicator
    wanted = ("Get_rank", "Get_size", "Allgather", "Allgatherv", "Alltoallv", "Bcast", "Abort")
    if not all(hasattr(communicator, name) for name in wanted):
        raise TypeError(
            f"distributed is of type {type(communicator).__name__}: give a communicator of mpi4py, "
            "mpi4py.MPI.COMM_WORLD"
        )
    return Processes(communicator)
