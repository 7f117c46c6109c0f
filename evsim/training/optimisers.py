"""Optimisers, and the bounds of parameters.

An optimiser is a frozen dataclass of settings.  Its state is stored separately in plain arrays, so
a run can be stored and resumed with bit-identical results.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np

from evsim.arguments.checks import check_number
from evsim.arguments.keywords import helpful
from evsim.training.history import EpochRecord
from evsim.training.schedules import Schedule, as_schedules

State = dict[str, np.ndarray]
Projection = Callable[[np.ndarray], np.ndarray]


# -- optimisers ---------------------------------------------------------------------------


class Optimizer(ABC):
    """Settings of an optimiser.

    Attributes
    ----------
    learning_rate : float
        > 0.
    decay : float
        The factor by which the learning rate is multiplied after each epoch.
    schedule : Schedule or sequence of Schedule
        Factors on the learning rate, see ``evsim.schedules``; several are multiplied.
    weight_decay : float
        Before each step, values are multiplied by ``1 - rate * weight_decay``; the gradient and
        its moments do not change (Loshchilov and Hutter 2019).
    clip : float
        The largest 2-norm of the gradient of a batch with respect to a parameter.  A larger
        gradient is scaled down to it before the step, and counted.
    """

    learning_rate: float
    decay: float = 1.0
    schedule: Schedule | Sequence[Schedule] = ()
    weight_decay: float = 0.0
    clip: float = np.inf

    @property
    def schedules(self) -> tuple[Schedule, ...]:
        """The schedules, as a tuple."""
        return as_schedules(self.schedule)

    @property
    def changes_within_epochs(self) -> bool:
        """Whether the learning rate depends on the step and not only on the epoch."""
        return any(schedule.changes_within_epochs for schedule in self.schedules)

    def learning_rate_in(self, epoch: int) -> float:
        """The learning rate in an epoch without schedules; the first epoch is 1."""
        try:
            return self.learning_rate * self.decay ** (epoch - 1)
        except OverflowError as error:
            raise OverflowError(
                f"the learning rate of epoch {epoch}, {self.learning_rate:g} times "
                f"{self.decay:g} to the power of {epoch - 1}, is too large for a number"
            ) from error

    def learning_rate_at(self, epoch: int, step: int, history: Sequence[EpochRecord]) -> float:
        """The learning rate of a step with schedules; the arguments are those of ``Schedule``."""
        rate = self.learning_rate_in(epoch)
        for schedule in self.schedules:
            rate *= schedule(epoch, step, history)
        return rate

    def in_run(self, steps: int) -> Optimizer:
        """The optimiser, with its schedules, for a run that plans this many steps."""
        schedules = tuple(schedule.in_run(steps) for schedule in self.schedules)
        if all(a is b for a, b in zip(schedules, self.schedules, strict=True)):
            return self
        bound = copy(self)
        object.__setattr__(bound, "schedule", schedules)  # dataclasses of settings are frozen
        return bound

    @abstractmethod
    def start(self, values: np.ndarray) -> State:
        """The state before the first step.

        ``first_moment``, if there is one, is the direction that later steps go *against*.
        """

    @abstractmethod
    def step(
        self, values: np.ndarray, gradient: np.ndarray, state: State, learning_rate: float
    ) -> None:
        """Move ``values`` one step down the gradient and update the state, both in place."""

    def _check_rates(self) -> None:
        for name in ("learning_rate", "decay", "weight_decay", "clip"):
            check_number(getattr(self, name), name)
        if not 0 < self.learning_rate < np.inf:
            raise ValueError(
                f"learning_rate = {self.learning_rate}: it must be finite and > 0; give a "
                "parameter no optimiser to keep it fixed"
            )
        if not 0 < self.decay < np.inf:
            raise ValueError(f"decay = {self.decay}: it must be finite and > 0; 1 for none")
        object.__setattr__(self, "schedule", as_schedules(self.schedule))
        if not 0 <= self.weight_decay < 1 / self.learning_rate:
            raise ValueError(
                f"weight_decay = {self.weight_decay}: it must be >= 0, and below "
                f"1/learning_rate = {1 / self.learning_rate:g}, where one step takes all"
            )
        if not self.clip > 0:
            raise ValueError(f"clip = {self.clip}: it must be > 0; infinity for no clipping")


@helpful
@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba 2015, algorithm 1).

    Parameters
    ----------
    learning_rate : float
        > 0; about the length of a step, in the parameter's unit (ms for a delay).
    beta1, beta2 : float
        The fraction of the first and second moment that each step keeps, in [0, 1).
    epsilon : float
        > 0; added to the square root of the second moment.
    decay, schedule, weight_decay, clip
        As for every ``Optimizer``.
    """

    learning_rate: float
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    decay: float = 1.0
    schedule: Schedule | Sequence[Schedule] = ()
    weight_decay: float = 0.0
    clip: float = np.inf

    def __post_init__(self) -> None:
        self._check_rates()
        for name in ("beta1", "beta2", "epsilon"):
            check_number(getattr(self, name), name)
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)}: it must be in [0, 1)")
        if not 0 < self.epsilon < np.inf:
            raise ValueError(f"epsilon = {self.epsilon}: it must be finite and > 0")

    def start(self, values: np.ndarray) -> State:
        return {
            "steps": np.zeros((), np.int64),
            "first_moment": np.zeros_like(values),
            "second_moment": np.zeros_like(values),
        }

    def step(
        self, values: np.ndarray, gradient: np.ndarray, state: State, learning_rate: float
    ) -> None:
        # Imported here, because importing evsim does not import numba.
        from evsim.training.kernels.adam import adam_step

        state["steps"] += 1
        steps = int(state["steps"])
        arrays = values, gradient, state["first_moment"], state["second_moment"]
        flat = [_flat(array, values.shape) for array in arrays]
        adam_step(
            *flat, float(learning_rate), float(self.beta1), float(self.beta2),
            float(self.epsilon), 1.0 - self.beta1**steps, 1.0 - self.beta2**steps,
        )  # fmt: skip
        for array, changed in zip(arrays, flat, strict=True):
            is_view = changed.base is array or changed.base is array.base
            if not is_view and array is not gradient:
                array[...] = changed.reshape(values.shape)


def _flat(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The numbers of an array as compiled loops take them; a view of them if possible."""
    if array.shape == shape and array.dtype == np.float64 and array.flags.carray:
        return array.reshape(-1)
    if array.shape != shape:
        array = np.broadcast_to(array, shape)
    return np.require(array, np.float64, ["C", "W", "A"]).reshape(-1)


@helpful
@dataclass(frozen=True)
class SGD(Optimizer):
    """Gradient descent, optionally with momentum: m := momentum m + g, value -= rate m.

    Parameters
    ----------
    learning_rate : float
        > 0.
    momentum : float
        In [0, 1).
    decay, schedule, weight_decay, clip
        As for every ``Optimizer``.
    """

    learning_rate: float
    momentum: float = 0.0
    decay: float = 1.0
    schedule: Schedule | Sequence[Schedule] = ()
    weight_decay: float = 0.0
    clip: float = np.inf

    def __post_init__(self) -> None:
        self._check_rates()
        check_number(self.momentum, "momentum")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum = {self.momentum}: it must be in [0, 1)")

    def start(self, values: np.ndarray) -> State:
        return {"first_moment": np.zeros_like(values)} if self.momentum else {}

    def step(
        self, values: np.ndarray, gradient: np.ndarray, state: State, learning_rate: float
    ) -> None:
        direction = gradient
        if self.momentum:
            direction = state["first_moment"]
            direction *= self.momentum
            direction += gradient
        values -= learning_rate * direction


# -- projections --------------------------------------------------------------------------


@helpful
@dataclass(frozen=True)
class Bounds:
    """The projection of every value onto [low, high]."""

    low: float
    high: float

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            check_number(getattr(self, name), name)
        if not self.low <= self.high:
            raise ValueError(f"bounds ({self.low}, {self.high}): low must not exceed high")

    def __call__(self, values: np.ndarray) -> np.ndarray:
        bounded: np.ndarray = np.minimum(np.maximum(values, self.low), self.high)
        return bounded
