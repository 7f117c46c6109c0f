"""evsim against the program of Wunderlich and Pehle, EventProp in C++, on Yin-Yang.

    OMP_NUM_THREADS=1 python benchmarks/peers/eventprop_cpp.py FOLDER --version COMMIT [--store]

Both programs compute, in float64, all spikes of hidden units and of outputs, the cross-entropy of
first output spikes, and its gradient with respect to all weights; an epoch adds a step of Adam for
each batch.
"""

from __future__ import annotations

import itertools
import os
import sys
from dataclasses import dataclass, replace
from typing import Any

import compare
import numpy as np
import yin_yang
from workload import Work

import evsim
from evsim.engines import Exact

ENGINE = Exact(threads=1)
SECOND = 1000.0  # ms
NAMES = ("yin-yang-30-13", "yin-yang-30-30", "yin-yang-200-30", "yin-yang-200-66",
         "yin-yang-200-175")  # fmt: skip


@dataclass
class Theirs:
    """The network of a case in the other program."""

    hidden: Any
    output: Any
    optimizer: Any

    def gradient(self, spikes: Any, labels: np.ndarray) -> None:
        """Run forward and backward; the gradients are kept in the layers."""
        self.optimizer.zero_grad()
        self.output(self.hidden(spikes))
        self.output.backward(labels)

    def epoch(self, batches: list[tuple[Any, np.ndarray]]) -> None:
        """Train an epoch with the results that its training keeps: losses and accuracy."""
        for spikes, labels in batches:
            self.gradient(spikes, labels)
            self.output.get_losses(labels)
            self.output.get_accuracy(labels)
            self.optimizer.step()


def theirs(work: Work) -> Theirs:
    """The network of a case, with the same weights."""
    from eventprop.lif_layer import LIFLayer, LIFLayerParameters
    from eventprop.loss_layer import TTFSCrossEntropyLoss, TTFSCrossEntropyLossParameters
    from eventprop.optimizer import Adam, GradientDescentParameters

    def layer(name: str, source: str) -> tuple[Any, np.ndarray]:
        unit = work.network.population(name)
        weight = np.ascontiguousarray(work.network.parameters[f"{source}->{name}.weight"].T)
        described = LIFLayerParameters(
            n=weight.shape[1], n_in=weight.shape[0],
            tau_mem=float(unit.tau_mem) / SECOND, tau_syn=float(unit.tau_syn) / SECOND,
        )  # fmt: skip
        return described, weight

    described, weight = layer("hidden", "input")
    hidden = LIFLayer(described, w_in=weight)
    described, weight = layer("output", "hidden")
    loss = work.loss
    output = TTFSCrossEntropyLoss(
        TTFSCrossEntropyLossParameters(
            described, alpha=loss.alpha, tau0=loss.tau0 / SECOND, tau1=loss.tau1 / SECOND
        ),
        w_in=weight,
    )
    return Theirs(hidden, output, Adam(output, GradientDescentParameters(lr=1e-6)))


def their_spikes(spikes: evsim.SpikeTrains) -> Any:
    """A batch of input spikes in the other program's form: sorted, in s."""
    from eventprop.eventprop_cpp import Spikes, SpikesVector

    trains = []
    for first, end in itertools.pairwise(spikes.offsets):
        order = first + np.argsort(spikes.times[first:end], kind="stable")
        trains.append(Spikes(spikes.times[order] / SECOND, spikes.units[order].astype(np.int32)))
    return SpikesVector(trains)


def comparable(work: Work, other: Theirs) -> tuple[Work, str]:
    """The work with those samples that both programs treat alike, and how many are left out.

    Samples are left out in which an output does not spike, which the losses treat differently, and
    those in which the other program omits a spike that moves the first spike of an output.
    """
    assert work.training is not None
    run = evsim.simulate(work.network, work.training.spikes, work.duration, ENGINE)
    other.output(other.hidden(their_spikes(work.training.spikes)))
    ours, theirs = run.read(work.loss.readout), SECOND * other.output.first_spike_times
    silent = np.isinf(ours).any(axis=1)
    moved = ~silent & ~(np.abs(ours - theirs) < 1e-9).all(axis=1)
    kept = np.flatnonzero(~silent & ~moved)
    size = len(work.spikes)
    training = work.training[kept[: kept.size // size * size]]
    first = training[np.arange(size)]
    left_out = (
        f"of {silent.size:,} samples {silent.sum()} were left out in which an output is silent, "
        f"and {moved.sum()} in which the other program omits a spike that moves an output's first"
    )
    return replace(work, spikes=first.spikes, labels=first.labels, training=training), left_out


# -- checks ---------------------------------------------------------------------------------


def check(work: Work, other: Theirs) -> tuple[str, str]:
    """Compare all spikes, losses and gradients; return what was computed, and how it agrees.

    The other program omits some spikes that are not the first of their unit: once the unit has
    spiked, it looks for the largest potential between two arrivals at the wrong time.  So a unit's
    spikes are compared up to the first omitted one, which is checked with the equations, and spikes
    of outputs up to the first omitted spike of a hidden unit.
    """
    layers = (("hidden", "input", other.hidden), ("output", "hidden", other.output))
    worst = Worst()
    total = {"hidden": np.zeros(3, int), "output": np.zeros(3, int)}
    for batch in work.batches():
        found = batch.gradient(ENGINE)
        other.gradient(their_spikes(batch.spikes), batch.labels)
        trains = {"input": batch.spikes, **found.run.spikes}
        until = np.full(len(batch.spikes), np.inf)
        for name, source, layer in layers:
            weight = work.network.parameters[f"{source}->{name}.weight"]
            for sample, spikes in enumerate(layer.post_batch):
                pair = Sample(trains[name], trains[source], weight, sample, spikes, until[sample])
                time, until[sample], counts = pair.compare()
                worst.time = max(worst.time, time)
                total[name] += counts
            gradient = found.parameters[f"{source}->{name}.weight"]
            worst.gradient = max(worst.gradient, compare.far(layer.gradient, gradient.T))
        loss = float(np.mean(other.output.get_losses(batch.labels)))
        worst.loss = max(worst.loss, abs(loss - found.loss) / found.loss)
    worst.check()
    samples = len(work.training)
    counts = "; ".join(
        f"{name}: {ours / samples:.1f}, other {theirs / samples:.1f}"
        for name, (ours, theirs, _) in total.items()
    )
    compared = sum(int(both) for *_, both in total.values())
    return counts, (
        f"{compared:,} spikes, up to the first that the other program omits, within "
        f"{worst.time:.0e} ms; losses within {worst.loss:.0e}, gradients within "
        f"{worst.gradient:.0e} of the largest entry"
    )


@dataclass
class Worst:
    """The largest differences: of spike times in ms, and relative ones."""

    time: float = 0.0
    loss: float = 0.0
    gradient: float = 0.0

    def check(self) -> None:
        """Check that they are due to rounding."""
        assert self.time < 1e-9, f"spike times differ by {self.time} ms"
        assert self.loss < 1e-12, f"losses differ by {self.loss}"
        assert self.gradient < 1e-9, f"gradients differ by {self.gradient}"


@dataclass(frozen=True)
class Sample:
    """The spikes of a layer in one sample in both programs, and its input spikes in evsim."""

    ours: evsim.SpikeTrains
    sources: evsim.SpikeTrains
    weight: np.ndarray
    sample: int
    theirs: Any
    until: float  # ms, the time from which the arrivals differ

    def compare(self) -> tuple[float, float, np.ndarray]:
        """The largest difference in ms; the time of the first omitted spike; the spikes counted.

        The counts are those of evsim, of the other program, and of the spikes compared.
        """
        part = slice(*self.ours.offsets[self.sample : self.sample + 2])
        times, units = self.ours.times[part], self.ours.units[part]
        found, found_units = SECOND * np.asarray(self.theirs.times), np.asarray(self.theirs.sources)
        worst, until, compared = 0.0, self.until, 0
        for unit in range(self.weight.shape[0]):
            mine, their = times[units == unit], found[found_units == unit]
            near = np.abs(mine[: their.size] - their[: mine.size]) < 1e-6
            both = near.size if near.all() else int(np.argmin(near))
            compared += both
            if both:
                worst = max(worst, float(np.abs(mine[:both] - their[:both]).max()))
            rest = [part[both] for part in (mine, their) if part.size > both]
            if rest and min(rest) < self.until:
                assert both > 0, "the first spikes differ"
                assert mine.size > both, "a spike is missing here"
                assert min(rest) == mine[both], "a spike is missing here"
                self.check_omitted(unit, mine[both], mine[:both])
                until = min(until, mine[both])
        return worst, until, np.array([times.size, found.size, compared])

    def check_omitted(self, unit: int, time: float, earlier: np.ndarray) -> None:
        """Check with the equations that the unit reaches its threshold at a time."""
        part = slice(*self.sources.offsets[self.sample : self.sample + 2])
        weights = self.weight[unit, self.sources.units[part]]
        at = potential(time, self.sources.times[part], weights, earlier)
        assert abs(at - 1.0) < 1e-9, f"the potential is {at} where a spike is reported"


def potential(time: float, arrivals: np.ndarray, weights: np.ndarray, spikes: np.ndarray) -> float:
    """V of a LIF unit with time constants of 20 and 5 ms by its closed form, threshold 1."""
    arrived = arrivals < time
    since = time - arrivals[arrived]
    kernel = (np.exp(-since / 20.0) - np.exp(-since / 5.0)) / 3.0
    return float(weights[arrived] @ kernel - np.exp(-(time - spikes) / 20.0).sum())


# -- the run ------------------------------------------------------------------------------


def main() -> None:
    """Check, time and print."""
    options = compare.arguments(__doc__)
    if os.environ.get("OMP_NUM_THREADS") != "1":
        sys.exit("set OMP_NUM_THREADS=1, so that the other program has one thread, too")
    sys.path.insert(0, str(options.folder))
    if not hasattr(np, "int"):
        setattr(np, "int", int)  # noqa: B010  the program is for NumPy before 1.24
    cases = {case.name: case for case in yin_yang.CASES}
    rows = []
    for name in NAMES:
        if options.select not in name:
            continue
        work = cases[name].build()
        other = theirs(work)
        work, left_out = comparable(work, other)
        spikes, agreement = check(work, other)
        agreement = f"{agreement}; {left_out}"
        batches = [(their_spikes(part.spikes), part.labels) for part in work.batches()]
        title = cases[name].title.removeprefix("Yin-Yang, ").replace("no delays, ", "")
        rows += compare.training_rows(
            title, work, ENGINE, batches, lambda batch, other=other: other.gradient(*batch),
            other.epoch, (options.rounds, max(3, options.rounds // 5)), spikes, agreement,
        )  # fmt: skip
        print(f"{name}: {agreement}; {spikes}", file=sys.stderr)
    peer = compare.Peer("EventProp, C++", "github.com/eventprop/eventprop", options.version)
    compare.finish("eventprop", peer, rows, store=options.store)


if __name__ == "__main__":
    main()
