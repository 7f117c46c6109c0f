"""The time per arrival as activity grows, and the time until a runaway network is refused.

    python benchmarks/activity.py [--largest 1e5]

The networks are recurrent, and each spike causes more than one further spike.  The trials end after
10³, 10⁴, ... spikes.  The time per arrival, forward on one thread, should not grow with the number
of spikes.  Arrivals are counted independently before the figures are printed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import cycle

import numpy as np
from tables import figure, machine
from workload import check_arrivals

import evsim
from evsim.display.markdown_table import markdown_table
from evsim.engines import EngineError, Exact

SPIKES = (1e3, 1e4, 1e5, 1e6)
ONE_SPIKE = evsim.SpikeTrains.from_lists([[(0.0, 0)]], units=1)
Draw = Callable[..., evsim.Network]
UNLIMITED = 1000.0  # ms; every network is refused before this time


def network(
    units: int, weight: evsim.Uniform | evsim.Normal, delay: object, seed: int = 0
) -> evsim.Network:
    """Units that excite each other; a single input spike starts the activity."""
    return evsim.Network(
        [evsim.Input("input", 1), evsim.LIF("hidden", units)],
        [
            evsim.Connection("input", "hidden", 30.0),
            evsim.Connection("hidden", "hidden", weight, delay),
        ],
        seed=seed,
    )


NETWORKS: dict[str, Draw] = {
    "10 units, delays 0.1 to 1 ms": partial(
        network, 10, evsim.Uniform(0.0, 2.0), evsim.Uniform(0.1, 1.0)
    ),
    "64 units, delays 1 ms": partial(network, 64, evsim.Normal(0.5, 0.2), 1.0),
    "512 units, delays 1 ms": partial(network, 512, evsim.Normal(0.5, 0.2), 1.0),
    "20 units, delays 0 to 8 ms": partial(
        network, 20, evsim.Uniform(0.0, 1.0), evsim.Uniform(0.0, 8.0)
    ),
}
"""Functions that draw a network; ``seed`` is that of its weights and delays."""


def trial_with(net: evsim.Network, spikes: float) -> tuple[float, Exact]:
    """The duration in ms of a trial with so many spikes, up to a factor of 2, and its engine."""
    engine = Exact(threads=1, rate_limit=np.inf, spike_limit=int(2 * spikes))
    low, high = 0.0, UNLIMITED
    while True:
        middle = (low + high) / 2
        try:
            run = evsim.simulate(net, ONE_SPIKE, middle, engine)
        except EngineError:  # more than twice as many
            high = middle
            continue
        if run.spikes["hidden"].times.size >= spikes:
            return middle, engine
        low = middle


def cost_of_an_arrival(draw: Draw, spikes: float) -> tuple[int, int, float]:
    """The numbers of spikes and arrivals of a trial, and the median time per arrival in ns.

    Up to 10 networks with different weights take turns until they have 10⁶ arrivals, because the
    processor would predict the branches of a short trial that is repeated.
    """
    trials: list[tuple[evsim.Network, float, Exact, evsim.Run]] = []
    while len(trials) < 10 and sum(run.report.arrivals for *_, run in trials) < 1e6:
        net = draw(seed=len(trials))
        duration, engine = trial_with(net, spikes)
        run = evsim.simulate(net, ONE_SPIKE, duration, engine)
        check_arrivals(run)
        trials.append((net, duration, engine, run))
    times: list[float] = []
    costs: list[float] = []
    for net, duration, engine, run in cycle(trials):
        start = time.process_time()
        evsim.simulate(net, ONE_SPIKE, duration, engine)
        times.append(time.process_time() - start)
        costs.append(1e9 * times[-1] / run.report.arrivals)
        if len(times) >= 3 and (sum(times) >= 1.0 or len(times) >= 30):
            break
    first = trials[0][-1]
    return first.spikes["hidden"].times.size, first.report.arrivals, statistics.median(costs)


def time_to_refusal(draw: Draw) -> float:
    """Seconds until the network is refused."""
    net = draw()
    start = time.process_time()
    try:
        evsim.simulate(net, ONE_SPIKE, UNLIMITED, Exact(threads=1))
    except EngineError as refusal:
        if "runs away" in str(refusal):
            return time.process_time() - start
        raise
    raise AssertionError("a network that runs away was not refused")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=float, default=1e5, help="spikes")
    largest = parser.parse_args().largest
    evsim.simulate(next(iter(NETWORKS.values()))(), ONE_SPIKE, 1.0)  # compiles
    rows = []
    for name, draw in NETWORKS.items():
        refused = time_to_refusal(draw)
        for spikes in SPIKES:
            if spikes <= largest:
                emitted, arrivals, cost = cost_of_an_arrival(draw, spikes)
                rows.append((name, str(emitted), f"{arrivals:.3g}", figure(cost), f"{refused:.2f}"))
    header = ("network", "spikes", "arrivals", "ns per arrival", "refused after, s")
    print(f"{machine()}:\n\n{markdown_table(header, rows)}")


if __name__ == "__main__":
    main()
