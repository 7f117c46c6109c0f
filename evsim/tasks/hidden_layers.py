"""Experiments on networks with hidden layers: SHD, spoken digits, SSC and Braille.

The layers may be recurrent, and delays and time constants may be learned (section 2.3 of D,
section 2.3 of L).

D is Mészáros, Knight, Nowotny, *Efficient event-based delay learning in spiking neural networks*;
L is Nowotny, Turner, Knight, *Loss shaping enhances exact gradient learning with EventProp*.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

import numpy as np

from evsim.arguments.keywords import helpful
from evsim.losses import Loss
from evsim.losses.regularisers import RateRegulariser
from evsim.network.connections import Connection
from evsim.network.initialisers import Constant, Gamma, Normal, Uniform
from evsim.network.network import Network
from evsim.network.populations import LI, LIF, Input
from evsim.tasks.base import CrossValidate, Experiment, Parts, RunOptions, for_settings
from evsim.tasks.hidden_layer_settings import HiddenLayerSettings, Hyperparameters
from evsim.tasks.named_losses import named_loss
from evsim.tasks.pictures import Tested, draw

if TYPE_CHECKING:
    from evsim.data.dataset import Dataset
    from evsim.engines import Engine
    from evsim.training.fitting import Evaluation, FitResult
    from evsim.training.optimisers import Optimizer

MINIMUM_TAUS = {"tau_mem": 3.0, "tau_syn": 1.0}
"""The smallest learned and heterogeneous time constants in ms (L, section 2.3)."""


# -- data, network, loss -------------------------------------------------------------------


@helpful
@for_settings(HiddenLayerSettings)
@lru_cache(maxsize=1)  # files are read once in a run
def data(settings: HiddenLayerSettings) -> Parts:
    """The training, validation and test samples; validation samples may be missing."""
    return settings.samples()


@helpful
@for_settings(HiddenLayerSettings)
def class_names(settings: HiddenLayerSettings) -> tuple[str, ...]:
    """The name of each output's class."""
    return settings.output_names(settings.all_names)


@helpful
@for_settings(HiddenLayerSettings)
def network(settings: HiddenLayerSettings) -> Network:
    """The network before training: inputs, hidden LIF layers, LI outputs.

    With the loss ``time``, outputs are LIF units.  A delay line of n copies is n connections from
    the inputs, each with a delay 30 ms longer than the one before.
    """
    numbers = settings.hyperparameters()
    names = settings.hidden_populations
    outputs = len(class_names(settings))
    time_constants: dict[str, Any] = {"tau_mem": numbers.tau_mem, "tau_syn": numbers.tau_syn}
    output = (
        # One spike a trial: later ones change neither this loss nor its gradient.
        LIF("output", outputs, **time_constants, refractory=np.inf)
        if settings.spiking_outputs
        else LI("output", outputs, **time_constants)
    )
    hidden_time_constants = _hidden_time_constants(settings, numbers)
    hidden = [LIF(name, numbers.hidden, **hidden_time_constants) for name in names]
    return Network(
        [Input("input", settings.inputs), *hidden, output],
        _connections(settings, numbers, names),
        seed=settings.seed,
    )


DELAY_LINE_SPACING = 30.0
"""Time between two copies of the inputs in a delay line, in ms (L section 2.3)."""


def _connections(
    settings: HiddenLayerSettings, numbers: Hyperparameters, names: list[str]
) -> list[Connection]:
    into_first = Normal(numbers.input_weight_mean, numbers.input_weight_deviation)
    forward = Normal(numbers.forward_weight_mean, numbers.forward_weight_deviation)
    recurrent = Normal(numbers.recurrent_weight_mean, numbers.recurrent_weight_deviation)
    to_output = Normal(numbers.output_weight_mean, numbers.output_weight_deviation)
    delay = Uniform(0.0, numbers.initial_delay_max) if settings.delays else 0.0
    connections = [Connection("input", names[0], into_first, delay)]
    for copy in range(1, numbers.delay_line):
        name = f"input->{names[0]} copy {copy}"
        later = copy * DELAY_LINE_SPACING
        connections.append(Connection("input", names[0], into_first, later, name))
    for source, target in pairwise(names):
        connections.append(Connection(source, target, forward, delay))
    if settings.recurrent:
        learned = settings.delays and settings.recurrent_delays
        recurrent_delay = Constant(0.0) if learned else 0.0
        connections += [Connection(name, name, recurrent, recurrent_delay) for name in names]
    connections.append(Connection(names[-1], "output", to_output))
    return connections


@helpful
@for_settings(HiddenLayerSettings)
def learned_delays(settings: HiddenLayerSettings) -> list[str]:
    """The names of the connections whose delays are learned."""
    if not settings.delays:
        return []
    names = settings.hidden_populations
    learned = [f"{source}->{target}" for source, target in pairwise(["input", *names])]
    if settings.recurrent and settings.recurrent_delays:
        learned += [f"{name}->{name}" for name in names]
    return learned


def _hidden_time_constants(
    settings: HiddenLayerSettings, numbers: Hyperparameters
) -> dict[str, Any]:
    """Both time constants of a hidden population: shared, or one for each unit."""
    chosen: dict[str, Any] = {}
    for name, minimum in MINIMUM_TAUS.items():
        mean = getattr(numbers, name)
        if settings.heterogeneous:
            chosen[name] = Gamma(mean, shape=3.0, low=minimum, high=3.0 * mean)
        else:
            chosen[name] = Constant(mean) if settings.learn_taus else mean
    return chosen


@helpful
@for_settings(HiddenLayerSettings)
def loss(settings: HiddenLayerSettings) -> Loss:
    """The chosen loss (L, equations 1, 2, 5, 29 and section 4.1), and further terms."""
    return settings.with_further_terms(named_loss(settings.loss, **settings.loss_numbers()))


@helpful
@for_settings(HiddenLayerSettings)
def optimizers(settings: HiddenLayerSettings) -> dict[str, Optimizer]:
    """Adam on the weights, and on the delays and time constants that are learned."""
    from evsim.training.optimisers import Adam
    from evsim.training.schedules import Halving, Schedule

    numbers = settings.hyperparameters()
    schedule: tuple[Schedule, ...] = ()
    if numbers.ease_in != 1.0:
        schedule += (settings.ease_in_schedule(),)
    if numbers.halving:
        schedule += (Halving(wait=numbers.halving, watch=settings.watch),)
    decay = numbers.rate_decay
    chosen: dict[str, Optimizer] = {
        "weight": Adam(numbers.weight_rate, decay=decay, schedule=schedule)
    }
    for connection in learned_delays(settings):
        chosen[f"{connection}.delay"] = Adam(numbers.delay_rate, decay=decay)
    if settings.learn_taus:
        for population in settings.hidden_populations:
            for parameter in MINIMUM_TAUS:
                chosen[f"{population}.{parameter}"] = Adam(
                    numbers.tau_rate, decay=decay, schedule=schedule
                )
    return chosen


def _fit_arguments(settings: HiddenLayerSettings, training: Dataset) -> dict[str, Any]:
    from evsim.training.schedules import EarlyStopping

    numbers = settings.hyperparameters()
    stopping = EarlyStopping(numbers.patience, settings.watch) if numbers.patience else None
    return {
        "duration": numbers.duration,
        "epochs": numbers.epochs,
        "batch_size": numbers.batch_size,
        "delay_max": settings.delay_max if settings.delays else np.inf,
        "projections": _bounds(settings),
        "silent_lift": numbers.silent_lift,
        "regularisers": _regularisers(settings, numbers),
        "augmentation": settings.augmentation(len(training)),
        "early_stopping": stopping,
        "watch": settings.watch,
        "lambda_limit": settings.lambda_limit,
    }


def _bounds(settings: HiddenLayerSettings) -> dict[str, tuple[float, float]]:
    """The bounds of time constants that are learned."""
    if not settings.learn_taus:
        return {}
    return {
        f"{population}.{parameter}": (minimum, np.inf)
        for population in settings.hidden_populations
        for parameter, minimum in MINIMUM_TAUS.items()
    }


def _regularisers(settings: HiddenLayerSettings, numbers: Hyperparameters) -> list[RateRegulariser]:
    strengths = numbers.regulariser_strength
    if len(strengths) == 1:
        strengths = strengths * numbers.layers
    return [
        RateRegulariser(population, strength, settings.target_spikes)
        for population, strength in zip(settings.hidden_populations, strengths, strict=True)
        if strength
    ]


# -- running ------------------------------------------------------------------------------


@helpful
@for_settings(HiddenLayerSettings)
def train(settings: HiddenLayerSettings, **options: Unpack[RunOptions]) -> FitResult:
    """Train a network; the options are arguments of ``evsim.fit``, see ``RunOptions``."""
    return experiment.train(settings, **options)


@helpful
@for_settings(HiddenLayerSettings)
def evaluate(
    result: FitResult, settings: HiddenLayerSettings, *, engine: str | Engine = "exact"
) -> Evaluation:
    """Test the network of the best epoch on the test samples."""
    return experiment.evaluate(result, settings, engine=engine)


@helpful
@for_settings(HiddenLayerSettings)
def pictures(
    result: FitResult,
    settings: HiddenLayerSettings,
    folder: str | Path,
    *,
    engine: str | Engine = "exact",
) -> list[Path]:
    """Draw learning, confusion, delays, spikes and firing rates; return the files' paths."""
    numbers = settings.hyperparameters()
    tested = Tested(
        data(settings)[2],
        loss(settings),
        numbers.duration,
        class_names(settings),
        output=f"{settings.hidden_populations[-1]}->output",
        delays=learned_delays(settings),
    )
    return draw(result, network(settings), tested, folder, engine)


# -- the experiments ----------------------------------------------------------------------

Chosen = TypeVar("Chosen", bound=HiddenLayerSettings)


def experiment_with(
    settings_type: type[Chosen],
    name: str,
    description: str,
    cross_validate: CrossValidate[Chosen] | None = None,
) -> Experiment[Chosen]:
    """The experiment with these settings and the functions of this module."""
    return Experiment(
        name=name,
        description=description,
        settings_type=settings_type,
        data=data,
        network=network,
        loss=loss,
        optimizers=optimizers,
        class_names=class_names,
        fit_arguments=_fit_arguments,
        pictures=pictures,
        cross_validate=cross_validate,
    )


experiment = experiment_with(HiddenLayerSettings, "hidden layers", "")  # type: ignore[type-abstract]
"""Runs any of these experiments: they differ only in their settings."""
