import dataclasses
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import types

import numpy as np
import pytest

import evsim
from evsim import cli, precompile, storage
from evsim.cli import TASKS, main, options
from evsim.engines import Grid, warm
from evsim.precompile import cache as compiled_code


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
    for words in ("--hidden INT", "The number of hidden units.", "--time-limit", "--resume"):
        assert words in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_help_has_room_on_50_columns(task, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    with pytest.raises(SystemExit):
        main(["train", task, "--help"])
    *usage, options = capsys.readouterr().out.partition(" options  ")
    lines = options.splitlines()
    assert "usage: evsim train" in usage[0]
    assert len(lines) > 50
    assert max(len(line.rstrip()) for line in lines) <= 50


def test_info_has_room_on_50_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert run("info") == 0
    said = capsys.readouterr().out.splitlines()
    assert max(map(len, said)) <= 50
    names = [line.split()[0] for line in said if not line.startswith(" ")]
    assert names == list(cli.environment())


@pytest.mark.parametrize("task", TASKS)
def test_every_setting_of_every_task_is_a_flag_with_its_help(task, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", task, "--help"])
    assert stop.value.code == 0
    entries = re.split(r"^\W{1,2}(?=--[a-z])", capsys.readouterr().out, flags=re.M)[1:]
    helps = {entry.split()[0].rstrip(","): " ".join(entry.split()) for entry in entries}
    for field in dataclasses.fields(TASKS[task].settings_type):
        flag = f"--{field.name.replace('_', '-')}"
        assert re.search(r" [A-Z][^.]*[a-z].*\.", helps[flag]), flag


def test_the_default_settings_of_every_task_are_those_of_its_flags(monkeypatch):
    for name, task in TASKS.items():
        given = []
        monkeypatch.setattr(
            "evsim.cli.parsing.train",
            lambda task, settings, run, given=given: given.append(settings),
        )
        main(["train", name])
        assert given == [task.settings_type()]


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


@pytest.mark.slow
def test_yin_yang_flags_reach_the_network(tmp_path, capsys):
    folder = tmp_path / "run"
    assert run("train", "yin-yang", "--hidden", 5, "--delays", "--epochs", 2, "--threads", 1,
               "--out", folder, "--seed", 3, "--more-losses", "0.1*time(tau0=2)", "0.1*sum",
               "--regulariser-strength", 1e-8, "--no-progress", *TINY) == 0  # fmt: skip
    assert "pictures in" in capsys.readouterr().out
    network = storage.load_network(folder / "best.safetensors")
    assert network.parameters["input->hidden.delay"].shape == (5, 4)
    config = json.loads((folder / "config.json").read_text())
    assert [weight for weight, _ in config["loss"]["terms"]] == [1.0, 0.1, 0.1, 1.0]
    assert config["loss"]["terms"][1][1]["tau0"] == 2.0
    assert [each["population"] for each in config["regularisers"]] == ["hidden"]
    pictures = {path.name for path in (folder / "pictures").iterdir()}
    assert pictures == {
        "learning.png", "decisions.png", "delays_input_hidden.png", "delays_hidden_output.png",
        "spikes.png", "traces.png",
    }  # fmt: skip


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.parametrize("engine", ["exact", "reference", "grid"])
def test_the_rate_limit_is_the_one_asked_for(engine):
    assert options.Run(engine=engine, rate_limit=np.inf).create_engine(1.0).rate_limit == np.inf
    assert options.Run(engine=engine).create_engine(1.0).rate_limit == 400.0


def test_the_step_of_a_grid_is_the_published_one_if_none_is_given(capsys):
    with pytest.raises(SystemExit):
        main(["train", "sequence", "--help"])
    said = capsys.readouterr().out.replace("│", " ")
    steps = {name: task.settings_type.grid_step for name, task in TASKS.items()}
    others = {name: step for name, step in steps.items() if step != 1.0}
    assert set(others) == {"yin-yang", "sound-localisation", "motion-detection"}
    told = [f"{step:g} for {name}" for name, step in others.items()]
    assert f"{', '.join(told)}, 1 for the others" in " ".join(said.split())


@pytest.mark.slow
def test_the_time_limit_ends_training_after_an_epoch_and_that_is_said_once(tmp_path, capsys):
    folder = tmp_path / "run"
    arguments = ("train", "yin-yang", "--hidden", 5, "--out", folder, "--no-pictures", *TINY)
    assert run(*arguments, "--time-limit", 1e-9) == 0
    told = capsys.readouterr()
    assert (told.out + told.err).count("stopped after") == 1
    assert "stopped after epoch 1 of 200: the time limit of 1e-09 s" in told.err
    assert run(*arguments, "--time-limit", 1e-9, "--resume", "--no-progress") == 0
    told = capsys.readouterr()
    assert (told.out + told.err).count("stopped after") == 1
    assert "stopped after 2 of 200 epochs: the time limit of 1e-09 s" in told.out
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 2


def test_the_time_limit_begins_after_compiling(tmp_path, capsys, monkeypatch):
    """Compiling is replaced: it takes longer than the limit."""
    now = [0.0]

    def compiling(*_):
        now[0] += 1000.0
        return precompile.Precompiled(compiled=3, found=0, seconds=1000.0)

    monkeypatch.setattr(precompile, "precompile_training", compiling)
    monkeypatch.setattr(cli.train.time, "monotonic", lambda: now[0])
    arguments = ("train", "yin-yang", "--hidden", 5, "--epochs", 2, "--time-limit", 900,
                 "--out", tmp_path, "--no-pictures", *TINY)  # fmt: skip
    assert run(*arguments) == 0
    told = capsys.readouterr().err
    before, after = told.split("yin-yang: compiled in 1000 s; the time limit counts from here\n")
    assert "epoch" not in before
    assert after.count("epoch 2/2") == 1


LOADED = """
import sys
from evsim._compile.decorators import entry_points
from evsim.cli import main
from evsim.tasks.base import Experiment

def loaded():
    return sum(len(function.signatures) for function in entry_points)

def watched(*arguments, fit=Experiment.fit, **options):
    before.append(loaded())
    return fit(*arguments, **options)

before, Experiment.fit = [], watched
assert main(sys.argv[1:]) == 0
print("loaded", *before, loaded())
"""


@pytest.mark.slow
def test_training_compiles_nothing_once_it_has_begun(tmp_path):
    """In a process of its own, which has loaded nothing."""
    arguments = ("train", "yin-yang", "--hidden", 5, "--delays", "--epochs", 1,
                 "--out", tmp_path, "--no-pictures", *TINY)  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *map(str, arguments)],
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    before, after = done.stdout.splitlines()[-1].split()[1:]
    assert int(before) == int(after) > 3


@pytest.mark.slow
def test_the_traces_are_those_of_the_hidden_unit_that_learns_most(tmp_path, monkeypatch):
    from evsim import plotting

    drawn = []

    def traces(result, units, *, sample):
        drawn.append((result, units, sample))
        return plotting.activity.traces(result, units, sample=sample)

    monkeypatch.setattr(plotting, "traces", traces)
    yin_yang = TASKS["yin-yang"]
    settings = yin_yang.settings_type(
        hidden=8, delays=True, epochs=1, train_size=12, validation_size=6, test_size=30
    )
    result = yin_yang.train(settings, progress=False)
    yin_yang.pictures(result, settings, tmp_path, resolution=5)
    ((outcome, units, sample),) = drawn
    (hidden,) = units["hidden"]
    adjoints = np.abs(outcome.lambda_I("hidden", np.linspace(0, 40, 400))).max(axis=2)
    assert adjoints[sample, hidden] > 0.99 * adjoints.max() > 0
    assert units["output"] == [sample]  # one sample of each class is looked at


def test_the_module_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "evsim", "info"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert {"evsim", "Python", "numpy", "numba", "cores", "CuPy", "GPU"} <= set(names)


@pytest.mark.slow
def test_info_compiles_everything_ahead_and_once():
    """What is there is found, and what is damaged is compiled again."""

    def warmed():
        done = subprocess.run(
            [sys.executable, "-m", "evsim", "info", "--warm"],
            capture_output=True, text=True, timeout=600, check=True,
        )  # fmt: skip
        return done, done.stdout.splitlines()[-4:]

    for engine in ("exact", Grid(), Grid(precision="float32")):
        warm(engine)
    kept = [file for folder in compiled_code().folders for file in folder.glob("input_order.*.nbc")]
    newest = max(kept, key=lambda file: file.stat().st_mtime)
    newest.write_bytes(newest.read_bytes()[:-1])
    done, (exact, *_) = warmed()
    assert exact.startswith("exact: 1 functions compiled in ")
    assert done.stderr.count("\n") == 1
    assert "evsim: compiling the exact engine's loops for all networks" in done.stderr
    done, (exact, double, single, cache) = warmed()
    assert exact == "exact: everything was compiled before"
    assert double == "grid, float64: everything was compiled before"
    assert single == "grid, float32: everything was compiled before"
    assert re.match(r"cache: [1-9]\d*\.\d MiB in ", cache)
    assert "kernels" in cache
    assert "cpu" in cache
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
        (("train", "sequence", "--rate-limit", 0), "--rate-limit = 0.0: it must be > 0"),
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
        (
            ("train", "sequence", "--delay-rate", -1),
            "--delay-rate = -1.0 ms: it must be finite and > 0",
        ),
    ],
)
def test_settings_that_do_not_fit_end_with_one_sentence(
    arguments, message, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert message in refused(capsys, *arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_run_is_replaced_and_nothing_else(tmp_path, capsys):
    folder = tmp_path / "run"
    train = ("train", "sequence", "--no-progress", "--out", folder)
    assert run(*train, "--epochs", 2, "--replace") == 0  # nothing is there
    (folder / "lock.holder").write_text("1 another-machine")  # as a run that was killed leaves it
    assert run(*train, "--epochs", 1, "--no-pictures", "--replace") == 0
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 1
    assert not (folder / "pictures").exists()
    capsys.readouterr()

    def files():
        return {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}

    foreign = (
        folder / "notes.txt",
        folder / "pictures" / "data.csv",
        folder / "more" / "test.json",
    )
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
        before = files()
        assert "was not written by a run" in refused(capsys, *train, "--replace")
        assert files() == before
        path.unlink()
        if path.parent != folder:
            path.parent.rmdir()
    other = tmp_path / "other"
    other.mkdir()
    for name in ("metrics.jsonl", "settings.json", "config.json"):
        (other / name).write_text("{}")
    before = files()
    said = refused(capsys, "train", "sequence", "--out", other, "--replace")
    assert "holds files but no run that could be replaced" in said
    assert files() == before
    assert "name it, --out FOLDER" in refused(capsys, "train", "sequence", "--replace")
    assert "leave one out" in refused(capsys, *train, "--replace", "--resume")


@pytest.mark.slow
def test_a_run_that_goes_on_is_not_replaced(tmp_path, capsys):
    folder = tmp_path / "run"
    train = ("train", "sequence", "--no-progress", "--no-pictures", "--out", folder)
    assert run(*train, "--epochs", 1) == 0
    capsys.readouterr()
    with storage.RunFolder(folder).locked():
        assert f"trains in {folder}" in refused(capsys, *train, "--replace")
    assert (folder / "checkpoint.safetensors").exists()


@pytest.mark.slow
def test_folders_with_something_else_in_them_are_refused(tmp_path, capsys):
    train = ("train", "sequence", "--no-pictures", "--no-progress", "--out")
    file = tmp_path / "file"
    file.write_text("mine")
    assert "is a file: name a folder" in refused(capsys, *train, file)
    assert "is not empty" in refused(capsys, *train, tmp_path)
    assert "holds files but no run" in refused(capsys, *train, tmp_path, "--resume")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.slow
def test_resuming_with_other_settings_names_them(tmp_path, capsys):
    train = ("train", "sequence", "--no-pictures", "--no-progress", "--out", tmp_path / "run")
    assert run(*train, "--epochs", 1) == 0
    capsys.readouterr()
    said = refused(capsys, *train, "--resume", "--interval", 9)
    assert "interval: 10.0 is stored, 9.0 is asked for" in said
    assert "epochs" not in said
    said = refused(capsys, *train, "--resume", "--more-losses", "0.5*sum")
    assert "more_losses: [] is stored, ['0.5*sum'] is asked for" in said
    # An earlier version did not have every setting.
    path = tmp_path / "run" / "settings.json"
    stored = json.loads(path.read_text())
    del stored["settings"]["more_losses"]
    path.write_text(json.dumps(stored))
    said = refused(capsys, *train, "--resume", "--more-losses", "0.5*sum")
    assert "more_losses: [] is stored, ['0.5*sum'] is asked for" in said
    assert run(*train, "--resume", "--epochs", 2) == 0


@pytest.mark.filterwarnings("default")
def test_a_warning_is_told_without_a_line_of_a_program(tmp_path, capsys):
    flags = ("--interval", 0.5, "--duration", 1, "--epochs", 1, "--no-progress", "--no-pictures")
    assert run("train", "sequence", "--out", tmp_path / "run", *flags) == 0
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("evsim: seconds? a trial of duration = 1 ms is short for")


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

    monkeypatch.setattr(TASKS["sequence"], "fit", too_large)
    assert run("train", "sequence", "--out", tmp_path / "run") == 1
    said = capsys.readouterr().err
    assert said.startswith("evsim: Allocation failed (memory does not suffice: use smaller")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("trian yin-yang", "there is no command 'trian'; did you mean 'train'?"),
        ("train yinyang", "there is no task 'yinyang'; did you mean 'yin-yang'?"),
        ("train nothing", "there is no task 'nothing'; there are sequence, yin-yang, mnist,"),
        ("train yin-yang --epoch 3", "yin-yang has no flag --epoch; did you mean --epochs?"),
        ("train shd --epoch=3", "shd has no flag --epoch; did you mean --epochs?"),
        ("train yin-yang --more-losses --epochs 3", "--more-losses is given no value"),
        ("study motion-detection --vary seed=1,2 --speeds", "--speeds is given no value"),
        ("train shd --no-picture", "shd has no flag --no-picture; did you mean --no-pictures?"),
        ("train mnist --xyz 3", "mnist has no flag --xyz; --help lists those it has"),
        ("train --epochs 3", "--epochs comes after the task, one of sequence, yin-yang,"),
        ("train --verson", "train has no flag --verson; did you mean --version?"),
        ("train shd --verson", "shd has no flag --verson; did you mean --version?"),
        ("--out runs train yin-yang", "--out comes after train and the task"),
        ("--engine=grid", "--engine comes after train and the task"),
        ("--warm info", "--warm comes after info"),
        ("info --wram", "info has no flag --wram; did you mean --warm?"),
        ("info -V", "info has no flag -V; --help lists those it has"),
        ("-V", "evsim has no flag -V; --help lists those it has"),
        ("version", "there is no command 'version'; did you mean --version?"),
    ],
)
def test_what_is_not_there_is_refused_with_the_nearest_that_is(arguments, message, capsys):
    assert message in refused(capsys, *arguments.split())


def test_values_that_are_no_numbers_and_missing_words_end_with_status_2(capsys):
    for arguments in (["train", "yin-yang", "--hidden", "x"], ["train"], []):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err


# -- where it is shown --------------------------------------------------------------------


def command(*arguments, environment=None, **streams):
    """The command in a process of its own, with nothing compiled; its result as bytes."""
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.run(
        [sys.executable, "-m", "evsim", *map(str, arguments)], timeout=120, check=False,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1", **(environment or {})}, **given,
    )  # fmt: skip


@pytest.mark.parametrize(
    "before", ["", "train", "info", "info --warm", "train yin-yang", "train shd --epochs 3"]
)
def test_the_version_is_told(before, capsys):
    assert run(*before.split(), "--version") == 0
    assert capsys.readouterr().out == f"evsim {evsim.__version__}\n"


@pytest.mark.slow
@pytest.mark.parametrize("task", ["yin-yang", "braille"])
def test_letters_that_cannot_be_shown_are_replaced(task):
    done = command("train", task, "--help", environment={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert done.stderr == b""
    assert b"Meszaros, Knight, Nowotny" in done.stdout  # with accents in the source
    assert b"?" not in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [(), ("train",), *(("train", task) for task in TASKS)])
def test_all_help_can_be_shown_in_ascii(arguments, monkeypatch):
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, "ascii"))
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--help"])
    assert stop.value.code == 0
    text = shown.getvalue().decode("ascii")
    assert text.startswith("usage: evsim")
    assert "?" not in text


@pytest.mark.slow
def test_every_way_of_training_goes_in_ascii_and_without_a_home(tmp_path):
    bare = {
        "PYTHONIOENCODING": "ascii",
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
    }
    environment = {name: value for name, value in os.environ.items() if name != "HOME"}
    done = subprocess.run(
        [sys.executable, "-m", "evsim", "train", "sequence", "--epochs", "1", "--out", "run"],
        env={**environment, **bare}, cwd=tmp_path, timeout=300,
        stdin=subprocess.DEVNULL, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b"test accuracy" in done.stdout
    assert b"epoch 1/1" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["info"]])
def test_a_reader_that_has_gone_ends_the_command_without_a_word(arguments):
    reading, writing = os.pipe()
    os.close(reading)
    done = command(*arguments, stdout=writing)
    os.close(writing)
    assert done.returncode == 141
    assert done.stderr == b""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="streams are closed by a shell")
@pytest.mark.parametrize(
    ("arguments", "closed"),
    [
        ("--version", ">&- 2>&-"),
        ("--help", "2>&-"),
        ("train sequence --help", ">&-"),
        ("info", ">&-"),
        ("info", "<&-"),
    ],
)
def test_closed_streams_do_not_matter(arguments, closed):
    line = f"{sys.executable} -m evsim {arguments} {closed}"
    done = subprocess.run(line, shell=True, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_command_that_is_asked_to_end_does_so_with_143(tmp_path, capsys, monkeypatch):
    def ask_to_end(*_, **__):
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(60)

    monkeypatch.setattr(TASKS["sequence"], "fit", ask_to_end)
    # A run that was killed in its first instants left these; there is no run to mix with.
    for name in ("lock", "lock.holder", ".config.json.1a2b3c4d.partial"):
        (tmp_path / name).write_text("1 another-machine")
    for resume in ((), ("--resume",)):
        assert run("train", "sequence", "--out", tmp_path, *resume) == 143
        assert "evsim: terminated" in capsys.readouterr().err
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
