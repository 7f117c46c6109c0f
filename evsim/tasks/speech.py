"""Spoken words as spikes of a cochlea model: what SHD, SSC and spoken digits have in common.

The networks and their training are those of section 2.3 of D and of sections 2.2 and 2.3 of L; the
published numbers are in ``evsim.tasks.speech_presets``.  For data sets with few speakers, one
speaker can be held out, or each in turn.

D is Mészáros, Knight, Nowotny, *Efficient event-based delay learning in spiking neural networks*;
L is Nowotny, Turner, Knight, *Loss shaping enhances exact gradient learning with EventProp*.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Unpack

import numpy as np

from evsim.arguments.errors import ArgumentError
from evsim.arguments.keywords import helpful
from evsim.tasks import hidden_layers
from evsim.tasks.base import Parts, RunOptions, for_settings
from evsim.tasks.hidden_layer_settings import HiddenLayerSettings, Hyperparameters
from evsim.tasks.quick import QuickForm
from evsim.tasks.settings import with_settings
from evsim.tasks.speech_presets import ExperimentName, published

if TYPE_CHECKING:
    from evsim.data.augment import Augmentation
    from evsim.data.dataset import Dataset
    from evsim.study import Fold, Scores
    from evsim.training.fitting import Evaluation


QUICK: dict[str, Any] = {
    "hidden": 64,
    "layers": 1,
    "delays": True,
    "output_weight_deviation": 1.0,
    "weight_rate": 0.01,
    "batch_size": 32,
    "epochs": 12,
    "patience": 0,
    "blend": 0.0,
    "shift": 0,
    "at_most_one_per": 10.0,
}
"""The settings of the quick form.  They were chosen with spoken digits only, by the accuracy on 300
training samples that were held out."""

QUICK_ENGINE = {"engine": "grid", "dt": 4.0, "precision": "float32"}
"""The engine of the quick form: the exact one takes far longer for thousands of input spikes."""


@helpful
@dataclass(frozen=True)
class SpeechSettings(HiddenLayerSettings):
    """Settings of networks that classify spoken words."""

    inputs: ClassVar[int] = 700
    grid_step: ClassVar[float] = 1.0  # ms (D; L: 1 and 2)
    quick_form = QuickForm(QUICK, engine=QUICK_ENGINE)

    experiment: ExperimentName = "delay-learning"
    """The published experiment whose numbers are the defaults: delay-learning (section 2.3 of D;
    add --delays, with or without --recurrent), loss-comparison (Figure 2 of L; with any --loss,
    with or without --recurrent) or loss-shaping (the best network on SHD of section 2.3 of L; add
    --recurrent --learn-taus). It sets only numbers: give those flags for the paper's network. The
    fourth, small, is not published; it is a network that one machine trains on a grid within an
    hour; add --recurrent --delays --heterogeneous --engine grid --precision float32."""

    late: Literal["cut", "refuse"] = "cut"
    """What happens to spikes after the end of the trial. L and D cut them off."""

    at_most_one_per: float | None = None
    """Keep only the first spike of a channel in each window of this many ms. By default all
    spikes are kept. The programs of L and D have windows of one time step: 1 ms, in L also 2."""

    shift: int | None = None
    """In each epoch, move all spikes of a sample by up to this many channels; 0 moves none. By
    default 40, in the loss comparison 0, as in L and D; in small 20."""

    blend: float | None = None
    """In each epoch, add this many blends of two samples of one class for each training sample; 0
    adds none. By default 0.94 in delay learning (D makes 7644 from 8156 samples), otherwise 0. L
    has 0 or 1."""

    blend_probability: float = 0.5
    """The probability that a spike of either sample is part of their blend. L and D have 0.5."""

    delay_line: int | None = None
    """The number of copies of the inputs, each 30 ms later than the one before; 1 is the inputs
    only. By default 10 in loss shaping (as in L; its program has 11), otherwise 1."""

    # The following settings differ only in their defaults.

    hidden: int | None = None
    """The number of units of each hidden layer. By default 512, in the loss comparison 256, in
    small 128. D has 1024, 512, 256 and 128; L has 64 to 1024, and 512 is best."""

    layers: int | None = None
    """The number of hidden layers. By default 2 in delay learning without --recurrent (D),
    otherwise 1 (D, L, small)."""

    duration: float | None = None
    """The length of a trial in ms. By default 1400 in the loss comparison (L), 800 in small,
    otherwise 1000 (L, D)."""

    tau_mem: float | None = None
    """The membrane time constant in ms. By default 20, but in the loss comparison 40 for all
    losses other than sum and xent (L, D)."""

    tau_syn: float | None = None
    """The synaptic time constant in ms. By default 5, but in the loss comparison 10 for the losses
    sum, xent and max (L, D)."""

    input_weight_mean: float | None = None
    """The mean of the initial weights from the inputs. By default 0.03, divided by the number of
    copies in the delay line (L, D)."""

    input_weight_deviation: float | None = None
    """The standard deviation of these weights. By default 0.01, divided likewise (L, D)."""

    forward_weight_mean: float | None = None
    """The mean of the initial weights from one hidden layer to the next. By default 0.02 (D)."""

    forward_weight_deviation: float | None = None
    """The standard deviation of these weights. By default 0.03 (D)."""

    recurrent_weight_mean: float | None = None
    """The mean of the initial recurrent weights. By default 0 (L, D)."""

    recurrent_weight_deviation: float | None = None
    """The standard deviation of these weights. By default 0.02 (L, D)."""

    output_weight_mean: float | None = None
    """The mean of the initial weights to the outputs. By default 1.2 with --loss time (L),
    otherwise 0.02 in delay learning (Table 3 of D; its program has 0) and 0 in the experiments of
    L."""

    output_weight_deviation: float | None = None
    """The standard deviation of these weights. By default 0.6 with --loss time (L), 1 in small,
    otherwise 0.03 (L, D)."""

    initial_delay_max: float | None = None
    """Delays that are learned start between 0 and this many ms; recurrent ones start at 0. By
    default, in delay learning, 150 with --recurrent and 100 without (D); in small 150; otherwise
    0."""

    epochs: int | None = None
    """The number of passes through the training samples. By default 500 in delay learning (D: at
    most), 300 in the loss comparison, 100 in loss shaping, 50 in loss shaping with blends (L), and
    40 in small."""

    batch_size: int | None = None
    """The number of samples in a batch. By default 256 in delay learning (D), in small 8,
    otherwise 32 (L)."""

    weight_rate: float | None = None
    """The learning rate of the weights. By default 0.001, but in the loss comparison 0.002 for the
    losses sum, xent and max (L, D), and 0.01 in small."""

    delay_rate: float | None = None
    """The learning rate of the delays in ms. By default 0.1 (D), in small 0.5."""

    tau_rate: float | None = None
    """The learning rate of the time constants in ms. By default that of the weights, as in the
    program of L."""

    ease_in: float | None = None
    """The fraction of the weights' learning rate that training starts with; it grows by 5 % with
    each batch, as in L. With 1, training starts at the full rate. By default 0.001 (L; the program
    of D has 0.01), in small 0.05; unlike in L, the default also grows faster if 5 % would take
    more than a tenth of the batches of the run. --ease-in 0.001 follows L in any run."""

    rate_decay: float | None = None
    """The factor by which all learning rates are multiplied after each epoch. By default 1 (L, D),
    in small 0.94."""

    halving: int | None = None
    """Halve the learning rates when --watch has not improved for more than this many epochs; 0
    never does. By default 50 in loss shaping (L), otherwise 0."""

    patience: int | None = None
    """Stop training when --watch has not improved for this many epochs; 0 never does. By default
    15 in delay learning (D; its program has 16), otherwise 0."""

    silent_lift: float | None = None
    """The amount added, after each epoch, to the incoming weights of hidden units that never
    spiked in it. By default 0.002, in the loss comparison 0 (L, D; the program of L adds it to the
    weights of all hidden units)."""

    regulariser_strength: tuple[float, ...] | None = None
    """The strength of the regulariser of spike rates: one number for all hidden layers, or one for
    each. The papers state it for their readout, without a factor tau_mem. By default, in delay
    learning, 1e-9 with --recurrent; without it 1e-10, and 1e-9 in the last layer (D: 5e-12 and
    5e-11 times tau_mem; its program has 5e-11 times tau_mem for all). In loss shaping 5e-9 (L:
    2.5e-10 times tau_mem). In the loss comparison 2e-11 for sum and xent (L: 1e-12 times tau_mem),
    otherwise 4e-9, or 4e-8 with --recurrent (L: 1e-10 and 1e-9 times tau_mem). Always 2.8e-4 with
    --loss max and 1e-7 with --loss time (L: 5e-9 in other units, and 1e-7). In small 1e-8."""

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
        return with_settings(numbers, self)

    def summary(self) -> str:
        """One line that says what network is trained, and whose numbers are the defaults."""
        return f"{super().summary()}; what is not given is as in {self.experiment}"

    def check(self) -> None:
        """Refuse settings that contradict each other."""
        super().check()
        numbers = self.hyperparameters()
        if numbers.shift < 0:
            raise ArgumentError(f"shift = {numbers.shift}: it must be >= 0; 0 for none", "shift")
        if not 0 <= numbers.blend < np.inf:
            raise ArgumentError(
                f"blend = {numbers.blend}: it must be finite and >= 0; 0 for none", "blend"
            )

    def augmentation(self, samples: int) -> list[Augmentation]:
        """Blends and shifts, in the order of the paper: D blends first, L shifts first."""
        from evsim.data.augment import Blend, Shift

        numbers = self.hyperparameters()
        count = round(numbers.blend * samples)
        blend: list[Augmentation] = [Blend(count, self.blend_probability)] if count else []
        if not numbers.shift:
            return blend
        if self.experiment in ("delay-learning", "small"):
            return [*blend, Shift(numbers.shift, "uniform")]
        return [Shift(numbers.shift, "truncate"), *blend]


# -- few speakers -------------------------------------------------------------------------


@helpful
@dataclass(frozen=True)
class SpeakerSettings(SpeechSettings):
    """Settings of data sets with few speakers, each of whom can be held out."""

    held_out_speaker: int | None = None
    """Train without this speaker, and validate on the training data of this speaker."""

    folds: Literal["speakers"] | None = None
    """Cross-validate instead of a single run: for each speaker of the training data, train a
    network without this speaker and test it on this speaker."""

    def check(self) -> None:
        """Refuse settings that contradict each other."""
        super().check()
        if self.folds is not None and self.held_out_speaker is not None:
            raise ArgumentError(
                f"held_out_speaker = {self.held_out_speaker} is given with folds, which hold out "
                "every speaker in turn: leave one of them out",
                "held_out_speaker",
            )

    def samples(self) -> Parts:
        """The samples that the settings select; those of a held-out speaker are for validation."""
        training, _, test = self.read()
        validation = None
        if self.held_out_speaker is not None:
            training, validation = self._without_speaker(training, self.held_out_speaker)
            validation = self.selected(validation, None, "validation")
        return (
            self.selected(training, self.train_size, "train"),
            validation,
            self.selected(test, self.test_size, "test"),
        )

    def _without_speaker(self, data: Dataset, speaker: int) -> tuple[Dataset, Dataset]:
        """The samples of all other speakers, and those of this one."""
        if data.groups is None:
            raise ArgumentError(
                f"held_out_speaker = {speaker}: the data do not say who speaks",
                "held_out_speaker",
            )
        is_held_out = data.groups == speaker
        if not is_held_out.any():
            names = data.group_names
            speakers = ", ".join(
                str(known) if names is None else f"{known} ({names[known]})"
                for known in np.unique(data.groups)
            )
            raise ArgumentError(
                f"held_out_speaker = {speaker}: the training data has {speakers}",
                "held_out_speaker",
            )
        return data[np.flatnonzero(~is_held_out)], data[np.flatnonzero(is_held_out)]


@helpful
@for_settings(SpeakerSettings)
def cross_validate(settings: SpeakerSettings, **options: Unpack[RunOptions]) -> Scores:
    """Train once without each speaker and test on that speaker.

    There are no validation samples, so the samples of the held-out speaker influence no choice.
    The options are those of ``train``; each fold has a folder in the run folder.
    """
    from evsim import study

    experiment = hidden_layers.experiment
    training, _, _ = experiment.data(settings)
    folder = options.get("run_folder")
    engine = options.get("engine", "exact")

    def train(fold: Fold, seed: int) -> Evaluation:
        # The speaker's number, because a name in a data file could point outside the folder.
        assert training.groups is not None
        speaker = training.groups[fold.held_out[0]]
        fold_folder = None if folder is None else Path(folder) / f"speaker_{speaker}"
        fold_options: RunOptions = {**options, "run_folder": fold_folder}
        result = experiment.fit(settings, fold.train, None, **fold_options)
        if result.interrupted:
            raise KeyboardInterrupt
        return experiment.test(result.network, fold.validation, settings, engine)

    return study.cross_validate(train, study.leave_one_group_out(training), seed=settings.seed)
