"""evsim.torch: modules whose gradients are those of evsim, and what they refuse."""

import copy
import io
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest
from scipy.sparse import random_array

import evsim
from evsim.readouts import FirstSpike, Mean, Peak, SilentPeak, SpikeTimes, Voltage, VoltageTrace

torch = pytest.importorskip("torch")

from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402
from torch.fx.experimental.proxy_tensor import make_fx  # noqa: E402

from evsim.torch import Module, collate  # noqa: E402

KINDS = ("weight", "delay", "tau_mem", "tau_syn", "threshold", "reset", "rest")
DOUBLE = torch.float64


def layered(weight=6.0):
    """Two layers that spike."""
    return evsim.Network(
        [evsim.Input("input", 2), evsim.LIF("hidden", 3), evsim.LIF("output", 2)],
        [
            evsim.Connection("input", "hidden", evsim.Normal(weight, 0.5), evsim.Uniform(1.0, 3.0)),
            evsim.Connection("hidden", "output", evsim.Normal(weight / 2, 0.5), 1.0),
        ],
        seed=0,
    )


def recurrent():
    """A recurrent layer, with a time constant for each unit, and an output of LI units."""
    return evsim.Network(
        [evsim.Input("input", 2), evsim.LIF("hidden", 3, [15.0, 20.0, 25.0]), evsim.LI("out", 2)],
        [
            evsim.Connection("input", "hidden", evsim.Normal(6.0, 0.5), evsim.Uniform(1.0, 3.0)),
            evsim.Connection("hidden", "hidden", evsim.Normal(0.3, 0.1), evsim.Uniform(1.0, 3.0)),
            evsim.Connection("hidden", "out", evsim.Normal(1.0, 0.5), [[1.0, 2.0, 3.0]]),
        ],
        seed=0,
    )


TIMES = [[[0.5, 9.0], [3.0, 14.0]], [[2.0, np.inf], [1.0, 6.0]]]
READ = {
    "layered": (layered, [FirstSpike(), SpikeTimes(count=2, population="hidden")]),
    "recurrent": (recurrent, [Mean("exponential"), Peak(), Voltage(times=[5.5, 20.5])]),
}


def times(requires_grad=False):
    return torch.tensor(TIMES, dtype=DOUBLE, requires_grad=requires_grad)


def trains():
    return evsim.SpikeTrains.from_lists(
        [
            [(t, unit) for unit, row in enumerate(sample) for t in row if t < np.inf]
            for sample in TIMES
        ],
        units=2,
    )


def values_of(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


# -- gradients --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", READ)
def test_gradients_pass_gradcheck_for_every_parameter_and_input_times(name):
    build, readouts = READ[name]
    module = Module(build(), readouts, 40.0, KINDS)
    learned = dict(module.named_parameters())
    assert len(learned) == len(build().parameters)
    assert all(torch.isfinite(values).all() for values in module(times()))

    def run(spikes, *parameters):
        return torch.func.functional_call(
            module, dict(zip(learned, parameters, strict=True)), (spikes,)
        )

    # The times without a spike are not moved.
    here = times() < np.inf

    def run_at(moved, *parameters):
        return run(times().masked_scatter(here, moved), *parameters)

    moved = times()[here].requires_grad_()
    assert torch.autograd.gradcheck(run_at, (moved, *learned.values()), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("build", [layered, recurrent])
def test_gradients_have_the_bits_of_evsim(build):
    network = build()
    loss = {
        layered: evsim.losses.TimeInvariantMSE(),
        recurrent: evsim.losses.CrossEntropy(Mean()),
    }[build]
    expected = evsim.gradient(network, trains(), [0, 1], loss, 40.0)
    module = Module(network, loss.readout, 40.0, KINDS)
    for spikes in (trains(), times(requires_grad=True)):
        module.zero_grad()
        values = module(spikes)
        assert np.array_equal(values.detach().numpy(), expected.readout)
        _, cotangents = loss(expected.readout, np.array([0, 1]), 40.0)
        values.backward(torch.tensor(0.5 * cotangents))
        for name, gradient in expected.parameters.items():
            key = name.replace("->", "_to_").replace(".", "_")
            assert np.array_equal(getattr(module, key).grad.numpy(), gradient), name
    by_sample = times().flatten(1).argsort(dim=1, stable=True)
    found = spikes.grad.flatten(1).gather(1, by_sample)[times().flatten(1).sort().values < np.inf]
    assert np.array_equal(found.numpy(), expected.input_times)
    assert spikes.grad[1, 0, 1] == 0.0  # there is no spike


def test_torch_func_grad_is_the_same():
    module = Module(layered(), FirstSpike(), 40.0)
    spikes = times(requires_grad=True)
    (expected,) = torch.autograd.grad(module(spikes).sum(), spikes)
    assert torch.equal(torch.func.grad(lambda given: module(given).sum())(times()), expected)


def test_only_what_requires_a_gradient_gets_one():
    module = Module(layered(), FirstSpike(), 40.0, ("weight", "hidden.tau_mem"))
    assert [name for name, _ in module.named_parameters()] == [
        "input_to_hidden_weight", "hidden_to_output_weight", "hidden_tau_mem",
    ]  # fmt: skip
    module.hidden_tau_mem.requires_grad_(False)
    module(times()).sum().backward()
    assert module.hidden_tau_mem.grad is None
    assert module.input_to_hidden_weight.grad.abs().sum() > 0
    with torch.no_grad():
        assert not module(times()).requires_grad
    fixed = Module(layered(), FirstSpike(), 40.0, learn=())
    assert list(fixed.parameters()) == []
    spikes = times(requires_grad=True)
    fixed(spikes).sum().backward()
    assert spikes.grad.abs().sum() > 0


def test_readouts_in_a_mapping_and_their_sum_of_gradients():
    readouts = {"peak": Peak(), "mean": Mean(), "hidden": FirstSpike(population="hidden")}
    module = Module(recurrent(), readouts, 40.0)
    values = module(times())
    assert list(values) == list(readouts)
    sum(part.sum() for part in values.values()).backward()
    together = module.input_to_hidden_weight.grad.clone()
    module.zero_grad()
    for name in readouts:
        module(times())[name].sum().backward()
    assert torch.allclose(module.input_to_hidden_weight.grad, together, rtol=1e-12)


def test_a_run_is_simulated_again_if_the_memory_of_its_handle_is_gone():
    module = Module(layered(), FirstSpike(), 40.0)
    (expected,) = torch.autograd.grad(module(times()).sum(), module.input_to_hidden_weight)
    with torch.autograd.graph.saved_tensors_hooks(torch.clone, lambda tensor: tensor):
        values = module(times())
    (found,) = torch.autograd.grad(values.sum(), module.input_to_hidden_weight)
    assert torch.equal(found, expected)

    with torch.autograd.graph.saved_tensors_hooks(torch.clone, lambda tensor: tensor):
        values = Module(layered(), FirstSpike(), 40.0)(times())
    values.sum().backward()  # the module is gone, and its run

    with pytest.raises(RuntimeError, match="Module was deleted before the backward pass through"):
        torch.ops.evsim.simulate([], [], "none", DOUBLE, torch.device("cpu"))


@pytest.mark.parametrize("spikes", [times, trains])
def test_tensors_of_a_module_are_not_the_memory_of_its_run(spikes):
    module = Module(layered(), FirstSpike(), 40.0)
    (expected,) = torch.autograd.grad(module(spikes()).sum(), module.input_to_hidden_weight)
    values = module(spikes())
    total = values.sum()
    values.detach().fill_(np.inf)  # the run knows by its own values that no spike is missing
    (found,) = torch.autograd.grad(total, module.input_to_hidden_weight)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("spikes", [times, trains])
def test_where_pytorch_does_not_compute_a_simulation_is_one_operator(spikes):
    module = Module(layered(), FirstSpike(), 40.0)
    graph = make_fx(lambda factor: module(spikes()) * factor)(torch.tensor(2.0, dtype=DOUBLE))
    assert "evsim.simulate.default" in {str(node.target) for node in graph.graph.nodes}
    assert torch.equal(graph(torch.tensor(3.0, dtype=DOUBLE)), 3 * module(spikes()))
    with FakeTensorMode():
        assert Module(layered(), FirstSpike(), 40.0)(spikes()).shape == (2, 2)
    assert module.to("meta")(spikes()).is_meta


def test_a_trace_before_dispatch_has_the_simulation_and_not_its_values():
    module, later = Module(layered(), FirstSpike(), 40.0), times() + 1.0
    traced = make_fx(lambda given: module(given), pre_dispatch=True)(times())
    assert torch.equal(traced(later), module(later))


@pytest.mark.parametrize("spikes", [times, trains])
def test_values_are_computed_whatever_the_default_device(spikes):
    module, given = Module(layered(), FirstSpike(), 40.0), spikes()
    expected = module(given)
    with torch.device("meta"):
        assert torch.equal(module(given), expected)


def test_several_inputs_of_both_forms():
    network = evsim.Network(
        [evsim.Input("a", 2), evsim.Input("b", 1), evsim.LI("out", 1)],
        [evsim.Connection("a", "out", 1.0, 1.0), evsim.Connection("b", "out", 2.0, 1.0)],
    )
    module = Module(network, Mean(), 20.0)
    latencies = torch.tensor([[1.0], [np.inf]], dtype=DOUBLE, requires_grad=True)
    values = module({"b": latencies, "a": trains()})
    spikes = {"a": trains(), "b": evsim.SpikeTrains.from_lists([[(1.0, 0)], []], units=1)}
    run = evsim.simulate(network, spikes, 20.0)
    assert np.array_equal(values.detach().numpy(), run.mean("out"))
    values.sum().backward()
    expected = run.pull_back(Mean(), np.ones((2, 1))).input_times["b"]
    assert latencies.grad.ravel().tolist() == [*expected, 0.0]


def test_sparse_parameters_are_their_stored_entries():
    weight = random_array((3, 2), density=0.7, random_state=1, format="csr")
    weight.data += 5.0
    network = evsim.Network(
        [evsim.Input("input", 2), evsim.LI("out", 3)],
        [evsim.Connection("input", "out", weight, weight * 0.2)],
    )
    module = Module(network, Mean(), 30.0)
    assert module.input_to_out_weight.shape == module.input_to_out_delay.shape == (weight.nnz,)
    module(times()).sum().backward()
    expected = evsim.simulate(network, trains(), 30.0).pull_back(Mean(), np.ones((2, 3)))
    for kind in ("weight", "delay"):
        gradient = getattr(module, f"input_to_out_{kind}").grad
        assert np.array_equal(gradient.numpy(), expected.parameters[f"input->out.{kind}"].data)


# -- missing spikes ---------------------------------------------------------------------------


def test_infinite_times_have_no_gradient_even_if_the_loss_makes_nan_of_them():
    network = layered().replace({"hidden->output.weight": [[0.0, 0.0, 0.0], [3.0, 3.0, 3.0]]})
    module = Module(network, FirstSpike(), 40.0)
    values = module(times())
    assert torch.isinf(values[:, 0]).all()
    assert torch.isfinite(values[:, 1]).all()
    # inf - inf, whose derivative is finite, and inf * 0, whose derivative is NaN.
    (torch.nan_to_num(values[:, 0] - values[:, 0].detach()) + values[:, 1]).sum().backward()
    expected = [p.grad.clone() for p in module.parameters()]
    module.zero_grad()
    values = module(times())
    cotangents = torch.full_like(values, np.nan)
    cotangents[:, 1] = 1.0
    values.backward(cotangents)
    for parameter, wanted in zip(module.parameters(), expected, strict=True):
        assert torch.equal(parameter.grad, wanted)
        assert torch.isfinite(parameter.grad).all()
    assert expected[0].abs().sum() > 0


def test_only_missing_spike_times_are_at_the_end():
    readouts = [FirstSpike(), SilentPeak(population="hidden")]
    module = Module(layered(), readouts, 40.0, missing="end")
    first, peak = module(evsim.SpikeTrains.from_latencies([[1.0, 2.0], [np.inf, np.inf]]))
    assert (first[1] == 40.0).all()
    assert (peak[0] == np.inf).all()
    assert (peak[1] == -1.0).all()


def test_missing_spikes_at_the_end_make_phantom_spikes():
    network = layered().replace({"hidden->output.weight": np.full((2, 3), 0.1)})
    module = Module(network, FirstSpike(), 40.0, missing="end")
    values = module(times())
    assert values.tolist() == [[40.0, 40.0], [40.0, 40.0]]
    values.sum().backward()
    expected = evsim.simulate(network, trains(), 40.0).pull_back(FirstSpike(), np.ones((2, 2)))
    gradient = module.hidden_to_output_weight.grad.numpy()
    assert np.array_equal(gradient, expected.parameters["hidden->output.weight"])
    assert np.abs(gradient).sum() > 0


def test_a_gradient_that_is_not_finite_elsewhere_is_refused():
    values = Module(layered(), FirstSpike(), 40.0)(times())
    with pytest.raises(
        FloatingPointError,
        match=r"the gradient that reaches FirstSpike.* at \(0, 0\) is nan, where its value is "
        r".*missing=\"end\" gives finite times",
    ):
        (values * np.nan).sum().backward()


# -- float32 ----------------------------------------------------------------------------------


def test_float32_is_rounded_float64_and_says_so_once():
    exact = Module(layered(), FirstSpike(), 40.0)
    module = Module(layered(), FirstSpike(), 40.0, dtype=torch.float32)
    exact.load_state_dict(module.state_dict())
    spikes = times().float().requires_grad_()
    with pytest.warns(
        UserWarning, match="evsim computes in float64: parameters, values and grad"
    ) as told:
        values = module(spikes)
    assert [each.filename for each in told] == [__file__]
    module(spikes)
    assert values.dtype == torch.float32
    assert torch.equal(values, exact(spikes.double()).float())
    values.sum().backward()
    exact(times()).sum().backward()
    assert module.input_to_hidden_weight.grad.dtype == spikes.grad.dtype == torch.float32
    assert torch.equal(
        module.input_to_hidden_weight.grad, exact.input_to_hidden_weight.grad.float()
    )
    assert module.state_dict()["hidden_tau_mem"].dtype == DOUBLE  # it is not learned
    with pytest.warns(UserWarning, match="evsim computes in float64"):
        assert exact.float()(times()).dtype == torch.float32


# -- state and copies -------------------------------------------------------------------------


def test_a_batch_can_be_empty():
    read = Module(layered(), FirstSpike(), 40.0)
    spikes = torch.empty(0, 2, dtype=torch.float64, requires_grad=True)
    values = read(spikes)
    values.sum().backward()
    assert values.shape == (0, 2)
    assert spikes.grad.shape == (0, 2)
    assert all(parameter.grad.eq(0).all() for parameter in read.parameters())


def test_layers_around_it_can_compute_in_bfloat16():
    read = Module(layered(), FirstSpike(), 40.0, missing="end")
    before = torch.nn.Linear(2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        latencies = before(torch.ones(3, 2)).square()
        values = read(latencies)
        assert latencies.dtype == torch.bfloat16
    values.sum().backward()
    assert torch.equal(values, read(latencies.double()))
    assert before.weight.grad.isfinite().all()
    assert before.weight.grad.ne(0).any()


def test_state_goes_to_files_of_evsim_and_back(tmp_path):
    module = Module(recurrent(), Peak(), 40.0, KINDS)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.25
    evsim.storage.save_network(tmp_path / "network", module.network)
    other = Module(recurrent(), Peak(), 40.0, ("weight",))
    assert not torch.equal(other(times()), module(times()))
    other.set_network(evsim.storage.load_network(tmp_path / "network"))
    assert torch.equal(other(times()), module(times()))
    # And by a state, which has every value, learned or not.
    assert not any("." in key for key in module.state_dict())
    third = Module(recurrent(), Peak(), 40.0, learn=())
    third.load_state_dict(module.state_dict())
    assert torch.equal(third(times()), module(times()))
    for name, value in module.network.parameters.items():
        assert np.array_equal(third.network.parameters[name], value), name
    state = module.state_dict()
    state["hidden_tau_mem"] = torch.ones(7)
    with pytest.raises(RuntimeError, match=r"hidden_tau_mem has shape \(7,\), and \(3,\) in this"):
        third.load_state_dict(state)
    del state["hidden_tau_mem"]
    with pytest.raises(RuntimeError, match="Missing key.*hidden_tau_mem"):
        third.load_state_dict(state)
    third.load_state_dict(state, strict=False)
    assert torch.equal(third(times()), module(times()))


def test_copies_and_pickles_are_modules_of_their_own():
    module = Module(layered(), FirstSpike(), 40.0)
    buffer = io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    before = module(times())
    for other in (copy.deepcopy(module), torch.load(buffer, weights_only=False)):
        assert torch.equal(other(times()), before)
        with torch.no_grad():
            other.input_to_hidden_weight *= 1.5
        assert not torch.equal(other(times()), before)
        assert torch.equal(module(times()), before)
        other(times()).sum().backward()
        assert module.input_to_hidden_weight.grad is None
        assert repr(other) == repr(module)
    assert "input 2 -> hidden 3 -> output 2, 40 ms, FirstSpike" in repr(module)


def test_layers_among_others_in_one_model():
    first = Module(layered(), FirstSpike(), 40.0, dtype=DOUBLE, missing="end")
    second = Module(recurrent(), Peak(), 60.0)
    model = torch.nn.Sequential(first, second, torch.nn.Linear(2, 1, dtype=DOUBLE))
    model(times()).sum().backward()
    for name, parameter in model.named_parameters():
        assert torch.isfinite(parameter.grad).all()
        assert parameter.grad.abs().sum() > 0, name


# -- torch.compile ----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # of torch.compile, in itself
def test_compiled_modules_have_the_same_results():
    module = Module(recurrent(), [Peak(), FirstSpike(population="hidden")], 40.0)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    parameters = list(module.parameters())
    for spikes in (times(), times()[:1], trains()):
        results = [run(spikes) for run in (module, compiled)]
        gradients = [torch.autograd.grad(peak.sum(), parameters) for peak, _ in results]
        assert torch.equal(results[0][0], results[1][0])
        assert torch.equal(results[0][1], results[1][1])
        assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


# -- training ---------------------------------------------------------------------------------


def test_bounds_hold_after_every_step_and_a_forgotten_projection_is_refused():
    bounds = {"tau_mem": (5.0, 60.0), "hidden->output.weight": lambda values: np.abs(values)}
    learn = ("weight", "delay", "tau_mem")
    module = Module(
        layered(), FirstSpike(), 40.0, learn, missing="end", projections=bounds, delay_max=3.0
    )
    optimizer = torch.optim.Adam(module.parameters(), lr=5.0)
    handle, reached = module.keep_in_bounds(optimizer), set()
    for sign in (1.0, -1.0):
        (sign * module(times()).sum()).backward()
        optimizer.step()
        delay = module.input_to_hidden_delay.detach()
        assert delay.min() >= 0.0
        assert delay.max() <= 3.0
        assert module.hidden_tau_mem >= 5.0
        assert (module.hidden_to_output_weight >= 0.0).all()
        # Steps go against the moment, and none points beyond a bound any more.
        moment = optimizer.state[module.input_to_hidden_delay]["exp_avg"]
        assert (moment[delay == 0.0] <= 0).all()
        assert (moment[delay == 3.0] >= 0).all()
        reached |= set(delay.unique().tolist())
        module(times())
    assert {0.0, 3.0} <= reached
    handle.remove()
    with torch.no_grad():
        module.input_to_hidden_delay[1, 0] = -0.5
    message = (
        r"input->hidden.delay\[1, 0\] = -0.5 ms: it lies outside its bounds \[0, 3\]: call "
        r"module.keep_in_bounds\(optimizer\) once, or module.project_\(\) after each"
    )
    with pytest.raises(ValueError, match=message):
        module(times())
    module.project_()
    assert module.input_to_hidden_delay[1, 0] == 0.0
    module(times())


def test_a_time_constant_without_bounds_is_refused_at_0():
    module = Module(layered(), FirstSpike(), 40.0, ("tau_mem",))
    with torch.no_grad():
        module.hidden_tau_mem.fill_(-1.0)
    message = r"hidden.tau_mem = -1 ms: it must stay > 0: give it bounds .* projections=\{'tau_mem'"
    with pytest.raises(ValueError, match=message):
        module(times())


@pytest.mark.filterwarnings("ignore:evsim computes in float64")
def test_bounds_are_rounded_as_float32_rounds_the_values():
    bounds = {"threshold": (0.3, 1.1)}
    module = Module(
        layered(), FirstSpike(), 40.0, ["threshold"], dtype=torch.float32, projections=bounds
    )
    for value in (0.0, 9.0):
        with torch.no_grad():
            module.hidden_threshold.fill_(value)
        module.project_()
        module(times())


def test_adam_takes_the_steps_of_evsim():
    """20 steps, of weights and of delays that start at their bound, give the same losses."""
    generator = np.random.default_rng(0)
    latencies = generator.uniform(0.0, 10.0, (60, 2))
    labels = (latencies[:, 0] > latencies[:, 1]).astype(int)
    network = layered().replace({"input->hidden.delay": np.zeros((3, 2))})
    loss = evsim.losses.TimeInvariantMSE(delta=2.0)
    fitted = evsim.fit(
        network, (evsim.SpikeTrains.from_latencies(latencies), labels), loss, duration=40.0,
        optimizers={"weight": evsim.Adam(0.05), "input->hidden.delay": evsim.Adam(0.3)},
        epochs=20, batch_size=60, delay_max=5.0, progress=False,
    )  # fmt: skip
    learn = ("weight", "input->hidden.delay")
    module = Module(network, FirstSpike(), 40.0, learn, missing="end", delay_max=5.0)
    optimizer = torch.optim.Adam(
        [
            {"params": module.parameters_of("weight"), "lr": 0.05},
            {"params": module.parameters_of("delay"), "lr": 0.3},
        ]
    )
    module.keep_in_bounds(optimizer)
    classes, losses = torch.tensor(labels), []
    for _ in range(20):
        optimizer.zero_grad()
        value = time_invariant_mse(module(torch.tensor(latencies)), classes)
        value.backward()
        optimizer.step()
        losses.append(value.item())
    assert losses == pytest.approx([record.loss for record in fitted.history], rel=1e-9)
    assert losses[-1] < 0.7 * losses[0]
    for name, value in fitted.last_network.parameters.items():
        np.testing.assert_allclose(module.network.parameters[name], value, rtol=1e-8, atol=1e-10)
    assert (module.input_to_hidden_delay == 0).any()
    assert (module.input_to_hidden_delay > 0).any()


def time_invariant_mse(values, labels, delta=2.0, duration=40.0):
    """evsim.losses.TimeInvariantMSE in PyTorch, for times with missing="end"."""
    others = torch.nn.functional.one_hot(labels, values.shape[1]) == 0
    silent = (values == duration) & others
    values = torch.where(silent, values.detach(), values)
    errors = values - values.gather(1, labels[:, None]) - delta
    return 0.5 * (errors.square() * others).sum(dim=1).mean()


class Samples(torch.utils.data.Dataset):
    """Samples as mappings, with a number that is not from evsim."""

    def __init__(self, spikes):
        self.spikes = spikes

    def __len__(self):
        return len(self.spikes)

    def __getitem__(self, index):
        return {"spikes": self.spikes[index], "label": (index % 2, 0.5 * index)}


@pytest.mark.parametrize("workers", [0, 2])
def test_a_data_loader_joins_ragged_samples(workers):
    spikes = evsim.SpikeTrains.concatenate([trains()] * 3)
    dataset = evsim.Dataset(spikes, np.arange(6) % 2)
    loader = torch.utils.data.DataLoader(
        Samples(spikes), batch_size=4, collate_fn=collate, num_workers=workers
    )
    first, last = loader
    assert first["spikes"] == spikes[:4]
    assert last["spikes"] == spikes[4:]
    label, number = last["label"]
    assert (label.tolist(), number.tolist()) == ([0, 1], [2.0, 2.5])
    if not workers:
        joined, labels = next(iter(torch.utils.data.DataLoader(dataset, 6, collate_fn=collate)))
        assert joined == spikes
        assert labels.tolist() == dataset.labels.tolist()
        assert Module(layered(), FirstSpike(), 40.0)(joined).shape == (6, 2)


# -- refusals ---------------------------------------------------------------------------------


def module(**options):
    return Module(**{"network": layered(), "readout": FirstSpike(), "duration": 40.0, **options})


REFUSED = {
    "network": (lambda: module(network=3), "network is of type int: give an evsim.Network"),
    "duration": (lambda: module(duration=-1.0), "duration = -1.0 ms: it must be finite and > 0"),
    "readout": (lambda: module(readout="peak"), "readout = 'peak': give a readout such as"),
    "no readout": (lambda: module(readout=[]), r"readout = \[\] is empty: give a readout such"),
    "a readout twice": (
        lambda: module(readout={"a": Mean(), "b": Mean()}),
        "has one readout twice: give it once",
    ),
    "readout of LI": (lambda: module(readout=Peak()), "Peak reads .* LI|'output'"),
    "a readout without values": (
        lambda: module(readout=VoltageTrace()),
        r"VoltageTrace is for losses that integrate, and has no values: give Voltage\(times\)",
    ),
    "late readout": (
        lambda: module(readout=Voltage(times=[50.0])),
        "the voltage is known within the trial, 0 to 40 ms",
    ),
    "learn": (lambda: module(learn="weight"), r"learn = 'weight': give a list of kinds or names"),
    "learn what": (
        lambda: module(learn=["weigth"]),
        "there is no parameter 'weigth'; did you mean 'weight'",
    ),
    "dtype": (lambda: module(dtype=torch.float16), "dtype = torch.float16: give torch.float64 or"),
    "missing": (lambda: module(missing="nan"), "missing = 'nan': choose one of infinite, end"),
    "engine": (lambda: module(engine="brian"), "there is no engine 'brian'"),
    "delay_max": (
        lambda: module(learn=["weight"], delay_max=3.0),
        "delay_max = 3.0 would have no effect, as learn names no delay",
    ),
    "keyword": (lambda: module(lr=0.1), "Module has no argument 'lr'"),
    "names": (
        lambda: module(
            network=evsim.Network(
                [evsim.Input("input", 1), evsim.LIF("output", 1)],
                [
                    evsim.Connection("input", "output", 1.0),
                    evsim.Connection("input", "output", 1.0, name="input_to_output"),
                ],
            )
        ),
        "input->output.weight and input_to_output.weight would both be called input_to_output_wei",
    ),
    "unknown parameters": (
        lambda: module().parameters_of("tau_mem"),
        "there is no learned parameter 'tau_mem'; there are weight, delay, input->hidden.weight",
    ),
    "another network": (
        lambda: module().set_network(recurrent()),
        "the networks differ in hidden->output.weight, which only one of them has",
    ),
    "another shape": (
        lambda: module().set_network(layered().replace({"input->hidden.delay": 1.0})),
        r"input->hidden.delay has other shapes or synapses in the two networks, \(3, 2\) here and",
    ),
    "no optimizer": (
        lambda: module().keep_in_bounds(0.1),
        "optimizer = 0.1: give an optimiser of torch.optim",
    ),
    "another optimizer": (
        lambda: module().keep_in_bounds(torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), 1.0)),
        "optimizer holds no parameter of this module: build it from module.parameters",
    ),
    "projection": (
        lambda: module(projections={"weight": lambda values: values.ravel()}).project_(),
        r"the projection of input->hidden.weight turned values of shape \(3, 2\) into \(6,\)",
    ),
    "spikes": (
        lambda: module()([[1.0, 2.0]]),
        "spikes of 'input' are of type list: give SpikeTrains, or a tensor of spike times",
    ),
    "integers": (
        lambda: module()(torch.ones(1, 2, dtype=torch.int64)),
        "spikes of 'input' are a tensor of torch.int64: give spike times in ms as floats",
    ),
    "shape": (
        lambda: module()(torch.ones(2, 5)),
        r"spikes of 'input' have shape \(2, 5\): give spike times in ms of shape .* with 2 units",
    ),
    "units": (
        lambda: module()(evsim.SpikeTrains.from_lists([[]], units=5)),
        "the input 'input' has 2 units but its spike trains have 5",
    ),
    "NaN": (
        lambda: module()(torch.tensor([[1.0, np.nan]])),
        r"spikes of 'input' at \(0, 1\) are nan ms: spike times must be >= 0, and infinity where",
    ),
    "unknown input": (
        lambda: module()({"inputs": times()}),
        "there is no input 'inputs'; did you mean 'input'",
    ),
    "no input": (lambda: module()({}), "no spikes are given for the input 'input'"),
    "two inputs": (
        lambda: Module(
            evsim.Network(
                [evsim.Input("a", 1), evsim.Input("b", 1), evsim.LI("c", 1)],
                [evsim.Connection("a", "c", 1.0), evsim.Connection("b", "c", 1.0)],
            ),
            Mean(),
            10.0,
        )(times()),
        "the network has the inputs a, b: give a mapping from each name to its spikes",
    ),
    "empty batch": (lambda: collate([]), "samples is empty: a batch has at least one sample"),
    "a batch as a sample": (
        lambda: collate([trains()]),
        r"samples\[0\] = SpikeTrains\(2 samples.* holds 2 samples: a sample of a DataLoader",
    ),
    "other entries": (
        lambda: collate([{"x": 1, "y": 2}, {"x": 1}]),
        r"samples\[0\] and samples\[1\] differ in their entries, {'x': 1, 'y': 2} and {'x': 1}:",
    ),
    "fewer entries": (
        lambda: collate([(1, 2), (1,)]),
        r"samples\[1\] differ in their .* \(1,\): give",
    ),
    "no samples": (lambda: collate(3), "samples = 3: give a list of samples"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_refuses(name):
    call, message = REFUSED[name]
    with pytest.raises((TypeError, ValueError), match=message):
        call()


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*")
def test_second_derivatives_vmap_and_forward_mode_are_refused():
    read = Module(layered(), FirstSpike(), 40.0)
    spikes = times(requires_grad=True)
    (gradient,) = torch.autograd.grad(read(spikes).sum(), spikes, create_graph=True)
    with pytest.raises(NotImplementedError, match="evsim.torch has first derivatives only"):
        gradient.sum().backward()
    with pytest.raises(NotImplementedError, match="cannot be mapped by torch.func.vmap: give all"):
        torch.func.vmap(lambda sample: read(sample[None]))(times())
    with pytest.raises(NotImplementedError, match="cannot be mapped by torch.func.vmap: give all"):
        torch.autograd.functional.jacobian(read, times(), vectorize=True)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(times(), torch.ones_like(times()))
        with pytest.raises(RuntimeError, match="forward mode AD"):
            read(dual)


@pytest.mark.skipif(not hasattr(torch.compiler, "is_exporting"), reason="PyTorch cannot say so")
def test_an_exported_program_would_lack_the_network():
    with pytest.raises(
        NotImplementedError, match="cannot be exported by torch.export, because its"
    ):
        torch.export.export(Module(layered(), FirstSpike(), 40.0), (times(),), strict=False)


def test_silent_layers_are_told_where_the_user_calls():
    silent = Module(layered(weight=0.1), FirstSpike(), 40.0, missing="end")
    with pytest.warns(evsim.SilentNetworkWarning, match="no unit of 'hidden' spiked") as told:
        silent(times()).sum().backward()
    assert told[0].filename == __file__


def test_silent_layers_are_pulled_to_their_threshold_by_a_loss_in_pytorch():
    silent = layered(weight=0.1)
    with pytest.warns(
        evsim.SilentNetworkWarning, match=r"also read .*SilentPeak\(population='hidden'\) and a"
    ):
        Module(silent, FirstSpike(), 40.0, missing="end")(times()).sum().backward()
    readouts = [FirstSpike(), SilentPeak(population="hidden")]
    module = Module(silent, readouts, 40.0, ["weight"], missing="end")
    optimizer = torch.optim.Adam(module.parameters(), 0.2)
    for _ in range(60):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            _, peak = module(times())
            optimizer.zero_grad()
            torch.relu(0.1 - peak).pow(2).sum().backward()
        optimizer.step()
    counts = evsim.simulate(module.network, trains(), 40.0).spike_counts["hidden"]
    assert counts.any(axis=1).all()


def test_without_pytorch_the_error_says_what_to_install():
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "import evsim\n"
        "try: evsim.torch\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert re.search(r"evsim.torch needs PyTorch.*: pip install \"evsim\[torch\]\"", done.stdout)
