import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import threading
import types

import pytest

from evsim import storage
from evsim.cli import TASKS, _field_docstrings, _flags, main


def run(*arguments):
    """Run the command in this process; its exit status."""
    return main([str(argument) for argument in arguments])


TINY = ("--train-size", 12, "--validation-size", 6, "--test-size", 6, "--batch-size", 6)


def test_help_is_there_without_the_libraries_that_are_slow_to_import():
    program = (
        "import sys; from evsim.cli import main\n"
        "try: main(['train', 'yin-yang', '--help'])\n"
        "finally: print('slow:', {'numba', 'matplotlib', 'scipy', 'h5py'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0
    assert "slow: set()" in done.stdout
    for words in ("--hidden INT", "Number of hidden units.", "--time-limit", "--resume"):
        assert words in done.stdout


@pytest.mark.parametrize("task", TASKS)
def test_every_setting_of_every_task_is_a_flag_with_its_help(task, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", task, "--help"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    helps = _field_docstrings(TASKS[task].Settings)
    for field in dataclasses.fields(TASKS[task].Settings):
        assert f"--{field.name.replace('_', '-')}" in said
        assert helps[field.name].endswith(".")


def test_the_default_settings_of_every_task_are_those_of_its_flags():
    for task in TASKS.values():
        flags = _flags(task.Settings)()
        assert vars(flags) == vars(task.Settings())


def test_a_run_leaves_everything_in_its_folder_and_can_be_resumed(tmp_path, capsys):
    folder = tmp_path / "run"
    assert run("train", "sequence", "--out", folder) == 0
    said = capsys.readouterr().out
    assert "test accuracy 100.0 % (best epoch: 6)" in said
    assert f"pictures in {folder / 'pictures'}" in said
    pictures = {"learning.png", "delays.png", "traces_before.png", "traces_after.png"}
    assert {path.name for path in (folder / "pictures").iterdir()} == pictures
    epochs = (folder / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in epochs] == [1, 2, 3, 4, 5, 6]
    settings = json.loads((folder / "settings.json").read_text())
    assert settings["task"] == "sequence"
    assert settings["settings"]["epochs"] == 6
    tested = json.loads((folder / "test.json").read_text())
    assert tested["accuracy"] == 1.0
    assert tested["confusion"] == [[1, 0], [0, 1]]
    assert tested["accuracy_by_class"] == {"input 0 first": 1.0, "input 1 first": 1.0}

    again = ("train", "sequence", "--out", folder, "--resume", "--no-pictures", "--no-progress")
    assert run(*again, "--epochs", 8) == 0
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 8
    straight = tmp_path / "straight"
    assert run("train", "sequence", "--out", straight, "--epochs", 8, "--no-pictures") == 0
    one, other = (
        storage.load_network(path / "best.safetensors").parameters for path in (folder, straight)
    )
    assert all(one[name].tobytes() == other[name].tobytes() for name in one)


def test_yin_yang_flags_reach_the_network(tmp_path, capsys):
    folder = tmp_path / "run"
    assert run("train", "yin-yang", "--hidden", 5, "--delays", "--epochs", 2, "--threads", 1,
               "--out", folder, "--seed", 3, "--no-progress", *TINY) == 0  # fmt: skip
    assert "pictures in" in capsys.readouterr().out
    network = storage.load_network(folder / "best.safetensors")
    assert network.parameters["input->hidden.delay"].shape == (5, 4)
    pictures = {path.name for path in (folder / "pictures").iterdir()}
    assert pictures == {
        "learning.png", "decisions.png", "delays_input_hidden.png", "spikes.png", "traces.png",
    }  # fmt: skip


def test_training_on_a_grid_says_which_and_goes_on_with_no_other(tmp_path, capsys):
    folder = tmp_path / "run"
    train = ("train", "sequence", "--engine", "grid", "--out", folder, "--no-progress")
    assert run(*train, "--threads", 1) == 0
    told = capsys.readouterr()
    assert "test accuracy 100.0 %" in told.out
    said = [line for line in told.err.splitlines() if not line.startswith("evsim: compiling")]
    assert said == ["sequence: on a grid of 1 ms, in float64 on the processor"]
    assert len(list((folder / "pictures").iterdir())) == 4
    settings = json.loads((folder / "settings.json").read_text())
    assert [settings[name] for name in ("engine", "dt", "precision")] == ["grid", 1.0, "float64"]
    engine = json.loads((folder / "config.json").read_text())["engine"]
    assert engine == {"type": "Grid", "dt": 1.0, "device": "cpu", "precision": "float64"}

    said = refused(capsys, *train, "--resume", "--dt", 0.5)
    assert "dt: 1.0 is stored, 0.5 is asked for" in said
    said = refused(capsys, *train, "--resume", "--precision", "float32")
    assert "precision: float64 is stored, float32 is asked for" in said
    exact = ("train", "sequence", "--out", folder, "--no-progress", "--resume")
    assert "engine: grid is stored, exact is asked for" in refused(capsys, *exact)
    again = (*train, "--resume", "--no-pictures", "--epochs", 7, "--dt", 1, "--threads", 2)
    assert run(*again) == 0
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 7


def test_the_grid_of_the_run_is_the_one_asked_for(tmp_path, capsys):
    arguments = ("train", "yin-yang", "--hidden", 5, "--epochs", 1, "--engine", "grid", *TINY)
    losses = []
    for number, grid in enumerate([(), ("--dt", 0.5), ("--dt", 0.01), ("--precision", "float32")]):
        folder = tmp_path / str(number)
        assert run(*arguments, *grid, "--out", folder, "--no-pictures") == 0
        losses.append(json.loads((folder / "metrics.jsonl").read_text())["loss"])
    published, coarse, same, short = losses
    assert same == published != coarse
    assert 0 < abs(short - published) < 1e-3 * published


def test_the_step_of_a_grid_is_the_published_one_if_none_is_given(capsys):
    with pytest.raises(SystemExit):
        main(["train", "sequence", "--help"])
    assert "0.01 for yin-yang, 1 for the others" in " ".join(capsys.readouterr().out.split())
    steps = {name: task.Settings.grid_step for name, task in TASKS.items()}
    assert steps.pop("yin-yang") == 0.01
    assert set(steps.values()) == {1.0}


def test_the_time_limit_ends_training_after_an_epoch(tmp_path, capsys):
    folder = tmp_path / "run"
    arguments = ("train", "yin-yang", "--hidden", 5, "--out", folder, "--no-pictures", *TINY)
    assert run(*arguments, "--time-limit", 1e-9) == 0
    assert "stopped after 1 of 300 epochs: the time limit of 1e-09 s" in capsys.readouterr().out
    assert run(*arguments, "--time-limit", 1e-9, "--resume") == 0
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 2


def test_the_module_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "evsim", "info"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert {"evsim", "Python", "numpy", "numba", "cores", "CuPy", "GPU"} <= set(names)


def test_info_compiles_everything_ahead_and_once():
    """Each in a process of its own: the second finds what the first has left."""
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "evsim", "info", "--warm"],
            capture_output=True, text=True, timeout=600, check=True,
        )  # fmt: skip
    *_, exact, double, single, cache = done.stdout.splitlines()
    assert exact == "exact: everything was compiled before"
    assert double == "grid, float64: everything was compiled before"
    assert single == "grid, float32: everything was compiled before"
    assert re.match(r"cache: [1-9]\d*\.\d MiB in ", cache)
    assert "kernels" in cache
    assert "loops" in cache
    assert done.stderr == ""


class Runtime:
    """What CuPy says of one GPU, or the error that it raises."""

    def __init__(self, error=None):
        self.error = error

    def getDeviceCount(self):  # noqa: N802
        if self.error:
            raise self.error
        return 1

    def getDeviceProperties(self, device):  # noqa: N802
        return {"name": b"Some GPU", "totalGlobalMem": 24 * 2**30, "major": 8, "minor": 6}


@pytest.mark.parametrize(
    ("cupy", "wanted"),
    [
        (None, ['CuPy       not installed: pip install "evsim[gpu]"', "GPU        none"]),
        (Runtime(), ["CuPy       13.4.1", "Some GPU, 24.0 GiB, compute capability 8.6"]),
        (Runtime(RuntimeError("no\ndriver")), ["GPU        none, RuntimeError: no driver"]),
    ],
)
def test_info_says_which_gpus_there_are_or_what_is_missing(cupy, wanted, capsys, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "cupy"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: cupy)
    if cupy is not None:
        package = types.ModuleType("cupy")
        package.__version__ = "13.4.1"
        package.cuda = types.ModuleType("cupy.cuda")
        package.cuda.runtime = cupy
        monkeypatch.setitem(sys.modules, "cupy", package)
        monkeypatch.setitem(sys.modules, "cupy.cuda", package.cuda)
    assert run("info") == 0
    said = capsys.readouterr().out
    for words in wanted:
        assert words in said


# -- refusals -----------------------------------------------------------------------------


def refused(capsys, *arguments):
    """What the command says on standard error when it refuses its arguments."""
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("evsim: ")
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "yin-yang", "--late", 50), "--late = 50 and --duration = 40 ms"),
        (("train", "yin-yang", "--delay-rate", 1), "but no delays are learned"),
        (("train", "sequence", "--resume"), "name it, --out FOLDER"),
        (("train", "sequence", "--threads", 0), "--threads 0: it must be at least 1"),
        (
            ("train", "sequence", "--threads", 2, "--engine", "reference"),
            "the reference engine has only one",
        ),
        (("train", "sequence", "--dt", 1), "--dt 1.0: the exact engine has no grid; leave it out"),
        (("train", "sequence", "--engine", "reference", "--dt", 1), "--dt 1.0: the reference"),
        (("train", "sequence", "--precision", "float32"), "the exact engine has float64 only"),
        (("train", "sequence", "--engine", "cuda", "--threads", 2), "they are the processor's"),
        (("train", "sequence", "--engine", "grid", "--dt", 0), "--dt = 0.0 ms: it must be finite"),
        (
            ("train", "sequence", "--engine", "grid", "--dt", 0.3),
            "--dt = 0.3 ms does not divide the trial of 40 ms: a whole number of steps must fill "
            "it, as with --dt = 0.3125 or 0.25 ms",
        ),
        (  # before data are looked for
            ("train", "mnist", "--engine", "grid", "--dt", 3, "--data", "nowhere"),
            "as with --dt = 4 or 2.5 ms",
        ),
        (("train", "sequence", "--time-limit", 0), "it must be a time > 0"),
        (("train", "sequence", "--delay-rate", -1), "learning_rate = -1"),
    ],
)
def test_settings_that_do_not_fit_end_with_one_sentence(
    arguments, message, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert message in refused(capsys, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_folders_with_something_else_in_them_are_refused(tmp_path, capsys):
    train = ("train", "sequence", "--no-pictures", "--no-progress", "--out")
    file = tmp_path / "file"
    file.write_text("mine")
    assert "is a file: name a folder" in refused(capsys, *train, file)
    assert "is not empty" in refused(capsys, *train, tmp_path)
    assert "holds files but no run" in refused(capsys, *train, tmp_path, "--resume")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_resuming_with_other_settings_names_them(tmp_path, capsys):
    train = ("train", "sequence", "--no-pictures", "--no-progress", "--out", tmp_path / "run")
    assert run(*train, "--epochs", 1) == 0
    capsys.readouterr()
    said = refused(capsys, *train, "--resume", "--interval", 9)
    assert "interval: 10.0 is stored, 9.0 is asked for" in said
    assert "epochs" not in said


def test_cuda_without_cupy_says_what_to_install(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert run("train", "sequence", "--engine", "cuda") == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("evsim: the CUDA device needs CuPy")
    assert 'pip install "evsim[gpu]"' in captured.err
    assert captured.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_too_little_memory_ends_with_one_sentence(capsys, tmp_path, monkeypatch):
    def too_large(*arguments, **options):
        raise MemoryError("Allocation failed")

    monkeypatch.setattr(TASKS["sequence"], "train", too_large)
    assert run("train", "sequence", "--out", tmp_path / "run") == 1
    said = capsys.readouterr().err
    assert said.startswith("evsim: Allocation failed (memory does not suffice: use smaller")
    assert said.count("\n") == 1


def test_unknown_flags_and_words_end_with_status_2(capsys):
    for arguments in (["train", "yin-yang", "--hiden", "3"], ["train", "nothing"], []):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_command_that_is_asked_to_end_does_so_with_143(tmp_path, capsys, monkeypatch):
    def ask_to_end(*_, **__):
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(60)

    monkeypatch.setattr(TASKS["sequence"], "train", ask_to_end)
    # A run that was killed in its first instants left these; there is no run to mix with.
    for name in ("lock", "lock.holder", ".config.json.partial"):
        (tmp_path / name).write_text("1 another-machine")
    for resume in ((), ("--resume",)):
        assert run("train", "sequence", "--out", tmp_path, *resume) == 143
        assert "evsim: terminated" in capsys.readouterr().err
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
