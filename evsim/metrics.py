"""Metrics of classification: the confusion matrix, and the accuracy of each class."""

from __future__ import annotations

from typing import Any

import numpy as np

from evsim.arguments.checks import checked_count, integer_array
from evsim.arguments.keywords import helpful


@helpful
def confusion_matrix(labels: Any, predictions: Any, classes: int) -> np.ndarray:
    """The number of samples for each true and predicted class, int64, shape (classes, classes).

    Rows are true classes, columns are predicted classes.  A prediction of -1 means that a sample
    belongs to no class; such samples are not in any column, see ``unclassified``.

    Parameters
    ----------
    labels : array of int, shape (samples,)
        True classes, 0 <= label < classes.
    predictions : array of int, shape (samples,)
        Predicted classes, -1 <= prediction < classes.
    classes : int
        The number of classes.

    Raises
    ------
    TypeError, ValueError
        If an array does not have one integer within its range for each sample.
    """
    labels, predictions = _checked(labels, predictions, classes)
    seen = predictions >= 0
    cells = labels[seen] * classes + predictions[seen]
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes).astype(np.int64)


@helpful
def unclassified(labels: Any, predictions: Any, classes: int) -> np.ndarray:
    """The number of samples of each true class with prediction -1, int64, shape (classes,)."""
    labels, predictions = _checked(labels, predictions, classes)
    return np.bincount(labels[predictions < 0], minlength=classes).astype(np.int64)


@helpful
def accuracy_by_class(labels: Any, predictions: Any, classes: int) -> np.ndarray:
    """The fraction of correct predictions for each true class, float64, shape (classes,).

    It is NaN for a class without samples.  A prediction of -1 counts as wrong.
    """
    labels, predictions = _checked(labels, predictions, classes)
    samples = np.bincount(labels, minlength=classes)
    right = np.bincount(labels[labels == predictions], minlength=classes)
    accuracy = np.full(classes, np.nan)
    np.divide(right, samples, out=accuracy, where=samples > 0)
    return accuracy


def _checked(labels: Any, predictions: Any, classes: int) -> tuple[np.ndarray, np.ndarray]:
    checked_count(classes, "classes", 1, 2**31)
    checked = []
    for name, values, lowest in (("labels", labels, 0), ("predictions", predictions, -1)):
        array = integer_array(values, name)
        if array.ndim != 1:
            raise ValueError(f"{name} has shape {array.shape}: give one per sample, (samples,)")
        wrong = (array < lowest) | (array >= classes)
        if wrong.any():
            sample = int(np.argmax(wrong))
            raise ValueError(
                f"{name}[{sample}] = {array[sample]}: with {classes} classes it must be from "
                f"{lowest} to {classes - 1}"
            )
        checked.append(array)
    if checked[0].size != checked[1].size:
        raise ValueError(
            f"there are {checked[0].size} labels but {checked[1].size} predictions: give one of "
            "each per sample"
        )
    return checked[0], checked[1]
