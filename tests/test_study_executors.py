"""Studies on the executors of other libraries; each test needs the library that it is about."""

import json
import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ProcessPoolExecutor

import pytest
import study_functions

from evsim.cli import main
from evsim.study import Study

pytestmark = pytest.mark.slow

XS = [1, 2, 3, 4]


def of_function(function, folder, **settings):
    return Study(function, {"x": XS}, seeds=1, folder=folder, settings=settings)


def check_scores(table):
    assert table.columns["score"] == [2.0, 4.0, 6.0, 8.0]
    assert set(table.columns["state"]) == {"finished"}


# -- Dask --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None
    ) as cluster:
        yield cluster


@pytest.mark.filterwarnings("ignore")
def test_a_dask_cluster_and_its_client_run_a_study(cluster, tmp_path):
    from distributed import Client

    check_scores(of_function(study_functions.double, tmp_path / "a").run(cluster, progress=False))
    with Client(cluster) as client:
        study = of_function(study_functions.double, tmp_path / "b")
        check_scores(study.run(client, progress=False))


@pytest.mark.filterwarnings("ignore")
def test_equal_work_is_done_again_by_the_same_client(cluster, tmp_path):
    """Dask would take two calls with equal arguments for one."""
    from distributed import Client

    with Client(cluster) as client:
        study = of_function(study_functions.lacks_memory_once, tmp_path)
        assert set(study.run(client, progress=False).columns["state"]) == {"failed"}
        assert set(study.run(client, progress=False).columns["state"]) == {"finished"}


@pytest.mark.filterwarnings("ignore")
def test_a_killed_worker_of_dask_is_replaced(cluster, tmp_path):
    from distributed import Client

    release = tmp_path / "release"
    study = of_function(
        study_functions.waits_for, tmp_path / "study", here=str(tmp_path / "here"),
        until=str(release),
    )  # fmt: skip

    def kill_one():
        try:
            folder = study.cell_folder(study.cells[0])
            os.kill(study_functions.process_of(folder), signal.SIGKILL)
        finally:
            release.touch()

    killer = threading.Thread(target=kill_one)
    killer.start()
    with Client(cluster) as client:
        table = study.run(client, progress=False)
    killer.join()
    assert set(table.columns["state"]) == {"finished"}


@pytest.mark.filterwarnings("ignore")
def test_the_command_takes_the_address_of_a_scheduler(cluster, tmp_path, monkeypatch, capsys):
    file = tmp_path / "study.toml"
    file.write_text('task = "study_functions:double"\nseeds = 1\nvary.x = [1, 2]\n')
    out = str(tmp_path / "study")
    words = ["study", str(file), "--out", out, "--scheduler", cluster.scheduler_address]
    assert main(words) == 0
    assert "2 of 2 runs are finished" in capsys.readouterr().out


def test_a_scheduler_that_does_not_answer_is_told_in_a_sentence(tmp_path, capsys, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("evsim.cli.schedulers.CONNECT", 0.5)
    words = ["study", "yin-yang", "--vary", "hidden=3", "--out", str(tmp_path / "s")]
    assert main([*words, "--scheduler", "tcp://127.0.0.1:9"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "tcp://127.0.0.1:9: no Dask scheduler answers there within 0.5 s" in error


SBATCH = """\
#!/bin/sh
# A cluster of one machine: the job begins at once.  It has a copy of its script, as with SLURM,
# because dask-jobqueue deletes the script when sbatch has returned.
for script; do :; done
copy=$(mktemp -p .)
cp "$script" "$copy"
sh "$copy" >"$copy.out" 2>&1 &
echo "Submitted batch job $$"
"""


@pytest.mark.filterwarnings("ignore")
def test_jobs_of_slurm_run_a_study(tmp_path, monkeypatch):
    """With an sbatch that starts each job on this machine."""
    pytest.importorskip("dask_jobqueue")
    commands = tmp_path / "commands"
    commands.mkdir()
    for name, text in (("sbatch", SBATCH), ("scancel", "#!/bin/sh\n")):
        (commands / name).write_text(text)
        (commands / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "study.toml"
    file.write_text('task = "study_functions:double"\nseeds = 1\nvary.x = [1, 2]\n')
    where = "slurm:partition=cpu,cores=1,memory=1GB,walltime=00:10:00,jobs=1"
    # In a process of its own, where no other cluster is.
    words = ["study", str(file), "--out", str(tmp_path / "s"), "--scheduler", where]
    done = subprocess.run(
        [sys.executable, "-m", "evsim", *words],
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "2 of 2 runs are finished" in done.stdout


# -- the standard library ----------------------------------------------------------------------


def test_a_broken_pool_is_told_and_what_is_left_can_be_run(tmp_path):
    study = of_function(study_functions.kills_its_process, tmp_path)
    with (
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor,
        pytest.raises(RuntimeError, match="the executor is broken .*: run the study again"),
    ):
        study.run(executor, progress=False)
    assert study.status()["failed"] == 0
    assert study.table().columns["state"][0] == "finished"


# -- others ------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["list", "generator_unordered"])
def test_joblib_runs_a_study(how, tmp_path, capfd):
    joblib = pytest.importorskip("joblib")
    study = of_function(study_functions.double, tmp_path)
    check_scores(study.run(joblib.Parallel(n_jobs=2, return_as=how), progress=False))
    assert "Traceback" not in capfd.readouterr().err  # of a thread of a worker


def test_an_error_of_a_worker_of_joblib_ends_only_its_cell(tmp_path, monkeypatch):
    joblib = pytest.importorskip("joblib")
    monkeypatch.setattr("evsim.study.study.evsim_version", lambda: "0.0.9")
    study = of_function(study_functions.double, tmp_path)
    table = study.run(joblib.Parallel(n_jobs=2), progress=False)
    assert all("was started with evsim 0.0.9" in error for error in table.columns["error"])


@pytest.mark.filterwarnings("ignore")
def test_submitit_runs_a_study(tmp_path, monkeypatch):
    submitit = pytest.importorskip("submitit")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    executor = submitit.LocalExecutor(folder=tmp_path / "jobs")
    executor.update_parameters(timeout_min=5)
    study = of_function(study_functions.double, tmp_path / "study")
    check_scores(study.run(executor, progress=False))


MPI = """
    import sys
    from mpi4py.futures import MPIPoolExecutor
    import study_functions
    from evsim.study import Study

    if __name__ == "__main__":
        study = Study(study_functions.double, {"x": [1, 2, 3, 4]}, seeds=1, folder=sys.argv[1])
        with MPIPoolExecutor() as executor:
            print(study.run(executor, progress=False).to_csv())
"""


def test_mpi_runs_a_study(tmp_path):
    pytest.importorskip("mpi4py")
    mpiexec = os.path.join(os.path.dirname(sys.executable), "mpiexec")
    if not os.path.exists(mpiexec):
        pytest.skip("there is no mpiexec beside Python")
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(MPI))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for name in ("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"):
        environment[name] = "1"
    result = subprocess.run(
        [mpiexec, "--oversubscribe", "-n", "2", sys.executable, "-m", "mpi4py.futures",
         program, tmp_path / "study"],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert [line.split(",")[3] for line in result.stdout.split()[1:]] == [
        "2.0",
        "4.0",
        "6.0",
        "8.0",
    ]
    stored = json.loads((tmp_path / "study" / "study.json").read_text())
    assert stored["task"] == "study_functions:double"
