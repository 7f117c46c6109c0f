"""compare: the results of another program against the exact results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.arguments.checks import check_duration, shown
from evsim.arguments.keywords import helpful
from evsim.arguments.named import Named
from evsim.engines import resolve
from evsim.engines.protocol import Engine
from evsim.losses import Loss
from evsim.network.checks import check_inputs, check_network
from evsim.network.network import Network
from evsim.network.spike_trains import SpikeTrains
from evsim.referee.divergence import divergence_at, first_unmatched
from evsim.referee.given import (
    checked_gradients,
    checked_loss,
    checked_shift,
    checked_spikes,
    checked_step,
    checked_tolerance,
    checked_voltages,
    refuse_seconds,
)
from evsim.referee.gradients import GradientError, gradient_errors
from evsim.referee.matching import SpikeMatches, match_spikes
from evsim.referee.report import Comparison
from evsim.referee.rounding import rounding_that_explains
from evsim.referee.time_step import time_step_of
from evsim.referee.timing import TimingErrors, timing_of
from evsim.referee.unit_trace import Activity
from evsim.referee.voltages import voltage_errors
from evsim.simulation import Run, gradient, simulate


@np.errstate(under="ignore")
@helpful
def compare(
    network: Network,
    inputs: SpikeTrains | Mapping[str, SpikeTrains],
    theirs: SpikeTrains | Mapping[str, SpikeTrains],
    duration: float,
    *,
    voltages: Mapping[str, tuple[Any, Any]] | None = None,
    labels: Sequence[Any] | NDArray[Any] | None = None,
    loss: Loss | None = None,
    loss_value: float | None = None,
    gradients: Mapping[str, Any] | None = None,
    largest_shift: float | None = None,
    tolerance: float = 1e-9,
    time_step: float | None = None,
    engine: str | Engine = "exact",
) -> Comparison:
    """Judge what another program computed for a network, with evsim's exact results.

    Parameters
    ----------
    network : Network
        The network that the other program simulates.
    inputs : SpikeTrains, or a mapping from input population to SpikeTrains
        The same input spikes.
    theirs : SpikeTrains, or a mapping from population to SpikeTrains
        The spikes of the other program; a population that is left out is not compared.  An empty
        mapping if only voltages, the loss or gradients are compared.
    duration : float
        The trial is [0, duration] ms.
    voltages : mapping from population to (times, voltages), optional
        V of the other program at times in ms, shape (batch, units, times).
    labels, loss : optional
        As for ``evsim.gradient``, if ``loss_value`` or ``gradients`` are given.
    loss_value : float, optional
        The loss of the other program, the mean over samples.
    gradients : mapping from names of parameters to arrays, optional
        Its gradients, in the shapes of ``network.parameters``.
    largest_shift : float, optional
        Spikes that are further apart, in ms, are not the same spike.  By default the shortest
        time constant of the populations that are compared.
    tolerance : float
        If the spikes of a pair are further apart, in ms, they are called moved.
    time_step : float, optional
        The time step of the other program in ms, if you know it.  By default that of the grid on
        which its spikes lie.
    engine : str or Engine
        What computes the exact results.

    Raises
    ------
    TypeError, ValueError
        For arguments that do not fit the network or one another, before anything runs; and for
        spikes that seem to be in seconds.
    EngineError
        For a simulation that cannot go on.

    Warns
    -----
    SilentNetworkWarning, TimeUnitWarning
        As for ``evsim.simulate``.
    """
    check_network(network)
    engine = resolve(engine)
    duration = check_duration(duration)
    if not isinstance(inputs, (SpikeTrains, Mapping)):
        raise TypeError(
            f"inputs = {shown(inputs)}: give SpikeTrains, or a mapping from inputs to them"
        )
    given = check_inputs(network, inputs)
    batch = len(next(iter(given.values())))
    spikes = checked_spikes(network, given, theirs, duration)
    traces = {} if voltages is None else checked_voltages(network, voltages, batch, duration)
    value = None if loss_value is None else checked_loss(loss_value)
    slopes = {} if gradients is None else checked_gradients(network, gradients)
    _check_something_is_compared(spikes, traces, value, slopes)
    _check_loss(loss, labels, value, slopes)
    shift = checked_shift(largest_shift, network, spikes)
    tolerance = checked_tolerance(tolerance)
    given_step = None if time_step is None else checked_step(time_step)
    run = simulate(network, given, duration, engine)
    refuse_seconds(run.spikes, spikes, duration)
    exact = Activity(network, run.spikes, duration)
    others = Activity(network, {**run.spikes, **spikes}, duration)
    matches = match_spikes(run.spikes, spikes, shift, tolerance)
    rounding = rounding_that_explains(matches, exact)
    step = None if rounding == "float64" else time_step_of(matches, others)
    if step is not None and step.grid is not None:
        rounding = None
    elif rounding is not None:
        step = None
    known = step.step if step is not None and step.explains else 0.0
    size = known if given_step is None else given_step
    exact_loss, errors = _values(network, given, labels, loss, duration, engine, value, slopes)
    return Comparison(
        run=run,
        matches=matches,
        timing=Named(_timing(matches), "population"),
        rounding=rounding,
        time_step=step,
        divergences=tuple(
            divergence_at(row, matches, exact, others, size) for row in first_unmatched(matches)
        ),
        voltages=tuple(
            voltage_errors(run, name, *pair, _until(matches, run)) for name, pair in traces.items()
        ),
        loss=None if value is None or exact_loss is None else (exact_loss, value),
        gradients=errors,
    )


def _check_something_is_compared(*parts: Any) -> None:
    if all(part is None or (isinstance(part, dict) and not part) for part in parts):
        raise ValueError(
            "theirs is empty: give spikes, voltages, a loss_value or gradients of the other program"
        )


def _check_loss(loss: Any, labels: Any, value: float | None, slopes: Mapping[str, Any]) -> None:
    """Refuse a loss that nothing needs, and arguments that need a missing loss."""
    is_needed = value is not None or bool(slopes)
    if is_needed and (loss is None or labels is None):
        what = "gradients" if slopes else "loss_value"
        raise ValueError(
            f"{what} is given without loss and labels: give both, loss=..., labels=..."
        )
    if not is_needed and (loss is not None or labels is not None):
        raise ValueError(
            "loss or labels are given, and nothing to compare them with: give loss_value or "
            "gradients of the other program, too"
        )


def _timing(matches: SpikeMatches) -> dict[str, TimingErrors]:
    found = {name: timing_of(matches.of(name)) for name in matches.populations}
    return {**found, "all": timing_of(matches)}


def _until(matches: SpikeMatches, run: Run) -> NDArray[np.float64]:
    """The time of the first missing or additional spike of each sample; infinity without one."""
    until = np.full(run.batch_size, np.inf)
    rows = first_unmatched(matches)
    until[matches.sample[rows]] = matches.time[rows]
    return until


def _values(
    network: Network,
    inputs: Mapping[str, SpikeTrains],
    labels: Any,
    loss: Loss | None,
    duration: float,
    engine: Engine,
    value: float | None,
    slopes: Mapping[str, Any],
) -> tuple[float | None, tuple[GradientError, ...]]:
    """The exact loss, and the errors of the other program's gradients."""
    if loss is None or labels is None or (value is None and not slopes):
        return None, ()
    exact = gradient(network, inputs, labels, loss, duration, wrt=list(slopes), engine=engine)
    return exact.loss, gradient_errors(exact.parameters, slopes)
