"""Spoken digits with a small recurrent network, with and without four mechanisms, for a study.

    cd studies
    EVSIM_DATA=data evsim study spoken_digits_factors.toml --out ../runs/factors

A run trains a network of the experiment ``small`` with half of its epochs, on a grid with a step of
5 ms.  With blends, an epoch has twice as many samples, and there are half as many epochs.  No test
result influences a choice: each network is that of the epoch with the best training accuracy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spoken_digits_steps import accuracy, finished, grid

from evsim.tasks import spoken_digits

EPOCHS = 20
DECAY = 0.88
"""The factor on the learning rates after each epoch, for this number of epochs."""


def settings_of(settings: dict[str, Any], seed: int) -> spoken_digits.Settings:
    """The settings of the task."""
    times = 2 if settings["blend"] else 1
    return spoken_digits.Settings(
        experiment="small",
        recurrent=True,
        **settings,
        epochs=EPOCHS // times,
        rate_decay=DECAY**times,
        seed=seed,
    )


def train(settings: dict[str, Any], seed: int, folder: str) -> dict[str, float]:
    """Train one network and test it."""
    chosen = settings_of(settings, seed)
    engine = grid(dt=5.0)
    result = finished(
        spoken_digits.train(
            chosen, engine=engine, run_folder=Path(folder), resume=True, progress=False
        )
    )
    training, _, _ = spoken_digits.data(chosen)
    trained = spoken_digits.experiment.test(result.network, training, chosen, engine)
    assert trained.accuracy is not None
    return {
        "accuracy": accuracy(result.network, chosen, engine),
        "training_accuracy": trained.accuracy,
    }
