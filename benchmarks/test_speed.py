"""Checks and times every case: forward, forward + backward, and epochs with updates.

    python -m pytest benchmarks [-k "words and not 512"] [--seconds 0.2]

``benchmarks/report.py`` runs this file and prints the table.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np
import pytest
from cases import CASES
from memory import in_subprocess
from workload import Work, check_turns, hidden_spikes

import evsim
from evsim.engines import Exact

FEWEST, MOST = 3, 100  # rounds


class Measurement(NamedTuple):
    """One quantity to time: "forward", "gradient" or "epoch" of a case."""

    case: str
    quantity: str
    threads: int

    @property
    def id(self) -> str:
        return "-".join(map(str, self))


MEASUREMENTS = [
    Measurement(case.name, quantity, threads)
    for case in CASES.values()
    for threads in ((1,) if case.single else (1, 2))
    for quantity in ("forward", "gradient", *(["epoch"] if case.trains else []))
]


class Checked(NamedTuple):
    """The work of a case after its checks, and its counts per sample."""

    batches: list[Work]
    arrivals: float
    hidden_spikes: float


@lru_cache(maxsize=1)
def checked(name: str) -> Checked:
    """The checked work of a case; only one case is kept, to save memory."""
    work, run = CASES[name].checked()
    check_turns(work, run)
    if work.training is not None:
        run = evsim.simulate(work.network, work.training.spikes, work.duration)
    return Checked(work.batches(), run.report.arrivals / run.batch_size, hidden_spikes(run))


@pytest.mark.parametrize("measurement", MEASUREMENTS, ids=lambda measurement: measurement.id)
def test_speed(measurement: Measurement, benchmark: Any, pytestconfig: pytest.Config) -> None:
    name, quantity, threads = measurement
    case = CASES[name]
    batches, arrivals, spikes = checked(name)
    work, turns = batches[0], cycle(batches)
    engine = Exact(threads=threads)
    samples = len(work.spikes)
    if quantity == "epoch":
        check_epoch(work, spikes, work.epoch(engine))
        samples = len(work.training)
    calls: dict[str, Callable[[], object]] = {
        "forward": lambda: next(turns).forward(engine),
        "gradient": lambda: next(turns).gradient(engine),
        "epoch": lambda: work.epoch(engine),
    }
    call = calls[quantity]
    benchmark.extra_info.update(
        measurement._asdict(),
        title=case.title,
        samples=samples,
        arrivals=arrivals,
        hidden_spikes=spikes,
        target=None if case.target is None else case.target._asdict(),
    )
    if quantity == "gradient" and threads == 1:
        benchmark.extra_info["memory"] = int(in_subprocess(name))
    seconds = pytestconfig.getoption("seconds")
    benchmark.pedantic(call, rounds=FEWEST if case.slow else rounds(call, seconds))


def rounds(call: Callable[[], object], seconds: float) -> int:
    """The number of repetitions of a call; the calls that determine it also warm up."""
    start = time.perf_counter()
    call()
    once = time.perf_counter() - start
    if once < seconds:
        start = time.perf_counter()
        call()
        once = time.perf_counter() - start
    return int(np.clip(seconds / once, FEWEST, MOST))


def check_epoch(work: Work, spikes: float, result: evsim.FitResult) -> None:
    """Check that an epoch used all samples, changed all parameters and kept the spike counts."""
    batches = -(-len(work.training) // len(work.spikes))
    assert result.history[0].steps == batches
    for name in work.wrt:
        assert (result.network.parameters[name] != work.network.parameters[name]).any(), name
    whole = evsim.simulate(result.network, work.training.spikes, work.duration)
    ratio = hidden_spikes(whole) / spikes
    assert abs(ratio - 1) < 0.05, f"{ratio:.2f} times as many hidden spikes"
