"""Engines given by name, and the errors if an engine is unknown or not installed."""

import subprocess
import sys

import pytest

from evsim import engines
from evsim_gpu import Grid


def test_names_stand_for_the_defaults():
    assert engines.resolve("exact") == engines.Exact()
    assert isinstance(engines.resolve("reference"), engines.Reference)
    assert engines.resolve("grid") == Grid(dt=1.0, device="cpu", precision="float64")
    assert engines.Grid is Grid
    own = Grid(0.25)
    assert engines.resolve(own) is own


def test_unknown_names_are_told_the_known_ones():
    for wrong in ("gpu", "Grid", None, 3):
        with pytest.raises(ValueError, match="there are exact, reference, grid, cuda$"):
            engines.resolve(wrong)


def test_cuda_is_the_grid_on_a_gpu(monkeypatch):
    asked = []
    monkeypatch.setattr("evsim_gpu.Grid", lambda **settings: asked.append(settings))
    engines.resolve("cuda")
    assert asked == [{"device": "cuda"}]


def test_the_grid_is_imported_only_where_it_is_asked_for():
    program = (
        "import sys; from evsim import engines; engines.resolve('exact'); engines.Reference\n"
        "assert 'evsim_gpu' not in sys.modules\n"
        "engines.resolve('grid')\n"
        "assert 'evsim_gpu' in sys.modules and 'cupy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_an_installation_without_the_grid_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "evsim_gpu", None)  # as if it were not installed
    for ask in (lambda: engines.resolve("grid"), lambda: engines.Grid):
        with pytest.raises(ImportError, match="evsim_gpu, which comes with evsim since version"):
            ask()


def test_what_the_grid_itself_lacks_is_not_called_the_grid(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "evsim_gpu"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "evsim_gpu.grid", None)
    with pytest.raises(ModuleNotFoundError, match=r"evsim_gpu\.grid"):
        engines.resolve("grid")
