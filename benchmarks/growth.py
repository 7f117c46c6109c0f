"""How time and memory grow from 10⁴ to 10⁸ arrivals, and the speed-up by a second thread.

    python benchmarks/growth.py --out runs/growth [--largest 1e8] [--write docs/performance.md]

It measures longer trials of one network, and larger networks, layered and recurrent: forward +
backward on one thread, each in a separate interpreter.  Arrivals are counted independently before
figures are kept.  The time per arrival should stay within a factor of 2, and the memory should be
proportional to spikes + synapses.  The program prints a table and draws a plot; --write puts both
into a page, with the plot in ``images`` beside the page.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from memory import extra_peak, in_subprocess
from tables import NONE, figure, machine, write_between
from workload import Work, check_against_reference, check_arrivals

import evsim
from evsim.display.markdown_table import markdown_table
from evsim.engines import Exact

ARRIVALS = (1e4, 1e5, 1e6, 1e7, 1e8)
KINDS = ("layered", "recurrent")
WAYS = ("longer trials", "larger networks")
SAMPLES = (4, 8, 16, 32)  # batch sizes for the comparison of threads
LOSS = evsim.losses.CrossEntropy(evsim.readouts.Mean())
RATE = 0.04  # spikes per channel and ms
LONG = 1e6  # arrivals of a batch that is repeated
TURNS = 10  # shorter batches, which take turns
UNITS, TRIAL = 50, 200.0  # units of the network with longer trials; trial in ms of larger networks


# -- measurement --------------------------------------------------------------------------


def work(kind: str, way: str, arrivals: float, samples: int = 1) -> Work:
    """A network with about so many arrivals per sample; as many channels as hidden units.

    Short batches are one of several, which take turns: the processor would predict the branches of
    a batch that is repeated.
    """
    if kind == "recurrent":
        arrivals /= 2  # the hidden units produce the other half
    if way == "longer trials":
        units, duration = UNITS, arrivals / (RATE * UNITS**2)
    else:
        units, duration = round((arrivals / (RATE * TRIAL)) ** 0.5), TRIAL
    rng = np.random.default_rng(0)
    total = round(RATE * duration * units)
    drawn = samples if samples * arrivals >= LONG else TURNS * samples
    spikes = evsim.SpikeTrains.from_events(
        rng.uniform(0, duration, drawn * total),
        rng.integers(0, units, drawn * total),
        np.repeat(np.arange(drawn), total),
        batch_size=drawn,
        unit_count=units,
    )
    data = evsim.Dataset(spikes, np.arange(drawn) % 2)
    batch = data[np.arange(samples)]
    # Weights are proportional to 1/units, so that the total input is the same for all sizes.
    weight = 8.0 / units
    loop = evsim.Connection("hidden", "hidden", evsim.Normal(0.0, weight), evsim.Uniform(1.0, 10.0))
    network = evsim.Network(
        [evsim.Input("input", units), evsim.LIF("hidden", units), evsim.LI("output", 2)],
        [
            evsim.Connection(
                "input", "hidden", evsim.Normal(weight, weight), evsim.Uniform(0.0, 10.0)
            ),
            *([loop] if kind == "recurrent" else []),
            evsim.Connection("hidden", "output", evsim.Normal(0.0, weight)),
        ],
        seed=0,
    )
    training = data if drawn > samples else None
    return Work(network, batch.spikes, batch.labels, LOSS, duration, training)


def measure(kind: str, way: str, arrivals: float) -> dict[str, float]:
    """The time and the memory of one network, in a fresh interpreter."""
    engine = Exact(threads=1)
    kept: list[Work] = []

    def build_and_run() -> None:
        kept.append(work(kind, way, arrivals))
        kept[0].gradient(engine)

    peak = extra_peak(lambda: work(kind, way, ARRIVALS[0]).gradient(engine), build_and_run)
    run = kept[0].forward(engine)
    check_arrivals(run)
    times = repeated(kept[0], engine, seconds=1.0)
    return {
        "arrivals": run.report.arrivals,
        "spikes": sum(trains.times.size for trains in run.spikes.values()),
        "synapses": run.network.topology.source.size,
        "seconds": statistics.median(times),
        "memory": peak,
    }


def repeated(work: Work, engine: Exact, seconds: float) -> list[float]:
    """The times of 3 to 30 gradients, or of one if it takes over five times ``seconds``."""
    times: list[float] = []
    turns = cycle(work.batches())
    while len(times) < 3 or (sum(times) < seconds and len(times) < 30):
        batch = next(turns)
        start = time.perf_counter()
        batch.gradient(engine)
        times.append(time.perf_counter() - start)
        if times[0] > 5 * seconds:
            break
    return times


def speed_of_two_threads(kind: str, samples: int) -> float:
    """The speed-up by a second thread for a batch with 10⁵ arrivals per sample."""
    batch = work(kind, "longer trials", 1e5, samples)
    one, two = (
        statistics.median(repeated(batch, Exact(threads=threads), 1.0)[1:]) for threads in (1, 2)
    )
    return one / two


# -- tables and plot ----------------------------------------------------------------------


def table(results: Sequence[tuple[str, str, dict[str, float]]]) -> str:
    """A row for each network."""
    rows = [
        (
            kind,
            way,
            f"{values['arrivals']:.3g}",
            f"{values['spikes']:.3g}",
            f"{values['synapses']:.3g}",
            figure(1e9 * values["seconds"] / values["arrivals"]),
            *_memory(values),
        )
        for kind, way, values in results
    ]
    header = (
        "network", "grown by", "arrivals", "spikes", "synapses", "ns per arrival", "memory, MB",
        "bytes per spike or synapse",
    )  # fmt: skip
    return markdown_table(header, rows)


def _memory(values: dict[str, float]) -> tuple[str, str]:
    """The memory in MB, and in bytes per spike or synapse; below 1 MB it is not measurable."""
    if values["memory"] < 1e6:
        return "< 1", NONE
    per_part = values["memory"] / (values["spikes"] + values["synapses"])
    return figure(values["memory"] / 1e6), figure(per_part)


def spread_sentence(results: Sequence[tuple[str, str, dict[str, float]]]) -> str:
    """A sentence: by which factor the time per arrival varies within each series."""
    parts = []
    for kind in KINDS:
        for way in WAYS:
            costs = [v["seconds"] / v["arrivals"] for k, w, v in results if (k, w) == (kind, way)]
            parts.append(f"{max(costs) / min(costs):.2f} ({kind}, {way})")
    return "Largest time per arrival in a series over the smallest: " + ", ".join(parts)


def threads_table(speeds: dict[str, list[float]]) -> str:
    """The speed-up by a second thread for each batch size."""
    rows = [(kind, *(f"{speed:.2f}" for speed in both)) for kind, both in speeds.items()]
    return markdown_table(("two threads against one", *(f"{n} samples" for n in SAMPLES)), rows)


def draw(results: Sequence[tuple[str, str, dict[str, float]]], path: Path) -> None:
    """Plot the time per arrival, with a band of a factor of 2, and the memory, against arrivals."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure_, axes = pyplot.subplots(
        2, len(KINDS), figsize=(9, 6), sharex=True, sharey="row", layout="constrained"
    )
    for (top, bottom), kind in zip(axes.T, KINDS, strict=True):
        series = {way: [v for k, w, v in results if (k, w) == (kind, way)] for way in WAYS}
        costs = [1e9 * v["seconds"] / v["arrivals"] for part in series.values() for v in part]
        middle = float(np.exp(np.mean(np.log(costs))))
        top.axhspan(middle / 2**0.5, middle * 2**0.5, color="0.9", zorder=0, label="a factor of 2")
        for way, marker in zip(WAYS, "os", strict=True):
            arrivals = [v["arrivals"] for v in series[way]]
            cost = [1e9 * v["seconds"] / v["arrivals"] for v in series[way]]
            top.semilogx(arrivals, cost, marker + "-", label=way)
            # Below 1 MB the interpreter's own allocations are of the same size.
            memory = [v["memory"] / 1e6 if v["memory"] >= 1e6 else np.nan for v in series[way]]
            bottom.loglog(arrivals, memory, marker + "-", label=way)
        top.set_title(kind)
        bottom.set_xlabel("arrivals")
    every = [1e9 * v["seconds"] / v["arrivals"] for *_, v in results]
    axes[0, 0].set_ylim(0, 1.1 * max(every))
    axes[0, 0].set_ylabel("forward + backward, ns per arrival")
    axes[1, 0].set_ylabel("memory, MB")
    axes[0, 0].legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure_.savefig(path, dpi=120)
    pyplot.close(figure_)


# -- the run ------------------------------------------------------------------------------


def main() -> None:
    """Check, measure, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/growth"))
    parser.add_argument("--largest", type=float, default=ARRIVALS[-1], help="arrivals")
    parser.add_argument("--write", type=Path, help="the page to put the table and the plot into")
    parser.add_argument(
        "--one", nargs=3, metavar=("KIND", "WAY", "ARRIVALS"), help=argparse.SUPPRESS
    )
    arguments = parser.parse_args()
    if arguments.one:
        kind, way, arrivals = arguments.one
        print(json.dumps(measure(kind, way, float(arrivals))))
        return

    for kind in KINDS:
        check_against_reference(work(kind, WAYS[0], ARRIVALS[0]))
    results = []
    for kind in KINDS:
        for way in WAYS:
            for arrivals in ARRIVALS:
                if arrivals <= arguments.largest:
                    print(f"{kind}, {way}, {arrivals:.0e} arrivals", file=sys.stderr)
                    line = in_subprocess("--one", kind, way, str(arrivals), script=__file__)
                    results.append((kind, way, json.loads(line)))
    speeds = {kind: [speed_of_two_threads(kind, samples) for samples in SAMPLES] for kind in KINDS}

    text = "\n\n".join(
        (f"{machine()}:", table(results), spread_sentence(results) + ".", threads_table(speeds))
    )
    print(f"\n{text}")
    picture = draw_into(arguments.out, results)
    (arguments.out / "growth.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    print(f"\npicture: {picture}", file=sys.stderr)
    if arguments.write:
        draw_into(arguments.write.parent / "images", results)
        shown = "![Time for an arrival, and memory, against arrivals](images/growth.png)"
        write_between(arguments.write, "growth", f"{text}\n\n{shown}")


def draw_into(folder: Path, results: Sequence[tuple[str, str, dict[str, float]]]) -> Path:
    """Draw the plot in a folder and return its path."""
    path = folder / "growth.png"
    draw(results, path)
    return path


if __name__ == "__main__":
    main()
