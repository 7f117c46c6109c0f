"""A training run under way: epochs of batches, steps and lifts, and its checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from evsim.arguments.checks import checked_count, is_sparse
from evsim.data.dataset import Dataset
from evsim.display.short_repr import Brief
from evsim.engines.protocol import Engine
from evsim.losses import Loss
from evsim.losses.regularisers import RateRegulariser
from evsim.network.dropout import Dropout
from evsim.network.network import Network
from evsim.network.parameters import with_data
from evsim.simulation.gradients import Gradient, quiet_gradient
from evsim.simulation.silence import silent_layer
from evsim.storage.arrays import checksum
from evsim.storage.description import describe
from evsim.storage.networks import network_arrays, network_structure
from evsim.storage.run_folder import RunFolder
from evsim.training.evaluation import Evaluation, evaluate
from evsim.training.history import EpochRecord, Watch
from evsim.training.optimisers import Optimizer, Projection
from evsim.training.progress import Progress
from evsim.training.schedules import EarlyStopping
from evsim.training.tally import Tally
from evsim.training.trained_parameters import TrainedParameter, numbers


class Augmentation(Protocol):
    """Makes an epoch's data from the training data, as those of ``evsim.augment`` do.

    What it returns has the new Dataset as ``data``, and as ``lost`` the number of spikes that
    were moved out of the channels or the trial.
    """

    def __call__(self, data: Dataset, generator: np.random.Generator, duration: float) -> Any:
        """Augment a dataset; it stays as it is."""


class EpochTrainer(Protocol):
    """Trains whole epochs where an engine keeps its arrays, see ``Engine.trainer``."""

    def run_epoch(
        self,
        epoch: int,
        parameters: Sequence[TrainedParameter],
        rates: Callable[[int], Mapping[str, float]],
        display: Progress,
    ) -> tuple[Tally, int]:
        """Train one epoch, from and to the parameters' own values and optimiser states.

        ``rates`` has the learning rate of each parameter at a batch of the epoch.  Returns what
        the batches add up to, and how many spikes augmentation lost.
        """


@dataclass(frozen=True, eq=False, repr=False)
class TrainingState(Brief):
    """Where a run stands after an epoch; what callbacks are given.

    ``network`` is the one after epoch ``epoch`` of ``epochs``, ``best_network`` the one
    after ``best_epoch``; epoch 0 is the network that training started from.
    """

    epoch: int
    epochs: int
    network: Network
    best_epoch: int
    best_network: Network
    history: tuple[EpochRecord, ...]

    @property
    def record(self) -> EpochRecord:
        """The last epoch's record."""
        return self.history[-1]


@dataclass(frozen=True, eq=False, repr=False)
class Task(Brief):
    """What is to be trained and how: the arguments of fit, checked."""

    network: Network
    data: Dataset
    validation: Dataset | None
    loss: Loss
    duration: float
    optimizers: dict[str, Optimizer]
    projections: dict[str, tuple[Projection, ...]]
    lift: dict[str, dict[str, float]]
    dropout: dict[str, float]
    regularisers: tuple[RateRegulariser, ...]
    lambda_limit: float
    augmentation: tuple[Augmentation, ...]
    early_stopping: EarlyStopping | None
    watch: Watch
    batch_size: int
    seed: int
    engine: Engine

    # -- random numbers: of the seed and the epoch alone, one stream for each purpose ----

    def _stream(self, *key: int) -> np.random.SeedSequence:
        return np.random.SeedSequence(entropy=self.seed, spawn_key=key)

    def order(self, epoch: int, samples: int) -> np.ndarray:
        """The order of the samples in an epoch."""
        return np.random.default_rng(self._stream(epoch)).permutation(samples)

    def dropout_keys(self, epoch: int, samples: int) -> np.ndarray | None:
        """The key of each sample's dropout in an epoch, uint64, shape (samples,)."""
        if not any(self.dropout.values()):
            return None
        return self._stream(epoch, 1).generate_state(samples, np.uint64)

    def augmentation_generator(self, epoch: int, place: int) -> np.random.Generator:
        """What the augmentation at a place among all of them draws from in an epoch."""
        return np.random.default_rng(self._stream(epoch, 2, place))

    def epoch_data(self, epoch: int) -> tuple[Dataset, int]:
        """The training data of an epoch, augmented; and how many spikes that lost."""
        data, lost = self.data, 0
        for place, augmentation in enumerate(self.augmentation):
            generator = self.augmentation_generator(epoch, place)
            outcome = augmentation(data, generator, self.duration)
            if not isinstance(getattr(outcome, "data", None), Dataset):
                raise TypeError(
                    f"{augmentation!r} returned {type(outcome).__name__}: an augmentation returns "
                    "what has a Dataset as .data and the number of lost spikes as .lost"
                )
            data = outcome.data
            lost += checked_count(outcome.lost, f"the lost spikes of {augmentation!r}", 0)
            if len(data) == 0:
                raise ValueError(f"{augmentation!r} left no sample to train on in epoch {epoch}")
        return data, lost

    def batches(self, samples: int) -> int:
        """Batches in an epoch of so many samples."""
        return -(-samples // self.batch_size)

    # -- for run folders ---------------------------------------------------------------

    def settings(self) -> dict[str, Any]:
        """Everything that decides the run's bits, as json can hold it."""
        initial = {k: checksum({"": v}) for k, v in network_arrays(self.network).items()}
        engine = describe(self.engine)
        # Results do not depend on these; the debug of other engines has always been noted.
        for name in ("threads", "rate_limit", *(["debug"] if "spike_limit" in engine else [])):
            engine.pop(name, None)
        return {
            "network": network_structure(self.network),
            "initial values": initial,
            "data": checksum(self.data.arrays()),
            "validation": None if self.validation is None else checksum(self.validation.arrays()),
            "loss": describe(self.loss),
            "duration": self.duration,
            "optimizers": describe(self.optimizers),
            "projections": describe(self.projections),
            "silent_lift": self.lift,
            "dropout": self.dropout,
            "regularisers": describe(self.regularisers),
            "lambda_limit": describe(self.lambda_limit),
            "augmentation": describe(self.augmentation),
            "early_stopping": describe(self.early_stopping),
            "watch": self.watch,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "engine": engine,
        }


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
        self.trainer: EpochTrainer | None = task.engine.trainer(task)
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
        outcome = quiet_gradient(
            self.network, batch.spikes, batch.labels, task.loss, task.duration,
            wrt=list(task.optimizers), engine=task.engine, dropout=dropout,
            regularisers=task.regularisers, lambda_limit=task.lambda_limit,
        )  # fmt: skip
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


# -- checks -------------------------------------------------------------------------------


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
