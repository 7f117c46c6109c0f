"""The time that PyTorch adds to a gradient: evsim.torch.Module and evsim.gradient on Yin-Yang.

    python benchmarks/bridge.py [--batch 150] [--repetitions 200]

Both compute the loss of a batch and its gradients with respect to weights and delays, with the same
results, which is checked first.  They take turns, so that other programs disturb both equally; the
figures are medians with interquartile ranges.  PyTorch has one thread, because its waiting threads
take the processors from evsim, see docs/torch.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import cycle

import numpy as np
import torch
from report import warn_if_busy
from yin_yang import with_delays

import evsim
from evsim.torch import Module


def both(samples: int) -> dict[str, Callable[[], dict[str, np.ndarray]]]:
    """Functions that compute the gradients of a batch with evsim only and with PyTorch."""
    work = with_delays(samples)
    loss = evsim.losses.FirstSpikeCrossEntropy(alpha=0.0)
    module = Module(work.network, loss.readout, work.duration, work.wrt, missing="end")
    # Batches take turns, so that the processor does not learn the branches of one.
    evsim_turns, replaced_turns, torch_turns = (cycle(work.batches()) for _ in range(3))

    def by_evsim() -> dict[str, np.ndarray]:
        batch = next(evsim_turns)
        found = evsim.gradient(
            work.network, batch.spikes, batch.labels, loss, work.duration, wrt=work.wrt
        )
        return dict(found.parameters)

    def by_evsim_with_new_values() -> dict[str, np.ndarray]:
        batch = next(replaced_turns)
        values = {name: work.network.parameters[name] for name in work.wrt}
        network = work.network.replace(values)  # as after the step of an optimiser
        found = evsim.gradient(
            network, batch.spikes, batch.labels, loss, work.duration, wrt=work.wrt
        )
        return dict(found.parameters)

    def by_torch() -> dict[str, np.ndarray]:
        batch = next(torch_turns)
        labels = torch.tensor(batch.labels)
        module.zero_grad()
        scores = -module(batch.spikes) / loss.tau0
        torch.nn.functional.cross_entropy(scores, labels).backward()
        keys = (name.replace("->", "_to_").replace(".", "_") for name in work.wrt)
        return {name: getattr(module, key).grad for name, key in zip(work.wrt, keys, strict=True)}

    return {
        "evsim.gradient": by_evsim,
        "evsim.gradient, with network.replace": by_evsim_with_new_values,
        "evsim.torch.Module": by_torch,
    }


def check(ways: dict[str, Callable[[], dict[str, np.ndarray]]]) -> None:
    """Check that all ways compute the same gradients."""
    first, *others = (way() for way in ways.values())
    for other in others:
        for name, wanted in first.items():
            scale = np.abs(wanted).max()
            assert scale > 0, name
            np.testing.assert_allclose(np.asarray(other[name]), wanted, rtol=0, atol=1e-12 * scale)


def main() -> None:
    """Check the results, measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=150)
    parser.add_argument("--repetitions", type=int, default=200)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warn_if_busy()
    ways = both(arguments.batch)
    check(ways)
    wall: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(arguments.repetitions):
        for name, way in ways.items():
            start, start_cpu = time.perf_counter(), time.process_time()
            way()
            wall[name].append(1e3 * (time.perf_counter() - start))
            cpu[name].append(1e3 * (time.process_time() - start_cpu))
    print(f"{f'a batch of {arguments.batch}':38} {'ms':>22} {'':>6} {'ms of all CPUs':>22}")
    for name in ways:
        cells = (f"{_told(times[name]):>22} {_more(times, name):>6}" for times in (wall, cpu))
        print(f"{name:38}", *cells)


def _told(times: list[float]) -> str:
    low, median, high = np.quantile(times, (0.25, 0.5, 0.75))
    return f"{median:.2f} [{low:.2f}, {high:.2f}]"


def _more(times: dict[str, list[float]], name: str) -> str:
    """How much longer one way takes than the first, as the median of their ratios."""
    return f"{100 * (np.median(np.divide(times[name], next(iter(times.values())))) - 1):+.0f} %"


if __name__ == "__main__":
    main()
