"""How fast the exact engine trains Yin-Yang: 30 hidden units, delays, one thread.

    python benchmarks/yin_yang.py [--repeats 15]

Before anything is timed, spikes and gradients of some samples are compared with the reference
engine, and the events of the batch are counted.  Prints medians; times vary with the machine,
so compare figures of one run.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np

import evsim
from evsim.engines import Exact, Reference
from evsim.tasks import yin_yang

LEARNED = ["input->hidden.weight", "input->hidden.delay", "hidden->output.weight"]

FIRST_GRADIENT = """
import time
start = time.perf_counter()
import evsim
from evsim.tasks import yin_yang
settings = yin_yang.Settings(hidden=30, delays=True, train_size=150)
samples = yin_yang.data(settings)[0]
evsim.gradient(
    yin_yang.network(settings), samples.spikes, samples.labels, yin_yang.loss(settings),
    duration=settings.duration,
    wrt=["input->hidden.weight", "input->hidden.delay", "hidden->output.weight"],
)
print(time.perf_counter() - start)
"""


def main() -> None:
    """Check, then time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats

    settings = yin_yang.Settings(hidden=30, delays=True, epochs=1)
    network = yin_yang.network(settings)
    loss = yin_yang.loss(settings)
    training = yin_yang.data(settings)[0]
    batch = training[np.arange(settings.batch_size)]
    spikes = check(network, loss, training, settings)

    print(f"{machine()}, Python {platform.python_version()}")
    print(f"batch of {len(batch)} samples: {spikes}")
    engine = Exact(threads=1)
    forward = median(
        lambda: evsim.simulate(network, batch.spikes, settings.duration, engine), repeats
    )
    both = median(
        lambda: evsim.gradient(
            network, batch.spikes, batch.labels, loss, settings.duration, wrt=LEARNED, engine=engine
        ),
        repeats,
    )
    rows = [
        ("forward, µs per sample, 1 thread", 1e6 * forward / len(batch)),
        ("forward + backward, µs per sample, 1 thread", 1e6 * both / len(batch)),
    ]
    for threads in (1, 2):
        epoch = epoch_seconds(settings, Exact(threads=threads), max(3, repeats // 3))
        rows.append(
            (f"epoch of 5000 samples with update, s, {threads} thread{'s' * (threads > 1)}", epoch)
        )
    with tempfile.TemporaryDirectory() as cache:
        rows.append(("first gradient, compilation included, s", first_gradient(cache)))
        cached = statistics.median(first_gradient(cache) for _ in range(3))
        rows.append(("first gradient from the cache, s", cached))
    print("\n| what | median |\n|---|---|")
    for name, value in rows:
        print(f"| {name} | {value:.3g} |")


def machine() -> str:
    """Name and number of the processor's cores, as far as the system tells."""
    names = []
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as lines:
            names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


def check(
    network: evsim.Network,
    loss: evsim.losses.Loss,
    training: evsim.Dataset,
    settings: yin_yang.Settings,
) -> str:
    """Refuse to time wrong results; describe the batch's events."""
    few = training[np.arange(6)]
    outcomes = [
        evsim.gradient(network, few.spikes, few.labels, loss, settings.duration, engine=engine)
        for engine in (Exact(threads=1), Reference())
    ]
    for name, expected in outcomes[1].parameters.items():
        np.testing.assert_allclose(outcomes[0].parameters[name], expected, rtol=1e-9, atol=1e-15)
    batch = training[np.arange(settings.batch_size)]
    run = evsim.simulate(network, batch.spikes, settings.duration)
    counts = {name: trains.times.size / len(batch) for name, trains in run.spikes.items()}
    assert counts["input"] == 4, counts
    assert counts["hidden"] > 5, counts
    assert run.report.arrivals > len(batch) * 4 * settings.hidden * 0.9, run.report
    per_sample = ", ".join(f"{count:.1f} {name}" for name, count in counts.items())
    return f"{per_sample} spikes and {run.report.arrivals / len(batch):.0f} arrivals a sample"


def median(call: Callable[[], object], repeats: int) -> float:
    """Median seconds of a call, after two that warm up."""
    times = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])


def epoch_seconds(settings: yin_yang.Settings, engine: Exact, repeats: int) -> float:
    """Median seconds of a training epoch without validation."""
    training = yin_yang.data(settings)[0]
    result = evsim.fit(
        yin_yang.network(settings),
        training,
        yin_yang.loss(settings),
        duration=settings.duration,
        optimizers=yin_yang.optimizers(settings),
        epochs=repeats + 1,
        batch_size=settings.batch_size,
        delay_max=settings.delay_max,
        engine=engine,
        progress=False,
    )
    assert result.history[-1].loss < result.history[0].loss
    return statistics.median(record.seconds for record in result.history[1:])


def first_gradient(cache: str) -> float:
    """Seconds from a new interpreter's first line to its first gradient."""
    done = subprocess.run(
        [sys.executable, "-c", FIRST_GRADIENT],
        env={**os.environ, "NUMBA_CACHE_DIR": cache},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


if __name__ == "__main__":
    main()
