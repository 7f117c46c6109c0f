"""Sound localisation: tell from the spikes of two ears where a sound comes from.

A sound from one side reaches one ear before the other, by up to half a millisecond.  Coincidence
detectors receive the fibres of both ears with a delay at every synapse; a detector spikes early if
its delays make up for the interaural time difference (ITD).  This is the model of Jeffress, *A
place theory of sound localization* (1948).  The delays are learned, so that the place of the
detectors that spike first encodes the ITD.

The sound comes at a random time, so one ear alone does not reveal the ITD.  The synchronous spikes
of one ear do not bring a detector to its threshold, and by default weights are not learned.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Unpack

import numpy as np

from evsim.arguments.checks import check_is, real_array, shown
from evsim.arguments.errors import ArgumentError
from evsim.arguments.keywords import helpful
from evsim.display.picture_target import for_files_only
from evsim.equations.highest_response import highest_response
from evsim.network.connections import Connection
from evsim.network.initialisers import Uniform
from evsim.network.network import Network
from evsim.network.populations import LIF, Input
from evsim.tasks.base import Experiment, RunOptions, for_settings
from evsim.tasks.of_time.ears import Sound, heard
from evsim.tasks.of_time.place_code import PlaceCodeMSE
from evsim.tasks.of_time.stimulus_settings import StimulusSettings, fit_arguments
from evsim.tasks.pictures import draw_learning
from evsim.tasks.quick import QuickForm

if TYPE_CHECKING:
    from evsim.data.dataset import Dataset
    from evsim.engines import Engine
    from evsim.training.fitting import Evaluation, FitResult
    from evsim.training.optimisers import Optimizer

CONNECTION = "input->detectors"

REACH = 1.1
"""How far the places of the detectors reach, in units of the largest ITD.

An estimate is a mean of places, so without places beyond the largest ITD no estimate could exceed
it, and estimates near it would be too small on average.
"""


# -- settings -----------------------------------------------------------------------------


@helpful
@dataclass(frozen=True)
class Settings(StimulusSettings):
    """The settings of a run of sound localisation.

    The model is that of Jeffress, A place theory of sound localization, 1948. Numbers that have no
    source were chosen by the error on validation samples.
    """

    grid_step: ClassVar[float] = 0.02
    quick_form = QuickForm({})  # a run takes half a minute as it is
    in_order: ClassVar[tuple[tuple[str, str], ...]] = (
        ("arrival_min", "arrival_max"),
        ("initial_delay_min", "initial_delay_max"),
        ("initial_delay_max", "delay_max"),
    )
    more_losses: ClassVar[tuple[str, ...]] = ()  # the labels are times, not classes

    stimulus: Literal["clicks", "tone"] = "clicks"
    """The sound: clicks, to each of which every fibre spikes once, or a tone, to whose cycles the
    spikes of a fibre are locked."""

    itd_max: float = 0.5
    """The largest interaural time difference in ms. Sounds come from both sides."""

    jitter: float = 0.02
    """The standard deviation of every spike's time, in ms."""

    fibres: int = 8
    """The number of fibres of each ear."""

    clicks: int = 1
    """The number of clicks in a trial."""

    click_interval: float = 3.0
    """The time from one click to the next, in ms."""

    frequency: float = 500.0
    """The frequency of the tone in Hz."""

    cycles: int = 3
    """The number of cycles of the tone in a trial."""

    spike_probability: float = 0.7
    """The probability that a fibre spikes in a cycle of the tone."""

    arrival_min: float = 0.5
    """The earliest time at which the sound reaches the middle of the head, in ms."""

    arrival_max: float = 1.5
    """The latest such time in ms. The time is drawn anew for each trial."""

    train_size: int = 2000
    """The number of training samples."""

    validation_size: int = 500
    """The number of validation samples."""

    test_size: int = 1000
    """The number of test samples."""

    data_seed: int = 0
    """The seed of the data. Runs that differ only in --seed use the same samples."""

    # the network

    detectors: int = 21
    """The number of coincidence detectors. Their places are spaced evenly over the range of time
    differences, and a tenth of the largest difference beyond it on both sides."""

    duration: float | None = None
    """The length of a trial in ms. By default a whole number of ms, 2 ms after the latest possible
    arrival of a spike at a detector."""

    tau_mem: float = 0.3
    """The membrane time constant in ms."""

    tau_syn: float = 0.15
    """The synaptic time constant in ms."""

    one_ear: float = 0.8
    """How far the expected spikes of one ear raise the voltage of a detector if they arrive
    together, as a share of its threshold. This determines the weight of all synapses."""

    initial_delay_min: float = 0.3
    """The smallest initial delay in ms."""

    initial_delay_max: float = 0.5
    """The largest initial delay in ms."""

    delay_max: float = 2.0
    """The largest delay in ms."""

    # training

    delays: bool = True
    """Learn the delays."""

    weights: bool = False
    """Also learn the weights."""

    latency_scale: float = 0.06
    """How much later than the first a detector may spike and still count in the estimate, in ms."""

    epochs: int = 30
    """The number of passes through the training samples."""

    batch_size: int = 50
    """The number of samples in a batch."""

    delay_rate: float = 0.02
    """The learning rate of the delays in ms."""

    weight_rate: float = 0.02
    """The learning rate of the weights, if they are learned."""

    rate_decay: float = 0.97
    """The factor by which the learning rates are multiplied after each epoch."""

    seed: int = 0
    """The seed of the initial delays and of the order of the samples."""

    def check(self) -> None:
        """Refuse settings that contradict each other."""
        super().check()
        if not (self.delays or self.weights):
            raise ArgumentError("nothing is learned: set delays or weights", "delays", "weights")
        if self.detectors < 2:
            raise ArgumentError(f"detectors = {self.detectors}: it must be at least 2", "detectors")
        if self.stimulus == "tone" and not self.itd_max < 500.0 / self.frequency:
            raise ArgumentError(
                f"itd_max = {self.itd_max:g} ms: it must be below {500.0 / self.frequency:g} ms, "
                f"half a cycle of {self.frequency:g} Hz; beyond, the cycles of a tone from one "
                "side coincide as those of a tone from the other",
                "itd_max",
                "frequency",
            )
        earliest = 0.5 * self.itd_max + 6.0 * self.jitter
        if not self.arrival_min >= earliest:
            raise ArgumentError(
                f"arrival_min = {self.arrival_min:g} ms: it must be at least {earliest:g} ms, half "
                "of itd_max and six times the jitter, so that no spike comes before the trial",
                "arrival_min",
                "itd_max",
            )

    @property
    def spiking_outputs(self) -> bool:
        """Whether the outputs are LIF units: they are."""
        return True

    @property
    def sound(self) -> Sound:
        """The sound."""
        if self.stimulus == "clicks":
            return Sound.clicks(self.clicks, self.click_interval)
        return Sound.tone(self.frequency, self.cycles, self.spike_probability)

    @property
    def places(self) -> tuple[float, ...]:
        """The ITD in ms that each detector stands for."""
        reach = REACH * self.itd_max
        return tuple(np.linspace(-reach, reach, self.detectors).tolist())

    @property
    def weight(self) -> float:
        """The weight of every synapse before training."""
        spikes = self.fibres * self.sound.spike_probability
        return self.one_ear / (spikes * float(highest_response(self.tau_mem, self.tau_syn)))

    @property
    def long_enough(self) -> float:
        """The length in ms of a trial that ends 2 ms after the latest arrival at a detector."""
        latest = self.arrival_max + 0.5 * self.itd_max + self.sound.instants[-1]
        return latest + self.delay_max + 2.0


# -- the data -----------------------------------------------------------------------------


@helpful
@for_settings(Settings)
def samples(settings: Settings, split: str) -> Dataset:
    """The samples of "train", "validation" or "test"; the labels are ITDs in ms.

    Each split has a random stream of its own.
    """
    from evsim.data.dataset import Dataset

    size, generator = settings.split(split)
    itds = generator.uniform(-settings.itd_max, settings.itd_max, size)
    arrivals = generator.uniform(settings.arrival_min, settings.arrival_max, size)
    spikes = heard(
        settings.sound,
        itds,
        arrivals,
        fibres=settings.fibres,
        jitter=settings.jitter,
        generator=generator,
    )
    return Dataset(spikes, itds)


@helpful
@for_settings(Settings)
def data(settings: Settings) -> tuple[Dataset, Dataset, Dataset]:
    """The training, validation and test samples."""
    return samples(settings, "train"), samples(settings, "validation"), samples(settings, "test")


@helpful
@for_settings(Settings)
def class_names(settings: Settings) -> tuple[str, ...]:
    """None: the labels are times, not classes."""
    return ()


# -- the network and its training ---------------------------------------------------------


@helpful
@for_settings(Settings)
def network(settings: Settings) -> Network:
    """The network before training: the fibres of both ears, and the detectors."""
    return Network(
        [
            Input("input", 2 * settings.fibres),
            # One spike per trial: only the first is read.
            LIF(
                "detectors",
                settings.detectors,
                tau_mem=settings.tau_mem,
                tau_syn=settings.tau_syn,
                refractory=np.inf,
            ),
        ],
        [
            Connection(
                "input",
                "detectors",
                weight=np.full((settings.detectors, 2 * settings.fibres), settings.weight),
                delay=Uniform(settings.initial_delay_min, settings.initial_delay_max),
                name=CONNECTION,
            )
        ],
        seed=settings.seed,
    )


@helpful
@for_settings(Settings)
def loss(settings: Settings) -> PlaceCodeMSE:
    """Half the squared error, in ms², of the ITD that the first spikes of the detectors encode."""
    return PlaceCodeMSE(settings.places, settings.latency_scale)


@helpful
@for_settings(Settings)
def optimizers(settings: Settings) -> dict[str, Optimizer]:
    """Adam on the delays, and on the weights if they are learned."""
    from evsim.training.optimisers import Adam

    chosen: dict[str, Optimizer] = {}
    if settings.delays:
        chosen["delay"] = Adam(settings.delay_rate, decay=settings.rate_decay)
    if settings.weights:
        chosen["weight"] = Adam(settings.weight_rate, decay=settings.rate_decay)
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
def estimates(outcome: Evaluation, settings: Settings) -> np.ndarray:
    """The ITD in ms that the detectors estimate for each sample of a test, shape (samples,)."""
    return loss(settings).told(outcome.readout, settings.number("duration"))


@helpful
@for_settings(Settings)
def measures(outcome: Evaluation, settings: Settings) -> dict[str, float]:
    """The errors of a test in microseconds of ITD, and the share of samples without a spike."""
    errors = 1000.0 * np.abs(estimates(outcome, settings) - outcome.labels)
    return {
        "mean_error_us": float(errors.mean()),
        "largest_error_us": float(errors.max()),
        "share_silent": float(np.isinf(outcome.readout).all(axis=1).mean()),
    }


@helpful
@for_settings(Settings)
def tuning(
    network: Network, settings: Settings, itds: np.ndarray, *, engine: str | Engine = "exact"
) -> np.ndarray:
    """When each detector spikes after a sound without jitter, in ms, shape (itds, detectors).

    Times are counted from the arrival at the middle of the head; infinity where there is no spike.
    Every fibre spikes at every instant of the sound.
    """
    from evsim.simulation.run import simulate

    check_is(network, "network", Network, "give an evsim.Network")
    itds = real_array(itds, "itds")
    if itds.ndim != 1 or not (np.abs(itds) <= settings.arrival_max).all():
        raise ValueError(
            f"itds = {shown(itds)}: give an array, shape (itds,), of at most arrival_max = "
            f"{settings.arrival_max:g} ms"
        )
    sound, middle = Sound(settings.sound.instants), settings.arrival_max
    spikes = heard(
        sound,
        itds,
        np.full(len(itds), middle),
        fibres=settings.fibres,
        jitter=0.0,
        generator=np.random.default_rng(0),
    )
    run = simulate(network, spikes, settings.number("duration"), engine)
    return run.first_spike("detectors") - middle


@helpful
@for_settings(Settings)
@for_files_only()
def pictures(
    result: FitResult, settings: Settings, folder: str | Path, *, engine: str | Engine = "exact"
) -> list[Path]:
    """Draw learning, estimates and the line of delays; return the files' paths."""
    from evsim import plotting
    from evsim.tasks.of_time import ear_pictures

    folder = Path(folder)
    paths = draw_learning(result, folder)
    test = samples(settings, "test")
    outcome = experiment.test(result.network, test, settings, engine)
    figure = ear_pictures.estimates(outcome.labels, estimates(outcome, settings))
    paths.append(plotting.save(figure, folder / "estimates.png"))
    itds = settings.itd_max * np.linspace(-1.4, 1.4, 281)
    latencies = tuning(result.network, settings, itds, engine=engine)
    delays = delay_differences(result.network, settings)
    places, range_of_task = np.array(settings.places), (-settings.itd_max, settings.itd_max)
    figure = ear_pictures.jeffress_line(places, delays, itds, latencies, range_of_task)
    paths.append(plotting.save(figure, folder / "delays.png"))
    return paths


@helpful
@for_settings(Settings)
def delay_differences(network: Network, settings: Settings) -> np.ndarray:
    """By how many ms the delays from the left ear exceed those from the right, (detectors,).

    The delays of one ear enter as their median.  Geometry requires that the difference be the ITD
    of the detector's place: the spikes of both ears then arrive together.
    """
    delays = network.parameters[f"{CONNECTION}.delay"]
    left, right = np.asarray(delays)[:, : settings.fibres], np.asarray(delays)[:, settings.fibres :]
    differences: np.ndarray = np.median(left, axis=1) - np.median(right, axis=1)
    return differences


experiment = Experiment(
    name="sound-localisation",
    description="Tell where a sound comes from by the times of spikes of two ears.",
    settings_type=Settings,
    data=data,
    network=network,
    loss=loss,
    optimizers=optimizers,
    class_names=class_names,
    fit_arguments=fit_arguments,
    pictures=pictures,
    measures=measures,
)
