"""The category of warnings about training."""


class TrainingWarning(UserWarning):
    """A training run that does not learn, or that will not.

    Before training, this is a learning rate that eases in for most of the run.  After an epoch, if
    no progress is shown, it is all samples in one class, or spike counts that keep growing.  At the
    end, it is an accuracy no better than guessing.
    """
