"""fit: train a network with exact gradients.

In each epoch, the training data are augmented and divided into batches, in an order drawn from the
seed and the number of the epoch.  Each batch yields the exact gradient; every optimiser makes a
step, and the projections are applied.  After the last batch, silent units are lifted and the
network is validated.

L is Nowotny, Turner, Knight, *Loss shaping enhances exact gradient learning with EventProp*.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evsim.arguments.checks import (
    check_duration,
    check_flag,
    check_is,
    checked_count,
    checked_integer,
    checked_path,
    listed,
    shown,
)
from evsim.arguments.keywords import helpful
from evsim.arguments.words import number_of
from evsim.data.dataset import Dataset
from evsim.display.picture_target import for_files_only
from evsim.distributed.processes import ranks_of
from evsim.distributed.ranks import Ranks
from evsim.engines import resolve
from evsim.engines.protocol import Engine
from evsim.losses import Loss
from evsim.losses.regularisers import RateRegulariser
from evsim.network.checks import check_inputs, check_network, check_wrt
from evsim.network.dropout import Dropout
from evsim.network.network import Network
from evsim.simulation.checks import check_adjustments, check_is_loss
from evsim.simulation.silence import warn_of_unreached
from evsim.simulation.units_of_time import warn_of_seconds
from evsim.storage.files import check_no_file
from evsim.storage.run_folder import RunFolder
from evsim.training.evaluation import Evaluation, checked_data, evaluate
from evsim.training.history import EpochRecord, History, Watch, check_watch, check_watched
from evsim.training.loop import Training
from evsim.training.optimisers import Optimizer, Projection
from evsim.training.progress import progress_for
from evsim.training.schedules import EarlyStopping
from evsim.training.state import TrainingState
from evsim.training.task import AugmentationLike, Task
from evsim.training.termination import terminable
from evsim.training.trained_parameters import assign_lift, assign_optimizers, assign_projections

__all__ = [
    "AugmentationLike",
    "Dataset",
    "EarlyStopping",
    "EpochRecord",
    "Evaluation",
    "FitResult",
    "StopTraining",
    "TrainingState",
    "evaluate",
    "fit",
]


# -- what training returns ----------------------------------------------------------------


class StopTraining(Exception):  # noqa: N818 (no error: a callback asks for it)
    """A callback raises this, with a reason, to end training after the current epoch."""


@dataclass(frozen=True, eq=False, repr=False)
class FitResult:
    """A trained network.

    Parameters
    ----------
    network : Network
        The network after the best epoch, which is best in the measure that ``watch`` names.  By
        default this is the highest validation accuracy; the lowest validation loss if the loss
        does not classify; the lowest training loss without validation data.  Of epochs with equal
        accuracy, the best has the lowest loss on the same data; if that is equal too, it is the
        first.
    last_network : Network
        The network after the last epoch.
    best_epoch : int
        Counted from 1; 0 if no epoch was finished.
    history : History
        A tuple of EpochRecord; ``history.to_frame()`` makes it a table.
    interrupted : bool
        Whether Ctrl-C ended the run.
    stopped : str or None
        The reason why a callback that raised StopTraining, or early stopping, ended the run.
    run_folder : Path or None
    """

    network: Network
    last_network: Network
    best_epoch: int
    history: History
    interrupted: bool
    stopped: str | None
    run_folder: Path | None

    def __repr__(self) -> str:
        if not self.history:
            return "FitResult(no epoch was finished)"
        best = self.history[self.best_epoch - 1]
        numbers = {
            "loss": best.loss,
            "accuracy": best.accuracy,
            "validation_loss": best.validation_loss,
            "validation_accuracy": best.validation_accuracy,
        }
        told = ", ".join(f"{name} {n:.4g}" for name, n in numbers.items() if n is not None)
        return (
            f"FitResult({number_of(len(self.history), 'epoch')}, the best is "
            f"{self.best_epoch}: {told})"
        )


# -- fit ----------------------------------------------------------------------------------


@np.errstate(under="ignore")
@helpful
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
    dropout: Mapping[str, float] | None = None,
    regularisers: Sequence[RateRegulariser] = (),
    lambda_limit: float = np.inf,
    augmentation: Sequence[AugmentationLike] = (),
    early_stopping: EarlyStopping | None = None,
    watch: Watch | None = None,
    seed: int = 0,
    engine: str | Engine = "exact",
    callbacks: Sequence[Callable[[TrainingState], Any]] = (),
    run_folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool = True,
    distributed: Any = None,
    nearest_change: bool = False,
) -> FitResult:
    """Train a network by gradient descent on the batch loss.

    Parameters
    ----------
    network : Network
        The network before training; it does not change.
    data, validation : Dataset or pair (spikes, labels)
        Labels are classes, or targets for a loss that does not classify.
    loss : Loss
    duration : float
        The trial is [0, duration] ms.
    optimizers : mapping to Adam or SGD
        The optimiser of each kind of parameter ("weight", "delay", "tau_mem", "tau_syn" or
        "threshold") or of a single parameter, by its full name ("input->hidden.delay"), which
        takes precedence.  None for a full name excludes that parameter.  Parameters without an
        optimiser are not trained, and their gradients are not computed.
    epochs : int
        The total number of epochs, including those of an earlier run that is resumed.
    batch_size : int
        The last batch of an epoch may be smaller; its loss is the mean over its samples.
    delay_max : float
        After each step, trained delays are restricted to [0, delay_max] ms.  If this moves a
        delay, momentum of its optimiser that points outwards is set to 0.
    projections : mapping to (low, high) or a function, optional
        Bounds of the parameters of a kind or of a full name, as for optimizers, or a function
        from an array to an array of the same shape (for sparse parameters, the one-dimensional
        array of stored entries).  They are applied after each step.  Give bounds to time
        constants and thresholds, such as ``{"tau_mem": (3.0, 60.0)}``: a step to 0 or below
        ends training with an error.
    silent_lift : float, or mapping from LIF population to float
        The amount added after each epoch to the trained incoming weights of every unit that did
        not spike in the epoch (L, section 4.5).  A single number applies to the hidden
        populations, which the loss does not read; a mapping may also name the output.
    dropout : mapping from Input or LIF population to float, optional
        The probability that a spike reaches none of its synapses, see ``evsim.Dropout``.  It
        applies to training samples only and depends on the seed, the epoch and the index of the
        sample.
    regularisers : sequence of RateRegulariser
        At most one for each population.
    lambda_limit : float
        See ``evsim.gradient``; the record counts the spikes at which it acts.
    augmentation : sequence of functions
        Called in order at the beginning of each epoch with the training data, a random generator
        that depends on the seed and the epoch, and the duration, see ``evsim.augment``.  The
        number of samples may change.
    early_stopping : EarlyStopping, optional
        Ends training when a measure no longer improves.
    watch : str, optional
        The measure that decides the best epoch: "accuracy", "loss", "validation_accuracy" or
        "validation_loss"; ``FitResult`` describes the default.
    seed : int
        The seed of the order of samples in each epoch, of dropout and of augmentation.
    engine : str or Engine
    callbacks : sequence of functions
        Called with a TrainingState after each epoch, when the epoch has been stored.  A callback
        that raises StopTraining ends the run.
    run_folder : path, optional
        The folder for settings, metrics, the best network and a checkpoint, see
        ``evsim.storage.RunFolder``.
    resume : bool
        Continue from the checkpoint in the run folder, if there is one; the results are the same
        bits as those of an uninterrupted run.  The settings must be the same, but ``epochs`` may
        be larger.  Functions in the settings are compared by name only.
    progress : bool
        Show the progress on standard error: a bar on a terminal, otherwise occasional lines.
    distributed : mpi4py.MPI.Comm, optional
        The communicator of the processes, or ranks, that share the batches.  All of them call
        ``fit`` with the same arguments, and all get the result that one process would get, to the
        bit.  Only rank 0 calls the callbacks, writes the run folder and shows the progress.  If one
        rank raises an exception, all ranks raise it.
    nearest_change : bool
        After the last batch of each epoch, determine for how much of the step the gradient holds,
        see ``evsim.nearest_change``, and add it to the record.  Only on the exact engine, with one
        process.

    Returns
    -------
    FitResult
        Also after Ctrl-C, which ends training without losing a finished epoch.  SIGTERM on the
        main thread does the same and then ends the process with SystemExit and status 143,
        unless the program handles this signal.

    Raises
    ------
    TypeError, ValueError
        For arguments that do not fit together, before anything runs.
    ValueError
        For a step that takes a time constant or a threshold to 0 or below.
    FloatingPointError
        For a loss or gradient that is not finite, before the parameters change.
    FileExistsError, StorageError
        For a run folder that holds another run, or a damaged one, or one in use.
    """
    ranks = ranks_of(distributed)
    with terminable(), ranks.session():
        check_network(network)
        check_is_loss(loss)
        duration = check_duration(duration)
        loss.check_readouts(network, duration)
        augmentation = _checked_functions(augmentation, "augmentation", "augmentations")
        # With a delay line, for example, the data only fit the network after augmentation.
        fits_later = bool(augmentation) and not _has_the_inputs_units(network, data)
        data = Dataset.of(data) if fits_later else checked_data(network, data, loss, duration)
        if validation is not None:
            validation = checked_data(network, validation, loss, duration, "validation")
        assigned = assign_optimizers(optimizers, network.parameters)
        check_wrt(network, list(assigned))
        trained = {name: network.parameters[name] for name in assigned}
        _check_watches(assigned, early_stopping, watch, loss.classifies, validation is not None)
        regularisers = check_adjustments(network, regularisers, lambda_limit)
        task = Task(
            network=network,
            data=data,
            validation=validation,
            loss=loss,
            duration=duration,
            optimizers=assigned,
            projections=assign_projections(projections, delay_max, trained),
            lift=assign_lift(silent_lift, network, loss.readout.population_of(network), assigned),
            dropout=_checked_dropout(dropout, network),
            regularisers=regularisers,
            lambda_limit=float(lambda_limit),
            augmentation=augmentation,
            early_stopping=early_stopping,
            watch=watch or _usual_watch(loss.classifies, validation is not None),
            batch_size=checked_count(batch_size, "batch_size"),
            seed=checked_integer(seed, "seed", 0),
            engine=resolve(engine),
            nearest_change=_checked_nearest_change(nearest_change, engine, ranks),
        )
        begins_with = data
        if fits_later:
            begins_with = checked_data(network, task.epoch_data(1)[0], loss, duration, "augmented")
        epochs = checked_count(epochs, "epochs")
        callbacks = _checked_functions(callbacks, "callbacks", "functions")
        check_flag(resume, "resume")
        check_flag(progress, "progress")
        if resume and run_folder is None:
            raise ValueError("resume=True needs a run_folder to go on from")
        folder = None if run_folder is None else RunFolder(_checked_folder(run_folder))
        if ranks.is_first:
            warn_of_unreached(network, check_inputs(network, begins_with.spikes), duration)
            warn_of_seconds(network, check_inputs(network, begins_with.spikes), duration)
        training = Training(task, epochs, folder, ranks)
        with nullcontext() if training.folder is None else training.folder.locked():
            training.begin(resume)
            training.warn_of_slow_ease_in()
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


def _checked_nearest_change(asked: bool, engine: str | Engine, ranks: Ranks) -> bool:
    check_flag(asked, "nearest_change")
    if asked and (ranks.count > 1 or not hasattr(resolve(engine), "margins")):
        raise ValueError("nearest_change=True needs the exact engine in one process")
    return asked


def _run(
    training: Training, callbacks: Sequence[Callable[[TrainingState], Any]], progress: bool
) -> tuple[bool, str | None]:
    """Run the remaining epochs; return whether Ctrl-C ended them, and any other reason."""
    task, ranks = training.task, training.ranks
    finished, epochs = training.finished.epoch, training.finished.epochs
    progress = progress and ranks.is_first
    shown = progress_for(progress, epochs, task.batches(len(task.data)), finished)
    with for_files_only(), shown as display:
        if training.folder is not None:
            after = f", going on after epoch {finished}" if finished else ""
            display.say(f"run folder: {training.folder.path}{after}")
        for line in training.told:
            display.say(line)
        try:
            with ranks.together():
                for epoch in range(finished + 1, epochs + 1):
                    if task.early_stopping is not None:
                        reason = task.early_stopping.reason(training.finished.history)
                        if reason is not None:
                            raise StopTraining(reason)
                    training.run_epoch(epoch, display)
                    _call(callbacks, training.finished, ranks)
                training.say_at_end(display)
        except KeyboardInterrupt:
            training.save()
            display.stop(f"interrupted: {training.finished.epoch} of {epochs} epochs finished")
            return True, None
        except SystemExit:
            training.save()
            display.say(f"terminated: {training.finished.epoch} of {epochs} epochs finished")
            raise
        except StopTraining as reason:
            display.stop(f"stopped after epoch {training.finished.epoch} of {epochs}: {reason}")
            training.say_at_end(display)
            return False, str(reason)
    return False, None


def _call(
    callbacks: Sequence[Callable[[TrainingState], Any]], state: TrainingState, ranks: Ranks
) -> None:
    """Call the callbacks on rank 0; all ranks stop if one of the callbacks asks for it."""
    reason = None
    if ranks.is_first:
        try:
            for callback in callbacks:
                callback(state)
        except StopTraining as stop:
            reason = str(stop)
    reason = ranks.from_first(reason)
    if reason is not None:
        raise StopTraining(reason)


# -- checks -------------------------------------------------------------------------------


def _usual_watch(classifies: bool, validated: bool) -> Watch:
    """The default of the measure that decides the best epoch."""
    if not validated:
        return "loss"
    return "validation_accuracy" if classifies else "validation_loss"


def _check_watches(
    optimizers: Mapping[str, Optimizer],
    early_stopping: EarlyStopping | None,
    watch: Watch | None,
    classifies: bool,
    validated: bool,
) -> None:
    """Refuse to watch a measure that the records of the run will not have."""
    watched: list[tuple[Watch, str]] = []
    if watch is not None:
        check_watch(watch)
        watched.append((watch, "the choice of the best epoch"))
    if early_stopping is not None:
        remedy = "give evsim.EarlyStopping(patience=15)"
        check_is(early_stopping, "early_stopping", EarlyStopping, remedy)
        watched.append((early_stopping.watch, "early_stopping"))
    for name, optimizer in optimizers.items():
        for schedule in optimizer.schedules:
            if schedule.watch is not None:
                watched.append((schedule.watch, f"the schedule of {name}"))
    for watch, who in watched:
        check_watched(watch, who, classifies=classifies, validated=validated)


def _checked_dropout(dropout: Mapping[str, float] | None, network: Network) -> dict[str, float]:
    if dropout is None:
        return {}
    check_is(dropout, "dropout", Mapping, "give a mapping such as {'hidden': 0.1}")
    Dropout(dropout).check(network, 0)
    return {name: float(rate) for name, rate in dropout.items()}


def _has_the_inputs_units(network: Network, data: Any) -> bool:
    """Whether the inputs of a dataset have the same number of units as the network's inputs."""
    return [trains.unit_count for trains in Dataset.of(data).inputs.values()] == [
        population.units for population in network.inputs
    ]


def _checked_functions(functions: Any, name: str, what: str) -> tuple[Any, ...]:
    """The entries of a list, which must be functions; ``what`` says what kind."""
    given = listed(functions, name, f"give a list of {what}")
    for each in given:
        if not callable(each):
            raise TypeError(f"{name} holds {shown(each)}: each must be a function")
    return given


def _checked_folder(run_folder: Any) -> Path:
    folder = checked_path(run_folder, "run_folder")
    check_no_file(folder, "run_folder")
    return folder
