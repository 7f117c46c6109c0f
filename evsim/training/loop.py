"""A training run under way: epochs of batches, steps and lifts, and its checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property

import numpy as np

from evsim.arguments.checks import is_sparse
from evsim.data.dataset import Dataset
from evsim.network.dropout import Dropout
from evsim.network.parameters import with_data
from evsim.simulation.gradients import Gradient, GradientOptions, quiet_gradient
from evsim.simulation.silence import silent_layer
from evsim.storage.run_folder import RunFolder
from evsim.training.epoch_trainers import epoch_trainer
from evsim.training.evaluation import Evaluation, evaluate
from evsim.training.history import EpochRecord, Watch
from evsim.training.progress import Progress
from evsim.training.state import TrainingState
from evsim.training.tally import Tally
from evsim.training.task import Task
from evsim.training.trained_parameters import TrainedParameter, numbers


class Training:
    """A run under way.

    ``finished`` is where it stood after the last whole epoch.  It is replaced in one
    assignment, so that an interrupt finds the epoch before or the epoch after.
    """

    def __init__(self, task: Task, epochs: int, folder: RunFolder | None) -> None:
        self.task = task
        self.folder = folder
        self.settings = {} if folder is None else task.settings()
        self.network = task.network
        self.parameters = [
            TrainedParameter(name, task.network.parameters[name], optimizer, task.projections[name])
            for name, optimizer in task.optimizers.items()
        ]
        self.trainer = epoch_trainer(task)
        self.rates: dict[str, float] = {}
        self.finished = TrainingState(0, epochs, self.network, 0, self.network, ())
        self.saved = 0

    # -- one epoch ---------------------------------------------------------------------

    def run_epoch(self, epoch: int, display: Progress) -> None:
        """Train one epoch, validate and store the outcome."""
        started = time.perf_counter()
        steps_before = sum(record.steps for record in self.finished.history)

        def rates(batch: int) -> Mapping[str, float]:
            self._set_rates(epoch, steps_before, batch)
            return self.rates

        if self.trainer is None:
            tally, spikes_lost = self._run_batches(epoch, rates, display)
        else:
            tally, spikes_lost = self.trainer.run_epoch(epoch, self.parameters, rates, display)
            self._renew_network()
        self._lift(tally.silent())
        validation = self._validate(epoch)
        seconds = time.perf_counter() - started
        record = tally.record(epoch, validation, seconds, self.rates, spikes_lost)
        self.finished = self._after(record)
        self.save()
        display.epoch(record)
        self._tell_silence(record, display)

    def _run_batches(
        self, epoch: int, rates: Callable[[int], Mapping[str, float]], display: Progress
    ) -> tuple[Tally, int]:
        """Train one epoch batch by batch; what they add up to, and the spikes that were lost."""
        task = self.task
        data, spikes_lost = task.epoch_data(epoch)
        order = task.order(epoch, len(data))
        keys = task.dropout_keys(epoch, len(data))
        batches = display.batches = task.batches(len(data))
        tally = Tally(task.network, len(data), task.loss.classifies, self._clipping)
        for batch in range(batches):
            samples = order[batch * task.batch_size : (batch + 1) * task.batch_size]
            place = f"epoch {epoch}, batch {batch + 1} of {batches}"
            chosen = data[samples]
            dropout = None if keys is None else Dropout(task.dropout, keys=keys[samples])
            rates(batch)
            try:
                outcome, clipped = self._step(chosen, samples, dropout, place)
            except Exception as error:
                if place not in str(error):
                    error.add_note(f"in {place}")
                raise
            tally.add(samples, chosen.labels, outcome, clipped)
            display.batch(epoch, batch + 1, tally.loss_so_far)
        return tally, spikes_lost

    def _tell_silence(self, record: EpochRecord, display: Progress) -> None:
        """Say so when a whole population falls silent: no gradient brings it back."""
        before = self.finished.history[-2].silent_units if record.epoch > 1 else {}
        for name, silent in record.silent_units.items():
            units = self.task.network.population(name).units
            if silent == units and before.get(name) != units:
                display.say(
                    f"epoch {record.epoch}: {silent_layer(name)}, or lift silent units, silent_lift"
                )

    @cached_property
    def _clipping(self) -> list[str]:
        return [parameter.name for parameter in self.parameters if parameter.clips]

    def _set_rates(self, epoch: int, steps_before: int, batch: int) -> None:
        """Each parameter's learning rate at a batch, counted from 0 in its epoch."""
        for parameter in self.parameters:
            optimizer = parameter.optimizer
            if batch == 0 or optimizer.changes_within_epochs:
                rate = optimizer.learning_rate_at(
                    epoch, steps_before + batch, self.finished.history
                )
                self.rates[parameter.name] = rate

    def _step(
        self, batch: Dataset, samples: np.ndarray, dropout: Dropout | None, place: str
    ) -> tuple[Gradient, list[str]]:
        """The gradient of one batch, and a step down; and whose gradients were scaled down."""
        task = self.task
        options = GradientOptions(
            list(task.optimizers), task.engine, dropout, task.regularisers, task.lambda_limit
        )
        outcome = quiet_gradient(
            self.network, batch.spikes, batch.labels, task.loss, task.duration, options
        )
        gradients = [numbers(outcome.parameters[parameter.name]) for parameter in self.parameters]
        _check_finite(outcome, samples, self.parameters, gradients, place)
        clipped = []
        for parameter, values in zip(self.parameters, gradients, strict=True):
            if parameter.step(values, self.rates[parameter.name]):
                clipped.append(parameter.name)
            parameter.check(place)
        self._renew_network()
        return outcome, clipped

    def _renew_network(self) -> None:
        self.network = self.network.replace({p.name: p.holder for p in self.parameters})

    def _lift(self, silent: Mapping[str, np.ndarray]) -> None:
        """Raise the incoming weights of units that were silent in the whole epoch (L 4.5)."""
        lifted = False
        for population, amounts in self.task.lift.items():
            if not silent[population].any():
                continue
            for parameter in self.parameters:
                if parameter.name in amounts:
                    parameter.lift(silent[population], amounts[parameter.name])
                    lifted = True
        if lifted:
            self._renew_network()

    def _validate(self, epoch: int) -> Evaluation | None:
        task = self.task
        if task.validation is None:
            return None
        outcome = evaluate(
            self.network, task.validation, task.loss, task.duration, engine=task.engine
        )
        if not np.isfinite(outcome.losses).all():
            sample = int(np.argmin(np.isfinite(outcome.losses)))
            raise FloatingPointError(
                f"after epoch {epoch} the loss of validation sample {sample} is "
                f"{outcome.losses[sample]}"
            )
        return outcome

    def _after(self, record: EpochRecord) -> TrainingState:
        """Where the run stands after an epoch with this record."""
        before = self.finished
        after = replace(
            before,
            epoch=record.epoch,
            network=self.network,
            history=(*before.history, record),
        )
        best = before.history[before.best_epoch - 1] if before.best_epoch else None
        if best is None or self._merit(record) > self._merit(best):
            after = replace(after, best_epoch=record.epoch, best_network=self.network)
        return after

    def _merit(self, record: EpochRecord) -> tuple[float, float]:
        """What is larger for a better epoch: what is watched, and among equals less loss."""
        watch = self.task.watch
        loss: Watch = "validation_loss" if watch.startswith("validation") else "loss"
        return record.merit(watch), record.merit(loss)

    # -- on disk -----------------------------------------------------------------------

    def begin(self, resume: bool) -> None:
        """Make the run folder ready, and take up what its checkpoint holds."""
        if self.folder is None:
            return
        loaded = self.folder.begin(self.settings, resume=resume)
        if loaded is None:
            return
        arrays, description = loaded
        if description["epoch"] > self.finished.epochs:
            raise ValueError(
                f"{self.folder.path} holds {description['epoch']} finished epochs, more than "
                f"epochs = {self.finished.epochs}: ask for at least as many"
            )
        for parameter in self.parameters:
            np.copyto(parameter.values, arrays[f"last/{parameter.name}"])
            for key, state in parameter.state.items():
                np.copyto(state, arrays[f"state/{parameter.name}/{key}"])
        self._renew_network()
        best = {}
        for name in self.task.optimizers:
            initial = self.task.network.parameters[name]
            values = arrays[f"best/{name}"]
            best[name] = with_data(initial, values) if is_sparse(initial) else values
        self.finished = TrainingState(
            epoch=description["epoch"],
            epochs=self.finished.epochs,
            network=self.network,
            best_epoch=description["best_epoch"],
            best_network=self.task.network.replace(best),
            history=tuple(EpochRecord(**record) for record in description["history"]),
        )
        self.saved = self.finished.epoch
        self._write_views(self.folder, best=True)

    def save(self) -> None:
        """Store the last finished epoch, unless it has been."""
        if self.folder is None or self.saved == self.finished.epoch:
            return
        finished = self.finished
        arrays = {}
        for parameter in self.parameters:
            name = parameter.name
            arrays[f"last/{name}"] = parameter.values
            arrays[f"best/{name}"] = numbers(finished.best_network.parameters[name])
            for key, state in parameter.state.items():
                arrays[f"state/{name}/{key}"] = state
        description = {
            "settings": self.settings,
            "epoch": finished.epoch,
            "best_epoch": finished.best_epoch,
            "history": [asdict(record) for record in finished.history],
        }
        self.folder.write_checkpoint(arrays, description)
        self._write_views(self.folder, best=finished.best_epoch == finished.epoch)
        self.saved = finished.epoch

    def _write_views(self, folder: RunFolder, *, best: bool) -> None:
        """The files for readers, from what the checkpoint holds."""
        folder.write_metrics([asdict(record) for record in self.finished.history])
        if best:
            folder.write_best(self.finished.best_network)


def _check_finite(
    outcome: Gradient,
    samples: np.ndarray,
    parameters: Sequence[TrainedParameter],
    gradients: Sequence[np.ndarray],
    place: str,
) -> None:
    """Refuse losses and gradients that no step can be taken with."""
    if not np.isfinite(outcome.losses).all():
        sample = int(np.argmin(np.isfinite(outcome.losses)))
        raise loss_error(place, samples[sample], outcome.losses[sample])
    for parameter, values in zip(parameters, gradients, strict=True):
        # The square must be finite too: Adam averages it.  (BLAS would wake threads of its own.)
        with np.errstate(over="ignore", invalid="ignore"):
            finite = np.isfinite(np.square(values).sum())
        if not finite:
            drive = outcome.report.smallest_drive
            raise gradient_error(place, parameter.name, values, drive)


def loss_error(place: str, sample: int, loss: float) -> FloatingPointError:
    """That a sample's loss is no finite number, in an epoch and batch."""
    return FloatingPointError(f"{place}: the loss of sample {sample} is {loss}")


def gradient_error(
    place: str, name: str, values: np.ndarray, smallest_drive: float
) -> FloatingPointError:
    """That no step can be taken with a parameter's gradient, in an epoch and batch."""
    magnitude = np.where(np.isnan(values), np.inf, np.abs(values))
    index = np.unravel_index(int(np.argmax(magnitude)), values.shape)
    return FloatingPointError(
        f"{place}: the gradient by {name} reaches {values[index]:g}, too far for a step; the "
        f"smallest I - threshold at a spike of the batch is {smallest_drive:g}, and gradients "
        "grow without bound as it goes to 0"
    )
