"""certify: prove that spikes in float64 are those of a network; Certificate: what is proven."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evsim.arguments.checks import check_duration, check_is, check_number, unknown_name
from evsim.arguments.keywords import helpful
from evsim.arguments.words import number_of
from evsim.display.short_repr import Brief
from evsim.engines import resolve
from evsim.engines.reference.engine import Reference
from evsim.engines.reference.network import Emission, Simulation
from evsim.engines.reference.undecided import DIGITS_LIMIT, UndecidedError
from evsim.network.checks import check_inputs, check_network
from evsim.network.network import Network
from evsim.network.populations import LIF
from evsim.network.spike_trains import SpikeTrains

TOLERANCE = 1e-10

_MOST_TOLD = 5
"""The largest number of reasons that a certificate states."""

_MOST_TIMES = 8
"""The largest number of times of a unit that a reason lists."""


@helpful
def certify(
    network: Network,
    spikes: SpikeTrains | Mapping[str, SpikeTrains],
    duration: float,
    emitted: Mapping[str, SpikeTrains] | None = None,
    *,
    tolerance: float = TOLERANCE,
    digits: int = 30,
    digits_limit: int = DIGITS_LIMIT,
) -> Certificate:
    """Prove that spikes in float64 are those of the network: which exist, in which order, and when.

    The spikes are compared with proven enclosures, which ``Reference(digits, certified=True)``
    computes.  Needs ``pip install "evsim[certified]"``.

    Parameters
    ----------
    network, spikes, duration
        As for ``simulate``.
    emitted : mapping from LIF population to SpikeTrains, optional
        The spikes to certify, of every LIF population; those of the exact engine if not given.
    tolerance : float
        The largest deviation of a spike time in ms that is certified.
    digits, digits_limit : int
        As for ``Reference``.

    Raises
    ------
    TypeError, ValueError
        For arguments that do not fit together.
    ImportError
        Without python-flint.
    EngineError
        For a simulation that cannot go on.  Decisions that cannot be made raise no error; the
        certificate lists them.
    """
    check_network(network)
    duration = check_duration(duration)
    inputs = check_inputs(network, spikes)
    check_number(tolerance, "tolerance", "a time in ms")
    if not tolerance >= 0:
        raise ValueError(f"tolerance = {tolerance}: it must be a time in ms >= 0")
    engine = Reference(digits, certified=True, digits_limit=digits_limit)
    if emitted is None:
        exact = resolve("exact")
        emitted = exact.spikes(exact.simulate(network, inputs, duration))
    found = _checked(emitted, network, inputs)
    deviations: list[float] = []
    digits_needed: list[int] = []
    differences: list[str] = []
    undecided: list[UndecidedError] = []
    for result in engine.certified_samples(network, inputs, duration):
        if isinstance(result, UndecidedError):
            undecided.append(result)
            deviations.append(np.nan)
            digits_needed.append(result.digits)
            continue
        simulation, needed = result
        pairs, told = _matched(simulation, _times_by_unit(simulation, found))
        told += _wrong_order(simulation, pairs)
        deviation = max((_distance(pair) for pair in pairs), default=0.0)
        if deviation > tolerance:
            worst = max(pairs, key=_distance)
            told.append(_too_far(simulation, worst, tolerance))
        differences += told
        deviations.append(deviation)
        digits_needed.append(needed)
    return Certificate(
        spikes=sum(trains.times.size for trains in found.values()),
        deviations=np.array(deviations, np.float64),
        digits=np.array(digits_needed, np.int64),
        tolerance=float(tolerance),
        differences=tuple(differences),
        undecided=tuple(undecided),
    )


def _checked(
    emitted: Any, network: Network, inputs: Mapping[str, SpikeTrains]
) -> dict[str, SpikeTrains]:
    """The spikes of every LIF population; others are ignored."""
    check_is(emitted, "emitted", Mapping, "give a mapping from population to SpikeTrains")
    known = [population.name for population in network.populations]
    for name in emitted:
        if name not in known:
            raise ValueError(f"emitted: {unknown_name('population', name, known)}")
    found = {}
    samples = len(next(iter(inputs.values())))
    for population in network.populations:
        if not isinstance(population, LIF):
            continue
        name, units = population.name, population.units
        if name not in emitted:
            raise ValueError(
                f"emitted has no spikes of {name!r}: give those of every LIF population"
            )
        trains = emitted[name]
        check_is(trains, f"emitted[{name!r}]", SpikeTrains, "give SpikeTrains")
        if (len(trains), trains.unit_count) != (samples, units):
            raise ValueError(
                f"emitted[{name!r}] has {number_of(len(trains), 'sample')} of "
                f"{number_of(trains.unit_count, 'unit')}: "
                f"the network and its inputs have {samples} of {units}"
            )
        found[name] = trains
    return found


# -- the comparison of a sample ------------------------------------------------------------


class _Pair(NamedTuple):
    """A spike that exists, and its time in float64."""

    emission: Emission
    time: float


def _distance(pair: _Pair) -> float:
    """The largest possible error of the float64 time, in ms."""
    time = pair.emission.time
    return float(time.distance(time.of.convert(pair.time)).upper)


def _times_by_unit(
    simulation: Simulation, found: Mapping[str, SpikeTrains]
) -> dict[int, list[float]]:
    """The float64 times of a sample by unit, numbered among the units of all populations."""
    times: dict[int, list[float]] = {}
    for name, trains in found.items():
        units = simulation.model.units_of(name)
        times |= {unit: [] for unit in units}
        own = slice(*trains.offsets[simulation.sample : simulation.sample + 2])
        for time, unit in zip(trains.times[own].tolist(), trains.units[own].tolist(), strict=True):
            times[units[unit]].append(time)
    return times


def _matched(
    simulation: Simulation, times: Mapping[int, Sequence[float]]
) -> tuple[list[_Pair], list[str]]:
    """Each spike that exists, with its float64 time; messages on units with other counts."""
    proven: dict[int, list[Emission]] = {unit: [] for unit in times}
    for emission in simulation.emissions:
        if emission.unit in proven:
            proven[emission.unit].append(emission)
    pairs: list[_Pair] = []
    told: list[str] = []
    for unit, emissions in proven.items():
        if len(emissions) != len(times[unit]):
            told.append(_other_number(simulation, unit, emissions, times[unit]))
        else:
            pairs += map(_Pair, emissions, times[unit])
    return pairs, told


def _other_number(
    simulation: Simulation, unit: int, emissions: Sequence[Emission], times: Sequence[float]
) -> str:
    exist = ", ".join(f"{float(emission.time):.12g}" for emission in emissions[:_MOST_TIMES])
    given = ", ".join(f"{time:.12g}" for time in times[:_MOST_TIMES])
    return (
        f"{_place(simulation, unit)}: {number_of(len(times), 'spike')}, but {len(emissions)} "
        f"exist; at [{given}] ms instead of [{exist}]"
    )


def _wrong_order(simulation: Simulation, pairs: Sequence[_Pair]) -> list[str]:
    """The message on the first float64 times in an order other than that of the spikes.

    Spikes that are equal by construction have no order.  Two that are not may have the same
    float64 time.
    """
    float_times = {id(pair.emission): pair.time for pair in pairs}
    latest: tuple[float, Emission | None] = -1.0, None
    # All inputs take part: their times are exact.
    known = [e for e in simulation.emissions if id(e) in float_times or e.index is not None]
    for _, tied in groupby(known, key=lambda emission: emission.time):
        group = [(float_times.get(id(e), float(e.time)), e) for e in tied]
        earliest = min(group, key=lambda entry: entry[0])
        if earliest[0] < latest[0] and latest[1] is not None:
            first, second = (_place(simulation, e.unit) for e in (latest[1], earliest[1]))
            return [
                f"{first} spikes before {second}, but at {latest[0]:.17g} ms and "
                f"{earliest[0]:.17g} ms"
            ]
        latest = max([latest, *group], key=lambda entry: entry[0])
    return []


def _too_far(simulation: Simulation, pair: _Pair, tolerance: float) -> str:
    return (
        f"{_place(simulation, pair.emission.unit)}: the spike at {pair.time:.17g} ms is off by up "
        f"to {_distance(pair):.3g} ms, more than the tolerance of {tolerance:g} ms"
    )


def _place(simulation: Simulation, unit: int) -> str:
    population, index = simulation.model.place_of(unit)
    return f"sample {simulation.sample}, {population!r} unit {index}"


@helpful
@dataclass(frozen=True, eq=False, repr=False)
class Certificate(Brief):
    """What is proven about spikes in float64; ``print`` shows it in words.

    Parameters
    ----------
    spikes : int
        The number of spikes that were to be certified, without those of inputs.
    deviations : array of float64, shape (batch,)
        The proven largest deviation of a spike time of each sample in ms, rounded up; NaN for a
        sample that is not decided.
    digits : array of int64, shape (batch,)
        The digits that each sample needed.
    tolerance : float
        The largest deviation that is certified, in ms.
    differences : tuple of str
        What is proven to be wrong about the spikes.
    undecided : tuple of UndecidedError
        What could not be decided with the most digits allowed; at most one per sample.
    """

    spikes: int
    deviations: NDArray[np.float64]
    digits: NDArray[np.int64]
    tolerance: float
    differences: tuple[str, ...]
    undecided: tuple[UndecidedError, ...]

    @property
    def certified(self) -> bool:
        """Whether all spikes exist, no others do, and their order and times are proven."""
        return not self.differences and not self.undecided

    @property
    def deviation(self) -> float:
        """The proven largest deviation of a spike time in ms; 0 if there is none."""
        return float(np.nanmax(self.deviations, initial=0.0))

    def __str__(self) -> str:
        if self.certified:
            spread = sorted({*self.digits.tolist()})
            return (
                f"certified: all {number_of(self.spikes, 'spike')} of "
                f"{number_of(self.digits.size, 'sample')} exist, "
                f"in this order, within {self.deviation:.2g} ms; no others do\n"
                f"proven with {' to '.join(map(str, spread[:: max(1, len(spread) - 1)]))} digits"
            )
        reasons = [*self.differences, *map(str, self.undecided)]
        told = reasons[:_MOST_TOLD]
        if len(reasons) > len(told):
            told.append(f"... {len(reasons) - len(told)} more")
        return "\n  ".join([f"not certified: {number_of(self.spikes, 'spike')}", *told])
