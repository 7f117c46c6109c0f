"""Claim: with delays half the hidden units are enough (D section 2.2, Figure 4).

D is Mészáros, Knight, Nowotny (delay learning with EventProp).
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from claims import Claim, Finding, Picture, Table
from paper_runs import MANY, deviation, per_cent, standard_errors_above, stored

from evsim.tasks import yin_yang

HALVES = ((5, 10), (10, 20), (15, 30))
"""The numbers of hidden units with delays, and twice as many without."""

DELGRAD = {(30, False): 0.967, (30, True): 0.982, (5, True): 0.954}
"""The test accuracy of DelGrad's published single runs, by hidden units and delays."""

Accuracies = Mapping[tuple[int, bool], list[float]]
"""The accuracies of all seeds, by hidden units and whether delays are learned."""


@dataclass(frozen=True)
class PaperYinYang(Claim):
    """On Yin-Yang half the hidden units with learned delays do as well as all without them.

    At equal size, delays are better. The comparison is with D (Mészáros, Knight and Nowotny,
    *Efficient event-based delay learning in spiking neural networks*), section 2.2 and Figure 4,
    which has curves and no numbers: networks of 5 to 30 hidden units, with learned delays and
    without, 8 seeds, tested after the epoch with the best validation accuracy. D also finds them
    "very close to" DelGrad, whose published single runs are shown for comparison. As in D, only the
    delays from the inputs are learned, they start at 0, and the loss is the time-invariant squared
    error; other settings were chosen by validation accuracy (``SETTINGS``). The studies in
    ``studies/`` compare with settings that learn more.

    Refuted if a mean accuracy with delays is below that without them at equal size, or below that
    of twice as many hidden units without them, by more than two standard errors of the difference.
    """

    against: ClassVar[str] = "D, Figure 4"

    sizes: tuple[int, ...] = (5, 10, 15, 20, 25, 30)
    seeds: int = 8
    epochs: int = 300

    def smaller(self, effort: float) -> Self:
        """Fewer seeds and epochs; for a very small effort only the middle size."""
        seeds = max(2, round(effort * self.seeds))
        sizes = self.sizes if effort * len(self.sizes) >= 1 else self.sizes[1:2]
        return replace(self, sizes=sizes, seeds=seeds, epochs=max(4, round(effort * self.epochs)))

    def examine(self, folder: Path) -> Finding:
        found = self.accuracies(folder)
        draw(found, folder / "curve.png")
        picture = Picture("curve.png", "Test accuracy against the number of hidden units")
        refutations = list(self.refutations(found))
        tables = [curve_table(found), *halves_table(found), *delgrad_table(found)]
        return Finding.of(summary(found), refutations, tables, [picture])

    # -- training -------------------------------------------------------------------------

    def accuracies(self, folder: Path) -> Accuracies:
        """The accuracies of all runs; missing runs are trained."""
        found: dict[tuple[int, bool], list[float]] = {}
        for seed in range(self.seeds):
            for hidden in self.sizes:
                for delays in (True, False):
                    settings = settings_of(hidden, delays, seed, self.epochs)
                    name = f"{hidden}-{'delays' if delays else 'weights'}-{seed}.json"
                    record = stored(
                        folder / name, lambda s=settings: run(s), epochs=settings.epochs
                    )
                    found.setdefault((hidden, delays), []).append(record["test_accuracy"])
        return found

    # -- findings -------------------------------------------------------------------------

    def refutations(self, found: Accuracies) -> Iterator[str]:
        """What contradicts the claim."""
        pairs = [(size, size) for size in self.sizes] + [
            pair for pair in HALVES if set(pair) <= set(self.sizes)
        ]
        for few, many in pairs:
            above = standard_errors_above(found[few, True], found[many, False])
            if above < -MANY:
                yield (
                    f"{few} hidden units with delays have {per_cent(found[few, True])} %, {many} "
                    f"without {per_cent(found[many, False])} %, {-above:.1f} standard errors more"
                )


SETTINGS: dict[str, Any] = {
    "loss": "time_invariant",
    "initial_delay": 0.0,
    "output_delays": False,
    "rate_decay": 0.99,
    "silent_lift": 0.02,
    "existence": 0.0,
}
"""Settings of all runs."""


def settings_of(hidden: int, delays: bool, seed: int, epochs: int) -> yin_yang.Settings:
    """The settings of one run; the learning rate of the weights depends on what is learned."""
    rate = 0.03 if delays else 0.02 if hidden <= 15 else 0.01
    return yin_yang.Settings(
        hidden=hidden, delays=delays, seed=seed, epochs=epochs, weight_rate=rate, **SETTINGS
    )


def run(settings: yin_yang.Settings) -> dict[str, Any]:
    """Train one network, and test it after the epoch with the best validation accuracy."""
    result = yin_yang.train(settings, progress=False)
    tested = yin_yang.evaluate(result, settings)
    return {
        "test_accuracy": tested.accuracy,
        "best_epoch": result.best_epoch,
        "validation_accuracy": result.history[result.best_epoch - 1].validation_accuracy,
        "seconds_per_epoch": statistics.median(record.seconds for record in result.history),
    }


# -- findings -------------------------------------------------------------------------------


def curve_table(found: Accuracies) -> Table:
    """A table of all sizes, without and with delays."""
    rows = []
    for size in sizes(found):
        without, with_delays = found[size, False], found[size, True]
        above = standard_errors_above(with_delays, without)
        rows.append([str(size), per_cent(without), per_cent(with_delays), f"{above:+.1f}"])
    columns = ["hidden units", "weights only (%)", "weights and delays (%)",
               "standard errors between"]  # fmt: skip
    return Table("Test accuracy, mean and standard deviation over seeds", columns, rows)


def halves_table(found: Accuracies) -> Iterator[Table]:
    """A table that compares delays with twice the hidden units, where both were trained."""
    rows = []
    for few, many in HALVES:
        if {few, many} <= set(sizes(found)):
            above = standard_errors_above(found[few, True], found[many, False])
            rows.append(
                [f"{few} with delays, {many} without", per_cent(found[few, True]),
                 per_cent(found[many, False]), f"{above:+.1f}"]
            )  # fmt: skip
    columns = ["hidden units", "with delays (%)", "without (%)", "standard errors between"]
    if rows:
        yield Table("Half the hidden units", columns, rows)


def delgrad_table(found: Accuracies) -> Iterator[Table]:
    """A table that compares DelGrad's single runs with the seeds."""
    rows = []
    for key, published in DELGRAD.items():
        if key in found:
            size, delays = key
            reached = sum(accuracy >= published for accuracy in found[key])
            rows.append(
                [f"{size}, {'weights and delays' if delays else 'weights only'}",
                 f"{100 * published:.1f}", per_cent(found[key]),
                 f"{reached} of {len(found[key])}"]
            )  # fmt: skip
    columns = ["hidden units", "DelGrad (%)", "evsim (%)", "seeds that reach it"]
    if rows:
        yield Table("DelGrad's published runs, one of each", columns, rows)


def sizes(found: Accuracies) -> list[int]:
    """The numbers of hidden units, ascending."""
    return sorted({size for size, _ in found})


def summary(found: Accuracies) -> str:
    """A sentence on the number of sizes at which each part of the claim holds."""
    every = sizes(found)
    better = sum(
        statistics.mean(found[size, True]) > statistics.mean(found[size, False]) for size in every
    )
    text = f"With delays the mean is higher at {better} of {len(every)} sizes"
    halves = [
        f"{few} for {many}: {standard_errors_above(found[few, True], found[many, False]):+.1f}"
        for few, many in HALVES
        if {few, many} <= set(every)
    ]
    if halves:
        text += "; half the hidden units with delays, in standard errors: " + ", ".join(halves)
    return text + "."


# -- plot -----------------------------------------------------------------------------------


def draw(found: Accuracies, file: Path) -> None:
    """Draw the curve as in D Figure 4, with a dot for every seed and crosses for DelGrad."""
    from evsim.plotting.style import (
        BLACK,
        COLOURS,
        ONE_COLUMN,
        SMALL_TEXT,
        label,
        new_figure,
        save,
    )

    figure = new_figure(1.4 * ONE_COLUMN, 3.2)
    ax = figure.subplots()
    for delays, name, colour, marker, beside in (
        (True, "weights and delays", COLOURS[0], "o", -0.4),
        (False, "weights only", COLOURS[5], "s", 0.4),
    ):
        values = [[100 * value for value in found[size, delays]] for size in sizes(found)]
        ax.errorbar(
            sizes(found), list(map(statistics.mean, values)), list(map(deviation, values)),
            color=colour, marker=marker, markersize=4, linewidth=1.2, capsize=2, label=name,
        )  # fmt: skip
        for size, dots in zip(sizes(found), values, strict=True):
            ax.plot([size + beside] * len(dots), dots, ".", color=colour, alpha=0.5, markersize=4)
    for (size, _), published in DELGRAD.items():
        if size in sizes(found):
            ax.plot(size, 100 * published, "x", color=BLACK, markersize=5)
    ax.plot([], [], "x", color=BLACK, markersize=5, label="DelGrad, single runs")
    label(ax, "hidden units", "test accuracy (%)")
    ax.set_xticks(sizes(found))
    ax.grid(alpha=0.3)
    ax.legend(loc="lower right", fontsize=SMALL_TEXT, frameon=False)
    save(figure, file)
