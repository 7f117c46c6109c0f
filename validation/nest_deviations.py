"""The known deviations of NEST from evsim: a network in which each occurs, and its size.

They were found by comparisons, and explained from NEST's published source.  Each is tested again,
so that an improvement in a later version of NEST is noticed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from claims import Table
from nest_agreement import EXACT
from nest_networks import (
    LOSSLESS,
    PRECISE,
    Nest,
    NestRefusedError,
    NestStoppedError,
    power_of_two,
)

import evsim
from evsim.engines import Engine, Reference

DURATION = 100.0
RESOLUTIONS = tuple(2.0**-power for power in (0, 2, 4, 6, 8))
FINE = 2.0**-4
TIMES = np.sort(np.random.default_rng(0).uniform(0.0, DURATION, 60))
PEAK_AT_ONE = 4.0 ** (4.0 / 3.0)  # the weight for which V peaks at 1, for a ratio of 4

Row = list[str]


# -- small networks -----------------------------------------------------------------------


def neuron(weight: float, tau_mem: float = 20.0, tau_syn: float = 5.0, refractory: float = 1.0):
    """One unit with one input."""
    return evsim.Network(
        [evsim.Input("input", 1), evsim.LIF("unit", 1, tau_mem, tau_syn, 1.0, refractory)],
        [evsim.Connection("input", "unit", weight)],
    )


def ring(delay: float) -> evsim.Network:
    """Two units that excite each other."""
    weight = [[0.0, 1.0], [1.0, 0.0]]
    return evsim.Network(
        [evsim.Input("input", 1), evsim.LIF("unit", 2, threshold=[1.0, 1.1], refractory=1.0)],
        [
            evsim.Connection("input", "unit", 1.0),
            evsim.Connection("unit", "unit", weight, delay),
        ],
    )


def spikes_of(network: evsim.Network, times: Any, engine: Engine = EXACT) -> np.ndarray:
    """The spike times from one of evsim's engines."""
    run = evsim.simulate(network, trains(times), duration=DURATION, engine=engine)
    return run.spikes["unit"].times


def nest_spikes(network: evsim.Network, times: Any, nest: Nest) -> np.ndarray | str:
    """The spike times from NEST; or a message if NEST refuses the network or stops."""
    try:
        return nest.simulate(network, {"input": trains(times)}, DURATION).spikes["unit"].times
    except NestRefusedError:
        return "refused"
    except NestStoppedError:
        return "stops with an error"


def trains(times: Any) -> evsim.SpikeTrains:
    """The spike trains of the single input."""
    return evsim.SpikeTrains.from_lists([[(time, 0) for time in times]], units=1)


def found(spikes: np.ndarray | str) -> str:
    """The number of spikes, or NEST's failure, as text for a cell of the table."""
    if isinstance(spikes, str):
        return spikes
    return f"{spikes.size} spike{'s' if spikes.size != 1 else ''}"


def distance(ours: np.ndarray, others: np.ndarray | str) -> str:
    """The largest distance as text for a cell of the table."""
    if isinstance(others, str) or ours.size != others.size:
        return "–"
    return f"{np.abs(ours - others).max(initial=0.0):.1e} ms"


def row(what: str, case: str, ours: np.ndarray, others: np.ndarray | str, why: str) -> Row:
    """A row of the table."""
    return [what, case, found(ours), found(others), distance(ours, others), why]


# -- single deviations --------------------------------------------------------------------


def deviations_table() -> Table:
    """The table of all deviations and their causes."""
    columns = ["what", "where", "evsim", "NEST", "apart", "why"]
    rows = [
        *brief_crossings(),
        *spikes_while_refractory(),
        *refractory_periods(),
        *time_constants(),
        *grazing(),
        *ticks(),
    ]
    title = "What NEST does otherwise, one neuron with one input each"
    return Table(title, columns, rows)


def brief_crossings() -> Iterator[Row]:
    """V exceeds the threshold only between two steps: one input spike raises it to 1 + 10⁻⁴."""
    for tau_mem, tau_syn, name in ((20.0, 5.0, "20 and 5 ms"), (16 / 3, 4 / 3, "16/3 and 4/3 ms")):
        network = neuron(PEAK_AT_ONE * (1 + 1e-4), tau_mem, tau_syn)
        ours = spikes_of(network, [0.3])
        for model in (PRECISE, LOSSLESS):
            others = nest_spikes(network, [0.3], Nest(model, 1.0))
            if model == PRECISE:
                why = "tests V at steps and arrivals only"
            elif isinstance(others, str):
                why = "searches up to V's peak, whose time has a factor of tau_syn² where it needs "
                why += "tau_mem tau_syn / (tau_mem - tau_syn): too late"
            else:
                why = "agrees: with these the two factors are the same"
            yield row("a crossing within a step", f"{model}, {name}, step 1 ms", ours, others, why)


def spikes_while_refractory() -> Iterator[Row]:
    """A current so strong that V would rise from 0 to 1 within a step."""
    network = neuron(60.0, refractory=4.0)
    ours = spikes_of(network, [0.3])
    for model in (PRECISE, LOSSLESS):
        for resolution in (1.0, FINE):
            others = nest_spikes(network, [0.3], Nest(model, resolution))
            agrees = not isinstance(others, str) and ours.size == others.size
            why = "agrees" if agrees else "does not ask whether the unit is refractory"
            where = f"{model}, refractory 4 ms, weight 60, step {power_of_two(resolution)} ms"
            yield row("spikes while refractory", where, ours, others, why)


def refractory_periods() -> Iterator[Row]:
    """No refractory period, and one that is not a multiple of a step."""
    ours = spikes_of(neuron(1.0, refractory=0.0), TIMES)
    for model, why in (
        (PRECISE, "the shortest is a step"),
        (LOSSLESS, "taken, but the unit never leaves it"),
    ):
        others = nest_spikes(neuron(1.0, refractory=0.0), TIMES, Nest(model, FINE))
        yield row("refractory period 0", model, ours, others, why)
    network = neuron(3.0, refractory=1.05)
    others = nest_spikes(network, TIMES, Nest(PRECISE, FINE))
    yield row(
        "refractory period 1.05 ms",
        f"{PRECISE}, step 2⁻⁴ ms",
        spikes_of(network, TIMES),
        others,
        "rounded up to steps",
    )
    rounded = spikes_of(neuron(3.0, refractory=1.0625), TIMES)
    yield row("the same", "evsim with 1.0625 ms", rounded, others, "17 steps of 2⁻⁴ ms")


def time_constants() -> Iterator[Row]:
    """Equal and nearly equal time constants."""
    for excess, name in ((0.0, "equal"), (1e-15, "apart by 10⁻¹⁵"), (1e-12, "apart by 10⁻¹²")):
        network = neuron(0.8, 10.0 * (1 + excess), 10.0)
        ours = spikes_of(network, TIMES)
        for model in (PRECISE, LOSSLESS):
            others = nest_spikes(network, TIMES, Nest(model, FINE))
            why = "agrees"
            if isinstance(others, str):
                why = "its conditions for a crossing divide by tau_mem - tau_syn"
            yield row(f"time constants {name}", f"{model}, 10 ms", ours, others, why)


def grazing() -> Iterator[Row]:
    """V only just reaches the threshold, so its last digits determine the time of the spike."""
    for excess, name in ((1e-4, "10⁻⁴"), (1e-8, "10⁻⁸"), (1e-12, "10⁻¹²")):
        network = neuron(PEAK_AT_ONE * (1 + excess), 16 / 3, 4 / 3)
        exact = spikes_of(network, [0.3], Reference(40))
        ours = spikes_of(network, [0.3])
        others = nest_spikes(network, [0.3], Nest(LOSSLESS, 1.0))
        why = f"NEST takes |V - 1| < 10⁻¹⁴ for 0; evsim itself is off by {distance(ours, exact)}"
        where = f"{LOSSLESS}, V's peak at 1 + {name}"
        yield row("grazing", where, exact, others, why)


def ticks() -> Iterator[Row]:
    """NEST's default ticks of a microsecond, with steps that are not powers of two."""
    network = neuron(1.0)
    ours = spikes_of(network, TIMES)
    for resolution in (0.1, 0.01):
        nest = Nest(PRECISE, resolution, ticks_per_ms=1000)
        others = nest_spikes(network, TIMES, nest)
        why = "no deviation: spikes carry their offset from the step as a number of their own"
        yield row("ticks of 1 µs", f"{PRECISE}, step {resolution:g} ms", ours, others, why)


# -- deviations that decrease with the resolution -----------------------------------------


def first_order_table() -> Table:
    """The largest distances in ms by resolution."""
    columns = [
        "resolution, ms",
        "refractory period of a step, not 0",
        "loop with a delay of a step, not 0",
        "delay of 2.3 ms rounded to steps",
        "inputs rounded to steps",
        "all as in evsim",
    ]
    rows = []
    for resolution in RESOLUTIONS:
        cells = [largest(*case) for case in rounded_cases(resolution)]
        rows.append([power_of_two(resolution), *cells])
    title = "What NEST's resolution does where it is no matter of rounding, in ms"
    return Table(title, columns, rows)


def rounded_cases(resolution: float) -> Iterator[tuple[np.ndarray, np.ndarray | str]]:
    """The spikes of evsim and of NEST, one pair for each column."""
    nest = Nest(PRECISE, resolution)
    no_refractory = neuron(1.0, refractory=0.0)
    ours = spikes_of(no_refractory, TIMES)
    yield ours, nest_spikes(no_refractory, TIMES, replace(nest, refractory=resolution))
    yield spikes_of(ring(0.0), TIMES), nest_spikes(ring(resolution), TIMES, nest)
    ours = spikes_of(ring(2.3), TIMES)
    yield ours, nest_spikes(ring(2.3), TIMES, replace(nest, synapse="static_synapse"))
    yield ours, nest_spikes(ring(2.3), TIMES, replace(nest, precise_inputs=False))
    yield ours, nest_spikes(ring(2.3), TIMES, nest)


def largest(ours: np.ndarray, others: np.ndarray | str) -> str:
    """The largest distance, or the numbers of spikes, as text for a cell of the table."""
    if isinstance(others, str):
        return others
    if ours.size != others.size:
        return f"{others.size} spikes, not {ours.size}"
    return f"{np.abs(ours - others).max(initial=0.0):.1e}"
