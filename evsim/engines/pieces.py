"""How a batch is cut into pieces, each of which sums its own gradients, and who takes which pieces.

The pieces depend only on the batch and the network, and their sums are added in the order of the
pieces.  So no bit of a gradient depends on how many threads, or how many processes, share a batch.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from evsim.engines.protocol import Engine
from evsim.network.dropout import Dropout
from evsim.network.network import Network
from evsim.network.spike_trains import SpikeTrains

Sums = Mapping[str, NDArray[Any]]
"""The sums of a piece, by kind of gradient; each is one-dimensional."""


@dataclass(frozen=True)
class Share:
    """The pieces of a batch that this process takes: all of them, unless there are other processes.

    Parameters
    ----------
    bounds : sequence of (int, int)
        The first sample of each piece and the one after its last, counted in the share.
    first_sample : int
        The number in the batch of the first sample of the share, for messages.
    """

    bounds: Sequence[tuple[int, int]]
    first_sample: int = 0

    def total(self, sums: Sequence[Sums]) -> Sums:
        """The sums over all pieces of the batch, given those of the pieces of this share."""
        return added_in_order(sums)


def added_in_order(sums: Sequence[Sums]) -> Sums:
    """The sums over pieces, float64, added one after the other; for one piece, its own sums.

    As these sums begin with 0, none is -0.
    """
    if len(sums) == 1:
        return {kind: np.add(part, 0, out=part) for kind, part in sums[0].items()}
    totals = {kind: np.zeros(part.size) for kind, part in sums[0].items()}
    for of_piece in sums:
        for kind, total in totals.items():
            total += of_piece[kind]
    return totals


SMALL = 10_000  # synapses


def piece_bounds(batch_size: int, synapses: int) -> list[tuple[int, int]]:
    """The first sample of each piece of a batch by default, and the one after its last.

    Large networks get fewer pieces, because each piece holds a gradient; small networks get fewer,
    because each piece has a fixed cost.
    """
    samples = 32 if synapses < SMALL else 16
    wanted = max(batch_size // samples, 4)
    affordable = max(2, 4_000_000 // max(synapses, 1))
    return even_pieces(batch_size, min(wanted, affordable))


def even_pieces(batch_size: int, pieces: int) -> list[tuple[int, int]]:
    """The first sample of each of so many pieces, and the one after its last; none is empty."""
    return list(_even_pieces(batch_size, pieces))


@lru_cache(maxsize=64)
def _even_pieces(batch_size: int, pieces: int) -> tuple[tuple[int, int], ...]:
    edges = np.linspace(0, batch_size, max(1, min(batch_size, pieces)) + 1).astype(int).tolist()
    return tuple(pairwise(edges))


class PiecewiseEngine(Engine):
    """An engine that cuts a batch into pieces, so that threads and processes can share it.

    ``threads`` is the number of threads that share the pieces of this process; None means as many
    as the process may use.
    """

    threads: int | None

    @property
    def cuts_batches(self) -> bool:
        """Whether the engine cuts batches with these settings; a GPU takes a batch as a whole."""
        return True

    @abstractmethod
    def piece_bounds(self, network: Network, batch_size: int) -> list[tuple[int, int]]:
        """The first sample of each piece of a batch, and the one after its last."""

    @abstractmethod
    def simulate_share(
        self,
        network: Network,
        inputs: Mapping[str, SpikeTrains],
        duration: float,
        dropout: Dropout | None,
        share: Share,
    ) -> Any:
        """Like ``simulate``, for the samples of a share; ``inputs`` are those of the share.

        Wherever the engine adds the sums of pieces, it uses ``share.total``.
        """

    @abstractmethod
    def with_threads(self, threads: int) -> Self:
        """The same engine with this number of threads, which changes no result."""

    def simulate(
        self,
        network: Network,
        inputs: Mapping[str, SpikeTrains],
        duration: float,
        dropout: Dropout | None = None,
    ) -> Any:
        batch_size = len(next(iter(inputs.values())))
        everything = Share(self.piece_bounds(network, batch_size))
        return self.simulate_share(network, inputs, duration, dropout, everything)
