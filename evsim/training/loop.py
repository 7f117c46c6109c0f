"""The training loop: the epochs of a run, their batches and steps, and its checkpoints.

L is Nowotny, Turner, Knight, *Loss shaping enhances exact gradient learning with EventProp*.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any

import numpy as np

from evsim.arguments.checks import is_sparse
from evsim.data.dataset import Dataset
from evsim.display.warning_place import warn_caller
from evsim.distributed.alike import check_alike, check_same_values, machines_told
from evsim.distributed.machines import Machine, machines_of
from evsim.distributed.ranks import Ranks
from evsim.engines.protocol import EngineError
from evsim.network.dropout import Dropout
from evsim.network.network import Network
from evsim.network.parameters import norm, numbers, with_data, with_numbers
from evsim.simulation.gradients import Gradient, GradientOptions, quiet_gradient
from evsim.simulation.pattern_changes import AtAChangeError, nearest_change
from evsim.storage.arrays import checksum
from evsim.storage.run_folder import RunFolder
from evsim.training.advice.ease_in import ended_in_ease_in, shorter_ease_in, slow_ease_in
from evsim.training.advice.symptoms import Symptoms
from evsim.training.advice.warning import TrainingWarning
from evsim.training.epoch_trainers import epoch_trainer
from evsim.training.evaluation import Evaluation, evaluate
from evsim.training.history import EpochRecord, History, Watch
from evsim.training.optimisers import Optimizer
from evsim.training.progress import Progress
from evsim.training.state import TrainingState
from evsim.training.tally import Tally
from evsim.training.task import Task
from evsim.training.trained_parameters import TrainedParameter, renewed


class Training:
    """A training run.

    ``planned_steps`` is the number of steps of the epochs with which the run began, for the data
    before augmentation.  ``finished`` is its state after the last complete epoch.  It is replaced
    in one assignment, so that an interrupt finds the state either before or after an epoch.
    ``folder`` is None on all ranks except the first, the only one that writes.
    """

    def __init__(self, task: Task, epochs: int, folder: RunFolder | None, ranks: Ranks) -> None:
        self.task = task
        self.ranks = ranks
        self.engine = ranks.engine(task.engine)
        self.folder = folder if ranks.is_first else None
        self.settings = {} if folder is None and ranks.count == 1 else task.settings()
        self.network = task.network
        self.planned_steps = epochs * task.batches(len(task.data))
        self.parameters = [
            TrainedParameter(
                name,
                task.network.parameters[name],
                optimizer.in_run(self.planned_steps),
                task.projections[name],
            )
            for name, optimizer in task.optimizers.items()
        ]
        self._symptoms = Symptoms(task)
        self.trainer = epoch_trainer(task)
        self.rates: dict[str, float] = {}
        self.finished = TrainingState(0, epochs, self.network, 0, self.network, History())
        self.saved = 0
        self.machines: list[Machine] = []
        self.told: list[str] = []  # about the machines and the schedules

    # -- one epoch ---------------------------------------------------------------------

    def run_epoch(self, epoch: int, display: Progress) -> None:
        """Train one epoch, validate the network and store the state."""
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
        record = self._agreed(record)
        self.finished = self._after(record)
        self.save()
        display.epoch(record)
        self.say(self._symptoms.after_epoch(self.finished.history, tally), display)

    def _run_batches(
        self, epoch: int, rates: Callable[[int], Mapping[str, float]], display: Progress
    ) -> tuple[Tally, int]:
        """Train one epoch batch by batch; return its sums and the number of lost spikes."""
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
                outcome, norms, clipped = self._step(chosen, samples, dropout, place)
            except Exception as error:
                told = str(error), *getattr(error, "__notes__", ())
                if not any(place in text for text in told):
                    error.add_note(f"in {place}")
                raise
            tally.add(samples, chosen.labels, outcome, norms, clipped)
            if task.nearest_change and batch + 1 == batches:
                tally.nearest_change = _share_of_step(outcome, self.network, dropout)
            display.batch(epoch, batch + 1, tally.loss_so_far)
        return tally, spikes_lost

    # -- what keeps it from learning ---------------------------------------------------

    def say(self, advice: Sequence[str], display: Progress) -> None:
        """Report what goes wrong: in the progress display, or as a warning if none is shown."""
        for text in advice if self.ranks.is_first else ():
            if display.is_shown:
                display.say(text)
            else:
                warn_caller(text, TrainingWarning)

    def warn_of_slow_ease_in(self) -> None:
        """Warn before training about learning rates for which the run is too short."""
        batches = self.task.batches(len(self.task.data))
        steps, augmented = self.finished.epochs * batches, bool(self.task.augmentation)
        advice = slow_ease_in(self._optimizers, steps, batches, augmented=augmented)
        if advice is not None and self.ranks.is_first:
            warn_caller(advice, TrainingWarning)

    def say_at_end(self, display: Progress) -> None:
        """Report what the results of the run show, and what is wrong with them."""
        history = self.finished.history
        advice = self._symptoms.at_end(history)
        if len(history) < self.finished.epochs:
            early = ended_in_ease_in(self._optimizers, sum(record.steps for record in history))
            advice += [] if early is None else [early]
        self.say(advice, display)

    @property
    def _optimizers(self) -> dict[str, Optimizer]:
        return {parameter.name: parameter.optimizer for parameter in self.parameters}

    # -- a step ------------------------------------------------------------------------

    @cached_property
    def _clipping(self) -> list[str]:
        return [parameter.name for parameter in self.parameters if parameter.clips]

    @cached_property
    def _with_changing_rates(self) -> list[TrainedParameter]:
        return [p for p in self.parameters if p.optimizer.changes_within_epochs]

    def _set_rates(self, epoch: int, steps_before: int, batch: int) -> None:
        """Set each parameter's learning rate at a batch, counted from 0 in its epoch."""
        for parameter in self.parameters if batch == 0 else self._with_changing_rates:
            self.rates[parameter.name] = parameter.optimizer.learning_rate_at(
                epoch, steps_before + batch, self.finished.history
            )

    def _step(
        self, batch: Dataset, samples: np.ndarray, dropout: Dropout | None, place: str
    ) -> tuple[Gradient, dict[str, float], list[str]]:
        """Make one step along the gradient of a batch.

        Returns it, its norm by parameter, and the parameters whose gradient was scaled down.
        """
        task = self.task
        options = GradientOptions(
            list(task.optimizers), self.engine, dropout, task.regularisers, task.lambda_limit
        )
        outcome = quiet_gradient(
            self.network, batch.spikes, batch.labels, task.loss, task.duration, options
        )
        gradients = [numbers(outcome.parameters[parameter.name]) for parameter in self.parameters]
        norms = _finite_norms(outcome, samples, self.parameters, gradients, place)
        clipped = []
        for parameter, values in zip(self.parameters, gradients, strict=True):
            if parameter.step(values, self.rates[parameter.name]):
                clipped.append(parameter.name)
            parameter.check(place)
        self.network = renewed(self.network, self.parameters, place)
        return outcome, norms, clipped

    def _renew_network(self) -> None:
        self.network = self.network.replace({p.name: p.holder for p in self.parameters})

    def _lift(self, silent: Mapping[str, np.ndarray]) -> None:
        """Raise the incoming weights of units that did not spike in the epoch (L, section 4.5)."""
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
            self.network, task.validation, task.loss, task.duration, engine=self.engine
        )
        if not np.isfinite(outcome.losses).all():
            sample = int(np.argmin(np.isfinite(outcome.losses)))
            raise FloatingPointError(
                f"after epoch {epoch} the loss of validation sample {sample} is "
                f"{outcome.losses[sample]}"
            )
        return outcome

    def _after(self, record: EpochRecord) -> TrainingState:
        """The state of the run after an epoch with this record."""
        before = self.finished
        after = replace(
            before,
            epoch=record.epoch,
            network=self.network,
            history=History((*before.history, record)),
        )
        best = before.history[before.best_epoch - 1] if before.best_epoch else None
        if best is None or self._score(record) > self._score(best):
            after = replace(after, best_epoch=record.epoch, best_network=self.network)
        return after

    def _score(self, record: EpochRecord) -> tuple[float, float]:
        """Larger for a better epoch: the watched measure, then the lower loss if that is equal."""
        watch = self.task.watch
        loss: Watch = "validation_loss" if watch.startswith("validation") else "loss"
        return record.score(watch), record.score(loss)

    # -- on several ranks --------------------------------------------------------------

    def _agreed(self, record: EpochRecord) -> EpochRecord:
        """The record of rank 0, on ranks that have the same parameters."""
        if self.ranks.count == 1:
            return record
        digest = checksum({p.name: p.values for p in self.parameters})
        check_same_values(self.ranks, digest, self.machines, f"after epoch {record.epoch}")
        return EpochRecord(**self.ranks.from_first(asdict(record)))

    def _tell_machines(self) -> None:
        """Find out on which machines the ranks run, and record it in the run folder."""
        if self.ranks.count == 1 and self.folder is None:
            return
        self.machines = machines_of(self.ranks)
        digests = self.ranks.texts(self._arithmetic() if self.ranks.count > 1 else "")
        before = []
        if self.folder is not None:
            before = self.folder.add_machines(self.finished.epoch, self.machines)
        self.told = machines_told(self.machines, digests, before)

    def _arithmetic(self) -> str:
        """A digest of what this rank computes for the first sample, by itself."""
        task = self.task
        sample = task.data[:1]
        options = GradientOptions(
            list(task.optimizers), task.engine, lambda_limit=task.lambda_limit
        )
        try:
            found = quiet_gradient(
                task.network, sample.spikes, sample.labels, task.loss, task.duration, options
            )
        except (ValueError, ArithmeticError, EngineError) as error:
            return str(error)  # for example, a sample that fits only after augmentation
        values = {name: numbers(found.parameters[name]) for name in task.optimizers}
        return checksum({**values, "losses": found.losses})

    # -- on disk -----------------------------------------------------------------------

    def begin(self, resume: bool) -> None:
        """Prepare the run folder, and continue from its checkpoint if there is one."""
        check_alike(self.ranks, {"epochs": self.finished.epochs, **self.settings})
        loaded = None
        if self.folder is not None:
            loaded = self.folder.begin(self.settings, resume=resume)
            if loaded is not None and loaded[1]["epoch"] > self.finished.epochs:
                raise ValueError(
                    f"{self.folder.path} holds {loaded[1]['epoch']} finished epochs, more than "
                    f"epochs = {self.finished.epochs}: ask for at least as many"
                )
        loaded = self.ranks.checkpoint_from_first(loaded)
        if loaded is not None:
            self._go_on(*loaded)
        self._tell_machines()
        shorter = shorter_ease_in(self.task.optimizers, self._optimizers)
        self.told += [] if shorter is None else [shorter]

    def _go_on(self, arrays: Mapping[str, np.ndarray], description: Mapping[str, Any]) -> None:
        """Continue from a checkpoint."""
        # Schedules continue as they began, even if the run now has more epochs.
        self.planned_steps = description.get("planned_steps", self.planned_steps)
        for parameter in self.parameters:
            optimizer = self.task.optimizers[parameter.name]
            parameter.optimizer = optimizer.in_run(self.planned_steps)
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
            history=History(EpochRecord(**record) for record in description["history"]),
        )
        self.saved = self.finished.epoch
        if self.folder is not None:
            self._write_views(self.folder, best=True)

    def save(self) -> None:
        """Store the last finished epoch, unless it has been stored."""
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
        if any(p.optimizer is not self.task.optimizers[p.name] for p in self.parameters):
            description["planned_steps"] = self.planned_steps
        self.folder.write_checkpoint(arrays, description)
        self._write_views(self.folder, best=finished.best_epoch == finished.epoch)
        self.saved = finished.epoch

    def _write_views(self, folder: RunFolder, *, best: bool) -> None:
        """Write the files for people, from the content of the checkpoint."""
        folder.write_metrics([asdict(record) for record in self.finished.history])
        if best:
            folder.write_best(self.finished.best_network)


def _share_of_step(outcome: Gradient, after: Network, dropout: Dropout | None) -> float | None:
    """The share of a step after which the pattern of spikes changes; None if it does not."""
    before = outcome.run.network
    step = {
        name: with_numbers(values, numbers(after.parameters[name]) - numbers(values))
        for name, values in before.parameters.items()
        if name in outcome.parameters
    }
    try:
        fraction = nearest_change(outcome.run, step, dropout=dropout).fraction
    except AtAChangeError:
        return 0.0
    return None if math.isinf(fraction) else fraction


def _finite_norms(
    outcome: Gradient,
    samples: np.ndarray,
    parameters: Sequence[TrainedParameter],
    gradients: Sequence[np.ndarray],
    place: str,
) -> dict[str, float]:
    """The norm of each gradient; refuses losses and gradients that are not finite."""
    if not np.isfinite(outcome.losses).all():
        sample = int(np.argmin(np.isfinite(outcome.losses)))
        raise loss_error(place, samples[sample], outcome.losses[sample])
    norms = {}
    for parameter, values in zip(parameters, gradients, strict=True):
        # The sum of squares must be finite too: Adam averages them.
        norms[parameter.name] = found = norm(values)
        if not math.isfinite(found):
            drive = outcome.report.smallest_drive
            raise gradient_error(place, parameter.name, values, drive)
    return norms


def loss_error(place: str, sample: int, loss: float) -> FloatingPointError:
    """The error for a loss that is not finite, in an epoch and batch."""
    return FloatingPointError(
        f"{place}: the loss of sample {sample} is {loss}; use a smaller learning rate, or "
        "lambda_limit=100 and clip=1 of the optimisers, which limit the steps"
    )


def gradient_error(
    place: str, name: str, values: np.ndarray, smallest_drive: float
) -> FloatingPointError:
    """The error for a gradient that is too large for a step, in an epoch and batch."""
    magnitude = np.where(np.isnan(values), np.inf, np.abs(values))
    index = np.unravel_index(int(np.argmax(magnitude)), values.shape)
    return FloatingPointError(
        f"{place}: the gradient with respect to {name} reaches {values[index]:g}, too far for "
        f"a step; the smallest I - threshold at a spike of the batch is {smallest_drive:g}, and "
        "gradients grow without bound as it goes to 0; limit them with lambda_limit=100"
    )
