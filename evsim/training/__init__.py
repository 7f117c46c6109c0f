"""Training: fit and evaluate, with optimisers, schedules and a record of every epoch."""

from evsim.data.dataset import Dataset
from evsim.training.evaluation import Evaluation, Prediction, evaluate, predict
from evsim.training.fitting import FitResult, StopTraining, fit
from evsim.training.history import EpochRecord, History
from evsim.training.state import TrainingState

__all__ = [
    "Dataset",
    "EpochRecord",
    "Evaluation",
    "FitResult",
    "History",
    "Prediction",
    "StopTraining",
    "TrainingState",
    "evaluate",
    "fit",
    "predict",
]
