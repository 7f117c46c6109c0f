"""Hidden layers with or without recurrence, delays and time constants that are learned.

What the networks for spoken words and for Braille have in common, and how they are trained
(L section 2.3, D section 2.3).
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from evsim.arguments.keywords import helpful
from evsim.losses import Loss
from evsim.losses.regularisers import RateRegulariser
from evsim.network.connections import Connection
from evsim.network.initialisers import Constant, Gamma, Normal, Uniform
from evsim.network.network import Network
from evsim.network.populations import LI, LIF, Input
from evsim.tasks.checking import for_settings
from evsim.tasks.drawing import Tested, draw
from evsim.tasks.layered_settings import Hyperparameters, LayeredSettings, Parts
from evsim.tasks.named_losses import named_loss
from evsim.tasks.running import RunOptions, evaluated

if TYPE_CHECKING:
    from evsim.data.dataset import Dataset
    from evsim.engines import Engine
    from evsim.training.fitting import Evaluation, FitResult
    from evsim.training.optimisers import Adam

LEAST_TAUS = {"tau_mem": 3.0, "tau_syn": 1.0}
"""Bounds of learned and heterogeneous time constants in ms (L)."""


# -- data, network, loss -------------------------------------------------------------------


@helpful
@for_settings(LayeredSettings)
@lru_cache(maxsize=1)  # files are read once in a run
def data(settings: LayeredSettings) -> Parts:
    """The training, validation and test samples; there need not be validation samples."""
    return settings.samples()


@helpful
@for_settings(LayeredSettings)
def class_names(settings: LayeredSettings) -> tuple[str, ...]:
    """The name of each output's class."""
    return settings.chosen_names(settings.all_names)


@helpful
def hidden_names(layers: int) -> list[str]:
    """The names of the hidden populations, the first first."""
    return ["hidden"] if layers == 1 else [f"hidden{layer + 1}" for layer in range(layers)]


@helpful
@for_settings(LayeredSettings)
def network(settings: LayeredSettings) -> Network:
    """The network before training: inputs, hidden LIF layers, LI outputs.

    With the loss ``time`` outputs are LIF units.  A delay line is that many connections from
    the inputs, each 30 ms later than the one before.
    """
    numbers = settings.hyperparameters()
    names = hidden_names(numbers.layers)
    outputs = len(class_names(settings))
    time_constants: dict[str, Any] = {"tau_mem": numbers.tau_mem, "tau_syn": numbers.tau_syn}
    output = (
        # One spike a trial: later ones change neither this loss nor its gradient.
        LIF("output", outputs, **time_constants, refractory=np.inf)
        if settings.loss == "time"
        else LI("output", outputs, **time_constants)
    )
    own_time_constants = _hidden_time_constants(settings, numbers)
    hidden = [LIF(name, numbers.hidden, **own_time_constants) for name in names]
    return Network(
        [Input("input", settings.inputs), *hidden, output],
        _connections(settings, numbers, names),
        seed=settings.seed,
    )


DELAY_LINE_SPACING = 30.0
"""Time between two copies of the inputs in a delay line, in ms (L section 2.3)."""


def _connections(
    settings: LayeredSettings, numbers: Hyperparameters, names: list[str]
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
        own = Constant(0.0) if settings.delays and settings.recurrent_delays else 0.0
        connections += [Connection(name, name, recurrent, own) for name in names]
    connections.append(Connection(names[-1], "output", to_output))
    return connections


@helpful
@for_settings(LayeredSettings)
def learned_delays(settings: LayeredSettings) -> list[str]:
    """The names of the connections whose delays are learned."""
    if not settings.delays:
        return []
    names = hidden_names(settings.hyperparameters().layers)
    learned = [f"{source}->{target}" for source, target in pairwise(["input", *names])]
    if settings.recurrent and settings.recurrent_delays:
        learned += [f"{name}->{name}" for name in names]
    return learned


def _hidden_time_constants(settings: LayeredSettings, numbers: Hyperparameters) -> dict[str, Any]:
    """Both time constants of a hidden population: shared, or one for each unit."""
    chosen: dict[str, Any] = {}
    for name, least in LEAST_TAUS.items():
        mean = getattr(numbers, name)
        if settings.heterogeneous:
            chosen[name] = Gamma(mean, shape=3.0, low=least, high=3.0 * mean)
        else:
            chosen[name] = Constant(mean) if settings.learn_taus else mean
    return chosen


@helpful
@for_settings(LayeredSettings)
def loss(settings: LayeredSettings) -> Loss:
    """The loss of that name (L 1, 2, 5, 29 and section 4.1)."""
    numbers = settings.hyperparameters()
    return named_loss(settings.loss, tau0=numbers.tau0, tau1=numbers.tau1, alpha=numbers.alpha)


@helpful
@for_settings(LayeredSettings)
def optimizers(settings: LayeredSettings) -> dict[str, Adam]:
    """Adam on the weights, and on the delays and time constants that are learned."""
    from evsim.training.optimisers import Adam
    from evsim.training.schedules import EaseIn, Halving, Schedule

    numbers = settings.hyperparameters()
    slower: tuple[Schedule, ...] = ()
    if numbers.halving:
        slower = (Halving(wait=numbers.halving, watch=settings.watch),)
    eased = slower if numbers.ease_in == 1.0 else (EaseIn(numbers.ease_in), *slower)
    chosen = {"weight": Adam(numbers.weight_rate, schedule=eased)}
    for connection in learned_delays(settings):
        chosen[f"{connection}.delay"] = Adam(numbers.delay_rate)
    if settings.learn_taus:
        for population in hidden_names(numbers.layers):
            for parameter in LEAST_TAUS:
                chosen[f"{population}.{parameter}"] = Adam(numbers.tau_rate, schedule=eased)
    return chosen


# -- running ------------------------------------------------------------------------------


@helpful
@for_settings(LayeredSettings)
def train(settings: LayeredSettings, **options: Unpack[RunOptions]) -> FitResult:
    """Train a network; the options are arguments of ``evsim.fit``, see ``RunOptions``."""
    training, validation, _ = data(settings)
    return fit_samples(settings, training, validation, **options)


@helpful
@for_settings(LayeredSettings)
def fit_samples(
    settings: LayeredSettings,
    training: Dataset,
    validation: Dataset | None,
    **options: Unpack[RunOptions],
) -> FitResult:
    """Train a network on these samples."""
    from evsim.training.fitting import fit
    from evsim.training.schedules import EarlyStopping

    numbers = settings.hyperparameters()
    stopping = EarlyStopping(numbers.patience, settings.watch) if numbers.patience else None
    return fit(
        network(settings),
        training,
        loss(settings),
        duration=numbers.duration,
        optimizers=optimizers(settings),
        epochs=numbers.epochs,
        batch_size=numbers.batch_size,
        validation=validation,
        delay_max=settings.delay_max if settings.delays else np.inf,
        projections=_bounds(settings, numbers),
        silent_lift=numbers.silent_lift,
        regularisers=_regularisers(settings, numbers),
        augmentation=settings.augmentation(len(training)),
        early_stopping=stopping,
        watch=settings.watch,
        lambda_limit=settings.lambda_limit,
        seed=settings.seed,
        **options,
    )


def _bounds(settings: LayeredSettings, numbers: Hyperparameters) -> dict[str, tuple[float, float]]:
    """Within what time constants that are learned stay."""
    if not settings.learn_taus:
        return {}
    return {
        f"{population}.{parameter}": (least, np.inf)
        for population in hidden_names(numbers.layers)
        for parameter, least in LEAST_TAUS.items()
    }


def _regularisers(settings: LayeredSettings, numbers: Hyperparameters) -> list[RateRegulariser]:
    strengths = numbers.regulariser_strength
    if len(strengths) == 1:
        strengths = strengths * numbers.layers
    return [
        RateRegulariser(population, strength, settings.target_spikes)
        for population, strength in zip(hidden_names(numbers.layers), strengths, strict=True)
        if strength
    ]


@helpful
@for_settings(LayeredSettings)
def evaluate(
    result: FitResult, settings: LayeredSettings, *, engine: str | Engine = "exact"
) -> Evaluation:
    """How well the network of the best epoch does on the test samples."""
    samples, duration = data(settings)[2], settings.hyperparameters().duration
    return evaluated(result.network, samples, loss(settings), duration, engine)


@helpful
@for_settings(LayeredSettings)
def pictures(
    result: FitResult,
    settings: LayeredSettings,
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
        output=f"{hidden_names(numbers.layers)[-1]}->output",
        delays=learned_delays(settings),
    )
    return draw(result, network(settings), tested, folder, engine)
