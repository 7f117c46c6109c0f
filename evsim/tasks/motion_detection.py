"""Motion detection: tell the direction and the speed of a bar that passes over receptors.

Every class has a detector that receives input from all receptors, with a delay at every synapse.
It is excited most if its delays make up for the times at which the bar reaches the receptors, so
that all spikes arrive together.  These are the detectors of Barlow and Levick, *The mechanism of
directionally selective units in rabbit's retina* (1965), and of Reichardt, with more than two arms.
For a bar of velocity v, geometry requires the delays ``constant - x / v`` at the positions x.

The bar comes at a random time and crosses a random part of the row, so its class follows only from
the order of the spikes and the intervals between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Unpack

import numpy as np

from evsim.arguments.errors import ArgumentError
from evsim.arguments.keywords import helpful
from evsim.display.picture_target import for_files_only
from evsim.losses import CrossEntropy, Loss
from evsim.network.connections import Connection
from evsim.network.initialisers import Uniform
from evsim.network.network import Network
from evsim.network.populations import LI, Input
from evsim.readouts import Peak
from evsim.tasks.base import Experiment, RunOptions, for_settings
from evsim.tasks.of_time.moving_bar import Row, seen
from evsim.tasks.of_time.stimulus_settings import StimulusSettings, fit_arguments
from evsim.tasks.pictures import draw_confusion, draw_learning
from evsim.tasks.quick import QuickForm

if TYPE_CHECKING:
    from evsim.data.dataset import Dataset
    from evsim.engines import Engine
    from evsim.training.fitting import Evaluation, FitResult
    from evsim.training.optimisers import Optimizer

CONNECTION = "input->detectors"


# -- settings -----------------------------------------------------------------------------


@helpful
@dataclass(frozen=True)
class Settings(StimulusSettings):
    """The settings of a run of motion detection.

    Numbers were chosen by the accuracy on validation samples.
    """

    grid_step: ClassVar[float] = 0.1
    quick_form = QuickForm({})  # a run takes half a minute as it is
    in_order: ClassVar[tuple[tuple[str, str], ...]] = (
        ("start_min", "start_max"),
        ("initial_delay_min", "initial_delay_max"),
        ("initial_delay_max", "delay_max"),
    )

    speeds: tuple[float, ...] = (100.0, 200.0, 400.0)
    """The speeds in degrees per second. There is a class for each speed and direction."""

    receptors: int = 12
    """The number of receptors in the row."""

    spacing: float = 1.0
    """The distance from one receptor to the next, in degrees."""

    crossed: int = 6
    """The number of neighbouring receptors that a bar crosses. They are drawn anew for each
    trial."""

    off: bool = False
    """Receptors also signal the trailing edge when it reaches them, with units of their own."""

    bar_width: float = 2.0
    """The width of the bar in degrees, which determines when the trailing edge arrives."""

    start_min: float = 10.0
    """The earliest time at which the bar reaches the first receptor, in ms."""

    start_max: float = 30.0
    """The latest such time in ms. The time is drawn anew for each trial."""

    jitter: float = 1.0
    """The standard deviation of every spike's time, in ms."""

    train_size: int = 1200
    """The number of training samples."""

    validation_size: int = 600
    """The number of validation samples."""

    test_size: int = 1200
    """The number of test samples."""

    data_seed: int = 0
    """The seed of the data. Runs that differ only in --seed use the same samples."""

    # the network

    duration: float | None = None
    """The length of a trial in ms. By default a whole number of ms, long enough for the response to
    the last arrival to reach its peak."""

    tau_mem: float = 5.0
    """The membrane time constant in ms."""

    tau_syn: float = 2.5
    """The synaptic time constant in ms."""

    weight: float = 6.0
    """The initial weight of every synapse."""

    initial_delay_min: float = 50.0
    """The smallest initial delay in ms, if delays are learned."""

    initial_delay_max: float = 60.0
    """The largest initial delay in ms, if delays are learned."""

    delay_max: float = 120.0
    """The largest delay in ms."""

    # training

    delays: bool = True
    """Learn the delays. Otherwise all are 0, and only the weights are learned."""

    more_losses: tuple[str, ...] = ()
    """Further terms of the loss, each with a weight, such as 0.5*sum; none by default. Names are
    sum, sum_exp, linear, sigmoid, input, max and xent. The main loss is max."""

    epochs: int = 40
    """The number of passes through the training samples."""

    batch_size: int = 50
    """The number of samples in a batch."""

    delay_rate: float = 1.0
    """The learning rate of the delays in ms."""

    weight_rate: float = 0.02
    """The learning rate of the weights."""

    rate_decay: float = 0.97
    """The factor by which the learning rates are multiplied after each epoch."""

    seed: int = 0
    """The seed of the initial delays and of the order of the samples."""

    def check(self) -> None:
        """Refuse settings that contradict each other."""
        super().check()
        self._check_speeds()
        if not 2 <= self.crossed <= self.receptors:
            raise ArgumentError(
                f"crossed = {self.crossed}: a bar must cross at least 2 receptors, and there are "
                f"receptors = {self.receptors}",
                "crossed",
                "receptors",
            )
        if not self.start_min >= 6.0 * self.jitter:
            raise ArgumentError(
                f"start_min = {self.start_min:g} ms: it must be at least {6 * self.jitter:g} ms, "
                "six times the jitter, so that no spike comes before the trial",
                "start_min",
                "jitter",
            )

    def _check_speeds(self) -> None:
        """Refuse speeds that do not define classes, and those that delays cannot make up for."""
        if not self.speeds or not all(0 < speed < np.inf for speed in self.speeds):
            raise ArgumentError(f"speeds = {self.speeds}: each must be finite and > 0", "speeds")
        if len(set(self.speeds)) < len(self.speeds):
            raise ArgumentError(f"speeds = {self.speeds}: give each once", "speeds")
        slowest = 1000.0 * self.spacing * (self.crossed - 1) / min(self.speeds)
        if self.delays and not slowest <= self.delay_max:
            raise ArgumentError(
                f"delay_max = {self.delay_max:g} ms: with speeds = {self.speeds} and spacing = "
                f"{self.spacing:g} degrees the slowest bar takes {slowest:g} ms for the receptors "
                "that it crosses, and no shorter delay can make up for that",
                "delay_max",
                "speeds",
                "spacing",
            )

    @property
    def row(self) -> Row:
        """The receptors."""
        return Row(self.receptors, self.spacing, self.bar_width if self.off else None)

    @property
    def velocities(self) -> np.ndarray:
        """The velocity of each class in degrees per second: to the right, then to the left."""
        return np.array([*self.speeds, *(-speed for speed in self.speeds)])

    @property
    def long_enough(self) -> float:
        """The length in ms of a trial that includes the peak after the last arrival."""
        way = self.spacing * (self.crossed - 1) + (self.bar_width if self.off else 0.0)
        latest = self.start_max + 1000.0 * way / min(self.speeds) + 6.0 * self.jitter
        longest = self.delay_max if self.delays else 0.0
        return latest + longest + 3.0 * self.tau_mem


# -- the data -----------------------------------------------------------------------------


@helpful
@for_settings(Settings)
def samples(settings: Settings, split: str) -> Dataset:
    """The samples of "train", "validation" or "test"; sample i is of class i mod classes.

    Each split has a random stream of its own.
    """
    from evsim.data.dataset import Dataset

    size, generator = settings.split(split)
    classes = np.arange(size) % settings.velocities.size
    spikes = seen(
        settings.row,
        settings.velocities[classes],
        generator.integers(0, settings.receptors - settings.crossed + 1, size),
        generator.uniform(settings.start_min, settings.start_max, size),
        crossed=settings.crossed,
        jitter=settings.jitter,
        generator=generator,
    )
    return Dataset(spikes, classes)


@helpful
@for_settings(Settings)
def data(settings: Settings) -> tuple[Dataset, Dataset, Dataset]:
    """The training, validation and test samples."""
    return samples(settings, "train"), samples(settings, "validation"), samples(settings, "test")


@helpful
@for_settings(Settings)
def class_names(settings: Settings) -> tuple[str, ...]:
    """The name of each output's class, such as "right 100"."""
    return tuple(
        f"{direction} {speed:g}" for direction in ("right", "left") for speed in settings.speeds
    )


# -- the network and its training ---------------------------------------------------------


@helpful
@for_settings(Settings)
def network(settings: Settings) -> Network:
    """The network before training: the receptors, and an LI unit for each class."""
    classes, units = settings.velocities.size, settings.row.units
    delay = Uniform(settings.initial_delay_min, settings.initial_delay_max)
    return Network(
        [
            Input("input", units),
            LI("detectors", classes, tau_mem=settings.tau_mem, tau_syn=settings.tau_syn),
        ],
        [
            Connection(
                "input",
                "detectors",
                weight=np.full((classes, units), settings.weight),
                delay=delay if settings.delays else 0.0,
                name=CONNECTION,
            )
        ],
        seed=settings.seed,
    )


@helpful
@for_settings(Settings)
def loss(settings: Settings) -> Loss:
    """Cross-entropy of the largest voltages of the detectors, and further terms."""
    return settings.with_further_terms(CrossEntropy(Peak()))


@helpful
@for_settings(Settings)
def optimizers(settings: Settings) -> dict[str, Optimizer]:
    """Adam on the weights, and on the delays if they are learned."""
    from evsim.training.optimisers import Adam

    chosen: dict[str, Optimizer] = {"weight": Adam(settings.weight_rate, decay=settings.rate_decay)}
    if settings.delays:
        chosen["delay"] = Adam(settings.delay_rate, decay=settings.rate_decay)
    return chosen


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
@for_files_only()
def pictures(
    result: FitResult, settings: Settings, folder: str | Path, *, engine: str | Engine = "exact"
) -> list[Path]:
    """Draw learning, confusion, and the delays if they were learned; return the files' paths."""
    from evsim import plotting
    from evsim.tasks.of_time.bar_pictures import delay_lines

    folder = Path(folder)
    paths = draw_learning(result, folder)
    outcome = experiment.test(result.network, samples(settings, "test"), settings, engine)
    names = class_names(settings)
    paths.append(draw_confusion(outcome, names, folder))
    if settings.delays:
        trained = result.network.parameters
        figure = delay_lines(
            settings.row,
            settings.velocities,
            np.asarray(trained[f"{CONNECTION}.delay"]),
            np.asarray(trained[f"{CONNECTION}.weight"]),
            names,
        )
        paths.append(plotting.save(figure, folder / "delays.png"))
    return paths


experiment = Experiment(
    name="motion-detection",
    description="Tell the direction and the speed of a bar that passes over receptors.",
    settings_type=Settings,
    data=data,
    network=network,
    loss=loss,
    optimizers=optimizers,
    class_names=class_names,
    fit_arguments=fit_arguments,
    pictures=pictures,
)
