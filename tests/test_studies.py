"""Studies: every cell runs once, with the results of single runs; accidents change no bit."""

import errno
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import study_functions
from preset_files import write_braille, write_words
from study_functions import Now, process_of

import evsim
from evsim.cli import main
from evsim.engines import Exact, Grid, Reference
from evsim.storage import StorageError, load_arrays
from evsim.study import Study, Table, choose_and_retrain, k_fold, load_study
from evsim.study.cells import folder as cell_files
from evsim.study.cells.engines import described, engine_of
from evsim.study.cells.folder import CellFolder
from evsim.study.executors import process_pool
from evsim.study.selection import chosen_settings
from evsim.tasks import braille, spoken_digits, yin_yang

pytestmark = pytest.mark.slow

TINY = {
    "epochs": 4,
    "train_size": 30,
    "validation_size": 12,
    "test_size": 15,
    "batch_size": 10,
}
"""Settings of Yin-Yang with which a run takes a moment."""


def of_function(function, folder, xs=(1, 2, 3), seeds=1, **settings):
    return Study(function, {"x": list(xs)}, seeds=seeds, folder=folder, settings=settings)


def run(study, **options):
    """Run in this process, without a display."""
    return study.run(Now(), progress=False, **options)


def columns(table, *names):
    return [tuple(row[name] for name in names) for row in table.rows]


def checkpoints(study):
    """All numbers of the checkpoints of a study's cells, without the times that epochs took."""
    found = {}
    for cell in study.cells:
        path = study.cell_folder(cell).path / "checkpoint.safetensors"
        arrays, description = load_arrays(path, "checkpoint")
        for record in description["history"]:
            del record["seconds"]
        found[cell.name] = {k: v.tobytes() for k, v in arrays.items()}, description
    return found


# -- what comes out ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A study of Yin-Yang that ran in this process."""
    study = Study(
        yin_yang,
        {"hidden": [3, 5], "delays": [True, False]},
        seeds=[0, 3],
        folder=tmp_path_factory.mktemp("study") / "yy",
        settings=TINY,
    )
    run(study)
    return study


def test_a_study_has_the_results_of_single_runs(undisturbed):
    table = undisturbed.table()
    assert len(table) == 8
    assert set(table.columns["state"]) == {"finished"}
    for row in table.rows:
        settings = yin_yang.Settings(
            hidden=row["hidden"], delays=row["delays"], seed=row["seed"], **TINY
        )
        result = yin_yang.train(settings, progress=False)
        tested = yin_yang.evaluate(result, settings)
        assert (row["accuracy"], row["loss"]) == (tested.accuracy, tested.loss)
        assert (row["best_epoch"], row["epochs"]) == (result.best_epoch, 4)
        assert row["samples"] == 15


def test_every_cell_is_a_run_folder(undisturbed):
    folder = undisturbed.folder / "cells" / "hidden=3,delays=true,seed=3"
    assert evsim.load(folder).population("hidden").units == 3
    stored = json.loads((folder / "result.json").read_text())
    assert stored["evsim"] == evsim.__version__
    assert stored["processor"]


def test_tables_have_all_digits_and_means_over_seeds(undisturbed):
    table = undisturbed.table()
    lines = table.to_csv().splitlines()
    assert lines[0].startswith("hidden,delays,seed,state,accuracy,loss,samples,best_epoch")
    assert float(lines[1].split(",")[5]) == table.rows[0]["loss"]
    assert table.to_markdown().count("\n") == 9
    assert [line[:2] for line in table.to_markdown().splitlines()] == ["| "] * 10
    means = table.means("loss")
    losses = [row["loss"] for row in table.rows]
    assert means.columns["mean"] == [np.mean(losses[i : i + 2]) for i in range(0, 8, 2)]
    assert means.columns["standard_deviation"][1] == pytest.approx(np.std(losses[2:4], ddof=1))
    assert means.columns["runs"] == [2] * 4


def test_cells_of_a_table_may_contain_bars_and_line_breaks():
    table = Table({"error": ["a | b\nc"]})
    assert table.to_markdown().splitlines()[2] == r"| a \| b c |"


def test_settings_are_compared_over_equal_seeds(undisturbed):
    rows = undisturbed.table().rows
    losses = {(row["hidden"], row["delays"], row["seed"]): row["loss"] for row in rows}
    pairs = itertools.product([3, 5], [0, 3])
    expected = [losses[h, True, seed] - losses[h, False, seed] for h, seed in pairs]
    found = undisturbed.compare({"delays": True}, {"delays": False}, measure="loss")
    assert found.mean == pytest.approx(np.mean(expected))
    assert found.pairs == 4


def test_pairs_whose_runs_are_missing_are_told(tmp_path):
    study = of_function(study_functions.fails_at_two, tmp_path, xs=[1, 2, 3], seeds=2)
    run(study)
    with (
        pytest.warns(match="2 of 2 pairs are left out"),
        pytest.raises(ValueError, match="0 pairs"),
    ):
        study.compare({"x": 1}, {"x": 2}, measure="size")
    found = study.compare({"x": 3}, {"x": 1}, measure="size")
    assert (found.mean, found.verdict) == (2.0, "not decided")


@pytest.mark.parametrize(
    "engine", [Exact(spike_limit=1000, threads=4), Grid(dt=0.5, precision="float64"), Reference()]
)
def test_an_engine_is_the_same_elsewhere_but_for_its_threads(engine):
    sent = json.loads(json.dumps(described(engine)))
    made = engine_of(sent, 1)
    assert type(made) is type(engine)
    if hasattr(engine, "threads"):
        assert made == replace(engine, threads=1)


def test_a_study_is_read_from_its_folder(undisturbed):
    read = load_study(undisturbed.folder)
    assert read.table().rows == undisturbed.table().rows
    assert read.status()["finished"] == 8


@pytest.mark.parametrize(
    ("function", "measures"),
    [
        ("double", {"score": 2.0}),
        ("fails_at_two", {"accuracy": 0.5, "size": 1}),
        ("evaluates", {"accuracy": 0.75, "loss": 0.25, "samples": 4}),
    ],
)
def test_a_function_may_return_numbers_or_an_evaluation(function, measures, tmp_path):
    table = run(of_function(getattr(study_functions, function), tmp_path, xs=[1]))
    assert {name: table.rows[0][name] for name in measures} == measures


# -- accidents ---------------------------------------------------------------------------------


def test_what_is_finished_is_not_run_again_and_a_study_grows(tmp_path):
    log = tmp_path / "log"
    folder = tmp_path / "study"
    run(of_function(study_functions.double, folder, xs=[1, 2], log=str(log)))
    table = run(of_function(study_functions.double, folder, xs=[2, 3], seeds=2, log=str(log)))
    assert len(log.read_text().splitlines()) == 5
    assert columns(table, "x", "seed", "score") == [
        (2, 0, 4.0), (2, 1, 4.1), (3, 0, 6.0), (3, 1, 6.1)
    ]  # fmt: skip
    assert load_study(folder).status() == {
        "finished": 5, "failed": 0, "running": 0, "interrupted": 0, "waiting": 1
    }  # fmt: skip


def test_a_failed_run_does_not_end_the_study(tmp_path, capsys):
    log = tmp_path / "log"
    study = of_function(study_functions.fails_at_two, tmp_path / "study", log=str(log))
    table = study.run(Now())
    assert table.columns["state"] == ["finished", "failed", "finished"]
    assert table.columns["error"] == [None, "FloatingPointError: the loss is nan", None]
    assert "failed: x=2,seed=0: FloatingPointError: the loss is nan" in capsys.readouterr().err
    run(study)
    assert len(log.read_text().splitlines()) == 3
    run(study, retry_failed=True)
    assert len(log.read_text().splitlines()) == 4


@pytest.mark.parametrize("executor", [Now, ThreadPoolExecutor])
def test_warnings_are_kept_with_the_run_that_gave_them(executor, tmp_path, capsys, recwarn):
    study = of_function(study_functions.warns, tmp_path / "study", xs=(0, 1, 3))
    table = study.run(executor())
    assert table.columns["warnings"] == [None, 1, 2]
    assert table.measures == ("score",)
    assert study.warnings() == {
        "UserWarning: the loss is 0": ["x=1,seed=0", "x=3,seed=0"],
        "UserWarning: the loss is 1": ["x=3,seed=0"],
    }
    shown = capsys.readouterr().err
    assert shown.count("UserWarning: the loss is") == 1
    assert not recwarn.list
    with pytest.warns(UserWarning, match="after the study"):
        warnings.warn("after the study", UserWarning, stacklevel=1)


def test_a_study_continues_with_values_of_another_type(tmp_path):
    run(of_function(study_functions.double, tmp_path, xs=[1]))
    study = of_function(study_functions.double, tmp_path, xs=[1.0])
    run(study)
    assert load_study(tmp_path).table().columns["x"] == [1, 1.0]
    assert [type(x) for x in load_study(tmp_path).table().columns["x"]] == [int, float]
    same_folder = of_function(study_functions.double, tmp_path, xs=["1"])
    with pytest.raises(ValueError, match="are both written x=1,seed=0: give values that differ"):
        run(same_folder)


def test_a_measure_does_not_take_the_place_of_another_column(tmp_path):
    measured = {"state": 1.0, "error": 0.1, "seconds": 2, "warnings": 3, "x": 7, "score": 4}
    study = of_function(study_functions.returns_what_it_is_given, tmp_path, xs=[measured])
    (row,) = run(study).rows
    assert {name: row.pop(name) for name in ("x", "seed", "state")} == {
        "x": measured, "seed": 0, "state": "finished",
    }  # fmt: skip
    assert row.pop("seconds") < 1.5
    assert row == {
        "measured_state": 1.0, "measured_error": 0.1, "measured_seconds": 2,
        "measured_warnings": 3, "measured_x": 7, "score": 4,
    }  # fmt: skip


def test_a_setting_may_have_the_name_of_a_measure(tmp_path):
    losses = ["time", "time_invariant"]
    study = Study(yin_yang, {"loss": losses}, seeds=2, folder=tmp_path, settings=TINY)
    run(study)
    means = study.table().means()
    assert means.columns["loss"] == losses
    assert means.columns["runs"] == [2, 2]
    assert study.table().means("measured_loss").columns["mean"][0] > 0
    assert study.compare({"loss": "time"}, {"loss": "time_invariant"}).pairs == 2


def test_a_run_that_ends_the_program_ends_only_itself(tmp_path):
    table = run(of_function(study_functions.exits_at_two, tmp_path))
    assert table.columns["state"] == ["finished", "failed", "finished"]
    assert table.columns["error"][1] == "SystemExit: no license"


@pytest.mark.filterwarnings("default")
def test_a_warning_of_any_letters_is_kept(tmp_path):
    study = of_function(study_functions.warns_of, tmp_path, xs=["a \udc80\u2028 name"])
    assert run(study).columns["warnings"] == [1]
    assert list(study.warnings()) == ["UserWarning: a \\udc80 name"]


@pytest.mark.filterwarnings("default")
def test_warnings_that_differ_in_numbers_are_shown_once(tmp_path, capsys):
    study = of_function(study_functions.warns, tmp_path, xs=[3])
    study.run(Now())
    assert capsys.readouterr().err.count("the loss is") == 1
    assert main(["study", "status", str(tmp_path)]) == 0
    (_, line) = capsys.readouterr().out.splitlines()
    assert line == (
        "  warning of x=3,seed=0: UserWarning: the loss is 0 (2 texts with other numbers)"
    )


def test_a_mean_that_is_no_number_is_not_chosen(tmp_path):
    xs = [math.nan, 0.9, 0.8]
    study = of_function(study_functions.number, tmp_path / "one", xs=list(map(str, xs)))
    run(study)
    with pytest.warns(RuntimeWarning, match="the mean score of 1 combination is nan"):
        assert chosen_settings(study) == {"x": "0.9"}
    alone = of_function(study_functions.number, tmp_path / "other", xs=["nan"])
    run(alone)
    with pytest.raises(RuntimeError, match="every combination is nan"):
        chosen_settings(alone)


def test_lists_and_numbers_are_compared_as_they_were_given(tmp_path):
    study = of_function(study_functions.total, tmp_path, xs=[(1, 2), (5, 6), 7], seeds=2)
    run(study)
    assert study.compare({"x": (5, 6)}, {"x": [1, 2]}).mean == 8
    assert study.compare({"x": 7.0}, {"x": (1, 2)}).mean == 4


def test_what_failed_for_lack_of_memory_is_tried_at_the_next_start(tmp_path):
    study = of_function(study_functions.lacks_memory_once, tmp_path)
    assert set(run(study).columns["state"]) == {"failed"}
    assert set(run(study).columns["state"]) == {"finished"}


def test_a_full_disk_ends_the_study_until_there_is_room(tmp_path, monkeypatch):
    study = of_function(study_functions.double, tmp_path)
    write = cell_files.write_atomically

    def full(path, content):
        if path.name == "result.json":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(cell_files, "write_atomically", full)
        with pytest.raises(OSError, match="the study ends, since .*No space left"):
            run(study)
    assert run(study).columns["score"] == [2.0, 4.0, 6.0]


def test_a_cell_that_another_process_runs_is_left_to_it(tmp_path, capsys):
    study = of_function(study_functions.double, tmp_path)
    run(of_function(study_functions.double, tmp_path, xs=[1]))
    cell = study.cell_folder(study.cells[1])
    with cell.locked():
        table = study.run(Now())
        assert table.columns["state"] == ["finished", "running", "finished"]
    assert "1 runs are left to other processes" in capsys.readouterr().err
    assert study.table().columns["state"][1] == "waiting"


def test_two_runs_of_a_study_run_no_cell_twice(tmp_path):
    log = tmp_path / "log"
    studies = [
        of_function(
            study_functions.double, tmp_path / "study", xs=range(12), log=str(log), pause=0.02
        )
        for _ in range(2)
    ]
    threads = [threading.Thread(target=run, args=[study]) for study in studies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(studies[0].table().columns["state"]) == {"finished"}
    assert len(log.read_text().splitlines()) == 12


def test_a_worker_with_another_version_refuses(tmp_path, monkeypatch):
    monkeypatch.setattr("evsim.study.study.evsim_version", lambda: "0.0.9")
    table = run(of_function(study_functions.double, tmp_path, xs=[1]))
    assert (
        f"has evsim {evsim.__version__}, and the study was started with" in table.rows[0]["error"]
    )
    assert "evsim 0.0.9" in table.rows[0]["error"]
    monkeypatch.undo()
    with pytest.raises(StorageError, match=r"evsim: 0\.0\.9 is stored"):
        run(of_function(study_functions.double, tmp_path, xs=[1]))


def test_a_worker_that_does_not_see_the_folder_refuses(tmp_path):
    study = of_function(study_functions.double, tmp_path / "study", xs=[1])

    class Elsewhere(Now):
        def submit(self, function, given):
            return super().submit(function, {**given, "study": str(tmp_path / "elsewhere")})

    table = study.run(Elsewhere(), progress=False)
    assert "does not see the study's folder" in table.rows[0]["error"]
    assert run(study).columns["state"] == ["finished"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": study_functions.fails_at_two}, "task: study_functions:double is stored"),
        ({"settings": {"pause": 0.1}}, r"settings.pause: absent is stored, 0.1 is asked for"),
        ({"grid": {"y": [1]}}, "varying settings: x is stored, y is asked for"),
        ({"engine": "reference"}, "engine.engine: evsim.engines.exact.engine:Exact is stored"),
    ],
)
def test_the_folder_of_another_study_is_refused(change, message, tmp_path):
    given = {"task": study_functions.double, "grid": {"x": [1]}, "seeds": 1, "folder": tmp_path}
    run(Study(**given))
    with pytest.raises(StorageError, match=message):
        run(Study(**{**given, **change}))


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match=r"holds files but no study, thesis\.tex among them"):
        run(of_function(study_functions.double, tmp_path))


# -- processes ---------------------------------------------------------------------------------

SLOW = {**TINY, "epochs": 40}


def test_a_killed_worker_changes_no_bit(tmp_path):
    grid = {"hidden": [3, 5]}
    expected = Study(yin_yang, grid, seeds=1, folder=tmp_path / "undisturbed", settings=SLOW)
    run(expected)
    study = Study(yin_yang, grid, seeds=1, folder=tmp_path / "killed", settings=SLOW)
    with ThreadPoolExecutor(1) as executor:
        killed = executor.submit(kill_a_worker_of, study)
        table = study.run(processes=2, progress=False)
        assert killed.result() is None
    assert set(table.columns["state"]) == {"finished"}
    assert checkpoints(study) == checkpoints(expected)
    assert columns(table, "accuracy", "loss") == columns(expected.table(), "accuracy", "loss")


def kill_a_worker_of(study):
    """Kill the first process whose cell has a few epochs."""
    cells = [study.cell_folder(cell) for cell in study.cells]
    until(lambda: any(cell.epochs >= 5 and cell.seems_to_run for cell in cells))
    os.kill(process_of(next(cell for cell in cells if cell.epochs >= 5)), signal.SIGKILL)


def test_a_cell_that_kills_its_processes_fails_and_no_other_is_blamed(tmp_path, monkeypatch):
    monkeypatch.setattr(process_pool, "DEATHS", 2)
    study = of_function(study_functions.kills_its_process, tmp_path)
    table = study.run(processes=1, progress=False)
    assert table.columns["state"] == ["finished", "failed", "finished"]
    assert "its process was killed 2 times" in table.rows[1]["error"]


PROGRAM = """
    import sys
    from evsim.study import Study
    from evsim.tasks import yin_yang

    if __name__ == "__main__":
        settings = {settings}
        Study(yin_yang, {{"hidden": [3, 5]}}, seeds=1, folder=sys.argv[1], settings=settings).run()
"""


UNGUARDED = """
    import sys
    from evsim.study import Study

    Study("study_functions:double", {"x": [1]}, seeds=1, folder=sys.argv[1]).run(processes=1)
"""


def test_a_program_that_does_not_say_where_it_begins_is_told_to(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(UNGUARDED))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, program, tmp_path / "study"],
        env=environment, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "must do so under if __name__ == '__main__':" in done.stderr.splitlines()[-1]


def test_a_program_from_standard_input_is_refused(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-", tmp_path / "study"], input=textwrap.dedent(UNGUARDED),
        env=environment, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert "and <stdin> is no file: store the program in one" in done.stderr.splitlines()[-1]


def test_a_killed_study_leaves_no_processes_and_goes_on_with_the_same_bits(tmp_path):
    program = tmp_path / "program.py"
    long = {**SLOW, "epochs": 100_000}
    program.write_text(textwrap.dedent(PROGRAM.format(settings=long)))
    folder = tmp_path / "study"
    process = subprocess.Popen([sys.executable, program, folder], stderr=subprocess.PIPE)
    cells = [CellFolder(folder / "cells" / f"hidden={hidden},seed=0") for hidden in (3, 5)]
    until(lambda: all(cell.epochs >= 2 for cell in cells))
    workers = [process_of(cell) for cell in cells]
    process.kill()
    process.communicate()
    until(lambda: not any(map(is_alive, workers)))
    # The rest of the study is short: as many epochs as there are by now, and a few.
    epochs = max(cell.epochs for cell in cells) + 3
    description = json.loads((folder / "study.json").read_text())
    description["settings"]["epochs"] = epochs
    (folder / "study.json").write_text(json.dumps(description))
    settings = {**SLOW, "epochs": epochs}
    study, expected = (
        Study(yin_yang, {"hidden": [3, 5]}, seeds=1, folder=place, settings=settings)
        for place in (folder, tmp_path / "undisturbed")
    )
    assert study.status()["interrupted"] == 2
    run(study)
    run(expected)
    assert checkpoints(study) == checkpoints(expected)


def until(done):
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)


def is_alive(number):
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    return state != "Z"


# -- other executors ---------------------------------------------------------------------------


def test_threads_give_the_same_bits(undisturbed, tmp_path):
    study = Study(
        yin_yang, {"hidden": [3, 5]}, seeds=[3], folder=tmp_path,
        settings={**TINY, "delays": True},
    )  # fmt: skip
    with ThreadPoolExecutor(2) as executor:
        table = study.run(executor, progress=False)
    rows = {row["hidden"]: row for row in undisturbed.table().rows if row["delays"] and row["seed"]}
    assert table.columns["loss"] == [rows[3]["loss"], rows[5]["loss"]]


def test_stopping_a_study_stops_its_cells_wherever_they_run(tmp_path):
    """The executor does not end what it runs, but the cell stops after its epoch."""
    study = Study(
        yin_yang, {"hidden": [3]}, seeds=1, folder=tmp_path, settings={**TINY, "epochs": 10**6}
    )
    with ThreadPoolExecutor(1) as executor:

        class Interrupts:
            def submit(self, *given):
                future = executor.submit(*given)
                until(lambda: study.cell_folder(study.cells[0]).epochs > 2)
                return Interrupted(future)

        class Interrupted:
            def __init__(self, future):
                self.future = future

            def done(self):
                raise KeyboardInterrupt

            def cancel(self):
                return self.future.cancel()

        with pytest.raises(KeyboardInterrupt):
            study.run(Interrupts(), progress=False)
    assert study.status()["interrupted"] == 1


# -- folds -------------------------------------------------------------------------------------


def test_folds_hold_out_training_samples_and_test_on_them(tmp_path):
    study = Study(yin_yang, {"hidden": [3]}, seeds=1, folds=3, folder=tmp_path, settings=TINY)
    table = run(study)
    assert table.columns["fold"] == ["1 of 3", "2 of 3", "3 of 3"]
    settings = yin_yang.Settings(hidden=3, **TINY)
    training, validation, _ = yin_yang.data(settings)
    fold = k_fold(evsim.Dataset.concatenate([training, validation]), 3)[1]
    result = yin_yang.experiment.fit(settings, fold.train, None, progress=False)
    tested = yin_yang.experiment.test(result.network, fold.validation, settings, "exact")
    assert (table.rows[1]["accuracy"], table.rows[1]["loss"]) == (tested.accuracy, tested.loss)


def test_groups_are_held_out_as_the_task_itself_holds_out_speakers(tmp_path):
    write_words(tmp_path, "spoken_digits", classes=10, speakers=3)
    settings = {
        "data": tmp_path, "duration": 150.0, "epochs": 1, "hidden": 4, "layers": 1, "shift": 0,
        "blend": 0.0, "classes": (0, 1, 2),
    }  # fmt: skip
    table = run(
        Study(
            spoken_digits, {"batch_size": [4]}, seeds=1, folds="groups", folder=tmp_path / "study",
            settings=settings,
        )
    )  # fmt: skip
    expected = spoken_digits.cross_validate(
        spoken_digits.Settings(**settings, batch_size=4, folds="speakers"), progress=False
    )
    assert table.columns["fold"] == ["0", "1", "2"]
    assert table.columns["accuracy"] == expected.values.tolist()


def test_a_task_that_watches_validation_samples_watches_others_where_there_are_none(tmp_path):
    write_braille(tmp_path, of_each=4)
    settings = {"data": tmp_path, "epochs": 2, "hidden": 4, "classes": (0, 1), "patience": 1}
    study = Study(
        braille, {"batch_size": [4]}, seeds=1, folds=2, folder=tmp_path / "study", settings=settings
    )
    assert set(run(study).columns["state"]) == {"finished"}
    config = json.loads((study.cell_folder(study.cells[0]).path / "config.json").read_text())
    assert config["early_stopping"]["watch"] == "accuracy"


def test_choosing_never_sees_the_test_samples(tmp_path, monkeypatch):
    """With other test samples the choice and all networks are the same, the results are not."""
    grid = {"hidden": [2, 6]}
    choices = [
        choose_and_retrain(
            yin_yang, grid, folds=2, seeds=2, folder=tmp_path / str(size), executor=Now(),
            settings={**TINY, "test_size": size}, progress=False,
        )
        for size in (15, 40)
    ]  # fmt: skip
    first, second = choices
    assert first.settings == second.settings
    assert first.cross_validation.columns["loss"] == second.cross_validation.columns["loss"]
    means = first.cross_validation.means().columns["mean"]
    assert first.settings["hidden"] == grid["hidden"][int(np.argmax(means))]
    stored = [checkpoints(load_study(tmp_path / str(size) / "retrained")) for size in (15, 40)]
    assert stored[0] == stored[1]
    assert first.retrained.columns["samples"] == [15, 15]
    assert second.retrained.columns["samples"] == [40, 40]


def test_nothing_is_chosen_while_a_run_on_a_fold_is_missing(tmp_path):
    with pytest.raises(ValueError, match="only the data of a task can be divided into folds"):
        choose_and_retrain(
            study_functions.double, {"x": [1, 2]}, folds=2, folder=tmp_path, executor=Now()
        )


# -- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"grid": {"hiden": [5]}}, "yin-yang: there is no setting 'hiden'; did you mean 'hidden'"),
        ({"grid": {"hidden": [5, 0]}}, "hidden = 0: it must be at least 1"),
        ({"grid": {"hidden": []}}, r"grid\['hidden'\] is empty"),
        ({"grid": {"state": [5]}}, "state is a column of every table of a study"),
        ({"grid": {"hidden": [5, 5]}}, r"grid\['hidden'\] holds 5 twice"),
        ({"grid": {"hidden": 5}}, r"grid\['hidden'\] = 5: give a mapping from each setting"),
        ({"grid": {"seed": [1]}}, r"seed is no setting of a study: give Study\(..., seeds=...\)"),
        ({"settings": {"hidden": 3}}, "hidden varies and is also given as a setting"),
        ({"seeds": [1, 1]}, "seeds holds 1 twice"),
        ({"folds": "speakers"}, "folds = 'speakers': give 'groups' or the number of parts"),
        ({"folds": "groups"}, "the samples of this task belong to no groups"),
        ({"task": lambda settings, seed: 1.0}, "define it with def at the top of a module"),
        ({"task": "no_such_module:f"}, "there is no module no_such_module"),
        ({"task": 5}, "task = 5: give the module of a task"),
        ({"grid": {"hidden": [object()]}}, r"grid\['hidden'\]\[0\] = .* give a number, text"),
        ({"seeds": 10**5}, "the study has 100000 runs: for more than 10000, give allow_large"),
    ],
)
def test_bad_studies_are_refused_before_anything_runs(given, message, tmp_path):
    usual = {"task": yin_yang, "grid": {"hidden": [3]}, "seeds": 1, "folder": tmp_path / "study"}
    with pytest.raises((ValueError, TypeError), match=message):
        Study(**{**usual, **given})
    assert not (tmp_path / "study").exists()


def test_what_cannot_submit_is_no_executor(tmp_path):
    with pytest.raises(TypeError, match=r"executor = 5: give an object with submit"):
        of_function(study_functions.double, tmp_path).run(5)


def test_functions_of_the_main_program_are_refused_where_they_cannot_be_sent(tmp_path, monkeypatch):
    main = sys.modules["__main__"]
    monkeypatch.setattr(study_functions.double, "__module__", "__main__")
    monkeypatch.setattr(main, "double", study_functions.double, raising=False)
    study = of_function(study_functions.double, tmp_path)
    with pytest.raises(ValueError, match="double is defined in the main program"):
        study.run(Now())


def test_tables_and_results_that_are_no_numbers_are_refused(tmp_path):
    table = run(of_function(study_functions.answers_in_words, tmp_path, xs=[1]))
    assert "the measure score = 'good': it must be a number" in table.rows[0]["error"]
    with pytest.raises(ValueError, match="no run of the study has finished"):
        table.means()
