"""Settings of networks with hidden layers, and the numbers that papers publish for them.

D is Mészáros, Knight, Nowotny, *Efficient event-based delay learning in spiking neural networks*;
L is Nowotny, Turner, Knight, *Loss shaping enhances exact gradient learning with EventProp*.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from evsim.arguments.errors import ArgumentError
from evsim.tasks.base import Parts
from evsim.tasks.named_losses import LossName, check_loss_numbers
from evsim.tasks.settings import DataSettings, HiddenUnitSettings, with_settings
from evsim.training.history import Watch

if TYPE_CHECKING:
    from evsim.data.augment import Augmentation
    from evsim.data.dataset import Dataset
    from evsim.training.schedules import EaseIn

EASE_IN_SHARE = 0.1
"""The largest share of the batches of a run that the default ease-in of learning rates takes."""


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
    rate_decay: float = 1.0
    delay_line: int = 1
    shift: int = 0
    blend: float = 0.0


@dataclass(frozen=True)
class HiddenLayerSettings(HiddenUnitSettings, DataSettings, ABC):
    """Settings of networks with hidden layers.

    Settings that are None take the value of the paper, see ``hyperparameters``.  ``inputs`` is the
    number of input units, ``all_names`` are the names of the classes.
    """

    inputs: ClassVar[int]
    all_names: ClassVar[tuple[str, ...]]

    # the network

    hidden: int | None = None
    """The number of units of each hidden layer."""

    layers: int | None = None
    """The number of hidden layers."""

    recurrent: bool = False
    """Connect each hidden layer to itself."""

    delays: bool = False
    """Learn the delays of all synapses except those to the outputs."""

    recurrent_delays: bool = True
    """With --delays, also learn the delays of recurrent synapses."""

    heterogeneous: bool = False
    """Draw the time constants of each hidden unit from gamma distributions of shape 3 around
    tau_mem and tau_syn, within 3 ms and 3 tau_mem, and within 1 ms and 3 tau_syn, as in L."""

    learn_taus: bool = False
    """Learn the time constants of each hidden unit; tau_mem stays at least 3 ms and tau_syn at
    least 1 ms, as in L."""

    loss: LossName = "sum_exp"
    """What the loss reads from the outputs. For the mean voltage, the weighting is 1 (sum),
    exp(-t/T) (sum_exp), 1 - t/T (linear), a sigmoid (sigmoid) or the number of input spikes
    (input). The others read the largest voltage (max), the voltage at each time (xent) or the first
    spike (time). L and D use sum_exp."""

    more_losses: tuple[str, ...] = ()
    """Further terms of the loss, each with a weight, such as 0.5*max; none by default. Names are
    sum, sum_exp, linear, sigmoid, input, max and xent. With --loss time, outputs spike: max is not
    available, but time and time_invariant are. Their arguments may follow, as in 0.1*time(tau0=2)
    and 0.1*time_invariant(delta=2)."""

    seed: int = 0
    """The seed of the initial values, of the order of the samples and of augmentation."""

    duration: float | None = None
    """The length of a trial in ms."""

    tau_mem: float | None = None
    """The membrane time constant in ms."""

    tau_syn: float | None = None
    """The synaptic time constant in ms."""

    input_weight_mean: float | None = None
    """The mean of the initial weights from the inputs."""

    input_weight_deviation: float | None = None
    """The standard deviation of these weights."""

    forward_weight_mean: float | None = None
    """The mean of the initial weights from one hidden layer to the next."""

    forward_weight_deviation: float | None = None
    """The standard deviation of these weights."""

    recurrent_weight_mean: float | None = None
    """The mean of the initial recurrent weights."""

    recurrent_weight_deviation: float | None = None
    """The standard deviation of these weights."""

    output_weight_mean: float | None = None
    """The mean of the initial weights to the outputs."""

    output_weight_deviation: float | None = None
    """The standard deviation of these weights."""

    initial_delay_max: float | None = None
    """Delays that are learned start between 0 and this many ms; recurrent ones start at 0."""

    delay_max: float = 1000.0
    """The largest delay in ms. The program of D has 1000 time steps of 1 ms."""

    # training

    epochs: int | None = None
    """The number of passes through the training samples."""

    batch_size: int | None = None
    """The number of samples in a batch."""

    weight_rate: float | None = None
    """The learning rate of the weights."""

    delay_rate: float | None = None
    """The learning rate of the delays in ms."""

    tau_rate: float | None = None
    """The learning rate of the time constants in ms."""

    ease_in: float | None = None
    """The fraction of the weights' learning rate that training starts with; it grows by 5 % with
    each batch, as in L. With 1, training starts at the full rate. By default, the full rate is
    reached within a tenth of the batches of a run; in short runs the rate grows faster."""

    rate_decay: float | None = None
    """The factor by which all learning rates are multiplied after each epoch. By default 1 (L, D).
    """

    halving: int | None = None
    """Halve the learning rates when --watch has not improved for more than this many epochs, as
    in L; 0 never does."""

    patience: int | None = None
    """Stop training when --watch has not improved for this many epochs; 0 never does."""

    watch: Watch = "accuracy"
    """The measure that chooses the best epoch, halves the learning rates and stops training."""

    silent_lift: float | None = None
    """The amount added, after each epoch, to the incoming weights of hidden units that never
    spiked in it."""

    regulariser_strength: tuple[float, ...] | None = None
    """The strength of the regulariser of spike rates: one number for all hidden layers, or one
    for each."""

    target_spikes: float = 14.0
    """The mean number of spikes per trial towards which the regulariser pulls each hidden unit.
    L and D have 14."""

    tau0: float | None = None
    """With --loss time, the time constant of the softmax over first spikes, in ms. By default 1,
    as in L."""

    tau1: float | None = None
    """With --loss time, the time constant of the term that favours early spikes, in ms. By
    default 100, as in L."""

    alpha: float | None = None
    """With --loss time, the weight of the term that favours early spikes. By default 5e-5, as in
    L."""

    lambda_limit: float = np.inf
    """The largest |lambda_V| at a spike; inf computes the exact gradient, as L and D do."""

    # -- what each experiment defines --------------------------------------------------------------

    @abstractmethod
    def published(self) -> Hyperparameters:
        """The numbers of the paper for these settings."""

    @abstractmethod
    def read(self) -> Parts:
        """All published samples."""

    def samples(self) -> Parts:
        """The samples that the settings select."""
        training, validation, test = self.read()
        if validation is not None:
            size = getattr(self, "validation_size", None)
            validation = self.selected(validation, size, "validation")
        return (
            self.selected(training, self.train_size, "train"),
            validation,
            self.selected(test, self.test_size, "test"),
        )

    def selected(self, data: Dataset, size: int | None, name: str) -> Dataset:
        """The samples of the chosen classes, reduced to a number of them if one is given."""
        from evsim.data.splits import draw_in_proportion, only_classes

        data = only_classes(data, self.classes)
        return data if size is None else draw_in_proportion(data, size, name, self.data_seed)[0]

    def augmentation(self, samples: int) -> list[Augmentation]:
        """The augmentations of each epoch, in their order, given the number of training samples."""
        return []

    # -- what follows from them -----------------------------------------------------------

    def hyperparameters(self) -> Hyperparameters:
        """The numbers of the run: those given, and the paper's for the others."""
        return with_settings(self.published(), self)

    def ease_in_schedule(self) -> EaseIn:
        """How the learning rate of the weights grows at the start of training.

        As in L if ``ease_in`` is given; the default takes at most a tenth of the run.
        """
        from evsim.training.schedules import EaseIn

        share = EASE_IN_SHARE if self.ease_in is None else None
        return EaseIn(self.hyperparameters().ease_in, share=share)

    @property
    def hidden_populations(self) -> list[str]:
        """The names of the hidden populations, from the inputs to the outputs."""
        layers = self.hyperparameters().layers
        return ["hidden"] if layers == 1 else [f"hidden{layer + 1}" for layer in range(layers)]

    @property
    def spiking_outputs(self) -> bool:
        """Whether the outputs are LIF units, as the loss of first spikes needs."""
        return self.loss == "time"

    def summary(self) -> str:
        """One line that says what network is trained."""
        numbers = self.hyperparameters()
        parts = [
            f"{numbers.layers} x {numbers.hidden} hidden units",
            "recurrent" if self.recurrent else "feedforward (--recurrent connects layers)",
            "learned delays" if self.delays else "no learned delays (--delays)",
            *(["learned time constants"] if self.learn_taus else []),
            *([f"a delay line of {numbers.delay_line}"] if numbers.delay_line > 1 else []),
            f"loss {' + '.join([self.loss, *self.more_losses])}",
        ]
        return ", ".join(parts)

    def check(self) -> None:
        """Refuse settings that contradict each other."""
        self.check_classes(len(self.all_names))
        check_loss_numbers(
            self.loss, self.more_losses, tau0=self.tau0, tau1=self.tau1, alpha=self.alpha
        )
        for name in ("delay_rate", "initial_delay_max"):
            if not self.delays and getattr(self, name) is not None:
                raise ArgumentError(
                    f"{name} = {getattr(self, name):g} ms is given but no delays are learned: set "
                    f"delays, or leave {name} out",
                    name,
                )
        if not self.learn_taus and self.tau_rate is not None:
            raise ArgumentError(
                f"tau_rate = {self.tau_rate:g} ms is given but no time constants are learned: set "
                "learn_taus, or leave tau_rate out",
                "tau_rate",
                "learn_taus",
            )
        numbers = self.hyperparameters()
        if len(numbers.regulariser_strength) not in (1, numbers.layers):
            raise ArgumentError(
                f"regulariser_strength = {numbers.regulariser_strength}: give one for all hidden "
                f"layers, or one for each of {numbers.layers}",
                "regulariser_strength",
            )
        if self.delays and not 0 <= numbers.initial_delay_max <= self.delay_max:
            raise ArgumentError(
                f"initial_delay_max = {numbers.initial_delay_max:g} ms: it must be within 0 and "
                f"delay_max = {self.delay_max:g} ms",
                "initial_delay_max",
                "delay_max",
            )
        if self.delays and numbers.delay_line > 1:
            raise ArgumentError(
                f"delay_line = {numbers.delay_line} gives the inputs fixed delays: choose it or "
                "delays, not both (delay_line = 1 is none)",
                "delay_line",
            )
