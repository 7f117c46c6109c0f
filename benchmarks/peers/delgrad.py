"""evsim against DelGrad, which is fastAndDeep with delays in PyTorch, on Yin-Yang.

    OMP_NUM_THREADS=1 python benchmarks/peers/delgrad.py FOLDER --version COMMIT [--store]

All units of both layers spike at most once, and every synapse has a delay that is learned.  Both
programs compute, in float64, the spikes, the time-invariant squared error of output spikes, and its
gradient with respect to all weights and delays; an epoch adds a step of Adam for each batch.
"""

from __future__ import annotations

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
LAYERS = ("input->hidden", "hidden->output")
CONDUCTANCE = 0.5  # of the leak; for tau_mem = 2 tau_syn, DelGrad's weights are evsim's times this


@dataclass
class Theirs:
    """The network of a case in the other program, with times in ms."""

    net: Any
    criterion: Any
    optimizer: Any

    def spikes(self, times: Any) -> dict[str, np.ndarray]:
        """The spike times of both layers; the backward pass overwrites those that are infinite."""
        outputs, hidden = self.net(times)
        return {"hidden": hidden[1].detach().numpy(), "output": outputs.detach().numpy()}

    def gradient(self, times: Any, labels: Any) -> tuple[Any, Any]:
        """Run forward and backward; return the output spike times and the loss."""
        self.optimizer.zero_grad()
        outputs, _ = self.net(times)
        loss = self.criterion(outputs, labels, self.net)
        loss.backward()
        return outputs, loss

    def epoch(self, batches: list[tuple[Any, Any]]) -> None:
        """Train an epoch with the results that its training keeps: losses and classes."""
        for times, labels in batches:
            outputs, loss = self.gradient(times, labels)
            self.criterion.select_classes(outputs)
            self.optimizer.step()
            self.net.delays_rectify()
            loss.item()


def theirs(work: Work) -> Theirs:
    """The network of a case, with the same weights and delays."""
    import torch

    networks = __import__("networks")
    utils = __import__("utils")
    tau_mem, tau_syn = (float(getattr(work.network.population("hidden"), n))
                        for n in ("tau_mem", "tau_syn"))  # fmt: skip
    neuron = {
        "tau_mem": tau_mem, "tau_syn": tau_syn, "g_leak": CONDUCTANCE, "leak": 0.0,
        "threshold": 1.0, "max_dw_norm": None,
    }  # fmt: skip
    layers: list[dict[str, Any]] = []
    for name in LAYERS:
        size = work.network.parameters[f"{name}.weight"].shape[0]
        layers += [
            {"name": "DelaySynaptic", "delay_mean": 0.0, "delay_std": 1.0, "trainable": True,
             "positivity": {"name": "clip"}},
            {"name": "NeuronLayer", "size": size, "weights_mean": 1.0, "weights_std": 1.0,
             "trainable": True, "max_num_missing_spikes": 1.0},
        ]  # fmt: skip
    training = {
        "substrate": "sim", "use_forward_integrator": False, "clip_weights_max": False,
        "loss": {"type": "shift_invariant_MSE", "delta_t": work.loss.delta / tau_syn},
        "resolution": 0.1, "sim_time": 40.0,
    }  # fmt: skip
    device = torch.device("cpu")
    inputs = work.network.population("input").units
    net = networks.get_network(neuron, {"n_inputs": inputs, "layers": layers}, training, device)
    for number, name in enumerate(LAYERS):
        weight, delay = (work.network.parameters[f"{name}.{part}"] for part in ("weight", "delay"))
        net.layers[2 * number]._delay_parameters.data = torch.tensor(delay.T.copy())
        net.layers[2 * number + 1].weights.data = torch.tensor(CONDUCTANCE * weight.T)
    criterion = utils.GetLoss(training, 3, tau_syn, device)
    return Theirs(net, criterion, torch.optim.Adam(net.parameters(), lr=1e-6))


def their_batch(batch: Work) -> tuple[Any, Any]:
    """The input times of a batch, in which every input spikes once, and its labels."""
    import torch

    times = np.empty((len(batch.spikes), batch.spikes.unit_count))
    samples = np.repeat(np.arange(len(times)), np.diff(batch.spikes.offsets))
    times[samples, batch.spikes.units] = batch.spikes.times
    return torch.tensor(times), torch.tensor(batch.labels)


def check(work: Work, other: Theirs) -> tuple[str, str]:
    """Compare all spikes, losses and gradients; return what was computed, and how it agrees.

    The other program adds 10⁻⁶ to two sums, which moves V by up to 5 · 10⁻⁷.  The slower V rises,
    the more this moves a spike; so V at the program's spike times is checked, too.
    """
    worst_time = worst_loss = worst_gradient = 0.0
    spikes = {"hidden": 0, "output": 0}
    for batch in work.batches():
        found = batch.gradient(ENGINE)
        times, labels = their_batch(batch)
        their_times = other.spikes(times)
        _, loss = other.gradient(times, labels)
        arriving = {"hidden": times.numpy(), "output": their_times["hidden"]}
        for connection, (name, their) in zip(LAYERS, their_times.items(), strict=True):
            reached = potential(work, connection, arriving[name], their)
            assert np.abs(reached - 1.0).max() < 1e-6, "a spike is not at the threshold"
            mine = found.run.read(evsim.readouts.FirstSpike(population=name))
            np.testing.assert_array_equal(np.isinf(mine), np.isinf(their))
            both = ~np.isinf(mine)
            spikes[name] += int(both.sum())
            worst_time = max(worst_time, float(np.abs(mine[both] - their[both]).max()))
        worst_loss = max(worst_loss, abs(loss.item() - found.loss) / found.loss)
        for number, name in enumerate(LAYERS):
            delays, units = other.net.layers[2 * number : 2 * number + 2]
            for part, gradient in (
                ("weight", CONDUCTANCE * units.weights.grad.numpy()),
                ("delay", delays._delay_parameters.grad.numpy()),
            ):
                wanted = found.parameters[f"{name}.{part}"]
                worst_gradient = max(worst_gradient, compare.far(gradient.T, wanted))
    assert worst_time < 1e-2, f"spike times differ by {worst_time} ms"
    assert worst_loss < 1e-3, f"losses differ by {worst_loss}"
    assert worst_gradient < 1e-2, f"gradients differ by {worst_gradient}"
    samples = len(work.training)
    counts = "; ".join(f"{name}: {count / samples:.1f}" for name, count in spikes.items())
    return counts, (
        f"the same units spike, within {worst_time:.0e} ms and 1e-06 of V; losses within "
        f"{worst_loss:.0e}, gradients within {worst_gradient:.0e} of the largest entry"
    )


def potential(work: Work, connection: str, arriving: np.ndarray, spikes: np.ndarray) -> np.ndarray:
    """V of the units that spike, at these times, by its closed form for 20 and 10 ms.

    ``arriving`` contains the spike times of the source units, (batch, source), and ``spikes`` those
    of the target units, (batch, target).
    """
    weight, delay = (work.network.parameters[f"{connection}.{p}"] for p in ("weight", "delay"))
    since = spikes[:, :, None] - (arriving[:, None, :] + delay)
    arrived = (since > 0) & np.isfinite(since)
    since = np.where(arrived, since, 0.0)
    kernel = np.exp(-since / 20.0) - np.exp(-since / 10.0)
    return (weight * kernel).sum(axis=2)[np.isfinite(spikes)]


def case(hidden: int) -> Work:
    """The network with so many hidden units; the trial ends after all spikes."""
    work = replace(yin_yang.with_delays(hidden=hidden), duration=200.0)
    weight = work.network.parameters["hidden->output.weight"] * (30 / hidden)
    return replace(work, network=work.network.replace({"hidden->output.weight": weight}))


def main() -> None:
    """Check, time and print."""
    import torch

    options = compare.arguments(__doc__)
    sys.path.insert(0, str(options.folder / "src"))
    torch.set_num_threads(1)
    rows = []
    for hidden, fewer in ((30, 1), (200, 8)):
        title = f"{hidden} hidden, delays on both layers, all units spike once"
        if options.select not in title:
            continue
        work = case(hidden)
        other = theirs(work)
        spikes, agreement = check(work, other)
        print(f"{title}: {agreement}; {spikes}", file=sys.stderr)
        batches = [their_batch(part) for part in work.batches()]
        rounds = max(5, options.rounds // fewer), max(3, options.rounds // 5 // fewer)
        rows += compare.training_rows(
            title, work, ENGINE, batches, lambda batch, other=other: other.gradient(*batch),
            other.epoch, rounds, spikes, agreement,
        )  # fmt: skip
    peer = compare.Peer("DelGrad, PyTorch", "github.com/JulianGoeltz/fastAndDeep", options.version)
    compare.finish("delgrad", peer, rows, store=options.store)


if __name__ == "__main__":
    main()
