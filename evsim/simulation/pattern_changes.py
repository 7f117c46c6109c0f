"""nearest_change: how far along a step the gradient holds.

An exact gradient is that of a fixed pattern of spikes.  Along a step of the parameters the pattern
changes where a spike appears, because a maximum of V below the threshold reaches it; where a spike
vanishes, because V no longer rises above the threshold; and where a spike leaves the trial.  The
loss may jump there.  Where an arrival and a spike of the same unit change their order, or an
arrival and the end of a refractory period, the loss has a kink.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evsim.arguments.checks import check_is, shown, unknown_name
from evsim.arguments.keywords import helpful
from evsim.network.dropout import Dropout
from evsim.network.parameters import Parameter, numbers, with_numbers
from evsim.simulation.run import Run

if TYPE_CHECKING:
    from evsim.engines.exact.margins import Margins

Kind = Literal["appears", "vanishes", "leaves", "meets an arrival", "release meets an arrival"]

_SMALL = 1e-7
"""The change of the parameters, relative to their size, that shows how fast each margin shrinks."""

_SMALLER = 1e-3
"""The factor by which this change is reduced if the pattern already changes within it."""

_TRIES = 3


@helpful
@dataclass(frozen=True)
class Change:
    """A change of the pattern of spikes that a step of the parameters makes, to first order.

    Parameters
    ----------
    kind : str
        What happens to the spike: it "appears", "vanishes", "leaves" the trial at its end, "meets
        an arrival" at its unit; or "release meets an arrival": the end of its refractory period.
    population : str
    sample, unit : int
    time : float
        Of the spike, or of the maximum of V that becomes one, in ms, before the step.
    margin : float
        The distance from the change: a voltage for "appears" and "vanishes", otherwise ms.
    slope : float
        The change of the margin per step, below 0.
    """

    kind: Kind
    population: str
    sample: int
    unit: int
    time: float
    margin: float
    slope: float

    @property
    def fraction(self) -> float:
        """The share of the step after which it happens, to first order."""
        return -self.margin / self.slope

    def __str__(self) -> str:
        what, unit = _TOLD[self.kind]
        return (
            f"after {self.fraction:.3g} of the step {what} (unit {self.unit} of "
            f"{self.population!r} at {self.time:.6g} ms in sample {self.sample}, margin "
            f"{self.margin:.3g} {unit})"
        )


_TOLD: dict[Kind, tuple[str, str]] = {
    "appears": ("a spike appears", "of V"),
    "vanishes": ("a spike vanishes", "of V"),
    "leaves": ("a spike leaves the trial", "ms"),
    "meets an arrival": ("a spike and an arrival change their order", "ms"),
    "release meets an arrival": (
        "the end of a refractory period and an arrival change their order",
        "ms",
    ),
}
"""What happens in words, and the unit of the margin."""


@helpful
@dataclass(frozen=True)
class NearestChange:
    """The first changes along a step, to first order.

    ``pattern`` is the first that makes a spike appear, vanish or leave the trial; ``order`` the
    first change of order of a spike and an arrival.  None if the step leads to no such change.
    """

    pattern: Change | None
    order: Change | None

    @property
    def fraction(self) -> float:
        """The share of the step after which the pattern of spikes changes; infinity if never."""
        return np.inf if self.pattern is None else self.pattern.fraction

    def __str__(self) -> str:
        found = [str(change) for change in (self.pattern, self.order) if change is not None]
        return "; ".join(found) or "the step changes no pattern, to first order"


class AtAChangeError(ValueError):
    """The pattern of spikes changes immediately: the gradient does not exist."""


@np.errstate(under="ignore")
@helpful
def nearest_change(
    run: Run, step: Mapping[str, Any], *, dropout: Dropout | None = None
) -> NearestChange:
    """The first change of the pattern of spikes along a step of the parameters, to first order.

    The margins of all spikes and silences are measured for the parameters of the run and for a
    part of the step, so small that the pattern is the same.  The differences show how fast each
    margin shrinks.  This takes one more simulation.

    Parameters
    ----------
    run : Run
        A run on the exact engine.
    step : mapping from parameter to array
        What is added to each parameter, by its full name, in its shape.  Entries that would take a
        delay below 0 are left out, as in training.
    dropout : Dropout, optional
        That of the run.

    Raises
    ------
    TypeError, ValueError
        For arguments that do not fit together; AtAChangeError, a ValueError, if the pattern
        changes immediately.
    """
    check_is(run, "run", Run, "give what evsim.simulate returns")
    engine: Any = run.engine
    if not hasattr(engine, "margins"):
        raise ValueError(
            f"the run is on {type(run.engine).__name__}: nearest_change needs the exact engine"
        )
    if dropout is None and run.report.dropped:
        raise ValueError("the run has dropout: give the same dropout")
    steps = _checked_step(run, step)
    before = engine.margins(run.state)
    scale = _scale(steps)
    if scale == np.inf:
        return NearestChange(None, None)
    for _ in range(_TRIES):
        after = _margins_after(run, steps, scale, dropout)
        if _same_pattern(before, after):
            return _first_changes(run, before, after, scale)
        scale *= _SMALLER
    raise AtAChangeError(
        f"the pattern of spikes changes within {scale / _SMALLER:.0e} of the step: the network is "
        "at a change, where the gradient does not exist"
    )


def _checked_step(
    run: Run, step: Mapping[str, Any]
) -> dict[str, tuple[Parameter, NDArray[np.float64]]]:
    """Each parameter that changes, and the change of its numbers."""
    check_is(step, "step", Mapping, "give a mapping from names of parameters to arrays")
    found = {}
    for name, change in step.items():
        if name not in run.network.parameters:
            raise ValueError(unknown_name("parameter", name, run.network.parameters))
        parameter = run.network.parameters[name]
        now, by = numbers(parameter), np.asarray(numbers(change), np.float64)
        if np.shape(by) != np.shape(now):
            raise ValueError(
                f"step[{name!r}] has the shape {np.shape(by)}, the parameter {np.shape(now)}"
            )
        if not np.isfinite(by).all():
            raise ValueError(f"step[{name!r}] = {shown(by)}: all of it must be finite")
        if name.endswith(".delay"):
            by = np.where((now <= 0.0) & (by < 0.0), 0.0, by)
        found[name] = parameter, by
    return found


def _scale(steps: Mapping[str, tuple[Parameter, NDArray[np.float64]]]) -> float:
    """A share of the step that changes every parameter by a tiny part of its size."""
    scales = []
    for name, (parameter, by) in steps.items():
        largest = np.abs(by).max(initial=0.0)
        if largest > 0.0:
            size = np.abs(numbers(parameter)).mean()
            if name.endswith(".delay"):
                size = max(size, 1.0)  # ms
            scales.append(_SMALL * (size or 1.0) / largest)
    return min(scales, default=np.inf)


def _margins_after(
    run: Run,
    steps: Mapping[str, tuple[Parameter, NDArray[np.float64]]],
    share: float,
    dropout: Dropout | None,
) -> Margins:
    """The margins after a share of the step."""
    moved = {
        name: with_numbers(parameter, np.asarray(numbers(parameter) + share * by))
        for name, (parameter, by) in steps.items()
    }
    engine: Any = run.engine
    state = engine.simulate(run.network.replace(moved), dict(run.inputs), run.duration, dropout)
    margins: Margins = engine.margins(state)
    return margins


def _same_pattern(one: Margins, other: Margins) -> bool:
    """Whether the same units spike equally often."""
    return np.array_equal(one.sample, other.sample) and np.array_equal(one.unit, other.unit)


# -- the first changes ----------------------------------------------------------------------


class _Margin(NamedTuple):
    """Margins of one kind before and after the tiny step, and where they belong."""

    kind: Kind
    before: NDArray[np.float64]
    after: NDArray[np.float64]
    sample: NDArray[np.int64]
    unit: NDArray[np.int64]
    time: NDArray[np.float64]


def _first_changes(run: Run, before: Margins, after: Margins, share: float) -> NearestChange:
    """The change of the pattern and the change of order that come first."""
    pattern = [_first(margin, share) for margin in _of_pattern(before, after, run.duration)]
    order = [_first(margin, share) for margin in _of_order(before, after)]
    return NearestChange(_named(run, pattern), _named(run, order))


def _of_pattern(before: Margins, after: Margins, duration: float) -> Iterator[_Margin]:
    place = before.sample, before.unit
    one, other = before.spikes, after.spikes
    yield _Margin("appears", one["below"], other["below"], *place, one["below_time"])
    yield _Margin("vanishes", one["above"], other["above"], *place, before.time)
    yield _Margin("leaves", duration - before.time, duration - after.time, *place, before.time)
    sample, unit = (index.ravel() for index in np.indices(before.silences.shape))
    below, below_after = (margins.silences["below"].ravel() for margins in (before, after))
    yield _Margin("appears", below, below_after, sample, unit, before.silences["time"].ravel())


def _of_order(before: Margins, after: Margins) -> Iterator[_Margin]:
    kinds: dict[str, Kind] = {
        "since_arrival": "meets an arrival",
        "until_arrival": "meets an arrival",
        "release_since": "release meets an arrival",
        "release_until": "release meets an arrival",
    }
    place = before.sample, before.unit, before.time
    for name, kind in kinds.items():
        yield _Margin(kind, before.spikes[name], after.spikes[name], *place)


def _first(margin: _Margin, share: float) -> tuple[float, _Margin, int, float] | None:
    """The share of the step at which the first of some margins is 0; its index and its slope."""
    finite = np.isfinite(margin.before) & np.isfinite(margin.after)
    slope = np.zeros(margin.before.shape)
    slope[finite] = (margin.after[finite] - margin.before[finite]) / share
    shrinks = slope < 0.0
    if not shrinks.any():
        return None
    fraction = np.full(slope.shape, np.inf)
    fraction[shrinks] = -margin.before[shrinks] / slope[shrinks]
    index = int(np.argmin(fraction))
    return float(fraction[index]), margin, index, float(slope[index])


def _named(run: Run, found: list[tuple[float, _Margin, int, float] | None]) -> Change | None:
    """The earliest of the changes that were found."""
    some = [each for each in found if each is not None]
    if not some:
        return None
    _, margin, index, slope = min(some, key=lambda each: each[0])
    population, unit = run.state.name_unit(int(margin.unit[index]))
    return Change(
        margin.kind,
        population,
        int(margin.sample[index]),
        unit,
        float(margin.time[index]),
        float(margin.before[index]),
        slope,
    )
