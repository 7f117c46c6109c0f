"""A communicator whose ranks are threads of one process, for tests without MPI.

It has the methods of mpi4py that evsim uses, with its rules for buffers, and is stricter: every
rank must call the same method, with buffers of the right type and size, and a rank that waits for
others in vain raises an error.
"""

# ruff: noqa: N802 (the names are those of mpi4py)
import threading
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np

import evsim

WITHIN = 60  # seconds, after which a rank waits in vain


class AbortedError(BaseException):
    """What a rank sees when another has ended the program."""


@dataclass
class Meeting:
    """Where the ranks meet: each leaves what it gives, and all see it."""

    count: int
    given: list = field(init=False)
    barrier: threading.Barrier = field(init=False)
    calls: list = field(default_factory=list)

    def __post_init__(self):
        self.given = [None] * self.count
        self.barrier = threading.Barrier(self.count, timeout=WITHIN)

    def exchange(self, rank, call, own):
        """What all ranks give; they must have called the same."""
        self.given[rank] = call, own
        try:
            self.barrier.wait()
            calls, given = zip(*self.given, strict=True)
            if rank == 0:
                self.calls.append(call)
            self.barrier.wait()  # nobody gives anew before all have seen
        except threading.BrokenBarrierError:
            raise AbortedError from None
        assert set(calls) == {call}, calls
        return given


@dataclass
class ThreadCommunicator:
    """One rank's view of the meeting."""

    meeting: Meeting
    rank: int

    def Get_rank(self):
        return self.rank

    def Get_size(self):
        return self.meeting.count

    def Abort(self, status):
        self.meeting.barrier.abort()
        raise AbortedError(status)

    def Bcast(self, array, root):
        given = self.meeting.exchange(self.rank, ("Bcast", root), array)
        check(array, given[root].size, given[root].dtype)
        array[...] = given[root]
        self.meeting.exchange(self.rank, "done", None)

    def Allgather(self, own, into):
        given = self.meeting.exchange(self.rank, "Allgather", own)
        for other in given:
            check(other, own.size, own.dtype)
        check(into, own.size * len(given), own.dtype)
        into[...] = np.concatenate([other.ravel() for other in given]).reshape(into.shape)
        self.meeting.exchange(self.rank, "done", None)

    def Allgatherv(self, own, into):
        given = self.meeting.exchange(self.rank, "Allgatherv", own)
        self._receive(given, into)

    def Alltoallv(self, own, into):
        given = self.meeting.exchange(self.rank, "Alltoallv", own)
        parts = []
        for array, (counts, places) in given:
            check(array, sum(counts), own[0].dtype)
            first = places[self.rank]
            parts.append(array.ravel()[first : first + counts[self.rank]])
        self._receive(parts, into)

    def _receive(self, parts, into):
        array, (counts, places) = into
        check(array, sum(counts), array.dtype)
        flat = array.reshape(-1)
        for part, count, place in zip(parts, counts, places, strict=True):
            check(part, count, array.dtype)
            flat[place : place + count] = part.ravel()
        self.meeting.exchange(self.rank, "done", None)


def check(array, size, dtype):
    assert array.flags.c_contiguous
    assert array.size == size
    assert array.dtype == dtype


# In Python 3.11 a cached property is locked for all objects while it is computed: a rank that waits
# for another one in it would keep that one out.
for cached in ("spikes", "spike_counts", "report"):
    owner = next(kind for kind in evsim.Run.__mro__ if cached in vars(kind))
    vars(owner)[cached].lock = nullcontext()


def on_ranks(count, function):
    """What a function returns or raises on each rank, given the rank's communicator."""
    meeting, found = Meeting(count), [None] * count

    def run(rank):
        try:
            found[rank] = function(ThreadCommunicator(meeting, rank))
        except BaseException as error:
            found[rank] = error

    threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(4 * WITHIN)
        assert not thread.is_alive(), "a rank waits in vain"
    return found


def results(count, function):
    """What a function returns on each rank; raises what one of them raises."""
    found = on_ranks(count, function)
    for one in found:
        if isinstance(one, BaseException):
            raise one
    return found
