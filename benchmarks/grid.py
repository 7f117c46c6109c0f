"""The speed of the grid engine: samples on the CPU, and epochs of the size of SHD on a GPU.

    python benchmarks/grid.py [--samples 8] [--hidden 64] [--repeats 5] [--epochs 2]

The input resembles spoken digits: 700 channels, 8000 spikes per sample, 1000 steps of 1 ms.  Before
the timing, spikes are compared between threads, between precisions and with the GPU, and arrivals
are counted independently.  Without a GPU its part is left out.  The program prints medians.  Times
depend on the machine, so compare only figures of one run.
"""

from __future__ import annotations

import argparse
import gc
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from spoken import CHANNELS, CLASSES, DURATION, spoken

import evsim
from evsim.display.markdown_table import markdown_table
from evsim.display.processor import processor
from evsim.engines import Exact
from evsim_gpu import Grid
from evsim_gpu.cuda.gpu import check_cuda, cuda_devices
from evsim_gpu.cuda.kernel_times import KernelTime, recorded_kernel_times

LOSS = evsim.losses.CrossEntropy(evsim.readouts.Mean("exponential"))
DT = 1.0
SPIKES = 8000  # per sample
SHD_SAMPLES = 8156
BATCH = 256

LONGEST = (62.0, 999.0)  # delays of the networks on the GPU, in ms

PUBLISHED = (
    ("2 x 256 feedforward, delays up to 64 ms", 26.7, 3384, 276.7, 7282),
    ("2 x 256 feedforward, delays up to 1024 ms", 38.9, 4824, 2222.6, 17721),
    ("2 x 512 feedforward, delays up to 64 ms", 108.8, 5752, 515.7, 12754),
    ("2 x 512 feedforward, delays up to 1024 ms", 141.4, 8632, None, None),
)
"""Seconds per epoch and MiB on an RTX A5000: event-driven in mlGeNN, then dilated convolutions.

The figures are from Mészáros, Knight, Nowotny (delay learning with EventProp), Figure 8: SHD, 1127
steps of 1 ms, batches of 256.  The dilated convolutions have delays up to 1000 ms where mlGeNN has
1024 ms, and run out of memory at 2 x 512.
"""


@dataclass(frozen=True)
class Shape:
    """A network: one recurrent layer or two feedforward layers, and delays from 0 to a maximum.

    ``gain`` multiplies the weights from the inputs; 1 is for 8000 spikes per sample.
    """

    hidden: int
    recurrent: bool
    delay_max: float
    gain: float = 1.0

    @property
    def name(self) -> str:
        layers = f"{self.hidden} recurrent" if self.recurrent else f"2 x {self.hidden} feedforward"
        return f"{layers}, delays of 0 to {self.delay_max:g} ms"

    def network(self) -> evsim.Network:
        """The network, with weights such that hidden units spike about 10 to 40 times per sample.

        Long delays spread the arrivals over the trial, and many fall after its end; then the
        weights are larger.
        """
        long = self.delay_max > 500
        delays = evsim.Uniform(0, self.delay_max)
        fewer = 256 / self.hidden
        layers = [evsim.LIF("first", self.hidden)]
        inner = evsim.Connection("first", "first", evsim.Normal(0, 0.02), delays)
        if not self.recurrent:
            layers.append(evsim.LIF("second", self.hidden))
            mean = (0.06 if long else 0.02) * fewer
            inner = evsim.Connection("first", "second", evsim.Normal(mean, 0.03), delays)
        mean = 0.05 if long else 0.03
        weight = evsim.Normal(self.gain * mean, self.gain * 0.01)
        return evsim.Network(
            [evsim.Input("input", CHANNELS), *layers, evsim.LI("output", CLASSES)],
            [
                evsim.Connection("input", "first", weight, delays),
                inner,
                evsim.Connection(layers[-1].name, "output", evsim.Normal(0, 0.03)),
            ],
            seed=0,
        )


def gpu_shapes(hidden: int = 256, gain: float = 1.0) -> list[Shape]:
    """Two layers of ``hidden`` or twice as many units, or one recurrent layer of twice as many.

    Their delays are as long as those of the published figures, to the end of the trial.
    """
    kinds = ((hidden, False), (2 * hidden, False), (2 * hidden, True))
    return [
        Shape(units, recurrent, longest, gain) for units, recurrent in kinds for longest in LONGEST
    ]


# -- checks ---------------------------------------------------------------------------------


def check(run: evsim.Run, others: Sequence[evsim.Run]) -> float:
    """Check the results before they are timed; return the number of arrivals per sample.

    The runs in ``others`` must have the same spikes.
    """
    hidden = [name for name in run.spike_counts if name in ("first", "second")]
    for name in hidden:
        rate = run.spike_counts[name].mean()
        assert 3 < rate < 100, f"units of {name!r} spike {rate:.1f} times in a sample"
        for other in others:
            assert run.spikes[name] == other.spikes[name], f"{other.engine}: other spikes"
    assert run.report.arrivals == counted_arrivals(run), "an arrival is missing, or one too many"
    return run.report.arrivals / run.batch_size


def counted_arrivals(run: evsim.Run) -> int:
    """The number of pairs of a spike and a synapse for which the arrival is within the trial."""
    total = 0
    for connection in run.network.connections:
        trains = run.spikes[connection.source]
        post = run.network.population(connection.target).units
        pre = run.network.population(connection.source).units
        delay = np.rint(np.broadcast_to(connection.delay, (post, pre)) / DT)
        step = np.rint(trains.times / DT)
        for unit in range(pre):
            latest = np.sort(round(DURATION / DT) - delay[:, unit])
            steps = step[trains.units == unit]
            total += int((post - np.searchsorted(latest, steps, side="left")).sum())
    return total


def learned(network: evsim.Network) -> list[str]:
    """The names of the trained parameters: weights, and the delays between spiking units."""
    return [
        name
        for name in network.parameters
        if name.endswith(".weight") or (name.endswith(".delay") and "output" not in name)
    ]


def gradient_of(network: evsim.Network, data: evsim.Dataset, engine: Any) -> evsim.Gradient:
    """The gradients that training needs."""
    return evsim.gradient(
        network, data.spikes, data.labels, LOSS, DURATION, wrt=learned(network), engine=engine
    )


# -- the processor ----------------------------------------------------------------------------


@dataclass(frozen=True)
class ProcessorTime:
    """Seconds per sample on the CPU; ``engine`` names the engine and its precision."""

    network: str
    engine: str
    threads: int
    arrivals: float
    forward: float
    both: float

    @staticmethod
    def columns() -> list[str]:
        return [
            "network",
            "engine",
            "threads",
            "arrivals a sample",
            "forward, ms a sample",
            "ns an arrival",
            "forward + backward, ms a sample",
            "ns an arrival",
        ]

    def row(self) -> list[str]:
        return [
            self.network,
            self.engine,
            str(self.threads),
            f"{self.arrivals:.0f}",
            f"{1e3 * self.forward:.2f}",
            f"{1e9 * self.forward / self.arrivals:.1f}",
            f"{1e3 * self.both:.2f}",
            f"{1e9 * self.both / self.arrivals:.1f}",
        ]


def measure_processor(
    hidden: int = 64,
    samples: int = 8,
    spikes: int = SPIKES,
    repeats: int = 5,
    threads: Sequence[int] = (1, 2),
) -> list[ProcessorTime]:
    """Measure both kinds of networks in both precisions, and the exact engine on one sample."""
    data = spoken(samples, spikes)
    found = []
    for recurrent in (False, True):
        shape = Shape(hidden, recurrent, 100.0, SPIKES / spikes)
        network = shape.network()
        runs = [
            evsim.simulate(network, data.spikes, DURATION, Grid(DT, precision=p, threads=t))
            for p in ("float64", "float32")
            for t in threads
        ]
        arrivals = check(runs[0], runs[1 : len(threads)])
        check(runs[len(threads)], runs[len(threads) + 1 :])
        differing = np.mean(
            [
                (runs[0].spike_counts[n] != runs[-1].spike_counts[n]).mean()
                for n in runs[0].spike_counts
            ]
        )
        assert differing < 0.01, f"{100 * differing:.1f} % of the units depend on the precision"
        for precision in ("float32", "float64"):
            for count in threads:
                engine = Grid(DT, precision=precision, threads=count)
                times = timed(network, data, engine, repeats)
                found.append(
                    ProcessorTime(shape.name, f"grid, {precision}", count, arrivals, *times)
                )
        one = data[np.arange(1)]
        of_exact = evsim.simulate(network, one.spikes, DURATION, Exact(threads=1)).report.arrivals
        times = timed(network, one, Exact(threads=1), min(repeats, 3))
        found.append(ProcessorTime(shape.name, "exact", 1, of_exact, *times))
    return found


def timed(
    network: evsim.Network, data: evsim.Dataset, engine: Any, repeats: int
) -> tuple[float, float]:
    """Median seconds per sample: forward, and forward with backward."""
    forward = median(lambda: evsim.simulate(network, data.spikes, DURATION, engine), repeats)
    both = median(lambda: gradient_of(network, data, engine), repeats)
    return forward / len(data), both / len(data)


# -- the GPU ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Epoch:
    """The seconds of a training epoch on a GPU, and the bytes that CuPy allocated; or a note.

    ``first`` is the time of the first epoch, which warms up; ``epochs`` are the epochs timed after
    it.  ``kernels`` are the kernels of further batches of the same size, ``recorded`` samples in
    all.  The note says why there are no figures: too little time, or, if ``failed``, an error.
    """

    network: str
    samples: int
    arrivals: float
    seconds: float | None = None
    first: float | None = None
    epochs: int = 0
    memory: int | None = None
    kernels: tuple[KernelTime, ...] = ()
    recorded: int = 0
    note: str = ""
    failed: bool = False

    @staticmethod
    def columns() -> list[str]:
        return [
            "network",
            "arrivals a sample",
            "an epoch, s",
            "the first, s",
            "ms a sample",
            "ns an arrival",
            "memory, MiB",
        ]

    def row(self) -> list[str]:
        if self.seconds is None or self.first is None or self.memory is None:
            return [self.network, f"{self.arrivals:.0f}", self.note, "–", "–", "–", "–"]
        each = self.seconds / self.samples
        return [
            self.network,
            f"{self.arrivals:.0f}",
            f"{self.seconds:.2f}",
            f"{self.first:.2f}",
            f"{1e3 * each:.2f}",
            f"{1e9 * each / self.arrivals:.2f}",
            f"{self.memory / 2**20:.0f}",
        ]


def measure_gpu(
    hidden: int = 256,
    samples: int = SHD_SAMPLES,
    spikes: int = SPIKES,
    epochs: int = 2,
    seconds: float = 240.0,
) -> Iterator[Epoch]:
    """Measure an epoch of every shape, in about so many seconds; note those without time left."""
    end = time.perf_counter() + seconds
    shapes, data = gpu_shapes(hidden, SPIKES / spikes), spoken(samples, spikes)
    for number, shape in enumerate(shapes):
        share = (end - time.perf_counter()) / (len(shapes) - number)
        try:
            yield measure_epoch(shape, data, epochs, share)
        except Exception as error:  # keep the figures of the other shapes
            note = f"failed: {type(error).__name__}: {' '.join(str(error).split())}"
            yield Epoch(shape.name, len(data), 0.0, note=note, failed=True)


def measure_epoch(shape: Shape, data: evsim.Dataset, epochs: int, seconds: float) -> Epoch:
    """The median seconds of an epoch after the first, and the memory that the epochs used.

    A few batches run before: they compile the kernels, and show how long an epoch will take.
    """
    network = shape.network()
    few = data[np.arange(min(8, len(data)))]
    arrivals = check_gpu(network, few)
    pool = memory_pool()
    small = data[np.arange(min(2 * BATCH, len(data)))]
    estimate = train(network, small, 2)[-1] * len(data) / len(small)
    gc.collect()
    pool.free_all_blocks()
    if estimate * 2 > seconds:
        note = f"not run: about {estimate:.0f} s, and too little time"
        return Epoch(shape.name, len(data), arrivals, note=note)
    epochs = max(1, min(epochs, int(seconds / estimate) - 1))
    first, *later = train(network, data, 1 + epochs)
    # The pool frees nothing, so its size is the peak of the allocated memory.
    memory = pool.total_bytes()
    gc.collect()
    with recorded_kernel_times(check_cuda()) as times:
        train(network, small, 1)
    kernels = tuple(times.table())
    pool.free_all_blocks()
    seconds = statistics.median(later)
    return Epoch(
        shape.name, len(data), arrivals, seconds, first, epochs, memory, kernels, len(small)
    )


def check_gpu(network: evsim.Network, few: evsim.Dataset) -> float:
    """Compare spikes (exactly) and gradients (up to rounding); return the arrivals per sample."""
    gpu, cpu = (
        gradient_of(network, few, Grid(DT, device, precision="float32"))
        for device in ("cuda", "cpu")
    )
    arrivals = check(cpu.run, [gpu.run])
    for name, values in cpu.parameters.items():
        error = np.linalg.norm(gpu.parameters[name] - values) / np.linalg.norm(values)
        assert error < 1e-3, f"the gradient by {name} is off by {error:.1e}"
    return arrivals


def memory_pool() -> Any:
    """CuPy's memory pool of the GPU, after freeing its unused blocks."""
    import cupy

    gc.collect()
    pool = cupy.get_default_memory_pool()
    pool.free_all_blocks()
    return pool


def train(network: evsim.Network, data: evsim.Dataset, epochs: int) -> list[float]:
    """Train weights and delays; return the seconds of each epoch."""
    result = evsim.fit(
        network,
        data,
        LOSS,
        duration=DURATION,
        optimizers={
            "weight": evsim.Adam(1e-3),
            "delay": evsim.Adam(0.1),
            network.connections[-1].name + ".delay": None,
        },
        epochs=epochs,
        batch_size=BATCH,
        delay_max=DURATION,
        engine=Grid(DT, "cuda"),
        progress=False,
    )
    assert all(np.isfinite(record.loss) for record in result.history)
    return [record.seconds for record in result.history]


# -- the command ------------------------------------------------------------------------------


def median(call: Callable[[], object], repeats: int) -> float:
    """The median seconds of a call, after one call to warm up."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def processor_table(times: Sequence[ProcessorTime]) -> str:
    """The table of the measurements on the CPU."""
    return markdown_table(ProcessorTime.columns(), [one.row() for one in times])


def gpu_table(epochs: Sequence[Epoch]) -> str:
    """The table of the measurements on the GPU."""
    return markdown_table(Epoch.columns(), [epoch.row() for epoch in epochs])


def kernels_table(epoch: Epoch) -> str:
    """The table of the kernels of one network: launches, and microseconds for each sample."""
    total = sum(kernel.seconds for kernel in epoch.kernels)
    rows = [
        [
            kernel.kernel,
            str(kernel.launches),
            f"{1e6 * kernel.seconds / epoch.recorded:.1f}",
            f"{100 * kernel.seconds / total:.1f}",
        ]
        for kernel in epoch.kernels
    ]
    return markdown_table(["kernel", "launches", "µs a sample", "% of all kernels"], rows)


def published_table() -> str:
    """The table of the published figures."""
    return markdown_table(
        ["network", "mlGeNN: an epoch, s", "memory, MiB", "dilated convolutions, s", "memory, MiB"],
        [
            [name, *("–" if n is None else f"{n:g}" for n in numbers)]
            for name, *numbers in PUBLISHED
        ],
    )


def main() -> None:
    """Check, then time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=8, help="on the processor")
    parser.add_argument("--hidden", type=int, default=64, help="units per layer, on the CPU")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--epochs", type=int, default=2, help="epochs to time on the GPU")
    parser.add_argument("--seconds", type=float, default=240.0, help="for the GPU")
    chosen = parser.parse_args()
    print(f"{processor()}, Python {platform.python_version()}\n")
    times = measure_processor(
        chosen.hidden, chosen.samples, repeats=chosen.repeats, threads=chosen.threads
    )
    print(processor_table(times))
    devices = cuda_devices()
    if not devices:
        print("\nno GPU was found: the figures of the GPU are missing")
        return
    print(f"\n{devices[0]}: an epoch of {SHD_SAMPLES} samples in batches of {BATCH}\n")
    measured = list(measure_gpu(epochs=chosen.epochs, seconds=chosen.seconds))
    print(gpu_table(measured))
    for epoch in measured:
        if epoch.kernels:
            print(f"\n{epoch.network}\n\n{kernels_table(epoch)}")
    print(f"\npublished, on an RTX A5000\n\n{published_table()}")


if __name__ == "__main__":
    main()
