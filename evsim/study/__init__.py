"""study: grids of settings, seeds and folds; cross-validation; statistics of results.

``Study`` runs every combination of some settings with several seeds, each in a folder of its own,
on processes of this machine or on any executor::

    study = Study(yin_yang, {"hidden": [5, 10], "delays": [True, False]}, seeds=8, folder="yy")
    study.run()
    print(study.table().means())

``cross_validate`` and ``repeat`` call a function in this process.

Cross-validation over the speakers of a dataset, one of whom is held out in each fold::

    def train(fold, seed):
        return evsim.fit(network(seed), fold.train, loss, duration=1000.0, epochs=50,
                         optimizers=optimizers, validation=fold.validation, seed=seed)

    scores = study.cross_validate(train, study.leave_one_group_out(data))
    print(scores)        # 0.920 ± 0.031 (10 scores)

These folds run one after the other, because each of them uses all cores.
"""

from evsim.study.folds import Fold, k_fold, leave_one_group_out
from evsim.study.results import StudyResults, load_study
from evsim.study.runs import cross_validate, repeat
from evsim.study.scores import Scores
from evsim.study.selection import Choice, choose_and_retrain
from evsim.study.statistics import PairedDifference, credible_interval, paired_difference
from evsim.study.study import Study
from evsim.study.table import Table

__all__ = [
    "Choice",
    "Fold",
    "PairedDifference",
    "Scores",
    "Study",
    "StudyResults",
    "Table",
    "choose_and_retrain",
    "credible_interval",
    "cross_validate",
    "k_fold",
    "leave_one_group_out",
    "load_study",
    "paired_difference",
    "repeat",
]
