"""Training that stays on the GPU against training that returns to the host after each batch.

Without a GPU it is emulated (see ``cuda_on_cpu``).
"""

from __future__ import annotations

import re
from dataclasses import asdict, replace

import cuda_on_cpu
import numpy as np
import pytest
from cuda_on_cpu import needs_compiler
from evsim.augment import Blend, Shift, Thin
from nvrtc import compile_kernels, needs_nvrtc
from scipy.sparse import csr_array

import evsim
from evsim.engines.protocol import EngineError
from evsim.losses import (
    CrossEntropy,
    FirstSpikeCrossEntropy,
    TimeAveragedCrossEntropy,
    TimeInvariantMSE,
)
from evsim.readouts import FirstSpike, Mean, Peak, Voltage
from evsim.training.task import Task
from evsim.training.trained_parameters import TrainedParameter
from evsim_gpu.cuda import launching as cuda_kernels
from evsim_gpu.cuda.device import CudaDevice
from evsim_gpu.cuda.gpu import check_cuda, cuda_devices
from evsim_gpu.cuda.launching import Kernels
from evsim_gpu.grid import Grid
from evsim_gpu.model.layout import GridLayout
from evsim_gpu.state import grid_inputs
from evsim_gpu.training.data import TrainingData
from evsim_gpu.training.trainer import ResidentTrainer

pytestmark = pytest.mark.slow

UNITS, HIDDEN, CLASSES = 5, 4, 3
DURATION = 40.0


@pytest.fixture
def pretended(monkeypatch):
    """CuPy without a GPU."""
    return cuda_on_cpu.install(monkeypatch, seed=1)


@pytest.fixture(params=[pytest.param("emulated", marks=needs_compiler), "device"])
def gpu(request):
    """CuPy as the engine imports it: an emulation, or CuPy with a real GPU."""
    if request.param == "emulated":
        return request.getfixturevalue("pretended")
    if not cuda_devices():
        pytest.skip("no GPU: CuPy is not installed, or finds none")
    return check_cuda()


def network(output="LI", recurrent=True, refractory=0.0, seed=0, strength=1.5, voltages=None):
    rng = np.random.default_rng(seed)
    read = {"LI": evsim.LI, "LIF": evsim.LIF}[output]("output", CLASSES)
    connections = [
        evsim.Connection(
            "input", "hidden", rng.uniform(2, 6, (HIDDEN, UNITS)),
            rng.uniform(1, 7, (HIDDEN, UNITS)),
        ),
        evsim.Connection(
            "hidden", "output", rng.normal(strength, 1.5, (CLASSES, HIDDEN)),
            rng.uniform(0, 3, (1, HIDDEN)),
        ),
        evsim.Connection("input", "output", rng.normal(0.5, 0.2, (CLASSES, 1)), 25.0),
    ]  # fmt: skip
    if recurrent:
        own = rng.normal(0, 1, (HIDDEN, HIDDEN))
        connections.append(evsim.Connection("hidden", "hidden", own, np.full((HIDDEN, 1), 1.5)))
    hidden = evsim.LIF("hidden", HIDDEN, threshold=np.linspace(0.8, 1.2, HIDDEN),
                       refractory=refractory, **(voltages or {}))  # fmt: skip
    return evsim.Network([evsim.Input("input", UNITS), hidden, read], connections)


def two_loops():
    """Mutually connected populations, a layer after them, and parallel connections."""
    rng = np.random.default_rng(3)
    sizes = {"input": UNITS, "one": 3, "other": 2, "behind": 3, "unread": 2, "output": CLASSES}

    def connection(source, target, mean, delay, **named):
        weight = rng.normal(mean, 1.0, (sizes[target], sizes[source]))
        return evsim.Connection(source, target, weight, delay, **named)

    return evsim.Network(
        [
            evsim.Input("input", UNITS),
            evsim.LIF("one", 3, refractory=1.5),
            evsim.LIF("other", 2),
            evsim.LIF("behind", 3, refractory=np.inf),
            evsim.LI("unread", 2),
            evsim.LI("output", CLASSES),
        ],
        [
            connection("input", "one", 4.0, rng.uniform(0, 5, (3, UNITS))),
            connection("one", "other", 4.0, 0.5),
            connection("one", "other", 2.0, 3.0, name="again"),
            connection("other", "one", -2.0, np.full((1, 2), 0.0)),
            connection("other", "behind", 3.0, 1.0),
            connection("one", "unread", 1.0, 39.0),
            connection("behind", "output", 2.0, rng.uniform(0, 5, (CLASSES, 3))),
            connection("one", "output", 1.0, 2.0),
        ],
    )


def data(samples=13, seed=0, late=0.0):
    """Samples of 0 to 11 spikes; some come after the end of the trial, and some coincide."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 12, samples)
    total = counts.sum()
    spikes = evsim.SpikeTrains.from_events(
        rng.integers(0, int(4 * (DURATION + late)), total) / 4,
        rng.integers(0, UNITS, total),
        np.repeat(np.arange(samples), counts),
        batch_size=samples,
        unit_count=UNITS,
    )
    return evsim.Dataset(spikes, rng.integers(0, CLASSES, samples), np.arange(samples) % 2)


def fit(precision="float64", **changes):
    arguments = {
        "network": network(),
        "data": data(),
        "loss": CrossEntropy(Mean("exponential")),
        "duration": DURATION,
        "optimizers": {"weight": evsim.Adam(0.05), "delay": evsim.Adam(0.3)},
        "epochs": 3,
        "batch_size": 5,
        "seed": 4,
        "engine": Grid(0.5, device="cuda", precision=precision),
        "progress": False,
    }
    return evsim.fit(**{**arguments, **changes})


def by_batch(monkeypatch, **changes):
    """The same run batch by batch through the host."""
    with monkeypatch.context() as patched:
        patched.setattr(Grid, "epoch_trainer", lambda self, task: None)
        return fit(**changes)


def assert_same(found, expected, tolerance):
    for name, values in expected.last_network.parameters.items():
        np.testing.assert_allclose(
            found.last_network.parameters[name], values, rtol=tolerance, atol=tolerance
        )
    for one, other in zip(found.history, expected.history, strict=True):
        ours, theirs = (asdict(replace(record, seconds=0.0)) for record in (one, other))
        for name in ("loss", "smallest_drive", "validation_loss"):
            if theirs[name] is not None:
                assert ours.pop(name) == pytest.approx(theirs.pop(name), rel=tolerance)
        norms = ours.pop("gradient_norms")
        assert norms == pytest.approx(theirs.pop("gradient_norms"), rel=tolerance)
        assert max(norms.values()) > 0
        assert ours == theirs
    assert found.best_epoch == expected.best_epoch


RUNS = {
    "means of integrators": {},
    "peaks": {"loss": CrossEntropy(Peak()), "network": network(recurrent=False)},
    "every mean": {"loss": CrossEntropy(Mean("linear")), "network": network(refractory=2.0)},
    "voltages that are not 0": {
        "network": network(refractory=2.0, voltages={
            "reset": -0.5, "rest": np.linspace(-0.2, 0.2, HIDDEN), "start": 0.3}),
        "optimizers": {"weight": evsim.Adam(0.1), "delay": evsim.Adam(0.1)},
    },
    "first spikes": {
        "loss": FirstSpikeCrossEntropy(tau0=4.0, tau1=20.0, alpha=0.1),
        "network": network("LIF", strength=-0.5),
    },
    "differences of first spikes": {
        "loss": TimeInvariantMSE(), "network": network("LIF", strength=-0.5),
    },
    "spikes of a hidden population": {
        "loss": FirstSpikeCrossEntropy(tau0=4.0, readout=FirstSpike(population="hidden")),
    },
    "populations that reach each other": {"network": two_loops(), "dropout": {"one": 0.3}},
    "time constants": {
        "network": two_loops(),
        "optimizers": {
            "weight": evsim.Adam(0.01), "one.tau_mem": evsim.Adam(0.3),
            "one.tau_syn": evsim.SGD(30.0), "other.tau_syn": evsim.Adam(0.2),
        },
    },
    "time constants of outputs": {
        "loss": FirstSpikeCrossEntropy(tau0=4.0), "network": network("LIF", recurrent=False),
        "optimizers": {"tau_mem": evsim.Adam(0.3), "tau_syn": evsim.SGD(30.0)},
    },
    "everything": {
        "optimizers": {
            "weight": evsim.Adam(
                0.05, schedule=evsim.schedules.EaseIn(0.1, 1.3), weight_decay=0.1, clip=0.02
            ),
            "delay": evsim.SGD(30.0, momentum=0.9, decay=0.9),
            "input->output.delay": None,
            "threshold": evsim.SGD(2.0),
        },
        "projections": {"threshold": (0.8, 1.2), "input->hidden.delay": (1.0, 7.0)},
        "delay_max": 50.0,
        "dropout": {"input": 0.2, "hidden": 0.3},
        "regularisers": [evsim.RateRegulariser("hidden", 0.02, target=2.0)],
        "lambda_limit": 2e-3,
        "augmentation": [Shift(2), Blend(8, 0.8, time_step=1.0)],
        "silent_lift": 0.01,
        "validation": data(4, seed=1),
        "data": data(late=10.0),
    },
    "blends that are shifted": {
        "augmentation": [
            Blend(20, 0.6, same_group=True, keep_originals=False), Shift(2, "uniform")
        ],
        "dropout": {"hidden": 0.5},
        "optimizers": {"weight": evsim.SGD(0.3)},
        "data": data(20, late=5.0),
    },
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_epochs_on_the_device_are_those_of_the_host(gpu, monkeypatch, name):
    found, expected = fit(**RUNS[name]), by_batch(monkeypatch, **RUNS[name])
    assert_same(found, expected, 1e-9)
    assert expected.history[0].smallest_drive is not None  # there are spikes
    if name == "everything":
        last = expected.history[-1]
        counted = last.limited_spikes, last.dropped_spikes, last.spikes_lost
        assert min(*counted, last.arrivals_after_end, sum(last.clipped_steps.values())) > 0


def test_outputs_of_true_and_other_classes_are_silent_in_samples_with_spikes(gpu):
    given = data()
    given = given[np.diff(given.spikes.offsets) > 5]
    for name in ("first spikes", "differences of first spikes"):
        engine = Grid(0.5, device="cuda", precision="float64")
        run = evsim.simulate(RUNS[name]["network"], given.spikes, DURATION, engine=engine)
        silent = np.isinf(run.first_spike("output"))
        true = silent[np.arange(len(given)), given.labels]
        assert 0 < true.sum() < len(given)
        assert true.sum() < silent.sum() < silent.size


@pytest.mark.parametrize("name", ["means of integrators", "first spikes", "everything"])
def test_in_single_precision_they_differ_by_its_rounding(gpu, monkeypatch, name):
    changes = {**RUNS[name], "precision": "float32", "epochs": 1}
    found, expected = fit(**changes), by_batch(monkeypatch, **changes)
    assert_same(found, expected, 2e-4)


@needs_compiler
@pytest.mark.parametrize("name", ["everything", "time constants of outputs"])
def test_no_order_of_threads_changes_a_bit_and_none_race(monkeypatch, name):
    results = []
    for seed, races in ((0, False), (5, False), (6, True)):
        cuda_on_cpu.install(monkeypatch, seed=seed, races=races)
        changes = {**RUNS[name], "epochs": 1, "data": data(7, late=10.0), "validation": None}
        results.append(fit(**changes, precision="float32"))
    for result in results[1:]:
        for one, other in zip(result.history, results[0].history, strict=True):
            assert replace(one, seconds=0.0) == replace(other, seconds=0.0)
        for parameter, values in results[0].last_network.parameters.items():
            np.testing.assert_array_equal(result.last_network.parameters[parameter], values)


@needs_compiler
def test_the_host_waits_once_per_epoch_whatever_the_number_of_batches(pretended, monkeypatch):
    downloads = []
    get = pretended.ndarray.get
    monkeypatch.setattr(
        pretended.ndarray, "get", lambda self: downloads.append(self.nbytes) or get(self)
    )
    monkeypatch.setattr(CudaDevice, "simulate", None)  # what a batch through the host would call
    counts = []
    for batch_size in (1, 13):
        downloads.clear()
        fit(epochs=1, batch_size=batch_size)
        counts.append(len(downloads))
    assert counts[0] == counts[1] > 0


def test_a_run_goes_on_from_its_checkpoint_to_the_same_bits(gpu, tmp_path):
    def stop(state):
        raise evsim.training.StopTraining("enough")

    changes = {**RUNS["everything"], "precision": "float32"}
    whole = fit(**changes)
    fit(**changes, run_folder=tmp_path, callbacks=[stop])
    resumed = fit(**changes, run_folder=tmp_path, resume=True)
    for name, values in whole.last_network.parameters.items():
        np.testing.assert_array_equal(resumed.last_network.parameters[name], values)


# -- coefficients of units ---------------------------------------------------------------


def test_coefficients_of_trained_time_constants_are_those_of_a_layout(gpu):
    tau_mem, tau_syn = np.array([20.0, 5.0, 5.0, 0.3, 9.0]), np.array([5.0, 5.0, 20.0, 7.0, 0.1])
    hidden = evsim.LIF("hidden", 5, tau_mem=tau_mem, tau_syn=tau_syn, threshold=np.arange(1.0, 6.0))
    populations = [evsim.Input("input", UNITS), evsim.LIF("other", 2), hidden]
    connections = [
        evsim.Connection("input", "hidden", np.ones((5, UNITS))),
        evsim.Connection("hidden", "other", np.ones((2, 5))),
        evsim.Connection("other", "hidden", np.ones((5, 2))),
    ]
    net = evsim.Network(populations, connections)
    optimizers = {f"hidden.{kind}": evsim.Adam(0.1) for kind in ("threshold", "tau_mem", "tau_syn")}
    task = Task(
        net, data(), None, TimeInvariantMSE(), DURATION, optimizers, dict.fromkeys(optimizers, ()),
        {}, {}, (), np.inf, (), None, "loss", 5, 5, Grid(),
    )  # fmt: skip
    trainer = ResidentTrainer(task, 0.5, np.float64)
    arrays = trainer.simulated.coefficients[0], trainer.simulated.time_constant_slopes[0]
    expected = [array.get() for array in arrays]
    trained = [
        TrainedParameter(name, net.parameters[name], own) for name, own in optimizers.items()
    ]
    for array in arrays:
        array[:, :] = array * 1.5
    trainer.trained.upload(trained, [dict.fromkeys(optimizers, 0.1)])
    columns = slice(2, 7)
    np.testing.assert_allclose(arrays[0].get()[:, columns], expected[0][:, columns], rtol=1e-14)
    np.testing.assert_allclose(arrays[1].get(), expected[1], rtol=1e-13)


# -- batches ------------------------------------------------------------------------------

AUGMENTATIONS = [
    [],
    [Shift(3)],
    [Blend(20, 0.7)],
    [Shift(3), Blend(time_step=1.0)],
    [Blend(same_group=True), Shift(2, "uniform")],
    [Shift(2), Shift(4), Blend(25, keep_originals=False), Shift(3), Shift(1)],
    [Shift(4 * UNITS)],
]


@pytest.mark.parametrize("augmentation", AUGMENTATIONS, ids=str)
def test_the_batches_of_the_device_are_those_of_the_host(gpu, augmentation):
    rng = np.random.default_rng(2)
    counts, batch = rng.integers(0, 40, 30), 7
    events = rng.uniform(0, 1.1 * DURATION, counts.sum()), rng.integers(0, UNITS, counts.sum())
    spikes = evsim.SpikeTrains.from_events(
        *events, np.repeat(np.arange(30), counts), batch_size=30, unit_count=UNITS
    )
    own = evsim.Dataset(spikes, rng.integers(0, 2, 30), rng.integers(0, 3, 30))
    populations = [evsim.LIF("hidden", 2), evsim.Input("input", UNITS), evsim.LI("output", 2)]
    connection = evsim.Connection("input", "output", np.ones((2, UNITS)))
    net = evsim.Network(populations, [connection])
    task = Task(
        net, own, None, CrossEntropy(), DURATION, {}, {}, {}, {}, (), np.inf,
        tuple(augmentation), None, "loss", batch, 5, Grid(),
    )  # fmt: skip
    layout = GridLayout.of(net, DURATION, 1.0, np.float32)
    resident = TrainingData(Kernels(gpu, np.float32, cuda_kernels.TRAINING_FILES), layout, task)
    for epoch in (1, 2):
        host, host_lost = task.epoch_data(epoch)
        augmented, order = resident.augmented(epoch), task.order(epoch, len(host))
        np.testing.assert_array_equal(augmented.labels, host.labels)
        np.testing.assert_array_equal(augmented.groups, host.groups)
        inputs, lost = resident.upload(augmented, order, None), gpu.zeros(1, np.uint64)
        for first in range(0, len(host), batch):
            samples = slice(first, min(first + batch, len(host)))
            made = resident.make_batch(inputs, samples, lost)
            expected = grid_inputs(layout, {"input": host[order[samples]].spikes})
            np.testing.assert_array_equal(made.start.get(), expected.start)
            np.testing.assert_array_equal(made.step.get()[: expected.step.size], expected.step)
        assert augmented.lost + int(lost.get()[0]) == host_lost


# -- what goes back to the host -----------------------------------------------------------


def two_inputs():
    inputs = [evsim.Input(name, UNITS) for name in ("left", "right")]
    connections = [
        evsim.Connection(name, "output", np.ones((CLASSES, UNITS))) for name in ("left", "right")
    ]
    spikes = data().spikes
    return {
        "network": evsim.Network([*inputs, evsim.LI("output", CLASSES)], connections),
        "data": evsim.Dataset({"left": spikes, "right": spikes}, data().labels),
        "optimizers": {"weight": evsim.Adam(0.1)},
    }


def sparse():
    weight = csr_array(np.eye(CLASSES, UNITS))
    populations = [evsim.Input("input", UNITS), evsim.LI("output", CLASSES)]
    network = evsim.Network(populations, [evsim.Connection("input", "output", weight)])
    return {"network": network, "optimizers": {"weight": evsim.Adam(0.1)}}


def with_voltages(trained, population):
    """One parameter in training, or one kind; and a population in place of another."""
    default = network()
    populations = [population if p.name == population.name else p for p in default.populations]
    return {
        "network": evsim.Network(populations, default.connections),
        "optimizers": {trained: evsim.SGD(1e-3)},
    }


OBSTACLES = [
    (two_inputs(), "the network has 2 inputs"),
    (sparse(), "the connection 'input->output' is sparse"),
    ({"loss": CrossEntropy(Mean("sigmoid"))}, "the mean is weighted by 'sigmoid'"),
    ({"loss": CrossEntropy(label_smoothing=0.1)}, "the labels are smoothed"),
    ({"loss": CrossEntropy(Voltage([5.0]))}, "the loss reads the voltage at one time"),
    ({"network": network("LIF")}, "the mean is of 'output', whose units are LIF"),
    ({"loss": TimeAveragedCrossEntropy()}, "the loss is TimeAveragedCrossEntropy"),
    (
        {"optimizers": {"output.tau_syn": evsim.Adam(0.1)}},
        "output.tau_syn is trained, and the loss reads a mean of 'output'",
    ),
    (
        with_voltages("hidden.threshold", evsim.LIF("hidden", HIDDEN, reset=-0.1)),
        "hidden.threshold is trained, and reset, rest or start of 'hidden' is not 0",
    ),
    (with_voltages("hidden.reset", evsim.LIF("hidden", HIDDEN)), "hidden.reset is trained"),
    (
        with_voltages("weight", evsim.LI("output", CLASSES, rest=0.1)),
        "the loss reads V of 'output', whose rest is not 0",
    ),
    ({"projections": {"weight": np.abs}}, r"input->hidden.weight is projected by a function"),
    ({"augmentation": [Thin(0.1)]}, r"spikes are augmented by Thin\(probability=0.1\)"),
    ({"augmentation": [Blend(), Blend()]}, "samples are blended twice"),
]


@pytest.mark.parametrize(("changes", "reason"), OBSTACLES)
def test_what_cannot_stay_on_the_device_says_why(gpu, monkeypatch, capsys, changes, reason):
    fit(**{"epochs": 1, **changes})
    line = "evsim: this run goes batch by batch through the host: "
    assert re.fullmatch(f"{line}{reason}\n", capsys.readouterr().err)


# -- what ends training -------------------------------------------------------------------


def lone_unit(weight, delay=0.0, **changes):
    """One unit with one input and one synapse."""
    populations = [evsim.Input("input", 1), evsim.LIF("output", 1)]
    network = evsim.Network(populations, [evsim.Connection("input", "output", weight, delay)])
    spikes = evsim.SpikeTrains.from_lists([[], [(3.0, 0)], [(1.0, 0)]], units=1)
    return {
        "network": network,
        "data": evsim.Dataset(spikes, [0, 0, 0]),
        "loss": FirstSpikeCrossEntropy(alpha=1.0, tau1=10.0),
        "optimizers": {"weight": evsim.SGD(1e-3)},
        "batch_size": 2,
        "epochs": 1,
        **changes,
    }


FAILURES = {
    "a pull that overflows": lone_unit(
        5.0, loss=FirstSpikeCrossEntropy(alpha=1.0, tau1=0.01, tau0=1.0)
    ),
    "a gradient too far for a step": lone_unit(20.0, loss=FirstSpikeCrossEntropy(
        alpha=1e200, tau1=10.0)),
    "a threshold that a step takes below 0": lone_unit(
        20.0, optimizers={"threshold": evsim.SGD(1e9)}
    ),
    "a time constant that a step takes below 0": lone_unit(
        20.0, optimizers={"weight": evsim.SGD(1e-9), "tau_mem": evsim.SGD(1e9)}, batch_size=1
    ),
    "a threshold that float32 cannot hold": lone_unit(
        20.0, optimizers={"threshold": evsim.SGD(1e9)}, precision="float32", batch_size=1,
        projections={"threshold": (1e-46, 1e-46)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAILURES)
def test_failures_are_told_as_batch_by_batch(gpu, monkeypatch, name):
    with pytest.raises((ArithmeticError, ValueError, EngineError)) as expected:
        by_batch(monkeypatch, **FAILURES[name])
    with pytest.raises(type(expected.value)) as found:
        fit(**FAILURES[name])
    assert str(found.value) == str(expected.value)
    assert getattr(found.value, "__notes__", []) == getattr(expected.value, "__notes__", [])


def test_a_current_that_overflows_names_its_place(gpu, monkeypatch):
    spikes = evsim.SpikeTrains.from_lists([[], [(1.0, 0)] * 9, [(2.0, 0)]], units=1)
    changes = lone_unit(3e38, precision="float32", data=evsim.Dataset(spikes, [0, 0, 0]))
    why = "its current is no longer finite"
    with pytest.raises(EngineError, match=rf"sample \d, unit 0 of 'output': {why}"):
        fit(**changes)
    # The host says the same, and when it is.
    monkeypatch.setattr(Grid, "epoch_trainer", lambda self, task: None)
    with pytest.raises(EngineError, match=rf"sample \d, unit 0 of 'output', at 1 ms: {why}"):
        fit(**changes)


def test_a_readout_that_overflows_names_its_place(gpu, monkeypatch):
    populations = [evsim.Input("input", UNITS), evsim.LI("output", CLASSES)]
    weight = np.full((CLASSES, UNITS), 1e38)
    net = evsim.Network(populations, [evsim.Connection("input", "output", weight)])
    changes = {"network": net, "precision": "float32", "optimizers": {"weight": evsim.Adam(0.1)}}
    with pytest.raises(EngineError, match=r"sample \d, unit 0 of 'output': Mean is no finite"):
        fit(**changes)
    # The host says the same, and which number it is.
    monkeypatch.setattr(Grid, "epoch_trainer", lambda self, task: None)
    with pytest.raises(EngineError, match="at [0-9.]+ ms: Mean is (nan|-?inf);"):
        fit(**changes)


def test_augmentation_that_leaves_nothing_is_refused(gpu):
    with pytest.raises(ValueError, match="leaves none of the .* spikes of the data in epoch 1"):
        fit(augmentation=[Shift(2**31 - 1)])


def test_memory_that_does_not_suffice_is_told_in_bytes(gpu):
    pool = gpu.get_default_memory_pool()
    pool.free_all_blocks()
    pool.set_limit(size=pool.used_bytes() + 4096)
    try:
        with pytest.raises(EngineError, match=r"needs about [\d.e-]+ GiB of the GPU's memory"):
            fit()
    finally:
        pool.set_limit(size=0)


# -- kernels ------------------------------------------------------------------------------


@needs_nvrtc
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_the_compiler_of_nvidia_takes_the_kernels(architecture, precision):
    source = cuda_kernels.kernel_source(cuda_kernels.TRAINING_FILES)
    options = cuda_kernels.compile_options(precision)
    compiled = compile_kernels(source, options, architecture)
    assert compiled.warnings == ""
    assert all(each.spilled == 0 for each in compiled.resources.values())
