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


def accuracies(train: Dataset, test: Dataset) -> np.ndarray:
    """The accuracy on ``test`` of ridge regression on ``train`` with each penalty, (penalties,)."""
    x = features(train)
    offset = x.mean(axis=0)
    x -= offset
    wanted = np.eye(train.labels.max() + 1)[train.labels]
    mean = wanted.mean(axis=0)
    products, targets, shown = x.T @ x, x.T @ (wanted - mean), features(test) - offset
    found = []
    for penalty in PENALTIES:
        weights = np.linalg.solve(products + penalty * np.eye(x.shape[1]), targets)
        found.append(((shown @ weights + mean).argmax(axis=1) == test.labels).mean())
    return np.array(found)


def of_folds(folds: Sequence[Fold]) -> np.ndarray:
    """The accuracies on each fold with each penalty, shape (folds, penalties)."""
    return np.array([accuracies(fold.train, fold.validation) for fold in folds])


def main() -> None:
    """Print the accuracy for unheard speakers, and on the test samples."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="the folder of the data")
    train, test = spoken_digits(parser.parse_args().folder)
    unheard = of_folds(leave_one_group_out(train))
    best = unheard.mean(axis=0).argmax()
    each = ", ".join(f"{100 * value:.1f}" for value in unheard[:, best])
    mean = 100 * unheard[:, best].mean()
    print(f"unheard speakers: {mean:.1f} % ({each}), penalty {PENALTIES[best]:g}")
    best = of_folds(k_fold(train, 5)).mean(axis=0).argmax()
    on_test = 100 * accuracies(train, test)[best]
    print(f"test samples: {on_test:.1f} %, penalty {PENALTIES[best]:g}")


if __name__ == "__main__":
    main()
