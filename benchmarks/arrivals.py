"""What an arrival costs: a dense layer in the shape of MNIST, and spoken words with delays.

    python benchmarks/arrivals.py [--repeats 7] [--threads 1 2]

Synthetic input of the shapes of the data sets.  Before anything is timed the engine's
gradients of a small part of each case are compared with those of the reference engine, and
the arrivals of a batch are counted by hand.  Prints medians; times vary with the machine, so
compare figures of one run.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from yin_yang import machine, median

import evsim
from evsim.engines import Exact, Reference

LOSS = evsim.losses.CrossEntropy(evsim.readouts.Mean("exponential"))


@dataclass(frozen=True)
class Case:
    """A network and a batch of input, of ``inputs`` channels, for it."""

    name: str
    network: Callable[[int], evsim.Network]
    inputs: int
    spikes_per_sample: int
    batch: int
    duration: float

    def spikes(self, samples: int, channels: int, per_sample: int) -> evsim.SpikeTrains:
        """Spikes at random times of random channels."""
        rng = np.random.default_rng(0)
        total = samples * per_sample
        return evsim.SpikeTrains.from_events(
            rng.uniform(0, 0.8 * self.duration, total),
            rng.integers(0, channels, total),
            np.repeat(np.arange(samples), per_sample),
            batch_size=samples,
            unit_count=channels,
        )

    def check(self) -> None:
        """Compare the gradient of a part of the channels and spikes with the reference engine."""
        channels = self.inputs // 10
        network = self.network(channels)
        network = network.replace(
            {"input->hidden.weight": 20 * network.parameters["input->hidden.weight"]}
        )
        spikes = self.spikes(2, channels, self.spikes_per_sample // 20)
        found, expected = (
            evsim.gradient(network, spikes, [0, 1], LOSS, self.duration, engine=engine)
            for engine in (Exact(threads=1), Reference())
        )
        assert found.run.spike_counts["hidden"].sum() > 20
        for name, values in expected.parameters.items():
            scale = np.abs(values).max()
            np.testing.assert_allclose(found.parameters[name], values, rtol=0, atol=1e-8 * scale)

    def measure(self, threads: int, repeats: int) -> tuple[float, float, float]:
        """Arrivals per sample, and ns per arrival forward and forward + backward."""
        network = self.network(self.inputs)
        spikes = self.spikes(self.batch, self.inputs, self.spikes_per_sample)
        labels = np.arange(self.batch) % 10
        engine = Exact(threads=threads)
        run = evsim.simulate(network, spikes, self.duration, engine)
        arrivals = run.report.arrivals
        assert arrivals == counted_arrivals(run), "an arrival is missing, or one too many"
        assert run.spike_counts["hidden"].sum() > self.batch * 100
        wrt = [name for name in network.parameters if name.endswith((".weight", ".delay"))]
        forward = median(lambda: evsim.simulate(network, spikes, self.duration, engine), repeats)
        both = median(
            lambda: evsim.gradient(
                network, spikes, labels, LOSS, self.duration, wrt=wrt, engine=engine
            ),
            repeats,
        )
        return arrivals / self.batch, 1e9 * forward / arrivals, 1e9 * both / arrivals


def counted_arrivals(run: evsim.Run) -> int:
    """Pairs of a spike and a synapse whose times add up to no more than the trial."""
    total = 0
    for connection in run.network.connections:
        trains = run.spikes[connection.source]
        post = run.network.population(connection.target).units
        pre = run.network.population(connection.source).units
        delay = np.broadcast_to(connection.delay, (post, pre))
        total += int((trains.times[None] + delay[:, trains.units] <= run.duration).sum())
    return total


def dense(inputs: int) -> evsim.Network:
    """784-128-10 without delays, as for MNIST."""
    return evsim.Network(
        [evsim.Input("input", inputs), evsim.LIF("hidden", 128), evsim.LI("output", 10)],
        [
            evsim.Connection("input", "hidden", evsim.Normal(0.078, 0.045)),
            evsim.Connection("hidden", "output", evsim.Normal(0.2, 0.37)),
        ],
        seed=0,
    )


def layered(inputs: int) -> evsim.Network:
    """One hidden layer of 128 with a delay at every synapse from the inputs."""
    return spoken(inputs, recurrent=False)


def spoken(inputs: int, *, recurrent: bool = True) -> evsim.Network:
    """128 hidden units with delays, connected to each other or not."""
    own = evsim.Connection("hidden", "hidden", evsim.Normal(0, 0.02), evsim.Uniform(0, 5))
    return evsim.Network(
        [evsim.Input("input", inputs), evsim.LIF("hidden", 128), evsim.LI("output", 10)],
        [
            evsim.Connection("input", "hidden", evsim.Normal(0.03, 0.01), evsim.Uniform(0, 150)),
            *([own] if recurrent else []),
            evsim.Connection("hidden", "output", evsim.Normal(0, 0.03)),
        ],
        seed=0,
    )


CASES = (
    Case("784-128-10, no delays, 146 input spikes", dense, 784, 146, 32, 20.0),
    Case("700-128-10, delays, 5700 input spikes", layered, 700, 5700, 4, 1000.0),
    Case("the same, hidden units recurrent with delays", spoken, 700, 5700, 4, 1000.0),
)


def main() -> None:
    """Check, then time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    arguments = parser.parse_args()
    for case in CASES:
        case.check()
    print(f"{machine()}, Python {platform.python_version()}\n")
    print("| network | threads | arrivals a sample | forward, ns | forward + backward, ns | ms |")
    print("|---|---|---|---|---|---|")
    for case in CASES:
        for threads in arguments.threads:
            arrivals, forward, both = case.measure(threads, arguments.repeats)
            print(
                f"| {case.name} | {threads} | {arrivals:.0f} | {forward:.0f} | {both:.0f} | "
                f"{1e-6 * both * arrivals:.2f} |"
            )


if __name__ == "__main__":
    main()
