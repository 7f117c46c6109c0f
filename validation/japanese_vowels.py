"""Japanese Vowels: networks with and without learned delays, 1-NN DTW and a linear map.

    python validation/japanese_vowels.py --out runs/vowels [--data FOLDER] [--seeds 8]

The program trains ``--seeds`` networks of each kind with the settings of ``evsim train
japanese-vowels``, tests them, and prints the mean test accuracy, its standard deviation over the
seeds and the standard error of the mean.  Then it prints the differences between the kinds, paired
over the seeds, with their 95 % confidence intervals by Student's t.  A run that is already in the
folder is not repeated.  The results are in ``japanese_vowels.json`` and ``japanese_vowels.png`` in
the folder.

Networks of the kind "delays not learned" have the same initial delays and settings as those that
learn delays, but only their weights are trained.

1-NN DTW assigns an utterance to the class of the nearest training utterance, where the distance is
that of dynamic time warping of all coefficients together, without a window.  The linear map is
ridge regression on the frames that the networks receive.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from scipy import stats

from evsim import Dataset, datasets, encoding, plotting
from evsim.engines import Exact
from evsim.plotting.style import COLOURS, ONE_COLUMN, label, new_figure
from evsim.tasks import japanese_vowels
from evsim.tasks.japanese_vowels import Settings
from evsim.training.optimisers import Optimizer

KINDS = ("weights alone", "delays not learned", "weights and delays")
"""The kinds of networks."""

RIDGES = (0.01, 0.03, 0.1, 0.3, 1.0)
"""Strengths of the ridge, in units of the mean squared length of an utterance."""


def main() -> None:
    """Train, test, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=Settings().epochs)
    asked = parser.parse_args()
    training, test = datasets.japanese_vowels(asked.data)
    accuracies = {
        kind: [
            trained(kind, seed, asked.data, asked.epochs, asked.out) for seed in range(asked.seeds)
        ]
        for kind in KINDS
    }
    baselines = {
        "1-NN DTW": nearest_neighbour(training, test),
        "linear map": linear_map(training, test, Settings().frames),
    }
    results = {**accuracies, **baselines}
    (asked.out / "japanese_vowels.json").write_text(json.dumps(results, indent=2))
    for kind, values in accuracies.items():
        error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
        print(
            f"{kind}: {100 * np.mean(values):.2f} %, standard deviation "
            f"{100 * np.std(values, ddof=min(1, len(values) - 1)):.2f}, standard error "
            f"{100 * error:.2f} ({len(values)} seeds)"
        )
    for first, second in combinations(reversed(KINDS), 2):
        print(f"{first}, less {second}: {paired(accuracies[first], accuracies[second])}")
    for name, value in baselines.items():
        print(f"{name}: {100 * value:.2f} %")
    draw(accuracies, baselines, asked.out / "japanese_vowels.png")


def trained(kind: str, seed: int, data: Path | None, epochs: int, out: Path) -> float:
    """The test accuracy of a network, which is trained first unless its run is finished."""
    settings = Settings(data=data, seed=seed, epochs=epochs, delays=kind != "weights alone")
    experiment = japanese_vowels.experiment
    if kind == "delays not learned":
        experiment = replace(experiment, optimizers=without_delays, fit_arguments=without_delay_max)
    folder = out / f"{kind.replace(' ', '_')}_{seed}"
    engine = Exact(threads=1)
    result = experiment.train(
        settings, run_folder=folder, resume=folder.exists(), engine=engine, progress=False
    )
    accuracy = experiment.evaluate(result, settings, engine=engine).accuracy
    assert accuracy is not None
    print(f"{kind}, seed {seed}: {100 * accuracy:.2f} %", flush=True)
    return accuracy


def without_delays(settings: Settings) -> dict[str, Optimizer]:
    """The optimisers of the weights."""
    chosen = japanese_vowels.optimizers(settings)
    return {name: chosen[name] for name in chosen if not name.endswith(".delay")}


def without_delay_max(settings: Settings, training: Dataset) -> dict[str, Any]:
    """The other arguments of ``evsim.fit``, which has no delays to bound."""
    return japanese_vowels.experiment.fit_arguments(settings, training) | {"delay_max": np.inf}


def paired(first: list[float], second: list[float]) -> str:
    """The mean difference of two kinds over the same seeds, in words."""
    differences = 100 * (np.array(first) - np.array(second))
    words = f"{differences.mean():.2f} %"
    if len(differences) < 2 or not differences.any():
        return words
    interval = stats.ttest_1samp(differences, 0.0).confidence_interval(0.95)
    return f"{words}, 95 % confidence interval {interval.low:.2f} to {interval.high:.2f}"


# -- the baselines ------------------------------------------------------------------------


def nearest_neighbour(training: datasets.TimeSeries, test: datasets.TimeSeries) -> float:
    """The test accuracy of 1-NN DTW on the published coefficients."""
    found = [
        training.labels[np.argmin([warped_distance(known, sample) for known in training])]
        for sample in test
    ]
    return float(np.mean(found == test.labels))


@njit
def warped_distance(first: np.ndarray, second: np.ndarray) -> float:
    """The squared distance of two samples, (time, channels), under dynamic time warping."""
    costs = np.full((len(first) + 1, len(second) + 1), np.inf)
    costs[0, 0] = 0.0
    for i in range(len(first)):
        for j in range(len(second)):
            step = min(costs[i, j], costs[i, j + 1], costs[i + 1, j])
            costs[i + 1, j + 1] = np.sum((first[i] - second[j]) ** 2) + step
    return costs[-1, -1]


def linear_map(training: datasets.TimeSeries, test: datasets.TimeSeries, frames: int) -> float:
    """The test accuracy of ridge regression; three folds of the training set choose the ridge."""
    mean, deviation = training.mean_and_deviation()
    known, unknown = (
        ((encoding.resample(part.samples, frames) - mean) / deviation).reshape(len(part), -1)
        for part in (training, test)
    )
    fold = np.arange(len(training)) % 3
    scores = [
        np.mean(
            [
                ridge_classes(known[fold != k], training.labels[fold != k], known[fold == k], ridge)
                == training.labels[fold == k]
                for k in range(3)
            ]
        )
        for ridge in RIDGES
    ]
    best = RIDGES[int(np.argmax(scores))]
    return float(np.mean(ridge_classes(known, training.labels, unknown, best) == test.labels))


def ridge_classes(
    known: np.ndarray, labels: np.ndarray, unknown: np.ndarray, ridge: float
) -> np.ndarray:
    """The classes that ridge regression on indicators assigns to unknown samples."""
    middle = known.mean(axis=0)
    known, unknown = known - middle, unknown - middle
    products = known @ known.T
    products += ridge * np.trace(products) / len(known) * np.eye(len(known))
    indicators = np.eye(labels.max() + 1)[labels]
    return np.argmax(unknown @ known.T @ np.linalg.solve(products, indicators), axis=1)


# -- the picture --------------------------------------------------------------------------


def draw(accuracies: dict[str, list[float]], baselines: dict[str, float], path: Path) -> None:
    """Draw every seed's accuracy, the means with their standard errors, and the baselines."""
    ax = new_figure(ONE_COLUMN, 2.4).subplots()
    for place, values in enumerate(accuracies.values()):
        percent = 100 * np.array(values)
        spread = np.linspace(-0.12, 0.12, len(percent))
        ax.plot(place + spread, percent, ".", color=COLOURS[place], markersize=4.0)
        if len(percent) > 1:
            error = percent.std(ddof=1) / np.sqrt(len(percent))
            ax.errorbar(
                place + 0.25,
                percent.mean(),
                error,
                fmt="o",
                color=COLOURS[place],
                ms=4.0,
                capsize=2.0,
            )
    for name, value in baselines.items():
        ax.axhline(100 * value, color="0.6", linewidth=0.8)
        ax.text(len(accuracies) - 0.52, 100 * value, name, va="bottom", ha="right", fontsize=6)
    ax.set_xticks(range(len(accuracies)), [kind.replace(" ", "\n", 1) for kind in accuracies])
    ax.set_xlim(-0.5, len(accuracies) - 0.5)
    label(ax, "", "test accuracy (%)")
    plotting.save(ax.figure, path)


if __name__ == "__main__":
    main()
