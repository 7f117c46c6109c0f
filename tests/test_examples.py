"""The scripts in examples/: each runs, is short, and shows what its docstring says."""

import re
import runpy
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parents[1] / "examples"


def output_of(name, capsys, monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", [name, *map(str, arguments)])
    runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    return capsys.readouterr().out


def numbers(text):
    return [float(number) for number in re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", text)]


def picture(folder, name):
    return (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_single_neuron(capsys, monkeypatch):
    lines = output_of("single_neuron", capsys, monkeypatch).splitlines()
    assert len(lines) == 5
    for line in lines[1:]:
        by_hand, by_evsim = numbers(line)
        assert by_hand == pytest.approx(by_evsim, rel=1e-12), line


def test_coincidence_detection(capsys, monkeypatch, tmp_path):
    output = output_of("coincidence_detection", capsys, monkeypatch, "--out", tmp_path)
    before, after = (re.findall(r"\[(.*?)\]", line) for line in output.splitlines()[:2])
    for pattern in range(2):
        untrained, trained = numbers(before[pattern]), numbers(after[pattern])
        assert untrained[0] == untrained[1]
        assert trained[pattern] > untrained[0] > trained[1 - pattern]
    assert picture(tmp_path, "coincidence_detection")


def test_yin_yang(capsys, monkeypatch, tmp_path):
    output = output_of("yin_yang", capsys, monkeypatch, "--out", tmp_path)
    assert numbers(output.splitlines()[0])[0] > 95.0
    assert picture(tmp_path, "yin_yang")


def test_own_loss(capsys, monkeypatch):
    before, after = map(numbers, output_of("own_loss", capsys, monkeypatch).splitlines())
    assert after[0] < 0.2 * before[0]
    assert after[1] > 95.0 > 50.0 > before[1]


def test_ground_truth(capsys, monkeypatch):
    lines = output_of("ground_truth", capsys, monkeypatch).splitlines()
    errors = [numbers(line)[1] for line in lines[1:-1]]
    assert len(errors) == 6
    assert errors == sorted(errors, reverse=True)
    assert numbers(lines[-1])[0] == pytest.approx(1.0, abs=0.1)


def test_how_far(capsys, monkeypatch, tmp_path):
    first, second, _ = output_of("how_far", capsys, monkeypatch, "--out", tmp_path).splitlines()
    predicted, (low, high) = numbers(first)[0], numbers(second)
    assert low - 0.02 < predicted < high + 0.02
    assert picture(tmp_path, "how_far")


def test_jax_training(capsys, monkeypatch):
    jax = pytest.importorskip("jax")
    pytest.importorskip("optax")
    try:
        *losses, test = output_of("jax_training", capsys, monkeypatch).splitlines()
    finally:
        jax.config.update("jax_enable_x64", False)
    assert len(losses) == 20
    assert numbers(losses[-1])[1] < 0.4  # 0.1 to 0.2 for five seeds
    assert numbers(test)[0] > 85.0  # 93 to 95 for five seeds


def test_torch_layer(capsys, monkeypatch):
    pytest.importorskip("torch")
    with pytest.warns(UserWarning, match="evsim computes in float64"):
        output = output_of("torch_layer", capsys, monkeypatch)
    assert numbers(output)[0] > 85.0  # 91 to 97 for five seeds


def test_torch_yin_yang(capsys, monkeypatch):
    pytest.importorskip("torch")
    by_torch, by_evsim = map(numbers, output_of("torch_yin_yang", capsys, monkeypatch).splitlines())
    assert min(by_torch[-1], by_evsim[-1]) > 88.0
    assert by_torch[-1] == pytest.approx(by_evsim[-1], abs=5.0)


def test_compare_surrogate(capsys, monkeypatch):
    pytest.importorskip("torch")
    output = output_of("compare_surrogate", capsys, monkeypatch)
    assert len(re.findall("a time step of (1|0.1) ms explains the errors", output)) == 2
    row = r"(?m)^\| input->hidden.weight +\|(.*)$"
    angles = [numbers(found)[1] for found in re.findall(row, output)]
    assert len(angles) == 2
    assert all(20.0 < angle < 50.0 for angle in angles)


def test_compare_nest(capfd, monkeypatch):
    pytest.importorskip("nest")
    output = output_of("compare_nest", capfd, monkeypatch)
    missing, of, *_ = numbers(re.search(r"(?m)^\d+ of .*$", output)[0])
    assert 50 < missing < 150 < of
    assert "the others agree to rounding of float64" in output
    assert "a brief crossing" in output
    assert numbers(output.splitlines()[-1])[-1] < 0.002  # V a step after its peak has fallen more


def test_compare_eventprop(capsys, monkeypatch):
    program = pytest.importorskip("eventprop.eventprop_cpp")
    monkeypatch.chdir(Path(program.__file__).parents[1])
    lines = output_of("compare_eventprop", capsys, monkeypatch).splitlines()
    assert "51,200 trials of a unit: 15 of 5,420 spikes are missing" in lines[2]
    assert len(lines) == 10


def test_every_example_is_tested_short_and_says_how_it_is_run():
    names = {path.stem for path in FOLDER.glob("*.py")}
    assert {f"test_{name}" for name in names} <= set(globals())
    for name in names:
        text = (FOLDER / f"{name}.py").read_text()
        assert len(text.splitlines()) < 60, name
        assert re.search(rf"^    python examples/{name}\.py( --out pictures)?$", text, re.M), name
