"""A loss that makes silent units spike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from evsim.arguments.checks import check_is, check_number, shown
from evsim.arguments.keywords import helpful
from evsim.losses.loss import Loss, terms_of
from evsim.losses.targets import check_targets
from evsim.readouts import Readout, SilentPeak

When = Literal["silent-in-batch", "wanted"]


@helpful
@dataclass(frozen=True)
class Existence(Loss):
    """Pulls silent units of a population to their threshold; a term to add to any loss.

    ``(strength/2) sum of max(0, threshold + margin - P)^2`` over some units that do not spike in a
    sample, with P the largest voltage of the unit in that sample.  Its gradient is exact, through
    delays, recurrence and earlier layers.  It is 0 for units that spike: when P reaches the
    threshold the unit begins to spike, and the term jumps from ``strength/2 margin^2`` to 0.

    Parameters
    ----------
    population : str
        A LIF population.
    margin : float
        Above the threshold, >= 0, in the units of V.  With 0 the loss does not jump, but its
        gradient goes to 0 as P approaches the threshold.
    strength : float
        > 0.
    when : "silent-in-batch" or "wanted"
        Which silent units are pulled.  The first is for hidden units: those that are silent in all
        samples of the batch, each in the sample in which its P is largest, so the results of a
        sample depend on its batch.  The second is for outputs: in each sample the unit of its
        class, or those that have a target time.
    """

    population: str
    margin: float = 0.1
    strength: float = 1.0
    when: When = "silent-in-batch"

    classifies: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_is(self.population, "population", str, "give the name of a LIF population")
        for name in ("margin", "strength"):
            check_number(getattr(self, name), name)
        if not 0 <= self.margin < np.inf:
            raise ValueError(f"margin = {self.margin}: it must be finite and >= 0")
        if not 0 < self.strength < np.inf:
            raise ValueError(f"strength = {self.strength}: it must be finite and > 0")
        if self.when not in ("silent-in-batch", "wanted"):
            raise ValueError(f"when = {shown(self.when)}: it must be 'silent-in-batch' or 'wanted'")

    @property
    def readout(self) -> Readout:  # type: ignore[override]
        """How far below the threshold silent units stay."""
        return SilentPeak(population=self.population)

    def check_labels(self, labels: Any, batch_size: int, classes: int) -> NDArray[Any]:
        """Classes, int of shape (batch,), or target times, (batch, units) or (batch, units, count).

        NaN, or a masked entry, means no target.  Labels matter only with ``when="wanted"`` and are
        otherwise ignored.
        """
        if self.when == "silent-in-batch":
            return np.zeros(batch_size, np.int64)
        shape = np.shape(labels)
        if len(shape) < 2:
            return super().check_labels(labels, batch_size, classes)
        if len(shape) > 3 or shape[:2] != (batch_size, classes):
            raise ValueError(
                f"labels has shape {shape}: give classes, shape ({batch_size},), or target times, "
                f"shape ({batch_size}, {classes}) or ({batch_size}, {classes}, count)"
            )
        return check_targets(labels, shape, "(batch, units) or (batch, units, count)", " ms")

    def __call__(
        self, values: NDArray[np.float64], labels: NDArray[Any], duration: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        chosen = (values < np.inf) & self._wanted(values, labels)
        missing = np.where(chosen, np.maximum(self.margin - values, 0.0), 0.0)
        losses: NDArray[np.float64] = 0.5 * self.strength * (missing**2).sum(axis=1)
        return losses, -self.strength * missing

    def _wanted(self, values: NDArray[np.float64], labels: NDArray[Any]) -> NDArray[np.bool_]:
        """Which units should spike in which samples, shape (batch, units)."""
        wanted = np.zeros(values.shape, bool)
        if self.when == "silent-in-batch":
            if len(values):
                closest = np.argmax(values, axis=0)  # a sample with a spike, if there is one
                wanted[closest, np.arange(values.shape[1])] = True
        elif labels.ndim == 1:
            wanted[np.arange(len(values)), labels] = True
        else:
            wanted = np.isfinite(labels).reshape(*values.shape, -1).any(axis=2)
        return wanted


def pulled_populations(loss: Loss) -> set[str]:
    """The populations whose silent units a loss, or a term of it, pulls to their threshold."""
    return {term.population for _, term in terms_of(loss) if isinstance(term, Existence)}
