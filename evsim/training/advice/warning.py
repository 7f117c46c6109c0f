"""The category of warnings about training."""


class TrainingWarning(UserWarning):
    """A training run that does not learn, or that will not.

    Before training: a learning rate that eases in for most of the run.  After an epoch, where no
    progress is shown: all samples in one class, spike counts that keep growing.  At the end: an
    accuracy that is that of guessing.
    """
