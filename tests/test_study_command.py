"""The command ``evsim study``: flags, files, what it prints and writes, and its exit statuses."""

import importlib
import io
import itertools
import re
import textwrap
from pathlib import Path

import numpy as np
import pytest
import study_functions
from matplotlib import image
from rich.console import Console

from evsim.cli import TASKS, main
from evsim.cli.schedulers import slurm_options
from evsim.cli.study_file import read_study
from evsim.cli.study_options import grid_of, seeds_of
from evsim.study import Study, load_study
from evsim.study.cells.folder import Failure
from evsim.study.cells.running import Ended
from evsim.study.progress import StudyTable

pytestmark = pytest.mark.slow

OF_ONE_PROCESS = ["--scheduler", "local:1"]


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "study.toml"
        path.write_text(textwrap.dedent(text))
        return str(path)

    return write


@pytest.fixture
def in_this_process(monkeypatch):
    """The built-in pool runs everything here."""
    monkeypatch.setattr(
        "evsim.study.executors.choice.ProcessPool",
        lambda processes: _Here(),
    )


class _Here:
    """The runner of an executor of this process, to which anything can be sent."""

    def __init__(self):
        from evsim.study.executors.futures import Futures

        self.run = Futures(study_functions.Now()).run

    def check(self, task):
        pass


TINY = [
    "--epochs",
    "2",
    "--train-size",
    "30",
    "--validation-size",
    "12",
    "--test-size",
    "15",
    "--batch-size",
    "10",
]


def test_a_study_of_a_task(tmp_path, capsys, in_this_process):
    out = tmp_path / "yy"
    words = ["study", "yin-yang", "--vary", "hidden=3,5", "--vary", "delays=true,false"]
    assert main([*words, "--seeds", "2", "--out", str(out), *TINY]) == 0
    shown = capsys.readouterr()
    assert f"8 of 8 runs are finished; table.csv, study.png and all runs in {out}" in shown.out
    assert "8 of 8 finished, 0 running, 0 failed, 0:00 left" in shown.err
    table = load_study(out).table()
    assert [(row["hidden"], row["delays"], row["seed"]) for row in table.rows[:3]] == [
        (3, True, 0), (3, True, 1), (3, False, 0)
    ]  # fmt: skip
    assert (out / "table.csv").read_text() == table.to_csv()
    assert image.imread(out / "study.png").std() > 0
    assert main(["study", "status", str(out)]) == 0
    assert "8 finished, 0 failed" in capsys.readouterr().out
    assert main(["study", "table", str(out), "--means"]) == 0
    assert capsys.readouterr().out == f"{table.means()}\n"
    written = tmp_path / "table.csv"
    assert main(["study", "table", str(out), "--format", "csv", "--out", str(written)]) == 0
    assert written.read_text() == table.to_csv()


def test_a_file_is_the_same_study_as_flags(tmp_path, capsys, write, in_this_process):
    out = str(tmp_path / "yy")
    assert (
        main(["study", "yin-yang", "--vary", "hidden=3", "--seeds", "1", "--out", out, *TINY]) == 0
    )
    file = write("""
        task = "yin-yang"
        seeds = 2
        [settings]
        epochs = 2
        train_size = 30
        validation_size = 12
        test_size = 15
        batch_size = 10
        [vary]
        hidden = [3]
    """)
    capsys.readouterr()
    assert main(["study", file, "--out", out]) == 0
    shown = capsys.readouterr()
    assert "2 of 2 runs are finished" in shown.out
    assert "2 of 2 finished" in shown.err


def test_a_file_that_chooses(tmp_path, capsys, write, in_this_process):
    file = write("""
        task = "yin-yang"
        seeds = 2
        folds = 2
        choose = "cross-validation"
        settings = {epochs = 2, train_size = 30, validation_size = 12, test_size = 15}
        vary.hidden = [2, 6]
    """)
    assert main(["study", file, "--out", str(tmp_path / "yy")]) == 0
    shown = capsys.readouterr().out
    assert "chosen by cross-validation" in shown
    assert "2 of 2 runs are finished" in shown
    assert "for one network on 15 samples, the 95 % credible interval is" in shown
    assert main(["study", "status", str(tmp_path / "yy")]) == 0
    assert capsys.readouterr().out.count("0 failed, 0 running") == 2


def test_a_failed_run_is_exit_status_1(tmp_path, capsys, write):
    file = write('task = "study_functions:fails_at_two"\nseeds = 1\nvary.x = [1, 2]\n')
    assert main(["study", file, "--out", str(tmp_path / "s"), *OF_ONE_PROCESS]) == 1
    assert "1 have failed: evsim study status" in capsys.readouterr().err
    assert main(["study", "status", str(tmp_path / "s")]) == 0
    assert "x=2,seed=0: FloatingPointError: the loss is nan" in capsys.readouterr().out


def test_values_are_read_as_in_toml_or_as_words():
    words = ["hidden=5,10", "loss=sum,sum_exp", "classes=[0,1],[2,3]", "rate=1e-3,none"]
    assert grid_of(words) == {
        "hidden": [5, 10],
        "loss": ["sum", "sum_exp"],
        "classes": [[0, 1], [2, 3]],
        "rate": [1e-3, None],
    }
    assert grid_of(["learn-taus=true,False"]) == {"learn_taus": [True, False]}
    assert (seeds_of("8"), seeds_of("0,3"), seeds_of("5,")) == (8, [0, 3], [5])


def test_flags_of_slurm_become_arguments_of_dask_jobqueue():
    text = "partition=cpu,cores=16,memory=32GB,walltime=04:00:00,jobs=4"
    options, jobs = slurm_options(text, text)
    assert jobs == 4
    assert options == {
        "queue": "cpu", "cores": 16, "processes": 16, "memory": "32GB", "walltime": "04:00:00",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["yn-yang"], "there is no task 'yn-yang'; did you mean 'yin-yang'?"),
        (["yin-yang", "--hiden", "3"], "yin-yang has no flag --hiden; did you mean --hidden?"),
        (["yin-yang", "--vary", "hiden=3"], "yin-yang: there is no setting 'hiden'; did you mean"),
        (["yin-yang", "--vary", "hidden=x"], "hidden = 'x': it must be an integer"),
        (["yin-yang", "--vary", "hidden=x", "--folds", "2", "--choose"], "must be an integer"),
        (["yin-yang", "--vary", "hidden"], "--vary hidden: give a setting and its values"),
        (["yin-yang", "--vary", "hidden=3,0"], "--hidden = 0: it must be at least 1"),
        (["yin-yang", "--seeds", "x"], "--seeds x: give their number, or the seeds as 0,1,5"),
        (["yin-yang", "--seeds", "20000"], "20000 runs: for more than 10000, give --allow-large"),
        (["yin-yang", "--folds", "x"], "--folds x: give groups, or the number of parts"),
        (["yin-yang", "--choose"], "--choose compares what is held out"),
        (["yin-yang", "--dt", "1"], "--dt 1.0: the exact engine has no grid"),
        (["yin-yang", "--scheduler", "pbs"], "--scheduler pbs: give local:8"),
        (["yin-yang", "--scheduler", "local:x"], "give a number of processes, such as local:8"),
        (["yin-yang", "--scheduler", "slurm:nodes=4"], "'nodes=4' is not one of partition=..."),
        (["yin-yang", "--scheduler", "slurm:cores=4"], "say how much each job has, memory=..."),
        (["spoken-digits", "--data", "nowhere"], "nowhere: there is no such folder"),
        (["nothing.toml"], "there is no file nothing.toml"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_told_in_a_sentence(words, message, tmp_path, capsys):
    assert main(["study", *words, "--out", str(tmp_path / "s")]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "s" / "cells").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seeds = 8", "names no task: begin it with task = "),
        ("task = 'yin-yang'\nvari = 3", "there is no entry 'vari'; did you mean 'vary'?"),
        ("task = 'yin-yang'\nvary = 3", "vary = 3: it must be a table, [vary]"),
        ("task = 'yin-yang'\nchoose = 'best'", "the one way is 'cross-validation'"),
        ("task = 'yin-yang'\nengine.step = 1", "[engine]: there is no entry 'step'"),
        ("task = 'yin-yang'\nengine.name = 'gird'", "no engine 'gird'; did you mean 'grid'?"),
        ("task = 'yin-yang'\nengine.name = 'grid'\nengine.dt = 'a'", "[engine]: dt = 'a': it must"),
        ("task = 'yin-yang'\nengine.rate_limit = 0", "rate-limit = 0: it must be > 0"),
        ("task = 'yin-yang'\nseeds = '2'", "seeds = '2': give their number, or a list of them"),
        ("task = 'yin-yang'\nseeds = [0.5]", "seeds = [0.5]: give their number"),
        ("task = 'yin-yang'\nfolds = 3.0", "folds = 3.0: give 'groups', or the number of parts"),
        ("task = 'yin-yang'\nvalidate = 'no'", "validate = 'no': it must be True or False"),
        ("task = 'yin-yang'\nsettings.epochs = '2'", "epochs = '2': it must be an integer"),
        ("task = 'yin-yang'\nvary.hidden = 3", "grid['hidden'] = 3: give a mapping"),
        ("task = 'yn-yang'", "there is no task 'yn-yang'; did you mean 'yin-yang'?"),
        ("task = ", "study.toml is no TOML file"),
    ],
)  # fmt: skip
def test_what_a_file_cannot_say_is_told_in_a_sentence(text, message, write, tmp_path, capsys):
    assert main(["study", write(text), "--out", str(tmp_path / "s")]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_file_is_no_folder_for_a_study(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["study", "yin-yang", "--out", str(tmp_path / "file" / "s")]) == 2
    assert f"{tmp_path / 'file'} is a file, name a folder" in capsys.readouterr().err


def test_a_folder_without_a_study_has_no_status(tmp_path, capsys):
    assert main(["study", "status", str(tmp_path)]) == 2
    assert f"there is no study in {tmp_path}" in capsys.readouterr().err


def test_parquet_is_for_files(tmp_path, capsys, write, in_this_process):
    file = write('task = "study_functions:double"\nseeds = 1\nvary.x = [1]\n')
    assert main(["study", file, "--out", str(tmp_path / "s")]) == 0
    assert main(["study", "table", str(tmp_path / "s"), "--format", "parquet"]) == 2
    assert "--format parquet is not for reading" in capsys.readouterr().err


def test_a_terminal_shows_what_runs(tmp_path):
    study = Study("study_functions:double", {"x": [1, 2]}, seeds=1, folder=tmp_path)
    works = [study._work(cell, 1, "run", False) for cell in study.cells]
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=80, color_system=None)
    folder = study.cell_folder(study.cells[0])
    with StudyTable(works, 3, {works[0].name: 4}, console) as display, folder.locked():
        (folder.path / "metrics.jsonl").write_text("{}\n{}\n")
        display.show()
        assert re.search(r"x=1,seed=0 +epoch 2/4", written.getvalue())
        assert "3 of 5 finished, 1 running, 0 failed" in written.getvalue()
        display.ended(works[1], Ended("failed", Failure("ValueError: no")))
        display.show()
    assert "failed: x=2,seed=0: ValueError: no" in written.getvalue()
    assert "3 of 5 finished, 0 running, 1 failed" in written.getvalue()


# -- the studies of the papers ------------------------------------------------------------

STUDIES = Path(__file__).parents[1] / "studies"
OF_TIME_STEPS = [STUDIES / f"spoken_digits_{name}.toml" for name in ("steps", "exact")]
OF_FACTORS = STUDIES / "spoken_digits_factors.toml"
OF_PAPERS = sorted({*STUDIES.glob("*.toml")} - {*OF_TIME_STEPS, OF_FACTORS})


@pytest.mark.parametrize("path", OF_PAPERS, ids=lambda path: path.stem)
def test_the_tasks_accept_the_studies_of_the_papers(path, monkeypatch):
    monkeypatch.syspath_prepend(path.parent)
    study = read_study(path)
    task = TASKS[study.task.partition("_variants:")[0].replace("_", "-")]
    chosen = set()
    for values in itertools.product(*study.vary.values()):
        varied = dict(zip(study.vary, values, strict=True))
        if "variant" in varied:
            varied |= importlib.import_module("yin_yang_variants").VARIANTS[varied.pop("variant")]
        settings = task.settings_type(**study.settings, **varied)
        task.network(settings)
        chosen.add(settings)
    assert len(chosen) == np.prod([len(values) for values in study.vary.values()]) > 1


@pytest.mark.parametrize("path", OF_TIME_STEPS, ids=lambda path: path.stem)
def test_the_studies_of_time_steps_make_a_network_for_each(path, monkeypatch):
    monkeypatch.syspath_prepend(STUDIES)
    study = read_study(path)
    steps = importlib.import_module(study.task.partition(":")[0])
    settings = steps.settings_of(seed=2)
    network = TASKS["spoken-digits"].network(settings)
    assert (settings.experiment, settings.recurrent, settings.delays) == ("small", True, True)
    for dt in study.vary["dt"]:
        assert steps.grid(dt).dt == dt
        resting = steps.with_refractory_period(network, dt)
        assert resting.population("hidden").refractory == dt


def test_the_study_of_factors_has_as_many_steps_with_blends_as_without(monkeypatch):
    monkeypatch.syspath_prepend(STUDIES)
    study = read_study(OF_FACTORS)
    factors = importlib.import_module(study.task.partition(":")[0])
    presented = set()
    for values in itertools.product(*study.vary.values()):
        varied = dict(zip(study.vary, values, strict=True))
        settings = factors.settings_of(varied, seed=1)
        network = TASKS["spoken-digits"].network(settings)
        assert bool(settings.augmentation(100)) == bool(varied["shift"] or varied["blend"])
        tau = network.population("hidden").tau_mem
        assert (np.size(tau) == 128) == varied["heterogeneous"]
        presented.add(settings.hyperparameters().epochs * (1 + varied["blend"]))
    assert presented == {20}
