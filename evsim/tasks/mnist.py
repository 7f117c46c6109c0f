"""MNIST: classify images of digits, each bright pixel given as one spike.

The network and its training are those of section 2 and Figure S1 of L, with the four losses that
L compares.  What is not in L but in the program published with it is marked.

L is Nowotny, Turner, Knight, *Loss shaping enhances exact gradient learning with EventProp*.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Unpack

import numpy as np

from evsim.arguments.keywords import helpful
from evsim.losses import Loss
from evsim.losses.regularisers import RateRegulariser
from evsim.network.connections import Connection
from evsim.network.initialisers import Normal
from evsim.network.network import Network
from evsim.network.populations import LI, LIF, Input
from evsim.tasks.base import Experiment, Parts, RunOptions, for_settings
from evsim.tasks.named_losses import check_loss_numbers, named_loss
from evsim.tasks.pictures import Tested, draw
from evsim.tasks.quick import QuickForm
from evsim.tasks.settings import DataSettings, HiddenUnitSettings, with_settings

if TYPE_CHECKING:
    from evsim.data.dataset import Dataset
    from evsim.engines import Engine
    from evsim.training.fitting import Evaluation, FitResult
    from evsim.training.optimisers import Optimizer

PIXELS = 784
CLASS_NAMES = tuple("0123456789")


# -- settings -----------------------------------------------------------------------------


@helpful
@dataclass(frozen=True)
class Settings(HiddenUnitSettings, DataSettings):
    """The settings of a run on MNIST.

    The paper is Nowotny, Turner, Knight, Loss shaping enhances exact gradient learning with
    EventProp, section 2 and Figure S1. The program was published with it.
    """

    grid_step: ClassVar[float] = 1.0  # the paper
    quick_form = QuickForm(
        {"train_size": 5000, "validation_size": 1000, "test_size": 2000, "epochs": 3}
    )

    download: bool = False
    """Download files that are missing."""

    loss: Literal["xent", "sum", "max", "time"] = "xent"
    """What the loss reads from the outputs: xent the voltage at each time, sum its mean, max its
    maximum, time the first spike. The paper compares all four."""

    more_losses: tuple[str, ...] = ()
    """Further terms of the loss, each with a weight, such as 0.5*max; none by default. Names are
    sum, sum_exp, linear, sigmoid, input, max and xent. With --loss time, outputs spike: max is not
    available, but time and time_invariant are. Their arguments may follow, as in 0.1*time(tau0=2)
    and 0.1*time_invariant(delta=2)."""

    hidden: int = 128
    """The number of hidden units. The paper has 128."""

    seed: int = 0
    """The seed of the initial weights, of the order of the samples and of dropout."""

    validation_size: int = 5000
    """The number of training samples set aside to choose the best epoch. The paper has 5000, but 0
    in the runs that are tested, which train on all 60000."""

    # the network

    duration: float = 20.0
    """The length of a trial in ms. Pixels spike from 2 ms after its start, the brightest first,
    until 2 ms before its end. The paper has 20."""

    tau_mem: float = 20.0
    """The membrane time constant in ms. The paper has 20."""

    tau_syn: float = 5.0
    """The synaptic time constant in ms. The paper has 5."""

    hidden_weight_mean: float = 0.078
    """The mean of the initial weights from the inputs to the hidden units. The paper has 0.078."""

    hidden_weight_deviation: float = 0.045
    """The standard deviation of these weights. The paper has 0.045."""

    output_weight_mean: float | None = None
    """The mean of the initial weights from the hidden to the output units. By default 0.9 with
    --loss time, otherwise 0.2 as in the paper."""

    output_weight_deviation: float | None = None
    """The standard deviation of these weights. By default 0.03 with --loss time, otherwise 0.37
    as in the paper."""

    # training

    epochs: int = 50
    """The number of passes through the training samples. The paper has 50."""

    batch_size: int = 32
    """The number of samples in a batch. The paper has 32."""

    weight_rate: float | None = None
    """The learning rate of the weights. By default 0.005 with --loss time, otherwise 0.01 as in
    the paper."""

    rate_decay: float = 1.0
    """The factor by which the learning rate is multiplied after each epoch. The paper keeps the
    rate constant."""

    input_dropout: float = 0.2
    """The probability that training drops an input spike. The program has 0.2; the paper does not
    mention it."""

    regulariser_strength: float | None = None
    """The strength of the regulariser of the hidden units' spike rates. By default 1e-8 with
    --loss time (in evsim's unit, which is that of the program), otherwise 0 as in the paper."""

    target_spikes: float = 4.0
    """The mean number of spikes per trial towards which the regulariser pulls each hidden unit.
    The paper has 4."""

    tau0: float | None = None
    """With --loss time, the time constant of the softmax over first spikes, in ms. By default 1
    as in the paper."""

    tau1: float | None = None
    """With --loss time, the time constant of the term that favours early spikes, in ms. By
    default 3 as in the paper."""

    alpha: float | None = None
    """With --loss time, the weight of the term that favours early spikes. By default 3.6e-4 as in
    the paper."""

    lambda_limit: float = np.inf
    """The largest |lambda_V| at a spike; inf computes the exact gradient, as the paper does."""

    def check(self) -> None:
        """Refuse settings that contradict each other."""
        self.check_classes(len(CLASS_NAMES))
        check_loss_numbers(
            self.loss, self.more_losses, tau0=self.tau0, tau1=self.tau1, alpha=self.alpha
        )

    @property
    def spiking_outputs(self) -> bool:
        """Whether the outputs are LIF units, as the loss of first spikes needs."""
        return self.loss == "time"

    def hyperparameters(self) -> Hyperparameters:
        """The numbers that depend on the loss: those given, and the paper's for the others."""
        if self.loss == "time":
            numbers = Hyperparameters(0.9, 0.03, 0.005, 1e-8, 1.0, 3.0, 3.6e-4)
        else:
            numbers = Hyperparameters(0.2, 0.37, 0.01, 0.0, None, None, None)
        return with_settings(numbers, self)


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
def data(settings: Settings) -> Parts:
    """The training, validation and test samples; no validation samples for a size of 0."""
    from evsim import data as datasets
    from evsim.data.splits import drawn_parts, only_classes

    training, test = datasets.mnist(
        settings.data, duration=settings.duration, download=settings.download
    )
    training, test = (only_classes(part, settings.classes) for part in (training, test))
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
        if settings.spiking_outputs
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
    """The chosen loss (L, equations 1, 2, 29 and section 4.1), and further terms."""
    return settings.with_further_terms(named_loss(settings.loss, **settings.loss_numbers()))


@helpful
@for_settings(Settings)
def optimizers(settings: Settings) -> dict[str, Optimizer]:
    """Adam on the weights."""
    from evsim.training.optimisers import Adam

    rate = settings.hyperparameters().weight_rate
    return {"weight": Adam(rate, decay=settings.rate_decay)}


def _fit_arguments(settings: Settings, training: Dataset) -> dict[str, Any]:
    strength = settings.hyperparameters().regulariser_strength
    regularisers = [RateRegulariser("hidden", strength, settings.target_spikes)]
    return {
        "duration": settings.duration,
        "epochs": settings.epochs,
        "batch_size": settings.batch_size,
        "regularisers": regularisers if strength else [],
        "dropout": {"input": settings.input_dropout} if settings.input_dropout else None,
        "lambda_limit": settings.lambda_limit,
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
    result: FitResult, settings: Settings, folder: str | Path, *, engine: str | Engine = "exact"
) -> list[Path]:
    """Draw learning, confusion, spikes and firing rates; return the files' paths."""
    names = class_names(settings)
    tested = Tested(data(settings)[2], loss(settings), settings.duration, names)
    return draw(result, network(settings), tested, folder, engine)


experiment = Experiment(
    name="mnist",
    description="Classify images of digits, each bright pixel given as one spike.",
    settings_type=Settings,
    data=data,
    network=network,
    loss=loss,
    optimizers=optimizers,
    class_names=class_names,
    fit_arguments=_fit_arguments,
    pictures=pictures,
)
