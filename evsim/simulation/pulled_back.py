"""PulledBack: the gradients that ``run.pull_back`` returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from evsim.arguments.keywords import helpful
from evsim.arguments.named import Named
from evsim.arguments.words import number_of
from evsim.display.html_table import html_table
from evsim.display.short_repr import and_more, first
from evsim.engines.protocol import Adjoint, SimulatedBatch
from evsim.network.checks import check_trace
from evsim.network.parameters import Parameter, largest, norm
from evsim.readouts.base import ReadoutCotangents

if TYPE_CHECKING:
    from evsim.engines.reference.enclosures import GradientEnclosure


@helpful
@dataclass(frozen=True, eq=False, repr=False)
class PulledBack:
    """The gradients of a function of a simulated batch, and its adjoint variables.

    ``run`` is the simulation, ``adjoint`` what its engine integrated backwards in time.
    """

    run: SimulatedBatch
    adjoint: Adjoint

    def __repr__(self) -> str:
        names = and_more(first(self.parameters), len(self.parameters))
        return f"{type(self).__name__}({self.run}, with respect to {names})"

    @property
    def title(self) -> str:
        """What the gradients are of, for tables."""
        return f"Gradients of readouts of {number_of(self.run.batch_size, 'sample')}"

    def _repr_html_(self) -> str:
        """A table for notebooks: the shape and the size of the gradient of each parameter."""
        rows = [
            (name, str(np.shape(gradient)), norm(gradient), largest(gradient))
            for name, gradient in self.parameters.items()
        ]
        header = ("with respect to", "shape", "Euclidean norm", "largest magnitude")
        return html_table(self.title, header, rows)

    @property
    def parameters(self) -> dict[str, Parameter]:
        """Gradient with respect to each parameter that was asked for, in the parameter's shape."""
        return Named(self.adjoint.parameters, "gradient of")

    @property
    def input_times(self) -> NDArray[np.float64] | Mapping[str, NDArray[np.float64]]:
        """Gradient with respect to each input spike time, shape (events,), as ``spikes.times``.

        One array for a network with one input population, else one by name; see
        ``input_times_by_name``.
        """
        times = self.input_times_by_name
        return next(iter(times.values())) if len(times) == 1 else times

    @property
    def input_times_by_name(self) -> Mapping[str, NDArray[np.float64]]:
        """The same for any number of input populations: one array by the name of each."""
        return Named(self.adjoint.input_times, "input")

    @cached_property
    def enclosure(self) -> GradientEnclosure:
        """Proven bounds of the gradients.

        Raises ValueError for an engine other than ``Reference(digits=..., certified=True)``, and
        for losses and readouts that are integrated numerically.
        """
        return self._enclosed(lambda batch: self.adjoint.parts)

    def _enclosed(
        self, parts_of: Callable[[SimulatedBatch], Sequence[ReadoutCotangents]]
    ) -> GradientEnclosure:
        found: GradientEnclosure = self.run.engine.gradient_enclosure(
            self.run.state, parts_of, list(self.adjoint.parameters), self.adjoint.adjustments
        )
        return found

    @property
    def limited(self) -> int:
        """How many spikes had their |lambda_V-| set to the limit."""
        return self.adjoint.limited

    def lambda_V(  # noqa: N802
        self, population: str, times: Sequence[float] | NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Adjoint of V at the given times in ms, shape (batch, units, times)."""
        return self._traces(population, times)[0]

    def lambda_I(  # noqa: N802
        self, population: str, times: Sequence[float] | NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Adjoint of I at the given times in ms, shape (batch, units, times)."""
        return self._traces(population, times)[1]

    @np.errstate(under="ignore")
    def _traces(
        self, population: str, times: Sequence[float] | NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        run = self.run
        checked = check_trace(run.network, population, times, run.duration)
        passes = self.adjoint.passes or (self.adjoint,)
        traces = [run.engine.adjoint_traces(run.state, one, population, checked) for one in passes]
        lambda_v, lambda_i = (sum(parts[1:], start=parts[0]) for parts in zip(*traces, strict=True))
        return lambda_v, lambda_i
