"""The report on the grid engine: orders are right, claims can fail, the page is complete."""

from __future__ import annotations

import re

import convergence
import cuda_on_cpu
import grid as benchmark
import grid_correctness
import grid_report
import grid_vs_exact
import numpy as np
import parts
import pytest
from cuda_on_cpu import needs_compiler

import evsim
from evsim import losses
from evsim_gpu.cuda import gpu as cuda

pytestmark = pytest.mark.slow

STEPS = convergence.STEPS
TINY = ["--networks", "3", "--hidden", "8", "--samples", "2", "--spikes", "200", "--repeats", "1"]


# -- the order of convergence ---------------------------------------------------------------


def errors_of_order(order, rng, agreeing=STEPS.size):
    """Of a network whose errors are a power of dt, but for a factor that scatters a little."""
    agrees = np.arange(STEPS.size) >= STEPS.size - agreeing
    noise = rng.lognormal(0, 0.05, STEPS.size)
    values = np.where(agrees, rng.lognormal() * STEPS**order * noise, np.nan)
    nothing = np.zeros(STEPS.size)
    return convergence.Errors(
        agrees, 10, dict.fromkeys(convergence.QUANTITIES, values), nothing, nothing.astype(int)
    )


def findings_of_order(order, **what):
    rng = np.random.default_rng(0)
    return grid_vs_exact.Findings(
        {
            (kind, loss): [errors_of_order(order, rng, **what) for _ in range(10)]
            for kind in convergence.KINDS
            for loss in convergence.LOSSES
        }
    )


@pytest.mark.parametrize("order", [0.5, 1.0, 2.0])
def test_slopes_are_orders_of_convergence(order):
    rng = np.random.default_rng(1)
    found = [errors_of_order(order, rng, agreeing=n) for n in (3, 4, 7, 11)]
    slopes = convergence.Slopes.of(found, "loss")
    assert slopes.single.size == 3  # of the first there are too few steps
    np.testing.assert_allclose([*slopes.single, slopes.common], order, atol=0.1)
    assert slopes.interval[0] <= slopes.common <= slopes.interval[1]


def test_steps_above_another_pattern_are_not_fitted():
    """Where patterns agree again at a longer step, that is chance."""
    errors = errors_of_order(1.0, np.random.default_rng(2))
    agrees = errors.agrees.copy()
    agrees[4] = False
    errors = convergence.Errors(agrees, 10, errors.values, errors.early, errors.compared)
    assert errors.fitted.tolist() == [False] * 5 + [True] * 6


def test_the_claim_of_first_order_can_be_refuted():
    assert list(findings_of_order(1.0).refutations()) == []
    slow = list(findings_of_order(0.6).refutations())
    assert any("layered, loss: the median slope is 0.6" in line for line in slow)
    assert any("recurrent, peaks, weight: the common slope is 0.6" in line for line in slow)
    few = list(findings_of_order(1.0, agreeing=3).refutations())
    assert any("measured in" in line for line in few)


def test_spikes_are_compared_up_to_the_first_difference():
    exact = [np.array([1.0, 5.0, 9.0]), np.array([2.0, 7.0]), np.array([3.0])]
    vanished = [np.array([1.1, 9.2]), np.array([2.1, 7.3]), np.array([3.1])]
    pairs = list(zip(exact, vanished, strict=True))
    moment = convergence.first_difference(pairs)
    assert moment == 5.0
    before = convergence.spikes_before(pairs, moment)
    assert [own.size for own, _ in before] == [1, 1, 1]
    assert convergence.mean_error(before) == pytest.approx(0.1)
    appeared = [(np.array([1.0]), np.array([1.1, 4.0])), (np.empty(0), np.array([6.0]))]
    assert convergence.first_difference(appeared) == 4.0


# -- correctness ------------------------------------------------------------------------------


def test_every_loss_is_compared():
    known = {
        found
        for found in vars(losses).values()
        if isinstance(found, type) and issubclass(found, losses.Loss)
    }
    concrete = {found for found in known if not getattr(found, "__abstractmethods__", None)}
    compared = {type(loss) for own in grid_correctness.LOSSES.values() for loss in own.values()}
    assert compared == concrete - {losses.WeightedSum}  # a sum of those
    turns = list(grid_correctness.problems(48, 0))
    assert {problem.loss for problem in turns} == {
        name for own in grid_correctness.LOSSES.values() for name in own
    }
    assert {problem.kind for problem in turns} == set(grid_correctness.KINDS)


def test_a_wrong_device_is_found_out(monkeypatch):
    honest = evsim.gradient

    def wrong(network, *arguments, engine, **options):
        if engine.threads == 2:  # the one that is examined
            name = next(iter(network.parameters))
            network = network.replace({name: 1.0001 * network.parameters[name]})
        return honest(network, *arguments, engine=engine, **options)

    assert list(grid_correctness.compare_many(4, 0, "cpu").refutations()) == []
    monkeypatch.setattr(evsim, "gradient", wrong)
    lines = "\n".join(grid_correctness.compare_many(4, 0, "cpu").refutations())
    assert "float64: gradients of" in lines
    assert "off by more than 1e-05" in lines

    def very_wrong(network, inputs, *arguments, engine, **options):
        if engine.threads == 2:
            inputs = {n: trains[np.arange(len(trains))[::-1]] for n, trains in inputs.items()}
        return honest(network, inputs, *arguments, engine=engine, **options)

    monkeypatch.setattr(evsim, "gradient", very_wrong)
    lines = "\n".join(grid_correctness.compare_many(4, 0, "cpu").refutations())
    assert "float32: spikes of" in lines


def test_arrivals_are_counted_by_hand():
    data = benchmark.spoken(2, 200)
    network = benchmark.Shape(8, False, 999.0, 40.0).network()
    run = evsim.simulate(network, data.spikes, benchmark.DURATION, benchmark.Grid(1.0))
    assert benchmark.counted_arrivals(run) == run.report.arrivals
    assert run.report.arrivals_after_end > 0


# -- the page -----------------------------------------------------------------------------------


@pytest.fixture
def no_device(monkeypatch):
    monkeypatch.setattr(grid_report, "cuda_devices", list)
    monkeypatch.setattr(parts, "cuda_devices", list)


@pytest.mark.usefixtures("no_device")
def test_the_page_says_that_there_is_no_gpu(tmp_path, capsys):
    chosen = ["--parts", "correctness", "speed"]
    assert grid_report.main(["--out", str(tmp_path), *chosen, *TINY]) == 0
    page = re.sub(" +", " ", (tmp_path / "grid_report.md").read_text())
    assert "**no CUDA device was found: the figures of the GPU are missing.**" in page
    assert "| GPU | no CUDA device was found" in page
    assert "## Of first order\n\nNot measured in this report." in page
    assert "| 8 recurrent, delays of 0 to 100 ms | exact | 1 |" in page
    assert "python validation/grid_report.py --out" in page
    assert "held" in capsys.readouterr().out


@pytest.mark.usefixtures("no_device")
def test_a_part_that_fails_stops_no_other(tmp_path, monkeypatch, capsys):
    def failing(settings, part):
        part.text = "What there was before."
        raise RuntimeError("out of\ndate")

    monkeypatch.setitem(grid_report.PARTS, "correctness", ("Correct", failing))
    chosen = ["--parts", "correctness", "speed"]
    assert grid_report.main(["--out", str(tmp_path), *chosen, *TINY]) == 1
    page = re.sub(" +", " ", (tmp_path / "grid_report.md").read_text())
    assert "What there was before." in page
    assert "**Refuted:** this part failed: RuntimeError: out of date" in page
    assert "### On the processor" in page
    assert "RuntimeError" in capsys.readouterr().err


@needs_compiler
def test_the_page_with_a_gpu(tmp_path, monkeypatch):
    """Epochs are measured in ``test_on_device``."""
    cuda_on_cpu.install(monkeypatch)
    found = [
        benchmark.Epoch(shape.name, 4, 1000.0 + number, 0.5, 0.75, 1, 2**20)
        for number, shape in enumerate(benchmark.gpu_shapes(4))
    ]
    found[-1] = benchmark.Epoch("last", 4, 1000.0, note="failed: no memory", failed=True)
    monkeypatch.setattr(benchmark, "measure_gpu", lambda *_: iter(found))
    chosen = ["--parts", "correctness", "speed"]
    assert grid_report.main(["--out", str(tmp_path), *chosen, *TINY, "--epochs", "1"]) == 1
    page = re.sub(" +", " ", (tmp_path / "grid_report.md").read_text())
    assert f"| GPU | {cuda.cuda_devices()[0]} |" in page
    assert "| CuPy | 13.6.0, CUDA 12.9 |" in page
    assert "missing" not in page
    for number, epoch in enumerate(found[:-1]):
        assert f"| {epoch.network} | {1000 + number} | 0.50 | 0.75 | 125.00 |" in page
    assert "**Refuted:** last: failed: no memory" in page


@needs_compiler
def test_epochs_for_which_there_is_no_time_or_memory_say_so(monkeypatch):
    cuda_on_cpu.install(monkeypatch)
    few = {"hidden": 4, "samples": 4, "spikes": 200, "epochs": 1}
    late = list(benchmark.measure_gpu(**few, seconds=0.0))
    assert all(own.seconds is None and not own.failed for own in late)
    assert "too little time" in late[0].row()[2]

    def full(*_):
        raise MemoryError("there is\nnone")

    monkeypatch.setattr(benchmark, "train", full)
    failed = list(benchmark.measure_gpu(**few))
    assert [own.note for own in failed] == ["failed: MemoryError: there is none"] * 6
    assert all(own.failed for own in failed)
