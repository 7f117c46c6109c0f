"""The errors of an epoch on the device, the same as those of training batch by batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evsim.engines.protocol import EngineError
from evsim.losses import FirstSpikeCrossEntropy
from evsim.training.loop import gradient_error, loss_error
from evsim.training.trained_parameters import TrainedParameter, renewed
from evsim_gpu.cuda.batch import NOTHING_FOUND
from evsim_gpu.model.precision import check_parameters
from evsim_gpu.model.time_grid import grid_points
from evsim_gpu.state import GRAZING, overflow_message, place_in_batch
from evsim_gpu.training.parameters import TrainingParameters
from evsim_gpu.training.tally import SPIKES, WRONG_VALUE, EpochTally

STOPS = ("", "overflow", "readout", "early spike term", "grazing", "loss", "gradient", "value")
"""Why training stopped, in the order of ``Stop`` in kernels/training/failures.cuh."""


class Failures:
    """Finds out what went wrong in an epoch, and raises the corresponding error.

    Parameters
    ----------
    tally : EpochTally
    trained : TrainingParameters
    epoch : int
    order : shape (samples,)
        The order of the samples in training.
    """

    def __init__(
        self, tally: EpochTally, trained: TrainingParameters, epoch: int, order: np.ndarray
    ) -> None:
        self.tally, self.trained, self.epoch, self.order = tally, trained, epoch, order
        self.layout, self.task = tally.layout, tally.task

    def check(self, parameters: Sequence[TrainedParameter]) -> None:
        """Raise the error that training batch by batch would have raised, if any."""
        reason, batch, failed = (int(word) for word in self.tally.status.get())
        wrong_value = int(self.tally.failures.get()[WRONG_VALUE])
        if reason == 0 and wrong_value != NOTHING_FOUND:  # in the last step
            reason, batch, failed = STOPS.index("value"), self.tally.batches, wrong_value
        if reason:
            place = f"epoch {self.epoch}, batch {batch} of {self.tally.batches}"
            error = self._error(STOPS[reason], batch - 1, failed, place, parameters)
            if place not in str(error):
                error.add_note(f"in {place}")
            raise error
        given = next(iter(self.task.data.inputs.values())).times.size
        if given and not int(self.tally.totals.get()[SPIKES]):
            raise ValueError(
                f"augmentation leaves none of the {given} spikes of the data in epoch "
                f"{self.epoch}: give it smaller settings, or times in ms and the duration of "
                "their trial"
            )

    def _error(
        self,
        reason: str,
        batch: int,
        failed: int,
        place: str,
        parameters: Sequence[TrainedParameter],
    ) -> Exception:
        """Why training stopped at a batch, counted from 0; ``failed`` numbers what failed there."""
        if reason == "loss":
            sample = batch * self.task.batch_size + failed
            loss = float(self.tally.losses.get()[sample])
            return loss_error(place, int(self.order[sample]), loss)
        if reason == "gradient":
            parameter = parameters[failed]
            values = self.trained.split(self.trained.folded)[failed]
            excess = float(self.tally.smallest_threshold_excess()[batch])
            shaped = values.reshape(parameter.values.shape)
            return gradient_error(place, parameter.name, shaped, excess)
        if reason == "value":
            return self._wrong_value(parameters[failed], failed, place)
        if reason == "early spike term":
            return self._too_late(failed)
        return EngineError(self._place(reason, failed))

    def _place(self, reason: str, failed: int) -> str:
        """Where in the batch the simulation or its backward pass failed, and why."""
        layout, network = self.layout, self.tally.network
        if reason == "overflow":
            sample, column = divmod(failed, network.columns)
            place = place_in_batch(layout, sample, int(network.unit_of_column[column]))
            return place + overflow_message(layout)
        if reason == "grazing":
            unit_of_batch, before_end = divmod(failed, layout.steps + 1)
            sample, unit = divmod(unit_of_batch, layout.units.size)
            time = float(grid_points(layout.duration, layout.steps)[layout.steps - before_end])
            return place_in_batch(layout, sample, unit, time) + GRAZING
        readout = self.task.loss.readout
        component, first, last = layout.place(readout.population_of(layout.network))
        sample, column = divmod(failed, last - first)
        unit = int(layout.components[component].unit_of_column[first + column])
        what = f"{type(readout).__name__} is no finite number; {overflow_message(layout)}"
        return place_in_batch(layout, sample, unit) + what

    def _wrong_value(self, parameter: TrainedParameter, number: int, place: str) -> Exception:
        """The error of a parameter that a step gave a value that is not allowed."""
        values = self.trained.split(self.trained.values)[number]
        np.copyto(parameter.values, values.reshape(parameter.values.shape))
        try:
            parameter.check(place)
            network = renewed(self.layout.network, [parameter], place)
            check_parameters(network, self.layout.precision)
        except ValueError as error:
            return error
        raise AssertionError(f"the values of {parameter.name} are allowed")

    def _too_late(self, sample: int) -> Exception:
        """The error of a true class that spikes so late that the loss overflows."""
        loss = self.task.loss
        assert isinstance(loss, FirstSpikeCrossEntropy)
        return OverflowError(loss.overflow(sample, float(self.tally.true_times.get()[sample])))
