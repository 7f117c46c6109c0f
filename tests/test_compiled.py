"""When functions are compiled and where code is stored: stale caches, folders, processes."""

import ctypes
import errno
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numba
import numpy as np
import pytest
from networks import random_case
from numba.core import config

import evsim
import evsim_gpu
from evsim import losses, readouts
from evsim._compile import cache as compiled_cache
from evsim._compile import decorators as compiled
from evsim._compile.cache_files import remove_outdated
from evsim.engines import Exact, Grid, Reference, warm
from evsim.engines.exact.kernels import input_order as ordering
from evsim.engines.exact.kernels.backward import pull_back
from evsim.engines.exact.kernels.forward import simulate as samples
from evsim.engines.exact.kernels.readouts import voltages as kernel_readouts
from evsim_gpu.cpu import samples as grid_samples

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    """What a test compiles does not count as part of the engines; messages are printed again."""
    monkeypatch.setattr(compiled, "entry_points", list(compiled.entry_points))
    monkeypatch.setattr(compiled_cache, "_printed", set())


# -- a module of its own, in processes of their own -----------------------------------------

MODULE = """
from evsim._compile.decorators import compiled, entry_point
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
from evsim._compile.decorators import compiled

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


def start(kind="float64", program=PROGRAM, before=None):
    return subprocess.Popen(
        [sys.executable, "-c", program, kind], preexec_fn=before,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def said(process):
    """The standard output and standard error of a process that succeeds."""
    out, told = process.communicate(timeout=300)
    assert process.returncode == 0, told
    return out, told


def outcome(process):
    """The total, the number of compiled functions, and the messages."""
    out, told = said(process)
    result, misses = out.split()
    return float(result), int(misses), told


def kept(package):
    return {path.name for path in (package / "__pycache__").glob("*.nb?")}


def test_a_change_in_another_file_is_seen_and_what_is_outdated_goes(package):
    result, misses, told = outcome(start())
    assert (result, misses) == (12.0, 1)
    assert told.startswith("evsim: compiling the function total, once for this machine; this takes")
    assert told.count("\n") == 1
    before = kept(package)
    assert len(before) == 1
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
    assert len(after) == 1
    assert not after & before
    assert other.exists()


def test_processes_that_compile_at_once_leave_a_cache_that_is_right(package):
    kinds = {"float64", "int64"}
    for process in [start(kind) for kind in [*kinds, "float64"]]:
        assert outcome(process)[0] == 12.0
    for kind in kinds:
        outcome(start(kind))  # what was lost when files were written at once comes back
    for process in [start(kind) for kind in kinds]:
        assert outcome(process) == (12.0, 0, "")


# -- files ------------------------------------------------------------------------------------


DAMAGE = {
    "empty": lambda content: b"",
    "a part of the head": lambda content: content[:20],
    "the head alone": lambda content: content[:48],
    "cut": lambda content: content[:-1],
    "too long": lambda content: content + b"0",
    "another format": lambda content: b"E" + content[1:],
    "zeros": lambda content: bytes(len(content)),
    "a pickle that asks for memory": lambda content: b"\x80\x04\x8e" + b"\xff" * 8,
    "a bit of the code": lambda content: content[:500] + bytes([content[500] ^ 1]) + content[501:],
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_as_if_it_were_not_there(damage, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    assert compiled.entry_point(twice)(3.0) == 6.0
    (file,) = tmp_path.rglob("*.nbc")
    file.write_bytes(DAMAGE[damage](file.read_bytes()))
    again, after = compiled.entry_point(twice), compiled.entry_point(twice)
    assert again(3.0) == 6.0
    assert sum(again.stats.cache_misses.values()) == 1
    assert after(3.0) == 6.0
    assert sum(after.stats.cache_hits.values()) == 1
    assert list(tmp_path.rglob("*.nb*")) == [file]
    assert capsys.readouterr().err.count("\n") == 1


def test_a_file_in_the_way_of_the_cache_is_no_cache(tmp_path, monkeypatch, capsys):
    """A folder has the name of the cache file."""
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    assert compiled.entry_point(twice)(3.0) == 6.0
    (file,) = tmp_path.rglob("*.nbc")
    file.unlink()
    (file / "full").mkdir(parents=True)
    assert compiled.entry_point(twice)(3.0) == 6.0
    assert "the compiled function twice is not kept for the next time" in capsys.readouterr().err


def test_only_outdated_files_of_evsim_are_removed(tmp_path):
    old, new = "0" * 16, "f" * 16
    outdated = [
        f"samples.run-7.py311-{old}.nbi",  # of evsim 0.4.0 and before
        f"samples.run-7.py311-{old}.281474976710655.nbc",
        f"samples.run-7.py311-{old}.{32 * 'a'}.nbc",
        f"samples.run-7.py311-{old}.{32 * 'a'}.nbc.tmp.0123456789abcdef",
    ]
    stay = [
        f"samples.run-7.py311-{new}.nbi",
        f"samples.run-9.py313-{new}.12.nbc",
        "samples.run-7.py311.nbi",
        "samples.run-7.py311.1.nbc",
        f"samples.run-7.py311-{old}.nbi.old",
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


def obeying_permissions():
    """Make the system refuse the superuser like other users, where this is possible."""
    if sys.platform == "linux" and os.geteuid() == 0:
        drop_capability, may_write_everywhere = 24, 1
        ctypes.CDLL(None).prctl(drop_capability, may_write_everywhere, 0, 0, 0)


@pytest.fixture
def read_only(package, monkeypatch):
    """A function that makes the package read-only; the user's cache is a folder of its own."""
    user = package / "user"
    user.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(user))  # Linux
    monkeypatch.setenv("HOME", str(user))  # macOS
    made = []

    def make(*folders):
        for folder in folders:
            made.append((folder, folder.stat().st_mode))
            folder.chmod(0o555)
        written = f"open({str(folders[0] / 'file')!r}, 'w')"
        attempt = start(program=written, before=obeying_permissions)
        attempt.communicate(timeout=120)
        if attempt.returncode == 0:
            pytest.skip("this user may write everywhere")

    yield make
    for folder, mode in made:
        folder.chmod(mode)


def files_in(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_what_was_compiled_before_an_installation_became_read_only_is_used(
    package, read_only, monkeypatch
):
    assert outcome(start())[:2] == (12.0, 1)
    read_only(package / "__pycache__", package)
    assert outcome(start(before=obeying_permissions)) == (12.0, 0, "")
    assert files_in(package / "user") == []
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(package / "user"))
    assert outcome(start(before=obeying_permissions)) == (12.0, 0, "")
    assert files_in(package / "user") == []


def test_where_evsim_is_read_only_the_cache_is_the_users(package, read_only):
    read_only(package)
    result, misses, told = outcome(start(before=obeying_permissions))
    assert (result, misses) == (12.0, 1)
    assert "once for this machine" in told
    assert outcome(start(before=obeying_permissions)) == (12.0, 0, "")
    assert [file.suffix for file in files_in(package / "user")] == [".nbc"]
    assert kept(package) == set()


def test_without_a_folder_to_write_it_is_compiled_in_memory_and_told(package, read_only):
    read_only(package, package / "user")
    for _ in range(2):
        assert outcome(start(before=obeying_permissions)) == (
            12.0,
            1,
            "evsim: compiling the function total, which takes some seconds each time because no "
            "folder to keep it in can be written; set NUMBA_CACHE_DIR to one\n",
        )


def test_a_full_disk_is_told_and_does_not_matter(tmp_path, monkeypatch, capsys):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(Path, "write_bytes", full)
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


def test_each_part_is_told_once_by_its_kind_of_network(tmp_path, monkeypatch, capsys):
    """The cache is empty, and compilation is replaced."""
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))

    def look_for(function, **types):
        code = function.py_func.__code__
        names = code.co_varnames[: code.co_argcount]
        assert set(types) <= set(names)
        signature = tuple(types.get(name, numba.types.int64) for name in names)
        assert function._cache.load_overload(signature, function.targetctx) is None

    for _ in range(2):
        for recurrent in (numba.types.none, numba.types.boolean[::1]):
            look_for(samples.simulate_samples, recurrent=recurrent)
            look_for(pull_back.pull_back_samples, recurrent=recurrent)
        look_for(samples.count_arrivals)
        look_for(ordering.order_by_delay)
        look_for(kernel_readouts.read_means)
        for real in (numba.float32, numba.float64):
            look_for(grid_samples.simulate_samples, network=real[::1])
            look_for(grid_samples.pull_back_samples, network=real[::1])
    once = ", once for this machine; this takes some seconds"
    assert capsys.readouterr().err.splitlines() == [
        "evsim: compiling the exact engine's loops for layered networks"
        f"{once} (evsim info --warm compiles everything ahead)",
        f"evsim: compiling the exact engine's loops for recurrent networks{once}",
        f"evsim: compiling the exact engine's loops for all networks{once}",
        f"evsim: compiling the exact engine's readouts{once}",
        f"evsim: compiling the grid engine's loops in float32{once}",
        f"evsim: compiling the grid engine's loops in float64{once}",
    ]


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


# -- source -----------------------------------------------------------------------------------

COPIED = (Path(evsim.__file__).parent, Path(evsim_gpu.__file__).parent)

ORDERED = """
import numpy as np
import evsim
from evsim.engines.exact.kernels.input_order import order_by_delay
order = order_by_delay(np.array([3.0, 1.0, 2.0]), np.arange(3), np.array([0, 3]))
print(evsim.__file__, *order)
"""

OF_ONE = """
from evsim._compile.decorators import entry_point
from evsim.equations.exponential import fast_exp

@entry_point
def exp_of(x):
    return fast_exp(x)
"""

EDITS = """
from pathlib import Path
import evsim, evsim_gpu
from evsim._compile.cache_files import source_digest
from evsim_gpu.cuda.launching import FILES, TRAINING_FILES, kernel_source

exact = Path(evsim.__file__).parent / "engines" / "exact" / "kernels" / "forward"
loops = Path(evsim_gpu.__file__).parent / "cpu"

def digests():
    cuda = kernel_source(FILES) + kernel_source(TRAINING_FILES)
    return source_digest(exact), source_digest(loops), cuda

before = digests()
assert digests() == before
for package in (evsim, evsim_gpu):
    top = Path(package.__file__).parents[1]
    for file in sorted(Path(package.__file__).parent.rglob("*.*")):
        if file.suffix not in (".py", ".cu", ".cuh"):
            continue
        file.write_bytes(file.read_bytes() + b"\\n")
        after = digests()
        changed = "".join(n for n, old, new in zip("egc", before, after) if old != new)
        before = after
        print(file.relative_to(top).as_posix(), changed or "-")
"""


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A folder with copies of both packages that are imported first, without a cache."""
    for package in COPIED:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(package, tmp_path / "copy" / package.name, ignore=ignored)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "copy"), *sys.path]))
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "copy"


def test_a_change_in_any_file_that_compiled_code_depends_on_is_seen(copy):
    """And no change elsewhere: that would compile for nothing."""
    lines, _ = said(start(program=EDITS))
    changed = dict(line.split() for line in lines.splitlines())
    kernels = "evsim/engines/exact/kernels/"
    for file in ("lif.py", "exponential.py"):
        assert changed[f"evsim/equations/{file}"] == "eg"
    assert changed["evsim/_compile/decorators.py"] == "eg"
    assert changed["evsim/network/dropout.py"] == "eg"  # its hash is compiled
    assert changed[f"{kernels}forward/queue.py"] == "e"
    assert changed[f"{kernels}backward/arrival_gradients.py"] == "-"
    assert changed["evsim_gpu/cpu/forward.py"] == changed["evsim_gpu/model/coefficients.py"] == "g"
    for file, kinds in changed.items():
        assert kinds == "c" or not file.endswith((".cu", ".cuh")), file
        if file.startswith(f"{kernels}forward/") and not file.endswith("__init__.py"):
            assert "e" in kinds, file
        if file.startswith("evsim_gpu/cpu/"):
            assert "g" in kinds, file
        if file.startswith(("evsim/cli/", "evsim/tasks/", "evsim/plotting/", "evsim/training/")):
            assert kinds == "-", file
    assert len(changed) > 200


def test_what_exponential_computes_is_never_stale(copy):
    """It is compiled into functions of other files, here one of a user's."""
    (copy / "of_one.py").write_text(OF_ONE)
    program = (
        "from of_one import exp_of; print(exp_of(1.0), sum(exp_of.stats.cache_misses.values()))"
    )
    right, misses, _ = outcome(start(program=program))
    assert (right, misses) == (pytest.approx(np.e, rel=1e-15), 1)
    assert outcome(start(program=program)) == (right, 0, "")
    source = copy / "evsim" / "equations" / "exponential.py"
    stamp, text = source.stat(), source.read_text()
    assert "    return (1.0 + rest) *" in text
    source.write_text(text.replace("    return (1.0 + rest) *", "    return 2.0 * (1.0 + rest) *"))
    os.utime(source, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert outcome(start(program=program))[:2] == (2.0 * right, 1)


def bytecode_alone(copy):
    subprocess.run([sys.executable, "-m", "compileall", "-q", "-b", str(copy)], check=True)
    for source in copy.rglob("*.py"):
        source.unlink()
    return copy


def archive(copy):
    path = copy.with_name("lib.zip")
    with zipfile.ZipFile(path, "w") as opened:
        for file in copy.rglob("*"):
            opened.write(file, file.relative_to(copy))
    shutil.rmtree(copy)
    return path


@pytest.mark.parametrize("installed", [bytecode_alone, archive])
def test_installations_without_source_files_work_and_keep_what_they_compile(
    installed, copy, monkeypatch
):
    place = installed(copy)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(place), *sys.path]))
    for messages in (1, 0):
        out, told = said(start(program=ORDERED))
        file, *order = out.split()
        assert Path(file).is_relative_to(place)
        assert order == ["1", "2", "0"]
        assert told.count("compiling the exact engine's loops for all networks") == messages
    help_text, _ = said(
        start("--help", "from evsim.cli import main; main(['train', 'shd', '--help'])")
    )
    assert "--epochs" in help_text


# -- not at all ---------------------------------------------------------------------------------

COMPARED = """
import numpy as np
import evsim
from evsim import losses, readouts
from evsim.engines import Exact, Grid
from networks import random_case

for kind in ("feedforward", "recurrent"):
    for engine in (Exact(threads=1), Grid(dt=0.5, threads=1)):
        case = random_case(np.random.default_rng(1), kind, batch=2, output="LI")
        for loss in (losses.CrossEntropy(readouts.Peak()), losses.TimeAveragedCrossEntropy()):
            found = evsim.gradient(
                case.network, case.inputs, np.array([0, 1]), loss, 20.0, engine=engine,
                dropout=evsim.Dropout({"left": 0.2}, seed=0),
            )
            values = [found.loss, *found.run.voltage("first", [2.0, 9.0]).ravel()]
            for gradient in found.parameters.values():
                values += np.ravel(gradient).tolist()
            print(*map(float, values))
"""


WARM = """
from evsim.engines import warm
try:
    warm("exact")
except ValueError as error:
    print(error)
"""


def test_without_compiling_the_numbers_are_the_same(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))
    compiled_numbers = [line.split() for line in said(start(program=COMPARED))[0].splitlines()]
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    out, told = said(start(program=COMPARED))
    numbers = [line.split() for line in out.splitlines()]
    assert told == ""
    assert len(numbers) == len(compiled_numbers) == 8
    for own, other in zip(numbers, compiled_numbers, strict=True):
        scale = np.abs(np.array(other, float)).max()
        np.testing.assert_allclose(
            np.array(own, float), np.array(other, float), 1e-9, 1e-12 * scale
        )
    out, _ = said(start(program=WARM))
    assert out == "nothing is compiled while NUMBA_DISABLE_JIT is set: unset it\n"
