"""Task: the checked arguments of ``evsim.fit``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from evsim.arguments.checks import checked_count
from evsim.data.dataset import Dataset
from evsim.display.short_repr import Brief
from evsim.engines.protocol import Engine
from evsim.losses import Loss
from evsim.losses.regularisers import RateRegulariser
from evsim.network.network import Network
from evsim.storage.arrays import checksum
from evsim.storage.description import describe
from evsim.storage.networks import network_arrays, network_structure
from evsim.training.history import Watch
from evsim.training.optimisers import Optimizer, Projection
from evsim.training.schedules import EarlyStopping


class AugmentationLike(Protocol):
    """A function that augments the training data in each epoch, such as those of ``evsim.augment``.

    Its result has the attributes ``data``, a Dataset, and ``lost``, the number of spikes that were
    moved out of the channels or the trial.
    """

    def __call__(self, data: Dataset, generator: np.random.Generator, duration: float) -> Any:
        """Return an augmented copy of a dataset."""


@dataclass(frozen=True, eq=False, repr=False)
class Task(Brief):
    """What is trained and how: the checked arguments of ``evsim.fit``."""

    network: Network
    data: Dataset
    validation: Dataset | None
    loss: Loss
    duration: float
    optimizers: dict[str, Optimizer]
    projections: dict[str, tuple[Projection, ...]]
    lift: dict[str, dict[str, float]]
    dropout: dict[str, float]
    regularisers: tuple[RateRegulariser, ...]
    lambda_limit: float
    augmentation: tuple[AugmentationLike, ...]
    early_stopping: EarlyStopping | None
    watch: Watch
    batch_size: int
    seed: int
    engine: Engine
    nearest_change: bool = False

    # -- random streams: one for each purpose; they depend on the seed and the epoch -----

    def _stream(self, *key: int) -> np.random.SeedSequence:
        return np.random.SeedSequence(entropy=self.seed, spawn_key=key)

    def order(self, epoch: int, samples: int) -> np.ndarray:
        """The order of the samples in an epoch."""
        return np.random.default_rng(self._stream(epoch)).permutation(samples)

    def dropout_keys(self, epoch: int, samples: int) -> np.ndarray | None:
        """The key of each sample's dropout in an epoch, uint64, shape (samples,)."""
        if not any(self.dropout.values()):
            return None
        return self._stream(epoch, 1).generate_state(samples, np.uint64)

    def augmentation_generator(self, epoch: int, place: int) -> np.random.Generator:
        """The random generator of the augmentation at this index in an epoch."""
        return np.random.default_rng(self._stream(epoch, 2, place))

    def epoch_data(self, epoch: int) -> tuple[Dataset, int]:
        """The augmented training data of an epoch, and the number of spikes that were lost."""
        data, lost = self.data, 0
        for place, augmentation in enumerate(self.augmentation):
            generator = self.augmentation_generator(epoch, place)
            outcome = augmentation(data, generator, self.duration)
            if not isinstance(getattr(outcome, "data", None), Dataset):
                raise TypeError(
                    f"{augmentation!r} returned {type(outcome).__name__}: an augmentation returns "
                    "what has a Dataset as .data and the number of lost spikes as .lost"
                )
            data = outcome.data
            lost += checked_count(outcome.lost, f"the lost spikes of {augmentation!r}", 0)
            if len(data) == 0:
                raise ValueError(f"{augmentation!r} left no sample to train on in epoch {epoch}")
        return data, lost

    def batches(self, samples: int) -> int:
        """The number of batches in an epoch with this number of samples."""
        return -(-samples // self.batch_size)

    # -- for run folders ---------------------------------------------------------------

    def settings(self) -> dict[str, Any]:
        """Everything that determines the results, as a description that JSON can hold."""
        initial = {k: checksum({"": v}) for k, v in network_arrays(self.network).items()}
        engine = describe(self.engine)
        # Results do not depend on these; ``debug`` of other engines has always been stored.
        for name in ("threads", "rate_limit", *(["debug"] if "spike_limit" in engine else [])):
            engine.pop(name, None)
        if engine.get("pieces") is None:
            engine.pop("pieces", None)
        return {
            "network": network_structure(self.network),
            "initial values": initial,
            "data": checksum(self.data.arrays()),
            "validation": None if self.validation is None else checksum(self.validation.arrays()),
            "loss": describe(self.loss),
            "duration": self.duration,
            "optimizers": describe(self.optimizers),
            "projections": describe(self.projections),
            "silent_lift": self.lift,
            "dropout": self.dropout,
            "regularisers": describe(self.regularisers),
            "lambda_limit": describe(self.lambda_limit),
            "augmentation": describe(self.augmentation),
            "early_stopping": describe(self.early_stopping),
            "watch": self.watch,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "engine": engine,
        }
