"""fit: training a network with exact gradients.

What an epoch is: mini-batches in an order drawn from the seed and the epoch's number; for
each the exact gradient, a step of every optimiser, and the projections; then the lift of
silent units, and the validation of the network as it is then.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from evsim.dataset import Dataset, Evaluation, checked_data, checked_integer, evaluate
from evsim.engines import resolve
from evsim.engines.protocol import Engine
from evsim.losses import Loss
from evsim.network import Network
from evsim.optim import (
    Optimizer,
    Projection,
    TrainedParameter,
    assign_lift,
    assign_optimizers,
    assign_projections,
    numbers,
)
from evsim.parameters import is_sparse, with_data
from evsim.progress import EpochRecord, Progress, Tally, progress_for
from evsim.simulation import (
    Gradient,
    check_duration,
    check_wrt,
    gradient,
)
from evsim.storage import (
    RunFolder,
    checksum,
    describe,
    network_arrays,
    network_structure,
)

__all__ = [
    "Dataset",
    "EpochRecord",
    "Evaluation",
    "FitResult",
    "StopTraining",
    "TrainingState",
    "evaluate",
    "fit",
]


# -- what training returns ----------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class TrainingState:
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


class StopTraining(Exception):  # noqa: N818 (no error: a callback asks for it)
    """Raised by a callback to end training with the epoch just finished; says why."""


@dataclass(frozen=True, eq=False)
class FitResult:
    """A trained network.

    Parameters
    ----------
    network : Network
        After the best epoch: that of the highest validation accuracy, among equals of the
        lowest validation loss, among equals the first; without validation data, that of the
        lowest training loss.
    last_network : Network
        After the last epoch.
    best_epoch : int
        Counted from 1; 0 if no epoch was finished.
    history : tuple of EpochRecord
    interrupted : bool
        Whether Ctrl-C ended the run.
    stopped : str or None
        Why a callback ended the run by raising StopTraining, if one did.
    run_folder : Path or None
    """

    network: Network
    last_network: Network
    best_epoch: int
    history: tuple[EpochRecord, ...]
    interrupted: bool
    stopped: str | None
    run_folder: Path | None


# -- fit ----------------------------------------------------------------------------------


def fit(
    network: Network,
    data: Dataset | tuple[Any, Any],
    loss: Loss,
    *,
    duration: float,
    optimizers: Mapping[str, Optimizer | None],
    epochs: int,
    batch_size: int = 32,
    validation: Dataset | tuple[Any, Any] | None = None,
    delay_max: float = np.inf,
    projections: Mapping[str, Projection | tuple[float, float]] | None = None,
    silent_lift: float | Mapping[str, float] = 0.0,
    seed: int = 0,
    engine: str | Engine = "exact",
    callbacks: Sequence[Callable[[TrainingState], Any]] = (),
    run_folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool = True,
) -> FitResult:
    """Train a network by gradient descent on the batch loss.

    Parameters
    ----------
    network : Network
        Where to start; it stays as it is.
    data, validation : Dataset or pair (spikes, labels)
    loss : Loss
    duration : float
        The trial is [0, duration] ms.
    optimizers : mapping to Adam or SGD
        By kind of parameter, "weight" or "delay", or by full name, "input->hidden.delay",
        which wins; None under a full name leaves that parameter out.  What has no optimiser
        is not trained, and its gradient is not computed.
    epochs : int
        In all, those of an earlier run that is resumed included.
    batch_size : int
        The last batch of an epoch may be smaller; its loss is the mean over its samples.
    delay_max : float
        After each step trained delays are put back into [0, delay_max] ms.  Where that
        moves a delay, momentum of the optimiser that leads out again is dropped.
    projections : mapping to (low, high) or a function, optional
        By kind or full name, as for optimizers: bounds, or a function from an array to an
        array of the same shape (for sparse parameters the stored entries, one-dimensional),
        applied after each step.
    silent_lift : float, or mapping from LIF population to float
        Added after each epoch to the trained incoming weights of every unit that was silent
        in the whole epoch (L section 4.5).  One number is for the hidden populations, those
        the loss does not read; a mapping names populations, the output if that is meant.
    seed : int
        Decides the order of samples in each epoch.
    engine : str or Engine
    callbacks : sequence of functions
        Each is called with a TrainingState after each epoch, once that epoch is stored.
        One that raises StopTraining ends the run there.
    run_folder : path, optional
        Where settings, metrics, the best network and a checkpoint are kept, see
        ``evsim.storage.RunFolder``.
    resume : bool
        Go on from the run folder's checkpoint, if there is one, to the same bits as without
        the stop.  Settings must be the same, ``epochs`` may be larger.  Functions among the
        settings are compared by name only.
    progress : bool
        Show a bar on a terminal, and a line now and then elsewhere, on standard error.

    Returns
    -------
    FitResult
        Also after Ctrl-C, which ends training without losing a finished epoch.

    Raises
    ------
    TypeError, ValueError
        For arguments that do not fit together, before anything runs.
    FloatingPointError
        For a loss or gradient that is not finite, before the parameters change.
    FileExistsError, StorageError
        For a run folder that holds another run, or a damaged one.
    """
    duration = check_duration(duration)
    data = checked_data(network, data, loss, "data")
    if validation is not None:
        validation = checked_data(network, validation, loss, "validation")
    assigned = assign_optimizers(optimizers, network.parameters)
    check_wrt(network, list(assigned))
    trained = {name: network.parameters[name] for name in assigned}
    task = _Task(
        network=network,
        data=data,
        validation=validation,
        loss=loss,
        duration=duration,
        optimizers=assigned,
        projections=assign_projections(projections, delay_max, trained),
        lift=assign_lift(silent_lift, network, loss.readout.population_of(network), assigned),
        batch_size=checked_integer(batch_size, "batch_size", 1),
        seed=checked_integer(seed, "seed", 0),
        engine=resolve(engine),
    )
    epochs = checked_integer(epochs, "epochs", 1)
    for callback in callbacks:
        if not callable(callback):
            raise TypeError(f"callbacks holds {callback!r}: each must be a function")
    if resume and run_folder is None:
        raise ValueError("resume=True needs a run_folder to go on from")
    folder = None if run_folder is None else RunFolder(run_folder)
    training = _Training(task, epochs, folder)
    training.begin(resume)
    interrupted, stopped = _run(training, callbacks, progress)
    finished = training.finished
    return FitResult(
        network=finished.best_network,
        last_network=finished.network,
        best_epoch=finished.best_epoch,
        history=finished.history,
        interrupted=interrupted,
        stopped=stopped,
        run_folder=None if folder is None else folder.path,
    )


def _run(
    training: _Training, callbacks: Sequence[Callable[[TrainingState], Any]], progress: bool
) -> tuple[bool, str | None]:
    """Run the epochs that are left; whether Ctrl-C ended them, and why a callback did."""
    finished, epochs = training.finished.epoch, training.finished.epochs
    with progress_for(progress, epochs, training.task.batches, finished) as display:
        if training.folder is not None:
            after = f", going on after epoch {finished}" if finished else ""
            display.say(f"run folder: {training.folder.path}{after}")
        try:
            for epoch in range(finished + 1, epochs + 1):
                training.run_epoch(epoch, display)
                for callback in callbacks:
                    callback(training.finished)
        except KeyboardInterrupt:
            training.save()
            display.say(f"interrupted: {training.finished.epoch} of {epochs} epochs are finished")
            return True, None
        except StopTraining as reason:
            display.say(f"stopped after epoch {training.finished.epoch} of {epochs}: {reason}")
            return False, str(reason)
    return False, None


@dataclass(frozen=True, eq=False)
class _Task:
    """What is to be trained and how: the arguments of fit, checked."""

    network: Network
    data: Dataset
    validation: Dataset | None
    loss: Loss
    duration: float
    optimizers: dict[str, Optimizer]
    projections: dict[str, tuple[Projection, ...]]
    lift: dict[str, dict[str, float]]
    batch_size: int
    seed: int
    engine: Engine

    @property
    def batches(self) -> int:
        """Batches in an epoch."""
        return -(-len(self.data) // self.batch_size)

    def order(self, epoch: int) -> np.ndarray:
        """The order of the samples in an epoch, from the seed and the epoch alone."""
        stream = np.random.SeedSequence(entropy=self.seed, spawn_key=(epoch,))
        return np.random.default_rng(stream).permutation(len(self.data))

    def settings(self) -> dict[str, Any]:
        """Everything that decides the run's bits, as json can hold it."""
        initial = {k: checksum({"": v}) for k, v in network_arrays(self.network).items()}
        engine = describe(self.engine)
        engine.pop("threads", None)  # results do not depend on it
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
            "batch_size": self.batch_size,
            "seed": self.seed,
            "engine": engine,
        }


class _Training:
    """A run under way.

    ``finished`` is where it stood after the last whole epoch.  It is replaced in one
    assignment, so that an interrupt finds the epoch before or the epoch after.
    """

    def __init__(self, task: _Task, epochs: int, folder: RunFolder | None) -> None:
        self.task = task
        self.folder = folder
        self.settings = {} if folder is None else task.settings()
        self.network = task.network
        self.parameters = [
            TrainedParameter(name, task.network.parameters[name], optimizer, task.projections[name])
            for name, optimizer in task.optimizers.items()
        ]
        self.finished = TrainingState(0, epochs, self.network, 0, self.network, ())
        self.saved = 0

    # -- one epoch ---------------------------------------------------------------------

    def run_epoch(self, epoch: int, display: Progress) -> None:
        """Train one epoch, validate and store the outcome."""
        started = time.perf_counter()
        task = self.task
        tally = Tally(task.network, len(task.data))
        order = task.order(epoch)
        for batch in range(task.batches):
            samples = order[batch * task.batch_size : (batch + 1) * task.batch_size]
            place = f"epoch {epoch}, batch {batch + 1} of {task.batches}"
            try:
                outcome = self._step(epoch, samples, place)
            except Exception as error:
                if place not in str(error):
                    error.add_note(f"in {place}")
                raise
            tally.add(samples, task.data.labels[samples], outcome)
            display.batch(epoch, batch + 1, tally.loss_so_far)
        self._lift(tally.silent())
        validation = self._validate(epoch)
        record = tally.record(epoch, validation, time.perf_counter() - started)
        self.finished = self._after(record)
        self.save()
        display.epoch(record)

    def _step(self, epoch: int, samples: np.ndarray, place: str) -> Gradient:
        """The gradient of one batch, and a step down."""
        task = self.task
        batch = task.data[samples]
        outcome = gradient(
            self.network, batch.spikes, batch.labels, task.loss, task.duration,
            wrt=list(task.optimizers), engine=task.engine,
        )  # fmt: skip
        gradients = [numbers(outcome.parameters[parameter.name]) for parameter in self.parameters]
        _check_finite(outcome, samples, self.parameters, gradients, place)
        for parameter, values in zip(self.parameters, gradients, strict=True):
            parameter.step(values, parameter.optimizer.learning_rate_in(epoch))
        self._renew_network()
        return outcome

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
        if best is None or _merit(record) > _merit(best):
            after = replace(after, best_epoch=record.epoch, best_network=self.network)
        return after

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


def _merit(record: EpochRecord) -> tuple[float, ...]:
    """What is larger for a better epoch."""
    if record.validation_accuracy is None or record.validation_loss is None:
        return (-record.loss,)
    return record.validation_accuracy, -record.validation_loss


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
        raise FloatingPointError(
            f"{place}: the loss of sample {samples[sample]} is {outcome.losses[sample]}"
        )
    for parameter, values in zip(parameters, gradients, strict=True):
        # The square must be finite too: Adam averages it.
        with np.errstate(over="ignore", invalid="ignore"):
            finite = np.isfinite(np.vdot(values, values))
        if not finite:
            magnitude = np.where(np.isnan(values), np.inf, np.abs(values))
            index = np.unravel_index(int(np.argmax(magnitude)), values.shape)
            raise FloatingPointError(
                f"{place}: the gradient by {parameter.name} reaches {values[index]:g}, too far "
                "for a step; the smallest I - threshold at a spike of the batch is "
                f"{outcome.report.smallest_drive:g}, and gradients grow without bound as it "
                "goes to 0"
            )
