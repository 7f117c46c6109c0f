"""What stopped an epoch on the device, told as training batch by batch tells it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evsim.engines.protocol import EngineError
from evsim.losses import FirstSpikeCrossEntropy
from evsim.training.loop import gradient_error, loss_error
from evsim.training.trained_parameters import TrainedParameter
from evsim_gpu.cuda.batch import NONE
from evsim_gpu.model.layout import grid_points
from evsim_gpu.model.precision import check_parameters
from evsim_gpu.state import GRAZING, overflow_message, place_in_batch
from evsim_gpu.training.parameters import TrainingParameters
from evsim_gpu.training.tally import SPIKES, VALUE, EpochTally

# What ``status`` says, as Stop in kernels/optimisers.cu.
STOPS = ("", "overflow", "readout", "pull", "grazing", "loss", "gradient", "value")


class Failures:
    """Looks for what went wrong in an epoch."""

    def __init__(
        self, tally: EpochTally, trained: TrainingParameters, epoch: int, order: np.ndarray
    ) -> None:
        self.tally, self.trained, self.epoch, self.order = tally, trained, epoch, order
        self.layout, self.task = tally.layout, tally.task

    def check(self, parameters: Sequence[TrainedParameter]) -> None:
        """Raise the error that training batch by batch would have raised, if any."""
        reason, batch, about = (int(word) for word in self.tally.status.get())
        wrong_value = int(self.tally.incidents.get()[VALUE])
        if reason == 0 and wrong_value != NONE:  # of the last step
            reason, batch, about = STOPS.index("value"), self.tally.batches, wrong_value
        if reason:
            place = f"epoch {self.epoch}, batch {batch} of {self.tally.batches}"
            error = self._error(STOPS[reason], batch - 1, about, place, parameters)
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
        about: int,
        place: str,
        parameters: Sequence[TrainedParameter],
    ) -> Exception:
        """Why training stopped at a batch, counted from 0."""
        if reason == "loss":
            sample = batch * self.task.batch_size + about
            loss = float(self.tally.losses.get()[sample])
            return loss_error(place, int(self.order[sample]), loss)
        if reason == "gradient":
            parameter = parameters[about]
            values = self.trained.split(self.trained.folded)[about]
            drive = float(self.tally.smallest_drives()[batch])
            shaped = values.reshape(parameter.values.shape)
            return gradient_error(place, parameter.name, shaped, drive)
        if reason == "value":
            return self._wrong_value(parameters[about], about, place)
        if reason == "pull":
            return self._too_late(about)
        return EngineError(self._place(reason, about))

    def _place(self, reason: str, about: int) -> str:
        """Where a simulation or its adjoints cannot go on, and why."""
        layout, network = self.layout, self.tally.network
        if reason == "overflow":
            sample, column = divmod(about, network.unit_of.size)
            place = place_in_batch(layout, sample, int(network.unit_of[column]))
            return place + overflow_message(layout)
        if reason == "grazing":
            own, before_end = divmod(about, layout.steps + 1)
            sample, unit = divmod(own, layout.units.size)
            time = float(grid_points(layout.duration, layout.steps)[layout.steps - before_end])
            return place_in_batch(layout, sample, unit, time) + GRAZING
        readout = self.task.loss.readout
        component, first, last = layout.place(readout.population_of(layout.network))
        sample, column = divmod(about, last - first)
        unit = int(layout.components[component].unit_of_column[first + column])
        what = f"{type(readout).__name__} is no finite number; {overflow_message(layout)}"
        return place_in_batch(layout, sample, unit) + what

    def _wrong_value(self, parameter: TrainedParameter, number: int, place: str) -> Exception:
        values = self.trained.split(self.trained.values)[number]
        np.copyto(parameter.values, values.reshape(parameter.values.shape))
        try:
            parameter.check(place)
            network = self.layout.network.replace({parameter.name: parameter.values})
            check_parameters(network, self.layout.precision)
        except ValueError as error:
            return error
        raise AssertionError(f"{parameter.name} may have its values after all")

    def _too_late(self, sample: int) -> Exception:
        loss = self.task.loss
        assert isinstance(loss, FirstSpikeCrossEntropy)
        return OverflowError(loss.overflow(sample, float(self.tally.true_times.get()[sample])))
