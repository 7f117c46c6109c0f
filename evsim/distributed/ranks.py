"""Ranks: the processes that train one network together, and how they exchange data.

A rank is the number of one of these processes, counted from 0.  ``Alone`` is the usual case of a
single process; ``evsim.distributed.processes`` contains the other case.  All ranks run the same
program, and call these methods in the same order.
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
"""Named arrays and a description that JSON can represent."""


class Ranks(ABC):
    """The processes that train one network together, seen from one of them."""

    index: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, the only rank that writes files and shows the progress."""
        return self.index == 0

    @abstractmethod
    def session(self) -> AbstractContextManager[None]:
        """Like ``together``, for everything that the ranks do; signals leave them in step."""

    @abstractmethod
    def together(self) -> AbstractContextManager[None]:
        """If one rank raises an error in this context, all raise it, at its end at the latest."""

    @abstractmethod
    def engine(self, engine: Engine) -> Engine:
        """An engine whose batches all ranks share.

        Raises ValueError for an engine whose batches cannot be shared.
        """

    @abstractmethod
    def gathered(self, own: NDArray[Any]) -> NDArray[Any]:
        """The arrays of all ranks, which have the same shape and type, as (ranks, ...)."""

    @abstractmethod
    def rows(self, own: NDArray[Any], counts: Sequence[int]) -> NDArray[Any]:
        """The rows of all ranks, in their order; rank r has ``counts[r]``."""

    @abstractmethod
    def summed(self, own: Sequence[NDArray[Any]], counts: Sequence[int]) -> NDArray[np.float64]:
        """The sum of vectors of all ranks, added one after the other in the order of the ranks.

        Each rank has ``counts[rank]`` vectors, and all vectors have the same size.
        """

    @abstractmethod
    def texts(self, own: str) -> list[str]:
        """The texts of all ranks."""

    @abstractmethod
    def from_first(self, value: Any) -> Any:
        """The value of rank 0, which JSON must be able to represent; others may pass anything."""

    @abstractmethod
    def checkpoint_from_first(self, checkpoint: Checkpoint | None) -> Checkpoint | None:
        """The arrays and the description of rank 0; others may pass anything."""


class Alone(Ranks):
    """The usual case of a single process."""

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
    """The type and the shape of each array, as a description that JSON can represent."""
    return {name: [array.dtype.str, list(array.shape)] for name, array in arrays.items()}


def empty_like(description: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Uninitialised arrays with the types and shapes of such a description."""
    return {name: np.empty(shape, np.dtype(kind)) for name, (kind, shape) in description.items()}
