"""Tables and a picture of the Yin-Yang studies, with paired differences.

    python studies/yin_yang_report.py studies/results/yin_yang_*.csv --picture yin_yang.png

The files are the tables of the studies, such as runs/sizes/table.csv; tables of earlier runs are in
studies/results.  Runs that have not finished are left out.  Runs are paired by their seeds.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

from evsim.display.markdown_table import markdown_table
from evsim.plotting import save, study_means
from evsim.study import paired_difference
from evsim.study.table import table_of

MEASURES = (
    "accuracy",
    "validation_accuracy",
    "silent_at_first",
    "silent_at_most",
    "silent_at_last",
)
"""The columns that are read."""

Accuracies = dict[tuple[int, str], dict[int, dict[str, float]]]
"""The measures of each seed, by hidden units and variant."""


def read(files: list[Path]) -> Accuracies:
    """The finished runs in some tables."""
    found: Accuracies = {}
    for file in files:
        with file.open(newline="", encoding="utf-8") as opened:
            for row in csv.DictReader(opened):
                if row["state"] == "finished":
                    place = int(row["hidden"]), row["variant"]
                    measures = {name: float(row[name]) for name in MEASURES}
                    found.setdefault(place, {})[int(row["seed"])] = measures
    return found


def silent(runs: dict[int, dict[str, float]]) -> str:
    """Units that are silent in all samples of an epoch: the first, the worst, and the last."""
    names = ("silent_at_first", "silent_at_most", "silent_at_last")
    return " / ".join(f"{np.mean([run[name] for run in runs.values()]):.3g}" for name in names)


def percent(runs: dict[int, dict[str, float]], measure: str) -> str:
    """Mean and standard deviation over seeds."""
    values = 100 * np.array([run[measure] for run in runs.values()])
    return f"{values.mean():.2f} ± {values.std(ddof=1):.2f} ({values.size})"


def difference(
    one: dict[int, dict[str, float]], other: dict[int, dict[str, float]], measure: str
) -> str:
    """The mean difference of runs with the same seed, in per cent, with its 95 % interval."""
    seeds = sorted(set(one) & set(other))
    if len(seeds) < 2:
        return ""
    result = paired_difference(
        [100 * one[seed][measure] for seed in seeds], [100 * other[seed][measure] for seed in seeds]
    )
    low, high = result.interval
    if np.isnan(low):
        return f"{result.mean:+.2f} in every pair"
    return f"{result.mean:+.2f} [{low:+.2f}, {high:+.2f}]"


def print_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table in Markdown."""
    print(f"\n{title}\n\n{markdown_table(columns, rows)}")


def main() -> None:
    """Print the tables, and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="+", type=Path)
    parser.add_argument("--measure", default="accuracy", help="accuracy or validation_accuracy")
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    found, measure = read(arguments.tables), arguments.measure
    sizes = sorted({hidden for hidden, _ in found})

    def at(hidden: int, variant: str) -> dict[int, dict[str, float]]:
        return found.get((hidden, variant), {})

    main_variants = ["weights only", "delays of inputs", "all delays"]
    rows = [
        [
            str(hidden),
            *(percent(at(hidden, each), measure) if len(at(hidden, each)) > 1 else ""
              for each in main_variants),
            difference(at(hidden, "all delays"), at(hidden, "weights only"), measure),
        ]
        for hidden in sizes
    ]  # fmt: skip
    print_table(
        f"{measure}, per cent, mean ± standard deviation (seeds)",
        ["hidden units", *main_variants, "all delays - weights only"],
        rows,
    )

    rows = [
        [str(hidden), str(2 * hidden), difference(at(hidden, few), at(2 * hidden, "weights only"),
                                                  measure)]
        + [few]
        for few in ("all delays", "delays of inputs")
        for hidden in sizes
        if len(set(at(hidden, few)) & set(at(2 * hidden, "weights only"))) > 1
    ]  # fmt: skip
    print_table(
        "Delays, minus twice the hidden units with weights only",
        ["with delays", "weights only", "difference", "delays"],
        rows,
    )

    variants = sorted({variant for _, variant in found} - {*main_variants})
    rows = [
        [variant, str(hidden), percent(at(hidden, variant), measure),
         difference(at(hidden, variant), at(hidden, "all delays"), measure),
         silent(at(hidden, variant))]
        for variant in variants
        for hidden in sizes
        if len(set(at(hidden, variant)) & set(at(hidden, "all delays"))) > 1
    ]  # fmt: skip
    print_table(
        "One thing changed, minus all delays with the defaults",
        [
            "variant",
            "hidden units",
            measure,
            "difference",
            "silent units: first epoch / most / last",
        ],
        rows,
    )

    if arguments.picture:
        drawn = [
            {"hidden": hidden, "variant": variant, "seed": seed, measure: run[measure]}
            for (hidden, variant), runs in sorted(found.items())
            if variant in main_variants
            for seed, run in runs.items()
        ]
        ax = study_means(table_of(drawn, ("hidden", "variant")), "hidden", measure=measure)
        print(save(ax.figure, arguments.picture))


if __name__ == "__main__":
    main()
