"""MNIST: classify images of digits, each bright pixel given as one spike.

The network and its training are those of L section 2 and Figure S1, with the four losses that
L compares.  What stands only in the program published with L is said to.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Unpack

import numpy as np

from evsim.arguments.keywords import helpful
from evsim.losses import Loss
from evsim.losses.regularisers import RateRegulariser
from evsim.network.connections import Connection
from evsim.network.initialisers import Normal
from evsim.network.network import Network
from evsim.network.populations import LI, LIF, Input
from evsim.tasks.checking import check_ranges, check_types, for_settings
from evsim.tasks.drawing import Tested, draw
from evsim.tasks.named_losses import check_first_spike_numbers, named_loss
from evsim.tasks.running import RunOptions, changed_by, evaluated
from evsim.tasks.samples import DataSettings, divided, drawn, only_classes

if TYPE_CHECKING:
    from evsim.data.dataset import Dataset
    from evsim.engines import Engine
    from evsim.training.fitting import Evaluation, FitResult
    from evsim.training.optimisers import Adam

PIXELS = 784
CLASS_NAMES = tuple("0123456789")


# -- settings -----------------------------------------------------------------------------


@helpful
@dataclass(frozen=True)
class Settings(DataSettings):
    """Everything a run of MNIST depends on, apart from the engine.

    Paper means section 2 and Figure S1 of Nowotny, Turner, Knight, Loss shaping enhances exact
    gradient learning with EventProp; program the program published with it.
    """

    grid_step: ClassVar[float] = 1.0  # ms (paper)

    download: bool = False
    """Fetch files that are missing."""

    loss: Literal["xent", "sum", "max", "time"] = "xent"
    """What the outputs are read for: the voltage at each time, its mean, its maximum, or the
    first spike. Paper: all four."""

    hidden: int = 128
    """Number of hidden units. Paper: 128."""

    seed: int = 0
    """Seed of the initial weights, of the order of the samples and of dropout."""

    validation_size: int = 5000
    """Training samples kept apart to choose the epoch. Paper: 5000; 0 in the runs that are
    tested, which train on all 60000."""

    # the network

    duration: float = 20.0
    """Length of a trial in ms; pixels spike from 2 ms on, the brightest first, until 2 ms before
    its end. Paper: 20."""

    tau_mem: float = 20.0
    """Membrane time constant in ms. Paper: 20."""

    tau_syn: float = 5.0
    """Synaptic time constant in ms. Paper: 5."""

    hidden_weight_mean: float = 0.078
    """Mean of the initial weights from input to hidden. Paper: 0.078."""

    hidden_weight_deviation: float = 0.045
    """Standard deviation of the same. Paper: 0.045."""

    output_weight_mean: float | None = None
    """Mean of the initial weights from hidden to output; if not given 0.9 with the loss time, else
    0.2 (paper)."""

    output_weight_deviation: float | None = None
    """Standard deviation of the same; if not given 0.03 with the loss time, else 0.37 (paper)."""

    # training

    epochs: int = 50
    """Passes through the training samples. Paper: 50."""

    batch_size: int = 32
    """Samples of a batch. Paper: 32."""

    weight_rate: float | None = None
    """Learning rate of the weights; if not given 0.005 with the loss time, else 0.01 (paper)."""

    rate_decay: float = 1.0
    """Factor on the learning rate after each epoch. Paper: none, over 50 epochs."""

    input_dropout: float = 0.2
    """Probability that an input spike is dropped in training. Program: 0.2; not in the paper."""

    regulariser_strength: float | None = None
    """Strength of the rate regulariser of hidden units; if not given 1e-8 with the loss time, else
    0 (paper; for first spikes the program's unit is evsim's)."""

    target_spikes: float = 4.0
    """Spikes in a trial that the regulariser pulls the mean of a hidden unit to. Paper: 4."""

    tau0: float | None = None
    """Time constant in ms of the softmax of first spikes, with the loss time; if not given 1
    (paper)."""

    tau1: float | None = None
    """Time constant in ms of the pull to early spikes, with the loss time; if not given 3
    (paper)."""

    alpha: float | None = None
    """Weight of the pull to early spikes, with the loss time; if not given 3.6e-4 (paper)."""

    lambda_limit: float = np.inf
    """Largest |lambda_V| at a spike; inf for the exact gradient. Paper: none."""

    def __post_init__(self) -> None:
        check_types(self)
        check_ranges(self)
        self.check_samples(len(CLASS_NAMES))
        check_first_spike_numbers(self.loss, tau0=self.tau0, tau1=self.tau1, alpha=self.alpha)
        strength = self.hyperparameters().regulariser_strength
        RateRegulariser("hidden", strength, self.target_spikes)

    def hyperparameters(self) -> Hyperparameters:
        """The numbers that depend on the loss, where they are not given."""
        if self.loss == "time":
            numbers = Hyperparameters(0.9, 0.03, 0.005, 1e-8, 1.0, 3.0, 3.6e-4)
        else:
            numbers = Hyperparameters(0.2, 0.37, 0.01, 0.0, None, None, None)
        return changed_by(numbers, self)


@dataclass(frozen=True)
class Hyperparameters:
    """Numbers that the paper chooses for each loss; see the settings of the same names."""

    output_weight_mean: float
    output_weight_deviation: float
    weight_rate: float
    regulariser_strength: float
    tau0: float | None
    tau1: float | None
    alpha: float | None


# -- data, network, loss ------------------------------------------------------------------


@helpful
@for_settings(Settings)
@lru_cache(maxsize=1)  # files are read once in a run
def data(settings: Settings) -> tuple[Dataset, Dataset | None, Dataset]:
    """The training, validation and test samples; no validation samples for a size of 0."""
    from evsim import data as datasets

    training, test = datasets.mnist(
        settings.data, duration=settings.duration, download=settings.download
    )
    training, test = (only_classes(part, settings.classes) for part in (training, test))
    validation = None
    if settings.validation_size:
        validation, training = divided(
            training, settings.validation_size, "validation", settings.data_seed
        )
    training = drawn(training, settings.train_size, "train", settings.data_seed)
    return training, validation, drawn(test, settings.test_size, "test", settings.data_seed)


@helpful
@for_settings(Settings)
def class_names(settings: Settings) -> tuple[str, ...]:
    """The name of each output's class."""
    return settings.chosen_names(CLASS_NAMES)


@helpful
@for_settings(Settings)
def network(settings: Settings) -> Network:
    """The network before training: 784 inputs, a hidden LIF layer, LI outputs.

    With the loss ``time`` outputs are LIF units.
    """
    numbers = settings.hyperparameters()
    time_constants = {"tau_mem": settings.tau_mem, "tau_syn": settings.tau_syn}
    outputs = len(class_names(settings))
    output = (
        # One spike a trial: later ones change neither this loss nor its gradient.
        LIF("output", outputs, **time_constants, refractory=np.inf)
        if settings.loss == "time"
        else LI("output", outputs, **time_constants)
    )
    return Network(
        [Input("input", PIXELS), LIF("hidden", settings.hidden, **time_constants), output],
        [
            Connection(
                "input",
                "hidden",
                weight=Normal(settings.hidden_weight_mean, settings.hidden_weight_deviation),
            ),
            Connection(
                "hidden",
                "output",
                weight=Normal(numbers.output_weight_mean, numbers.output_weight_deviation),
            ),
        ],
        seed=settings.seed,
    )


@helpful
@for_settings(Settings)
def loss(settings: Settings) -> Loss:
    """The loss of that name (L 1, 2, 29 and section 4.1)."""
    numbers = settings.hyperparameters()
    return named_loss(settings.loss, tau0=numbers.tau0, tau1=numbers.tau1, alpha=numbers.alpha)


@helpful
@for_settings(Settings)
def optimizers(settings: Settings) -> dict[str, Adam]:
    """Adam on the weights."""
    from evsim.training.optimisers import Adam

    rate = settings.hyperparameters().weight_rate
    return {"weight": Adam(rate, decay=settings.rate_decay)}


# -- running ------------------------------------------------------------------------------


@helpful
@for_settings(Settings)
def train(settings: Settings, **options: Unpack[RunOptions]) -> FitResult:
    """Train a network; the options are arguments of ``evsim.fit``, see ``RunOptions``."""
    from evsim.training.fitting import fit

    training, validation, _ = data(settings)
    strength = settings.hyperparameters().regulariser_strength
    return fit(
        network(settings),
        training,
        loss(settings),
        duration=settings.duration,
        optimizers=optimizers(settings),
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        validation=validation,
        regularisers=(
            [RateRegulariser("hidden", strength, settings.target_spikes)] if strength else []
        ),
        dropout={"input": settings.input_dropout} if settings.input_dropout else None,
        lambda_limit=settings.lambda_limit,
        seed=settings.seed,
        **options,
    )


@helpful
@for_settings(Settings)
def evaluate(
    result: FitResult, settings: Settings, *, engine: str | Engine = "exact"
) -> Evaluation:
    """How well the network of the best epoch does on the test samples."""
    samples = data(settings)[2]
    return evaluated(result.network, samples, loss(settings), settings.duration, engine)


@helpful
@for_settings(Settings)
def pictures(
    result: FitResult, settings: Settings, folder: str | Path, *, engine: str | Engine = "exact"
) -> list[Path]:
    """Draw learning, confusion, spikes and firing rates; return the files' paths."""
    names = class_names(settings)
    tested = Tested(data(settings)[2], loss(settings), settings.duration, names)
    return draw(result, network(settings), tested, folder, engine)
