"""The time of a new interpreter until its first gradient, with compilation and without."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FIRST_GRADIENT = """
import numpy as np

import evsim
from evsim.tasks import yin_yang
settings = yin_yang.Settings(
    hidden=30, delays=True, output_delays=False, train_size=150,
    loss="time_invariant", existence=0.0,
)
samples = yin_yang.data(settings)[0]
network = yin_yang.network(settings)
delays = np.random.default_rng(0).uniform(0.0, 10.0, (30, 4))  # as after training
outcome = evsim.gradient(
    network.replace({"input->hidden.delay": delays}),
    samples.spikes, samples.labels, yin_yang.loss(settings),
    duration=settings.duration,
    wrt=["input->hidden.weight", "input->hidden.delay", "hidden->output.weight"],
)
assert outcome.run.spike_counts["hidden"].sum() > 1000
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize(("what", "rounds"), [("compiled", 1), ("cached", 3)])
def test_first_gradient(what: str, rounds: int, cache: Path, benchmark: Any) -> None:
    is_there = any(cache.rglob("*.nbc"))
    if is_there != (what == "cached"):
        pytest.skip("the second test uses the cache that the first has filled: run the whole file")
    benchmark.extra_info.update(first_gradient=what)
    benchmark.pedantic(
        subprocess.run,
        args=([sys.executable, "-c", FIRST_GRADIENT],),
        kwargs={"env": {**os.environ, "NUMBA_CACHE_DIR": str(cache)}, "check": True},
        rounds=rounds,
    )
    assert any(cache.rglob("*.nbc")), "nothing was kept"
