"""Ranks: the processes that train one network together, and what each tells the others.

A rank is the number of one of these processes, counted from 0.  ``Alone`` is the usual case, in
which there is one process and nobody to tell; ``evsim.distributed.processes`` has the other one.
Whatever runs on ranks runs the same program on each of them, and calls these methods in the same
order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.engines.protocol import Engine

Checkpoint = tuple[dict[str, NDArray[Any]], Any]
"""Named arrays and a description that JSON can hold."""


class Ranks(ABC):
    """The processes that train one network together, seen from one of them."""

    index: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, which alone writes files and shows the progress."""
        return self.index == 0

    @abstractmethod
    def session(self) -> AbstractContextManager[None]:
        """As ``together``, around everything that the ranks do; signals do not tear them apart."""

    @abstractmethod
    def together(self) -> AbstractContextManager[None]:
        """What one rank raises inside this block, all ranks raise, at its end at the latest."""

    @abstractmethod
    def engine(self, engine: Engine) -> Engine:
        """An engine whose batches all ranks share.

        Raises ValueError for an engine that cannot.
        """

    @abstractmethod
    def gathered(self, own: NDArray[Any]) -> NDArray[Any]:
        """An array of every rank, of the same shape and type, (ranks, ...)."""

    @abstractmethod
    def rows(self, own: NDArray[Any], counts: Sequence[int]) -> NDArray[Any]:
        """The rows of all ranks, in their order; rank r has ``counts[r]``."""

    @abstractmethod
    def summed(self, own: Sequence[NDArray[Any]], counts: Sequence[int]) -> NDArray[np.float64]:
        """The sum of vectors of all ranks, added one after the other in the order of the ranks.

        Each rank has ``counts[rank]`` of them, and all have the same size.
        """

    @abstractmethod
    def texts(self, own: str) -> list[str]:
        """A text of every rank."""

    @abstractmethod
    def from_first(self, value: Any) -> Any:
        """What rank 0 has given, which JSON must be able to hold; others give anything."""

    @abstractmethod
    def checkpoint_from_first(self, checkpoint: Checkpoint | None) -> Checkpoint | None:
        """The arrays and the description that rank 0 has given; others give anything."""


class Alone(Ranks):
    """The usual case: one process, which has nobody to tell."""

    def session(self) -> AbstractContextManager[None]:
        return nullcontext()

    def together(self) -> AbstractContextManager[None]:
        return nullcontext()

    def engine(self, engine: Engine) -> Engine:
        return engine

    def gathered(self, own: NDArray[Any]) -> NDArray[Any]:
        return own[None]

    def rows(self, own: NDArray[Any], counts: Sequence[int]) -> NDArray[Any]:
        return own

    def summed(self, own: Sequence[NDArray[Any]], counts: Sequence[int]) -> NDArray[np.float64]:
        total = np.zeros(own[0].size)
        for vector in own:
            total += vector
        return total

    def texts(self, own: str) -> list[str]:
        return [own]

    def from_first(self, value: Any) -> Any:
        return value

    def checkpoint_from_first(self, checkpoint: Checkpoint | None) -> Checkpoint | None:
        return checkpoint


def described(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """The type and the shape of each array, as a description that JSON can hold."""
    return {name: [array.dtype.str, list(array.shape)] for name, array in arrays.items()}


def empty_like(description: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Room for the arrays of such a description."""
    return {name: np.empty(shape, np.dtype(kind)) for name, (kind, shape) in description.items()}
