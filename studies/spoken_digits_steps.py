"""Spoken digits trained on a time grid, and then tested and trained further in continuous time.

    cd studies
    EVSIM_DATA=data evsim study spoken_digits_steps.toml --out ../runs/steps

A run trains a network of the experiment ``small`` on a grid with steps of ``dt`` ms.  It tests the
network on that grid, on other grids, and on the exact engine.  On a grid, a unit spikes at most
once per step.  In continuous time, a unit that excites itself may run away, which the exact engine
refuses; such a sample counts as wrong.  So the network is also tested with a refractory period of
``dt``.  With ``exact_epochs`` this network is then trained further on the exact engine, with small
learning rates, and tested there again (``spoken_digits_exact.toml``).  No test result influences a
choice: each network is that of the epoch with the best training accuracy.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import evsim
from evsim.engines import EngineError
from evsim.tasks import spoken_digits
from evsim_gpu import Grid

TESTED_STEPS = (0.25, 1.0, 2.0, 5.0)
"""The steps of the grids on which each network is tested, in ms."""

EVERY = 5
"""Epochs between two rows of the course of training."""

FINER = 0.01
"""The learning rates on the exact engine, relative to those at the start of training."""
# A new Adam moves every parameter by the whole rate in its first steps: at a tenth of the initial
# rates, one epoch cost five per cent of accuracy.


def train(settings: dict[str, Any], seed: int, folder: str) -> dict[str, float]:
    """Train a network on a grid, test it, train it further on the exact engine, test it again."""
    chosen = settings_of(seed)
    result = finished(
        spoken_digits.train(
            chosen,
            engine=grid(settings["dt"]),
            run_folder=Path(folder) / "on_grid",
            resume=True,
            progress=False,
        )
    )
    resting = with_refractory_period(result.network, settings["dt"])
    exact, runaways = accuracy_in_continuous_time(result.network, chosen)
    exact_resting, runaways_resting = accuracy_in_continuous_time(resting, chosen)
    steps = sorted({settings["dt"], *TESTED_STEPS})
    on_grids = {dt: accuracy(result.network, chosen, grid(dt)) for dt in steps}
    found = {
        "accuracy": on_grids[settings["dt"]],
        "exact_accuracy": exact,
        "exact_runaways": runaways,
        "resting_accuracy": exact_resting,
        "resting_runaways": runaways_resting,
        "training_accuracy": result.history[result.best_epoch - 1].accuracy,
        "spikes": result.history[-1].spikes_per_sample["hidden"],
        "seconds": sum(epoch.seconds for epoch in result.history),
    }
    found |= accuracies_on_the_way(result.history)
    found |= {f"accuracy_{dt:g}_ms": on_grids[dt] for dt in TESTED_STEPS}
    if settings["exact_epochs"]:
        further = finished(
            train_further(resting, chosen, settings["exact_epochs"], Path(folder) / "exact")
        )
        found["further_accuracy"], found["further_runaways"] = accuracy_in_continuous_time(
            further.network, chosen
        )
        found["further_seconds"] = sum(epoch.seconds for epoch in further.history)
    return found


def accuracies_on_the_way(history: Any) -> dict[str, float]:
    """The accuracy on the shifted training samples of an epoch, and the seconds until its end."""
    found: dict[str, float] = {}
    seconds = 0.0
    for epoch in history:
        seconds += epoch.seconds
        if epoch.epoch % EVERY == 0:
            found[f"training_accuracy_{epoch.epoch}"] = epoch.accuracy or 0.0
            found[f"seconds_{epoch.epoch}"] = seconds
    return found


def settings_of(seed: int) -> spoken_digits.Settings:
    """The settings of the task."""
    return spoken_digits.Settings(
        experiment="small",
        recurrent=True,
        delays=True,
        heterogeneous=True,
        seed=seed,
    )


def grid(dt: float) -> Grid:
    """The grid engine on the CPU."""
    return Grid(dt=dt, precision="float32", rate_limit=float("inf"))


def finished(result: Any) -> Any:
    """A result of training; KeyboardInterrupt if it was interrupted."""
    if result.interrupted:
        raise KeyboardInterrupt
    return result


def accuracy(network: evsim.Network, chosen: spoken_digits.Settings, engine: Any) -> float:
    """The test accuracy on an engine."""
    _, _, test = spoken_digits.data(chosen)
    tested = spoken_digits.experiment.test(network, test, chosen, engine)
    assert tested.accuracy is not None
    return tested.accuracy


def with_refractory_period(network: evsim.Network, period: float) -> evsim.Network:
    """The same network, whose hidden units have a refractory period in ms."""
    populations = [
        replace(p, refractory=period) if p.name == "hidden" else p for p in network.populations
    ]
    return evsim.Network(populations, network.connections)


def accuracy_in_continuous_time(
    network: evsim.Network, chosen: spoken_digits.Settings
) -> tuple[float, int]:
    """The test accuracy on the exact engine, and the number of samples that run away."""
    _, _, test = spoken_digits.data(chosen)
    correct = runaways = 0
    for sample in range(len(test)):
        one = test[np.array([sample])]
        try:
            tested = spoken_digits.experiment.test(network, one, chosen, "exact")
        except EngineError:
            runaways += 1
        else:
            correct += round(tested.accuracy or 0.0)
    return correct / len(test), runaways


def train_further(
    network: evsim.Network, chosen: spoken_digits.Settings, epochs: int, folder: Path
) -> Any:
    """Train a network on the exact engine, with small learning rates."""
    training, _, _ = spoken_digits.data(chosen)
    numbers = chosen.hyperparameters()
    optimizers = {"weight": evsim.Adam(FINER * numbers.weight_rate)}
    for connection in ("input->hidden", "hidden->hidden"):
        optimizers[f"{connection}.delay"] = evsim.Adam(FINER * numbers.delay_rate)
    # As on the grid, but silent units are not lifted.
    as_before = spoken_digits.experiment.fit_arguments(chosen, training)
    return evsim.fit(
        network,
        training,
        spoken_digits.loss(chosen),
        **{**as_before, "epochs": epochs, "silent_lift": 0.0},
        optimizers=optimizers,
        seed=chosen.seed,
        run_folder=folder,
        resume=True,
        progress=False,
    )
