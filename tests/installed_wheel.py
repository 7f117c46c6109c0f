"""Does the wheel hold what it should, and does it work where nothing else of evsim is?

    python -I tests/installed_wheel.py FILE.whl

Run it in a folder outside the checkout, with the Python into which the wheel was installed.
``make test-wheel`` does all of that.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib.metadata import entry_points, metadata, version
from pathlib import Path

import numpy as np

import evsim
import evsim_gpu

ROOT = Path(__file__).resolve().parents[1]
SOURCES = {"evsim": ROOT / "evsim", "evsim_gpu": ROOT / "gpu" / "evsim_gpu"}
PARAMETERS = ["input->hidden.weight", "input->hidden.delay", "hidden->output.weight"]
SUFFIXES = (".py", ".typed", ".cu", ".cuh")


def check_files(wheel: Path) -> None:
    """Every source file of both packages is in the wheel, and no other module."""
    with zipfile.ZipFile(wheel) as opened:
        held = {name for name in opened.namelist() if ".dist-info/" not in name}
    wanted = {
        f"{package}/{file.relative_to(folder).as_posix()}"
        for package, folder in SOURCES.items()
        for file in folder.rglob("*")
        if file.suffix in SUFFIXES
    }
    assert wanted - held == set(), f"not in the wheel: {sorted(wanted - held)}"
    assert held - wanted == set(), f"should not be in the wheel: {sorted(held - wanted)}"
    assert {"evsim/py.typed", "evsim_gpu/py.typed"} <= held
    assert any(name.endswith(".cu") for name in held)
    assert any(name.endswith(".cuh") for name in held)


def check_installation() -> None:
    """The packages are the installed ones, and their metadata is that of this version."""
    for module in (evsim, evsim_gpu):
        place = Path(module.__file__).resolve()
        assert place.is_relative_to(Path(sys.prefix).resolve()), f"{place} is not installed"
    assert version("evsim") == evsim.__version__
    assert "Typing :: Typed" in metadata("evsim").get_all("Classifier")
    (command,) = entry_points(group="console_scripts", name="evsim")
    assert callable(command.load())


def check_gradients() -> None:
    """The exact engine against the readable one, the grid against the exact."""
    network = evsim.Network(
        [evsim.Input("input", 2), evsim.LIF("hidden", 3), evsim.LI("output", 2)],
        [
            evsim.Connection("input", "hidden", evsim.Normal(20.0, 2.0), delay=1.0),
            evsim.Connection("hidden", "output", evsim.Normal(0.0, 1.0)),
        ],
        seed=0,
    )
    spikes = evsim.SpikeTrains.from_lists([[(1.0, 0), (4.0, 1)], [(2.0, 1)]], units=2)
    found = {
        engine: evsim.gradient(
            network,
            spikes,
            [0, 1],
            evsim.losses.CrossEntropy(),
            30.0,
            wrt=PARAMETERS,
            engine=engine,
        )
        for engine in ("reference", "exact", evsim.engines.Grid(dt=0.01))
    }
    reference, exact, grid = found.values()
    assert reference.run.spike_counts["hidden"].sum() > 3
    assert abs(exact.loss - reference.loss) < 1e-12
    assert abs(grid.loss - reference.loss) < 1e-2
    for name, values in reference.parameters.items():
        np.testing.assert_allclose(exact.parameters[name], values, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(grid.parameters[name], values, rtol=0.1, atol=1e-2)


def check_command() -> None:
    """The command is there and answers."""
    command = Path(sys.executable).with_name("evsim")
    for arguments, words in (
        (["--help"], "usage: evsim"),
        (["--version"], f"evsim {evsim.__version__}"),
        (["train", "yin-yang", "--help"], "--delays"),
        (["info"], "numba"),
    ):
        done = subprocess.run(
            [command, *arguments], capture_output=True, text=True, check=True, timeout=60
        )
        assert words in done.stdout, (arguments, done.stdout)


def main() -> None:
    """All checks; the first that fails ends it."""
    check_files(Path(sys.argv[1]).resolve())
    check_installation()
    check_gradients()
    check_command()
    print(f"evsim {evsim.__version__}: the wheel is whole and works")


if __name__ == "__main__":
    main()
