"""What the records of the epochs show of a run that does not learn, each reported once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from evsim.arguments.words import number_of
from evsim.losses.existence import pulled_populations
from evsim.network.populations import LIF
from evsim.simulation.silence import add_existence, silent_layer, unreached
from evsim.training.history import EpochRecord
from evsim.training.tally import Tally
from evsim.training.task import Task

PATIENCE = 3
"""Epochs without a warning in which a silent layer that something pulls may stay silent, spike
counts may grow or all samples may be in one class."""

GROWTH = 1.2
"""Spike counts that grow by this factor in each of these epochs may keep growing."""

OF_TASKS = "existence=1 in the settings of a task"

LITTLE = 0.1
"""Up to this part of the way from guessing to no mistakes, a run has learned little."""

FEWEST_SAMPLES = 10
"""The smallest number of samples for which classes are counted."""


class Symptoms:
    """Finds what goes wrong in a training run, and reports each problem once.

    Parameters
    ----------
    task : Task
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self._read = task.loss.readout.population_of(task.network)
        self._pulled = pulled_populations(task.loss)
        self._unreached = set(unreached(task.network))
        self._only_classes: list[int | None] = []  # of all samples in an epoch
        self._told: set[str] = set()

    def after_epoch(self, history: Sequence[EpochRecord], tally: Tally) -> list[str]:
        """The messages after an epoch; ``history`` ends with its record."""
        epoch = f"epoch {history[-1].epoch}: "
        found = {**self._silence(history), **self._growth(history), **self._one_class(tally)}
        new = {key: text for key, text in found.items() if key not in self._told}
        self._told.update(new)
        return [epoch + text for text in new.values()]

    def _silence(self, history: Sequence[EpochRecord]) -> dict[str, str]:
        """Populations without a spike: no gradient of spikes can make them spike again.

        Those that the loss or ``silent_lift`` makes spike get a few epochs before a warning.
        """
        told: dict[str, str] = {}
        if not history[-1].arrivals:  # without input, which is reported before training
            return told
        for name in history[-1].silent_units:
            wait = PATIENCE if name in self._pulled or name in self.task.lift else 1
            recent = history[-wait:]
            units = self.task.network.population(name).units
            if name in self._unreached or len(recent) < wait:
                continue
            if all(record.silent_units.get(name) == units for record in recent):
                told[f"silent {name}"] = silent_layer(
                    name, self._against_silence(name), is_read=name == self._read
                )
        return told

    def _against_silence(self, name: str) -> str:
        """What to do about a population without a spike, besides larger weights."""
        if name in self._pulled:
            return "raise the strength of the loss Existence or the learning rate"
        if name in self.task.lift:
            lift = max(self.task.lift[name].values())
            return f"raise silent_lift, {lift:g} now, or {add_existence(name)} ({OF_TASKS})"
        if name == self._read:
            lifted = f"silent_lift={{{name!r}: 0.002}}"
            return f"{add_existence(name, 'wanted')}, or lift silent units, {lifted}"
        return f"{add_existence(name)} ({OF_TASKS}), or lift silent units, silent_lift=0.002"

    def _growth(self, history: Sequence[EpochRecord]) -> dict[str, str]:
        """Populations whose units already spike often, and more often in each epoch.

        Often is more than once per membrane time constant.
        """
        told: dict[str, str] = {}
        recent = history[-PATIENCE - 1 :]
        if len(recent) <= PATIENCE:
            return told
        for population in self.task.network.populations:
            name = population.name
            if not isinstance(population, LIF) or name not in recent[0].spikes_per_sample:
                continue
            counts = [record.spikes_per_sample[name] / population.units for record in recent]
            grows = all(b > GROWTH * a for a, b in pairwise(counts))
            if grows and counts[-1] > self.task.duration / np.mean(population.tau_mem):
                told[f"growth {name}"] = (
                    f"a unit of {name!r} spikes {counts[-1]:.3g} times per sample, after "
                    f"{counts[0]:.3g} times in epoch {recent[0].epoch}, and more in each epoch; "
                    f"{self._against_growth(name)}, or use a smaller learning rate"
                )
        return told

    def _against_growth(self, name: str) -> str:
        for regulariser in self.task.regularisers:
            if regulariser.population == name:
                return f"raise the strength of its rate regulariser, {regulariser.strength:g} now"
        return f"add a rate regulariser, evsim.RateRegulariser({name!r}, strength=1e-6)"

    def _one_class(self, tally: Tally) -> dict[str, str]:
        """All samples in the same class for some epochs, although they belong to several."""
        self._only_classes.append(_only_class(tally))
        found = self._only_classes[-1]
        if found is None or self._only_classes[-PATIENCE:] != [found] * PATIENCE:
            return {}
        return {
            "one class": f"all samples were classified as class {found}, for {PATIENCE} epochs; "
            "use a smaller learning rate where the loss jumps, and a larger one or more steps "
            "where it hardly changes"
        }

    def at_end(self, history: Sequence[EpochRecord]) -> list[str]:
        """The messages on the results of a run."""
        accuracy, labels = history[-1].accuracy if history else None, self.task.data.labels
        if accuracy is None or len(labels) < FEWEST_SAMPLES:
            return []
        share = float(np.bincount(labels).max() / len(labels))
        # Three standard deviations of the binomial number of samples that guessing gets right.
        chance = 3 * np.sqrt(share * (1 - share) / len(labels))
        if share == 1 or accuracy > share + max(chance, LITTLE * (1 - share)):
            return []
        steps = sum(record.steps for record in history)
        return [
            f"after {number_of(steps, 'batch')} in {number_of(len(history), 'epoch')}, "
            f"{100 * accuracy:.3g} % of the training samples are classified correctly, and always "
            f"naming one class gives {100 * share:.3g} %; train for more epochs, with smaller "
            "batches or larger learning rates, and see that all layers spike (spikes_per_sample "
            "in the history)"
        ]


def _only_class(tally: Tally) -> int | None:
    """The class of all predictions of an epoch whose samples belong to several, if it is one."""
    predicted, labels = tally.predictions, tally.labels
    if predicted is None or labels is None or predicted.size < FEWEST_SAMPLES:
        return None
    if predicted[0] < 0 or np.any(predicted != predicted[0]) or np.all(labels == labels[0]):
        return None  # silent outputs are reported as the silence of that population
    return int(predicted[0])
