"""Claim: delays let half the hidden units do the same work (D section 2.2, Figure 4).

    python validation/yin_yang_curve.py --out runs/yin_yang_curve [--seeds 5] [--sizes 5 10 ...]

Trains Yin-Yang with 5 to 30 hidden units, with and without learned delays, for several seeds,
on the exact engine, and tests each at its best validation epoch.  It would be refuted if
networks with delays were not better at equal size, or if 10 hidden units with delays did
worse than 20 without.  Writes a table, a picture and every run's figures to the folder, and
goes on where it was stopped.  60 runs of 300 epochs take about an hour on 2 cores.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

SIZES = (5, 10, 15, 20, 25, 30)


class Case(NamedTuple):
    """One training run."""

    hidden: int
    delays: bool
    seed: int

    @property
    def name(self) -> str:
        """Also the name of its file."""
        return f"{self.hidden}-{'delays' if self.delays else 'weights'}-{self.seed}"


def main() -> None:
    """Train what is missing, then draw the curve."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/yin_yang_curve"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--epochs", type=int, default=None)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    cases = [
        Case(hidden, delays, seed)
        for seed in range(arguments.seeds)
        for hidden in arguments.sizes
        for delays in (True, False)
    ]
    missing = [case for case in cases if not (arguments.out / f"{case.name}.json").exists()]
    with ProcessPoolExecutor(arguments.processes) as pool:
        futures = {
            pool.submit(run, case, arguments.epochs, arguments.out): case for case in missing
        }
        for number, future in enumerate(as_completed(futures), 1):
            print(f"{number}/{len(missing)} {futures[future].name}: {future.result():.4f}")

    accuracies = collect(cases, arguments.out)
    table = markdown(accuracies, arguments.sizes)
    print(table)
    (arguments.out / "curve.md").write_text(table + "\n")
    draw(accuracies, arguments.sizes, arguments.out / "curve.png")
    refutations = list(check(accuracies, arguments.sizes))
    print("\n".join(refutations) or "the claim holds")
    sys.exit(bool(refutations))


def run(case: Case, epochs: int | None, folder: Path) -> float:
    """Train one network and store its test accuracy at the best validation epoch."""
    from evsim.engines import Exact
    from evsim.tasks import yin_yang

    settings = yin_yang.Settings(hidden=case.hidden, delays=case.delays, seed=case.seed)
    if epochs is not None:
        settings = replace(settings, epochs=epochs)
    engine = Exact(threads=1)
    result = yin_yang.train(settings, engine=engine, progress=False)
    outcome = yin_yang.evaluate(result, settings, engine=engine)
    record = {
        "test_accuracy": outcome.accuracy,
        "best_epoch": result.best_epoch,
        "validation_accuracy": result.history[result.best_epoch - 1].validation_accuracy,
        "seconds_per_epoch": statistics.median(r.seconds for r in result.history),
        "epochs": len(result.history),
    }
    file = folder / f"{case.name}.json"
    unfinished = file.with_suffix(".part")
    unfinished.write_text(json.dumps(record, indent=1))
    unfinished.replace(file)
    return outcome.accuracy


def collect(cases: Iterable[Case], folder: Path) -> dict[tuple[int, bool], list[float]]:
    """Test accuracies of all seeds by size and delays."""
    accuracies: dict[tuple[int, bool], list[float]] = {}
    for case in cases:
        record = json.loads((folder / f"{case.name}.json").read_text())
        accuracies.setdefault((case.hidden, case.delays), []).append(record["test_accuracy"])
    return accuracies


def markdown(accuracies: dict[tuple[int, bool], list[float]], sizes: Iterable[int]) -> str:
    """Mean and standard deviation over seeds, in per cent."""
    lines = ["| hidden units | weights only | weights and delays |", "|---|---|---|"]
    for size in sizes:
        cells = [
            f"{100 * statistics.mean(values):.2f} ± {100 * spread(values):.2f}"
            for values in (accuracies[size, False], accuracies[size, True])
        ]
        lines.append(f"| {size} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def spread(values: list[float]) -> float:
    """Standard deviation over seeds; 0 for one seed."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


def check(accuracies: dict[tuple[int, bool], list[float]], sizes: Iterable[int]) -> Iterable[str]:
    """What contradicts the claim."""
    means = {key: statistics.mean(values) for key, values in accuracies.items()}
    for size in sizes:
        if means[size, True] < means[size, False]:
            yield (
                f"refuted: with {size} hidden units {means[size, True]:.4f} with delays, "
                f"{means[size, False]:.4f} without"
            )
    if {10, 20} <= set(sizes) and means[10, True] < means[20, False]:
        yield (
            f"refuted: {means[10, True]:.4f} for 10 hidden units with delays, "
            f"{means[20, False]:.4f} for 20 without"
        )


def draw(accuracies: dict[tuple[int, bool], list[float]], sizes: Iterable[int], file: Path) -> None:
    """The curve in the manner of D Figure 4, every seed a dot."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, ax = pyplot.subplots(figsize=(5.5, 3.8), layout="constrained")
    sizes = list(sizes)
    for delays, label, colour, marker in (
        (True, "weights and delays", "#0072B2", "o"),
        (False, "weights only", "#D55E00", "s"),
    ):
        values = [accuracies[size, delays] for size in sizes]
        ax.errorbar(
            sizes,
            [100 * statistics.mean(v) for v in values],
            [100 * spread(v) for v in values],
            color=colour,
            marker=marker,
            capsize=3,
            label=label,
        )
        for size, own in zip(sizes, values, strict=True):
            ax.plot([size] * len(own), [100 * v for v in own], ".", color=colour, alpha=0.35)
    ax.set_xlabel("hidden units")
    ax.set_ylabel("test accuracy (%)")
    ax.set_xticks(sizes)
    ax.grid(alpha=0.3)
    ax.legend(loc="lower right")
    figure.savefig(file, dpi=150)


if __name__ == "__main__":
    main()
