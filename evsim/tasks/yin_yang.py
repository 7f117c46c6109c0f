"""Yin-Yang: classify points of the Yin-Yang figure, given as four spike times.

The network and its training are those of section 2.2, Table 2 and Figure 4 of D.  Where the
table and the program published with D disagree, the setting says which one its default follows.
Where the default follows neither, it was chosen by validation accuracy.

D is Mészáros, Knight, Nowotny, *Efficient event-based delay learning in spiking neural networks*;
L is Nowotny, Turner, Knight, *Loss shaping enhances exact gradient learning with EventProp*;
W is Wunderlich, Pehle, *Event-based backpropagation can compute exact gradients for spiking neural
networks*.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Unpack

import numpy as np

from evsim.arguments.errors import ArgumentError
from evsim.arguments.keywords import helpful
from evsim.display.picture_target import for_files_only
from evsim.losses import Loss
from evsim.losses.regularisers import RateRegulariser
from evsim.network.connections import Connection
from evsim.network.initialisers import Constant, Normal
from evsim.network.network import Network
from evsim.network.populations import LIF, Input
from evsim.network.spike_trains import SpikeTrains
from evsim.tasks.base import Experiment, RunOptions, for_settings
from evsim.tasks.named_losses import check_loss_numbers, named_loss
from evsim.tasks.pictures import draw_learning
from evsim.tasks.quick import QuickForm
from evsim.tasks.settings import SPLITS, GeneratedSettings, HiddenUnitSettings
from evsim.tasks.yin_yang_figure import (
    BIG_RADIUS,
    CLASS_NAMES,
    SMALL_RADIUS,
    checked_points,
    classify,
    draw_points,
)

if TYPE_CHECKING:
    from evsim.data.dataset import Dataset
    from evsim.engines import Engine
    from evsim.training.fitting import Evaluation, FitResult
    from evsim.training.optimisers import Optimizer

__all__ = [
    "BIG_RADIUS",
    "CLASS_NAMES",
    "SMALL_RADIUS",
    "Settings",
    "class_names",
    "classify",
    "data",
    "draw_points",
    "encode",
    "evaluate",
    "loss",
    "network",
    "optimizers",
    "pictures",
    "points_and_classes",
    "predict",
    "train",
]


# -- settings -----------------------------------------------------------------------------

FEW_UNITS = 10
"""With fewer hidden units all of them may fall silent if nothing favours early spikes."""


@helpful
@dataclass(frozen=True)
class Settings(HiddenUnitSettings, GeneratedSettings):
    """The settings of a Yin-Yang run.

    D is Mészáros, Knight, Nowotny, Efficient event-based delay learning in spiking neural
    networks; L is Nowotny, Turner, Knight, Loss shaping enhances exact gradient learning with
    EventProp. The program of D was published with the paper.
    """

    grid_step: ClassVar[float] = 0.01  # Table 2 of D; its program: 0.005 and 0.01, by size
    quick_form = QuickForm({"epochs": 40, "rate_decay": 0.9})

    hidden: int = 30
    """The number of hidden units. Table 2 of D has 30, 25, 20, 15, 10 and 5."""

    delays: bool = False
    """Learn the delays of the synapses from the inputs to the hidden units."""

    output_delays: bool = True
    """With --delays, also learn the delays from the hidden to the output units. The program of D
    does not."""

    seed: int = 0
    """The seed of the initial weights and of the order of the samples."""

    # the data

    data_seed: int = 0
    """The seed of the data. Runs that differ only in --seed use the same points."""

    train_size: int = 5000
    """The number of training samples. Table 2 of D says 5000."""

    validation_size: int = 1000
    """The number of validation samples. Table 2 of D says 1000."""

    test_size: int = 1000
    """The number of test samples. Table 2 of D says 1000."""

    early: float = 1.5
    """The time at which an input of value 0 spikes, in ms. Table 2 of D says 1.5."""

    late: float = 20.0
    """The time at which an input of value 1 spikes, in ms. Table 2 of D says 20."""

    # the network

    duration: float = 40.0
    """The length of a trial in ms. In the program of D, trials end at 20 ms, with the latest
    input spike."""

    tau_mem: float = 20.0
    """The membrane time constant in ms. Table 2 of D says 20."""

    tau_syn: float = 10.0
    """The synaptic time constant in ms. Table 2 of D and its program say 5."""
    # Times and delta were scaled from a model with tau_syn = tau_mem / 2.  At 5 ms the initial
    # weights of the table reach the threshold only with three or four inputs together, and
    # hidden units fall silent one after the other as they learn.

    refractory: float = np.inf
    """The refractory period of hidden units in ms; with inf, each spikes at most once a trial.
    Table 2 of D says 0."""

    hidden_weight_mean: float = 2.0
    """The mean of the initial weights from the inputs to the hidden units. Table 2 of D says 2.0,
    the program 1.0."""

    hidden_weight_deviation: float = 0.78
    """The standard deviation of these weights. Table 2 of D says 0.78, the program 1.0."""

    output_weight_mean: float = 0.93
    """The mean of the initial weights from the hidden to the output units. Table 2 of D says
    0.93, the program 1.0."""

    output_weight_deviation: float = 0.1
    """The standard deviation of these weights. Table 2 of D says 0.1, the program 1.0."""

    initial_delay: float | None = None
    """The initial value of delays that are learned, in ms. By default half of delay_max, so that a
    delay can become shorter as well as longer; 0 if delay_max is inf. Table 2 of D says 0."""

    delay_max: float = 10.0
    """The largest delay in ms. The program of D has 1000 time steps, which are 5 or 10 ms."""

    # training

    loss: Literal["time", "time_invariant"] = "time"
    """The loss of the first output spikes: cross-entropy (time), or the squared error of the
    differences from the first spike of the true class (time_invariant). D has time_invariant."""

    tau0: float = 0.2
    """With the loss time, the time constant of the softmax over first spikes, in ms."""

    tau1: float = 6.4
    """With the loss time, the time constant of the term that favours early spikes, in ms."""

    alpha: float | None = None
    """With the loss time, the weight of the term that favours early spikes. By default 0.003 with
    fewer than 10 hidden units, unless the delays of both layers are learned; otherwise 0."""
    # The softmax does not change if all first spikes come later by the same time.  Without this
    # term, spikes of the smallest networks come later and later, until they do not come at all.

    delta: float = 2.0
    """With the loss time_invariant, how much earlier than the other outputs the output of the true
    class should spike, in ms. Table 2 of D says 2.0."""

    more_losses: tuple[str, ...] = ()
    """Further terms of the loss, each with a weight, such as 0.1*time; none by default. Names are
    time and time_invariant, of first spikes, whose arguments may follow, as in 0.1*time(tau0=2);
    and sum, sum_exp, linear, sigmoid, input and xent, of output voltages."""

    epochs: int = 200
    """The number of passes through the training samples. The program of D has 300."""

    batch_size: int = 150
    """The number of samples in a batch. The program of D has 150."""

    weight_rate: float = 0.03
    """The learning rate of the weights. Table 2 of D says 0.001, the program 0.005 to 0.02,
    depending on the number of hidden units."""

    delay_rate: float | None = None
    """The learning rate of the delays in ms. By default 0.3. Table 2 of D says 0.01, the program
    0.03 to 0.05."""

    rate_decay: float = 0.02 ** (1 / 200)
    """The factor by which the learning rates are multiplied after each epoch. By default 0.98, so
    that they fall to a fiftieth in 200 epochs. Table 2 of D says 0.998, the program 0.9975."""

    silent_lift: float = 0.0
    """The amount added, after each epoch, to the incoming weights of hidden units that never
    spiked in it. By default 0. Section 4.5 of L says 0.002; D has no such lift."""

    existence: float = 1.0
    """The strength of the term that pulls hidden units that are silent in a batch to their
    threshold, evsim.losses.Existence; 0 for none. D and L have no such term."""

    regulariser_strength: float = 0.0
    """The strength of the regulariser of the hidden units' spike rates. By default 0: none, as in
    D."""

    target_spikes: float = 1.0
    """The mean number of spikes per trial towards which the regulariser pulls each hidden
    unit."""

    def check(self) -> None:
        """Refuse settings that contradict each other."""
        super().check()
        changed = {
            name: None if getattr(self, name) == getattr(Settings, name) else getattr(self, name)
            for name in ("tau0", "tau1", "alpha", "delta")
        }
        check_loss_numbers(self.loss, self.more_losses, **changed)
        if not 0 <= self.early < self.late <= self.duration:
            raise ArgumentError(
                f"early = {self.early:g}, late = {self.late:g} and duration = {self.duration:g} "
                "ms: they must satisfy 0 <= early < late <= duration",
                "early",
                "late",
                "duration",
            )
        if not 0 <= (self.initial_delay or 0.0) <= self.delay_max:
            raise ArgumentError(
                f"initial_delay = {self.initial_delay:g} ms: it must be within 0 and delay_max = "
                f"{self.delay_max:g} ms",
                "initial_delay",
                "delay_max",
            )
        if not self.delays:
            given = {name: getattr(self, name) for name in ("delay_rate", "initial_delay")}
            given = {name: value for name, value in given.items() if value}
            if self.delay_max != Settings.delay_max:
                given["delay_max"] = self.delay_max
            for name, value in given.items():
                raise ArgumentError(
                    f"{name} = {value:g} ms is given but no delays are learned: set delays, or "
                    f"leave {name} out",
                    name,
                    "delays",
                )

    @property
    def spiking_outputs(self) -> bool:
        """Whether the outputs are LIF units: they are."""
        return True

    @property
    def learns_output_delays(self) -> bool:
        """Whether the delays from the hidden to the output units are learned."""
        return self.delays and self.output_delays

    @property
    def start_of_delays(self) -> float:
        """The initial value of delays that are learned, in ms."""
        if self.initial_delay is not None:
            return self.initial_delay
        return 0.5 * self.delay_max if np.isfinite(self.delay_max) else 0.0

    def loss_numbers(self) -> dict[str, float | None]:
        """The arguments of the losses."""
        numbers = super().loss_numbers()
        if self.alpha is None:
            may_fall_silent = self.hidden < FEW_UNITS and not self.learns_output_delays
            numbers["alpha"] = 0.003 if may_fall_silent else 0.0
        return numbers

    def learning_rates(self) -> dict[str, float]:
        """The learning rate of "weight" and, in ms, of "delay" where delays are learned."""
        rates = {"weight": self.weight_rate}
        if self.delays:
            rates["delay"] = 0.3 if self.delay_rate is None else self.delay_rate
        return rates


# -- the data -----------------------------------------------------------------------------


@helpful
@for_settings(Settings)
def encode(points: np.ndarray, settings: Settings) -> SpikeTrains:
    """Spike trains of four inputs, one spike each: x, y, 1 - x and 1 - y as latencies.

    ``points`` has shape (batch, 2), in the unit square.
    """
    points = checked_points(points)
    outside = ~((points >= 0) & (points <= 1))
    if outside.any():
        place = int(np.argmax(outside.any(axis=1)))
        raise ValueError(f"points[{place}] = {points[place]}: give points of the unit square")
    values = np.hstack([points, 1.0 - points])
    return SpikeTrains.from_latencies(settings.early + (settings.late - settings.early) * values)


@helpful
@for_settings(Settings)
def points_and_classes(settings: Settings, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Points, shape (samples, 2), and classes, (samples,), of "train", "validation" or "test".

    Each split has a random stream of its own, so its points do not depend on the sizes of the
    others.
    """
    return draw_points(*settings.split(split))


@helpful
@for_settings(Settings)
def data(settings: Settings) -> tuple[Dataset, Dataset, Dataset]:
    """The training, validation and test samples."""
    from evsim.data.dataset import Dataset

    splits = []
    for split in SPLITS:
        points, classes = points_and_classes(settings, split)
        splits.append(Dataset(encode(points, settings), classes))
    return splits[0], splits[1], splits[2]


@helpful
@for_settings(Settings)
def class_names(settings: Settings) -> tuple[str, ...]:
    """The name of each output's class."""
    return CLASS_NAMES


# -- the network and its training ---------------------------------------------------------


@helpful
@for_settings(Settings)
def network(settings: Settings) -> Network:
    """The network before training: 4 inputs, one hidden LIF layer, 3 LIF outputs."""
    time_constants = {"tau_mem": settings.tau_mem, "tau_syn": settings.tau_syn}

    def initial_delay(learned: bool) -> Constant | float:
        return Constant(settings.start_of_delays) if learned else 0.0

    return Network(
        [
            Input("input", 4),
            LIF("hidden", settings.hidden, **time_constants, refractory=settings.refractory),
            # One spike a trial: later ones change neither this loss nor its gradient.
            LIF("output", len(CLASS_NAMES), **time_constants, refractory=np.inf),
        ],
        [
            Connection(
                "input",
                "hidden",
                weight=Normal(settings.hidden_weight_mean, settings.hidden_weight_deviation),
                delay=initial_delay(settings.delays),
            ),
            Connection(
                "hidden",
                "output",
                weight=Normal(settings.output_weight_mean, settings.output_weight_deviation),
                delay=initial_delay(settings.learns_output_delays),
            ),
        ],
        seed=settings.seed,
    )


@helpful
@for_settings(Settings)
def loss(settings: Settings) -> Loss:
    """The chosen loss of first output spikes (W 3 or D 71), and further terms."""
    return settings.with_further_terms(named_loss(settings.loss, **settings.loss_numbers()))


@helpful
@for_settings(Settings)
def optimizers(settings: Settings) -> dict[str, Optimizer]:
    """Adam on the weights and on those delays that are learned."""
    from evsim.training.optimisers import Adam

    rates = settings.learning_rates()
    chosen: dict[str, Optimizer] = {"weight": Adam(rates["weight"], decay=settings.rate_decay)}
    for name, learned in (
        ("input->hidden.delay", settings.delays),
        ("hidden->output.delay", settings.learns_output_delays),
    ):
        if learned:
            chosen[name] = Adam(rates["delay"], decay=settings.rate_decay)
    return chosen


def _fit_arguments(settings: Settings, training: Dataset) -> dict[str, Any]:
    strength = settings.regulariser_strength
    regularisers = [RateRegulariser("hidden", strength, settings.target_spikes)]
    return {
        "duration": settings.duration,
        "epochs": settings.epochs,
        "batch_size": settings.batch_size,
        "delay_max": settings.delay_max if settings.delays else np.inf,
        "silent_lift": settings.silent_lift,
        "regularisers": regularisers if strength else [],
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
def predict(
    network: Network, points: np.ndarray, settings: Settings, *, engine: str | Engine = "exact"
) -> np.ndarray:
    """The class that a network assigns to each point, shape (points,); -1 if no output spikes.

    ``points`` has shape (points, 2), in the unit square.
    """
    from evsim.simulation.run import simulate

    run = simulate(network, encode(points, settings), settings.duration, engine)
    chosen = loss(settings)
    return chosen.predict(run.read(chosen.readout))


@helpful
@for_settings(Settings)
@for_files_only()
def pictures(
    result: FitResult,
    settings: Settings,
    folder: str | Path,
    *,
    engine: str | Engine = "exact",
    resolution: int = 150,
) -> list[Path]:
    """Draw learning, decisions, delays, spikes and traces; return the files' paths.

    ``resolution`` is the number of points of the decision map along each side.
    """
    from evsim import plotting
    from evsim.simulation.gradients import gradient

    folder = Path(folder)
    after = result.network
    points, classes = points_and_classes(settings, "test")
    paths = draw_learning(result, folder)

    ax = plotting.decision_map(
        lambda some: predict(after, some, settings, engine=engine),
        points,
        classes,
        CLASS_NAMES,
        inside=lambda some: classify(some) >= 0,
        resolution=resolution,
    )
    paths.append(plotting.save(ax.figure, folder / "decisions.png"))

    before = network(settings)
    for connection, learned in (
        ("input->hidden", settings.delays),
        ("hidden->output", settings.learns_output_delays),
    ):
        if learned:
            ax = plotting.delay_histogram(before, after, connection)
            name = f"delays_{connection.replace('->', '_')}.png"
            paths.append(plotting.save(ax.figure, folder / name))

    shown = np.array([int(np.argmax(classes == label)) for label in np.unique(classes)])
    outcome = gradient(
        after,
        encode(points[shown], settings),
        classes[shown],
        loss(settings),
        settings.duration,
        engine=engine,
    )
    names = [CLASS_NAMES[label] for label in classes[shown]]
    figure = plotting.rasters(outcome.run, range(len(shown)), names)
    paths.append(plotting.save(figure, folder / "spikes.png"))
    adjoints = outcome.lambda_I("hidden", np.linspace(0.0, settings.duration, 1000))
    largest = np.abs(adjoints).max(axis=2)
    sample, unit = (int(i) for i in np.unravel_index(np.argmax(largest), largest.shape))
    units = {"hidden": [unit], "output": [int(classes[shown[sample]])]}
    figure = plotting.traces(outcome, units, sample=sample)
    paths.append(plotting.save(figure, folder / "traces.png"))
    return paths


experiment = Experiment(
    name="yin-yang",
    description="Classify points of the Yin-Yang figure, given as four spike times.",
    settings_type=Settings,
    data=data,
    network=network,
    loss=loss,
    optimizers=optimizers,
    class_names=class_names,
    fit_arguments=_fit_arguments,
    pictures=pictures,
)
