"""The checks for a machine with a GPU: rehearsed on the emulation, cut off, and without a GPU."""

import json
import re

import cuda_on_cpu
import numpy as np
import on_device
import pytest
from cuda_on_cpu import needs_compiler
from data_files import write_spoken

import evsim
from evsim_gpu import Grid
from evsim_gpu.cuda.kernel_times import recorded_kernel_times

pytestmark = pytest.mark.slow


@needs_compiler
def test_every_part_is_rehearsed(tmp_path, capsys):
    for name in ("train", "test"):
        write_spoken(tmp_path / f"spoken_digits_{name}.h5", 10, 20, speakers=[0, 1, 1, 0] * 5)
    out = tmp_path / "out"
    given = ["--out", str(out), "--data", str(tmp_path), "--rehearse"]
    assert on_device.main(given) == 0, (out / "log.txt").read_text()
    page = re.sub(" +", " ", (out / "on_device.md").read_text())
    assert page.count("All that is claimed, or checked, here held.") == len(on_device.PARTS)
    assert "A rehearsal on an emulation of the GPU" in page
    assert "| GPU | CPU pretending |" in page
    assert "1 tests passed, 0 failed and 0 were skipped." in page
    assert "| adjoint_recurrent | 1 |" in page
    assert "1 of 1 epochs" in page
    figures = {
        name: own["figures"]
        for name, own in json.loads((out / "on_device.json").read_text()).items()
    }
    assert list(figures) == list(on_device.PARTS)
    assert figures["correctness"]["holds"] is True
    assert json.loads((out / "CudaVsGrid.json").read_text())["finding"]["holds"] is True
    epochs = figures["epochs"]["epochs"]
    assert [own["network"] for own in epochs] == [
        shape.name for shape in on_device.benchmark.gpu_shapes(4)
    ]
    for own in epochs:
        assert own["arrivals"] > 1000
        assert own["seconds"] > 0
        names = [kernel for kernel, *_ in own["kernels"]]
        layer = "recurrent" if "recurrent" in own["network"] else "layer"
        assert {f"integrate_{layer}", f"adjoint_{layer}", "synapse_gradients"} <= set(names)
    assert "## Training on spoken digits" in capsys.readouterr().out


def test_a_part_that_hangs_is_cut_off_and_keeps_what_it_found(tmp_path):
    file = tmp_path / "epochs.json"
    found = on_device.Part("Epochs", text="The first of six.")
    content = {"part": vars(found), "figures": {}}
    file.write_text(json.dumps(content))
    part = on_device.in_a_process("epochs", [], 0.05, file, tmp_path / "log.txt")
    assert part.text == "The first of six."
    assert part.refutations == ["cut off after 0 s; what is above was found before"]


def test_a_part_that_crashes_is_named(tmp_path):
    log = tmp_path / "log.txt"
    part = on_device.in_a_process(
        "device", ["--out", "x", "--no-such-flag"], 60.0, tmp_path / "x.json", log
    )
    assert part.refutations == ["its process ended with the status 2, see log.txt"]
    assert "--no-such-flag" in log.read_text()


def test_without_a_gpu_nothing_is_tested(tmp_path, monkeypatch, capsys):
    if on_device.cuda_devices():
        pytest.skip("there is a GPU")
    monkeypatch.setattr(on_device, "in_a_process", in_this_process)
    assert on_device.main(["--out", str(tmp_path)]) == 2
    assert "no GPU was found" in capsys.readouterr().err
    assert "## Tests of the kernels\n\nNot measured" in (tmp_path / "on_device.md").read_text()


def in_this_process(name, arguments, seconds, file, log):
    on_device.main([*arguments, "--part", name, "--seconds", str(seconds), "--file", str(file)])
    return on_device.Part(**on_device.stored(file)["part"])


@needs_compiler
def test_kernels_are_recorded_only_inside_the_block(monkeypatch):
    cupy = cuda_on_cpu.install(monkeypatch)
    network = evsim.Network(
        [evsim.Input("input", 1), evsim.LI("output", 2)],
        [evsim.Connection("input", "output", np.array([[1.0], [2.0]]), 1.0)],
    )
    inputs = {"input": evsim.SpikeTrains.from_lists([[(1.0, 0)], [(2.0, 0)]], units=1)}
    engine = Grid(1.0, "cuda")
    loss = evsim.losses.CrossEntropy(evsim.readouts.Mean("flat"))
    with recorded_kernel_times(cupy) as times:
        evsim.gradient(network, inputs, [0, 1], loss, 10.0, engine=engine)
    table = times.table()
    evsim.gradient(network, inputs, [0, 1], loss, 10.0, engine=engine)
    assert times.table() == table
    assert {"read_means", "adjoint_layer"} <= {row.kernel for row in table}
    assert [row.seconds for row in table] == sorted((row.seconds for row in table), reverse=True)
    assert all(row.launches > 0 and row.seconds > 0 for row in table)
