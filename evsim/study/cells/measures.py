"""The measures that a run ends with."""

from __future__ import annotations

from evsim.study.cells.plan import Measures
from evsim.training.evaluation import Evaluation
from evsim.training.fitting import FitResult


def tested(outcome: Evaluation) -> Measures:
    """The measures of a test."""
    accuracy = {} if outcome.accuracy is None else {"accuracy": outcome.accuracy}
    return {**accuracy, "loss": outcome.loss, "samples": len(outcome.losses)}


def trained(result: FitResult) -> Measures:
    """The measures of training, in the best epoch as far as it is known."""
    measures: Measures = {"best_epoch": result.best_epoch, "epochs": len(result.history)}
    if result.best_epoch:
        best = result.history[result.best_epoch - 1]
        for name in ("validation_accuracy", "validation_loss"):
            if getattr(best, name) is not None:
                measures[name] = getattr(best, name)
    return measures
