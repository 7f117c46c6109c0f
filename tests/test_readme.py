"""The README's examples run as they stand and print what it says."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(
    r"^```python\n(?P<code>.*?)^```\n+^```text\n(?P<output>.*?)^```", README, re.M | re.S
)


def test_every_example_shows_its_output():
    assert len(EXAMPLES) == README.count("```python") >= 2


@pytest.mark.parametrize(("code", "output"), EXAMPLES)
def test_example(code, output, capsys):
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102
    assert capsys.readouterr().out == output


def test_make_targets_that_are_named_exist():
    targets = re.findall(r"^([a-z]+):", (Path(__file__).parents[1] / "Makefile").read_text(), re.M)
    named = set(re.findall(r"\bmake ([a-z]+)", README))
    assert {"demo", "test"} <= named <= set(targets)
