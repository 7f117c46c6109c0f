"""Times the same work alternately in evsim and in another program, and stores the figures.

A driver computes spikes, loss and gradient with both programs and compares them.  Only then are
both timed alternately, on one thread of one process, so that other programs disturb both equally.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from tables import figure, machine
from workload import Work

from evsim.display.markdown_table import markdown_table

MEASURED = Path(__file__).parent / "measured"


@dataclass(frozen=True)
class Row:
    """The medians of one comparison, in µs of one thread per sample.

    ``ratio`` is the median of the ratios of evsim's time to the other program's in a round, with
    its quartiles ``low`` and ``high``; above 1, evsim is slower.  ``spikes`` says how many each
    program has computed per sample, and ``agreement`` how well their results agree.
    """

    work: str
    quantity: str
    evsim: float
    peer: float
    ratio: float
    low: float
    high: float
    rounds: int
    spikes: str
    agreement: str


@dataclass(frozen=True)
class Peer:
    """Another program: its name in tables, its repository or package, and its version."""

    name: str
    source: str
    version: str


def arguments(description: str, *, folder: bool = True) -> argparse.Namespace:
    """The command line of a driver; ``folder`` says whether the other program needs a folder."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    if folder:
        parser.add_argument("folder", type=Path, help="of the other program, after its build")
        parser.add_argument("--version", required=True, help="the commit of the other program")
    parser.add_argument("--rounds", type=int, default=40, help="of each comparison")
    parser.add_argument("--select", default="", help="part of the names of the networks to compare")
    parser.add_argument("--store", action="store_true", help="keep the figures for the pages")
    return parser.parse_args()


def by_turns(
    ours: Callable[[], object], theirs: Callable[[], object], rounds: int
) -> tuple[list[float], list[float]]:
    """The processor times in s of so many calls of each, after one warm-up call of each."""
    times: tuple[list[float], list[float]] = ([], [])
    calls = (ours, theirs)
    for turn in range(rounds + 1):
        for which in (0, 1) if turn % 2 else (1, 0):
            start = time.process_time()
            calls[which]()
            times[which].append(time.process_time() - start)
    return times[0][1:], times[1][1:]


def row(
    work: str, quantity: str, times: tuple[list[float], list[float]], samples: int, spikes: str,
    agreement: str,
) -> Row:  # fmt: skip
    """The medians of processor times in s for so many samples."""
    ours, theirs = times
    low, ratio, high = np.quantile(np.divide(ours, theirs), (0.25, 0.5, 0.75))
    scale = 1e6 / samples
    return Row(
        work, quantity, scale * statistics.median(ours), scale * statistics.median(theirs),
        float(ratio), float(low), float(high), len(ours), spikes, agreement,
    )  # fmt: skip


def training_rows(
    title: str,
    work: Work,
    engine: Any,
    batches: Sequence[Any],
    gradient: Callable[[Any], object],
    epoch: Callable[[Sequence[Any]], object],
    rounds: tuple[int, int],
    spikes: str,
    agreement: str,
) -> list[Row]:
    """The rows for gradients of batches, which take turns, and for an epoch of training.

    ``batches`` are those of the work in the form of the other program: its ``gradient`` takes one
    of them, and its ``epoch`` takes all.  ``rounds`` are those of gradients and of epochs.
    """
    turns, their_turns = itertools.cycle(work.batches()), itertools.cycle(batches)
    of_gradient = by_turns(
        lambda: next(turns).gradient(engine), lambda: gradient(next(their_turns)), rounds[0]
    )
    of_epoch = by_turns(lambda: work.epoch(engine), lambda: epoch(batches), rounds[1])
    return [
        row(title, "forward + backward", of_gradient, len(work.spikes), spikes, agreement),
        row(title, "epoch with Adam", of_epoch, len(work.training), spikes, agreement),
    ]


def far(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference of two arrays relative to the largest entry of the second."""
    scale = np.abs(wanted).max()
    assert scale > 0, "there is nothing to compare"
    assert found.shape == wanted.shape, f"shapes {found.shape} and {wanted.shape}"
    return float(np.abs(found - wanted).max() / scale)


def table(rows: Sequence[Row], peer: str) -> str:
    """The rows as a Markdown table."""
    header = ("network", "timed", "evsim, µs", f"{peer}, µs", "evsim / other (quartiles)",
              "spikes a sample")  # fmt: skip
    cells = [
        (r.work, r.quantity, figure(r.evsim), figure(r.peer),
         f"{r.ratio:.2f} ({r.low:.2f} to {r.high:.2f})", r.spikes)
        for r in rows
    ]  # fmt: skip
    return markdown_table(header, cells)


def finish(name: str, peer: Peer, rows: Sequence[Row], *, store: bool) -> None:
    """Print the table, and store the figures in ``measured`` on request."""
    print(f"\n{machine()}; {peer.source} {peer.version}:\n\n{table(rows, peer.name)}")
    for r in rows:
        print(f"{r.work}: {r.agreement}")
    if store:
        MEASURED.mkdir(exist_ok=True)
        kept = {
            "peer": asdict(peer),
            "machine": machine(),
            "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
            "command": f"python benchmarks/peers/{Path(sys.argv[0]).name}",
            "rows": [asdict(r) for r in rows],
        }
        text = json.dumps(kept, indent=1, ensure_ascii=False)
        (MEASURED / f"{name}.json").write_text(text + "\n", encoding="utf-8")
