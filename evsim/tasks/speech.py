"""Spoken words as spikes of a cochlea model: what SHD, SSC and spoken digits have in common.

The networks and their training are those of D section 2.3 and of L sections 2.2 and 2.3.
Where a table and the published program disagree, the default follows the table.  The
regulariser's strength of the programs is stated in other units there: for mean voltages it is
that of ``evsim`` divided by tau_mem, as they have one more 1/tau_mem in the drive of the
readout; for the largest voltage that of ``evsim`` times ``(1 - exp(-dt/tau_mem)) / T``, and for
first spikes the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from evsim.arguments.keywords import helpful
from evsim.tasks.layered_settings import Hyperparameters, LayeredSettings
from evsim.tasks.named_losses import LossName
from evsim.tasks.running import changed_by

if TYPE_CHECKING:
    from evsim.data.augment import Augmentation

Experiment = Literal["delay-learning", "loss-comparison", "loss-shaping"]


# -- what the papers say ------------------------------------------------------------------


@helpful
def published(
    experiment: Experiment, loss: LossName, *, recurrent: bool, layers: int | None
) -> Hyperparameters:
    """The numbers for SHD: D Table 3, or L Tables 2 to 4, or L section 2.3."""
    if experiment == "delay-learning":
        numbers = _delay_learning(recurrent, layers)
    elif experiment == "loss-comparison":
        numbers = _loss_comparison(loss, recurrent)
    else:
        numbers = _LOSS_SHAPING
    # Only the comparison has numbers for these two, which the others' would not fit.
    if loss == "max":
        strength = 5e-9 * 1400.0 / -np.expm1(-1.0 / 40.0)
        return replace(numbers, regulariser_strength=(float(strength),))
    if loss == "time":
        return replace(
            numbers,
            output_weight_mean=1.2,
            output_weight_deviation=0.6,
            regulariser_strength=(1e-7,),
        )
    return numbers


_LOSS_SHAPING = Hyperparameters(
    hidden=512,
    layers=1,
    duration=1000.0,
    tau_mem=20.0,
    tau_syn=5.0,
    input_weight_mean=0.03,
    input_weight_deviation=0.01,
    forward_weight_mean=0.02,
    forward_weight_deviation=0.03,
    recurrent_weight_mean=0.0,
    recurrent_weight_deviation=0.02,
    output_weight_mean=0.0,
    output_weight_deviation=0.03,
    initial_delay_max=0.0,
    epochs=100,
    batch_size=32,
    weight_rate=1e-3,
    delay_rate=0.1,
    tau_rate=1e-3,
    ease_in=1e-3,
    halving=50,
    patience=0,
    silent_lift=0.002,
    regulariser_strength=(2.5e-10 * 20.0,),
    tau0=1.0,
    tau1=100.0,
    alpha=5e-5,
    delay_line=10,
    shift=40,
)


def _delay_learning(recurrent: bool, layers: int | None) -> Hyperparameters:
    if layers is None:
        layers = 1 if recurrent else 2
    first, last = 5e-12 * 20.0, 5e-11 * 20.0
    return replace(
        _LOSS_SHAPING,
        layers=layers,
        output_weight_mean=0.02,
        initial_delay_max=150.0 if recurrent else 100.0,
        epochs=500,
        batch_size=256,
        halving=0,
        patience=15,
        regulariser_strength=(last,) if recurrent else (first,) * (layers - 1) + (last,),
        delay_line=1,
        blend=7644 / 8156,
    )


def _loss_comparison(loss: LossName, recurrent: bool) -> Hyperparameters:
    # Losses without a row of their own have that of the one they are most like.
    flat = loss in ("sum", "xent")
    slow, fast = {"max": (40.0, 10.0)}.get(loss, (20.0, 10.0) if flat else (40.0, 5.0))
    strength = 1e-12 if flat else 1e-9 if recurrent else 1e-10
    return replace(
        _LOSS_SHAPING,
        hidden=256,
        duration=1400.0,
        tau_mem=slow,
        tau_syn=fast,
        epochs=300,
        weight_rate=2e-3 if flat or loss == "max" else 1e-3,
        tau_rate=2e-3 if flat or loss == "max" else 1e-3,
        halving=0,
        silent_lift=0.0,
        regulariser_strength=(strength * slow,),
        delay_line=1,
        shift=0,
    )


# -- settings -----------------------------------------------------------------------------


@helpful
@dataclass(frozen=True)
class SpeechSettings(LayeredSettings):
    """Settings of networks that classify spoken words."""

    inputs: ClassVar[int] = 700
    grid_step: ClassVar[float] = 1.0  # ms (D; L: 1 and 2)

    experiment: Experiment = "delay-learning"
    """Whose numbers hold where none is given. delay-learning: D section 2.3, with --delays, and
    with --recurrent or without; loss-comparison: L Figure 2, for each loss and with --recurrent or
    without; loss-shaping: the best of L section 2.3 on SHD, with --recurrent --learn-taus. It sets
    numbers only: those flags must be given for the paper's network."""

    late: Literal["cut", "refuse"] = "cut"
    """What happens to spikes after the end of the trial. L and D: cut."""

    at_most_one_per: float | None = None
    """Keep only the first spike of a channel in each window of so many ms; if not given all
    spikes. Programs: 1, the step of their grid (L also 2)."""

    shift: int | None = None
    """In each epoch all spikes of a sample move by up to so many channels; 0 for none. If not given
    40, in the loss comparison 0 (L, D)."""

    blend: float | None = None
    """In each epoch so many samples for each training sample are blended of two of one class; 0 for
    none. If not given 0.94 in delay learning (D: 7644 for 8156), else 0; L: 0 or 1."""

    blend_probability: float = 0.5
    """Probability that a spike of either sample is in their blend. L and D: 0.5."""

    delay_line: int | None = None
    """Copies of the inputs, each 30 ms later than the one before, the first included; 1 for
    none. If not given 10 in loss shaping (L; program: 11), else 1."""

    # What follows is explained where LayeredSettings has it; here are its values.

    hidden: int | None = None
    """Units of each hidden layer; if not given 512, in the loss comparison 256. D: 1024, 512, 256
    and 128; L: 64 to 1024, the best 512."""

    layers: int | None = None
    """Hidden layers; if not given 2 in delay learning without --recurrent (D), else 1 (D, L)."""

    duration: float | None = None
    """Length of a trial in ms; if not given 1400 in the loss comparison, else 1000 (L, D)."""

    tau_mem: float | None = None
    """Membrane time constant in ms; if not given 20, in the loss comparison 40 for other losses
    than sum and xent (L, D)."""

    tau_syn: float | None = None
    """Synaptic time constant in ms; if not given 5, in the loss comparison 10 for sum, xent and
    max (L, D)."""

    input_weight_mean: float | None = None
    """Mean of the initial weights from the inputs; if not given 0.03, divided by the copies of the
    delay line (L, D)."""

    input_weight_deviation: float | None = None
    """Standard deviation of the same; if not given 0.01, divided likewise (L, D)."""

    forward_weight_mean: float | None = None
    """Mean of the initial weights from one hidden layer to the next; if not given 0.02 (D)."""

    forward_weight_deviation: float | None = None
    """Standard deviation of the same; if not given 0.03 (D)."""

    recurrent_weight_mean: float | None = None
    """Mean of the initial recurrent weights; if not given 0 (L, D)."""

    recurrent_weight_deviation: float | None = None
    """Standard deviation of the same; if not given 0.02 (L, D)."""

    output_weight_mean: float | None = None
    """Mean of the initial weights to the outputs; if not given 1.2 with the loss time (L), else
    0.02 in delay learning (Table of D; program: 0) and 0 in L."""

    output_weight_deviation: float | None = None
    """Standard deviation of the same; if not given 0.6 with the loss time (L), else 0.03 (L, D)."""

    initial_delay_max: float | None = None
    """Delays that are learned start between 0 and this many ms, recurrent ones at 0; if not given
    in delay learning 150 with --recurrent and 100 without (D), else 0."""

    epochs: int | None = None
    """Passes through the training samples; if not given 500 in delay learning (D: at most), 300 in
    the loss comparison, 100 in loss shaping and 50 there with blends (L)."""

    batch_size: int | None = None
    """Samples of a batch; if not given 256 in delay learning (D), else 32 (L)."""

    weight_rate: float | None = None
    """Learning rate of the weights; if not given 0.001, in the loss comparison 0.002 for sum, xent
    and max (L, D)."""

    delay_rate: float | None = None
    """Learning rate of the delays in ms; if not given 0.1 (D)."""

    tau_rate: float | None = None
    """Learning rate of the time constants in ms; if not given that of the weights (program
    of L)."""

    ease_in: float | None = None
    """Part of the learning rate of the weights that training starts with; it grows by 5 % with
    each batch. If not given 0.001 (L; program of D: 0.01); 1 for no ease-in."""

    halving: int | None = None
    """Halve learning rates when what is watched no longer gets better, after more than this many
    epochs; 0 for never. If not given 50 in loss shaping (L), else 0."""

    patience: int | None = None
    """Stop after this many epochs without a better one; 0 for never. If not given 15 in delay
    learning (D; program: 16), else 0."""

    silent_lift: float | None = None
    """Added after each epoch to the incoming weights of hidden units that were silent in all of
    it; if not given 0.002, in the loss comparison 0 (L, D; program of L: to all)."""

    regulariser_strength: tuple[float, ...] | None = None
    """Strength of the rate regulariser, one for all hidden layers or one for each. If not given in
    delay learning 1e-9 with --recurrent, else 1e-10 in all layers but the last, where it is 1e-9
    (D: 5e-12 and 5e-11 times tau_mem; program: 5e-11 times tau_mem for all); in loss shaping 5e-9
    (L: 2.5e-10 times tau_mem); in the loss comparison 2e-11 for sum and xent (L: 1e-12 times
    tau_mem), else 4e-9, or 4e-8 with --recurrent (L: 1e-10 and 1e-9 times tau_mem). Always 2.8e-4
    with the loss max and 1e-7 with the loss time (L: 5e-9 in other units, and 1e-7)."""

    def published(self) -> Hyperparameters:
        """The numbers of the papers for these settings."""
        return published(self.experiment, self.loss, recurrent=self.recurrent, layers=self.layers)

    def hyperparameters(self) -> Hyperparameters:
        """The numbers of the run: those given, and the papers' for the others."""
        numbers = self.published()
        copies = numbers.delay_line if self.delay_line is None else self.delay_line
        if copies > 1:
            numbers = replace(
                numbers,
                input_weight_mean=numbers.input_weight_mean / copies,
                input_weight_deviation=numbers.input_weight_deviation / copies,
            )
        blend = numbers.blend if self.blend is None else self.blend
        if self.experiment == "loss-shaping" and blend:
            numbers = replace(numbers, epochs=50)
        if self.weight_rate is not None:
            numbers = replace(numbers, tau_rate=self.weight_rate)
        return changed_by(numbers, self)

    def summary(self) -> str:
        """In a line what network is trained, and by whose numbers."""
        return f"{super().summary()}; what is not given is as in {self.experiment}"

    def check(self) -> None:
        """Refuse what does not fit together."""
        super().check()
        numbers = self.hyperparameters()
        if numbers.shift < 0:
            raise ValueError(f"shift = {numbers.shift}: it must be >= 0; 0 for none")
        if not 0 <= numbers.blend < np.inf:
            raise ValueError(f"blend = {numbers.blend}: it must be finite and >= 0; 0 for none")

    def augmentation(self, samples: int) -> list[Augmentation]:
        """Blends and shifts, in the order of the paper (D: blend first)."""
        from evsim.data.augment import Blend, Shift

        numbers = self.hyperparameters()
        count = round(numbers.blend * samples)
        blend: list[Augmentation] = [Blend(count, self.blend_probability)] if count else []
        by_d = self.experiment == "delay-learning"
        if not numbers.shift:
            return blend
        shift = Shift(numbers.shift, "uniform" if by_d else "truncate")
        return [*blend, shift] if by_d else [shift, *blend]
