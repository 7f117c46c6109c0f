"""Data sets with few speakers: one of them held out, or each of them in turn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Unpack

import numpy as np

from evsim.arguments.keywords import helpful
from evsim.tasks import layered
from evsim.tasks.checking import for_settings
from evsim.tasks.layered_settings import Parts
from evsim.tasks.running import RunOptions, evaluated
from evsim.tasks.speech import SpeechSettings

if TYPE_CHECKING:
    from evsim.study import Fold, Scores
    from evsim.training.fitting import Evaluation


@helpful
@dataclass(frozen=True)
class SpeakerSettings(SpeechSettings):
    """Settings of data sets with few speakers, who can be held out one after the other."""

    held_out_speaker: int | None = None
    """Train without this speaker, and validate on what that speaker says in the training data."""

    folds: Literal["speakers"] | None = None
    """Cross-validation instead of a single run: for each speaker of the training data a network
    that is trained without and then tested on that speaker."""

    def check(self) -> None:
        """Refuse what does not fit together."""
        super().check()
        if self.folds is not None and self.held_out_speaker is not None:
            raise ValueError(
                f"held_out_speaker = {self.held_out_speaker} is given with folds, which hold out "
                "every speaker in turn: leave one of them out"
            )

    def samples(self) -> Parts:
        """Those samples that the settings ask for; validation is what a held-out speaker says."""
        speaker = self.held_out_speaker
        training, _, test = self.read()
        validation = None
        if speaker is not None:
            if training.groups is None:
                raise ValueError(f"held_out_speaker = {speaker}: the data do not say who speaks")
            own = training.groups == speaker
            if not own.any():
                names = training.group_names
                speakers = ", ".join(
                    str(known) if names is None else f"{known} ({names[known]})"
                    for known in np.unique(training.groups)
                )
                raise ValueError(f"held_out_speaker = {speaker}: the training data has {speakers}")
            validation = self._chosen(training[np.flatnonzero(own)], None, "validation")
            training = training[np.flatnonzero(~own)]
        return (
            self._chosen(training, self.train_size, "train"),
            validation,
            self._chosen(test, self.test_size, "test"),
        )


@helpful
@for_settings(SpeakerSettings)
def cross_validate(settings: SpeakerSettings, **options: Unpack[RunOptions]) -> Scores:
    """Train once without each speaker and test on that speaker.

    No validation samples: what the held-out speaker says chooses nothing.  The options are
    those of ``train``; each fold has a folder of its own in the run folder.
    """
    from evsim import study

    training, _, _ = layered.data(settings)
    folder = options.get("run_folder")
    engine = options.get("engine", "exact")
    loss, duration = layered.loss(settings), settings.hyperparameters().duration

    def train(fold: Fold, seed: int) -> Evaluation:
        # By number: a name out of a data file may lead out of the folder.
        speaker = training.groups[fold.held_out[0]]  # type: ignore[index]
        own = None if folder is None else Path(folder) / f"speaker_{speaker}"
        of_fold: RunOptions = {**options, "run_folder": own}
        result = layered.fit_samples(settings, fold.train, None, **of_fold)
        if result.interrupted:
            raise KeyboardInterrupt
        return evaluated(result.network, fold.validation, loss, duration, engine)

    return study.cross_validate(train, study.leave_one_group_out(training), seed=settings.seed)
