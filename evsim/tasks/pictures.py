"""Pictures of a classifier and of what it learned: those that several experiments draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evsim.display.picture_target import for_files_only
from evsim.tasks.base import evaluated

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from evsim.data.dataset import Dataset
    from evsim.engines import Engine
    from evsim.losses import Loss
    from evsim.network.network import Network
    from evsim.simulation.run import Run
    from evsim.training.fitting import Evaluation, FitResult


@dataclass(frozen=True, eq=False)
class Tested:
    """What a network is tested on.

    ``output`` is the connection to the output, ``delays`` are those whose delays were learned.
    """

    samples: Dataset
    loss: Loss
    duration: float
    class_names: Sequence[str]
    output: str = "hidden->output"
    delays: Sequence[str] = ()


@for_files_only()
def draw(
    result: FitResult,
    before: Network,
    tested: Tested,
    folder: str | Path,
    engine: str | Engine,
) -> list[Path]:
    """Draw learning, confusion, delays, spikes and firing rates; return the files' paths."""
    from evsim import plotting
    from evsim.simulation.run import simulate

    folder = Path(folder)
    outcome = evaluated(result.network, tested.samples, tested.loss, tested.duration, engine)
    paths = draw_learning(result, folder)
    paths.append(draw_confusion(outcome, tested.class_names, folder))

    def save(figure: Any, name: str) -> None:
        paths.append(plotting.save(figure, folder / f"{name}.png"))

    for connection in tested.delays:
        ax = plotting.delay_histogram(before, result.network, connection)
        save(ax.figure, f"delays_{connection.replace('->', '_')}")

    labels = tested.samples.labels
    one_of_each = [int(np.argmax(labels == label)) for label in np.unique(labels)]
    spikes = tested.samples[np.array(one_of_each)].spikes
    run = simulate(result.network, spikes, tested.duration, engine)
    names = [tested.class_names[labels[sample]] for sample in one_of_each[:3]]
    save(plotting.rasters(run, range(len(names)), names), "spikes")
    save(rates_against_weights(run, tested.output).figure, "rates")
    return paths


def draw_learning(result: FitResult, folder: Path) -> list[Path]:
    """Draw the course of training; return the file's path, none if there was no epoch."""
    from evsim import plotting

    if not result.history:
        return []
    figure = plotting.learning_curve(result.history, result.best_epoch)
    return [plotting.save(figure, folder / "learning.png")]


def draw_confusion(outcome: Evaluation, class_names: Sequence[str], folder: Path) -> Path:
    """Draw which classes a test confused; return the file's path."""
    from evsim import plotting

    ax = plotting.confusion_matrix(
        outcome.confusion, class_names, unclassified=outcome.unclassified
    )
    return plotting.save(ax.figure, folder / "confusion.png")


def rates_against_weights(run: Run, connection: str) -> Axes:
    """How often each unit spikes, against the size of its weights to the output.

    ``connection`` is the name of the one to the output, such as "hidden->output"; a unit's
    size is the root mean square of its weights.
    """
    from evsim.plotting.style import COLOURS, ONE_COLUMN, label, new_figure

    chosen = next(c for c in run.network.connections if c.name == connection)
    rates = run.spike_counts[chosen.source].mean(axis=0)
    sizes = np.sqrt(np.mean(np.asarray(chosen.weight) ** 2, axis=0))
    ax = new_figure(ONE_COLUMN, 2.4).subplots()
    ax.plot(sizes, rates, ".", color=COLOURS[0], markersize=3.0)
    label(ax, f"weights {connection} (root mean square)".replace("->", " → "), "spikes per trial")
    return ax
