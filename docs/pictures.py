"""Pictures of the pages.

    python docs/pictures.py [--only one_neuron.png grazing.png]

draws those that no other script makes into docs/images; Yin-Yang trains for a minute first.
``ELSEWHERE`` has the commands of the others.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

import evsim
from evsim import plotting
from evsim.plotting.style import COLOURS, GREY, SMALL_TEXT, TWO_COLUMNS, label, new_figure
from evsim.tasks import yin_yang

FOLDER = Path(__file__).parent / "images"

ELSEWHERE = {
    "growth.png": "python benchmarks/growth.py --out runs/growth --write docs/performance.md",
    "grid_against_exact.png": "python validation/grid_report.py --out docs",
    "japanese_vowels.png": "python validation/japanese_vowels.py --out runs/vowels",
    "scaling.png": "python benchmarks/scale_out.py --picture docs/images/scaling.png",
    "silent_hidden_layer.png": "python validation/run.py -k SilentHiddenLayer --data FOLDER",
    "yin_yang_curve.png": "python validation/run.py -k PaperYinYang",
}
"""Commands of other scripts; those that write into a folder of runs are copied from there."""


def one_neuron(folder: Path) -> None:
    """Three spikes reach one LIF unit, which emits once: V, I and their adjoints."""
    network = evsim.Network(
        [evsim.Input("input", 3), evsim.LIF("output", 1)],
        [evsim.Connection("input", "output", [[4.0, 4.0, 3.0]], delay=[[0.0, 3.0, 1.0]])],
    )
    spikes = evsim.SpikeTrains.from_lists([[(2.0, 0), (4.0, 1), (20.0, 2)]], units=3)
    loss = evsim.losses.SpikeTimeMSE(evsim.readouts.SpikeTimes(count=1))
    result = evsim.gradient(network, spikes, np.full((1, 1, 1), 12.0), loss, duration=40.0)
    plotting.save(plotting.traces(result, {"output": [0]}), folder / "one_neuron.png")


def grazing(folder: Path) -> None:
    """The time of a spike against the weight that causes it, and its derivative."""

    def spike(weight: float) -> tuple[float, float]:
        network = evsim.Network(
            [evsim.Input("input", 1), evsim.LIF("output", 1)],
            [evsim.Connection("input", "output", weight)],
        )
        result = evsim.gradient(
            network,
            evsim.SpikeTrains.from_lists([[(0.0, 0)]], units=1),
            np.zeros((1, 1, 1)),
            evsim.losses.SpikeTimeMSE(evsim.readouts.SpikeTimes(count=1)),
            duration=40.0,
            wrt=["input->output.weight"],
        )
        (time,) = result.readout.ravel()  # the loss is half of its square
        return time, float(result.parameters["input->output.weight"]) / time

    # With time constants of 20 and 5 ms a spike of weight w lifts V by at most w/4^(4/3).
    least = 4 ** (4 / 3)
    weights = least + np.geomspace(1e-6, 4.0, 200)
    times, slopes = np.transpose([spike(weight) for weight in weights])
    figure = new_figure(TWO_COLUMNS, 2.4)
    left, right = figure.subplots(1, 2)
    left.plot(weights, times, color=COLOURS[0])
    label(left, "weight", "time of the spike (ms)")
    right.semilogy(weights, -slopes, color=COLOURS[5])
    label(right, "weight", "− derivative (ms)")
    for ax in (left, right):
        ax.axvspan(4.8, least, color=GREY, alpha=0.25, linewidth=0)
        ax.set_xlim(4.8, weights[-1])
        ax.text(
            4.9,
            0.5,
            "no spike,\nno gradient",
            transform=ax.get_xaxis_transform(),
            fontsize=SMALL_TEXT,
        )
    plotting.save(figure, folder / "grazing.png")


def yin_yang_run(folder: Path) -> None:
    """Decisions and traces of the network that `make demo` trains."""
    settings = yin_yang.Settings(hidden=30, delays=True)
    result = yin_yang.train(settings, progress=False)
    with tempfile.TemporaryDirectory() as name:
        for path in yin_yang.pictures(result, settings, name):
            if path.stem in ("decisions", "traces"):
                path.replace(folder / f"yin_yang_{path.name}")


COMPARISON = re.compile(r"<!-- comparison: begin -->\n(.*?)<!-- comparison: end -->", re.S)


def compared_times() -> list[tuple[str, float, float | None]]:
    """The table of docs/performance.md: program and network, its µs per sample, and evsim's.

    evsim's is None where no case of it has the same network.
    """
    page = (FOLDER.parent / "performance.md").read_text(encoding="utf-8")
    (table,) = COMPARISON.findall(page)
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()[2:]]
    times = []
    for program, network, other, ours in rows:
        evsim_time = None if ours == "–" else float(ours)
        times.append((f"{program}: {network}", float(other.replace(",", "")), evsim_time))
    return times


def speed(folder: Path) -> None:
    """The times of other programs and of evsim per Yin-Yang sample; the file has the numbers."""
    times = compared_times()
    figure = new_figure(TWO_COLUMNS, 0.9 + 0.24 * len(times))
    ax = figure.subplots()
    for row, (_, other, ours) in enumerate(times):
        _time(ax, other, row, GREY if ours is None else COLOURS[5], "left")
        if ours is not None:
            ax.plot([ours, other], [row, row], color=GREY, linewidth=0.8, zorder=0)
            _time(ax, ours, row, COLOURS[0], "right")
    ax.set_xscale("log")
    ax.set_xlim(8.0, 100_000.0)
    ax.set_yticks(range(len(times)), [name for name, _, _ in times])
    ax.invert_yaxis()
    label(ax, "µs per Yin-Yang sample: forward, backward and update, one core, float64")
    legend = {
        "evsim, the most similar network": COLOURS[0],
        "another program": COLOURS[5],
        "another program, no similar network of evsim measured": GREY,
    }
    handles = [Line2D([], [], color=c, marker="o", linestyle="") for c in legend.values()]
    figure.legend(
        handles, legend, loc="outside upper center", ncols=3, fontsize=SMALL_TEXT, frameon=False
    )
    figure.savefig(folder / "speed.png", metadata={"Description": json.dumps(times)})


def _time(ax: Axes, microseconds: float, row: int, colour: str, side: str) -> None:
    """A dot with its number, which stands on its left or right."""
    ax.plot(microseconds, row, "o", color=colour, markersize=5.0)
    ax.annotate(
        f"{microseconds:,g}",
        (microseconds, row),
        xytext=(5 if side == "left" else -5, 0),
        textcoords="offset points",
        ha=side,
        va="center",
        fontsize=SMALL_TEXT,
    )


PICTURES: dict[str, Callable[[Path], None]] = {
    "speed.png": speed,
    "one_neuron.png": one_neuron,
    "grazing.png": grazing,
    "yin_yang_decisions.png": yin_yang_run,
    "yin_yang_traces.png": yin_yang_run,
}


def main() -> None:
    """Draw what was asked for."""
    parser = argparse.ArgumentParser(description="Draw the pictures of the pages.")
    parser.add_argument("--only", nargs="+", choices=PICTURES, default=list(PICTURES))
    parser.add_argument("--out", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for draw in dict.fromkeys(PICTURES[name] for name in arguments.only):
        draw(arguments.out)


if __name__ == "__main__":
    main()
