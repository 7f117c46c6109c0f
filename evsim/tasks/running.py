"""What the runs of all tasks have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from evsim.data.dataset import Dataset
    from evsim.engines import Engine
    from evsim.losses import Loss
    from evsim.network.network import Network
    from evsim.training.fitting import Evaluation


class RunOptions(TypedDict, total=False):
    """How a run is carried out; the arguments of ``evsim.fit`` that change no result."""

    engine: str | Engine
    callbacks: Sequence[Callable[..., Any]]
    run_folder: str | Path | None
    resume: bool
    progress: bool


Numbers = TypeVar("Numbers", bound="DataclassInstance")


def changed_by(numbers: Numbers, settings: Any) -> Numbers:
    """Published numbers, a dataclass, with those that settings of the same names give."""
    given = {field.name: getattr(settings, field.name, None) for field in fields(numbers)}
    return replace(numbers, **{name: value for name, value in given.items() if value is not None})


@lru_cache(maxsize=1)  # asked for by the numbers and again by the pictures of a run
def evaluated(
    network: Network, samples: Dataset, loss: Loss, duration: float, engine: str | Engine
) -> Evaluation:
    """How well a network does on samples."""
    from evsim.training.fitting import evaluate

    return evaluate(network, samples, loss, duration, engine=engine)
