"""The examples of the README and the site run as they stand and print what is said."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = {path.name: path.read_text() for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")]}
EXAMPLE = re.compile(r"^```python\n(.*?)^```\n+^```text\n(.*?)^```", re.M | re.S)
EXAMPLES = {
    f"{page}-{number}": example
    for page, text in PAGES.items()
    for number, example in enumerate(EXAMPLE.findall(text), start=1)
}


def test_every_example_shows_its_output():
    assert len(EXAMPLES) == sum(text.count("```python") for text in PAGES.values())
    assert {"README.md-1", "README.md-2"} <= set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name, capsys):
    code, output = EXAMPLES[name]
    exec(compile(code, name, "exec"), {})  # noqa: S102
    assert capsys.readouterr().out == output


def test_make_targets_that_are_named_exist():
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M)
    named = set(re.findall(r"\bmake ([a-z]+)", PAGES["README.md"]))
    assert {"demo", "test"} <= named <= set(targets)
