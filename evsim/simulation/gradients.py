"""gradient: the exact gradient of a loss with EventProp; Gradient: what it returns.

EventProp is that of Wunderlich and Pehle; with delays, of Mészáros, Knight and Nowotny.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evsim.arguments.checks import check_duration
from evsim.arguments.keywords import helpful
from evsim.arguments.words import number_of
from evsim.display.short_repr import and_more, first
from evsim.engines import resolve
from evsim.engines.protocol import Adjustments, Engine, SimulatedBatch
from evsim.losses import Loss, Outcome
from evsim.losses.existence import pulled_populations
from evsim.losses.regularisers import RateRegulariser
from evsim.network.checks import check_inputs, check_network, check_wrt
from evsim.network.dropout import Dropout
from evsim.network.network import Network
from evsim.network.spike_trains import SpikeTrains
from evsim.readouts import ReadableRun
from evsim.readouts.base import ReadoutCotangents
from evsim.simulation.checks import check_adjustments, check_is_loss, check_time_constants
from evsim.simulation.gradient_report import GradientReport
from evsim.simulation.pulled_back import PulledBack
from evsim.simulation.run import Run, run_checked
from evsim.simulation.silence import warn_of_silent_layers, warn_of_unreached
from evsim.simulation.units_of_time import warn_of_seconds

if TYPE_CHECKING:
    from evsim.engines.reference.enclosures import GradientEnclosure


@np.errstate(under="ignore")
@helpful
def gradient(
    network: Network,
    spikes: SpikeTrains | Mapping[str, SpikeTrains],
    labels: Sequence[Any] | NDArray[Any],
    loss: Loss,
    duration: float,
    *,
    wrt: Iterable[str] | None = None,
    engine: str | Engine = "exact",
    dropout: Dropout | None = None,
    regularisers: Iterable[RateRegulariser] = (),
    lambda_limit: float = np.inf,
) -> Gradient:
    """The exact gradient of the batch loss (the mean over samples) by EventProp.

    Parameters
    ----------
    network, spikes, duration, engine
        As for ``simulate``.
    labels : array of int, shape (batch,)
        The class of each sample, 0 <= label < units of the readout's population.  For a loss that
        does not classify: its targets, in the shape that the loss states.
    loss : Loss
    wrt : iterable of str, optional
        Full names of parameters ("hidden.tau_mem") and kinds of them ("weight" for every
        weight), as for the optimizers of ``evsim.fit``; every parameter if not given.  Leaving
        out all time constants saves the engine a pass; weights, delays and thresholds come from the
        same pass.
    dropout : Dropout, optional
        Which spikes reach none of their synapses, forward and backward.
    regularisers : iterable of RateRegulariser
        At most one for each population.  They change gradients, not the loss.
    lambda_limit : float
        The largest |lambda_V-| at a spike, which grows without bound where V only grazes the
        threshold; larger ones are set to it and counted in ``Gradient.limited``.  Infinity
        for no limit, which is the exact gradient.

    Raises
    ------
    TypeError, ValueError
        For arguments that do not fit together, before anything runs.
    EngineError
        For a simulation that cannot go on.
    FloatingPointError
        For a loss whose derivative is not finite although the loss is.

    Warns
    -----
    SilentNetworkWarning
        As for ``simulate``, and for a hidden population without a spike in the whole batch.
    """
    options = GradientOptions(wrt, engine, dropout, regularisers, lambda_limit)
    found = quiet_gradient(network, spikes, labels, loss, duration, options)
    warn_of_unreached(found.run.network, found.run.inputs, found.run.duration)
    warn_of_seconds(found.run.network, found.run.inputs, found.run.duration)
    warn_of_silent_layers(found.run.network, found.run.spike_counts, pulled_populations(loss))
    return found


@dataclass(frozen=True)
class GradientOptions:
    """The keyword arguments of ``gradient``, except the loss."""

    wrt: Iterable[str] | None = None
    engine: str | Engine = "exact"
    dropout: Dropout | None = None
    regularisers: Iterable[RateRegulariser] = ()
    lambda_limit: float = np.inf


def quiet_gradient(
    network: Network,
    spikes: SpikeTrains | Mapping[str, SpikeTrains],
    labels: Sequence[Any] | NDArray[Any],
    loss: Loss,
    duration: float,
    options: GradientOptions = GradientOptions(),
) -> Gradient:
    """As ``gradient``, without warnings: for callers that compute one for every batch."""
    check_network(network)
    check_is_loss(loss)
    names = check_wrt(network, options.wrt)
    check_time_constants(network, names)
    regularisers = check_adjustments(network, options.regularisers, options.lambda_limit)
    engine = resolve(options.engine)
    duration = check_duration(duration)
    inputs = check_inputs(network, spikes)
    batch_size = len(next(iter(inputs.values())))
    loss.check_readouts(network, duration, batch_size)
    if batch_size == 0:
        raise ValueError("the batch is empty: the mean loss over no samples is not defined")
    checked_labels = loss.labels_for(network, labels, batch_size)
    loss.check_in_trial(checked_labels, duration)
    run = run_checked(network, inputs, duration, engine, options.dropout)
    outcome = loss.evaluate(run, checked_labels)
    outcome.check(loss, run)
    outcome.check_derivative(loss, run)
    adjustments = Adjustments(
        rate_jumps={
            r.population: r.rate_jumps(run.spike_counts[r.population]) for r in regularisers
        },
        lambda_limit=float(options.lambda_limit),
    )
    parts = [part.averaged(batch_size) for part in outcome.parts]
    adjoint = run.pull_back_parts(parts, names, adjustments)
    return Gradient(run, adjoint, outcome, partial(loss.evaluate, labels=checked_labels))


@helpful
@dataclass(frozen=True, eq=False, repr=False)
class Gradient(PulledBack):
    """The loss of a batch and its gradients.

    ``run`` is the simulation, ``outcome`` what the loss computed from it, and ``evaluated``
    computes an outcome from a run.
    """

    run: Run
    outcome: Outcome
    evaluated: Callable[[ReadableRun], Outcome]

    @cached_property
    def enclosure(self) -> GradientEnclosure:
        """Proven bounds of the gradients and of the loss, which is computed in balls too.

        Raises ValueError for an engine other than ``Reference(digits=..., certified=True)``, and
        for losses and readouts that are integrated numerically or computed in float64.
        """
        from evsim.engines.reference.enclosures import bounds_of

        losses: list[Any] = []

        def parts_of(batch: SimulatedBatch) -> Sequence[ReadoutCotangents]:
            outcome = self.evaluated(batch)
            losses[:] = [outcome.losses]
            return [part.averaged(batch.batch_size) for part in outcome.parts]

        return replace(self._enclosed(parts_of), losses=bounds_of(losses[0]))

    def __repr__(self) -> str:
        names = and_more(first(self.parameters), len(self.parameters))
        return f"Gradient(loss {self.loss:.6g} of {self.run}, with respect to {names})"

    @property
    def title(self) -> str:
        """What the gradients are of, for tables."""
        return (
            f"Gradient of the loss {self.loss:.6g}, mean over "
            f"{number_of(self.run.batch_size, 'sample')}"
        )

    @property
    def losses(self) -> NDArray[np.float64]:
        """Loss of each sample, shape (batch,)."""
        return self.outcome.losses

    @property
    def readout(self) -> NDArray[np.float64]:
        """The values that the loss was computed from, (batch, units) or (batch, units, ...)."""
        return self.outcome.values

    @property
    def predictions(self) -> NDArray[np.int64] | None:
        """The class of each sample, int64, shape (batch,); None if the loss does not classify."""
        return self.outcome.predictions

    @property
    def loss(self) -> float:
        """Mean loss of the batch."""
        return float(np.mean(self.losses))

    @property
    def report(self) -> GradientReport:
        """What happened in the batch that its results do not show."""
        return GradientReport.of(self.run.report, self)
