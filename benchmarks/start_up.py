"""The time of a new interpreter until its first gradient, and until everything is compiled.

    python benchmarks/start_up.py [--repeats 3]

Each figure is for a fresh process: first with an empty cache, so that everything that the gradient
needs is compiled, then with the cache that this process has filled.  Results are checked before
they are timed: the gradient of two samples must agree with that of the reference engine (for the
grid, approximately), and the process with a full cache must compute the same bits as the one that
compiles.
The program prints medians of the elapsed time and of the CPU time; the latter varies less on a
shared machine.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from tables import machine

import evsim
from evsim.engines import Exact, Grid, Reference
from evsim.tasks import yin_yang

PROGRAM = """
import time
clock, processor = time.perf_counter(), time.process_time()
import hashlib, sys
import evsim
import start_up
gradient = start_up.gradient(sys.argv[1], 150)
content = b"".join(values.tobytes() for values in gradient.parameters.values())
now = time.perf_counter() - clock, time.process_time() - processor
print(*now, hashlib.sha256(content).hexdigest())
"""

WARM = """
import time
clock, processor = time.perf_counter(), time.process_time()
import sys
from evsim.engines import warm
    from evsim.precompile import COMPILED
done = [warm(engine) for engine in COMPILED.values()]
functions = sum(warmed.compiled for warmed in done), sum(warmed.found for warmed in done)
print(time.perf_counter() - clock, time.process_time() - processor, *functions)
"""

ENGINES = {"exact": Exact, "grid": lambda: Grid(dt=0.01)}
CASES = ("exact, layered", "exact, recurrent", "grid, layered")


class Start(NamedTuple):
    """The times in s that a fresh process has measured, and the rest of its output."""

    clock: float
    processor: float
    said: list[str]


def gradient(case: str, samples: int, engine: evsim.engines.Engine | None = None) -> evsim.Gradient:
    """The gradient of a batch of Yin-Yang, 30 hidden units with delays."""
    name, kind = case.split(", ")
    settings = yin_yang.Settings(
        hidden=30, delays=True, output_delays=False, train_size=samples,
        loss="time_invariant", existence=0.0,
    )  # fmt: skip
    delays = np.random.default_rng(0).uniform(0.0, 10.0, (30, 4))  # as after training
    network = yin_yang.network(settings).replace({"input->hidden.delay": delays})
    if kind == "recurrent":
        loop = evsim.Connection("hidden", "hidden", evsim.Normal(0.0, 0.1), evsim.Uniform(0.0, 5.0))
        connections = [network.connections[0], loop, *network.connections[1:]]
        network = evsim.Network(network.populations, connections, seed=0)
    batch = yin_yang.data(settings)[0]
    # The delays to the outputs are 0 and shared: they would shift all outputs without effect.
    wrt = [name for name in network.parameters if name.endswith((".weight", "hidden.delay"))]
    return evsim.gradient(
        network, batch.spikes, batch.labels, yin_yang.loss(settings),
        duration=settings.duration, wrt=wrt, engine=engine or ENGINES[name](),
    )  # fmt: skip


def check(case: str) -> None:
    """Check the gradient before it is timed."""
    found, expected = gradient(case, 2), gradient(case, 2, Reference())
    assert expected.run.spike_counts["hidden"].sum() > 20
    for name, values in expected.parameters.items():
        scale = np.abs(values).max()
        error = np.abs(found.parameters[name] - values).max()
        assert error <= (1e-8 if case.startswith("exact") else 0.02) * scale, (case, name, error)


def run(program: str, arguments: Sequence[str], cache: str) -> Start:
    """Run a program in a fresh process, with its cache in a folder."""
    here = os.path.dirname(os.path.abspath(__file__))
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "NUMBA_CACHE_DIR": cache, "PYTHONPATH": os.pathsep.join(
            [here, *filter(None, [os.environ.get("PYTHONPATH")])])},
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True,
    )  # fmt: skip
    clock, processor, *said = done.stdout.split()
    return Start(float(clock), float(processor), said)


def measure(
    program: str, arguments: Sequence[str], repeats: int
) -> tuple[list[Start], list[Start]]:
    """Measure processes with an empty cache, and then with the cache that they have filled."""
    empty, full = [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as cache:
            empty.append(run(program, arguments, cache))
            full.append(run(program, arguments, cache))
    return empty, full


def row(name: str, empty: Sequence[Start], full: Sequence[Start]) -> str:
    """Medians as a row of the table."""
    cells = [
        statistics.median(numbers)
        for starts in (empty, full)
        for numbers in ([s.clock for s in starts], [s.processor for s in starts])
    ]
    return f"| {name} | " + " | ".join(f"{cell:.2f}" for cell in cells) + " |"


def main() -> None:
    """Check, then time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    for case in CASES:
        check(case)
    print(f"{machine()}\n")
    print("| first gradient, s | empty cache | processor | full cache | processor |")
    print("|---|---|---|---|---|")
    for case in CASES:
        empty, full = measure(PROGRAM, [case], repeats)
        assert len({tuple(start.said) for start in (*empty, *full)}) == 1, "other bits"
        print(row(case, empty, full), flush=True)
    empty, full = measure(WARM, [], 1)
    (compiled, found), (compiled_again, found_again) = (map(int, s[0].said) for s in (empty, full))
    assert compiled == found_again > 0 == found == compiled_again, "something is compiled twice"
    print(row("everything, evsim info --warm", empty, full))


if __name__ == "__main__":
    main()
