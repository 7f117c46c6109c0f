"""Losses on the device: from a simulated batch to what a loss adds to its adjoints."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from evsim.losses import CrossEntropy, FirstSpikeCrossEntropy, TimeInvariantMSE
from evsim.losses.loss import Loss
from evsim.network.network import Network
from evsim.network.populations import LI
from evsim.readouts import Mean, Voltage
from evsim_gpu.cuda.backward import CudaSources
from evsim_gpu.cuda.batch import CudaBatch
from evsim_gpu.cuda.launching import Kernels
from evsim_gpu.model.layout import GridLayout
from evsim_gpu.readouts import mean_form
from evsim_gpu.training.tally import EpochTally


def unsupported_loss(loss: Loss, network: Network) -> str | None:
    """Why the device cannot compute a loss; None if it can."""
    if type(loss) in (FirstSpikeCrossEntropy, TimeInvariantMSE):
        return None
    if type(loss) is not CrossEntropy:
        return f"the loss is {type(loss).__name__}"
    if loss.label_smoothing:
        return "the labels are smoothed"
    if isinstance(loss.readout, Voltage):
        return "the loss reads the voltage at one time"
    if isinstance(loss.readout, Mean) and not loss.readout.is_elementary:
        return f"the mean is weighted by {loss.readout.weighting!r}"
    name = loss.readout.population_of(network)
    if not isinstance(network.population(name), LI):
        return f"the mean is of {name!r}, whose units are LIF"
    return None


def loss_on_device(kernels: Kernels, layout: GridLayout, loss: Loss, batch: int) -> DeviceLoss:
    """A loss for batches of at most ``batch`` samples."""
    if isinstance(loss, CrossEntropy):
        return VoltageLoss(kernels, layout, loss, batch)
    return FirstSpikeLoss(kernels, layout, loss, batch)


class DeviceLoss(ABC):
    """A loss that reads one population.

    Parameters
    ----------
    kernels : Kernels
        Of ``TRAINING_FILES``.
    layout : GridLayout
    loss : Loss
    batch : int
        The largest number of samples in a batch.
    """

    def __init__(self, kernels: Kernels, layout: GridLayout, loss: Loss, batch: int) -> None:
        self.kernels, self.layout, self.loss = kernels, layout, loss
        self.name = loss.readout.population_of(layout.network)
        self.component, self.first, last = layout.place(self.name)
        self.width = last - self.first
        cupy, real = kernels.cupy, layout.precision
        with kernels.memory_for(batch * self.width * 24, "the loss"):
            no_jumps = cupy.empty((0, self.width), real)
            self._no_moments = {
                "moment_step": cupy.empty(0, np.int32),
                "moment_start": cupy.zeros(batch + 1, np.int64),
                "moment_lambda_v": no_jumps,
                "moment_lambda_i": no_jumps,
            }
            self.cotangents, self.phantom = (
                cupy.empty((batch, self.width), real) for _ in range(2)
            )
            self.first_step = cupy.empty((batch, self.width), np.int32)
            self.emission_entries = cupy.empty((batch, self.width), np.int64)

    @abstractmethod
    def evaluate(
        self, batch: CudaBatch, labels: Any, samples: slice, tally: EpochTally
    ) -> dict[str, Any]:
        """Evaluate a batch: write losses and correct predictions of its samples to the tally.

        Returns the fields of ``CudaSources`` that the loss has.  ``samples`` are the samples of
        the batch in the order of the epoch, ``labels`` the classes of all samples.
        """

    def sources(
        self, batch: CudaBatch, labels: Any, samples: slice, tally: EpochTally, limit: float
    ) -> CudaSources:
        """Evaluate a batch, see ``evaluate``; ``limit`` is the largest |lambda_V| at emissions."""
        return CudaSources(
            component=self.component, first=self.first, width=self.width,
            rate_jump=tally.rate_jump, limit=limit, **self._no_moments,
            **self.evaluate(batch, labels, samples, tally),
        )  # fmt: skip


class VoltageLoss(DeviceLoss):
    """Cross-entropy of means or peaks of the voltages of LI units."""

    def __init__(self, kernels: Kernels, layout: GridLayout, loss: Loss, batch: int) -> None:
        super().__init__(kernels, layout, loss, batch)
        self._form: dict[str, Any] = {}
        if isinstance(loss.readout, Mean):
            form = mean_form(layout, self.name, loss.readout.form(layout.duration))
            rows = np.concatenate([form.by_voltage, form.by_current])
            parts = {"f": form.f, "g": form.g, "form": rows}
            self._form = {name: kernels.cupy.asarray(part) for name, part in parts.items()}

    def evaluate(
        self, batch: CudaBatch, labels: Any, samples: slice, tally: EpochTally
    ) -> dict[str, Any]:
        columns = self.component, self.first, self.width
        parts: dict[str, Any] = {"cotangents": self.cotangents, **self._form}
        if self._form:
            values = batch.mean(*columns, *self._form.values())
        else:
            values, parts["peak_step"], parts["peak_share"] = batch.peak(*columns)
        size = batch.inputs.batch
        arguments = (
            np.int32(size), np.int32(self.width), values, labels[samples], self.cotangents,
            *tally.of_samples(samples), tally.failures,
        )  # fmt: skip
        self.kernels.launch_each("cross_entropy", size, arguments)
        return parts


class FirstSpikeLoss(DeviceLoss):
    """A loss on the times of the first spikes of LIF units."""

    def evaluate(
        self, batch: CudaBatch, labels: Any, samples: slice, tally: EpochTally
    ) -> dict[str, Any]:
        size, steps = batch.inputs.batch, np.int32(batch.steps)
        columns = np.int32(batch.network.components[self.component].columns)
        sizes = np.int32(size), steps, columns, np.int32(self.first), np.int32(self.width)
        emitted = batch.emitted[self.component]
        arguments = *sizes, emitted, self.first_step, self.emission_entries
        self.kernels.launch_each("find_first_spikes", size * self.width, arguments)
        trial = np.float64(self.layout.duration), steps
        given = np.int32(size), np.int32(self.width), self.first_step, labels[samples], *trial
        results = (
            self.cotangents, self.phantom, *tally.of_samples(samples), tally.failures,
        )  # fmt: skip
        kernel, settings = self._kernel(tally)
        self.kernels.launch_each(kernel, size, (*given, *settings, *results))
        return {
            "phantom": self.phantom,
            "emission_entries": self.emission_entries[:size].ravel(),
            "spike_time_gradient": self.cotangents[:size].ravel(),
        }

    def _kernel(self, tally: EpochTally) -> tuple[str, tuple[Any, ...]]:
        """The kernel of the loss, and the arguments that only this kernel has."""
        loss = self.loss
        if isinstance(loss, FirstSpikeCrossEntropy):
            numbers = (np.float64(part) for part in (loss.tau0, loss.tau1, loss.alpha))
            return "first_spike_cross_entropy", (*numbers, tally.status, tally.true_times)
        assert isinstance(loss, TimeInvariantMSE)
        return "time_invariant_mse", (np.float64(loss.delta),)
