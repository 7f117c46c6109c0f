"""Japanese Vowels: tell nine speakers apart by how they say two vowels.

The data are those of Kudo, Toyama, Shimbo, *Multidimensional curve classification using
passing-through regions* (Pattern Recognition Letters 1999): 12 coefficients of the spectrum, 7 to
29 frames.  Each utterance is resampled to the same number of frames, normalised, and encoded by
units with Gaussian tuning curves.  The outputs are read at the end of the trial; delayed synapses
let early frames arrive then.  No paper publishes these networks; the numbers were chosen with
training utterances only.
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
from evsim.network.initialisers import Constant, Normal, Uniform
from evsim.network.network import Network
from evsim.network.populations import LI, LIF, Input
from evsim.network.spike_trains import SpikeTrains
from evsim.readouts import Voltage
from evsim.tasks.base import Experiment, Parts, RunOptions, for_settings
from evsim.tasks.pictures import Tested, draw
from evsim.tasks.quick import QuickForm
from evsim.tasks.settings import DataSettings, HiddenUnitSettings, with_settings

if TYPE_CHECKING:
    from evsim.engines import Engine
    from evsim.training.fitting import Evaluation, FitResult
    from evsim.training.optimisers import Optimizer

CLASS_NAMES = tuple(f"speaker {number}" for number in range(1, 10))
COEFFICIENTS = 12


@helpful
@dataclass(frozen=True)
class Settings(HiddenUnitSettings, DataSettings):
    """The settings of a run on Japanese Vowels."""

    all_names: ClassVar[tuple[str, ...]] = CLASS_NAMES
    grid_step: ClassVar[float] = 1.0
    quick_form = QuickForm({"epochs": 20})

    delays: bool = False
    """Learn the delays of all synapses from the inputs."""

    recurrent: bool = False
    """Connect the hidden layer to itself."""

    direct: int | None = None
    """The number of synapses from each input to each output, which skip the hidden layer; 0 for
    none. With --delays each of them has a delay of its own. By default one for each frame with
    --delays, otherwise 1."""

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

    curves: int | None = None
    """The number of input units for each coefficient; each has a tuning curve. By default 2 with
    --delays, otherwise 6."""

    curve_width: float | None = None
    """The standard deviation of a tuning curve, in units of the distance between two curves. By
    default 0.7 with --delays, otherwise 1."""

    cutoff: float | None = None
    """The activation below which an input unit does not spike. By default 0.05 with --delays, so
    that every unit spikes in every frame, otherwise 0.5."""

    largest_deviation: float = 2.5
    """The centres of the outermost curves, in standard deviations of a coefficient. Values beyond
    them count as the centre."""

    duration: float = 120.0
    """The length of a trial in ms. Every utterance fills the trial."""

    # the network

    tau_mem: float | None = None
    """The membrane time constant in ms. By default 5 with --delays, otherwise 60."""

    tau_syn: float | None = None
    """The synaptic time constant in ms. By default 2 with --delays, otherwise 10."""

    input_weight_mean: float | None = None
    """The mean of the initial weights from the inputs. By default 0.1 with --delays, otherwise
    0.06."""

    input_weight_deviation: float | None = None
    """The standard deviation of these weights. By default 1 with --delays, otherwise 0.6."""

    recurrent_weight_mean: float = 0.0
    """The mean of the initial recurrent weights."""

    recurrent_weight_deviation: float = 0.02
    """The standard deviation of these weights."""

    direct_weight_deviation: float = 0.05
    """The standard deviation of the initial weights from the inputs to the outputs; their mean is
    0."""

    output_weight_mean: float = 0.0
    """The mean of the initial weights to the outputs."""

    output_weight_deviation: float | None = None
    """The standard deviation of these weights. By default 0.1 with --delays, otherwise 0.2."""

    initial_delay_max: float | None = None
    """Delays to the hidden units start between 0 and this many ms. By default the length of a
    trial, or delay_max if that is less. Those to the outputs start evenly spaced from 0 to the
    last frame, so that each brings a different frame to the end of the trial."""

    delay_max: float | None = None
    """The largest delay in ms. By default the length of a trial."""

    # training

    label_smoothing: float = 0.2
    """The part of a label's probability that is spread evenly over all classes."""

    more_losses: tuple[str, ...] = ()
    """Further terms of the loss, each with a weight, such as 0.5*max; none by default. Names are
    sum, sum_exp, linear, sigmoid, input, max and xent. The main loss reads the end of the trial."""

    epochs: int = 60
    """The number of passes through the training utterances."""

    batch_size: int = 10
    """The number of utterances in a batch."""

    weight_rate: float = 0.03
    """The learning rate of the weights to the hidden units."""

    output_rate: float | None = None
    """The learning rate of the weights to the outputs. By default 0.1 with --delays, otherwise
    0.05."""

    direct_rate: float | None = None
    """The learning rate of the weights from the inputs to the outputs. By default 2 with --delays,
    otherwise 0.06."""

    delay_rate: float | None = None
    """The learning rate of the delays in ms. By default 0.05."""

    rate_decay: float = 0.93
    """The factor by which the learning rates are multiplied after each epoch."""

    utterance_noise: float = 0.2
    """In each epoch, a random number is added to each coefficient of an utterance, the same in all
    frames. This is its standard deviation, in standard deviations of the coefficient."""

    frame_noise: float = 0.2
    """The same for a random number that is drawn anew for each coefficient of each frame."""

    silent_lift: float = 0.005
    """The amount added, after each epoch, to the incoming weights of hidden units that never
    spiked in it."""

    regulariser_strength: float = 0.0
    """The strength of the regulariser of the hidden units' spike rates. By default 0: none."""

    target_spikes: float = 4.0
    """The mean number of spikes per trial towards which the regulariser pulls each hidden
    unit."""

    def check(self) -> None:
        """Refuse settings that contradict each other."""
        self.check_classes(len(CLASS_NAMES))
        numbers = self.hyperparameters()
        for name in ("delay_rate", "initial_delay_max", "delay_max"):
            if not self.delays and getattr(self, name) is not None:
                raise ArgumentError(
                    f"{name} = {getattr(self, name):g} ms is given but no delays are learned: set "
                    f"delays, or leave {name} out",
                    name,
                )
        if numbers.initial_delay_max > numbers.delay_max:
            raise ArgumentError(
                f"initial_delay_max = {numbers.initial_delay_max:g} ms: it must be within 0 and "
                f"delay_max = {numbers.delay_max:g} ms",
                "initial_delay_max",
                "delay_max",
            )
        last_delay = max(direct_delays(self), default=0.0)
        if last_delay > numbers.delay_max:
            raise ArgumentError(
                f"delay_max = {numbers.delay_max:g} ms: it must be at least {last_delay:g} ms, the "
                "largest initial delay from an input to an output",
                "delay_max",
            )
        encode(np.zeros((1, 1, COEFFICIENTS)), self)  # refuses curves that miss values

    def hyperparameters(self) -> Hyperparameters:
        """The numbers that depend on delays: those given, and the defaults for the others."""
        if not self.delays:
            return with_settings(WITHOUT_DELAYS, self)
        largest = self.duration if self.delay_max is None else self.delay_max
        numbers = replace(
            WITH_DELAYS,
            direct=self.frames,
            initial_delay_max=min(largest, self.duration),
            delay_max=largest,
        )
        return with_settings(numbers, self)

    def summary(self) -> str:
        """One line that says what network is trained."""
        parts = [
            f"{self.hidden} hidden units",
            "recurrent" if self.recurrent else "feedforward (--recurrent connects the layer)",
            "learned delays" if self.delays else "no learned delays (--delays)",
        ]
        return ", ".join(parts)


@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """Numbers that depend on whether delays are learned; see the settings of the same names."""

    direct: int
    curves: int
    curve_width: float
    cutoff: float
    tau_mem: float
    tau_syn: float
    input_weight_mean: float
    input_weight_deviation: float
    output_weight_deviation: float
    output_rate: float
    direct_rate: float
    delay_rate: float = 0.0
    initial_delay_max: float = 0.0
    delay_max: float = np.inf


WITH_DELAYS = Hyperparameters(
    direct=6,
    curves=2,
    curve_width=0.7,
    cutoff=0.05,
    tau_mem=5.0,
    tau_syn=2.0,
    input_weight_mean=0.1,
    input_weight_deviation=1.0,
    output_weight_deviation=0.1,
    output_rate=0.1,
    direct_rate=2.0,
    delay_rate=0.05,
)

WITHOUT_DELAYS = Hyperparameters(
    direct=1,
    curves=6,
    curve_width=1.0,
    cutoff=0.5,
    tau_mem=60.0,
    tau_syn=10.0,
    input_weight_mean=0.06,
    input_weight_deviation=0.6,
    output_weight_deviation=0.2,
    output_rate=0.05,
    direct_rate=0.06,
)


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
    numbers = settings.hyperparameters()
    return encoding.population(
        utterances,
        frame_length=settings.duration / utterances.shape[1],
        low=-settings.largest_deviation,
        high=settings.largest_deviation,
        curves=numbers.curves,
        width=numbers.curve_width,
        cutoff=numbers.cutoff,
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
    return [f"input->output {number + 1}" for number in range(settings.hyperparameters().direct)]


@helpful
@for_settings(Settings)
def direct_delays(settings: Settings) -> list[float]:
    """The initial delay in ms of the synapses of each connection from the inputs to the outputs.

    With one synapse for each frame, each brings a different frame to the end of the trial.
    """
    count = settings.hyperparameters().direct
    step = settings.duration / max(1, count) if settings.delays else 0.0
    return [place * step for place in range(count)]


@helpful
@for_settings(Settings)
def network(settings: Settings) -> Network:
    """The network before training: inputs, a hidden LIF layer, LI outputs.

    The outputs also have synapses from the inputs.
    """
    numbers = settings.hyperparameters()
    time_constants = {"tau_mem": numbers.tau_mem, "tau_syn": numbers.tau_syn}
    inputs, outputs = COEFFICIENTS * numbers.curves, len(class_names(settings))
    into_hidden = Normal(numbers.input_weight_mean, numbers.input_weight_deviation)
    recurrent = Normal(settings.recurrent_weight_mean, settings.recurrent_weight_deviation)
    to_output = Normal(settings.output_weight_mean, numbers.output_weight_deviation)
    delay = Uniform(0.0, numbers.initial_delay_max) if settings.delays else 0.0
    connections = [Connection("input", "hidden", into_hidden, delay)]
    if settings.recurrent:
        connections.append(Connection("hidden", "hidden", recurrent))
    connections.append(Connection("hidden", "output", to_output))
    direct = Normal(0.0, settings.direct_weight_deviation)
    connections += [
        Connection("input", "output", direct, Constant(delay) if settings.delays else 0.0, name)
        for delay, name in zip(direct_delays(settings), direct_names(settings), strict=True)
    ]
    return Network(
        [
            Input("input", inputs),
            LIF("hidden", settings.hidden, **time_constants),
            LI("output", outputs, **time_constants),
        ],
        connections,
        seed=settings.seed,
    )


@helpful
@for_settings(Settings)
def loss(settings: Settings) -> Loss:
    """The softmax cross-entropy of the output voltages at the end of the trial, and more terms."""
    at_end = CrossEntropy(Voltage([settings.duration]), settings.label_smoothing)
    return settings.with_further_terms(at_end)


@helpful
@for_settings(Settings)
def optimizers(settings: Settings) -> dict[str, Optimizer]:
    """Adam on the weights, and on the delays if they are learned."""
    from evsim.training.optimisers import Adam

    numbers, decay = settings.hyperparameters(), settings.rate_decay
    chosen: dict[str, Optimizer] = {
        "weight": Adam(settings.weight_rate, decay=decay),
        "hidden->output.weight": Adam(numbers.output_rate, decay=decay),
    }
    for name in direct_names(settings):
        chosen[f"{name}.weight"] = Adam(numbers.direct_rate, decay=decay)
    if settings.delays:
        for name in ("input->hidden", *direct_names(settings)):
            chosen[f"{name}.delay"] = Adam(numbers.delay_rate, decay=decay)
    return chosen


def _fit_arguments(settings: Settings, training: Dataset) -> dict[str, Any]:
    noisy = settings.utterance_noise or settings.frame_noise
    strength = settings.regulariser_strength
    regularisers = [RateRegulariser("hidden", strength, settings.target_spikes)]
    return {
        "duration": settings.duration,
        "epochs": settings.epochs,
        "batch_size": settings.batch_size,
        "delay_max": settings.hyperparameters().delay_max,
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
        settings.duration,
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
