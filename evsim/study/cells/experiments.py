"""Experiments in a study: their settings, their folds, and how a network is trained and tested."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evsim.arguments.checks import unknown_name
from evsim.data.dataset import Dataset
from evsim.study.cells.measures import tested, trained
from evsim.study.cells.plan import Folds, Measures, RunPlace, RunPlan
from evsim.study.folds import Fold, k_fold, leave_one_group_out
from evsim.training.trained_parameters import assign_optimizers


@dataclass(frozen=True)
class OfExperiment:
    """An experiment: its settings, its data, and how a network is trained and tested."""

    reference: str
    experiment: Any

    def check(self, settings: Mapping[str, Any], seed: int) -> None:
        known = [field.name for field in dataclasses.fields(self.experiment.settings_type)]
        for name in settings:
            if name not in known:
                raise ValueError(f"{self._name}: {unknown_name('setting', name, known)}")
            if name == "folds":
                raise ValueError("folds are no setting of a study: give Study(..., folds='groups')")
        self._settings(settings, seed)

    @property
    def _name(self) -> str:
        return str(getattr(self.experiment, "name", self.reference))

    def _settings(self, settings: Mapping[str, Any], seed: int) -> Any:
        return self.experiment.settings_type(**{**settings, "seed": seed})

    def fold_names(self, settings: dict[str, Any], folds: Folds) -> list[str]:
        training, validation, _ = self.experiment.data(self._settings(settings, 0))
        return list(_folds_of(_all_training(training, validation), folds))

    def epochs(self, settings: dict[str, Any]) -> int | None:
        made = self._settings(settings, 0)
        number = made.number("epochs") if hasattr(made, "number") else None
        return None if number is None else int(number)

    def compile(self, settings: dict[str, Any], engine: Any) -> None:
        from evsim.engines.reference import Reference
        from evsim.precompile import precompile_training

        parts = ("network", "loss", "optimizers")
        if isinstance(engine, Reference) or not all(hasattr(self.experiment, p) for p in parts):
            return
        made = self._settings(settings, 0)
        if not hasattr(made, "number"):
            return
        network, loss, optimizers = (getattr(self.experiment, part)(made) for part in parts)
        trained = list(assign_optimizers(optimizers, network.parameters))
        precompile_training(engine, network, loss, trained, made.number("duration"))

    def run(self, plan: RunPlan, place: RunPlace) -> Measures:
        settings = self._settings(plan.settings, plan.seed)
        training, validation, test = self.experiment.data(settings)
        if plan.fold is not None:
            training, validation, test = self._fold(training, validation, plan)
        elif not plan.validate:
            training, validation = _all_training(training, validation), None
        settings = _watching_what_there_is(settings, validation)
        result = self.experiment.fit(
            settings,
            training,
            validation,
            engine=place.engine,
            callbacks=[place.stop],
            run_folder=place.folder,
            resume=True,
            progress=False,
        )
        if result.interrupted or place.stop.has_stopped:
            raise KeyboardInterrupt
        outcome = self.experiment.test(result.network, test, settings, place.engine)
        own = getattr(self.experiment, "measures", None)
        measured = {} if own is None else own(outcome, settings)
        return {**measured, **tested(outcome), **trained(result)}

    def _fold(
        self, training: Dataset, validation: Dataset | None, plan: RunPlan
    ) -> tuple[Dataset, None, Dataset]:
        """A fold of all training samples; what is held out is only tested on."""
        folds = _folds_of(_all_training(training, validation), plan.folds)
        if plan.fold not in folds:
            raise ValueError(
                f"the data have no fold {plan.fold}: they have {', '.join(folds)}, and every "
                "combination of a study must have the same folds"
            )
        return folds[plan.fold].train, None, folds[plan.fold].validation


def _all_training(training: Dataset, validation: Dataset | None) -> Dataset:
    """All samples that are not for testing."""
    return training if validation is None else Dataset.concatenate([training, validation])


def _folds_of(data: Dataset, folds: Folds) -> dict[str, Fold]:
    """The folds by name, without the word for what is held out."""
    if folds == "groups" and data.groups is None:
        raise ValueError(
            "folds = 'groups': the samples of this task belong to no groups; give the number of "
            "parts"
        )
    made = leave_one_group_out(data) if folds == "groups" else k_fold(data, int(folds or 0))
    return {fold.name.partition(" ")[2]: fold for fold in made}


def _watching_what_there_is(settings: Any, validation: Dataset | None) -> Any:
    """Settings that watch the training samples if there are none for validation."""
    watch = getattr(settings, "watch", None)
    if validation is None and isinstance(watch, str) and watch.startswith("validation_"):
        return dataclasses.replace(settings, watch=watch.removeprefix("validation_"))
    return settings
