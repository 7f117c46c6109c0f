"""Settings of networks with hidden layers, and what the papers say they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from evsim.losses.regularisers import RateRegulariser
from evsim.tasks.checking import check_ranges, check_types
from evsim.tasks.named_losses import LossName, check_first_spike_numbers
from evsim.tasks.running import changed_by
from evsim.tasks.samples import DataSettings, drawn, only_classes
from evsim.training.history import Watch

if TYPE_CHECKING:
    from evsim.data.augment import Augmentation
    from evsim.data.dataset import Dataset

Parts = tuple["Dataset", "Dataset | None", "Dataset"]
"""Training, validation and test samples; there need not be validation samples."""


@dataclass(frozen=True)
class Hyperparameters:
    """The numbers of one published experiment; see the settings of the same names."""

    hidden: int
    layers: int
    duration: float
    tau_mem: float
    tau_syn: float
    input_weight_mean: float
    input_weight_deviation: float
    forward_weight_mean: float
    forward_weight_deviation: float
    recurrent_weight_mean: float
    recurrent_weight_deviation: float
    output_weight_mean: float
    output_weight_deviation: float
    initial_delay_max: float
    epochs: int
    batch_size: int
    weight_rate: float
    delay_rate: float
    tau_rate: float
    ease_in: float
    halving: int
    patience: int
    silent_lift: float
    regulariser_strength: tuple[float, ...]
    tau0: float
    tau1: float
    alpha: float
    delay_line: int = 1
    shift: int = 0
    blend: float = 0.0


@dataclass(frozen=True)
class LayeredSettings(DataSettings, ABC):
    """Settings of networks with hidden layers.

    Those that are None have the value of the paper, see ``hyperparameters``.  ``inputs`` is
    the number of input units, ``all_names`` those of the classes, ``grid_step`` the step of
    the grid in ms where one is published.
    """

    inputs: ClassVar[int]
    all_names: ClassVar[tuple[str, ...]]
    grid_step: ClassVar[float]

    # the network

    hidden: int | None = None
    """Units of each hidden layer."""

    layers: int | None = None
    """Hidden layers."""

    recurrent: bool = False
    """Connect each hidden layer to itself."""

    delays: bool = False
    """Learn the delays of all synapses but those to the outputs."""

    recurrent_delays: bool = True
    """Of the delays that are learned, those of recurrent synapses too."""

    heterogeneous: bool = False
    """Draw the time constants of each hidden unit from a gamma distribution of shape 3 around
    tau_mem and tau_syn, within 3 ms and 3 tau_mem, and within 1 ms and 3 tau_syn (L)."""

    learn_taus: bool = False
    """Learn the time constants of each hidden unit, with tau_mem at least 3 and tau_syn at least 1
    ms (L)."""

    loss: LossName = "sum_exp"
    """What the outputs are read for: the mean voltage with the weighting 1 (sum), exp(-t/T)
    (sum_exp), 1 - t/T (linear), sigmoid or the input spikes (input), its maximum (max), the
    voltage at each time (xent), or the first spike (time). L and D: sum_exp."""

    seed: int = 0
    """Seed of the initial values, of the order of the samples and of augmentation."""

    duration: float | None = None
    """Length of a trial in ms."""

    tau_mem: float | None = None
    """Membrane time constant in ms."""

    tau_syn: float | None = None
    """Synaptic time constant in ms."""

    input_weight_mean: float | None = None
    """Mean of the initial weights from the inputs."""

    input_weight_deviation: float | None = None
    """Standard deviation of the same."""

    forward_weight_mean: float | None = None
    """Mean of the initial weights from one hidden layer to the next."""

    forward_weight_deviation: float | None = None
    """Standard deviation of the same."""

    recurrent_weight_mean: float | None = None
    """Mean of the initial recurrent weights."""

    recurrent_weight_deviation: float | None = None
    """Standard deviation of the same."""

    output_weight_mean: float | None = None
    """Mean of the initial weights to the outputs."""

    output_weight_deviation: float | None = None
    """Standard deviation of the same."""

    initial_delay_max: float | None = None
    """Delays that are learned start between 0 and this many ms, recurrent ones at 0."""

    delay_max: float = 1000.0
    """Largest delay in ms. Program of D: 1000 steps of 1 ms."""

    # training

    epochs: int | None = None
    """Passes through the training samples."""

    batch_size: int | None = None
    """Samples of a batch."""

    weight_rate: float | None = None
    """Learning rate of the weights."""

    delay_rate: float | None = None
    """Learning rate of the delays in ms."""

    tau_rate: float | None = None
    """Learning rate of the time constants in ms."""

    ease_in: float | None = None
    """Part of the learning rate of the weights that training starts with; it grows by 5 % with
    each batch. 1 for no ease-in."""

    halving: int | None = None
    """Halve learning rates when what is watched no longer gets better, after more than this many
    epochs (L); 0 for never."""

    patience: int | None = None
    """Stop after this many epochs without a better one; 0 for never."""

    watch: Watch = "accuracy"
    """What chooses the best epoch, halves learning rates and stops training."""

    silent_lift: float | None = None
    """Added after each epoch to the incoming weights of hidden units that were silent in all of
    it."""

    regulariser_strength: tuple[float, ...] | None = None
    """Strength of the rate regulariser, one for all hidden layers or one for each."""

    target_spikes: float = 14.0
    """Spikes in a trial that the regulariser pulls the mean of a hidden unit to. L and D: 14."""

    tau0: float | None = None
    """Time constant in ms of the softmax of first spikes, with the loss time; if not given 1
    (L)."""

    tau1: float | None = None
    """Time constant in ms of the pull to early spikes, with the loss time; if not given 100 (L)."""

    alpha: float | None = None
    """Weight of the pull to early spikes, with the loss time; if not given 5e-5 (L)."""

    lambda_limit: float = np.inf
    """Largest |lambda_V| at a spike; inf for the exact gradient. L and D: none."""

    def __post_init__(self) -> None:
        check_types(self)
        check_ranges(self)
        self.check()

    # -- what each task says --------------------------------------------------------------

    @abstractmethod
    def published(self) -> Hyperparameters:
        """The numbers of the paper for these settings."""

    @abstractmethod
    def read(self) -> Parts:
        """All samples that are published."""

    def samples(self) -> Parts:
        """Those samples that the settings ask for."""
        training, validation, test = self.read()
        if validation is not None:
            size = getattr(self, "validation_size", None)
            validation = self._chosen(validation, size, "validation")
        return (
            self._chosen(training, self.train_size, "train"),
            validation,
            self._chosen(test, self.test_size, "test"),
        )

    def _chosen(self, data: Dataset, size: int | None, name: str) -> Dataset:
        return drawn(only_classes(data, self.classes), size, name, self.data_seed)

    def augmentation(self, samples: int) -> list[Augmentation]:
        """What happens to so many training samples in each epoch, in this order."""
        return []

    # -- what follows from them -----------------------------------------------------------

    def hyperparameters(self) -> Hyperparameters:
        """The numbers of the run: those given, and the paper's for the others."""
        return changed_by(self.published(), self)

    def summary(self) -> str:
        """In a line what network is trained, and by whose numbers."""
        numbers = self.hyperparameters()
        parts = [
            f"{numbers.layers} x {numbers.hidden} hidden units",
            "recurrent" if self.recurrent else "feedforward (--recurrent connects layers)",
            "learned delays" if self.delays else "no learned delays (--delays)",
            *(["learned time constants"] if self.learn_taus else []),
            *([f"a delay line of {numbers.delay_line}"] if numbers.delay_line > 1 else []),
            f"loss {self.loss}",
        ]
        return ", ".join(parts)

    def check(self) -> None:
        """Refuse what does not fit together."""
        self.check_samples(len(self.all_names))
        check_first_spike_numbers(self.loss, tau0=self.tau0, tau1=self.tau1, alpha=self.alpha)
        for name in ("delay_rate", "initial_delay_max"):
            if not self.delays and getattr(self, name) is not None:
                raise ValueError(
                    f"{name} = {getattr(self, name):g} ms is given but no delays are learned: set "
                    f"delays, or leave {name} out"
                )
        if not self.learn_taus and self.tau_rate is not None:
            raise ValueError(
                f"tau_rate = {self.tau_rate:g} ms is given but no time constants are learned: set "
                "learn_taus, or leave tau_rate out"
            )
        numbers = self.hyperparameters()
        for strength in numbers.regulariser_strength:
            RateRegulariser("hidden", strength, self.target_spikes)
        if len(numbers.regulariser_strength) not in (1, numbers.layers):
            raise ValueError(
                f"regulariser_strength = {numbers.regulariser_strength}: give one for all hidden "
                f"layers, or one for each of {numbers.layers}"
            )
        if self.delays and not 0 <= numbers.initial_delay_max <= self.delay_max:
            raise ValueError(
                f"initial_delay_max = {numbers.initial_delay_max:g} ms: it must be within 0 and "
                f"delay_max = {self.delay_max:g} ms"
            )
        if self.delays and numbers.delay_line > 1:
            raise ValueError(
                f"delay_line = {numbers.delay_line} gives the inputs fixed delays: choose it or "
                "delays, not both (delay_line = 1 is none)"
            )
