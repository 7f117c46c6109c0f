"""Each package imports only packages below it, and no module imports itself in a circle."""

import ast
import importlib
import sys
from graphlib import CycleError, TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest

import evsim
from evsim import renamed_modules

ROOT = Path(__file__).parents[1]

# From the lowest to the highest.  What stands in one line may not import each other.
ORDER = (
    "evsim.arguments",
    "evsim.display",
    "evsim._compile",
    "evsim.equations",
    "evsim.network",
    "evsim.storage",
    "evsim.nir",
    "evsim.readouts",
    "evsim.engines",
    "evsim.losses",
    "evsim.simulation",
    "evsim.testing evsim.data evsim.encoding evsim.metrics",
    "evsim.distributed",
    "evsim.training",
    "evsim.plotting evsim_gpu",
    "evsim.precompile evsim.jax evsim.torch",
    "evsim.study evsim.referee",
    "evsim.tasks",
    "evsim.renamed_modules",
    "evsim",
    "evsim.cli",
    "evsim.__main__",
)
LEVELS = {name: level for level, line in enumerate(ORDER) for name in line.split()}

MOST_MODULES = 13  # in one folder


def modules():
    """The path of every module of both packages, by its name."""
    found = {}
    for folder in (ROOT / "evsim", ROOT / "gpu" / "evsim_gpu"):
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder.parent).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports_of(name):
    """Every module that a module imports: inside functions and for types only, too."""
    path = MODULES[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (module for alias in node.names if (module := known(alias.name)))
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            base = resolve_name(base, package) if node.level else base
            for alias in node.names:
                module = f"{base}.{alias.name}"
                if module in MODULES or known(base):
                    yield module if module in MODULES else base


def known(module):
    return module if module in MODULES else None


IMPORTS = {name: set(imports_of(name)) - {name} for name in MODULES}


def level_of(name):
    """The place of a module's package in the order: the longest name there that begins its own."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        package = ".".join(parts[:length])
        if package in LEVELS and (length > 1 or package == name or package == "evsim_gpu"):
            return LEVELS[package]
    raise AssertionError(f"say in ORDER where {name} stands")


def test_there_are_modules():
    assert len(MODULES) > 150
    assert "evsim.readouts.base" in IMPORTS["evsim.engines.protocol"]


def test_no_module_imports_itself_in_a_circle():
    try:
        TopologicalSorter(IMPORTS).prepare()
    except CycleError as error:
        pytest.fail("these import each other: " + " <- ".join(error.args[1]))


def test_packages_import_only_what_is_below_them():
    wrong = [
        f"{name} imports {module}"
        for name, imported in IMPORTS.items()
        for module in sorted(imported)
        if level_of(module) > level_of(name)
        or (level_of(module) == level_of(name) and package_of(module) != package_of(name))
    ]
    assert not wrong, "\n".join(wrong)


def package_of(name):
    parts = name.split(".")
    return parts[0] if parts[0] == "evsim_gpu" else ".".join(parts[:2])


def test_no_folder_has_more_modules_than_one_looks_through():
    folders = {}
    for path in MODULES.values():
        if path.name not in ("__init__.py", "__main__.py"):
            folders.setdefault(path.parent.relative_to(ROOT), []).append(path.stem)
    too_full = {
        str(folder): sorted(names)
        for folder, names in folders.items()
        if len(names) > MOST_MODULES and folder != Path("evsim/tasks")
    }
    assert not too_full, too_full


@pytest.mark.parametrize("earlier", sorted(renamed_modules.NEW_NAMES))
def test_an_earlier_name_is_the_same_module(earlier):
    module = importlib.import_module(earlier)
    assert module is importlib.import_module(renamed_modules.NEW_NAMES[earlier])
    assert sys.modules[earlier] is module


def test_earlier_names_of_readouts_and_runs_still_work():
    assert evsim.readouts.Moments is evsim.readouts.SampleTimes
    assert evsim.readouts.check_moments is evsim.readouts.check_sample_times
    network = evsim.Network(
        [evsim.Input("input", 1), evsim.LI("output", 1)], [evsim.Connection("input", "output", 1.0)]
    )
    spikes = evsim.SpikeTrains.from_lists([[(1.0, 0)]], units=1)
    run = evsim.simulate(network, spikes, 10.0, "reference")
    times = run.kinks("output")
    assert times.times.tolist() == run.event_times("output").times.tolist() == [1.0]
    voltages, currents = run.probe("output", evsim.readouts.Moments(*times))
    expected = run.states_at("output", times)
    assert (voltages.tolist(), currents.tolist()) == tuple(part.tolist() for part in expected)
