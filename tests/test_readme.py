"""The README and the site: examples run and print the stated output; commands and names exist."""

import re
import textwrap
from pathlib import Path

import numpy as np
import pytest

from evsim.cli import TASKS
from evsim.cli.parsing import parse
from evsim.cli.study_file import read_study
from evsim.cli.study_options import grid_of

ROOT = Path(__file__).parents[1]
PAGES = {path.name: path.read_text() for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")]}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
EXAMPLE = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.M | re.S)


def scripts_of(page):
    """Python examples with what they print; one that does not import goes on from the last."""
    scripts = []
    for code, output in EXAMPLE.findall(page):
        if not scripts or code.startswith(("import ", "from ")):
            scripts.append([])
        scripts[-1].append((code, output))
    return scripts


SCRIPTS = {
    f"{page}-{number}": script
    for page, text in PAGES.items()
    for number, script in enumerate(scripts_of(text), start=1)
}

EXTRA = re.compile(r"^(?:import|from) ((?:jax|nir|optuna|pandas|torch|wandb)\b[\w.]*)", re.M)
NEEDED = {"certified.md": ["flint"], "nir.md": ["nir"]}
"""The packages that the examples of a page need without importing them."""

WITH_EXTRAS = {
    name: modules
    for name, script in SCRIPTS.items()
    if (
        modules := EXTRA.findall("".join(code for code, _ in script))
        or NEEDED.get(name.partition("-")[0], [])
    )
}
"""Examples with other libraries, and what they import: test_examples_with_extras.py runs them."""


def run_example(name, capsys):
    """Run an example and compare what it prints; return its names."""
    namespace = {}
    for code, output in SCRIPTS[name]:
        exec(compile(code, name, "exec"), namespace)  # noqa: S102
        assert capsys.readouterr().out == output
    return namespace


def test_every_example_is_run():
    assert {"README.md-1", "README.md-2"} <= set(SCRIPTS)
    assert sum(len(script) for script in SCRIPTS.values()) == sum(
        text.count("```python") for text in PAGES.values()
    )
    for page, text in PAGES.items():
        assert 2 * len(FENCE.findall(text)) == text.count("```"), page
        assert {language for language, _ in FENCE.findall(text)} <= {"", "python", "text"}, page


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SCRIPTS if name not in WITH_EXTRAS])
def test_example(name, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    run_example(name, capsys)


# -- what pages name -----------------------------------------------------------------------

IN_TEXT = re.compile(r"`(evsim train [^`]*)`")
IN_SHELL = re.compile(r"^evsim train .*", re.M)
COMMANDS = {
    " ".join(command.split())
    for page in PAGES.values()
    for command in [
        *IN_TEXT.findall(FENCE.sub("", page)),
        *(line for _, block in FENCE.findall(page) for line in IN_SHELL.findall(block)),
    ]
}


def settings_of(command):
    """The settings that a command trains with; it is not run."""
    _, *arguments = command.split()
    parsed = parse(arguments).task
    return TASKS[arguments[1]].settings_type(**vars(parsed.settings))


def test_there_are_commands():
    assert len(COMMANDS) > 10


@pytest.mark.parametrize("command", sorted(c for c in COMMANDS if "--help" not in c))
def test_command_is_one(command):
    settings_of(command)


# Studies stand in blocks of their own: commands, and a file.
OF_STUDIES = re.findall(r"^    (evsim study .*)$", PAGES["studies.md"], re.M)
INDENTED = re.compile(r"(?:^    .*\n|^\n)+", re.M)


@pytest.mark.parametrize("command", OF_STUDIES)
def test_command_of_studies_is_one(command):
    assert callable(parse(command.split()[1:]))


def test_the_file_of_a_study_is_one(tmp_path):
    assert len(OF_STUDIES) >= 3
    (text,) = (block for block in INDENTED.findall(PAGES["studies.md"]) if "task = " in block)
    path = tmp_path / "study.toml"
    path.write_text(textwrap.dedent(text))
    study = read_study(path)
    (command,) = (words for words in OF_STUDIES if "--vary" in words)
    words = command.split()
    assert grid_of(words[i + 1] for i, word in enumerate(words) if word == "--vary") == study.vary
    assert TASKS[study.task].settings_type(**study.settings).epochs == 100


def test_table_of_experiments_has_the_numbers_of_the_presets():
    experiments, _, rest = PAGES["reproducing.md"].partition("What the commands mean")
    numbers, _, _ = rest.partition("\n| | 1 ")[2].partition("\n\n")
    commands = re.findall(r"^\| \d \|[^|]*\| `([^`]*)`", experiments, re.M)
    presets = [settings_of(command).hyperparameters() for command in commands]
    rows = re.findall(r"^\| ([a-z_]+) \|(.*)\|$", numbers, re.M)
    assert len(presets) == 9
    assert {"hidden", "regulariser_strength", "initial_delay_max"} <= {name for name, _ in rows}
    for name, row in rows:
        for number, cell in enumerate(row.split("|")):
            if cell.strip():
                found = [float(value) for value in cell.split(",")]
                wanted = np.ravel(getattr(presets[number], name))
                assert found == pytest.approx(wanted, rel=0.01), (name, commands[number])


def test_make_targets_that_are_named_exist():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    named = set(re.findall(r"\bmake ([a-z-]+)", PAGES["README.md"]))
    assert {"demo", "test"} <= named <= set(targets)
