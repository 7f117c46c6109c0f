"""Losses of spike times.

In the value of a loss, a missing spike counts as a spike at the end of the trial.  If it gets a
derivative, engines turn that into a phantom spike (L section 4.1).

The papers: W is Wunderlich and Pehle (EventProp), L is Nowotny, Turner and Knight (loss shaping
with EventProp), D is Mészáros, Knight and Nowotny (delay learning with EventProp).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from evsim.arguments.checks import check_number, real_array
from evsim.arguments.keywords import helpful
from evsim.losses.loss import Loss
from evsim.losses.targets import check_targets
from evsim.losses.voltages import log_softmax
from evsim.readouts import FirstSpike, SpikeTimes


@dataclass(frozen=True)
class _FirstSpikeLoss(Loss):
    """Losses of the first spike of each output unit.

    Of the silent units, only that of the true class gets a derivative.
    """

    def __post_init__(self) -> None:
        if not isinstance(self.readout, FirstSpike):
            raise ValueError(
                f"{type(self).__name__} needs the readout FirstSpike, not {self.readout}: "
                "for voltages use CrossEntropy"
            )

    def predict(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """The unit that spikes first; -1 where all are silent."""
        return np.where((values < np.inf).any(axis=1), np.argmin(values, axis=1), -1)


@helpful
@dataclass(frozen=True)
class FirstSpikeCrossEntropy(_FirstSpikeLoss):
    """Cross-entropy of ``softmax(-t/tau0)`` over first spikes t, with a pull to early ones.

    ``-log(exp(-t_c/tau0) / sum_k exp(-t_k/tau0)) + alpha (exp(t_c/tau1) - 1)`` for the true
    class c (W 3; ``L_time`` of L).

    Parameters
    ----------
    tau0, tau1 : float
        In ms, > 0.
    alpha : float
        Not negative.
    readout : FirstSpike
    """

    tau0: float = 0.5
    tau1: float = 6.4
    alpha: float = 3e-3
    readout: FirstSpike = FirstSpike()

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("tau0", "tau1", "alpha"):
            check_number(getattr(self, name), name)
        for name in ("tau0", "tau1"):
            if not 0 < getattr(self, name) < np.inf:
                raise ValueError(f"{name} = {getattr(self, name)} ms: it must be finite and > 0")
        if not 0 <= self.alpha < np.inf:
            raise ValueError(f"alpha = {self.alpha}: it must be finite and >= 0")

    @np.errstate(under="ignore")
    def __call__(
        self, values: NDArray[np.float64], labels: NDArray[Any], duration: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        rows = np.arange(labels.size)
        silent = values == np.inf
        times = np.where(silent, duration, values)
        log_probability = log_softmax(-times / self.tau0)
        true_time = times[rows, labels]
        with np.errstate(over="ignore"):
            pull = self.alpha * np.expm1(true_time / self.tau1) if self.alpha else 0.0 * true_time
            slope = self.alpha / self.tau1 * np.exp(true_time / self.tau1) if self.alpha else pull
        overflow = (np.abs(pull) == np.inf) | (np.abs(slope) == np.inf)
        if overflow.any():
            sample = int(np.argmax(overflow))
            raise OverflowError(self.overflow(sample, true_time[sample]))
        derivative = np.where(silent, 0.0, -np.exp(log_probability) / self.tau0)
        derivative[rows, labels] = -np.expm1(log_probability[rows, labels]) / self.tau0 + slope
        return pull - log_probability[rows, labels], derivative

    def overflow(self, sample: int, time: float) -> str:
        """The message for a term for early spikes that is not finite."""
        return (
            f"alpha exp(t/tau1) overflows in sample {sample}, where the true class spikes at "
            f"{time:g} ms and tau1 = {self.tau1:g} ms: use a larger tau1"
        )


@helpful
@dataclass(frozen=True)
class TimeInvariantMSE(_FirstSpikeLoss):
    """``1/2 sum over k != c of (t_k - t_c - delta)^2`` over first spikes t (D 71).

    The true class c should spike ``delta`` ms before every other.

    Parameters
    ----------
    delta : float
        In ms, >= 0.
    readout : FirstSpike
    """

    delta: float = 2.0
    readout: FirstSpike = FirstSpike()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self.delta, "delta")
        if not 0 <= self.delta < np.inf:
            raise ValueError(f"delta = {self.delta} ms: it must be finite and >= 0")

    @np.errstate(under="ignore")
    def __call__(
        self, values: NDArray[np.float64], labels: NDArray[Any], duration: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        rows = np.arange(labels.size)
        silent = values == np.inf
        times = np.where(silent, duration, values)
        derivative = times - times[rows, labels][:, None] - self.delta
        derivative[rows, labels] = 0.0
        losses = 0.5 * np.sum(derivative**2, axis=1)
        derivative[rows, labels] = -derivative.sum(axis=1)
        others = np.ones_like(silent)
        others[rows, labels] = False
        derivative[silent & others] = 0.0
        return losses, derivative


@helpful
@dataclass(frozen=True)
class SpikeTimeMSE(Loss):
    """Half the sum of squared errors of spike times in ms, ``1/2 sum (t - target)^2``.

    The labels are the targets, float of shape (batch, units, count) in ms, or (batch, units)
    for a count of 1; NaN or masked where there is none.  A missing spike with a target counts
    as one at the end of the trial; only the first such spike of a unit gets a derivative.
    Spikes beyond ``count`` are ignored.

    Parameters
    ----------
    readout : SpikeTimes
        States how many spikes of each unit are read, such as ``SpikeTimes(count=3)``.
    """

    readout: SpikeTimes = field(default_factory=SpikeTimes)

    classifies: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not isinstance(self.readout, SpikeTimes):
            raise ValueError(
                f"SpikeTimeMSE needs the readout SpikeTimes, not {self.readout}: say how many "
                "spikes of a unit have targets, SpikeTimeMSE(SpikeTimes(count=3))"
            )

    @np.errstate(under="ignore")
    def __call__(
        self, values: NDArray[np.float64], labels: NDArray[Any], duration: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        aimed = ~np.isnan(labels)
        missing = values == np.inf
        errors = np.where(aimed, np.where(missing, duration, values) - labels, 0.0)
        first = np.cumsum(missing & aimed, axis=2) == 1
        return 0.5 * np.sum(errors**2, axis=(1, 2)), np.where(missing & ~first, 0.0, errors)

    def check_labels(
        self, labels: Sequence[Any] | NDArray[Any], batch_size: int, classes: int
    ) -> NDArray[Any]:
        """The targets as float64, (batch, units, count); refuses those that do not fit."""
        shape = (batch_size, classes, self.readout.count)
        array = real_array(labels, "labels", "targets, numbers", masked=np.nan)
        if self.readout.count == 1 and array.shape == shape[:2]:
            array = array[:, :, None]
        targets = check_targets(array, shape, "(batch, units, spikes)", " ms")
        negative = targets < 0
        if negative.any():
            index = np.unravel_index(int(np.argmax(negative)), shape)
            raise ValueError(
                f"labels[{', '.join(map(str, index))}] = {targets[index]} ms: no spike is ever "
                "before 0; give NaN where there is no target"
            )
        return targets

    def check_in_trial(self, labels: NDArray[Any], duration: float) -> None:
        """Refuse targets after the end of the trial, which no spike can reach."""
        late = labels > duration
        if late.any():
            index = np.unravel_index(int(np.argmax(late)), labels.shape)
            raise ValueError(
                f"labels[{', '.join(map(str, index))}] = {labels[index]} ms: no spike is after the "
                f"end of the trial, {duration:g} ms; give a longer duration, an earlier target, or "
                "NaN where there is none"
            )
