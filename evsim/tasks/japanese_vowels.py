"""Japanese Vowels: tell nine speakers apart by how they say two vowels.

The data are those of Kudo, Toyama, Shimbo, *Multidimensional curve classification using
passing-through regions* (Pattern Recognition Letters 1999): 12 coefficients of the spectrum, 7 to
29 frames.  Each utterance is resampled to the same number of frames, normalised, and encoded by
units with Gaussian tuning curves.  No paper publishes these networks; the numbers were chosen with
training utterances alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Unpack

import numpy as np

from evsim import encoding
from evsim.arguments.errors import ArgumentError
from evsim.arguments.keywords import helpful
from evsim.data.augment import Augmentation, Augmented
from evsim.data.dataset import Dataset
from evsim.losses import CrossEntropy, Loss
from evsim.losses.regularisers import RateRegulariser
from evsim.network.connections import Connection
from evsim.network.initialisers import Normal, Uniform
from evsim.network.network import Network
from evsim.network.populations import LI, LIF, Input
from evsim.network.spike_trains import SpikeTrains
from evsim.readouts import Mean
from evsim.tasks.base import Experiment, Parts, RunOptions, for_settings
from evsim.tasks.pictures import Tested, draw
from evsim.tasks.settings import DataSettings, with_settings

if TYPE_CHECKING:
    from evsim.engines import Engine
    from evsim.training.fitting import Evaluation, FitResult
    from evsim.training.optimisers import Optimizer

CLASS_NAMES = tuple(f"speaker {number}" for number in range(1, 10))
COEFFICIENTS = 12


@helpful
@dataclass(frozen=True)
class Settings(DataSettings):
    """The settings of a run on Japanese Vowels."""

    all_names: ClassVar[tuple[str, ...]] = CLASS_NAMES
    grid_step: ClassVar[float] = 1.0

    delays: bool = False
    """Learn the delays of all synapses from the inputs."""

    recurrent: bool = False
    """Connect the hidden layer to itself."""

    direct: int = 1
    """The number of synapses from each input to each output, which skip the hidden layer; 0 for
    none. With --delays each of them has a delay of its own."""

    hidden: int = 64
    """The number of hidden units."""

    seed: int = 0
    """The seed of the initial values, of the order of the samples and of the noise."""

    validation_size: int = 0
    """The number of training utterances set aside to choose the best epoch. By default 0: training
    uses all utterances."""

    # the spikes

    frames: int = 6
    """The number of frames to which each utterance is resampled."""

    curves: int = 6
    """The number of input units for each coefficient; each has a tuning curve."""

    curve_width: float = 1.0
    """The standard deviation of a tuning curve, in units of the distance between two curves."""

    cutoff: float = 0.5
    """The activation below which an input unit does not spike."""

    largest_deviation: float = 2.5
    """The centres of the outermost curves, in standard deviations of a coefficient. Values beyond
    them count as the centre."""

    duration: float | None = None
    """The length of a trial in ms. By default 80 with --delays, otherwise 120."""

    utterance: float | None = None
    """The length of an utterance in the trial, in ms. By default 40 with --delays, otherwise
    100."""

    # the network

    tau_mem: float = 20.0
    """The membrane time constant in ms."""

    tau_syn: float = 10.0
    """The synaptic time constant in ms."""

    input_weight_mean: float | None = None
    """The mean of the initial weights from the inputs. By default 0.024 with --delays, otherwise
    0.06."""

    input_weight_deviation: float | None = None
    """The standard deviation of these weights. By default 0.38 with --delays, otherwise 0.6."""

    recurrent_weight_mean: float = 0.0
    """The mean of the initial recurrent weights."""

    recurrent_weight_deviation: float = 0.02
    """The standard deviation of these weights."""

    direct_weight_deviation: float = 0.05
    """The standard deviation of the initial weights from the inputs to the outputs; their mean is
    0."""

    output_weight_mean: float = 0.0
    """The mean of the initial weights to the outputs."""

    output_weight_deviation: float = 0.2
    """The standard deviation of these weights."""

    initial_delay_max: float | None = None
    """Delays to the hidden units start between 0 and this many ms, those to the outputs between 0
    and delay_max. By default 40."""

    delay_max: float = 80.0
    """The largest delay in ms."""

    # training

    more_losses: tuple[str, ...] = ()
    """Further terms of the loss, each with a weight, as 0.5*max; none by default. Names are sum,
    sum_exp, linear, sigmoid, input, max and xent. The loss is sum."""

    epochs: int = 15
    """The number of passes through the training utterances."""

    batch_size: int = 10
    """The number of utterances in a batch."""

    weight_rate: float = 0.03
    """The learning rate of the weights to the hidden units."""

    output_rate: float = 0.05
    """The learning rate of the weights to the outputs."""

    direct_rate: float = 0.06
    """The learning rate of the weights from the inputs to the outputs."""

    delay_rate: float | None = None
    """The learning rate of the delays to the hidden units in ms; that of the delays to the outputs
    is four times as large. By default 0.5."""

    rate_decay: float = 0.88
    """The factor by which the learning rates are multiplied after each epoch."""

    utterance_noise: float = 0.4
    """In each epoch, a random number is added to each coefficient of an utterance, the same in all
    frames. Its standard deviation is this many of those of the coefficient."""

    frame_noise: float = 0.4
    """Likewise for each coefficient of each frame."""

    silent_lift: float = 0.005
    """The amount added, after each epoch, to the incoming weights of hidden units that never
    spiked in it."""

    regulariser_strength: float = 0.0
    """The strength of the regulariser of the hidden units' spike rates. By default 0, which is
    none."""

    target_spikes: float = 4.0
    """The mean number of spikes per trial towards which the regulariser pulls each hidden
    unit."""

    def check(self) -> None:
        """Refuse settings that contradict each other."""
        self.check_classes(len(CLASS_NAMES))
        numbers = self.hyperparameters()
        if numbers.utterance > numbers.duration:
            raise ArgumentError(
                f"utterance = {numbers.utterance:g} ms: it must not exceed duration = "
                f"{numbers.duration:g} ms",
                "utterance",
                "duration",
            )
        for name in ("delay_rate", "initial_delay_max"):
            if not self.delays and getattr(self, name) is not None:
                raise ArgumentError(
                    f"{name} = {getattr(self, name):g} ms is given but no delays are learned: set "
                    f"delays, or leave {name} out",
                    name,
                )
        if numbers.initial_delay_max > self.delay_max:
            raise ArgumentError(
                f"initial_delay_max = {numbers.initial_delay_max:g} ms: it must be within 0 and "
                f"delay_max = {self.delay_max:g} ms",
                "initial_delay_max",
                "delay_max",
            )
        encode(np.zeros((1, 1, COEFFICIENTS)), self)  # refuses curves that miss values

    def hyperparameters(self) -> Hyperparameters:
        """The numbers that depend on delays: those given, and the defaults for the others."""
        if self.delays:
            numbers = Hyperparameters(80.0, 40.0, 0.024, 0.38, 0.5, 40.0)
        else:
            numbers = Hyperparameters(120.0, 100.0, 0.06, 0.6, 0.0, 0.0)
        return with_settings(numbers, self)

    def summary(self) -> str:
        """One line that says what network is trained."""
        parts = [
            f"{self.hidden} hidden units",
            "recurrent" if self.recurrent else "feedforward (--recurrent connects the layer)",
            "learned delays" if self.delays else "no learned delays (--delays)",
        ]
        return ", ".join(parts)


@dataclass(frozen=True)
class Hyperparameters:
    """Numbers that depend on whether delays are learned; see the settings of the same names."""

    duration: float
    utterance: float
    input_weight_mean: float
    input_weight_deviation: float
    delay_rate: float
    initial_delay_max: float


# -- utterances and their spikes ----------------------------------------------------------


@lru_cache(maxsize=1)  # files are read once in a run
def _utterances(folder: Path | None, frames: int) -> tuple[Utterances, Utterances]:
    """The training and the test utterances, normalised by the frames of the training utterances."""
    from evsim import data as datasets

    training, test = datasets.japanese_vowels(folder)
    mean, deviation = training.mean_and_deviation()
    if not deviation.all():
        raise datasets.DataFileError(
            f"coefficient {int(np.argmin(deviation))} of all training utterances is constant: give "
            "the files of Japanese Vowels"
        )
    first, second = (
        Utterances((encoding.resample(part.samples, frames) - mean) / deviation, part.labels)
        for part in (training, test)
    )
    return first, second


class Utterances(NamedTuple):
    """Normalised utterances, shape (samples, frames, coefficients), and their labels."""

    values: np.ndarray
    labels: np.ndarray


@helpful
@for_settings(Settings)
def encode(utterances: np.ndarray, settings: Settings) -> SpikeTrains:
    """Spike trains of normalised utterances, shape (samples, frames, coefficients)."""
    return encoding.population(
        utterances,
        frame_length=settings.hyperparameters().utterance / utterances.shape[1],
        low=-settings.largest_deviation,
        high=settings.largest_deviation,
        curves=settings.curves,
        width=settings.curve_width,
        cutoff=settings.cutoff,
        outside="clip",
    )


@helpful
class Noise(Augmentation):
    """Encode the training utterances again, with normal noise added to their coefficients.

    The groups of the data are the numbers of the utterances in the training file.
    """

    def __init__(self, settings: Settings) -> None:
        self.utterance_noise = settings.utterance_noise
        self.frame_noise = settings.frame_noise
        self._settings = settings

    def _augment(
        self, data: Dataset, spikes: SpikeTrains, generator: np.random.Generator, duration: float
    ) -> Augmented:
        values = _utterances(self._settings.data, self._settings.frames)[0].values[data.groups]
        shared = generator.standard_normal((len(values), 1, COEFFICIENTS))
        single = generator.standard_normal(values.shape)
        values = values + self.utterance_noise * shared
        values = values + self.frame_noise * single
        return Augmented(replace(data, spikes=encode(values, self._settings)), 0, 0, 0)


@helpful
@for_settings(Settings)
@lru_cache(maxsize=1)
def data(settings: Settings) -> Parts:
    """The training, validation and test samples; no validation samples for a size of 0.

    Groups are the numbers of the utterances in their file.
    """
    from evsim.data.splits import drawn_parts, only_classes

    training, test = (
        only_classes(
            Dataset(encode(values, settings), labels, np.arange(len(labels))), settings.classes
        )
        for values, labels in _utterances(settings.data, settings.frames)
    )
    return drawn_parts(
        training,
        test,
        validation_size=settings.validation_size,
        train_size=settings.train_size,
        test_size=settings.test_size,
        seed=settings.data_seed,
    )


@helpful
@for_settings(Settings)
def class_names(settings: Settings) -> tuple[str, ...]:
    """The name of each output's class."""
    return settings.output_names(CLASS_NAMES)


# -- the network and its training ---------------------------------------------------------


@helpful
@for_settings(Settings)
def direct_names(settings: Settings) -> list[str]:
    """The names of the connections from the inputs to the outputs."""
    return [f"input->output {number + 1}" for number in range(settings.direct)]


@helpful
@for_settings(Settings)
def network(settings: Settings) -> Network:
    """The network before training: inputs, a hidden LIF layer, LI outputs.

    The outputs also have synapses from the inputs.
    """
    time_constants = {"tau_mem": settings.tau_mem, "tau_syn": settings.tau_syn}
    numbers = settings.hyperparameters()
    into_hidden = Normal(numbers.input_weight_mean, numbers.input_weight_deviation)
    recurrent = Normal(settings.recurrent_weight_mean, settings.recurrent_weight_deviation)
    to_output = Normal(settings.output_weight_mean, settings.output_weight_deviation)
    delay = Uniform(0.0, numbers.initial_delay_max) if settings.delays else 0.0
    connections = [Connection("input", "hidden", into_hidden, delay)]
    if settings.recurrent:
        connections.append(Connection("hidden", "hidden", recurrent))
    connections.append(Connection("hidden", "output", to_output))
    direct = Normal(0.0, settings.direct_weight_deviation)
    direct_delay = Uniform(0.0, settings.delay_max) if settings.delays else 0.0
    connections += [
        Connection("input", "output", direct, direct_delay, name) for name in direct_names(settings)
    ]
    return Network(
        [
            Input("input", COEFFICIENTS * settings.curves),
            LIF("hidden", settings.hidden, **time_constants),
            LI("output", len(class_names(settings)), **time_constants),
        ],
        connections,
        seed=settings.seed,
    )


@helpful
@for_settings(Settings)
def loss(settings: Settings) -> Loss:
    """The softmax cross-entropy of the mean output voltages, and further terms."""
    return settings.with_further_terms(CrossEntropy(Mean()))


@helpful
@for_settings(Settings)
def optimizers(settings: Settings) -> dict[str, Optimizer]:
    """Adam on the weights, and on the delays if they are learned."""
    from evsim.training.optimisers import Adam

    decay = settings.rate_decay
    chosen: dict[str, Optimizer] = {
        "weight": Adam(settings.weight_rate, decay=decay),
        "hidden->output.weight": Adam(settings.output_rate, decay=decay),
    }
    direct = direct_names(settings)
    for name in direct:
        chosen[f"{name}.weight"] = Adam(settings.direct_rate, decay=decay)
    if settings.delays:
        rate = settings.hyperparameters().delay_rate
        chosen["input->hidden.delay"] = Adam(rate, decay=decay)
        for name in direct:
            chosen[f"{name}.delay"] = Adam(4 * rate, decay=decay)
    return chosen


def _fit_arguments(settings: Settings, training: Dataset) -> dict[str, Any]:
    noisy = settings.utterance_noise or settings.frame_noise
    strength = settings.regulariser_strength
    regularisers = [RateRegulariser("hidden", strength, settings.target_spikes)]
    return {
        "duration": settings.hyperparameters().duration,
        "epochs": settings.epochs,
        "batch_size": settings.batch_size,
        "delay_max": settings.delay_max if settings.delays else np.inf,
        "silent_lift": settings.silent_lift,
        "regularisers": regularisers if strength else [],
        "augmentation": [Noise(settings)] if noisy else [],
    }


# -- running ------------------------------------------------------------------------------


@helpful
@for_settings(Settings)
def train(settings: Settings, **options: Unpack[RunOptions]) -> FitResult:
    """Train a network; the options are arguments of ``evsim.fit``, see ``RunOptions``."""
    return experiment.train(settings, **options)


@helpful
@for_settings(Settings)
def evaluate(
    result: FitResult, settings: Settings, *, engine: str | Engine = "exact"
) -> Evaluation:
    """Test the network of the best epoch on the test samples."""
    return experiment.evaluate(result, settings, engine=engine)


@helpful
@for_settings(Settings)
def pictures(
    result: FitResult,
    settings: Settings,
    folder: str | Path,
    *,
    engine: str | Engine = "exact",
) -> list[Path]:
    """Draw learning, confusion, delays, spikes and firing rates; return the files' paths."""
    tested = Tested(
        data(settings)[2],
        loss(settings),
        settings.hyperparameters().duration,
        class_names(settings),
        delays=["input->hidden"] if settings.delays else [],
    )
    return draw(result, network(settings), tested, folder, engine)


experiment = Experiment(
    name="japanese-vowels",
    description="Tell nine speakers apart by how they say two vowels.",
    settings_type=Settings,
    data=data,
    network=network,
    loss=loss,
    optimizers=optimizers,
    class_names=class_names,
    fit_arguments=_fit_arguments,
    pictures=pictures,
)
