"""A table and a picture of the study of time steps on the spoken digits.

    python spoken_digits_report.py results/spoken_digits_steps.csv --picture steps.png

The file is the table of ``spoken_digits_steps.toml``; the table of earlier runs is in
studies/results. The picture shows the training accuracy against the training time, for each time
step.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from pathlib import Path

import numpy as np

from evsim.display.markdown_table import markdown_table
from evsim.plotting import save
from evsim.plotting.style import COLOURS, ONE_COLUMN, SMALL_TEXT, label, new_figure

TESTS = {
    "accuracy": "its own grid",
    "accuracy_0.25_ms": "grid, 0.25 ms",
    "accuracy_1_ms": "grid, 1 ms",
    "accuracy_2_ms": "grid, 2 ms",
    "accuracy_5_ms": "grid, 5 ms",
    "exact_accuracy": "exact",
    "resting_accuracy": "exact, refractory period of one step",
}
"""The test accuracies of a run, and how it was tested."""

Runs = dict[float, list[dict[str, float]]]
"""The measures of all seeds, by time step in ms."""


def read(file: Path) -> Runs:
    """The finished runs of a table."""
    found: Runs = defaultdict(list)
    with file.open(newline="", encoding="utf-8") as opened:
        for row in csv.DictReader(opened):
            if row.pop("state") == "finished":
                found[float(row["dt"])].append(
                    {name: float(row[name]) for name in row if row[name]}
                )
    return dict(sorted(found.items()))


def percent(values: list[float]) -> str:
    """Mean and standard deviation over seeds."""
    shares = 100 * np.array(values)
    deviation = f" ± {shares.std(ddof=1):.1f}" if shares.size > 1 else ""
    return f"{shares.mean():.1f}{deviation}"


def table(runs: Runs) -> str:
    """The accuracy of networks trained on each grid, on each grid and in continuous time."""
    rows = [
        [told, *(percent([run[name] for run in each]) for each in runs.values())]
        for name, told in TESTS.items()
    ]
    for name, told in (
        ("exact_runaways", "samples that run away"),
        ("resting_runaways", "the same with a refractory period"),
        ("spikes", "spikes of hidden units in a sample"),
        ("seconds", "seconds of training, fastest run"),
    ):
        over_seeds = np.min if name == "seconds" else np.mean
        values = [over_seeds([run[name] for run in each]) for each in runs.values()]
        rows.append([told, *(f"{value:.4g}" for value in values)])
    return markdown_table(["tested", *(f"trained on {dt:g} ms" for dt in runs)], rows)


def draw(runs: Runs, file: Path) -> Path:
    """Training accuracy against minutes of training, and the test accuracy at the end."""
    figure = new_figure(ONE_COLUMN, 2.4)
    ax = figure.subplots()
    for colour, (dt, each) in zip(COLOURS, runs.items(), strict=False):
        fastest = min(each, key=lambda run: run["seconds"])
        epochs = sorted(int(name.split("_")[1]) for name in fastest if name.startswith("seconds_"))
        minutes = [fastest[f"seconds_{epoch}"] / 60 for epoch in epochs]
        for run in each:
            shares = [100 * run[f"training_accuracy_{epoch}"] for epoch in epochs]
            is_first = run is each[0]
            ax.plot(minutes, shares, ".-", color=colour, linewidth=0.8, markersize=3.0,
                    label=f"{dt:g} ms" if is_first else None)  # fmt: skip
            ax.plot(minutes[-1], 100 * run["accuracy"], "D", color=colour, markersize=3.5,
                    markerfacecolor="white")  # fmt: skip
    ax.set_xlim(left=0.0)
    label(
        ax,
        x="training time (minutes on one core)",
        y="accuracy (%)",
        title="lines: training samples, shifted; diamonds: test",
    )
    ax.legend(title="time step", fontsize=SMALL_TEXT, title_fontsize=SMALL_TEXT, frameon=False)
    return save(figure, file)


def main() -> None:
    """Print the table, and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    runs = read(arguments.table)
    print(table(runs))
    if arguments.picture:
        print(draw(runs, arguments.picture))


if __name__ == "__main__":
    main()
