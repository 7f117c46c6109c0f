"""The counts, losses and failures of an epoch on the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.network.populations import LIF
from evsim.training.tally import Tally
from evsim.training.task import Task
from evsim_gpu.cuda.backward import CudaGradients
from evsim_gpu.cuda.batch import NOTHING_FOUND, CudaBatch
from evsim_gpu.cuda.launching import Kernels
from evsim_gpu.cuda.network import CudaComponent, CudaConnection, CudaNetwork
from evsim_gpu.model.layout import GridLayout

# Indices into ``totals``: arrivals within the trial and after it, spikes that dropout drops,
# limited emissions, spikes that blends lose, and input spikes.
WITHIN, AFTER, DROPPED, LIMITED, LOST, SPIKES = range(6)
WRONG_VALUE = 3  # index into ``failures``, as in kernels/training/failures.cuh
SUM_THREADS = 256  # threads of ``check_batch``, as in kernels/training/block_sum.cuh


class EpochTally:
    """The totals over the batches of an epoch, on the device.

    Parameters
    ----------
    kernels : Kernels
        Of ``TRAINING_FILES``.
    layout : GridLayout
    network : CudaNetwork
    task : Task

    Attributes
    ----------
    status : uint64, shape (3,)
        Why training stopped, as ``Stop`` of kernels/training/failures.cuh, 0 if it did not; the
        batch, counted from 1; and the number of what failed.
    failures : uint64, shape (4,)
        ``Failures`` of kernels/training/failures.cuh.
    counts, spikes : uint64, shape (columns of all components,)
        Emissions in the current batch, and in the batches before it.
    totals : uint64, shape (6,)
        Other counts of the epoch, see ``WITHIN`` and the names after it.
    clipped : uint64, shape (trained parameters,)
        The number of steps at which the gradient was clipped.
    gradient_norms : float64, shape (trained parameters,)
        The sums of the norms of the gradients before clipping.
    rate_jump : reals, shape (units of all populations,)
        The jump of the rate regularisers in the last batch.
    losses, correct : float64 and int32, shape (samples of the epoch,)
    smallest : uint64, shape (batches,)
        The smallest threshold excess of each batch, as an ordered integer.
    true_times : float64, shape (batch,)
        When the true class of each sample spikes first, for losses on first spikes.
    """

    def __init__(
        self, kernels: Kernels, layout: GridLayout, network: CudaNetwork, task: Task
    ) -> None:
        self.kernels, self.layout, self.network, self.task = kernels, layout, network, task
        cupy = kernels.cupy
        columns = network.columns
        self.connections = [c for each in network.components for c in each.connections]
        firsts, counts = _rows(self.connections)
        with kernels.memory_for(64 * columns + 16 * firsts.size, "an epoch's counts"):
            self.unit_of_column = cupy.asarray(network.unit_of_column.astype(np.int32))
            self.strength_and_target = cupy.asarray(self._strength_and_target())
            self.rate_jump = cupy.zeros(layout.units.size, layout.precision)
            self.counts = cupy.zeros(columns, np.uint64)
            self.spikes = cupy.zeros(columns, np.uint64)
            self.totals = cupy.zeros(6, np.uint64)
            self.status = cupy.zeros(3, np.uint64)
            self.failures = cupy.full(4, NOTHING_FOUND, np.uint64)
            self.true_times = cupy.zeros(task.batch_size, np.float64)
            self.clipped = cupy.zeros(len(task.optimizers), np.uint64)
            self.gradient_norms = cupy.zeros(len(task.optimizers), np.float64)
            self.row_first, self.row_count = cupy.asarray(firsts), cupy.asarray(counts)
            self.longest_delay = cupy.zeros(firsts.size, np.int32)
        self.losses = self.correct = self.smallest = cupy.zeros(0)

    def _strength_and_target(self) -> NDArray[np.float64]:
        """Strength and target of the rate regulariser of each column, (columns, 2)."""
        found = np.zeros((self.network.columns, 2))
        for regulariser in self.task.regularisers:
            columns = self._columns(regulariser.population)
            found[columns] = regulariser.strength, regulariser.target
        return found

    def _columns(self, population: str) -> slice:
        """The columns of a population among those of all components."""
        component, first, last = self.layout.place(population)
        before = self.network.components[component].first_column
        return slice(before + first, before + last)

    def begin(self, samples: int, batches: int) -> None:
        """Start an epoch."""
        cupy = self.kernels.cupy
        counters = self.counts, self.spikes, self.totals, self.status, self.clipped
        for array in (*counters, self.gradient_norms):
            array.fill(0)
        self.failures.fill(NOTHING_FOUND)
        with self.kernels.memory_for(12 * samples + 8 * batches, "an epoch's losses"):
            self.losses = cupy.zeros(samples, np.float64)
            self.correct = cupy.zeros(samples, np.int32)
            self.smallest = cupy.full(batches, NOTHING_FOUND, np.uint64)

    @property
    def batches(self) -> int:
        """The number of batches of the epoch."""
        return int(self.smallest.size)

    # -- a batch ---------------------------------------------------------------------------

    @property
    def lost(self) -> Any:
        """The number of spikes that blends have lost, uint64, (1,)."""
        return self._total(LOST)

    def of_samples(self, samples: slice) -> tuple[Any, Any]:
        """The losses and the correct predictions of some samples, as views."""
        return self.losses[samples], self.correct[samples]

    def count(self, batch: CudaBatch, number: int) -> None:
        """Count the spikes and arrivals of a batch, and set its rate jumps."""
        smallest = self.smallest[number : number + 1]
        for component in self.network.components:
            if component.spiking:
                self._count_emissions(batch, component, smallest)
        columns = self.network.columns
        arguments = (
            np.int32(columns), np.int32(batch.inputs.batch), self.unit_of_column,
            self.strength_and_target, self.counts, self.spikes, self.rate_jump,
        )  # fmt: skip
        self.kernels.launch_each("finish_emission_counts", columns, arguments)
        lists = batch.inputs.batch * self.network.units
        inputs = batch.kept_inputs, batch.inputs.start, self._total(SPIKES), self._total(DROPPED)
        self.kernels.launch_each("count_dropped_inputs", lists, (np.int32(lists), *inputs))
        self._count_arrivals(batch)

    def _total(self, index: int) -> Any:
        return self.totals[index : index + 1]

    def _count_emissions(self, batch: CudaBatch, component: CudaComponent, smallest: Any) -> None:
        index, first = component.index, component.first_column
        arguments = (
            *batch.size_arguments(component), batch.emitted[index], batch.delivered[index],
            batch.current[index], self.counts[first : first + component.columns],
            self._total(DROPPED), smallest,
        )  # fmt: skip
        count = batch.inputs.batch * component.columns
        self.kernels.launch_each("count_emissions", count, arguments)

    def _count_arrivals(self, batch: CudaBatch) -> None:
        delays, size = batch.parameters.delay, batch.inputs.batch
        rows = np.int32(self.longest_delay.size), self.row_first, self.row_count
        self.kernels.launch_each(
            "find_longest_delays", 32 * self.longest_delay.size,
            (*rows, delays, self.longest_delay),
        )  # fmt: skip
        row = 0
        for connection in self.connections:
            sources, targets = connection.source_units, connection.target_units
            source = "inputs" if connection.is_from_input else "emissions"
            first, last = connection.first_synapse, connection.first_synapse + connection.size
            arguments = (
                np.int32(size), np.int32(batch.steps), np.int32(sources), np.int32(targets),
                delays[first:last], self.longest_delay[row : row + sources],
                *batch.source_arguments(connection),
                self._total(WITHIN), self._total(AFTER),
            )  # fmt: skip
            self.kernels.launch_each(f"count_arrivals_of_{source}", size * sources, arguments)
            row += sources

    def check_batch(
        self, number: int, batch: CudaBatch, gradients: CudaGradients, parameters: Any
    ) -> None:
        """Stop training if no step can follow batch ``number``, counted from 0.

        ``parameters`` are ``TrainingParameters``.
        """
        arguments = (
            np.int32(number + 1), np.int32(parameters.records.size), parameters.records_on_device,
            parameters.block_squares, batch.overflow, gradients.grazing, gradients.limited,
            self.failures, self.status, self._total(LIMITED), self.clipped,
            self.gradient_norms, parameters.scale,
        )  # fmt: skip
        self.kernels.launch("check_batch", 1, SUM_THREADS, arguments)

    # -- the end of the epoch --------------------------------------------------------------

    def record(self, order: np.ndarray, clipping: Sequence[str]) -> Tally:
        """The tally of the epoch on the host; ``order`` is that of the samples in training."""
        task, totals = self.task, self.totals.get()
        tally = Tally(task.network, order.size, task.loss.classifies, list(clipping))
        tally.losses[order] = self.losses.get()
        if tally.correct is not None:
            tally.correct[order] = self.correct.get() != 0
        of_columns = self.spikes.get().astype(np.int64)
        for population in task.network.populations:
            if isinstance(population, LIF):
                tally.spikes[population.name][:] = of_columns[self._columns(population.name)]
        tally.smallest_drive = float(self.smallest_threshold_excess().min())
        tally.arrivals, tally.arrivals_after_end = int(totals[WITHIN]), int(totals[AFTER])
        tally.dropped, tally.limited = int(totals[DROPPED]), int(totals[LIMITED])
        tally.steps = self.batches
        clipped = dict(zip(task.optimizers, self.clipped.get().tolist(), strict=True))
        for name in tally.clipped:
            tally.clipped[name] = clipped[name]
        norms = self.gradient_norms.get().tolist()
        tally.gradient_norms = dict(zip(task.optimizers, norms, strict=True))
        return tally

    def smallest_threshold_excess(self) -> NDArray[np.float64]:
        """The smallest I - threshold at an emission of each batch, infinity for no emission."""
        ordered = self.smallest.get()
        high = np.uint64(2**63)
        bits = np.where(ordered >= high, ordered - high, ~ordered)
        return np.where(ordered == NOTHING_FOUND, np.inf, bits.view(np.float64))


def _rows(
    connections: Sequence[CudaConnection],
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The first dense synapse and the number of dense synapses of each source unit."""
    firsts = [c.first_synapse + c.target_units * np.arange(c.source_units) for c in connections]
    counts = [np.full(c.source_units, c.target_units) for c in connections]
    return (
        np.concatenate([[], *firsts]).astype(np.int64),
        np.concatenate([[], *counts]).astype(np.int32),
    )
