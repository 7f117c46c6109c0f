"""Time and memory against hidden units, delays, batch size and threads, on both engines.

    python benchmarks/dimensions.py --out runs/dimensions [--write docs/performance.md]

One setting of a recurrent network at a time is changed; the others stay at 128 units, delays from
the inputs of up to 150 ms, batches of 8 samples and one thread.  The input resembles spoken words,
1 s each.  Forward and backward are timed, per sample, and each network runs in a fresh interpreter.
Before that, a small network is compared with the reference engine, and the spikes on two threads
with those on one.  The program prints a table and draws a plot; --write puts both into a page,
with the plot in ``images`` beside the page.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from memory import extra_peak, in_subprocess
from spoken import CHANNELS, DURATION, spoken
from tables import figure, machine, write_between
from words import reduced
from workload import Work, check_against_reference, check_arrivals, count_arrivals

import evsim
from evsim.display.markdown_table import markdown_table
from evsim.engines import Engine, Exact
from evsim_gpu import Grid

LOSS = evsim.losses.CrossEntropy(evsim.readouts.Mean("exponential"))
SPIKES = 5700  # per sample
ENGINES = ("exact", "grid")


@dataclass(frozen=True)
class Setting:
    """The settings, one of which is changed at a time."""

    units: int = 128
    longest: float = 150.0  # ms, of the delays from the inputs
    batch: int = 8
    threads: int = 1

    def engine(self, name: str) -> Engine:
        """The engine with this number of threads; the grid in float32, with steps of 1 ms."""
        if name == "exact":
            return Exact(threads=self.threads)
        return Grid(1.0, precision="float32", threads=self.threads)

    def work(self) -> Work:
        """A batch and the network, whose units emit equally often whatever their number."""
        delays = evsim.Uniform(0.0, self.longest) if self.longest > 0.0 else 0.0
        weight = 0.02 * (128 / self.units) ** 0.5
        network = evsim.Network(
            [
                evsim.Input("input", CHANNELS),
                evsim.LIF("hidden", self.units),
                evsim.LI("output", 10),
            ],
            [
                evsim.Connection("input", "hidden", evsim.Normal(0.03, 0.01), delays),
                evsim.Connection(
                    "hidden", "hidden", evsim.Normal(0.0, weight), evsim.Uniform(1.0, 6.0)
                ),
                evsim.Connection("hidden", "output", evsim.Normal(0.0, weight)),
            ],
            seed=0,
        )
        words = spoken(self.batch, SPIKES)
        return Work(network, words.spikes, words.labels % 10, LOSS, DURATION)


USUAL = Setting()
SERIES = {
    "units": (32, 64, 128, 256, 512),
    "longest": (0.0, 15.0, 150.0, 600.0),
    "batch": (1, 2, 8, 32),
    "threads": (1, 2),
}
TITLES = {
    "units": "hidden units",
    "longest": "longest delay, ms",
    "batch": "samples in a batch",
    "threads": "threads",
}


# -- measurement --------------------------------------------------------------------------


def measure(setting: Setting, engine_name: str) -> dict[str, float]:
    """Milliseconds of wall time and bytes of memory per sample, in a fresh interpreter."""
    engine = setting.engine(engine_name)
    small = replace(setting, units=8, batch=2)
    kept: list[Work] = []

    def build_and_run() -> None:
        kept.append(setting.work())
        kept[0].gradient(engine)

    peak = extra_peak(lambda: small.work().gradient(engine), build_and_run)
    run = kept[0].forward(engine)
    if engine_name == "exact":
        check_arrivals(run)
    else:  # rounding to the grid moves arrivals over the end of the trial
        counted = sum(count_arrivals(run, connection) for connection in run.network.connections)
        assert abs(run.report.arrivals - counted) < 1e-3 * counted
    times: list[float] = []
    for batch in cycle(kept[0].batches()):
        start = time.perf_counter()
        batch.gradient(engine)
        times.append(time.perf_counter() - start)
        if len(times) >= 3 and (sum(times) > 2.0 or len(times) == 15):
            break
    return {
        "milliseconds": 1e3 * statistics.median(times) / setting.batch,
        "memory": peak,
        "arrivals": run.report.arrivals / setting.batch,
        "spikes": float(run.spike_counts["hidden"].sum()) / setting.batch,
    }


def check_threads() -> None:
    """Check that both engines compute the same bits on two threads as on one."""
    one, two = (replace(USUAL, units=16, threads=threads) for threads in (1, 2))
    for name in ENGINES:
        runs = [s.work().gradient(s.engine(name)) for s in (one, two)]
        for parameter, values in runs[0].parameters.items():
            np.testing.assert_array_equal(values, runs[1].parameters[parameter])


# -- table and plot -------------------------------------------------------------------------

Result = dict[str, Any]


def table(results: Sequence[Result]) -> str:
    """A row for each setting, with both engines side by side."""
    rows = []
    for changed, values in SERIES.items():
        for value in values:
            exact, grid = (_of(results, changed, value, name) for name in ENGINES)
            rows.append(
                (
                    TITLES[changed],
                    f"{value:g}",
                    f"{exact['arrivals']:.3g}",
                    figure(exact["milliseconds"]),
                    figure(grid["milliseconds"]),
                    figure(exact["memory"] / 1e6),
                    figure(grid["memory"] / 1e6),
                )
            )
    header = (
        "changed", "to", "arrivals a sample", "exact, ms a sample", "grid, ms a sample",
        "exact, MB", "grid, MB",
    )  # fmt: skip
    return markdown_table(header, rows)


def _of(results: Sequence[Result], changed: str, value: float, engine: str) -> Result:
    wanted = {"changed": changed, "value": value, "engine": engine}
    return next(r for r in results if all(r[key] == wanted[key] for key in wanted))


def draw(results: Sequence[Result], path: Path) -> None:
    """Draw time and memory of both engines against each setting."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure_, axes = pyplot.subplots(
        2, len(SERIES), figsize=(11, 5), sharex="col", sharey="row", layout="constrained"
    )
    for (top, bottom), (changed, values) in zip(axes.T, SERIES.items(), strict=True):
        for engine, marker in zip(ENGINES, "os", strict=True):
            of_engine = [_of(results, changed, value, engine) for value in values]
            top.plot(values, [r["milliseconds"] for r in of_engine], marker + "-", label=engine)
            bottom.plot(values, [r["memory"] / 1e6 for r in of_engine], marker + "-")
        if changed in ("units", "batch"):
            top.set_xscale("log", base=2)
            bottom.set_xticks(values, [f"{value:g}" for value in values])
        elif changed == "threads":
            bottom.set_xticks(values)
        for axis in (top, bottom):
            axis.set_yscale("log")
        bottom.set_xlabel(TITLES[changed])
    axes[0, 0].set_ylabel("forward + backward,\nms per sample")
    axes[1, 0].set_ylabel("memory of the batch, MB")
    axes[0, 0].legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure_.savefig(path, dpi=120)
    pyplot.close(figure_)


# -- the run ------------------------------------------------------------------------------


def main() -> None:
    """Check, measure, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/dimensions"))
    parser.add_argument("--write", type=Path, help="the page to put the table and the plot into")
    parser.add_argument("--one", nargs=2, metavar=("SETTING", "ENGINE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        setting, engine = arguments.one
        print(json.dumps(measure(Setting(**json.loads(setting)), engine)))
        return

    check_against_reference(reduced(delays=True, recurrent=True))
    check_threads()
    results = []
    for changed, values in SERIES.items():
        for value in values:
            for engine in ENGINES:
                print(f"{TITLES[changed]}: {value:g}, {engine}", file=sys.stderr)
                setting = json.dumps(asdict(replace(USUAL, **{changed: value})))
                found = json.loads(in_subprocess("--one", setting, engine, script=__file__))
                results.append({"changed": changed, "value": value, "engine": engine, **found})

    text = f"{machine()}:\n\n{table(results)}"
    print(f"\n{text}")
    draw(results, arguments.out / "dimensions.png")
    (arguments.out / "dimensions.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    print(f"\npicture: {arguments.out / 'dimensions.png'}", file=sys.stderr)
    if arguments.write:
        draw(results, arguments.write.parent / "images" / "dimensions.png")
        shown = "![Time and memory against units, delays, batch and threads](images/dimensions.png)"
        write_between(arguments.write, "dimensions", f"{text}\n\n{shown}")


if __name__ == "__main__":
    main()
