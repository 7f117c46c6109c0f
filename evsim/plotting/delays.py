"""Delays before and after training, and the delay of each synapse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from evsim.arguments.checks import (
    check_finite,
    check_flag,
    check_is,
    checked_count,
    is_sparse,
    unknown_name,
)
from evsim.arguments.keywords import helpful
from evsim.network.connections import Connection
from evsim.network.network import Network
from evsim.network.parameters import spread
from evsim.plotting.style import (
    COLOURS,
    ONE_COLUMN,
    SMALL_TEXT,
    TEXT,
    TWO_COLUMNS,
    axes_of,
    label,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@helpful
def delay_histogram(
    before: Network,
    after: Network,
    connection: str,
    *,
    bins: int = 30,
    ax: Axes | None = None,
) -> Axes:
    """Draw a histogram of the delays of a connection, before and after training.

    Parameters
    ----------
    before, after : Network
    connection : str
        Its name, for example "input->hidden".
    bins : int
    ax : Axes, optional
        The axes to draw into; by default those of a new figure.
    """
    check_is(before, "before", Network, "give an evsim.Network")
    check_is(after, "after", Network, "give an evsim.Network")
    bins = checked_count(bins, "bins", 1, 10**6)
    old, new = (_delays(network, connection) for network in (before, after))
    if not old.size or not new.size:
        raise ValueError(f"{connection} has no synapses: there are no delays to draw")
    ax = axes_of(ax, ONE_COLUMN, 2.2)
    edges = np.linspace(0.0, max(old.max(), new.max(), 1e-3), bins + 1)
    new_counts, *_ = ax.hist(new, edges, color=COLOURS[0], label="after training")
    old_counts, *_ = ax.hist(
        old, edges, histtype="step", color=COLOURS[5], linewidth=1.2, label="before"
    )
    _cut_towers(ax, edges, old_counts, 1.4 * new_counts.max())
    label(ax, f"delay {connection} (ms)".replace("->", " → "), "synapses")
    ax.legend(fontsize=SMALL_TEXT, frameon=False)
    return ax


def _cut_towers(ax: Axes, edges: np.ndarray, counts: np.ndarray, top: float) -> None:
    """Cut off bars that are much higher than all others, and write their heights."""
    if counts.max() <= 2 * top:
        return
    ax.set_ylim(0, top)
    for left, count in zip(edges[:-1], counts, strict=True):
        if count > top:
            note = f"\N{UPWARDS ARROW} {count:.0f} before"
            ax.text(left, 1.02 * top, note, fontsize=SMALL_TEXT, color=COLOURS[5])


@helpful
def delay_matrices(networks: Mapping[str, Network], connection: str) -> Figure:
    """Draw the delay matrices of several networks side by side, with one colour scale.

    ``networks`` maps the title of each picture to its network; ``connection`` is a name, for
    example "input->output".
    """
    check_is(networks, "networks", Mapping, "give a mapping from titles to networks")
    if not networks:
        raise ValueError("networks is empty: give at least one, {'before': network}")
    for title, network in networks.items():
        check_is(network, f"networks[{title!r}]", Network, "give an evsim.Network")
    largest = max(float(_delays(network, connection).max()) for network in networks.values())
    figure = new_figure(min(TWO_COLUMNS, 0.9 + 1.7 * len(networks)), 2.2)
    panels = figure.subplots(1, len(networks), sharey=True, squeeze=False)[0]
    for ax, (title, network) in zip(panels, networks.items(), strict=True):
        delay_matrix(network, connection, largest=largest, bar=False, ax=ax)
        ax.set_title(str(title), fontsize=TEXT)
        if ax is not panels[0]:
            ax.set_ylabel("")
    _colour_bar(panels)
    return figure


@helpful
def delay_matrix(
    network: Network,
    connection: str,
    *,
    largest: float | None = None,
    bar: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draw the delay of each synapse as a colour, with a row for each target unit.

    Values are written into the cells of small matrices.

    Parameters
    ----------
    network : Network
    connection : str
        Its name, for example "input->output"; its weights must be dense.
    largest : float, optional
        The upper end of the colour scale in ms; by default the largest delay.
    bar : bool
        Whether to draw the colour scale beside the matrix.
    ax : Axes, optional
        The axes to draw into; by default those of a new figure.
    """
    check_is(network, "network", Network, "give an evsim.Network")
    check_flag(bar, "bar")
    if largest is not None:
        check_finite(largest, "largest")
        if not largest > 0:
            raise ValueError(f"largest = {largest} ms: it must be > 0")
    chosen = _connection(network, connection)
    if is_sparse(chosen.weight):
        raise ValueError(f"the connection {connection!r} is sparse: use delay_histogram")
    post = network.population(chosen.target).units
    pre = network.population(chosen.source).units
    delays = _delays(network, connection).reshape(post, pre)
    ax = axes_of(ax, ONE_COLUMN, 2.4)
    top = max(float(delays.max()), 1e-3) if largest is None else largest
    ax.imshow(delays, cmap="cividis", vmin=0.0, vmax=top, aspect="auto")
    label(ax, f"{chosen.source} unit", f"{chosen.target} unit")
    for size, set_ticks in ((pre, ax.set_xticks), (post, ax.set_yticks)):
        if size <= 12:
            set_ticks(range(size))
    if delays.size <= 64:
        for (row, column), delay in np.ndenumerate(delays):
            ax.text(
                column,
                row,
                f"{delay:.1f}",
                ha="center",
                va="center",
                fontsize=TEXT,
                color="black" if delay > 0.5 * top else "white",
            )
    if bar:
        _colour_bar([ax])
    return ax


def _colour_bar(panels: Sequence[Axes]) -> None:
    bar = panels[0].figure.colorbar(panels[0].images[0], ax=list(panels))
    bar.set_label("delay (ms)", fontsize=TEXT)
    bar.ax.tick_params(labelsize=SMALL_TEXT, width=0.6, length=2.5)
    bar.outline.set_linewidth(0.6)


def _connection(network: Network, name: str) -> Connection:
    connections = {connection.name: connection for connection in network.connections}
    if not isinstance(name, str) or name not in connections:
        raise ValueError(unknown_name("connection", name, connections))
    return connections[name]


def _delays(network: Network, name: str) -> np.ndarray:
    connection = _connection(network, name)
    shape = network.population(connection.target).units, network.population(connection.source).units
    return spread(connection.delay, connection.weight, shape)
