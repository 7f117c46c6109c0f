"""A linear model of the spoken digits: what spike counts alone tell, to compare networks with.

    python studies/spoken_digits_linear.py FOLDER

The features of a sample are the square roots of its spike counts in groups of channels and bins of
time.  Ridge regression predicts, for each class, whether a sample belongs to it.  For unheard
speakers its penalty is the best one in leave-one-speaker-out cross-validation over the training
samples, whose accuracy is printed; for the test samples, whose speakers are those of the training
samples, it is the best one in five-fold cross-validation.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from evsim.datasets import spoken_digits

from evsim.data.dataset import Dataset
from evsim.study import Fold, k_fold, leave_one_group_out

DURATION = 800.0  # ms
CHANNELS, BINS = 70, 20
PENALTIES = 10.0 ** np.arange(0.0, 6.0)


def features(data: Dataset) -> np.ndarray:
    """The square roots of the spike counts, shape (samples, channels * bins)."""
    (spikes,) = data.inputs.values()
    kept = spikes.times < DURATION
    channel = spikes.units * CHANNELS // spikes.unit_count
    time = np.minimum((spikes.times / DURATION * BINS).astype(int), BINS - 1)
    place = (spikes.samples * CHANNELS + channel) * BINS + time
    counts = np.bincount(place[kept], minlength=len(data) * CHANNELS * BINS)
    return np.sqrt(counts.reshape(len(data), -1))


def accuracy(train: Dataset, test: Dataset, penalty: float) -> float:
    """The accuracy on ``test`` of ridge regression on ``train``."""
    x = features(train)
    offset = x.mean(axis=0)
    x -= offset
    wanted = np.eye(train.labels.max() + 1)[train.labels]
    weights = np.linalg.solve(
        x.T @ x + penalty * np.eye(x.shape[1]), x.T @ (wanted - wanted.mean(axis=0))
    )
    scores = (features(test) - offset) @ weights + wanted.mean(axis=0)
    return float((scores.argmax(axis=1) == test.labels).mean())


def best_penalty(folds: Sequence[Fold]) -> tuple[float, list[float]]:
    """The penalty with the best mean accuracy, and the accuracy on each fold."""
    parts = [(fold.train, fold.validation) for fold in folds]
    found = {
        penalty: [accuracy(train, test, penalty) for train, test in parts] for penalty in PENALTIES
    }
    best = max(found, key=lambda penalty: np.mean(found[penalty]))
    return best, found[best]


def main() -> None:
    """Print the accuracy for unheard speakers, and on the test samples."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="the folder of the data")
    train, test = spoken_digits(parser.parse_args().folder)
    penalty, accuracies = best_penalty(leave_one_group_out(train))
    each = ", ".join(f"{100 * value:.1f}" for value in accuracies)
    print(f"unheard speakers: {100 * np.mean(accuracies):.1f} % ({each}), penalty {penalty:g}")
    penalty, _ = best_penalty(k_fold(train, 5))
    print(f"test samples: {100 * accuracy(train, test, penalty):.1f} %, penalty {penalty:g}")


if __name__ == "__main__":
    main()
