"""What is compiled when, and where it is kept: stale caches, folders, several processes."""

import errno
import os
import subprocess
import sys
import time

import numba
import numpy as np
import pytest
from networks import random_case
from numba.core import config

import evsim
from evsim import compiled, compiled_cache, losses, readouts
from evsim.compiled_cache import DigestCache, NoCache, remove_outdated
from evsim.engines import Exact, Grid, Reference, warm


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    """What a test compiles is no part of the engines, and it is told anew."""
    monkeypatch.setattr(compiled, "entry_points", list(compiled.entry_points))
    monkeypatch.setattr(compiled_cache, "_told", set())


# -- a module of its own, in processes of their own -----------------------------------------

MODULE = """
from evsim.compiled import compiled, entry_point
from parts import factor

@compiled
def scaled(x):
    return factor(x) * x

@entry_point
def total(values):
    result = 0.0
    for value in values:
        result += scaled(value)
    return result
"""

PART = """
from evsim.compiled import compiled

@compiled
def factor(x):
    return {factor}
"""

PROGRAM = """
import sys
import numpy as np
from whole import total
values = np.arange(4, dtype=sys.argv[1])
print(total(values), sum(total.stats.cache_misses.values()))
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A folder with two modules, whose cache is in the folder."""
    (tmp_path / "whole.py").write_text(MODULE)
    (tmp_path / "parts.py").write_text(PART.format(factor=2))
    path = os.pathsep.join([str(tmp_path), *sys.path])
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    return tmp_path


def start(kind="float64"):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, kind],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def outcome(process):
    """The total, how many functions have been compiled, and what has been told."""
    out, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    result, misses = out.split()
    return float(result), int(misses), told


def kept(package):
    return {path.name for path in (package / "__pycache__").glob("*.nb?")}


def test_a_change_in_another_file_is_seen_and_what_is_outdated_goes(package):
    result, misses, told = outcome(start())
    assert (result, misses) == (12.0, 1)
    assert told.startswith("evsim: compiling the function total for this machine, once")
    assert told.count("\n") == 1
    before = kept(package)
    assert len(before) == 2
    assert outcome(start()) == (12.0, 0, "")

    other = package / "__pycache__" / "whole.total-11.py311.1.nbc"
    other.write_text("not evsim's: it has no digest")
    changed = package / "parts.py"
    stamp = changed.stat()
    changed.write_text(PART.format(factor=3))
    os.utime(changed, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    result, misses, _ = outcome(start())
    assert (result, misses) == (18.0, 1)
    after = kept(package) - {other.name}
    assert len(after) == 2
    assert not after & before
    assert other.exists()


def test_processes_that_compile_at_once_leave_a_cache_that_is_right(package):
    kinds = ["float64", "int64", "float64", "float32"]
    for process in [start(kind) for kind in kinds]:
        assert outcome(process)[0] == 12.0
    for kind in kinds:
        outcome(start(kind))  # what was lost when indexes were written at once comes back
    for kind in kinds:
        assert outcome(start(kind)) == (12.0, 0, "")


# -- files ------------------------------------------------------------------------------------


def test_two_signatures_never_share_a_file(tmp_path, monkeypatch):
    """Another process stores a signature while this one is storing its own."""
    own, other = (compiled_cache._CacheFiles(str(tmp_path), "function", "stamp") for _ in range(2))
    write = own._save_data

    def write_in_between(name, data):
        monkeypatch.setattr(other, "_load_index", dict)  # read before this process wrote it
        other.save("other signature", "other code")
        write(name, data)

    monkeypatch.setattr(own, "_save_data", write_in_between)
    own.save("own signature", "own code")
    read = compiled_cache._CacheFiles(str(tmp_path), "function", "stamp")
    assert read.load("own signature") == "own code"
    assert read.load("other signature") == "other code"


def test_only_outdated_files_of_evsim_are_removed(tmp_path):
    old, new = "0" * 16, "f" * 16
    outdated = [f"samples.run-7.py311-{old}.nbi", f"samples.run-7.py311-{old}.281474976710655.nbc"]
    stay = [
        f"samples.run-7.py311-{new}.nbi",
        f"samples.run-9.py313-{new}.12.nbc",
        "samples.run-7.py311.nbi",
        "samples.run-7.py311.1.nbc",
        f"samples.run-7.py311-{old}.nbi.tmp.1",
        "samples.cpython-311.pyc",
        f"samples-{old}.py",
    ]
    for name in outdated + stay:
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1e9, 1e9))
    young = f"samples.later-7.py311-{old}.nbi"
    (tmp_path / young).touch()
    os.utime(tmp_path / young, (time.time() + 60,) * 2)
    undeletable = tmp_path / f"samples.folder-7.py311-{old}.nbi"
    undeletable.mkdir()
    os.utime(undeletable, (1e9, 1e9))
    remove_outdated(tmp_path, new)
    assert {path.name for path in tmp_path.iterdir()} == {*stay, young, undeletable.name}


# -- where ------------------------------------------------------------------------------------


def twice(x):
    return 2.0 * x


def no_folder(*arguments):
    raise OSError(errno.EROFS, "Read-only file system")


def test_without_a_folder_to_write_it_is_compiled_in_memory_and_told(monkeypatch, capsys):
    for locator in compiled_cache._DigestCacheImpl._locator_classes:
        monkeypatch.setattr(locator, "ensure_cache_path", no_folder)
    function = compiled.entry_point(twice)
    assert isinstance(function._cache, NoCache)
    assert (function(3.0), function(np.float32(3.0))) == (6.0, 6.0)
    assert capsys.readouterr().err == (
        "evsim: compiling the function twice, which takes some seconds each time because no "
        "folder to keep it in can be written; set NUMBA_CACHE_DIR to one\n"
    )


def test_where_evsim_is_read_only_the_cache_is_the_users(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # Linux
    monkeypatch.setenv("HOME", str(tmp_path))  # macOS
    for locator in compiled_cache._DigestCacheImpl._locator_classes:
        if "InTree" in locator.__name__:
            monkeypatch.setattr(locator, "ensure_cache_path", no_folder)
    function = compiled.entry_point(twice)
    assert isinstance(function._cache, DigestCache)
    assert function(3.0) == 6.0
    assert len(function._cache.files()) == 2
    assert all(tmp_path in file.parents for file in function._cache.files())


def test_a_full_disk_is_told_and_does_not_matter(tmp_path, monkeypatch, capsys):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compiled_cache._CacheFiles, "_save_data", full)
    function = compiled.entry_point(twice)
    assert function(3.0) == 6.0
    assert capsys.readouterr().err.splitlines()[1:] == [
        "evsim: the compiled function twice is not kept for the next time: "
        "[Errno 28] No space left on device"
    ]


# -- ahead ------------------------------------------------------------------------------------


def signatures():
    return {
        (function.py_func.__module__, function.__name__): list(function.signatures)
        for function in compiled.entry_points
    }


@pytest.mark.parametrize(
    "engine", [Exact(threads=1), Grid(dt=0.5, threads=1), Grid(dt=0.5, precision="float32")],
    ids=["exact", "grid, float64", "grid, float32"],
)  # fmt: skip
def test_nothing_is_compiled_after_warming(engine):
    warm(engine)
    before = signatures()
    package = type(engine).__module__.partition(".")[0]
    assert all(found for (module, _), found in before.items() if module.startswith(f"{package}."))
    for kind in ("feedforward", "recurrent"):
        case = random_case(np.random.default_rng(1), kind, batch=2, output="LI")
        times, labels = [2.0, 0.0], np.array([0, 1])
        for loss in (
            losses.CrossEntropy(readouts.Mean("linear")),
            losses.CrossEntropy(readouts.Peak()),
            losses.TimeAveragedCrossEntropy(),
        ):
            found = evsim.gradient(
                case.network, case.inputs, labels, loss, 20.0, engine=engine,
                dropout=evsim.Dropout({"left": 0.2}),
            )  # fmt: skip
            assert found.report.arrivals > 0
            found.lambda_V("output", times)
            found.run.voltage("first", times)
    assert signatures() == before
    again = warm(engine)
    assert (again.compiled, again.found) == (0, 0)


def test_engines_that_numba_does_not_compile_are_not_warmed():
    with pytest.raises(ValueError, match="is not compiled ahead: that is for the exact engine"):
        warm(Reference())


def test_functions_for_others_can_be_called_from_python():
    @compiled.compiled
    def square(x):
        return x * x

    @numba.njit
    def cube(x):
        return x * square(x)

    assert cube(3.0) == 27.0
    assert square(3.0) == 9.0
    assert cube(np.float32(2.0)) == 8.0
