"""GradientReport: what happened in a batch, and how far its gradient holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from evsim.arguments.keywords import helpful
from evsim.engines.protocol import Report
from evsim.network.parameters import numbers, with_numbers
from evsim.simulation.pattern_changes import NearestChange, nearest_change
from evsim.simulation.pulled_back import PulledBack


@helpful
@dataclass(frozen=True)
class GradientReport(Report):
    """What happened in a batch that its results do not show, and how far the gradient holds."""

    gradient: Any = field(default=None, repr=False, compare=False)

    @cached_property
    def nearest_change(self) -> NearestChange:
        """The first change of the pattern of spikes along minus the gradient, to first order.

        The step is minus the gradient of all parameters that it was computed for, so its
        ``fraction`` is the learning rate of plain gradient descent at which a spike appears or
        vanishes.  This takes one more simulation; see ``evsim.nearest_change`` for other steps.
        Raises ValueError on engines other than the exact one, and for a run with dropout.
        """
        return nearest_change(self.gradient.run, downhill(self.gradient))

    @classmethod
    def of(cls, report: Report, gradient: PulledBack) -> GradientReport:
        """The report of the run of a gradient."""
        return cls(**vars(report), gradient=gradient)


def downhill(gradient: PulledBack) -> dict[str, Any]:
    """Minus the gradient, by parameter."""
    return {
        name: with_numbers(values, -numbers(values)) for name, values in gradient.parameters.items()
    }
