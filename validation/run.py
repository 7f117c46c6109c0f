"""Tests the claims about evsim and records the findings.

    python validation/run.py --out runs/validation
    python validation/run.py --list
    python validation/run.py --out runs/validation -k "ExactVsNest grid" --effort 0.01
    python validation/run.py --out runs/validation -k ExactVsNest --set networks=100

Each claim writes <ClaimName>.json and its plots into the folder.  A claim that has been tested with
the same settings and version of evsim is not tested again; an interrupted test continues where
possible.  The exit status is 1 if a claim is refuted or its program fails.  Claims that cannot be
tested, because there is no GPU or another simulator is missing, are named.  All claims together
take hours.
"""

from __future__ import annotations

import argparse
import ast
import datetime
import json
import shutil
import sys
import time
import traceback
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import page
from claims import Claim, Finding, Table
from records import Record, stored_record, versions
from registry import ROOT, claim_class, modules, selected
from rich import box, table
from rich.console import Console
from rich.markup import escape

import evsim
from evsim.display.processor import processor
from evsim.training.termination import terminable

STYLES = {"holds": "green", "refuted": "bold red", "failed": "bold red", "not examined": "yellow"}


@terminable()  # SIGTERM acts like Ctrl-C: files are closed, and the elapsed time is stored
def main(arguments: list[str] | None = None) -> int:
    """Test the claims, and show and write the findings; 1 if one is refuted or fails."""
    chosen = parsed(arguments)
    console = Console()
    names = selected(chosen.select)
    if chosen.list:
        for name in names:
            console.print(f"[bold]{name}[/bold]: {modules()[name]}.py")
        return 0
    records = [examined(name, chosen, console) for name in names if not chosen.render_only]
    if chosen.write is not None:
        page.write(chosen.write, chosen.out)
        console.print(f"written: {chosen.write}", highlight=False)
    if chosen.publish:
        page.publish(chosen.out)
        console.print(f"written: {page.PAGE.relative_to(ROOT)}", highlight=False)
    console.print(overview(records))
    return 1 if any(record.verdict in ("refuted", "failed") for record in records) else 0


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/validation"), help="a folder")
    parser.add_argument(
        "-k",
        dest="select",
        default="",
        metavar="WORDS",
        help="only claims whose names contain one of them",
    )
    parser.add_argument(
        "--effort", type=float, default=1.0, help="the share of the full counts, such as 0.01"
    )
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="NAME=VALUE", help="settings of the selected claims"
    )
    parser.add_argument("--data", type=Path, help="the folder of data sets, if claims need it")
    parser.add_argument(
        "--again", action="store_true", help="test again, and ignore earlier findings"
    )
    parser.add_argument("--write", type=Path, metavar="PAGE", help="write the findings to a page")
    parser.add_argument(
        "--publish",
        action="store_true",
        help="copy the findings into validation/findings, and write docs/validation.md",
    )
    parser.add_argument(
        "--render-only", action="store_true", help="test nothing; only --write and --publish"
    )
    parser.add_argument("--list", action="store_true", help="list the claims and their files")
    chosen = parser.parse_args(arguments)
    if not 0 < chosen.effort <= 1:
        parser.error(f"--effort {chosen.effort:g}: give a share of the full run, 0 to 1")
    if not selected(chosen.select):
        parser.error(f"-k {chosen.select!r}: there are {', '.join(modules())}")
    for setting in chosen.set:
        if "=" not in setting:
            parser.error(f"--set {setting}: give NAME=VALUE")
    return chosen


# -- one claim ----------------------------------------------------------------------------


def examined(name: str, chosen: argparse.Namespace, console: Console) -> Record:
    """The record of a claim, from a new test or from the folder; prints it."""
    console.rule(f"[bold]{name}", align="left")
    folder = chosen.out / name
    clock = Clock(folder / "seconds.json", {})
    try:
        claim = configured(claim_class(name), chosen)
        console.print(escape(claim.sentence()), highlight=False)
        stored = stored_record(chosen.out, name)
        if not chosen.again and stored is not None and still_true(stored, claim.settings()):
            console.print("[dim]tested before; --again tests it again[/dim]")
            show(stored, console)
            return stored
        if chosen.again:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        clock = Clock(folder / "seconds.json", claim.settings())
        with clock:
            finding, error = claim.examine(folder), None
    except Exception as failure:  # the other claims are tested nevertheless
        traceback.print_exc()
        message = " ".join(str(failure).split()) or "no message"
        finding = Finding(None, "The program that tests this claim failed.")
        error = f"{type(failure).__name__}: {message}"
    record = Record(
        name,
        clock.settings,
        finding,
        error,
        round(clock.seconds, 1),
        datetime.date.today().isoformat(),
        processor(),
        versions(),
    )
    record.write(chosen.out)
    show(record, console)
    return record


class Clock:
    """Measures the time of a run, including interrupted runs of the same settings and version."""

    def __init__(self, file: Path, settings: dict[str, Any]) -> None:
        self.file = file
        self.settings = settings
        self.seconds = 0.0
        self._key = {"settings": settings, "evsim": evsim.__version__}
        if file.exists():
            stored = json.loads(file.read_text(encoding="utf-8"))
            if stored["of"] == self._key:
                self.seconds = stored["seconds"]

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._start
        stored = {"of": self._key, "seconds": self.seconds}
        self.file.write_text(json.dumps(stored) + "\n", encoding="utf-8")


def configured(claim: type[Claim], chosen: argparse.Namespace) -> Claim:
    """The claim with the settings of the command line."""
    known = {item.name for item in fields(claim)}
    given = {}
    for setting in chosen.set:
        name, value = setting.split("=", 1)
        if name not in known:
            sys.exit(f"--set {name}: {claim.__name__} has {', '.join(sorted(known))}")
        given[name] = ast.literal_eval(value)
    if chosen.data is not None and "data" in known:
        given["data"] = chosen.data
    sized = claim() if chosen.effort == 1 else claim().smaller(chosen.effort)
    return replace(sized, **given)


def still_true(stored: Record, settings: dict[str, Any]) -> bool:
    """Whether a record is finished and has the same settings and version of evsim."""
    same = stored.settings == settings and stored.versions.get("evsim") == evsim.__version__
    return stored.finished and same


# -- output -------------------------------------------------------------------------------


def show(record: Record, console: Console) -> None:
    """Print the tables, the verdict and what does not hold."""
    for one in record.finding.tables:
        console.print(shown(one))
    style = STYLES[record.verdict]
    console.print(
        f"[{style}]{record.verdict}[/{style}] {escape(record.error or record.finding.summary)} "
        f"[dim]{duration(record.seconds)}[/dim]",
        highlight=False,
    )
    for line in record.finding.refutations:
        console.print(f"[red]refuted:[/red] {escape(line)}", highlight=False)
    console.print()


def shown(content: Table) -> table.Table:
    """A table for a terminal."""
    made = table.Table(
        title=escape(content.title), title_justify="left", title_style="", box=box.SIMPLE_HEAD
    )
    for number, column in enumerate(content.columns):
        made.add_column(escape(column), justify="left" if number == 0 else "right")
    for row in content.rows:
        made.add_row(*map(escape, row))
    return made


def overview(records: list[Record]) -> table.Table:
    """A table with a line for each claim."""
    made = table.Table(box=box.SIMPLE_HEAD)
    for column in ("claim", "verdict", "time"):
        made.add_column(column)
    for record in records:
        verdict = f"[{STYLES[record.verdict]}]{record.verdict}"
        made.add_row(record.claim, verdict, duration(record.seconds))
    return made


def duration(seconds: float) -> str:
    """A time in seconds, minutes or hours."""
    return page.duration(seconds)


if __name__ == "__main__":
    sys.exit(main())
