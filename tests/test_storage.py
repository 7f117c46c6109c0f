import errno
import json
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from evsim.schedules import EaseIn
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

import evsim
from evsim import storage
from evsim.network.initialisers import Gamma
from evsim.storage import StorageError
from evsim.storage.replacing import remove_run


def network(weight=None, delay=None):
    weight = (
        csr_array(np.array([[0.1, 0.0, -2.0], [0.0, 0.0, 1e-300]])) if weight is None else weight
    )
    return evsim.Network(
        [
            evsim.Input("input", 3),
            evsim.LIF("hidden", 2, tau_mem=[20.0, 1 / 3], refractory=np.inf),
            evsim.LI("output", 1, tau_syn=7.0),
        ],
        [
            evsim.Connection("input", "hidden", weight, 0.0 if delay is None else delay, name="in"),
            evsim.Connection("hidden", "hidden", np.full((2, 1), np.pi), delay=[[1.0, 0.1]]),
            evsim.Connection("hidden", "output", 0.7, delay=2.5),
        ],
    )


def assert_equal_networks(a, b):
    assert storage.network_structure(a) == storage.network_structure(b)
    first, second = storage.network_arrays(a), storage.network_arrays(b)
    assert list(first) == list(second)
    for name, array in first.items():
        assert array.dtype == second[name].dtype, name
        assert array.shape == second[name].shape, name
        assert array.tobytes() == second[name].tobytes(), name


# -- networks -----------------------------------------------------------------------------


@st.composite
def connections(draw):
    """A weight and a delay of any sharing for two target and three source units."""
    shapes = st.sampled_from([(), (1, 3), (2, 1), (2, 3)])
    seed = np.random.default_rng(draw(st.integers(0, 2**32)))
    weight = seed.normal(size=draw(shapes))
    delay = seed.exponential(size=draw(shapes))
    if draw(st.booleans()):
        mask = seed.random((2, 3)) < draw(st.sampled_from([0.0, 0.5, 1.0]))
        weight = csr_array(np.where(mask, seed.normal(size=(2, 3)), 0))
        if delay.shape == (2, 3) or draw(st.booleans()):
            delay = csr_array((seed.exponential(size=weight.nnz), weight.indices, weight.indptr),
                              shape=(2, 3))  # fmt: skip
    return weight, delay


@settings(max_examples=40, deadline=None)
@given(parameters=connections())
def test_a_loaded_network_is_the_saved_one_to_the_bit(tmp_path_factory, parameters):
    path = tmp_path_factory.mktemp("network") / "network.safetensors"
    saved = network(*parameters)
    storage.save_network(path, saved)
    assert_equal_networks(storage.load_network(path), saved)


def test_drawn_unit_parameters_are_stored_as_they_were_drawn(tmp_path):
    drawn = evsim.LIF("hidden", 5, tau_mem=Gamma(20.0, low=3.0), threshold=evsim.Uniform(1, 2))
    saved = evsim.Network(
        [evsim.Input("input", 3), drawn], [evsim.Connection("input", "hidden", 1.0)], seed=2
    )
    storage.save_network(tmp_path / "drawn", saved)
    assert_equal_networks(storage.load_network(tmp_path / "drawn"), saved)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_refused_by_name(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("network") / "network.safetensors"
    storage.save_network(path, network())
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans(), label="truncate"):
        del content[place:]
    else:
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    with pytest.raises(StorageError, match=str(path)):
        storage.load_network(path)


def test_files_that_are_no_networks_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        storage.load_network(tmp_path / "absent")
    path = tmp_path / "other.safetensors"
    storage.save_arrays(path, "checkpoint", {"x": np.zeros(3)}, {})
    with pytest.raises(StorageError, match="is 'evsim checkpoint 2', not 'evsim network 1'"):
        storage.load_network(path)
    structure = storage.network_structure(network())
    arrays = storage.network_arrays(network())
    arrays["hidden.tau_mem"] = np.array([20.0, -1.0])
    storage.save_arrays(path, "network", arrays, structure)
    with pytest.raises(
        StorageError, match=r"does not describe a network: hidden.tau_mem\[1\] = -1"
    ):
        storage.load_network(path)


# -- files --------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_is_cut_short_leaves_the_old_file(tmp_path, monkeypatch, call):
    path = tmp_path / "file"
    storage.write_atomically(path, b"old")

    def cut(*_):
        raise OSError("cut short")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, cut)
        with pytest.raises(OSError, match="cut short"):
            storage.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    storage.write_atomically(path, b"newer")
    assert path.read_bytes() == b"newer"
    assert os.listdir(tmp_path) == ["file"]  # nothing is left lying about


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_a_full_disk_is_named_and_the_run_goes_on_later(tmp_path):
    import resource

    folder = storage.RunFolder(tmp_path)
    folder.write_checkpoint({"x": np.zeros(3)}, {"settings": {}})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        named = f"{folder.checkpoint} could not be written .* free"
        with pytest.raises(OSError, match=named) as full:
            folder.write_checkpoint({"x": np.ones(3)}, {"settings": {}})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert full.value.errno == errno.EFBIG
    assert os.listdir(tmp_path) == [folder.checkpoint.name]  # what was written takes no room
    assert not folder.begin({}, resume=True)[0]["x"].any()
    folder.write_checkpoint({"x": np.ones(3)}, {"settings": {}})
    assert folder.begin({}, resume=True)[0]["x"].all()


def test_of_several_that_write_a_file_one_is_the_last(tmp_path):
    contents = [bytes([n]) * 1_000_000 for n in range(4)]
    path = tmp_path / "file"

    def write(content):
        for _ in range(8):
            storage.write_atomically(path, content)
            assert path.read_bytes() in contents

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, contents))
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_file_that_is_replaced_keeps_its_permissions_and_a_missing_folder_is_named(tmp_path):
    path = tmp_path / "file"
    storage.write_atomically(path, b"old")
    path.chmod(0o600)
    storage.write_atomically(path, b"new")
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileNotFoundError) as missing:
        storage.write_atomically(tmp_path / "no" / "file", b"new")
    assert missing.value.filename == str(tmp_path / "no" / "file")


# -- run folders --------------------------------------------------------------------------


def test_a_file_behind_a_link_is_replaced_and_the_link_stays(tmp_path):
    (tmp_path / "far").mkdir()
    link, chain = tmp_path / "link.safetensors", tmp_path / "chain.safetensors"
    link.symlink_to(tmp_path / "far" / "network.safetensors")
    chain.symlink_to(link.name)
    for path, weight in ((link, 2.0), (link, 3.0), (chain, 4.0)):
        storage.save_network(path, network().replace({"hidden->output.weight": weight}))
        assert link.is_symlink()
        assert chain.is_symlink()
        assert storage.load_network(chain).parameters["hidden->output.weight"] == weight
    assert [path.name for path in (tmp_path / "far").iterdir()] == ["network.safetensors"]


def test_a_folder_in_use_is_refused_and_free_again_afterwards(tmp_path):
    folder, other = storage.RunFolder(tmp_path / "run"), storage.RunFolder(tmp_path / "run")
    with folder.locked():
        for content in (None, b"", b"\xff", b"not a number"):
            if content is not None:  # the file beside the lock is there for the message alone
                folder.holder.write_bytes(content)
            who = "another process" if content is not None else f"process {os.getpid()} on "
            in_use = pytest.raises(StorageError, match=f"^{who}.* trains in .*: wait")
            with in_use, other.locked():
                pytest.fail("two runs hold one folder")
    with pytest.raises(KeyError), other.locked():
        raise KeyError
    with folder.locked():
        pass
    assert not folder.holder.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\x00\xff\xfe", b"1 another-machine", b"1",
        f"{os.getpid()} {platform.node()}".encode(),  # such as process 1 of every container
    ],
    ids=["empty", "no text", "on another machine", "a process", "this process"],
)  # fmt: skip
def test_whatever_a_process_that_has_ended_left_is_no_obstacle(tmp_path, content):
    folder = storage.RunFolder(tmp_path)
    folder.lock.write_bytes(content)  # a whole one is the lock of version 0.4.0
    folder.holder.write_bytes(content)
    for file in (folder.config, folder.checkpoint, folder.holder):
        file.with_name(f".{file.name}.1a2b3c4d.partial").write_bytes(content)
    with folder.locked():
        assert folder.begin({}, resume=True) is None
        assert not list(tmp_path.glob(".*"))
        folder.write_checkpoint({"x": np.zeros(3)}, {"settings": {}})
    with folder.locked():
        assert folder.begin({}, resume=True) is not None


def test_a_run_is_not_replaced_while_one_of_its_folds_trains(tmp_path):
    run, fold = storage.RunFolder(tmp_path), storage.RunFolder(tmp_path / "speaker_0")
    fold.path.mkdir()
    for each in (run, fold):
        each.config.write_text('{"network": {}}')
    with fold.locked(), pytest.raises(StorageError, match="trains in .*speaker_0"):
        remove_run(tmp_path)
    assert run.config.exists()
    assert fold.config.exists()
    remove_run(tmp_path)
    assert set(os.listdir(tmp_path)) <= {run.lock.name}  # filelock may leave it


def test_a_damaged_list_of_machines_is_named(tmp_path):
    folder = storage.RunFolder(tmp_path)
    folder.add_machines(0, [{"processor": "one"}])
    assert folder.add_machines(3, [{"processor": "another"}]) == ["one"]
    for content in ("{", "[1]", '[{"after": 0}]'):
        folder.machines.write_text(content)
        with pytest.raises(StorageError, match=f"{folder.machines} is damaged: delete it"):
            folder.add_machines(3, [{"processor": "another"}])


ENTER = """
import os, sys, time
from evsim.storage import RunFolder, StorageError

inside = os.path.join(sys.argv[1], "inside")
print(flush=True)
sys.stdin.readline()
for _ in range(150):
    try:
        with RunFolder(sys.argv[1]).locked():
            os.close(os.open(inside, os.O_CREAT | os.O_EXCL | os.O_WRONLY))  # nobody else is
            time.sleep(0.001)
            os.unlink(inside)
    except StorageError:
        time.sleep(0.0003)
"""


def test_of_several_processes_one_holds_a_folder(tmp_path):
    (tmp_path / "lock").write_text("1 another-machine")
    several = [
        subprocess.Popen(
            [sys.executable, "-c", ENTER, tmp_path], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(3)
    ]  # fmt: skip
    for process in several:
        process.stdout.readline()
    for process in several:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in several:
        _, told = process.communicate(timeout=60)
        assert process.returncode == 0, told


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOTSUP])
def test_where_a_file_system_has_no_locks_that_is_said(tmp_path, monkeypatch, code):
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.warns(
            RuntimeWarning, match="has no locks .*: nothing keeps another process"
        ) as told,
        storage.RunFolder(tmp_path).locked(),
    ):
        pass
    assert [each.filename for each in told] == [__file__]


def test_checkpoints_of_another_version_are_refused_with_what_to_do(tmp_path):
    folder = storage.RunFolder(tmp_path)
    folder.write_checkpoint({"x": np.zeros(3)}, {"settings": {}})
    file = tmp_path / "checkpoint.safetensors"
    content = file.read_bytes()
    assert content.count(b"evsim checkpoint 2") == 1
    file.write_bytes(content.replace(b"evsim checkpoint 2", b"evsim checkpoint 1"))
    with pytest.raises(
        StorageError,
        match="is 'evsim checkpoint 1', not 'evsim checkpoint 2': it was written by another",
    ):
        folder.begin({}, resume=True)


# -- settings -----------------------------------------------------------------------------


def test_runs_of_versions_without_a_setting_are_those_with_its_default():
    flat = evsim.readouts.Mean("flat")
    before = {"type": "CrossEntropy", "readout": storage.describe(flat)}  # of version 0.4.0
    assert storage.differences(before, storage.describe(evsim.losses.CrossEntropy(flat))) == []
    smoothed = evsim.losses.CrossEntropy(flat, label_smoothing=0.1)
    (line,) = storage.differences(before, storage.describe(smoothed))
    assert line == "label_smoothing: absent is stored, 0.1 is asked for"


def test_descriptions_survive_json_and_name_what_differs():
    first = storage.describe(
        {
            "loss": evsim.losses.CrossEntropy(evsim.readouts.Mean("exponential")),
            "optimizer": evsim.Adam(0.1, decay=0.9, schedule=EaseIn()),
            "bounds": (0.0, np.inf),
            "function": np.abs,
            "array": np.arange(3.0),
        }
    )
    assert json.loads(json.dumps(first, allow_nan=False)) == first
    assert storage.differences(first, first) == []
    second = storage.describe(
        {
            "loss": evsim.losses.CrossEntropy(evsim.readouts.Mean("flat")),
            "optimizer": evsim.Adam(0.1, decay=0.8, schedule=EaseIn(growth=1.1)),
            "bounds": (0.0, 5.0),
            "function": np.cos,
            "array": np.arange(3.0),
            "seed": 3,
        }
    )
    found = storage.differences(first, second)
    assert [line.split(":")[0] for line in found] == [
        "loss.readout.weighting",
        "optimizer.decay",
        "optimizer.schedule[0].growth",
        "bounds[1]",
        "function",
        "seed",
    ]
    assert found[1] == "optimizer.decay: 0.9 is stored, 0.8 is asked for"
    assert storage.describe(np.arange(3.0)) != storage.describe(np.arange(3))
