"""The cost of importing evsim, and the existence of all names that it offers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import evsim

HEAVY = {
    "numba", "llvmlite", "scipy", "matplotlib", "mpmath", "rich", "tyro", "h5py", "pooch",
    "requests", "evsim_gpu", "nir",
}  # fmt: skip


def modules_after(statement):
    """Top-level names of all modules a fresh interpreter holds after a statement."""
    program = f"{statement}; import json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


def test_import_brings_in_numpy_and_nothing_heavy():
    loaded = modules_after("import evsim")
    assert "numpy" in loaded
    assert not loaded & HEAVY


def test_describing_a_network_brings_in_nothing_heavy():
    statement = (
        "import evsim; evsim.Network([evsim.Input('a', 2), evsim.LIF('b', 2)], "
        "[evsim.Connection('a', 'b', 1.0)]); evsim.SpikeTrains.from_lists([[(0.0, 1)]], units=2)"
    )
    assert not modules_after(statement) & HEAVY


def test_every_public_name_is_there():
    missing = [name for name in evsim.__all__ if not hasattr(evsim, name)]
    assert missing == []
    assert not hasattr(evsim, "no_such_name")


def test_nir_files_without_the_package_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "nir", None)  # as if it were not installed
    network = evsim.Network([evsim.Input("a", 1), evsim.LIF("b", 1)], [])
    for call in (lambda: evsim.nir.read("a.nir"), lambda: evsim.nir.write(network)):
        with pytest.raises(
            ImportError, match=r'need the package nir .*: pip install "evsim\[nir\]"'
        ):
            call()


def test_the_version_is_the_same_wherever_it_stands():
    root = Path(__file__).parents[1]
    assert f"\nversion: {evsim.__version__}\n" in (root / "CITATION.cff").read_text()
    assert f"\n## [{evsim.__version__}]" in (root / "CHANGELOG.md").read_text()
