"""evsim's forward pass against NEST with precise spike times, iaf_psc_exp_ps.

    OMP_NUM_THREADS=1 python benchmarks/peers/nest_precise.py [--store]

NEST has no gradient, so only the simulation is timed: for NEST only its call of Run, without the
construction of the network; for evsim all of ``evsim.simulate``.  NEST's step is the longest one
with which all spikes agree, at most 1 ms: NEST computes spike times between the grid points, but
misses a spike if the potential crosses the threshold and returns within one step.  Its units have a
refractory period of at least a step, so here those of evsim have one, too.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import compare
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "validation"))

import nest_networks
import words
from nest_networks import PRECISE, Nest
from sparse import DURATION, random_connection
from spoken import CHANNELS, spoken

import evsim
from evsim.engines import Exact

ENGINE = Exact(threads=1)
STEP = 1.0  # ms
Trial = tuple[evsim.Network, evsim.SpikeTrains, float]


def feedforward() -> Trial:
    """A spoken word, 700 channels, 256 hidden units, delays of 0 to 150 ms."""
    network = evsim.Network(
        [evsim.Input("input", CHANNELS), evsim.LIF("hidden", 256, refractory=STEP)],
        [evsim.Connection("input", "hidden", evsim.Normal(0.03, 0.01), evsim.Uniform(0, 150))],
        seed=0,
    )
    return network, spoken(1, words.SPIKES).spikes, 1000.0


def recurrent() -> Trial:
    """A spoken word, 700 channels, 128 units that excite and inhibit each other."""
    network = evsim.Network(
        [evsim.Input("input", CHANNELS), evsim.LIF("hidden", 128, refractory=STEP)],
        [
            evsim.Connection("input", "hidden", evsim.Normal(0.03, 0.01), evsim.Uniform(0, 150)),
            evsim.Connection("hidden", "hidden", evsim.Normal(0, 0.02), evsim.Uniform(STEP, 6)),
        ],
        seed=0,
    )
    return network, spoken(1, words.SPIKES).spikes, 1000.0


def sparse(units: int = 10_000, inputs: int = 500) -> Trial:
    """A sparse recurrent network with 100 synapses per unit, like that of ``sparse.py``."""
    rng = np.random.default_rng(0)
    network = evsim.Network(
        [evsim.Input("input", inputs), evsim.LIF("hidden", units, refractory=STEP)],
        [
            random_connection(
                "input", "hidden", inputs, units, units // 50, rng, (0.9, 0.3), (0.0, 5.0)
            ),
            random_connection("hidden", "hidden", units, units, 100, rng, (0.0, 0.1), (STEP, 10.0)),
        ],
    )
    latencies = rng.uniform(0, 0.5 * DURATION, (1, inputs))
    return network, evsim.SpikeTrains.from_latencies(latencies), DURATION


TRIALS: dict[str, tuple[Callable[[], Trial], int]] = {
    "700-256, delays, 1.5 million arrivals": (feedforward, 1),
    "700-128 recurrent, delays, 1 million arrivals": (recurrent, 1),
    "10,000 recurrent, fan-out 100, delays": (sparse, 4),
}
"""The trials, and the factor by which the number of rounds is reduced for each."""


def checked(trial: Trial) -> tuple[Nest, str, str]:
    """NEST with the longest step that gives the same spikes, their number, and how they agree."""
    network, spikes, duration = trial
    run = evsim.simulate(network, spikes, duration, ENGINE)
    ours = run.spikes["hidden"]
    for power in range(8):
        nest = Nest(PRECISE, STEP / 2**power)
        theirs = nest.simulate(network, {"input": spikes}, duration).spikes["hidden"]
        if not np.array_equal(ours.counts(), theirs.counts()):
            continue
        order = [np.lexsort((trains.times, trains.units)) for trains in (ours, theirs)]
        worst = float(np.abs(ours.times[order[0]] - theirs.times[order[1]]).max())
        if worst < 1e-9:
            return (
                nest,
                f"{ours.times.size}",
                (
                    f"{run.report.arrivals:,} arrivals; NEST with a step of {nest.resolution:g} ms "
                    f"has the same spikes, within {worst:.0e} ms"
                ),
            )
    raise AssertionError("spikes differ with every step")


def by_turns(trial: Trial, nest: Nest, rounds: int) -> tuple[list[float], list[float]]:
    """The processor times in s of evsim's simulation and of NEST's Run."""
    network, spikes, duration = trial
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        times[1].append(nest.simulate(network, {"input": spikes}, duration).seconds)
        start = time.process_time()
        evsim.simulate(network, spikes, duration, ENGINE)
        times[0].append(time.process_time() - start)
    return times


def main() -> None:
    """Check, time and print."""
    options = compare.arguments(__doc__, folder=False)
    rows = []
    for name, (build, fewer) in TRIALS.items():
        if options.select in name:
            trial = build()
            nest, spikes, agreement = checked(trial)
            print(f"{name}: {spikes} spikes, {agreement}", file=sys.stderr)
            times = by_turns(trial, nest, max(3, options.rounds // fewer))
            rows.append(compare.row(name, "forward", times, 1, spikes, agreement))
    peer = compare.Peer("NEST, iaf_psc_exp_ps", "nest-simulator", nest_networks.version())
    compare.finish("nest", peer, rows, store=options.store)


if __name__ == "__main__":
    main()
