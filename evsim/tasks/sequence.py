"""Sequence detection: tell the order of two spikes by learning delays alone.

Two inputs spike 10 ms apart, input 0 first in class 0 and input 1 first in class 1.  Each
output is to be excited most by the sequence of its class, which it is when its delays make
the two spikes arrive together (D section 2.1).

What the loss decides is the difference of an output's two delays, not each of them.  Training
as long as D does takes them to 10 to 12 and 0 ms.  At 10 ms the output's own sequence excites it
most, but that is not where the loss is least: cross-entropy also rewards pulling the other
sequence apart, and with the default settings its minimum lies at a difference of 12.2 ms,
which longer training finds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Unpack

import numpy as np

from evsim.arguments.keywords import helpful
from evsim.display.picture_target import for_files_only
from evsim.losses import CrossEntropy, Loss
from evsim.network.connections import Connection
from evsim.network.network import Network
from evsim.network.populations import LI, Input
from evsim.network.spike_trains import SpikeTrains
from evsim.readouts import Peak
from evsim.tasks.checking import check_ranges, check_types, for_settings
from evsim.tasks.running import RunOptions

if TYPE_CHECKING:
    from evsim.data.dataset import Dataset
    from evsim.engines import Engine
    from evsim.training.fitting import Evaluation, FitResult
    from evsim.training.optimisers import Adam

CONNECTION = "input->output"


@helpful
@dataclass(frozen=True)
class Settings:
    """Everything a run of sequence detection depends on, apart from the engine.

    Paper means Mészáros, Knight, Nowotny, Efficient event-based delay learning in spiking
    neural networks, section 2.1; program the program published with it.
    """

    grid_step: ClassVar[float] = 1.0  # ms (program)

    interval: float = 10.0
    """Time between the two spikes in ms. Paper: 10."""

    initial_delay: float | None = None
    """All delays in ms before training (program: 0); if not given the worst start (paper)."""

    duration: float = 40.0
    """Length of a trial in ms. Program: 25 in training, 40 in its plots."""
    # The last arrival possible, at 25, peaks at 32.  A trial that ends earlier cuts peaks off,
    # and then the loss also depends on how late the two spikes arrive together.

    tau_mem: float = 10.0
    """Membrane time constant in ms. Paper: 10."""

    tau_syn: float = 5.0
    """Synaptic time constant in ms. Paper: 5."""

    weight: float = 1.0
    """Weight of every synapse, not learned. Paper: 1."""

    delay_rate: float = 1.0
    """Learning rate of the delays in ms. Paper: 1."""

    delay_max: float = 15.0
    """Largest delay in ms. Program: 15."""

    epochs: int = 6
    """How often each of the two sequences is shown. Paper: 6."""

    seed: int = 0
    """Seed of the order of the samples."""

    def __post_init__(self) -> None:
        check_types(self)
        if not 0 < self.interval <= self.delay_max:
            raise ValueError(
                f"interval = {self.interval:g} ms: it must be > 0 and no longer than delay_max = "
                f"{self.delay_max:g} ms, or no delay can make up for it"
            )
        if not self.interval < self.duration:
            raise ValueError(
                f"duration = {self.duration:g} ms: it must be longer than interval = "
                f"{self.interval:g} ms"
            )
        check_ranges(self)


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
    """Cross-entropy of the largest output voltages (L 29)."""
    return CrossEntropy(Peak())


@helpful
@for_settings(Settings)
def optimizers(settings: Settings) -> dict[str, Adam]:
    """Adam on the delays; the weights stay as they are."""
    from evsim.training.optimisers import Adam

    return {"delay": Adam(settings.delay_rate)}


# -- running ------------------------------------------------------------------------------


@helpful
@for_settings(Settings)
def train(settings: Settings, **options: Unpack[RunOptions]) -> FitResult:
    """Train a network; the options are arguments of ``evsim.fit``, see ``RunOptions``."""
    from evsim.training.fitting import fit

    training, validation, _ = data(settings)
    return fit(
        network(settings),
        training,
        loss(settings),
        duration=settings.duration,
        optimizers=optimizers(settings),
        epochs=settings.epochs,
        batch_size=1,
        validation=validation,
        delay_max=settings.delay_max,
        seed=settings.seed,
        **options,
    )


@helpful
@for_settings(Settings)
def evaluate(
    result: FitResult, settings: Settings, *, engine: str | Engine = "exact"
) -> Evaluation:
    """How well the network of the best epoch tells the two sequences apart."""
    from evsim.training import fitting as training

    _, _, samples = data(settings)
    return training.evaluate(
        result.network, samples, loss(settings), settings.duration, engine=engine
    )


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
    paths = []
    if result.history:
        figure = plotting.learning_curve(result.history, result.best_epoch)
        paths.append(plotting.save(figure, folder / "learning.png"))
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
