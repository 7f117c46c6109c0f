"""What reaches a node of a NIR graph from each neuron: weights and delays of synapses.

Between two neurons, a spike passes through matrices, factors and delays.  Together these give a
weight and a delay for each pair of units, or several where paths of different delays meet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from evsim.network.parameters import sparse_entries


@dataclass(frozen=True)
class Paths:
    """Paths from the units of a source to the rows of a node's output, one entry for each path.

    ``rows``, ``columns`` : arrays of int, the row and the unit of the source.
    ``weights``, ``delays`` : arrays of float, the delays in ms.
    ``shape`` : the numbers of rows and of units of the source.
    ``full`` : whether a row and a unit without an entry are a synapse of weight 0, as in a matrix.
    """

    source: str
    rows: np.ndarray
    columns: np.ndarray
    weights: np.ndarray
    delays: np.ndarray
    shape: tuple[int, int]
    full: bool = False

    @classmethod
    def of_units(cls, source: str, units: int) -> Paths:
        """The paths at the source itself: its own spikes."""
        each = np.arange(units)
        return cls(source, each, each, np.ones(units), np.zeros(units), (units, units))

    def scaled(self, factors: np.ndarray) -> Paths:
        """The paths after a multiplication of each row."""
        return replace(self, weights=self.weights * factors[self.rows])

    def delayed(self, delays: np.ndarray) -> Paths:
        """The paths after a delay of each row, in ms."""
        return replace(self, delays=self.delays + delays[self.rows])

    def through(self, matrix: np.ndarray) -> Paths:
        """The paths after a matrix of shape (post, rows)."""
        of_source = self._delay_of_source()
        if of_source is None:
            return self._through_by_entry(matrix)
        from scipy.sparse import csr_array

        own = csr_array((self.weights, (self.rows, self.columns)), shape=self.shape)
        product = csr_array(csr_array(matrix) @ own)
        rows, columns = sparse_entries(product)
        delays = of_source[columns]
        return Paths(self.source, rows, columns, product.data, delays, product.shape, True)

    def _delay_of_source(self) -> np.ndarray | None:
        """The delay of each unit of the source, if it does not depend on the row."""
        delays = np.zeros(self.shape[1])
        delays[self.columns] = self.delays
        return delays if np.array_equal(delays[self.columns], self.delays) else None

    def _through_by_entry(self, matrix: np.ndarray) -> Paths:
        """Like ``through``, if the rows have different delays, which must not be mixed."""
        from scipy.sparse import csc_array

        by_row = csc_array(matrix)  # its columns are our rows
        kept = np.flatnonzero(self.weights != 0)
        counts = np.diff(by_row.indptr)[self.rows[kept]]
        entry = np.repeat(kept, counts)
        within = np.arange(entry.size) - np.repeat(np.cumsum(counts) - counts, counts)
        place = by_row.indptr[self.rows[entry]] + within
        rows, columns = by_row.indices[place], self.columns[entry]
        weights, delays = by_row.data[place] * self.weights[entry], self.delays[entry]
        order = np.lexsort((delays, columns, rows))
        rows, columns, delays = rows[order], columns[order], delays[order]
        new = np.ones(rows.size, bool)
        new[1:] = (np.diff(rows) != 0) | (np.diff(columns) != 0) | (np.diff(delays) != 0)
        first = np.flatnonzero(new)
        summed = np.add.reduceat(weights[order], first) if first.size else weights
        shape = (matrix.shape[0], self.shape[1])
        return Paths(self.source, rows[first], columns[first], summed, delays[first], shape)

    def synapses(self, sparse: bool) -> Iterator[tuple[Any, Any]]:
        """The weight and delay of each connection that these paths need.

        One connection is enough if no pair of units has two paths of different delays.  ``sparse``
        leaves out weights of 0.
        """
        pair = self.rows * self.shape[1] + self.columns
        order = np.lexsort((self.delays, pair))
        if sparse:
            order = order[self.weights[order] != 0]
        number = np.arange(order.size) - np.searchsorted(pair[order], pair[order])
        parallels = int(number.max(initial=-1)) + 1
        if not parallels and self.full and not sparse:
            yield np.zeros(self.shape), np.asarray(0.0)
        for parallel in range(parallels):
            filled = self.full and not sparse and parallels == 1
            yield self._synapses_of(order[number == parallel], filled)

    def _synapses_of(self, entries: np.ndarray, filled: bool) -> tuple[Any, Any]:
        """Weight and delay of one connection.

        ``filled`` adds synapses of weight 0 where the other synapses determine their delay.
        """
        rows, columns = self.rows[entries], self.columns[entries]
        weights, delays = self.weights[entries], self.delays[entries]
        shared = _shared_delay(rows, columns, delays, self.shape)
        everywhere = entries.size == self.shape[0] * self.shape[1]
        if everywhere or (filled and shared is not None):
            weight = np.zeros(self.shape)
            weight[rows, columns] = weights
            return weight, delays.reshape(self.shape) if shared is None else shared
        from scipy.sparse import csr_array

        sparse_weight = csr_array((weights, (rows, columns)), shape=self.shape)
        if shared is None:
            return sparse_weight, csr_array((delays, (rows, columns)), shape=self.shape)
        return sparse_weight, shared


def _shared_delay(
    rows: np.ndarray, columns: np.ndarray, delays: np.ndarray, shape: tuple[int, int]
) -> np.ndarray | None:
    """The delays in the smallest shape that represents them; None if synapses differ."""
    if np.all(delays == delays[0]):
        return np.asarray(delays[0])
    for axis, place in ((1, columns), (0, rows)):
        per_unit = np.zeros(shape[axis])
        per_unit[place] = delays
        if np.array_equal(per_unit[place], delays):
            return np.expand_dims(per_unit, 1 - axis)
    return None
