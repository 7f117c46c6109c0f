"""Claims hold at a small effort, the runner reports honestly, and the page shows the findings."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import page
import parallel
import pytest
import random_networks_agree
import registry
import run
import small_networks
from claims import Claim, Finding, Table
from records import Record

pytestmark = pytest.mark.slow

EFFORT = {"GradientVsFiniteDifferences": 0.02, "GridVsExact": 0.02}
TINY = 0.001  # the effort of the others
MAY_BE_UNKNOWN = {  # and what they would need
    "CudaVsGrid": "device",
    "ExactVsNest": "NEST",
    "PaperLosses": "--data",
    "ProcessesDoNotMatter": "mpi4py",
    "PaperMnist": "--data",
    "SilentHiddenLayer": "--data",
}


SLOW_AT_ANY_EFFORT = {"StudiesSurvive"}  # it starts and kills processes; so does test_studies.py


@pytest.mark.parametrize("name", [n for n in registry.modules() if n not in SLOW_AT_ANY_EFFORT])
def test_claim(name, tmp_path):
    claim = registry.claim_class(name)().smaller(EFFORT.get(name, TINY))
    finding = claim.examine(tmp_path)
    assert finding.refutations == []
    if finding.holds is None:
        assert MAY_BE_UNKNOWN[name] in finding.summary
    else:
        assert finding.tables
        assert re.search(r"\d", finding.summary)
    for picture in finding.pictures:
        assert (tmp_path / picture.file).read_bytes().startswith(b"\x89PNG")
    assert Finding.from_json(json.loads(json.dumps(finding.to_json()))) == finding


@pytest.mark.parametrize("number", [8831, 8987])
def test_a_stored_network_is_judged_as_the_one_that_was_drawn(number, tmp_path):
    """Two networks in which the terms of a gradient with respect to rest add up to 0."""
    case = small_networks.small_case(0, number)
    assert any(name.endswith(".rest") for name in case.wrt)
    small_networks.save_case(tmp_path / "case.safetensors", case, {"seed": 0})
    again, description = small_networks.load_case(tmp_path / "case.safetensors")
    assert description["seed"] == 0
    for each in case, again:
        assert random_networks_agree.examine_any(each, 50, Counter()) is None


@pytest.mark.parametrize("name", registry.modules())
def test_what_a_claim_says(name):
    claim = registry.claim_class(name)
    assert claim.sentence().endswith(".")
    assert claim.paragraphs()[-1].startswith("Refuted ")
    assert claim.against
    json.dumps(claim().settings())
    smaller = claim().smaller(1e-9)
    assert all(getattr(smaller, count) == 1 for count in claim.counts)


def test_every_claim_has_its_place_on_the_page():
    assert list(registry.modules()) == [n for n in registry.ORDER if n in registry.modules()]


# -- the page -------------------------------------------------------------------------------


def test_the_page_is_what_the_findings_say():
    found = page.records(page.FINDINGS)
    assert {own.claim for own in found} == {file.stem for file in page.FINDINGS.glob("*.json")}
    assert page.PAGE.read_text() == page.page(found)
    for own in found:
        for picture in own.finding.pictures:
            assert (page.PAGE.parent / page.IMAGES / page.picture_name(own, picture)).exists()


@dataclass(frozen=True)
class Sums(Claim):
    """One and one is two.

    Refuted by anything else.
    """

    against: ClassVar[str] = "arithmetic"
    counts: ClassVar[tuple[str, ...]] = ("sums",)

    sums: int = 100
    result: int = 2
    data: Path | None = None

    def examine(self, folder):
        with (folder / "calls").open("a") as calls:
            calls.write("called\n")
        if self.result == 1:
            return Finding(None, "There is nothing to add here.")
        wrong = [] if self.result == 2 else [f"1 + 1 = {self.result}, not 2"]
        tables = [Table("Sums", ["a | b", "sum"], [["1, 1", str(self.result)]])]
        return Finding.of(f"{self.sums} sums.", wrong, tables)


class Others(Sums):
    """Two and two is four.

    Refuted by anything else.
    """


@pytest.fixture
def two_claims(monkeypatch):
    known = {"Sums": Sums, "Others": Others}
    monkeypatch.setattr(registry, "modules", lambda: dict.fromkeys(known, "here"))
    for module in (registry, run, page):
        monkeypatch.setattr(module, "claim_class", known.__getitem__)
    for module in (run, page):
        monkeypatch.setattr(module, "modules", registry.modules)


@pytest.fixture
def examine(two_claims, tmp_path):
    """Run the command on the two claims; its status, and the records and page it leaves."""

    def call(*arguments):
        written = tmp_path / "page.md"
        status = run.main(["--out", str(tmp_path), "--write", str(written), *arguments])
        return status, page.records(tmp_path), written.read_text()

    return call


def test_what_is_refuted_stands_on_top(examine):
    status, (first, second), text = examine("--set", "result=3", "--effort", "0.5")
    assert status == 1
    assert first.verdict == second.verdict == "refuted"
    assert 'failure "Sums is refuted"' in text.split("| claim |")[0]
    assert "1 + 1 = 3, not 2" in text.split("| claim |")[0]
    assert "sums 50 (the full run: 100), result 3 (the full run: 2)" in text
    assert "| a \\| b | sum |" in text


def test_what_could_not_be_examined_is_no_failure_and_is_said(examine):
    status, (first, _), text = examine("--set", "result=1")
    assert status == 0
    assert first.verdict == "not examined"
    assert 'warning "Sums was not examined"\n    There is nothing to add here.' in text


def test_a_claim_that_crashes_loses_no_other(examine, monkeypatch, capsys):
    def crash(self, folder):
        raise RuntimeError("no\nresult")

    monkeypatch.setattr(Sums, "examine", crash)
    monkeypatch.setattr(Others, "examine", lambda self, folder: Finding(True, "4."))
    status, (first, second), text = examine()
    assert status == 1
    assert (first.verdict, second.verdict) == ("failed", "holds")
    assert first.error == "RuntimeError: no result"
    assert "could not be run to its end" in text
    assert "RuntimeError" in capsys.readouterr().err


def test_what_is_known_is_not_examined_again(examine, tmp_path):
    def calls():
        return len((tmp_path / "Sums" / "calls").read_text().split())

    examine("-k", "sums")
    examine("-k", "sums")
    assert calls() == 1
    examine("-k", "sums", "--set", "sums=7")
    assert calls() == 2
    examine("-k", "sums", "--set", "sums=7", "--again")
    assert calls() == 1  # in a folder that begins anew
    examine("-k", "sums", "--set", "result=1")
    examine("-k", "sums", "--set", "result=1")
    assert calls() == 3  # what could not be examined is tried again
    stored = Record.read(tmp_path / "Sums.json")
    Record(**{**vars(stored), "versions": {"evsim": "0.0"}}).write(tmp_path)
    examine("-k", "sums")
    assert calls() == 4
    assert not (tmp_path / "Others").exists()


@pytest.mark.usefixtures("two_claims")
def test_mistakes_on_the_command_line(tmp_path, capsys):
    for mistake, said in (
        (["-k", "nest"], "there are Sums, Others"),
        (["--effort", "2"], "0 to 1"),
        (["--set", "sums"], "NAME=VALUE"),
        (["--set", "sum=3"], "Sums has data, result, sums"),
    ):
        with pytest.raises(SystemExit) as stopped:
            run.main(["--out", str(tmp_path), *mistake])
        assert said in f"{stopped.value} {capsys.readouterr().err}"
    assert list(tmp_path.glob("*.json")) == []


# -- tasks ----------------------------------------------------------------------------------


def squared(number, calls):
    with Path(calls).open("a") as file:
        file.write(f"{number}\n")
    if number == 13:
        raise KeyboardInterrupt
    return number**2


def test_an_interrupted_run_goes_on(tmp_path):
    calls, kept = tmp_path / "calls", tmp_path / "folder" / "kept.jsonl"

    def call(numbers, settings=None):
        tasks = [(number, str(calls)) for number in numbers]
        return parallel.for_each(squared, tasks, title="", kept=kept, settings=settings)

    with pytest.raises(KeyboardInterrupt):
        call([2, 3, 13, 5])
    with kept.open("a") as file:
        file.write("[3, 2")  # what a kill in the middle of a line leaves
    assert calls.read_text().split() == ["2", "3", "13"]
    assert call([2, 3, 4, 5]) == [4, 9, 16, 25]
    assert calls.read_text().split()[3:] == ["4", "5"]
    assert call([2, 3, 4, 5], {"seed": 1}) == [4, 9, 16, 25]
    assert len(calls.read_text().split()) == 9
