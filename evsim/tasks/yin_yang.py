"""Yin-Yang: classify points of the Yin-Yang figure, given as four spike times.

The data are those of Kriener, Göltz, Petrovici, *The Yin-Yang dataset* (NICE 2022); the
network and its training are those of D section 2.2, Table 2 and Figure 4.  Where the table and
the program published with D disagree, the setting says which one its default follows; where
it follows neither, it was chosen by validation accuracy.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

import numpy as np

from evsim.arguments.checks import check_choice, check_is, checked_count, real_array, shown
from evsim.arguments.keywords import helpful
from evsim.display.picture_target import for_files_only
from evsim.losses import Loss, TimeInvariantMSE
from evsim.network.connections import Connection
from evsim.network.initialisers import Constant, Normal
from evsim.network.network import Network
from evsim.network.populations import LIF, Input
from evsim.network.spike_trains import SpikeTrains
from evsim.tasks.checking import check_ranges, check_types, for_settings
from evsim.tasks.running import RunOptions

if TYPE_CHECKING:
    from evsim.data.dataset import Dataset
    from evsim.engines import Engine
    from evsim.training.fitting import Evaluation, FitResult
    from evsim.training.optimisers import Adam

CLASS_NAMES = ("yin", "yang", "dots")


# -- the figure ---------------------------------------------------------------------------

SMALL_RADIUS = 0.1
"""Radius of the two dots."""

BIG_RADIUS = 0.5
"""Radius of the figure, which fills the unit square."""


@helpful
def classify(points: np.ndarray) -> np.ndarray:
    """Class of each point of the unit square: 0, 1, 2 for yin, yang, dots; -1 outside the figure.

    ``points`` has shape (points, 2), the result (points,).  Yang is the upper half without the
    right lobe, with the left lobe; yin is the rest; the dots are the centres of both lobes.
    """
    x, y = _checked_points(points).T
    to_left = np.hypot(x - 0.5 * BIG_RADIUS, y - BIG_RADIUS)
    to_right = np.hypot(x - 1.5 * BIG_RADIUS, y - BIG_RADIUS)
    lobe = 0.5 * BIG_RADIUS
    classes = np.where(y > BIG_RADIUS, to_right > lobe, to_left <= lobe).astype(np.int64)
    classes[np.minimum(to_left, to_right) < SMALL_RADIUS] = 2
    classes[np.hypot(x - BIG_RADIUS, y - BIG_RADIUS) > BIG_RADIUS] = -1
    return classes


def _checked_points(points: Any) -> np.ndarray:
    """Points as float64, shape (points, 2)."""
    array = real_array(points, "points")
    if array.ndim != 2 or array.shape[1] != 2:
        raise TypeError(f"points = {shown(points)}: give an array of numbers, shape (points, 2)")
    return array.astype(np.float64)


@helpful
def draw_points(size: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points of the figure, shape (size, 2), uniform in each class, and their classes, (size,).

    Sample i is of class i mod 3, so that the classes are balanced as exactly as they can be
    (the published generator draws the class of each sample, which balances it on average).
    """
    size = checked_count(size, "size", 0, 2**31)
    check_is(generator, "generator", np.random.Generator, "give numpy.random.default_rng(seed)")
    classes = np.arange(size) % len(CLASS_NAMES)
    points = np.empty((size, 2))
    missing = np.ones(size, bool)
    while missing.any():
        candidates = generator.random((4 * size + 64, 2)) * 2.0 * BIG_RADIUS
        found = classify(candidates)
        for label in range(len(CLASS_NAMES)):
            places = np.flatnonzero(missing & (classes == label))
            fitting = candidates[found == label][: places.size]
            points[places[: len(fitting)]] = fitting
            missing[places[: len(fitting)]] = False
    return points, classes


# -- settings -----------------------------------------------------------------------------


@helpful
@dataclass(frozen=True)
class Settings:
    """Everything a Yin-Yang run depends on, apart from the engine.

    Table means Table 2 of Mészáros, Knight, Nowotny, Efficient event-based delay learning in
    spiking neural networks; program the program published with it.
    """

    grid_step: ClassVar[float] = 0.01  # ms (table; program: 0.005 and 0.01, by size)

    hidden: int = 30
    """Number of hidden units. Table: 30, 25, 20, 15, 10 and 5."""

    delays: bool = False
    """Learn the delays of the synapses from the inputs to the hidden units."""

    output_delays: bool = False
    """Learn the delays from the hidden to the output units too. Not in the program."""

    seed: int = 0
    """Seed of the initial weights and of the order of the samples."""

    # the data

    data_seed: int = 0
    """Seed of the data; runs with different seeds see the same points unless it is changed."""

    train_size: int = 5000
    """Training samples. Table: 5000."""

    validation_size: int = 1000
    """Validation samples. Table: 1000."""

    test_size: int = 1000
    """Test samples. Table: 1000."""

    early: float = 1.5
    """Spike time of an input of value 0, in ms. Table: 1.5."""

    late: float = 20.0
    """Spike time of an input of value 1, in ms. Table: 20."""

    # the network

    duration: float = 40.0
    """Length of a trial in ms. The program stops at 20, with the latest input spike."""

    tau_mem: float = 20.0
    """Membrane time constant in ms. Table: 20."""

    tau_syn: float = 10.0
    """Synaptic time constant in ms. Table and program: 5."""
    # Times and delta were scaled from a model with tau_syn = tau_mem / 2.  At 5 ms the initial
    # weights of the table reach the threshold only with three or four inputs together, and
    # hidden units fall silent one after the other as they learn.

    refractory: float = np.inf
    """Refractory period of hidden units in ms; inf for one spike a trial. Table: 0."""

    hidden_weight_mean: float = 2.0
    """Mean of the initial weights from input to hidden. Table: 2.0; program: 1.0."""

    hidden_weight_deviation: float = 0.78
    """Standard deviation of the same. Table: 0.78; program: 1.0."""

    output_weight_mean: float = 0.93
    """Mean of the initial weights from hidden to output. Table: 0.93; program: 1.0."""

    output_weight_deviation: float = 0.1
    """Standard deviation of the same. Table: 0.1; program: 1.0."""

    initial_delay: float = 0.0
    """Delays that are learned start here, in ms. Table: 0."""

    delay_max: float = 10.0
    """Largest delay in ms. Program: 1000 steps, 5 to 10 ms."""

    # training

    delta: float = 2.0
    """By how many ms the true class is to spike before the others. Table: 2.0."""

    epochs: int = 300
    """Passes through the training samples. Program: 300."""

    batch_size: int = 150
    """Samples of a batch. Program: 150."""

    weight_rate: float | None = None
    """Learning rate of the weights; if not given 0.03 with delays, and without them 0.02 up to 15
    hidden units and 0.01 above. Table: 0.001; program: 0.005 to 0.02, by size."""

    delay_rate: float | None = None
    """Learning rate of the delays in ms; if not given 0.3. Table: 0.01; program: 0.03 to 0.05."""

    rate_decay: float = 0.99
    """Factor on the learning rates after each epoch. Table: 0.998; program: 0.9975."""

    silent_lift: float = 0.02
    """Added after each epoch to the incoming weights of hidden units that were silent in all of
    it. L section 4.5: 0.002; table and program: none."""

    def __post_init__(self) -> None:
        check_types(self)
        if self.validation_size < 1:
            raise ValueError(f"validation_size = {self.validation_size}: it must be at least 1")
        if not 0 <= self.early < self.late <= self.duration:
            raise ValueError(
                f"early = {self.early:g}, late = {self.late:g} and duration = {self.duration:g} "
                "ms: they must satisfy 0 <= early < late <= duration"
            )
        if not 0 <= self.initial_delay <= self.delay_max:
            raise ValueError(
                f"initial_delay = {self.initial_delay:g} ms: it must be within 0 and delay_max = "
                f"{self.delay_max:g} ms"
            )
        if not self.learns_delays:
            for name in ("delay_rate", "initial_delay"):
                if getattr(self, name):
                    raise ValueError(
                        f"{name} = {getattr(self, name):g} ms is given but no delays are learned: "
                        f"set delays or output_delays, or leave {name} out"
                    )
        check_ranges(self)

    @property
    def learns_delays(self) -> bool:
        """Whether any delays are learned."""
        return self.delays or self.output_delays

    def learning_rates(self) -> dict[str, float]:
        """Learning rate of "weight" and, in ms, of "delay"."""
        weight = 0.03 if self.learns_delays else 0.02 if self.hidden <= 15 else 0.01
        rates = {"weight": weight if self.weight_rate is None else self.weight_rate}
        if self.learns_delays:
            rates["delay"] = 0.3 if self.delay_rate is None else self.delay_rate
        return rates


# -- data, network, loss ------------------------------------------------------------------


@helpful
@for_settings(Settings)
def encode(points: np.ndarray, settings: Settings) -> SpikeTrains:
    """Spike trains of four inputs, one spike each: x, y, 1 - x and 1 - y as latencies.

    ``points`` has shape (batch, 2), in the unit square.
    """
    points = _checked_points(points)
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

    Each split has its own random stream, so its points do not depend on the others' sizes.
    """
    check_choice(split, "split", ("train", "validation", "test"))
    stream = np.random.SeedSequence(settings.data_seed, spawn_key=(zlib.crc32(split.encode()),))
    return draw_points(getattr(settings, f"{split}_size"), np.random.default_rng(stream))


@helpful
@for_settings(Settings)
def data(settings: Settings) -> tuple[Dataset, Dataset, Dataset]:
    """The training, validation and test samples."""
    from evsim.data.dataset import Dataset

    splits = []
    for split in ("train", "validation", "test"):
        points, classes = points_and_classes(settings, split)
        splits.append(Dataset(encode(points, settings), classes))
    return splits[0], splits[1], splits[2]


@helpful
@for_settings(Settings)
def class_names(settings: Settings) -> tuple[str, ...]:
    """The name of each output's class."""
    return CLASS_NAMES


@helpful
@for_settings(Settings)
def network(settings: Settings) -> Network:
    """The network before training: 4 inputs, one hidden LIF layer, 3 LIF outputs."""
    time_constants = {"tau_mem": settings.tau_mem, "tau_syn": settings.tau_syn}

    def initial_delay(learned: bool) -> Constant | float:
        return Constant(settings.initial_delay) if learned else 0.0

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
                delay=initial_delay(settings.output_delays),
            ),
        ],
        seed=settings.seed,
    )


@helpful
@for_settings(Settings)
def loss(settings: Settings) -> Loss:
    """The time-invariant squared error of the first output spikes (D 71)."""
    return TimeInvariantMSE(delta=settings.delta)


@helpful
@for_settings(Settings)
def optimizers(settings: Settings) -> dict[str, Adam]:
    """Adam on the weights and on those delays that are learned."""
    from evsim.training.optimisers import Adam

    rates = settings.learning_rates()
    chosen = {"weight": Adam(rates["weight"], decay=settings.rate_decay)}
    for name, learned in (
        ("input->hidden.delay", settings.delays),
        ("hidden->output.delay", settings.output_delays),
    ):
        if learned:
            chosen[name] = Adam(rates["delay"], decay=settings.rate_decay)
    return chosen


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
        batch_size=settings.batch_size,
        validation=validation,
        delay_max=settings.delay_max if settings.learns_delays else np.inf,
        silent_lift=settings.silent_lift,
        seed=settings.seed,
        **options,
    )


@helpful
@for_settings(Settings)
def evaluate(
    result: FitResult, settings: Settings, *, engine: str | Engine = "exact"
) -> Evaluation:
    """How well the network of the best epoch does on the test samples."""
    from evsim.training import fitting as training

    _, _, samples = data(settings)
    return training.evaluate(
        result.network, samples, loss(settings), settings.duration, engine=engine
    )


@helpful
@for_settings(Settings)
def predict(
    network: Network, points: np.ndarray, settings: Settings, *, engine: str | Engine = "exact"
) -> np.ndarray:
    """The class a network puts each point in, shape (points,); -1 where no output spikes.

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
    paths = []

    if result.history:
        figure = plotting.learning_curve(result.history, result.best_epoch)
        paths.append(plotting.save(figure, folder / "learning.png"))

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
        ("hidden->output", settings.output_delays),
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
