"""Claim: networks learn MNIST with the losses of L as well as in L (section 2).

L is Nowotny, Turner, Knight (loss shaping).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from claims import Claim, Finding, Picture, Table
from paper_runs import (
    MANY,
    fewer,
    per_cent,
    standard_error,
    standard_errors_above,
    with_each_loss,
)

from evsim.tasks import mnist

LOSSES = {
    "xent": "cross-entropy at every moment, averaged",
    "sum": "cross-entropy of the mean voltage",
    "max": "cross-entropy of the largest voltage",
    "time": "cross-entropy of first spikes",
}
"""The losses by their names in L, without the prefix L."""

PUBLISHED = 0.978
"""The test accuracy in L with xent."""

PUBLISHED_ERROR = 0.001 / math.sqrt(10)
"""Its standard error, from the standard deviation over ten seeds."""

Runs = Mapping[str, list[dict[str, Any]]]
"""The records of all seeds by loss."""


@dataclass(frozen=True)
class PaperMnist(Claim):
    """On MNIST time-averaged cross-entropy does as well as in L, and first spikes a little worse.

    The comparison is with L (Nowotny, Turner and Knight, *Loss shaping enhances exact gradient
    learning with EventProp*), section 2 and Figure S1: 784 inputs, 128 hidden units, 10 outputs,
    trials of 20 ms, 60,000 samples, 50 epochs. L reports 97.8 ± 0.1 % with xent (10 seeds), and
    says that sum and max learn reasonably well, and that first spikes do slightly worse. Settings
    are those of the task ``mnist``, from L's section and its program; no samples are held out, and
    the network is that after the epoch with the lowest training loss.

    Refuted if the mean test accuracy of xent is below L's by more than two standard errors of the
    difference, if another loss is below 90 %, or if first spikes do better than any other loss by
    more than two standard errors.
    """

    against: ClassVar[str] = "L, section 2"

    data: Path | None = None
    losses: tuple[str, ...] = tuple(LOSSES)
    seeds: int = 3
    epochs: int = 50
    train_size: int = 60_000
    test_size: int = 10_000
    rate_decay: float = 1.0
    engine: str = "exact"

    def smaller(self, effort: float) -> Self:
        """Fewer epochs and seeds, but at least two seeds, to estimate how they differ."""
        return replace(self, **fewer(self.seeds, self.epochs, effort))

    def examine(self, folder: Path) -> Finding:
        if self.data is None:
            return Finding(None, "It needs the files of MNIST: name their folder with --data.")
        runs = self.runs(folder)
        draw(runs, folder / "learning.png")
        picture = Picture("learning.png", "Training accuracy from epoch to epoch, with each loss")
        return Finding.of(summary(runs), refutations(runs), [table(runs)], [picture])

    # -- training -------------------------------------------------------------------------

    def runs(self, folder: Path) -> Runs:
        """All runs of all losses; missing runs are trained first."""
        return with_each_loss(
            folder,
            self.losses,
            self.seeds,
            lambda loss, seed: self.run(self.task(loss, seed), folder / f"{loss}-{seed}"),
            self.same_for_all(),
        )

    def same_for_all(self) -> dict[str, Any]:
        """The settings that all runs share; stored runs with other settings are not used."""
        names = ("epochs", "train_size", "test_size", "rate_decay", "engine")
        return {name: getattr(self, name) for name in names}

    def task(self, loss: str, seed: int) -> mnist.Settings:
        """The settings of one run."""
        return mnist.Settings(
            data=self.data,
            loss=loss,
            seed=seed,
            epochs=self.epochs,
            validation_size=0,
            train_size=self.train_size,
            test_size=self.test_size,
            rate_decay=self.rate_decay,
        )

    def run(self, settings: mnist.Settings, folder: Path) -> dict[str, Any]:
        """Train one network, or continue its interrupted training, and test it."""
        result = mnist.train(
            settings, engine=self.engine, run_folder=folder, resume=True, progress=False
        )
        if result.interrupted:
            raise KeyboardInterrupt
        tested = mnist.evaluate(result, settings, engine=self.engine)
        return {
            "test_accuracy": tested.accuracy,
            "best_epoch": result.best_epoch,
            "train_accuracies": [record.accuracy for record in result.history],
            "seconds": sum(record.seconds for record in result.history),
        }


# -- findings -------------------------------------------------------------------------------


def accuracies(runs: Runs, loss: str) -> list[float]:
    """The test accuracy of all seeds."""
    return [record["test_accuracy"] for record in runs[loss]]


def below_published(runs: Runs) -> float:
    """How many standard errors of the difference xent is below L; 0 for a single seed."""
    values = accuracies(runs, "xent")
    return (PUBLISHED - statistics.mean(values)) / math.hypot(
        standard_error(values), PUBLISHED_ERROR
    )


def table(runs: Runs) -> Table:
    """A table with a row for each loss."""
    rows = []
    for loss in runs:
        published = f"{100 * PUBLISHED:.1f} ± 0.1" if loss == "xent" else ""
        seconds = statistics.mean(
            record["seconds"] / len(record["train_accuracies"]) for record in runs[loss]
        )
        rows.append(
            [loss, LOSSES[loss], per_cent(accuracies(runs, loss)), published, f"{seconds:.0f}"]
        )
    columns = ["loss", "what it is", "test accuracy (%)", "L (%)", "time of an epoch (s)"]
    return Table("Mean and standard deviation over seeds", columns, rows)


def summary(runs: Runs) -> str:
    """A sentence on all losses, and on the distance of xent from L."""
    text = ", ".join(f"{loss} {per_cent(accuracies(runs, loss))}" for loss in runs)
    text = f"Test accuracy in per cent: {text}"
    if "xent" in runs:
        text += "; L has 97.8 ± 0.1 with xent"
        below = below_published(runs)
        if below:
            text += f", {abs(below):.1f} standard errors {'more' if below > 0 else 'less'}"
    return f"{text}."


def refutations(runs: Runs) -> Iterator[str]:
    """What contradicts the claim."""
    if "xent" in runs and below_published(runs) > MANY:
        yield (
            f"xent has {per_cent(accuracies(runs, 'xent'))} %, L {100 * PUBLISHED:.1f} %, "
            f"{below_published(runs):.1f} standard errors more"
        )
    for loss in runs:
        values = accuracies(runs, loss)
        if statistics.mean(values) < 0.9:
            yield f"{loss} has {per_cent(values)} %, which is not reasonably well"
        if "time" in runs:
            above = standard_errors_above(accuracies(runs, "time"), values)
            if above > MANY:
                yield f"time is {above:.1f} standard errors above {loss}, {per_cent(values)} %"


# -- plot -----------------------------------------------------------------------------------


def draw(runs: Runs, file: Path) -> None:
    """Draw the training error over epochs, a line for each seed."""
    from evsim.plotting.style import COLOURS, ONE_COLUMN, SMALL_TEXT, label, new_figure, save

    figure = new_figure(1.4 * ONE_COLUMN, 2.8)
    ax = figure.subplots()
    for colour, loss in zip(COLOURS, runs, strict=False):
        for number, record in enumerate(runs[loss]):
            errors = [100 * (1 - accuracy) for accuracy in record["train_accuracies"]]
            ax.plot(
                range(1, len(errors) + 1), errors, color=colour, linewidth=1.0,
                label=None if number else loss,
            )  # fmt: skip
        tested = [100 * (1 - accuracy) for accuracy in accuracies(runs, loss)]
        ax.plot([len(errors)] * len(tested), tested, "o", color=colour, markersize=3)
    ax.axhline(100 * (1 - PUBLISHED), color=COLOURS[0], linewidth=0.8, linestyle="--")
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter("{x:g}")
    ax.tick_params(axis="y", which="minor", labelsize=SMALL_TEXT)
    ax.xaxis.get_major_locator().set_params(integer=True)
    label(ax, "epoch", "wrong (%)", "lines: training; dots: test; dashed: test of L, xent")
    ax.legend(fontsize=SMALL_TEXT, frameon=False)
    save(figure, file)
