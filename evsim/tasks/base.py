"""What an experiment is, and how it runs: train a network, evaluate it, draw pictures."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypedDict, TypeVar, Unpack

from evsim.arguments.checks import check_is, nearest
from evsim.tasks.settings import ExperimentSettings

if TYPE_CHECKING:
    from evsim.data.dataset import Dataset
    from evsim.engines import Engine
    from evsim.losses import Loss
    from evsim.network.network import Network
    from evsim.study import Scores
    from evsim.training.fitting import Evaluation, FitResult
    from evsim.training.optimisers import Optimizer

Parts = tuple["Dataset", "Dataset | None", "Dataset"]
"""Training, validation and test samples; validation samples may be missing."""


class RunOptions(TypedDict, total=False):
    """The arguments of ``evsim.fit`` that change how a run is carried out, but not its result."""

    engine: str | Engine
    callbacks: Sequence[Callable[..., Any]]
    run_folder: str | Path | None
    resume: bool
    progress: bool
    distributed: Any


SettingsType = TypeVar("SettingsType", bound=ExperimentSettings, contravariant=True)
Chosen = TypeVar("Chosen", bound=ExperimentSettings)


class Draw(Protocol[SettingsType]):
    """A function that draws what a network learned."""

    def __call__(
        self,
        result: FitResult,
        settings: SettingsType,
        folder: str | Path,
        *,
        engine: str | Engine = "exact",
    ) -> list[Path]:
        """Draw into a folder and return the files' paths."""


class CrossValidate(Protocol[SettingsType]):
    """A function that trains and tests once for each fold."""

    def __call__(self, settings: SettingsType, **options: Unpack[RunOptions]) -> Scores:
        """Return the scores of all folds."""


@dataclass(kw_only=True)
class Experiment(Generic[Chosen]):
    """An experiment: functions of its settings, and how they are put together for a run.

    Parameters
    ----------
    name : str
        Its name on the command line.
    description : str
        One sentence.
    settings_type : type
        The dataclass of its settings.
    data : function of the settings
        Returns the training, validation and test samples.
    network : function of the settings
        Returns the network before training.
    loss : function of the settings
    optimizers : function of the settings
        Returns the optimiser of each parameter that is trained, by the parameter's name.
    class_names : function of the settings
        Returns the name of each output's class; none if the loss does not classify.
    fit_arguments : function of the settings and the training samples
        Returns the other arguments of ``evsim.fit``: duration, epochs, batch size and so on.
    pictures : function of a result, the settings and a folder
        Draws what a network learned.
    cross_validate : function of the settings, optional
        Trains and tests once for each fold, where the data have folds.
    measures : function of an evaluation and the settings, optional
        Returns named numbers that say how good a test was, the most important one first.  A name
        that ends in _us stands for microseconds.  Needed if the loss does not classify.
    """

    name: str
    description: str
    settings_type: type[Chosen]
    data: Callable[[Chosen], Parts]
    network: Callable[[Chosen], Network]
    loss: Callable[[Chosen], Loss]
    optimizers: Callable[[Chosen], dict[str, Optimizer]]
    class_names: Callable[[Chosen], tuple[str, ...]]
    fit_arguments: Callable[[Chosen, Dataset], dict[str, Any]]
    pictures: Draw[Chosen]
    cross_validate: CrossValidate[Chosen] | None = None
    measures: Callable[[Evaluation, Chosen], dict[str, float]] | None = None

    def train(self, settings: Chosen, **options: Unpack[RunOptions]) -> FitResult:
        """Train a network on the training samples; validation samples choose the best epoch."""
        training, validation, _ = self.data(settings)
        return self.fit(settings, training, validation, **options)

    def fit(
        self,
        settings: Chosen,
        training: Dataset,
        validation: Dataset | None,
        **options: Unpack[RunOptions],
    ) -> FitResult:
        """Train a network on the given samples."""
        from evsim.training.fitting import fit

        return fit(
            self.network(settings),
            training,
            self.loss(settings),
            optimizers=self.optimizers(settings),
            validation=validation,
            seed=settings.seed,
            **self.fit_arguments(settings, training),
            **options,
        )

    def evaluate(
        self, result: FitResult, settings: Chosen, *, engine: str | Engine = "exact"
    ) -> Evaluation:
        """Test the network of the best epoch on the test samples."""
        _, _, test = self.data(settings)
        return self.test(result.network, test, settings, engine)

    def test(
        self, network: Network, samples: Dataset, settings: Chosen, engine: str | Engine
    ) -> Evaluation:
        """Test a network on the given samples."""
        return evaluated(network, samples, self.loss(settings), settings.number("duration"), engine)


@lru_cache(maxsize=1)  # a run needs the same evaluation for its numbers and for its pictures
def evaluated(
    network: Network, samples: Dataset, loss: Loss, duration: float, engine: str | Engine
) -> Evaluation:
    """Test a network; the latest evaluation is kept."""
    from evsim.training.fitting import evaluate

    return evaluate(network, samples, loss, duration, engine=engine)


# -- checks -------------------------------------------------------------------------------

Function = TypeVar("Function", bound=Callable[..., Any])


def for_settings(kind: type[ExperimentSettings]) -> Callable[[Function], Function]:
    """Decorate a function of settings so that it refuses other types and unknown options."""

    def decorate(function: Function) -> Function:
        signature = inspect.signature(function)
        takes_options = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                given = signature.bind(*args, **kwargs).arguments
            except TypeError:
                return function(*args, **kwargs)  # Python's message says what does not fit
            check_is(given["settings"], "settings", kind, f"give {_called(kind)}")
            if "result" in given:
                from evsim.training.fitting import FitResult

                check_is(given["result"], "result", FitResult, "give what train returns")
            if takes_options:
                _check_options(function.__name__, given.get("options", {}), kind)
            return function(*args, **kwargs)

        return call  # type: ignore[return-value]

    return decorate


def _called(kind: type) -> str:
    if kind.__name__ == "Settings":
        return f"{kind.__module__}.Settings(...)"
    return "the Settings of a task"


def _check_options(name: str, options: dict[str, Any], kind: type[ExperimentSettings]) -> None:
    known = tuple(RunOptions.__annotations__)
    for option in options:
        if option in known:
            continue
        if option in {field.name for field in fields(kind)}:
            raise TypeError(
                f"{name} has no option {option!r}: it is a setting, Settings({option}=...)"
            )
        hint = nearest(option, known) or f"; there are {', '.join(known)}"
        raise TypeError(f"{name} has no option {option!r}{hint}")
