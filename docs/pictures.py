"""Pictures of the pages.

    python docs/pictures.py [--only one_neuron.png grazing.png]

draws those that no other script makes into docs/images; Yin-Yang trains for a minute first.
``ELSEWHERE`` has the commands of the others.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
from matplotlib.lines import Line2D

import evsim
from evsim import plotting
from evsim.plotting.style import COLOURS, GREY, SMALL_TEXT, TWO_COLUMNS, label, new_figure
from evsim.tasks import motion_detection, sound_localisation, yin_yang

FOLDER = Path(__file__).parent / "images"

ELSEWHERE = {
    "growth.png": "python benchmarks/growth.py --out runs/growth --write docs/performance.md",
    "dimensions.png": (
        "python benchmarks/dimensions.py --out runs/dimensions --write docs/performance.md"
    ),
    "grid_against_exact.png": "python validation/grid_report.py --out docs",
    "how_far.png": "python examples/how_far.py --out docs/images",
    "japanese_vowels.png": "python validation/japanese_vowels.py --out runs/vowels",
    "scaling.png": "python benchmarks/scale_out.py --picture docs/images/scaling.png",
    "silent_hidden_layer.png": "python validation/run.py -k SilentHiddenLayer --data FOLDER",
    "study_spoken_digits_ablation.png": (
        "evsim study studies/spoken_digits_ablation.toml --out runs/ablation"
    ),
    "study_spoken_digits_steps.png": (
        "python studies/spoken_digits_report.py studies/results/spoken_digits_steps.csv "
        "--picture docs/images/study_spoken_digits_steps.png"
    ),
    "study_yin_yang_sizes.png": (
        "python studies/yin_yang_report.py studies/results/yin_yang_sizes.csv "
        "--picture docs/images/study_yin_yang_sizes.png"
    ),
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


def silent_units(folder: Path) -> None:
    """What pulls the weights of a silent unit: Existence, a phantom spike, or a lift.

    An early input, with a weight w, can make the unit spike at its target; a late one, with w/2,
    cannot.
    """
    spike_loss = 0.05 * evsim.losses.SpikeTimeMSE(evsim.readouts.SpikeTimes(count=1))
    existence = evsim.losses.Existence("output", strength=30.0, when="wanted")
    inputs = evsim.SpikeTrains.from_lists([[(5.0, 0), (30.0, 1)]], units=2)

    def pulls(weight: float, loss: evsim.losses.Loss) -> np.ndarray:
        network = evsim.Network(
            [evsim.Input("input", 2), evsim.LIF("output", 1, refractory=np.inf)],
            [evsim.Connection("input", "output", [[weight, weight / 2]])],
        )
        found = evsim.gradient(network, inputs, np.full((1, 1, 1), 8.0), loss, duration=40.0)
        return -np.asarray(found.parameters["input->output.weight"])[0]

    least = 4 ** (4 / 3)  # with time constants of 20 and 5 ms
    silent, spiking = np.linspace(2.0, least - 1e-6, 100), np.linspace(least + 0.02, 9.0, 100)
    figure = new_figure(TWO_COLUMNS, 2.6)
    for column, (ax, which) in enumerate(
        zip(figure.subplots(1, 2), ("early", "late"), strict=True)
    ):
        for loss, name, colour in (
            (existence, "Existence", COLOURS[0]),
            (spike_loss, "phantom spike", COLOURS[1]),
        ):
            pull = [pulls(weight, loss)[column] for weight in silent]
            ax.plot(silent, pull, color=colour, label=name)
        pull = [pulls(weight, spike_loss)[column] for weight in spiking]
        ax.plot(spiking, pull, color="black", label="of the spike")
        ax.plot([2.0, least], [0.5, 0.5], color=GREY, linestyle="--", label="lift")
        ax.axvline(least, color=GREY, linewidth=0.8)
        ax.set_ylim(-0.3, 5.6)
        label(ax, "weight w of the early input", f"pull on the weight of the {which} input")
    ax.legend(fontsize=SMALL_TEXT, frameon=False)
    plotting.save(figure, folder / "silent_units.png")


def yin_yang_run(folder: Path) -> None:
    """Decisions and traces of the network that `make demo` trains."""
    settings = yin_yang.Settings(hidden=30, delays=True)
    result = yin_yang.train(settings, progress=False)
    with tempfile.TemporaryDirectory() as name:
        for path in yin_yang.pictures(result, settings, name):
            if path.stem in ("decisions", "traces"):
                path.replace(folder / f"yin_yang_{path.name}")


def sound_localisation_run(folder: Path) -> None:
    """Estimates and delays of the network that `evsim train sound-localisation` trains."""
    draw_parts(sound_localisation, ("estimates", "delays"), folder)


def motion_detection_run(folder: Path) -> None:
    """The delays of the network that `evsim train motion-detection` trains."""
    draw_parts(motion_detection, ("delays",), folder)


def draw_parts(task: ModuleType, wanted: tuple[str, ...], folder: Path) -> None:
    """Train a task with its defaults, and keep some of its pictures under the task's name."""
    settings = task.Settings()
    result = task.train(settings, progress=False)
    prefix = task.__name__.rpartition(".")[2]
    with tempfile.TemporaryDirectory() as name:
        for path in task.pictures(result, settings, name):
            if path.stem in wanted:
                (folder / f"{prefix}_{path.name}").write_bytes(path.read_bytes())


PEERS = FOLDER.parents[1] / "benchmarks" / "peers" / "measured"


def compared() -> list[tuple[str, float, float, float]]:
    """Program and network, and the ratio of evsim's time to the other's, with its quartiles.

    Rows of training include the updates; where the same network was timed without them, that row is
    left out.  Those where evsim is slower come first.
    """
    rows = []
    for path in sorted(PEERS.glob("*.json")):
        stored = json.loads(path.read_text(encoding="utf-8"))
        for row in stored["rows"]:
            if row["quantity"] != "forward + backward":
                what = row["quantity"].removeprefix("epoch with Adam").removeprefix(", ")
                name = f"{stored['peer']['name']}: {row['work']}{f' ({what})' if what else ''}"
                rows.append((name, row["ratio"], row["low"], row["high"]))
    return sorted(rows, key=lambda row: -row[1])


def speed(folder: Path) -> None:
    """The time of evsim relative to other programs; the file has the numbers."""
    rows = compared()
    figure = new_figure(TWO_COLUMNS, 0.9 + 0.22 * len(rows))
    ax = figure.subplots()
    for place, (_, ratio, low, high) in enumerate(rows):
        colour = COLOURS[5] if ratio > 1 else COLOURS[0]
        ax.plot([low, high], [place, place], color=colour, linewidth=1.5)
        ax.plot(ratio, place, "o", color=colour, markersize=5.0)
        ax.annotate(
            f"{ratio:.2f}",
            (high if ratio > 1 else low, place),
            xytext=(6 if ratio > 1 else -6, 0),
            textcoords="offset points",
            ha="left" if ratio > 1 else "right",
            va="center",
            fontsize=SMALL_TEXT,
        )
    ax.axvline(1.0, color=GREY, linewidth=0.8, zorder=0)
    ax.set_xscale("log")
    ax.set_xlim(0.03, 3.0)
    ticks = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    ax.set_yticks(range(len(rows)), [name for name, *_ in rows], fontsize=SMALL_TEXT)
    ax.invert_yaxis()
    label(ax, "time of evsim / time of the other")
    legend = {"evsim is slower": COLOURS[5], "evsim is faster": COLOURS[0]}
    handles = [Line2D([], [], color=c, marker="o", linestyle="") for c in legend.values()]
    figure.legend(
        handles, legend, loc="outside upper center", ncols=2, fontsize=SMALL_TEXT, frameon=False
    )
    figure.savefig(folder / "speed.png", metadata={"Description": json.dumps(rows)})


PICTURES: dict[str, Callable[[Path], None]] = {
    "speed.png": speed,
    "one_neuron.png": one_neuron,
    "grazing.png": grazing,
    "silent_units.png": silent_units,
    "motion_detection_delays.png": motion_detection_run,
    "sound_localisation_delays.png": sound_localisation_run,
    "sound_localisation_estimates.png": sound_localisation_run,
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
