"""Writes the validation report, a page made only from the files ``<ClaimName>.json``."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from claims import Picture
from records import Record, stored_record
from registry import FOLDER, ROOT, claim_class, modules

from evsim.display.markdown_table import markdown_table

FINDINGS = FOLDER / "findings"
PAGE = ROOT / "docs" / "validation.md"
IMAGES = "images/validation"

INTRODUCTION = """\
Each claim on this page is tested by a program in `validation/`, and says which results would refute
it. `make validate` runs all programs, which takes hours. The command under each heading runs one of
them; with `--effort 0.01` it is faster and less thorough.
`python validation/run.py --render-only --publish` writes this page from the findings in
`validation/findings/`."""


# -- writing ------------------------------------------------------------------------------


def write(file: Path, folder: Path) -> None:
    """Write the page of the findings in a folder, and copy its pictures next to it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    found = records(folder)
    copy_pictures(found, folder, file.parent / IMAGES)
    file.write_text(page(found), encoding="utf-8")


def publish(folder: Path) -> None:
    """Copy findings to those in the repository, and write the page of all of these."""
    found = records(folder)
    for record in found:
        record.write(FINDINGS)
    copy_pictures(found, folder, PAGE.parent / IMAGES)
    PAGE.write_text(page(records(FINDINGS)), encoding="utf-8")


def records(folder: Path) -> list[Record]:
    """All records in a folder, in the order of the page."""
    found = (stored_record(folder, name) for name in modules())
    return [record for record in found if record is not None]


def picture_name(record: Record, picture: Picture) -> str:
    """The name of a picture's file next to the page."""
    return f"{record.claim}-{picture.file}"


def copy_pictures(found: list[Record], folder: Path, images: Path) -> None:
    """Copy the pictures from the folders of the claims to that of the page."""
    for record in found:
        for picture in record.finding.pictures:
            images.mkdir(parents=True, exist_ok=True)
            source = folder / record.claim / picture.file
            shutil.copyfile(source, images / picture_name(record, picture))


# -- the page -----------------------------------------------------------------------------


def page(found: list[Record]) -> str:
    """The page in Markdown."""
    parts = ["# Validation report", INTRODUCTION, *verdicts(found)]
    for record in found:
        parts += section(record)
    return "\n\n".join(parts) + "\n"


def verdicts(found: list[Record]) -> Iterator[str]:
    """A summary of what does not hold; then the table of all claims."""
    refuted = [record for record in found if record.verdict == "refuted"]
    failed = [record for record in found if record.verdict == "failed"]
    unknown = [record for record in found if record.verdict == "not examined"]
    held = sum(record.verdict == "holds" for record in found)
    yield f"Of {len(found)} claims {held} {'holds' if held == 1 else 'hold'}."
    for record in refuted:
        lines = "\n".join(f"    - {line}" for line in record.finding.refutations)
        yield f'!!! failure "{record.claim} is refuted"\n{lines}'
    for record in failed:
        yield f'!!! failure "{record.claim} could not be run to its end"\n    {record.error}'
    for record in unknown:
        yield f'!!! warning "{record.claim} was not examined"\n    {record.finding.summary}'
    absent = [name for name in modules() if name not in {record.claim for record in found}]
    if absent:
        yield (
            '!!! warning "Not among these runs"\n'
            f"    {', '.join(absent)}: the program says what is claimed, and what would "
            "refute it."
        )
    partial = [record.claim for record in found if record.error is None and not full(record)]
    if partial:
        yield (
            '!!! warning "Examined with smaller runs than the full ones"\n'
            f"    {', '.join(partial)}: the sizes are at the end of each section."
        )
    rows = [
        [f"[{record.claim}](#{record.claim.lower()})", claim_class(record.claim).against,
         verdict(record), record.finding.summary]
        for record in found
    ]  # fmt: skip
    yield markdown_table(["claim", "against", "verdict", "figures"], rows)


def verdict(record: Record) -> str:
    """The verdict, in bold if the claim does not hold."""
    return record.verdict if record.verdict == "holds" else f"**{record.verdict}**"


def section(record: Record) -> Iterator[str]:
    """The section of a claim: the claim, the command, the findings and the circumstances."""
    yield f"## {record.claim}"
    claim = claim_class(record.claim)
    first, *others = claim.paragraphs()
    yield f"**{plain(first)}**"
    yield from map(plain, others)
    yield f"```\npython validation/run.py -k {record.claim}\n```"
    yield f"**{record.verdict.capitalize()}.** {record.error or record.finding.summary}"
    if record.finding.refutations:
        yield "\n".join(f"- Refuted: {line}" for line in record.finding.refutations)
    for table in record.finding.tables:
        yield f"{table.title}:"
        yield markdown_table(table.columns, table.rows)
    for picture in record.finding.pictures:
        yield f"![{picture.text}]({IMAGES}/{picture_name(record, picture)})"
    yield f"*{circumstances(record)}*"


def full_sizes(record: Record) -> dict[str, Any]:
    """The settings of the full run."""
    settings = fields(claim_class(record.claim))
    return {one.name: one.default for one in settings if one.name != "data"}


def full(record: Record) -> bool:
    """Whether the run was the full one."""
    sizes = full_sizes(record)
    return all(text(value) == text(sizes.get(n)) for n, value in record.settings.items())


def circumstances(record: Record) -> str:
    """The sizes, time, machine and versions of the run, and the sizes of a full run."""
    defaults = full_sizes(record)
    sizes = [size(name, value, defaults.get(name)) for name, value in record.settings.items()]
    versions = ", ".join(f"{name} {number}" for name, number in record.versions.items())
    return "; ".join(
        part
        for part in (
            ", ".join(sizes),
            f"{time_taken(record)} on {record.machine}",
            versions,
            record.date,
        )
        if part
    )


def size(name: str, value: Any, default: Any) -> str:
    """A setting, with that of the full run if they differ."""
    shown = f"{name} {text(value)}"
    if default is MISSING or text(value) == text(default):
        return shown
    return f"{shown} (the full run: {text(default)})"


def text(value: Any) -> str:
    """A setting as text."""
    if isinstance(value, (list, tuple)):
        return " ".join(map(text, value))
    if isinstance(value, int) and not isinstance(value, bool) and value >= 10_000:
        return f"{value:,}".replace(",", " ")
    return str(value)


def plain(paragraph: str) -> str:
    """A paragraph of a docstring in Markdown."""
    return paragraph.replace("``", "`").replace(".  ", ". ")


def time_taken(record: Record) -> str:
    """How long the run took, or why its time is unknown."""
    if record.seconds > 0:
        return duration(record.seconds)
    return "time not recorded," if record.finding.holds is not None else "not run,"


def duration(seconds: float) -> str:
    """A time in seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
