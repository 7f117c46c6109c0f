"""Training on a GPU that synchronises with the host once per epoch.

Data, parameters and the states of the optimisers stay on the device, which makes the batches and
takes the steps.  The results equal those of training batch by batch, to rounding.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from evsim.network.dropout import Dropout
from evsim.training.progress import Progress
from evsim.training.tally import Tally
from evsim.training.task import Task
from evsim.training.trained_parameters import TrainedParameter
from evsim_gpu.cuda.backward import pull_back
from evsim_gpu.cuda.batch import CudaBatch
from evsim_gpu.cuda.device import CudaDevice, kernels_for, network_on
from evsim_gpu.cuda.launching import TRAINING_FILES
from evsim_gpu.cuda.network import CudaParameters
from evsim_gpu.model.layout import GridLayout
from evsim_gpu.training.augmented_samples import unsupported_augmentation
from evsim_gpu.training.data import EpochInputs, TrainingData
from evsim_gpu.training.failures import Failures
from evsim_gpu.training.losses import loss_on_device, unsupported_loss
from evsim_gpu.training.parameters import TrainingParameters, unsupported_steps
from evsim_gpu.training.tally import EpochTally


def unsupported(task: Task) -> str | None:
    """Why a task cannot be trained entirely on the device; None if it can."""
    inputs = task.network.inputs
    if len(inputs) > 1:
        return f"the network has {len(inputs)} inputs"
    if [trains.unit_count for trains in task.data.inputs.values()] != [inputs[0].units]:
        return "the data fit the network only when they are augmented"
    return (
        unsupported_augmentation(task.augmentation)
        or unsupported_loss(task.loss, task.network)
        or unsupported_steps(task)
    )


def trainer_for(task: Task, dt: float, precision: type[np.floating]) -> ResidentTrainer | None:
    """The trainer of a task on the device; None, and a line on stderr, if there is none."""
    reason = unsupported(task)
    if reason is not None:
        print(f"evsim: this run goes batch by batch through the host: {reason}", file=sys.stderr)
        return None
    return ResidentTrainer(task, dt, precision)


class ResidentTrainer:
    """Trains whole epochs on a GPU; an ``evsim.training.epoch_trainers.EpochTrainer``.

    Parameters
    ----------
    task : Task
        A task for which ``unsupported`` returns None.
    dt : float
        The step of the grid in ms.
    precision : type
        ``numpy.float32`` or ``numpy.float64``.

    Raises
    ------
    EngineError
        If the memory of the device is too small.
    """

    def __init__(self, task: Task, dt: float, precision: type[np.floating]) -> None:
        self.task = task
        dropout = Dropout(task.dropout) if any(task.dropout.values()) else None
        self.layout = GridLayout.of(task.network, task.duration, dt, precision, dropout)
        self.device = CudaDevice(np.dtype(precision).name)
        cupy = self.device.gpu.cupy
        with self.device.current():
            number, name = self.device.gpu.number, self.device.kernels.precision.name
            kernels = kernels_for(cupy, number, name, TRAINING_FILES)
            self.network = network_on(cupy, number, self.layout)
            size = 2 * kernels.precision.itemsize * self.network.dense_synapses
            with kernels.memory_for(size, "the network"):
                self.simulated = CudaParameters.of(cupy, self.layout, self.network)
            self.data = TrainingData(kernels, self.layout, task)
            self.loss = loss_on_device(kernels, self.layout, task.loss, task.batch_size)
            self.tally = EpochTally(kernels, self.layout, self.network, task)
            self.trained = TrainingParameters(
                kernels, self.layout, self.network, self.simulated, task
            )

    def run_epoch(
        self,
        epoch: int,
        parameters: Sequence[TrainedParameter],
        rates: Callable[[int], Mapping[str, float]],
        display: Progress,
    ) -> tuple[Tally, int]:
        """Train one epoch; afterwards the parameters on the host have the new values and states."""
        task = self.task
        augmented = self.data.augmented(epoch)
        samples = len(augmented)
        order = task.order(epoch, samples)
        keys = task.dropout_keys(epoch, samples)
        batches = display.batches = task.batches(samples)
        with self.device.current():
            inputs = self.data.upload(augmented, order, keys)
            self.trained.upload(parameters, [dict(rates(batch)) for batch in range(batches)])
            self.tally.begin(samples, batches)
            for batch in range(batches):
                first = batch * task.batch_size
                self._train(batch, slice(first, min(first + task.batch_size, samples)), inputs)
                display.batch(epoch, batch + 1, None)
            Failures(self.tally, self.trained, epoch, order).check(parameters)
            self.trained.download(parameters, batches)
            clipping = [parameter.name for parameter in parameters if parameter.clips]
            tally = self.tally.record(order, clipping)
            return tally, augmented.lost + int(self.tally.lost.get()[0])

    def _train(self, number: int, samples: slice, inputs: EpochInputs) -> None:
        """Launch the kernels of a batch and of the step after it, without waiting for them."""
        spikes = self.data.make_batch(inputs, samples, self.tally.lost)
        batch = CudaBatch(
            self.device.kernels, self.network, self.simulated, spikes, self.layout.steps
        )
        sources = self.loss.sources(
            batch, inputs.labels, samples, self.tally, self.task.lambda_limit
        )
        self.tally.count(batch, number)
        gradients = pull_back(
            batch, sources, time_constants=self.trained.units.trains_time_constants
        )
        self.trained.fold(gradients, self.tally)
        self.tally.check_batch(number, batch, gradients, self.trained)
        self.trained.step(number, self.tally)
