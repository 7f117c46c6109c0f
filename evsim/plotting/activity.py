"""The activity in a sample: spikes of all populations; voltages, currents and adjoints.

D is Mészáros, Knight, Nowotny, *Efficient event-based delay learning in spiking neural networks*.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.collections import LineCollection

from evsim.arguments.checks import check_is, checked_count, is_integer, listed, shown
from evsim.arguments.keywords import helpful
from evsim.network.network import Network
from evsim.network.populations import LIF
from evsim.plotting.style import (
    BLACK,
    COLOURS,
    GREY,
    ONE_COLUMN,
    SMALL_TEXT,
    TEXT,
    TWO_COLUMNS,
    axes_of,
    label,
    new_figure,
)
from evsim.simulation.gradients import Gradient
from evsim.simulation.run import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@helpful
def rasters(run: Run, samples: Sequence[int], titles: Sequence[str]) -> Figure:
    """Draw the spikes of several samples side by side, with a title above each."""
    check_is(run, "run", Run, "give what evsim.simulate returns")
    samples = listed(samples, "samples", "give a list of numbers of samples")
    titles = listed(titles, "titles", "give a list of titles, one for each sample")
    for sample in samples:
        check_sample(run, sample)
    if not samples or len(titles) != len(samples):
        raise ValueError(
            f"there are {len(samples)} samples but {len(titles)} titles: give at least one sample, "
            "and a title for each"
        )
    height = min(1.4 + 0.05 * sum(p.units for p in run.network.populations), 7.0)
    figure = new_figure(min(TWO_COLUMNS, 0.7 + 2.1 * len(samples)), height)
    panels = figure.subplots(1, len(samples), sharey=True, squeeze=False)[0]
    for ax, sample, title in zip(panels, samples, titles, strict=True):
        raster(run, sample, ax=ax)
        ax.set_title(str(title), fontsize=TEXT)
    return figure


@helpful
def raster(
    run: Run,
    sample: int = 0,
    populations: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the spikes of one sample, with a row for each unit and the input at the bottom.

    Parameters
    ----------
    run : Run
    sample : int
        The index of the sample in the batch.
    populations : sequence of str, optional
        The populations to show, from the bottom up; by default all that can spike.
    ax : Axes, optional
        The axes to draw into; by default those of a new figure.
    """
    check_is(run, "run", Run, "give what evsim.simulate returns")
    check_sample(run, sample)
    if populations is None:
        populations = [p.name for p in run.network.populations if p.spiking]
    else:
        populations = _checked_populations(run.network, populations)
    sizes = [run.network.population(name).units for name in populations]
    ax = axes_of(ax, ONE_COLUMN, min(1.2 + 0.05 * sum(sizes), 7.0))
    gap = max(1.0, 0.04 * sum(sizes))
    half = max(0.4, 0.003 * sum(sizes))  # of a mark's height; among many rows a mark spans several
    bottom, middles = 0.0, []
    for index, (name, size) in enumerate(zip(populations, sizes, strict=True)):
        trains = run.spikes[name][sample]
        ax.vlines(
            trains.times,
            bottom + trains.units + 0.5 - half,
            bottom + trains.units + 0.5 + half,
            color=COLOURS[index % len(COLOURS)],
            linewidth=1.2 if half == 0.4 else 0.7,
            label=name,
        )
        middles.append(bottom + size / 2)
        bottom += size + gap
    ax.set_xlim(0.0, run.duration)
    ax.set_ylim(-0.5 * gap, bottom - 0.5 * gap)
    label(ax, "time (ms)")
    ax.set_yticks(middles, [f"{n} ({s})" for n, s in zip(populations, sizes, strict=True)])
    ax.tick_params(axis="y", length=0)
    return ax


@helpful
def traces(
    result: Gradient | Run,
    units: Mapping[str, Sequence[int]],
    *,
    sample: int = 0,
    points: int = 2000,
) -> Figure:
    """Draw voltage, current and, for a gradient, both adjoints of units (as in Figure 3 of D).

    There is one column for each unit.  Lines include every event, so jumps are vertical.

    Parameters
    ----------
    result : Gradient or Run
        A run has no adjoints, so there are two rows instead of four.
    units : mapping from population to unit indices
        For example ``{"hidden": [0, 7], "output": [2]}``.
    sample : int
        The index of the sample in the batch.
    points : int
        The number of evenly spaced times of the lines, in addition to the events.
    """
    check_is(result, "result", (Gradient, Run), "give what evsim.gradient or simulate returns")
    run = result.run if isinstance(result, Gradient) else result
    check_sample(run, sample)
    points = checked_count(points, "points", 2, 10**7)
    chosen = _checked_units(run.network, units)
    quantities = _quantities(result)
    figure = new_figure(min(TWO_COLUMNS, 0.5 + 2.3 * len(chosen)), 0.7 + 1.05 * len(quantities))
    panels = figure.subplots(len(quantities), len(chosen), sharex=True, squeeze=False)
    for column, (name, unit) in enumerate(chosen):
        _trace_column(panels[:, column], run, quantities, name, unit, sample, points)
        panels[0, column].set_title(f"{name} {unit}", fontsize=TEXT)
        panels[-1, column].set_xlabel("time (ms)", fontsize=TEXT)
    for row, name in enumerate(quantities):
        panels[row, 0].set_ylabel(name, fontsize=TEXT, rotation=0, ha="right", va="center")
    figure.align_ylabels(panels[:, 0])
    _trace_legend(figure, panels)
    return figure


def _quantities(result: Gradient | Run) -> dict[str, Callable[..., Any]]:
    """The quantity of each row: its name and the function that computes it."""
    if isinstance(result, Run):
        return {"$V$": result.voltage, "$I$": result.current}
    return {
        "$V$": result.run.voltage,
        "$I$": result.run.current,
        r"$\lambda_V$": result.lambda_V,
        r"$\lambda_I$": result.lambda_I,
    }


def _trace_column(
    panels: np.ndarray,
    run: Run,
    quantities: dict[str, Callable[..., Any]],
    population: str,
    unit: int,
    sample: int,
    points: int,
) -> None:
    arrivals, weights = arrivals_at(run, population, unit, sample)
    emissions = _emissions(run, population, unit, sample)
    times = with_events(
        np.linspace(0.0, run.duration, points), np.concatenate([arrivals, emissions]), run.duration
    )
    for row, (ax, values) in enumerate(zip(panels, quantities.values(), strict=True)):
        ax.plot(
            times,
            values(population, times)[sample, unit],
            color=COLOURS[0] if row < 2 else COLOURS[5],
            linewidth=1.0,
        )
        if emissions.size:
            lines = LineCollection(
                [[(time, 0.0), (time, 1.0)] for time in emissions],
                transform=ax.get_xaxis_transform(),
                color=BLACK,
                linewidth=0.6,
                linestyle=(0, (4, 3)),
                label="emission",
            )
            ax.add_collection(lines, autolim=False)
        label(ax)
        ax.margins(y=0.12)
        ax.set_xlim(0.0, run.duration)
    threshold = _threshold(run.network, population, unit)
    if threshold is not None:
        panels[0].axhline(threshold, color=GREY, linewidth=0.8, linestyle=":", label="threshold")
    for sign, marker, colour in ((1, "^", COLOURS[2]), (-1, "v", COLOURS[3])):
        arrival_times = arrivals[np.sign(weights) == sign]
        if arrival_times.size:
            panels[1].plot(
                arrival_times,
                np.full(arrival_times.size, 0.03),
                marker,
                color=colour,
                markersize=3.5,
                transform=panels[1].get_xaxis_transform(),
                clip_on=False,
                label=f"arrival, weight {'>' if sign > 0 else '<'} 0",
            )


def _trace_legend(figure: Figure, panels: np.ndarray) -> None:
    entries: dict[str, Any] = {}
    for ax in panels.flat:
        for handle, text in zip(*ax.get_legend_handles_labels(), strict=True):
            entries.setdefault(text, handle)
    if entries:
        figure.legend(
            entries.values(),
            entries.keys(),
            loc="outside lower center",
            ncols=len(entries) if len(panels[0]) > 1 else 2,
            fontsize=SMALL_TEXT,
            frameon=False,
            handlelength=1.5,
        )


# -- events -------------------------------------------------------------------------------


def arrivals_at(run: Run, population: str, unit: int, sample: int) -> tuple[np.ndarray, np.ndarray]:
    """Sorted times in ms and weights of the spikes that arrive at a unit within the trial."""
    topology = run.network.topology
    names = [p.name for p in run.network.populations]
    target = topology.first_unit[names.index(population)] + unit
    synapses = slice(topology.incoming[target], topology.incoming[target + 1])
    weights = run.network.weight_per_synapse()[synapses]
    delays = run.network.delay_per_synapse()[synapses]
    emitted_by = _spike_times_by_unit(run, sample)
    times = [emitted_by[s] + d for s, d in zip(topology.source[synapses], delays, strict=True)]
    counts = [len(entry) for entry in times]
    flat = np.concatenate([np.empty(0), *times])
    repeated = np.repeat(weights, counts)
    order = np.argsort(flat, kind="stable")
    order = order[flat[order] <= run.duration]
    return flat[order], repeated[order]


def _spike_times_by_unit(run: Run, sample: int) -> list[np.ndarray]:
    """Spike times of every unit of the network, numbered as in its topology."""
    by_unit = []
    for population in run.network.populations:
        if not population.spiking:
            by_unit += [np.empty(0)] * population.units
            continue
        trains = run.spikes[population.name][sample]
        by_unit += [trains.times[trains.units == unit] for unit in range(population.units)]
    return by_unit


def _emissions(run: Run, population: str, unit: int, sample: int) -> np.ndarray:
    if not run.network.population(population).spiking:
        return np.empty(0)
    trains = run.spikes[population][sample]
    times: np.ndarray = trains.times[trains.units == unit]
    return times


def _threshold(network: Network, population: str, unit: int) -> float | None:
    chosen = network.population(population)
    if not isinstance(chosen, LIF):
        return None
    return float(np.broadcast_to(chosen.threshold, chosen.units)[unit])


def with_events(times: np.ndarray, events: np.ndarray, duration: float) -> np.ndarray:
    """The times, sorted, with one just before and one just after each event."""
    step = 1e-9 * duration
    return np.unique(np.clip(np.concatenate([times, events - step, events + step]), 0.0, duration))


def check_sample(run: Run, sample: int) -> None:
    """Refuse a sample that the batch does not have."""
    if not is_integer(sample):
        raise TypeError(f"sample = {shown(sample)}: it must be an integer")
    if not 0 <= sample < run.batch_size:
        raise ValueError(
            f"sample = {shown(sample)}: the batch has samples 0 to {run.batch_size - 1}"
        )


def _checked_populations(network: Network, populations: Any) -> tuple[str, ...]:
    names = listed(populations, "populations", "give a list of names of populations")
    for name in names:
        if not network.population(name).spiking:
            raise ValueError(f"populations holds {name!r}, whose LI units never spike")
    if not names:
        raise ValueError("populations is empty: give at least one, or leave it out for all")
    return names


def _checked_units(network: Network, units: Any) -> list[tuple[str, int]]:
    """Population and index of each chosen unit."""
    example = "give for example units={'output': [0, 1]}"
    check_is(units, "units", Mapping, example)
    chosen = []
    for name, indices in units.items():
        size = network.population(name).units
        for unit in listed(indices, f"units[{name!r}]", example):
            if not is_integer(unit):
                raise TypeError(f"units[{name!r}] holds {shown(unit)}: give integers")
            if not 0 <= unit < size:
                raise ValueError(f"units[{name!r}] holds {unit}: it has units 0 to {size - 1}")
            chosen.append((name, int(unit)))
    if not chosen:
        raise ValueError(f"units chooses nothing: {example}")
    return chosen
