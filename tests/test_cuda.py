"""The CUDA part of the grid engine against its CPU part.

Without a GPU the kernels run in an emulator on the CPU (see ``cuda_on_cpu``), and NVIDIA's compiler
checks that they compile.  With a GPU the same tests run there, too.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import cuda_on_cpu
import numpy as np
import pytest
from cuda_on_cpu import needs_compiler
from networks import KINDS, Case, random_case, random_trains, tied_case
from nvrtc import compile_kernels, needs_nvrtc

import evsim
from evsim.engines.pieces import Share
from evsim.engines.protocol import EngineError
from evsim.network.dropout import Dropout
from evsim_gpu import Grid
from evsim_gpu.cpu.device import CpuDevice
from evsim_gpu.cuda import launching as cuda_kernels
from evsim_gpu.cuda.device import CudaDevice
from evsim_gpu.cuda.gpu import check_cuda, cuda_devices
from evsim_gpu.device import Activity, GridSources, MeanForm, Pulled
from evsim_gpu.model.layout import GridLayout
from evsim_gpu.state import grid_inputs

PRECISIONS = (np.float64, np.float32)


def real_device() -> bool:
    return bool(cuda_devices())


@pytest.fixture(params=[pytest.param("emulated", marks=needs_compiler), "device"])
def gpu(request, monkeypatch):
    """CuPy as the engine finds it: pretended, or that of a real GPU."""
    if request.param == "emulated":
        return cuda_on_cpu.install(monkeypatch, seed=1)
    if not real_device():
        pytest.skip("no GPU: CuPy is not installed, or finds none")
    return check_cuda()


@dataclass(frozen=True)
class Pair:
    """The same batch on the CPU and on a GPU."""

    layout: GridLayout
    cpu: Activity
    gpu: Activity

    @property
    def populations(self) -> list[evsim.Population]:
        return [p for p in self.layout.network.populations if not isinstance(p, evsim.Input)]

    @property
    def lif(self) -> list[str]:
        return [p.name for p in self.populations if isinstance(p, evsim.LIF)]


def simulated(case: Case, precision: Any, dt: float = 0.5, dropout: Dropout | None = None) -> Pair:
    layout = GridLayout.of(case.network, case.duration, dt, precision, dropout)
    inputs = grid_inputs(layout, case.inputs)
    keys = None if dropout is None else dropout.sample_keys(inputs.batch)
    devices = CpuDevice(1), CudaDevice(np.dtype(precision).name)
    share = Share(Grid().piece_bounds(layout.network, inputs.batch))
    return Pair(layout, *(device.simulate(layout, inputs, keys, share) for device in devices))


# -- forward: bit for bit --------------------------------------------------------------------


def random_form(rng: np.random.Generator, steps: int, units: int, precision: Any) -> MeanForm:
    parts = rng.normal(size=steps), rng.normal(size=steps), *rng.normal(size=(2, 2, units))
    return MeanForm(*(part.astype(precision) for part in parts))


def assert_same_activity(pair: Pair) -> None:
    rng = np.random.default_rng(0)
    assert pair.gpu.overflow == pair.cpu.overflow
    assert pair.gpu.arrivals() == pair.cpu.arrivals()
    for name in pair.lif:
        expected, found = pair.cpu.emissions(name), pair.gpu.emissions(name)
        for part in ("step", "unit", "threshold_excess", "dropped", "offsets"):
            one, other = getattr(found, part), getattr(expected, part)
            np.testing.assert_array_equal(one, other, strict=True)
        np.testing.assert_array_equal(pair.gpu.counts(name), pair.cpu.counts(name), strict=True)
    for population in pair.populations:
        name = population.name
        form = random_form(rng, pair.layout.steps, population.units, pair.layout.precision)
        for read in ("states", "peak"):
            found, expected = (getattr(one, read)(name) for one in (pair.gpu, pair.cpu))
            for part, other in zip(found, expected, strict=True):
                np.testing.assert_array_equal(part, other, strict=True)
        means = [one.mean(name, form) for one in (pair.gpu, pair.cpu)]
        np.testing.assert_array_equal(*means, strict=True)


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_activity_is_that_of_the_cpu_bit_for_bit(gpu, kind, seed, precision):
    case = random_case(np.random.default_rng(seed), kind, batch=3, duration=20.0)
    pair = simulated(case, precision)
    assert sum(pair.cpu.counts(name).sum() for name in pair.lif) > 0
    assert_same_activity(pair)


# -- backward: to rounding -------------------------------------------------------------------


def random_sources(
    rng: np.random.Generator, pair: Pair, population: str, what: str, **fixed: Any
) -> GridSources:
    """A loss that reads a population: ``mean``, ``peak``, ``spikes`` or ``moments``."""
    layout, real = pair.layout, pair.layout.precision
    batch, units = pair.cpu.peak(population)[0].shape
    is_lif = population in pair.lif
    count = rng.integers(0, 6, batch) if what == "moments" else np.zeros(batch, int)
    # Close together, so that some follow each other at once; the earliest and latest points too.
    edges = rng.choice([0, layout.steps // 2, layout.steps - 2], batch)
    steps = [
        np.sort(first + rng.integers(0, 3, own)) for first, own in zip(edges, count, strict=True)
    ]
    moments = rng.normal(size=(2, count.sum(), units)).astype(real)
    parts: dict[str, Any] = {}
    if what in ("mean", "peak"):
        parts["cotangents"] = rng.normal(size=(batch, units)).astype(real)
    if what == "mean":
        parts["mean"] = random_form(rng, layout.steps, units, real)
    if what == "peak":
        _, parts["peak_step"], parts["peak_share"] = pair.cpu.peak(population)
    if is_lif and what in ("mean", "spikes"):
        size = pair.cpu.emissions(population).step.size
        parts["slopes"] = rng.normal(size=size).astype(real)
    if is_lif and what == "spikes":
        silent = pair.cpu.counts(population) == 0
        parts["phantom"] = np.where(silent, rng.normal(size=silent.shape), 0.0).astype(real)
    return GridSources(
        population=population,
        moment_step=np.concatenate([np.empty(0), *steps]).astype(np.int32),
        moment_start=np.cumsum([0, *count]).astype(np.int64),
        moment_lambda_v=moments[0],
        moment_lambda_i=moments[1],
        reset_gradient=np.zeros((batch, units)),
        start_gradient=np.zeros((batch, units)),
        **({"rate_jump": np.zeros(layout.units.size, real)} | parts | fixed),
    )


def assert_close(found: np.ndarray, expected: np.ndarray, precision: Any) -> None:
    """Equal to rounding of sums: relative to the largest of them."""
    tolerance = 1e-12 if precision is np.float64 else 2e-6
    size = np.abs(expected).max(initial=0.0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * max(size, 1e-30))


OF_PULLED = ("weight", "delay", "threshold", "reset", "start", "tau_mem", "tau_syn", "events")


def assert_same_gradients(pair: Pair, sources: GridSources) -> tuple[Pulled, Pulled]:
    names = [connection.name for connection in pair.layout.network.connections]
    pulled = [
        one.pull_back(sources, delays=names, time_constants=True) for one in (pair.gpu, pair.cpu)
    ]
    found, expected = pulled
    for part in OF_PULLED:
        assert_close(getattr(found, part), getattr(expected, part), pair.layout.precision)
    assert found.limited == expected.limited
    assert found.grazing == expected.grazing
    for population in pair.populations:
        traces = [one.adjoints(population.name) for one in pulled]
        for one, other in zip(*traces, strict=True):
            assert_close(one, other, pair.layout.precision)
    return found, expected


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", KINDS[1:])
@pytest.mark.parametrize("what", ["mean", "peak", "spikes", "moments"])
def test_gradients_are_those_of_the_cpu(gpu, kind, what, precision):
    rng = np.random.default_rng(7)
    for output in ("LIF",) if what == "spikes" else ("LIF", "LI"):
        case = random_case(rng, kind, batch=3, duration=20.0, output=output)
        pair = simulated(case, precision)
        assert_same_gradients(pair, random_sources(rng, pair, "output", what))


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("population", ["silent", "output"])
def test_peaks_that_arrivals_cut_off_are_those_of_the_cpu(gpu, population, precision):
    """Behind a layer and inside a loop, with delays and without."""
    normal, delay = evsim.Normal, evsim.Uniform(0.0, 3.0)
    network = evsim.Network(
        [
            evsim.Input("input", 4),
            evsim.LIF("first", 5, refractory=2.0),
            evsim.LIF("silent", 6, threshold=5.0),
            evsim.LI("output", 6),
        ],
        [
            evsim.Connection("input", "first", normal(4.0, 1.0), delay),
            evsim.Connection("first", "first", normal(0.0, 0.5)),
            evsim.Connection("silent", "first", 0.1),
            *(
                connection
                for target in ("silent", "output")
                for connection in (
                    evsim.Connection("input", target, normal(1.5, 0.5), delay),
                    evsim.Connection("first", target, normal(-1.5, 0.5)),
                )
            ),
        ],
        seed=2,
    )
    trains = random_trains(np.random.default_rng(2), 4, 3, 20.0, 8)
    pair = simulated(Case(network, {"input": trains}, 20.0), precision)
    assert not pair.cpu.counts("silent").any()
    shares = pair.cpu.peak(population)[2]
    assert ((shares > 0.01) & (shares < 0.99)).sum() >= 4, shares
    assert_same_activity(pair)
    sources = random_sources(np.random.default_rng(3), pair, population, "peak")
    assert_same_gradients(pair, sources)


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", ["feedforward", "recurrent"])
def test_dropout_rate_jumps_and_the_limit_act_as_on_the_cpu(gpu, kind, precision):
    rng = np.random.default_rng(3)
    case = random_case(rng, kind, batch=4, duration=20.0, output="LIF", refractory=3.0)
    dropout = Dropout({"left": 0.3, "first": 0.4, "second": 0.2}, seed=5)
    pair = simulated(case, precision, dropout=dropout)
    assert pair.cpu.emissions("first").dropped.any()
    assert pair.cpu.arrivals()[2] > pair.cpu.emissions("first").dropped.sum()
    assert_same_activity(pair)
    jumps = rng.normal(size=pair.layout.units.size).astype(precision)
    sources = random_sources(rng, pair, "output", "spikes", rate_jump=jumps, limit=0.5)
    found, expected = assert_same_gradients(pair, sources)
    assert found.limited == expected.limited > 0


@pytest.mark.slow
@pytest.mark.parametrize("refractory", [0.0, 3.0, np.inf])
@pytest.mark.parametrize("kind", ["feedforward", "two populations, mutual"])
def test_refractory_periods_are_those_of_the_cpu(gpu, kind, refractory):
    rng = np.random.default_rng(11)
    case = random_case(rng, kind, batch=4, duration=50.0, output="LIF", refractory=refractory)
    pair = simulated(case, np.float64)
    assert_same_activity(pair)
    assert_same_gradients(pair, random_sources(rng, pair, "output", "mean"))


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    ("kind", "output", "refractory"),
    [
        ("feedforward", "LI", 0.0),
        ("recurrent", "LIF", 3.0),
        ("two populations, mutual", "LIF", np.inf),
    ],
)
def test_reset_rest_and_start_are_those_of_the_cpu(gpu, kind, output, refractory, precision):
    rng = np.random.default_rng(2)
    case = random_case(
        rng, kind, batch=3, duration=20.0, output=output, refractory=refractory, voltages=True
    )
    pair = simulated(case, precision)
    assert min(pair.cpu.counts(name).sum() for name in pair.lif) > 0
    assert_same_activity(pair)
    for what in ("mean", "peak", "moments"):
        _, expected = assert_same_gradients(pair, random_sources(rng, pair, "output", what))
        if what == "mean":
            assert np.count_nonzero(expected.start) > 5
            # V starts to move at the reset only after a finite refractory period.
            assert expected.reset.any() == (refractory < np.inf)


@pytest.mark.slow
def test_a_loss_may_read_a_recurrent_population(gpu):
    rng = np.random.default_rng(5)
    case = random_case(rng, "two populations, mutual", batch=3, duration=50.0, refractory=3.0)
    pair = simulated(case, np.float64)
    assert pair.cpu.counts("second").sum() > 0
    for what in ("mean", "peak", "spikes", "moments"):
        assert_same_gradients(pair, random_sources(rng, pair, "second", what))


# -- sizes -----------------------------------------------------------------------------------


def wide_case(rng: np.random.Generator, hidden: int, batch: int, duration: float) -> Case:
    """More units than a warp or a tile, and not a multiple of either; delays beyond the trial."""

    def connection(source: str, target: str, pre: int, post: int, size: float) -> Any:
        weight = rng.normal(0.15 * size, size, (post, pre)) / np.sqrt(pre)
        delay = rng.uniform(0.0, duration / 2, (post, pre))
        delay[rng.random(delay.shape) < 0.1] = 2 * duration
        return evsim.Connection(source, target, weight, delay)

    network = evsim.Network(
        [
            evsim.Input("input", 70),
            evsim.LIF("before", 37, tau_mem=10.0, tau_syn=5.0),
            evsim.LIF("hidden", hidden, tau_mem=20.0, tau_syn=5.0),
            evsim.LI("output", 5, tau_mem=20.0, tau_syn=5.0),
        ],
        [
            connection("input", "before", 70, 37, 14.0),
            connection("before", "hidden", 37, hidden, 14.0),
            connection("hidden", "hidden", hidden, hidden, 2.0),
            connection("hidden", "output", hidden, 5, 2.0),
        ],
    )
    return Case(network, {"input": random_trains(rng, 70, batch, duration, 120)}, duration)


@pytest.fixture
def narrow_windows(monkeypatch):
    """So little shared memory that a trial takes several windows."""
    monkeypatch.setattr(cuda_kernels, "ARRIVAL_WINDOW_BYTES", 32 * 8 * 7)
    monkeypatch.setattr(cuda_kernels, "GRADIENT_WINDOW_BYTES", 4 * 2 * 8 * 9)


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
def test_wide_layers_many_samples_and_several_windows(gpu, narrow_windows, precision):
    rng = np.random.default_rng(0)
    pair = simulated(wide_case(rng, 45, 18, 20.0), precision)  # two chunks of samples
    assert pair.cpu.counts("hidden").sum() > 100
    assert_same_activity(pair)
    assert_same_gradients(pair, random_sources(rng, pair, "output", "mean"))


@pytest.mark.slow
def test_more_spikes_and_steps_than_a_warp_reads_at_once(gpu):
    rng = np.random.default_rng(6)
    case = random_case(rng, "recurrent", batch=2, duration=100.0, output="LIF", refractory=0.0)
    many = {p.name: random_trains(rng, p.units, 2, 100.0, 150) for p in case.network.inputs}
    assert min(trains.counts().min() for trains in many.values()) > 32
    pair = simulated(Case(case.network, many, 100.0), np.float64, dt=0.04)
    assert pair.cpu.emissions("first").step.max() > 2048
    assert_same_activity(pair)
    assert_same_gradients(pair, random_sources(rng, pair, "output", "mean"))


@pytest.mark.slow
def test_a_recurrent_component_of_more_units_than_a_block_has_threads(gpu):
    rng = np.random.default_rng(1)
    pair = simulated(wide_case(rng, 1100, 1, 8.0), np.float32, dt=1.0)
    assert pair.cpu.counts("hidden")[0, 1024:].sum() > 0
    assert_same_activity(pair)
    assert_same_gradients(pair, random_sources(rng, pair, "output", "mean"))


@pytest.mark.slow
def test_silence_and_units_that_nobody_reaches(gpu):
    network = evsim.Network(
        [evsim.Input("input", 3), evsim.LIF("alone", 4), evsim.LIF("heard", 2), evsim.LI("out", 2)],
        [evsim.Connection("input", "heard", 1.0), evsim.Connection("heard", "out", 1.0)],
    )
    empty = evsim.SpikeTrains.from_events([], [], [], batch_size=2, unit_count=3)
    pair = simulated(Case(network, {"input": empty}, 10.0), np.float64)
    assert_same_activity(pair)
    rng = np.random.default_rng(0)
    for population in ("out", "alone", "heard"):
        what = "mean" if population == "out" else "spikes"
        assert_same_gradients(pair, random_sources(rng, pair, population, what))


@pytest.mark.slow
@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_tied_networks_are_those_of_the_cpu(gpu, precision):
    for seed in range(4):
        rng = np.random.default_rng([seed, 11])
        pair = simulated(tied_case(rng, 0.25), precision, dt=0.25)
        assert_same_activity(pair)
        assert_same_gradients(pair, random_sources(rng, pair, "output", "spikes"))


@pytest.mark.slow
def test_currents_beyond_all_numbers_are_found_where_the_cpu_finds_them(gpu):
    weight = np.array([[3.0, 3.0], [1.6e308, 1.6e308], [3.0, 3.0]])
    network = evsim.Network(
        [evsim.Input("input", 2), evsim.LIF("hidden", 3), evsim.LIF("output", 2)],
        [evsim.Connection("input", "hidden", weight), evsim.Connection("hidden", "output", 1.0)],
    )
    trains = evsim.SpikeTrains.from_events([1.0, 1.0], [0, 1], [1, 1], batch_size=2, unit_count=2)
    pair = simulated(Case(network, {"input": trains}, 10.0), np.float64)
    assert pair.gpu.overflow == pair.cpu.overflow == (1, 3, 2)


@pytest.mark.slow
def test_an_emission_that_grazes_the_threshold_is_told(gpu):
    rng = np.random.default_rng(0)
    case = random_case(rng, "recurrent", batch=3, duration=50.0, output="LI")
    pair = simulated(case, np.float64)
    emissions = pair.cpu.emissions("second")
    sample, step, unit = int(emissions.samples[0]), int(emissions.step[0]), int(emissions.unit[0])
    component, first, _ = pair.layout.place("second")
    pair.gpu.batch.current[component][sample, step, first + unit] = 0.0
    for piece in pair.cpu.pieces:
        excess = piece.spikes.threshold_excess
        excess[excess == emissions.threshold_excess[0]] = 0.0
    sources = random_sources(rng, pair, "output", "mean")
    of_all = int(pair.layout.components[component].unit_of_column[first]) + unit
    for one in (pair.gpu, pair.cpu):
        found = one.pull_back(sources, delays=(), time_constants=False)
        assert found.grazing == (sample, of_all, step)


# -- through the engine ----------------------------------------------------------------------


def test_a_loss_and_its_gradients_through_the_engine(gpu):
    rng = np.random.default_rng(1)
    case = random_case(
        rng, "recurrent", batch=3, duration=50.0, output="LI", delays="synaptic", ratio=4.0
    )
    wrt = [
        "left->first.weight", "left->first.delay", "first->first.weight", "first.threshold",
        "second.tau_mem", "output.tau_syn",
    ]  # fmt: skip
    found, expected = (
        evsim.gradient(
            case.network,
            case.inputs,
            np.arange(3) % 2,
            evsim.losses.CrossEntropy(),
            case.duration,
            wrt=wrt,
            engine=Grid(0.5, device, "float64"),
        )
        for device in ("cuda", "cpu")
    )
    assert found.loss == expected.loss
    for name in wrt:
        assert np.abs(expected.parameters[name]).max() > 0
        assert_close(found.parameters[name], expected.parameters[name], np.float64)


# -- whatever runs first ---------------------------------------------------------------------


def everything(case: Case) -> list[np.ndarray]:
    """All results of one run, forward and backward."""
    pair = simulated(case, np.float32)
    found = [pair.gpu.emissions(name).threshold_excess for name in pair.lif]
    for name in (p.name for p in pair.populations):
        found += [*pair.gpu.states(name), *pair.gpu.peak(name)]
    sources = random_sources(np.random.default_rng(0), pair, "output", "mean")
    names = [connection.name for connection in pair.layout.network.connections]
    pulled = pair.gpu.pull_back(sources, delays=names, time_constants=True)
    return [*found, *(getattr(pulled, name) for name in OF_PULLED)]


@pytest.mark.slow
@needs_compiler
def test_results_do_not_depend_on_the_order_of_threads(monkeypatch, narrow_windows):
    case = wide_case(np.random.default_rng(4), 45, 3, 10.0)
    runs = []
    for seed in (0, 1, 2):
        cuda_on_cpu.install(monkeypatch, seed=seed)
        runs.append(everything(case))
    for other in runs[1:]:
        for one, part in zip(runs[0], other, strict=True):
            np.testing.assert_array_equal(part, one)


@pytest.mark.slow
@needs_compiler
def test_no_two_threads_race(monkeypatch, narrow_windows):
    cuda_on_cpu.install(monkeypatch, seed=1, races=True)
    everything(wide_case(np.random.default_rng(4), 45, 2, 5.0))


# -- what is refused -------------------------------------------------------------------------


@pytest.mark.slow
@needs_compiler
def test_too_little_memory_is_told_with_what_is_needed(monkeypatch):
    cupy = cuda_on_cpu.install(monkeypatch)
    case = random_case(np.random.default_rng(0), "feedforward", batch=2, duration=100.0)
    pool = cupy.get_default_memory_pool()
    pool.set_limit(100_000)
    try:
        with pytest.raises(EngineError, match=r"simulating the batch needs about .* GiB .*smaller"):
            simulated(case, np.float64, dt=0.02)
    finally:
        pool.set_limit(0)


@pytest.mark.slow
@needs_compiler
def test_recurrent_populations_too_large_for_a_block_are_refused(monkeypatch):
    cupy = cuda_on_cpu.install(monkeypatch)
    kernels = cuda_kernels.Kernels(cupy, np.float64)
    with pytest.raises(
        EngineError, match="20000 units are recurrently connected, .* room for about 57"
    ):
        kernels.recurrent_block(20_000, cuda_kernels.FORWARD_CELL)


@pytest.mark.slow
def test_without_cupy_the_installation_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert cuda_devices() == []
    with pytest.raises(ImportError, match=r'pip install "evsim\[gpu\]" for CUDA 12'):
        CudaDevice()


@pytest.mark.slow
def test_without_a_gpu_there_is_none(monkeypatch):
    cupy = cuda_on_cpu.install(monkeypatch)
    assert cuda_devices() == ["CPU pretending"]
    with pytest.raises(EngineError, match="there is no GPU 1: CuPy finds 1"):
        CudaDevice(number=1)

    def no_driver() -> int:
        raise cupy.cuda.runtime.CUDARuntimeError("cudaErrorNoDevice")

    monkeypatch.setattr(cupy.cuda.runtime, "getDeviceCount", no_driver)
    assert cuda_devices() == []
    with pytest.raises(EngineError, match=r"CuPy finds no GPU \(cudaErrorNoDevice\)"):
        CudaDevice()


# -- NVIDIA's compiler -----------------------------------------------------------------------


@pytest.mark.slow
@needs_nvrtc
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_nvidias_compiler_takes_the_kernels(precision, architecture):
    options = cuda_kernels.compile_options(precision)
    compiled = compile_kernels(cuda_kernels.kernel_source(), options, architecture)
    assert compiled.warnings == ""
    for name, resources in compiled.resources.items():
        assert resources.spilled <= 64, name
    for name in ("integrate_recurrent", "adjoint_recurrent"):  # blocks of 1024 threads
        assert compiled.resources[name].registers <= 64
