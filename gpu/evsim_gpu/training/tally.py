"""What the batches of an epoch on the device add up to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from evsim.network.populations import LIF
from evsim.training.tally import Tally
from evsim.training.task import Task
from evsim_gpu.cuda.backward import CudaGradients
from evsim_gpu.cuda.batch import NONE, CudaBatch
from evsim_gpu.cuda.launching import Kernels
from evsim_gpu.cuda.network import CudaComponent, CudaConnection, CudaNetwork
from evsim_gpu.model.layout import GridLayout

# Places in ``totals``.
WITHIN, AFTER, DROPPED, LIMITED, LOST, SPIKES = range(6)
VALUE = 3  # place in ``incidents``
SUM_THREADS = 256  # threads of ``check_batch``


class EpochTally:
    """Counts of an epoch on the device.

    Parameters
    ----------
    kernels : Kernels
        Those of training.
    layout : GridLayout
    network : CudaNetwork
    task : Task

    Attributes
    ----------
    status : uint64, (3,), on the device
        Why training stopped, 0 if it goes on; the batch, from 1; and what it was about.
    incidents : uint64, (4,)
        See kernels/incidents.cuh.
    rate_jump : reals, (units of all populations,)
        Of the last batch.
    true_times : float64, (batch,)
        When the true classes spike first in a batch, for losses of first spikes.
    """

    def __init__(
        self, kernels: Kernels, layout: GridLayout, network: CudaNetwork, task: Task
    ) -> None:
        self.kernels, self.layout, self.network, self.task = kernels, layout, network, task
        cupy = kernels.cupy
        columns = network.unit_of.size
        self.connections = [c for own in network.components for c in (*own.outer, *own.inner)]
        firsts, counts = _rows(self.connections)
        with kernels.memory_for(64 * columns + 16 * firsts.size, "an epoch's counts"):
            self.unit_of = cupy.asarray(network.unit_of.astype(np.int32))
            self.pull = cupy.asarray(self._pull())
            self.rate_jump = cupy.zeros(layout.units.size, layout.precision)
            self.counts = cupy.zeros(columns, np.uint64)
            self.spikes = cupy.zeros(columns, np.uint64)
            self.totals = cupy.zeros(6, np.uint64)
            self.status = cupy.zeros(3, np.uint64)
            self.incidents = cupy.full(4, NONE, np.uint64)
            self.true_times = cupy.zeros(task.batch_size, np.float64)
            self.clipped = cupy.zeros(len(task.optimizers), np.uint64)
            self.row_first, self.row_count = cupy.asarray(firsts), cupy.asarray(counts)
            self.longest = cupy.zeros(firsts.size, np.int32)
        self.losses = self.correct = self.smallest = cupy.zeros(0)

    def _pull(self) -> np.ndarray:
        """Strength and target of the rate regularisers of each column."""
        layout = self.layout
        pull = np.zeros((self.network.unit_of.size, 2))
        for regulariser in self.task.regularisers:
            component, first, last = layout.place(regulariser.population)
            before = self.network.components[component].first
            pull[before + first : before + last] = regulariser.strength, regulariser.target
        return pull

    def begin(self, samples: int, batches: int) -> None:
        """Start an epoch."""
        cupy = self.kernels.cupy
        for array in (self.counts, self.spikes, self.totals, self.status, self.clipped):
            array.fill(0)
        self.incidents.fill(NONE)
        with self.kernels.memory_for(12 * samples + 8 * batches, "an epoch's losses"):
            self.losses = cupy.zeros(samples, np.float64)
            self.correct = cupy.zeros(samples, np.int32)
            self.smallest = cupy.full(batches, NONE, np.uint64)

    @property
    def batches(self) -> int:
        """How many the epoch has."""
        return self.smallest.size

    # -- a batch ---------------------------------------------------------------------------

    @property
    def lost(self) -> Any:
        """How many spikes blends have lost, uint64, (1,)."""
        return self._total(LOST)

    def of_samples(self, samples: slice) -> tuple[Any, Any]:
        """Where losses and right answers of some samples go."""
        return self.losses[samples], self.correct[samples]

    def count(self, batch: CudaBatch, number: int) -> None:
        """Count what happened in a batch, and make its rate jumps."""
        smallest = self.smallest[number : number + 1]
        for component in self.network.components:
            if component.spiking:
                self._count_emissions(batch, component, smallest)
        columns = self.network.unit_of.size
        settled = self.unit_of, self.pull, self.counts, self.spikes, self.rate_jump
        sizes = np.int32(columns), np.int32(batch.inputs.batch)
        self.kernels.launch_each("settle_counts", columns, (*sizes, *settled))
        lists = batch.inputs.batch * self.network.units
        inputs = batch.kept_inputs, batch.inputs.start, self._total(SPIKES), self._total(DROPPED)
        self.kernels.launch_each("count_inputs_dropped", lists, (np.int32(lists), *inputs))
        self._count_arrivals(batch)

    def _total(self, place: int) -> Any:
        return self.totals[place : place + 1]

    def _count_emissions(self, batch: CudaBatch, component: CudaComponent, smallest: Any) -> None:
        index, first = component.index, component.first
        arguments = (
            *batch.sizes_of(component), batch.emitted[index], batch.delivered[index],
            batch.current[index], self.counts[first : first + component.columns],
            self._total(DROPPED), smallest,
        )  # fmt: skip
        count = batch.inputs.batch * component.columns
        self.kernels.launch_each("count_emissions", count, arguments)

    def _count_arrivals(self, batch: CudaBatch) -> None:
        delays, size = batch.parameters.delay, batch.inputs.batch
        rows = np.int32(self.longest.size), self.row_first, self.row_count
        launch = self.kernels.launch_each
        launch("find_longest", 32 * self.longest.size, (*rows, delays, self.longest))
        row = 0
        for connection in self.connections:
            sources, targets = connection.source_units, connection.target_units
            of_inputs = connection.source_component < 0
            name = "count_arrivals_of_inputs" if of_inputs else "count_arrivals_of_emissions"
            arguments = (
                np.int32(size), np.int32(batch.steps), np.int32(sources), np.int32(targets),
                delays[connection.first : connection.first + connection.size],
                self.longest[row : row + sources], *batch.source_of(connection),
                self._total(WITHIN), self._total(AFTER),
            )  # fmt: skip
            launch(name, size * sources, arguments)
            row += sources

    def check_batch(
        self, number: int, batch: CudaBatch, gradients: CudaGradients, parameters: Any
    ) -> None:
        """Stop training if no step can be taken after a batch, counted from 0."""
        arguments = (
            np.int32(number + 1), np.int32(parameters.records.size), parameters.trained,
            parameters.partial, batch.overflow, gradients.grazing, gradients.limited,
            self.incidents, self.status, self._total(LIMITED), self.clipped,
            parameters.scale,
        )  # fmt: skip
        self.kernels.launch("check_batch", 1, SUM_THREADS, arguments)

    # -- the end of the epoch --------------------------------------------------------------

    def record(self, order: np.ndarray, clipping: Sequence[str]) -> Tally:
        """What the batches added up to; ``order`` is that of the samples."""
        task, totals = self.task, self.totals.get()
        tally = Tally(task.network, order.size, task.loss.classifies, list(clipping))
        tally.losses[order] = self.losses.get()
        if tally.correct is not None:
            tally.correct[order] = self.correct.get() != 0
        of_columns = self.spikes.get().astype(np.int64)
        for population in task.network.populations:
            if isinstance(population, LIF):
                component, first, last = self.layout.place(population.name)
                before = self.network.components[component].first
                tally.spikes[population.name][:] = of_columns[before + first : before + last]
        tally.smallest_drive = float(self.smallest_drives().min())
        tally.arrivals, tally.arrivals_after_end = int(totals[WITHIN]), int(totals[AFTER])
        tally.dropped, tally.limited = int(totals[DROPPED]), int(totals[LIMITED])
        tally.steps = self.batches
        clipped = dict(zip(task.optimizers, self.clipped.get().tolist(), strict=True))
        for name in tally.clipped:
            tally.clipped[name] = clipped[name]
        return tally

    def smallest_drives(self) -> np.ndarray:
        """The smallest I - threshold at an emission of each batch, infinity for none."""
        words = self.smallest.get()
        high = np.uint64(2**63)
        bits = np.where(words >= high, words - high, ~words)
        return np.where(words == NONE, np.inf, bits.view(np.float64))


def _rows(connections: Sequence[CudaConnection]) -> tuple[np.ndarray, np.ndarray]:
    """Where the synapses of each source unit of each connection begin, and how many there are."""
    firsts = [c.first + c.target_units * np.arange(c.source_units) for c in connections]
    counts = [np.full(c.source_units, c.target_units) for c in connections]
    return (
        np.concatenate([[], *firsts]).astype(np.int64),
        np.concatenate([[], *counts]).astype(np.int32),
    )
