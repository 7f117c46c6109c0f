"""The metrics of classification against counting sample by sample."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evsim import metrics

CLASSES = 4


@given(st.lists(st.tuples(st.integers(0, CLASSES - 1), st.integers(-1, CLASSES - 1))))
def test_every_sample_is_counted_once_and_where_it_belongs(pairs):
    labels = np.array([label for label, _ in pairs], int)
    predictions = np.array([prediction for _, prediction in pairs], int)
    counts = metrics.confusion_matrix(labels, predictions, CLASSES)
    missing = metrics.unclassified(labels, predictions, CLASSES)
    accuracy = metrics.accuracy_by_class(labels, predictions, CLASSES)
    assert (counts.dtype, missing.dtype) == (np.int64, np.int64)
    for row in range(CLASSES):
        assert counts[row].tolist() == [pairs.count((row, column)) for column in range(CLASSES)]
        assert missing[row] == pairs.count((row, -1))
        own = [pair for pair in pairs if pair[0] == row]
        expected = pairs.count((row, row)) / len(own) if own else np.nan
        np.testing.assert_equal(accuracy[row], expected)


@pytest.mark.parametrize(
    ("labels", "predictions", "classes", "error", "message"),
    [
        ([0, 3], [0, 0], 3, ValueError, r"labels\[1\] = 3: with 3 classes it must be from 0 to 2"),
        ([0, -1], [0, 0], 3, ValueError, r"labels\[1\] = -1: with 3 classes"),
        ([0, 1], [-2, 0], 3, ValueError, r"predictions\[0\] = -2: .* from -1 to 2"),
        ([0, 1], [0], 3, ValueError, "there are 2 labels but 1 predictions"),
        ([0.0, 1.0], [0, 1], 3, TypeError, "labels has type float64: it must hold integers"),
        ([[0, 1]], [0, 1], 3, ValueError, r"labels has shape \(1, 2\)"),
        ([0], [0], 0, ValueError, "classes = 0: it must be at least 1"),
        ([0], [0], 2.0, TypeError, "classes = 2.0: it must be an integer"),
    ],
)
def test_what_is_no_classification_is_refused(labels, predictions, classes, error, message):
    with pytest.raises(error, match=message):
        metrics.confusion_matrix(labels, predictions, classes)
