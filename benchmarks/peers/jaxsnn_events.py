"""evsim against jaxsnn, its event-based part with EventProp, on Yin-Yang.

    python benchmarks/peers/jaxsnn_events.py FOLDER --version COMMIT [--store]

All units of both layers spike at most once, which a very low reset enforces in jaxsnn.  Both
programs compute, in float64, the spikes, the time-invariant squared error of output spikes, and its
gradient with respect to all weights; an epoch adds a step of Adam for each batch.  jaxsnn's
functions are compiled by JAX before they are timed.
"""

from __future__ import annotations

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
from evsim.tasks import yin_yang as task

ENGINE = Exact(threads=1)
SAMPLES = 150
ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def case(hidden: int) -> Work:
    """The untrained network of the task without delays, with so many hidden units."""
    settings = task.Settings(
        hidden=hidden,
        train_size=yin_yang.EPOCH * SAMPLES,
        loss="time_invariant",
        existence=0.0,
    )
    network = task.network(settings)
    weight = network.parameters["hidden->output.weight"] * (30 / hidden)
    network = network.replace({"hidden->output.weight": weight})
    training, first = task.data(settings)[0], np.arange(SAMPLES)
    work = Work(
        network, training[first].spikes, training[first].labels, task.loss(settings),
        settings.duration, training,
    )  # fmt: skip
    return replace(work, optimizers=dict.fromkeys(work.wrt, evsim.Adam(1e-6)))


@dataclass
class Theirs:
    """The compiled functions of the other program, with times in ms."""

    weights: dict[str, Any]
    gradient: Any  # from weights and a batch to ((loss, (first output spikes, events)), gradients)
    update: Any  # from weights, the optimiser's state and a batch to the first two, and the loss
    state: Any

    def timed(self, batch: Any) -> None:
        """Run forward and backward."""
        import jax

        jax.block_until_ready(self.gradient(self.weights, batch))

    def epoch(self, batches: list[Any]) -> None:
        """Train an epoch with Adam."""
        import jax

        weights, state = self.weights, self.state
        for batch in batches:
            weights, state, loss = self.update(weights, state, batch)
            jax.block_until_ready(loss)


def theirs(work: Work) -> Theirs:
    """The network of a case, with the same weights."""
    import jax
    import optax
    from jax import numpy as jnp
    from jaxsnn.event.loss import first_spike
    from jaxsnn.event.modules import LIF, Linear, Source
    from jaxsnn.event.modules.lif.lif import LIFParameters
    from jaxsnn.event.topology import Topology

    inputs, hidden, outputs = (population.units for population in work.network.populations)
    unit = work.network.population("hidden")
    parameters = LIFParameters(
        v_reset=-1000.0, v_th=1.0, tau_syn=float(unit.tau_syn), tau_mem=float(unit.tau_mem)
    )
    builder = Topology(t_max=work.duration, backprop_method="eventprop")
    builder.add(
        {
            "inp": Source(inputs),
            # As many steps as arrivals and spikes, and one for the end.
            "lif1": LIF(hidden, inputs + hidden + 1, parameters),
            "lif2": LIF(outputs, hidden + outputs + 1, parameters),
            "syn1": Linear(mean=0.0, std=1.0, min_delay=0.0),
            "syn2": Linear(mean=0.0, std=1.0, min_delay=0.0),
        }
    )
    builder.connect([("inp", "syn1"), ("syn1", "lif1"), ("lif1", "syn2"), ("syn2", "lif2")])
    initial, apply = builder.done()
    weights = dict(initial(jax.random.PRNGKey(0)))
    for name, connection in (("syn1", "input->hidden"), ("syn2", "hidden->output")):
        wanted = jnp.asarray(work.network.parameters[f"{connection}.weight"].T)
        assert weights[name].shape == wanted.shape
        weights[name] = wanted
    delta = work.loss.delta

    def loss(weights: dict[str, Any], batch: Any) -> Any:
        spikes, labels = batch
        events = apply({"inp": spikes}, weights)
        times = jax.vmap(first_spike, in_axes=(0, None))(events["lif2"], outputs)
        rows = jnp.arange(labels.size)
        late = times - times[rows, labels][:, None] - delta
        late = late.at[rows, labels].set(0.0)
        return jnp.mean(0.5 * jnp.sum(late**2, axis=1)), (times, events)

    adam = optax.adam(1e-6)
    gradient = jax.value_and_grad(loss, has_aux=True)

    def update(weights: dict[str, Any], state: Any, batch: Any) -> Any:
        (value, _), slopes = gradient(weights, batch)
        changes, state = adam.update(slopes, state)
        return optax.apply_updates(weights, changes), state, value

    return Theirs(weights, jax.jit(gradient), jax.jit(update), adam.init(weights))


def their_batch(batch: Work) -> Any:
    """The sorted input spikes of a batch, in which every input spikes once, and its labels."""
    from jax import numpy as jnp
    from jaxsnn.event.types import Spike

    times = batch.spikes.times.reshape(len(batch.spikes), -1)
    order = np.argsort(times, axis=1)
    times = np.take_along_axis(times, order, axis=1)
    units = np.take_along_axis(batch.spikes.units.reshape(times.shape), order, axis=1)
    spikes = Spike(
        time=jnp.asarray(times),
        idx=jnp.asarray(units.astype(int)),
        current=jnp.zeros(times.shape),
        layer_idx=jnp.zeros(times.shape, dtype=int),
        internal=jnp.ones(times.shape, dtype=bool),
    )
    return spikes, jnp.asarray(batch.labels)


def check(work: Work, other: Theirs) -> tuple[str, str]:
    """Compare all spikes, losses and gradients; return what was computed, and how it agrees."""
    worst_time = worst_loss = worst_gradient = 0.0
    counts = {"hidden": 0, "output": 0}
    for batch in work.batches():
        found = batch.gradient(ENGINE)
        (loss, (_, events)), slopes = other.gradient(other.weights, their_batch(batch))
        for name, layer in (("hidden", "lif1"), ("output", "lif2")):
            mine = found.run.read(evsim.readouts.FirstSpike(population=name))
            spikes = events[layer]
            at, unit, own = (
                np.asarray(part) for part in (spikes.time, spikes.idx, spikes.internal)
            )
            their = np.full(mine.shape, np.inf)
            sample, place = np.nonzero(own & np.isfinite(at) & (unit >= 0))
            their[sample, unit[sample, place]] = at[sample, place]
            np.testing.assert_array_equal(np.isinf(mine), np.isinf(their))
            both = np.isfinite(mine)
            counts[name] += int(both.sum())
            worst_time = max(worst_time, float(np.abs(mine[both] - their[both]).max()))
        worst_loss = max(worst_loss, abs(float(loss) - found.loss) / found.loss)
        for layer, connection in (("syn1", "input->hidden"), ("syn2", "hidden->output")):
            wanted = found.parameters[f"{connection}.weight"].T
            worst_gradient = max(worst_gradient, compare.far(np.asarray(slopes[layer]), wanted))
    assert worst_time < 1e-9, f"spike times differ by {worst_time} ms"
    assert worst_loss < 1e-9, f"losses differ by {worst_loss}"
    assert worst_gradient < 1e-9, f"gradients differ by {worst_gradient}"
    samples = len(work.training)
    text = "; ".join(f"{name}: {count / samples:.1f}" for name, count in counts.items())
    return text, (
        f"the same units spike, within {worst_time:.0e} ms; losses within {worst_loss:.0e}, "
        f"gradients within {worst_gradient:.0e} of the largest entry"
    )


def main() -> None:
    """Check, time and print."""
    options = compare.arguments(__doc__)
    sys.path.insert(0, str(options.folder / "src" / "pyjaxsnn"))
    os.environ["XLA_FLAGS"] = ONE_THREAD
    import jax

    jax.config.update("jax_enable_x64", True)
    rows = []
    for hidden, fewer in ((30, 2), (100, 8)):
        title = f"{hidden} hidden, no delays, all units spike once"
        if options.select not in title:
            continue
        work = case(hidden)
        other = theirs(work)
        spikes, agreement = check(work, other)
        print(f"{title}: {agreement}; {spikes}", file=sys.stderr)
        batches = [their_batch(part) for part in work.batches()]
        rows += compare.training_rows(
            title, work, ENGINE, batches, other.timed, other.epoch,
            (max(5, options.rounds // fewer), 3), spikes, agreement,
        )  # fmt: skip
    peer = compare.Peer("jaxsnn", "github.com/electronicvisions/jaxsnn", options.version)
    compare.finish("jaxsnn", peer, rows, store=options.store)


if __name__ == "__main__":
    main()
