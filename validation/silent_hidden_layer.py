"""Claim: time-averaged cross-entropy silences the hidden layer, a shaped loss does not (L 2).

L is Nowotny, Turner, Knight (loss shaping).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Self

import numpy as np
from claims import Claim, Finding, Picture, Table

import evsim
from evsim.data.dataset import Dataset
from evsim.engines import Exact
from evsim.losses import CrossEntropy, Loss, TimeAveragedCrossEntropy
from evsim.network.initialisers import Normal
from evsim.readouts import Mean
from evsim.training.evaluation import evaluate
from evsim.training.history import EpochRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ENGINE = Exact(threads=1)
CLASSES = 10
INTO_HIDDEN = "input->hidden.weight"
TO_OUTPUT = "hidden->output.weight"


@dataclass(frozen=True)
class Case:
    """One loss, with its name and colour in the plots."""

    name: str
    shown: str
    loss: Loss
    colour: str


CASES = (
    Case("L_xent", r"$L_\mathrm{xent}$", TimeAveragedCrossEntropy(), "#D55E00"),
    Case("L_sum", r"$L_\mathrm{sum}$", CrossEntropy(Mean()), "#009E73"),
    Case("L_sum_exp", r"$L_\mathrm{sum\_exp}$", CrossEntropy(Mean("exponential")), "#0072B2"),
)


@dataclass(frozen=True)
class SilentHiddenLayer(Claim):
    """Time-averaged cross-entropy silences the hidden layer; weighted mean voltages do not.

    The comparison is with L (Nowotny, Turner and Knight, *Loss shaping enhances exact gradient
    learning with EventProp*), section 2, where networks do not learn spoken words with
    time-averaged cross-entropy, L_xent (L 1). The claim also tests the explanation that the part of
    its gradient that reaches hidden units does not depend on the labels. One feedforward network,
    700 inputs, LIF hidden units and 10 LI outputs, is trained on a few hundred spoken digits from
    the same initial weights with L_xent; with L_sum, cross-entropy of the mean voltage (L 2); and
    with L_sum_exp, the same with the weighting exp(-t/T) (L 5). The effect occurs if words end well
    before the trial does. With a duration of 400 ms, which cuts the words, the claim is refuted.

    Refuted if, at the start, more than a millionth of the gradient of L_xent with respect to the
    input weights depends on the labels, or the gradient of L_sum is more than a millionth of that
    of L_sum_exp; or if, after training, L_xent leaves more than a tenth of the hidden spikes, or
    L_sum_exp fewer than half, or L_sum_exp does not classify twice as well as L_xent.
    """

    against: ClassVar[str] = "L, section 2"

    data: Path | None = None
    samples: int = 400
    hidden: int = 64
    duration: float = 1400.0
    epochs: int = 12
    batch_size: int = 8
    learning_rate: float = 0.003
    output_weights: float = 0.03
    seed: int = 0

    def smaller(self, effort: float) -> Self:
        """Fewer samples, but from all classes, and fewer epochs."""
        samples = CLASSES * max(1, round(effort * self.samples / CLASSES))
        return replace(self, samples=samples, epochs=max(1, round(effort * self.epochs)))

    def examine(self, folder: Path) -> Finding:
        if self.data is None:
            return Finding(None, "It needs the spoken digits: name their folder with --data.")
        training, test = evsim.datasets.spoken_digits(self.data, duration=self.duration)
        training = balanced(training, self.samples, self.seed)
        network = initial_network(self)
        before = activity(network, training, test, CASES[1].loss, self.duration)
        runs = {case.name: train(case, network, training, test, self) for case in CASES}
        draw(before, runs, folder / "silent_hidden_layer.png")
        picture = Picture(
            "silent_hidden_layer.png",
            "Pull on the hidden units, their spike counts before and after training, and training",
        )
        return Finding.of(
            summary(before, runs),
            refutations(before, runs),
            [gradients_table(before, runs), networks_table(before, runs)],
            [picture],
        )


class Activity(NamedTuple):
    """The output weights of a network and the activity of its hidden units.

    ``weights`` and ``counts`` have shape (classes, hidden): the weight from a unit to the output
    of a class, and the unit's mean number of spikes on samples of that class.
    """

    weights: np.ndarray
    counts: np.ndarray
    training_accuracy: float
    test_accuracy: float

    @property
    def spikes(self) -> float:
        """The hidden spikes per sample; all classes are equally frequent."""
        return float(self.counts.sum(axis=1).mean())

    @property
    def silent(self) -> int:
        """The number of units that spike in no sample."""
        return int((self.counts.sum(axis=0) == 0).sum())

    @property
    def correlation(self) -> float:
        """The correlation of weights with spike counts; NaN without spikes."""
        return correlation(self.weights, self.counts)


class Pull(NamedTuple):
    """The effect of the first step of gradient descent on the hidden units.

    ``upwards`` is minus the derivative of the loss of a class with respect to the logarithm of a
    factor on all input weights of a unit, shape (classes, hidden).  If it is positive, descent
    makes the unit spike earlier and more often.  ``size`` is the norm of the gradient with respect
    to the input weights over all samples; ``by_labels`` is the norm of the change of this gradient
    when every label is replaced by the next class.
    """

    upwards: np.ndarray
    size: float
    by_labels: float


class Trained(NamedTuple):
    """One training run."""

    pull: Pull
    after: Activity
    history: tuple[EpochRecord, ...]


Runs = Mapping[str, Trained]
"""The runs by the name of the loss."""


# -- data and network -----------------------------------------------------------------------


def balanced(data: Dataset, samples: int, seed: int) -> Dataset:
    """A random selection with the same number of samples of each class."""
    each = samples // CLASSES
    order = np.random.default_rng(seed).permutation(len(data))
    chosen = [order[data.labels[order] == label][:each] for label in range(CLASSES)]
    if each == 0 or any(numbers.size < each for numbers in chosen):
        fewest = int(np.bincount(data.labels, minlength=CLASSES).min())
        raise ValueError(
            f"samples = {samples} asks for {each} of each class: give {CLASSES} to "
            f"{CLASSES * fewest}"
        )
    return data[np.concatenate(chosen)]


def initial_network(settings: SilentHiddenLayer) -> evsim.Network:
    """The network with input weights and time constants as in L section 2.2."""
    return evsim.Network(
        [
            evsim.Input("input", 700),
            evsim.LIF("hidden", settings.hidden, tau_mem=20.0, tau_syn=5.0),
            evsim.LI("output", CLASSES, tau_mem=20.0, tau_syn=5.0),
        ],
        [
            evsim.Connection("input", "hidden", Normal(0.03, 0.01)),
            evsim.Connection("hidden", "output", Normal(0.0, settings.output_weights)),
        ],
        seed=settings.seed,
    )


# -- training and measuring -----------------------------------------------------------------


def train(
    case: Case,
    network: evsim.Network,
    training: Dataset,
    test: Dataset,
    settings: SilentHiddenLayer,
) -> Trained:
    """Train with one loss; the result is the network after the last epoch, not the best one."""
    result = evsim.fit(
        network,
        training,
        case.loss,
        duration=settings.duration,
        optimizers={"weight": evsim.Adam(settings.learning_rate)},
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        seed=settings.seed,
        engine=ENGINE,
        progress=False,
    )
    return Trained(
        pull(network, training, case.loss, settings.duration),
        activity(result.last_network, training, test, case.loss, settings.duration),
        result.history,
    )


def activity(
    network: evsim.Network, training: Dataset, test: Dataset, loss: Loss, duration: float
) -> Activity:
    """The hidden activity on the training samples, and the training and test accuracy."""
    run = evsim.simulate(network, training.spikes, duration, ENGINE)
    counts = run.spike_counts["hidden"]
    return Activity(
        np.asarray(network.parameters[TO_OUTPUT]),
        np.stack([counts[training.labels == label].mean(axis=0) for label in range(CLASSES)]),
        accuracy(network, training, loss, duration),
        accuracy(network, test, loss, duration),
    )


def accuracy(network: evsim.Network, data: Dataset, loss: Loss, duration: float) -> float:
    """The share of samples that are classified correctly."""
    share = evaluate(network, data, loss, duration=duration, engine=ENGINE).accuracy
    assert share is not None  # these losses classify
    return share


def pull(network: evsim.Network, data: Dataset, loss: Loss, duration: float) -> Pull:
    """The gradient of a loss with respect to the input weights, class by class."""

    def gradients(labels: np.ndarray) -> np.ndarray:
        by_class = []
        for label in range(CLASSES):
            of_class = np.flatnonzero(data.labels == label)
            gradient = evsim.gradient(
                network,
                data[of_class].spikes,
                labels[of_class],
                loss,
                duration,
                wrt=[INTO_HIDDEN],
                engine=ENGINE,
            )
            by_class.append(np.asarray(gradient.parameters[INTO_HIDDEN]))
        return np.stack(by_class)

    right = gradients(data.labels)
    wrong = gradients((data.labels + 1) % CLASSES)
    weights = np.asarray(network.parameters[INTO_HIDDEN])
    return Pull(
        upwards=-(right * weights).sum(axis=-1),
        size=float(np.linalg.norm(right.mean(axis=0))),
        by_labels=float(np.linalg.norm((right - wrong).mean(axis=0))),
    )


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's correlation; NaN if one of the arrays is constant."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


# -- findings -------------------------------------------------------------------------------


def gradients_table(before: Activity, runs: Runs) -> Table:
    """A table of the gradients before training."""
    rows = []
    for name, run in runs.items():
        alike = correlation(before.weights, run.pull.upwards)
        shown = f"{alike:.2f}" if run.pull.size > 1e-12 else "zero but for rounding"
        rows.append([name, f"{run.pull.size:.1e}", f"{run.pull.by_labels:.1e}", shown])
    columns = ["loss", "gradient by input weights", "part that depends on labels",
               "correlation of pull and weight to the true output"]  # fmt: skip
    return Table("The network before training, norms over all input weights", columns, rows)


def networks_table(before: Activity, runs: Runs) -> Table:
    """A table of the networks before and after training."""
    named = {"before": before, **{f"after {name}": run.after for name, run in runs.items()}}
    columns = ["network", "training accuracy (%)", "test accuracy (%)",
               "hidden spikes per sample", "silent units",
               "correlation of spike count and weight to the true output"]  # fmt: skip
    rows = [row(name, found) for name, found in named.items()]
    return Table("Before training, and after the last epoch", columns, rows)


def row(name: str, found: Activity) -> list[str]:
    """The row of one network."""
    return [
        name,
        f"{100 * found.training_accuracy:.1f}",
        f"{100 * found.test_accuracy:.1f}",
        f"{found.spikes:.0f}",
        f"{found.silent} of {found.counts.shape[1]}",
        "no spikes" if np.isnan(found.correlation) else f"{found.correlation:+.2f}",
    ]


def summary(before: Activity, runs: Runs) -> str:
    """Sentences on the dependence on labels, and on the remaining spikes."""
    xent, _, shaped = (runs[case.name] for case in CASES)
    return (
        f"Of the first gradient of L_xent, {xent.pull.size:.1e}, {xent.pull.by_labels:.1e} depends "
        f"on the labels. Of {before.spikes:.0f} hidden spikes per sample L_xent leaves "
        f"{xent.after.spikes:.0f}, L_sum_exp {shaped.after.spikes:.0f}; test accuracy is "
        f"{100 * xent.after.test_accuracy:.1f} and {100 * shaped.after.test_accuracy:.1f} %."
    )


def refutations(before: Activity, runs: Runs) -> Iterator[str]:
    """What contradicts the claim."""
    xent, flat, shaped = (runs[case.name] for case in CASES)
    if xent.pull.by_labels > 1e-6 * xent.pull.size:
        yield (
            f"of the gradient of L_xent, {xent.pull.size:.1e}, {xent.pull.by_labels:.1e} "
            "depends on the labels"
        )
    if flat.pull.size > 1e-6 * shaped.pull.size:
        yield (
            f"the gradient of L_sum is {flat.pull.size:.1e}, not zero beside that of "
            f"L_sum_exp, {shaped.pull.size:.1e}"
        )
    if xent.after.spikes > 0.1 * before.spikes:
        yield f"L_xent leaves {xent.after.spikes:.0f} of {before.spikes:.0f} spikes"
    if shaped.after.spikes < 0.5 * before.spikes:
        yield f"L_sum_exp leaves {shaped.after.spikes:.0f} of {before.spikes:.0f} spikes"
    if shaped.after.test_accuracy < 2 * xent.after.test_accuracy:
        yield (
            f"test accuracy {shaped.after.test_accuracy:.3f} with L_sum_exp, "
            f"{xent.after.test_accuracy:.3f} with L_xent"
        )


# -- plot -----------------------------------------------------------------------------------


def draw(before: Activity, runs: Runs, file: Path) -> None:
    """Draw the first gradients, spike counts before and after training, and learning curves."""
    from evsim.plotting.style import TWO_COLUMNS, new_figure, save

    figure = new_figure(TWO_COLUMNS, 7.0)
    parts = figure.subfigures(3, 1)
    for part, title in zip(
        parts,
        (
            "a   The first gradient: is a hidden unit to spike more (above 0) or less on samples "
            "of a class?",
            "b   Spikes of each hidden unit on samples of a class, before and after training",
            "c   From epoch to epoch",
        ),
        strict=True,
    ):
        part.suptitle(title, fontsize=8.5, fontweight="bold", x=0.01, ha="left")
    draw_pulls(parts[0].subplots(1, 3, sharey=True), before, runs)
    draw_counts(parts[1].subplots(1, 3, sharey=True), before, runs)
    draw_training(parts[2].subplots(1, 3), before, runs)
    save(figure, file)


def draw_pulls(axes: Sequence[Axes], before: Activity, runs: Runs) -> None:
    """Draw the first gradient against weight, one dot for each class and hidden unit."""
    from evsim.plotting.style import GREY, label

    strongest = max(float(np.abs(run.pull.upwards).max()) for run in runs.values())
    exponent = int(np.floor(np.log10(strongest)))
    for ax, case in zip(axes, CASES, strict=True):
        upwards = runs[case.name].pull.upwards
        dots(ax, before.weights, upwards / 10.0**exponent, case.colour)
        ax.axhline(0.0, color=GREY, linewidth=0.6, zorder=0)
        ax.axvline(0.0, color=GREY, linewidth=0.6, zorder=0)
        if runs[case.name].pull.size < 1e-12:
            said = "0 but for rounding"
        else:
            # Adding 0 turns -0 into 0.
            mean = round(float(upwards.mean()) / 10.0**exponent, 2) + 0.0
            said = f"correlation {correlation(before.weights, upwards):+.2f}, mean {mean:+.2f}"
        label(ax, "weight to the output of the class", title=f"{case.shown}\n{said}")
        ax.locator_params(axis="x", nbins=5)
    axes[0].set_ylabel(f"pull ($10^{{{exponent}}}$)", fontsize=8)


def draw_counts(axes: Sequence[Axes], before: Activity, runs: Runs) -> None:
    """Draw spike counts against weight, one dot for each class and hidden unit."""
    from evsim.plotting.style import GREY, SMALL_TEXT, label

    highest = max(before.counts.max(), *(run.after.counts.max() for run in runs.values()))
    for ax, case in zip(axes, CASES, strict=True):
        after = runs[case.name].after
        dots(ax, before.weights, before.counts, GREY, "before")
        dots(ax, after.weights, after.counts, case.colour, "after")
        ax.set_yscale("symlog", linthresh=1.0)
        ax.set_ylim(-0.3, 1.5 * highest)
        ax.locator_params(axis="x", nbins=5)
        label(ax, "weight to the output of the class")
        ax.yaxis.set_major_formatter("{x:g}")
        ax.legend(
            fontsize=SMALL_TEXT,
            frameon=False,
            markerscale=3,
            loc="center left",
            bbox_to_anchor=(0.0, 0.36),
        )
    axes[0].set_ylabel("spikes of the unit per sample", fontsize=8)


def dots(ax: Axes, x: np.ndarray, y: np.ndarray, colour: str, name: str | None = None) -> None:
    """Draw one dot for each class and hidden unit."""
    ax.plot(x.ravel(), y.ravel(), ".", color=colour, markersize=3.0, alpha=0.6, label=name, mew=0)


def draw_training(axes: Sequence[Axes], before: Activity, runs: Runs) -> None:
    """Draw hidden spikes, silent units and training accuracy over epochs."""
    from evsim.plotting.style import GREY, SMALL_TEXT, label

    for case in CASES:
        history = runs[case.name].history
        epochs = [0, *(record.epoch for record in history)]
        series: tuple[list[float], ...] = (
            [before.spikes, *(record.spikes_per_sample["hidden"] for record in history)],
            [before.silent, *(record.silent_units["hidden"] for record in history)],
            [100 * share for share in (before.training_accuracy, *map(right, history))],
        )
        for ax, values in zip(axes, series, strict=True):
            ax.plot(epochs, values, color=case.colour, linewidth=1.2, label=case.shown)
    names = ("hidden spikes per sample", "silent hidden units", "training accuracy (%)")
    for ax, name in zip(axes, names, strict=True):
        label(ax, "epoch", name)
        ax.set_ylim(bottom=0.0)
        ax.xaxis.get_major_locator().set_params(integer=True)
    axes[2].axhline(100 / CLASSES, color=GREY, linewidth=0.6, linestyle="--", zorder=0)
    axes[0].legend(fontsize=SMALL_TEXT, frameon=False)


def right(record: EpochRecord) -> float:
    """The share of samples that were classified correctly in an epoch."""
    assert record.accuracy is not None  # these losses classify
    return record.accuracy
