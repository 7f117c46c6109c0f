"""Sequence detection: tell the order of two spikes by learning only delays.

Two inputs spike 10 ms apart.  Input 0 spikes first in class 0, input 1 in class 1.  Each output
should be excited most by the sequence of its class.  It is, once its delays make the two spikes
arrive together (section 2.1 of D: Mészáros, Knight, Nowotny, *Efficient event-based delay learning
in spiking neural networks*).

The loss depends only on the difference of an output's two delays, not on each of them.  Training
for as long as in D brings them to 10 to 12 and 0 ms.  With a difference of 10 ms, the sequence of
its class excites an output most, but the loss is not smallest there: cross-entropy also rewards a
weaker response to the other sequence.  With the default settings, the minimum is at a difference of
12.2 ms, which longer training finds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

import numpy as np

from evsim.arguments.errors import ArgumentError
from evsim.arguments.keywords import helpful
from evsim.display.picture_target import for_files_only
from evsim.losses import CrossEntropy, Loss
from evsim.network.connections import Connection
from evsim.network.network import Network
from evsim.network.populations import LI, Input
from evsim.network.spike_trains import SpikeTrains
from evsim.readouts import Peak
from evsim.tasks.base import Experiment, RunOptions, for_settings
from evsim.tasks.pictures import draw_learning
from evsim.tasks.quick import QuickForm
from evsim.tasks.settings import ExperimentSettings

if TYPE_CHECKING:
    from evsim.data.dataset import Dataset
    from evsim.engines import Engine
    from evsim.training.fitting import Evaluation, FitResult
    from evsim.training.optimisers import Optimizer

CONNECTION = "input->output"


@helpful
@dataclass(frozen=True)
class Settings(ExperimentSettings):
    """The settings of a run of sequence detection.

    The paper is Mészáros, Knight, Nowotny, Efficient event-based delay learning in spiking
    neural networks, section 2.1. The program was published with it.
    """

    grid_step: ClassVar[float] = 1.0  # the program
    quick_form = QuickForm({})  # a run takes a second as it is

    interval: float = 10.0
    """The time between the two spikes in ms. The paper says 10."""

    initial_delay: float | None = None
    """The initial value of all delays in ms. By default the worst start, as in the paper; the
    program has 0."""

    duration: float = 40.0
    """The length of a trial in ms. The program has 25 in training and 40 in its plots."""
    # The last arrival possible, at 25, peaks at 32.  A trial that ends earlier cuts peaks off,
    # and then the loss also depends on how late the two spikes arrive together.

    tau_mem: float = 10.0
    """The membrane time constant in ms. The paper says 10."""

    tau_syn: float = 5.0
    """The synaptic time constant in ms. The paper says 5."""

    weight: float = 1.0
    """The weight of every synapse; weights are not learned. The paper says 1."""

    more_losses: tuple[str, ...] = ()
    """Further terms of the loss, each with a weight, such as 0.5*sum; none by default. Names are
    sum, sum_exp, linear, sigmoid, input, max and xent. The main loss is max."""

    delay_rate: float = 1.0
    """The learning rate of the delays in ms. The paper says 1."""

    delay_max: float = 15.0
    """The largest delay in ms. The program has 15."""

    epochs: int = 6
    """The number of times that each of the two sequences is shown. The paper says 6."""

    seed: int = 0
    """The seed of the order of the samples."""

    def check(self) -> None:
        """Refuse settings that contradict each other."""
        if not 0 < self.interval <= self.delay_max:
            raise ArgumentError(
                f"interval = {self.interval:g} ms: it must be > 0 and no longer than delay_max = "
                f"{self.delay_max:g} ms, or no delay can make up for it",
                "interval",
                "delay_max",
            )
        if not self.interval < self.duration:
            raise ArgumentError(
                f"duration = {self.duration:g} ms: it must be longer than interval = "
                f"{self.interval:g} ms",
                "duration",
                "interval",
            )


@helpful
@for_settings(Settings)
def network(settings: Settings) -> Network:
    """The network before training: 2 inputs, 2 LI outputs, equal weights."""
    if settings.initial_delay is None:
        delays = settings.interval * (1.0 - np.eye(2))
    else:
        delays = np.full((2, 2), settings.initial_delay)
    time_constants = {"tau_mem": settings.tau_mem, "tau_syn": settings.tau_syn}
    return Network(
        [Input("input", 2), LI("output", 2, **time_constants)],
        [Connection("input", "output", weight=settings.weight, delay=delays, name=CONNECTION)],
    )


@helpful
@for_settings(Settings)
def spikes(settings: Settings) -> SpikeTrains:
    """The two sequences: input 0 first in sample 0, input 1 first in sample 1."""
    late = settings.interval
    return SpikeTrains.from_latencies(np.array([[0.0, late], [late, 0.0]]))


@helpful
@for_settings(Settings)
def class_names(settings: Settings) -> tuple[str, ...]:
    """The name of each output's class."""
    return ("input 0 first", "input 1 first")


@helpful
@for_settings(Settings)
def data(settings: Settings) -> tuple[Dataset, Dataset, Dataset]:
    """The two sequences, which are training, validation and test samples alike."""
    from evsim.data.dataset import Dataset

    both = Dataset(spikes(settings), np.array([0, 1]))
    return both, both, both


@helpful
@for_settings(Settings)
def loss(settings: Settings) -> Loss:
    """Cross-entropy of the largest output voltages (L 29), and further terms."""
    return settings.with_further_terms(CrossEntropy(Peak()))


@helpful
@for_settings(Settings)
def optimizers(settings: Settings) -> dict[str, Optimizer]:
    """Adam on the delays; the weights stay as they are."""
    from evsim.training.optimisers import Adam

    return {"delay": Adam(settings.delay_rate)}


def _fit_arguments(settings: Settings, training: Dataset) -> dict[str, Any]:
    return {
        "duration": settings.duration,
        "epochs": settings.epochs,
        "batch_size": 1,
        "delay_max": settings.delay_max,
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
    """Test how well the network of the best epoch tells the two sequences apart."""
    return experiment.evaluate(result, settings, engine=engine)


@helpful
@for_settings(Settings)
@for_files_only()
def pictures(
    result: FitResult, settings: Settings, folder: str | Path, *, engine: str | Engine = "exact"
) -> list[Path]:
    """Draw learning, delays before and after training, and traces; return the files' paths."""
    from evsim import plotting
    from evsim.simulation.gradients import gradient

    folder = Path(folder)
    before = network(settings)
    paths = draw_learning(result, folder)
    figure = plotting.delay_matrices(
        {"before training": before, "after training": result.network}, CONNECTION
    )
    paths.append(plotting.save(figure, folder / "delays.png"))
    for name, shown in (("before", before), ("after", result.network)):
        outcome = gradient(
            shown, spikes(settings), [0, 1], loss(settings), settings.duration, engine=engine
        )
        figure = plotting.traces(outcome, {"output": [0, 1]}, sample=0)
        paths.append(plotting.save(figure, folder / f"traces_{name}.png"))
    return paths


experiment = Experiment(
    name="sequence",
    description="Tell the order of two spikes by learning delays alone.",
    settings_type=Settings,
    data=data,
    network=network,
    loss=loss,
    optimizers=optimizers,
    class_names=class_names,
    fit_arguments=_fit_arguments,
    pictures=pictures,
)
