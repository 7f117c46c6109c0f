"""Damaged files of every format raise one error that names the file, within bounded memory."""

import gzip
import io
import os
import re
import subprocess
import sys
import zipfile

import h5py
import numpy as np
import pytest
from data_files import (
    BRAILLE_FORMS,
    GOOD_LETTERS,
    idx_bytes,
    pickled,
    rows,
    touched,
    ts_text,
    write_cochlea,
    write_spoken,
)
from evsim.datasets import DataFileError

import evsim
from evsim import datasets, storage

pytestmark = pytest.mark.slow

# -- what is read, and how --------------------------------------------------------------------


def spoken(path):
    datasets.read_recordings(path, classes=3)


def spoken_bytes(folder):
    path = folder / "whole.h5"
    write_spoken(path, 3)
    return path.read_bytes()


def network_bytes(folder):
    network = evsim.Network(
        [evsim.Input("input", 3), evsim.LIF("hidden", 2), evsim.LI("output", 2)],
        [
            evsim.Connection("input", "hidden", np.ones((2, 3)), np.ones((2, 3))),
            evsim.Connection("hidden", "output", 1.0),
        ],
    )
    storage.save_network(folder / "whole", network)
    return (folder / "whole").read_bytes()


def npz_bytes(folder):
    np.savez_compressed(folder / "whole.npz", **GOOD_LETTERS)
    return (folder / "whole.npz").read_bytes()


def zipped(content):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("spoken.h5", content)
    return buffer.getvalue()


IMAGES = idx_bytes(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))

# How a format is read, and a good file of it.
FORMATS = {
    "idx": (lambda path: datasets.read_idx(path, 3), lambda folder: IMAGES),
    "idx.gz": (lambda path: datasets.read_idx(path, 3), lambda folder: gzip.compress(IMAGES)),
    "rows.pkl": (datasets.read_braille, lambda folder: BRAILLE_FORMS["rows"]),
    "arrays.pkl": (datasets.read_braille, lambda folder: BRAILLE_FORMS["arrays"]),
    "pandas1.pkl": (datasets.read_braille, lambda folder: BRAILLE_FORMS["pandas 1.2.5"]),
    "pandas2.pkl": (datasets.read_braille, lambda folder: BRAILLE_FORMS["pandas 2.3.3"]),
    "pandas3.pkl": (datasets.read_braille, lambda folder: BRAILLE_FORMS["pandas 3.1.1"]),
    "pkl.gz": (datasets.read_braille, lambda folder: BRAILLE_FORMS["packed"]),
    "npz": (datasets.read_braille, npz_bytes),
    "ts": (datasets.read_ts, lambda folder: ts_text().encode()),
    "h5": (spoken, spoken_bytes),
    "h5.gz": (spoken, lambda folder: gzip.compress(spoken_bytes(folder))),
    "h5.zip": (spoken, lambda folder: zipped(spoken_bytes(folder))),
    "safetensors": (storage.load_network, network_bytes),
}

EXTREMES = [0, 1, 2**7, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1, 3 * 10**9]


def damaged(content, generator):
    """A file after one to three of the accidents that happen to files."""
    content = bytearray(content)
    for _ in range(generator.integers(1, 4)):
        place = int(generator.integers(0, len(content) + 1))
        accident = generator.integers(0, 6)
        if accident == 0 and place < len(content):
            content[place] = generator.integers(0, 256)
        elif accident == 1 and place < len(content):
            content[place] ^= 1 << generator.integers(0, 8)
        elif accident == 2:
            size = int(generator.choice([1, 2, 4, 8]))
            number = int(generator.choice(np.array(EXTREMES, np.uint64))) % 256**size
            order = "little" if generator.random() < 0.5 else "big"
            content[place : place + size] = number.to_bytes(size, order)
        elif accident == 3:
            del content[place : place + int(generator.integers(1, 64))]
        elif accident == 4:
            start = int(generator.integers(0, len(content) + 1))
            content[place:place] = content[start : start + int(generator.integers(1, 64))]
        elif generator.random() < 0.3:
            del content[place:]
        content = content or bytearray(b"\0")
    return bytes(content)


def read_damaged(name, folder, seeds):
    """Read damaged files of a format; what else came of them than data or the one error."""
    read, make = FORMATS[name]
    whole = make(folder)
    path = folder / f"damaged.{name}"
    path.write_bytes(whole)
    read(path)
    wrong = []
    for seed in seeds:
        path.write_bytes(damaged(whole, np.random.default_rng(seed)))
        try:
            read(path)
        except (DataFileError, storage.StorageError) as error:
            if path.name not in str(error):
                wrong.append(f"{seed}: {error}")
        except Exception as error:
            wrong.append(f"{seed}: {error!r}")
    return wrong


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files_are_refused_by_name(name, tmp_path):
    assert read_damaged(name, tmp_path, range(300)) == []


# -- small files that announce or unpack to more than there is memory -------------------------


def shared_lists():
    """24 KB of pickle: one list of 3000 times, 24 times for each of 3000 samples."""
    times = [0.5] * 3000
    sample = [[times, times]] * 12
    return pickled(rows([("A", sample)] * 3000))


def doubling_lists():
    """A letter of lists in lists that is 2**60 long when it is written out."""
    letter = ["A"]
    for _ in range(60):
        letter = [letter, letter]
    return pickled([{"letter": letter, "events": touched()}])


def deep_key():
    """A dict whose key is a tuple in 200,000 tuples."""
    return b"\x80\x04}" + b")" + b"\x85" * 200_000 + b"Ns."


def h5_of(folder, change):
    path = folder / "made.h5"
    write_spoken(path, 3)
    with h5py.File(path, "r+") as file:
        change(file, folder)
    return path.read_bytes()


def replaced(name, **how):
    def change(file, folder):
        if name in file:
            del file[name]
        file.create_dataset(name, **how)

    return change


def shared_recordings(folder):
    """4,000 recordings, all of them the same 60,000 spikes."""
    path = folder / "shared.h5"
    silent = [[]] * 3_999
    write_cochlea(path, [[0.5] * 60_000, *silent], [[1] * 60_000, *silent], [0] * 4_000)
    with h5py.File(path) as file:
        places = [file[f"spikes/{name}"].id.get_offset() for name in ("times", "units")]
    content = bytearray(path.read_bytes())
    for place in places:  # 16 bytes say how long a recording is and where it lies
        content[place : place + 16 * 4_000] = content[place : place + 16] * 4_000
    return bytes(content)


def long_entry(folder):
    """One recording that says it has three billion spikes."""
    path = folder / "long.h5"
    write_cochlea(path, [[0.5]], [[1]], [0])
    with h5py.File(path) as file:
        place = file["spikes/times"].id.get_offset()
    content = bytearray(path.read_bytes())
    content[place : place + 4] = (3 * 10**9).to_bytes(4, "little")
    return bytes(content)


def endless_heap(folder):
    """A heap in which the next object is at the same place."""
    content = bytearray(spoken_bytes(folder))
    first = content.index(b"GCOL") + 16
    content[first + 8 : first + 16] = (2**64 - 16).to_bytes(8, "little")
    return bytes(content)


def outside(file, folder):
    """Labels that are the bytes of another file."""
    (folder / "secret").write_bytes(bytes(range(32)))
    del file["labels"]
    external = [(str(folder / "secret"), 0, 32)]
    file.create_dataset("labels", (4,), np.int64, external=external)


def linked(file, folder):
    write_spoken(folder / "other.h5", 3)
    del file["labels"]
    file["labels"] = h5py.ExternalLink(str(folder / "other.h5"), "labels")


def linked_twice(file, folder):
    write_spoken(folder / "other.h5", 3)
    del file["labels"]
    file["other"] = h5py.ExternalLink(str(folder / "other.h5"), "/")
    file["labels"] = h5py.SoftLink("/other/labels")


def circular(file, folder):
    del file["labels"]
    file["labels"] = h5py.SoftLink("/labels")


def virtual(file, folder):
    write_spoken(folder / "other.h5", 3)
    layout = h5py.VirtualLayout((4,), np.int64)
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "labels", (4,))
    del file["labels"]
    file.create_virtual_dataset("labels", layout)


def references(file, folder):
    replaced("extra/speaker", data=[file.ref] * 4, dtype=h5py.ref_dtype)(file, folder)


HUGE = 500_000_000

BOMBS = {
    "shared.pkl": (shared_lists, "again and again"),
    "doubling.pkl": (doubling_lists, "is the letter"),
    "bytes.pkl": (lambda: b"\x80\x05\x96" + (3 * 10**9).to_bytes(8, "little") + b".", "3000000000"),
    "key.pkl": (deep_key, "a key is neither text nor a number"),
    "zeros.pkl": (lambda: gzip.compress(bytes(2**26)), "unpacks to more than"),
    "zeros.idx": (lambda: gzip.compress(IMAGES[:4] + b"\0\0\x40\0\0\0\1\0\0\0\1\0" + bytes(2**26)),
                  "announces the shape"),
    "idx": (lambda: IMAGES[:4] + b"\xff" * 12, "announces the shape"),
}  # fmt: skip

H5_BOMBS = {
    "labels announced": (
        replaced("labels", shape=(HUGE,), dtype=np.int64, chunks=(2**20,)), "labels announces"
    ),
    "labels packed": (
        replaced("labels", shape=(2**23,), dtype=np.int64, chunks=(2**20,), compression="gzip",
                 fillvalue=1, data=np.zeros(2**23, np.int64)), "labels announces"
    ),
    "keys announced": (
        replaced("extra/keys", shape=(HUGE,), dtype="S100", chunks=(2**20,)), "extra/keys"
    ),
    "recordings announced": (
        replaced("spikes/times", shape=(HUGE,), dtype=h5py.vlen_dtype(np.float32), chunks=(2**10,)),
        "spikes/times announces",
    ),
    "external storage": (outside, "labels is kept in another file"),
    "external link": (linked, "labels is kept in another file"),
    "soft link to an external one": (linked_twice, "other is kept in another file"),
    "circle": (circular, "goes in circles"),
    "virtual": (virtual, "labels is kept in another file"),
    "NaN label": (replaced("labels", data=[0.0, 1.0, np.nan, 2.0]), "sample 2 has the label nan"),
    "float label": (replaced("labels", data=[0.0, 1.5, 2.0, 2.0]), "sample 1 has the label 1.5"),
    "NaN speaker": (
        replaced("extra/speaker", data=[0.0, np.nan, 1.0, 1.0]), "sample 1 has the speaker nan"
    ),
    "speakers of two columns": (
        replaced("extra/speaker", data=np.zeros((4, 2), int)), r"extra/speaker has shape \(4, 2\)"
    ),
    "speakers beyond 64 bits": (
        replaced("extra/speaker", data=np.full(4, 2**63, np.uint64)), "sample 0 has the speaker"
    ),
    "references for speakers": (
        references,
        "extra/speaker has type object",
    ),
    "speakers without text": (
        replaced("extra/speaker", data=np.array([b"\xff"] * 4)), "extra/speaker holds no text"
    ),
}  # fmt: skip

LIMITED = """
import resource, sys
import evsim, h5py
from evsim import datasets
now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + 3 * 2**28, now + 3 * 2**28))
for path in sys.argv[1:]:
    readers = {"h5": lambda path: datasets.read_recordings(path, classes=3),
               "idx": lambda path: datasets.read_idx(path, 3), "pkl": datasets.read_braille}
    try:
        readers[path.rsplit(".")[-1]](path)
    except datasets.DataFileError as error:
        print(path, "|", " ".join(str(error).split()))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits memory by RLIMIT_AS")
def test_small_files_do_not_take_the_memory(tmp_path):
    paths = {}
    for name, (make, message) in BOMBS.items():
        paths[tmp_path / (name if "." in name else f"announced.{name}")] = message, make()
    for name, (change, message) in H5_BOMBS.items():
        content = h5_of(tmp_path, change)
        paths[tmp_path / f"{name.replace(' ', '_')}.h5"] = message, content
    paths[tmp_path / "long.h5"] = "announce 6000000000 bytes", long_entry(tmp_path)
    paths[tmp_path / "endless.h5"] = "is cut off", endless_heap(tmp_path)
    paths[tmp_path / "shared.h5"] = "announce 480000000 bytes", shared_recordings(tmp_path)
    for path, (_, content) in paths.items():
        path.write_bytes(content)
        assert len(content) < 2**21
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *map(str, paths)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    told = dict(line.split(" | ", 1) for line in done.stdout.splitlines())
    assert done.returncode == 0, done.stderr[-2000:]
    for path, (message, _) in paths.items():
        assert path.name in told.get(str(path), ""), f"{path.name} was read"
        assert re.search(message, told[str(path)]), told[str(path)]


@pytest.mark.parametrize("how", ["contiguous", "after a block", "chunks", "gzip", "shuffled"])
def test_recordings_are_read_however_they_are_stored(tmp_path, how):
    path, times = tmp_path / "spoken.h5", [[0.001, 0.5], [0.25], []]
    options = {
        "contiguous": {},
        "after a block": {},
        "chunks": {"chunks": (2,), "maxshape": (None,)},
        "gzip": {"chunks": (2,), "compression": "gzip"},
        "shuffled": {"chunks": (2,), "compression": "gzip", "shuffle": True},
    }[how]  # fmt: skip
    with h5py.File(path, "w", userblock_size=512 if "block" in how else 0) as file:
        for name, kind in (("times", np.float32), ("units", np.uint16)):
            made = file.create_dataset(f"spikes/{name}", (3,), h5py.vlen_dtype(kind), **options)
            for sample, row in enumerate(times):
                made[sample] = np.array(row if name == "times" else [1] * len(row), kind)
        file["labels"] = [0, 1, 2]
        file["extra/keys"] = ["a", "b", "c"]  # text of varying length
        file["extra/speaker"] = ["tim", "eva", "tim"]
    found = datasets.read_recordings(path, classes=3)
    assert found.spikes.counts()[:, 1].tolist() == [2, 1, 0]
    assert (found.keys, found.speaker_names) == (("a", "b", "c"), ("eva", "tim"))


def test_recordings_stored_in_an_unusual_way_are_refused(tmp_path):
    def packed(file, folder):
        kind = h5py.vlen_dtype(np.float32)
        replaced("spikes/times", shape=(4,), dtype=kind, chunks=(4,), compression="lzf")(file, None)
        file["spikes/times"][0] = np.array([0.5], np.float32)

    (tmp_path / "spoken.h5").write_bytes(h5_of(tmp_path, packed))
    with pytest.raises(DataFileError, match="spikes/times is stored in an unusual way: write it"):
        spoken(tmp_path / "spoken.h5")
