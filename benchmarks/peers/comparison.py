"""Puts the stored comparisons with other programs into a page.

    python benchmarks/peers/comparison.py [--write docs/performance.md]

It reads the figures that the drivers in this folder have stored.  Rows are sorted by the ratio of
evsim's time to the other program's; those where evsim is slower come first.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tables import figure, write_between

from evsim.display.markdown_table import markdown_table

MEASURED = Path(__file__).parent / "measured"


def comparison() -> str:
    """The table, followed by the programs and the machine of each comparison."""
    files = [json.loads(path.read_text("utf-8")) for path in sorted(MEASURED.glob("*.json"))]
    rows = sorted(
        ((row, file["peer"]["name"]) for file in files for row in file["rows"]),
        key=lambda pair: -pair[0]["ratio"],
    )
    header = ("program", "network", "timed", "evsim, µs", "other, µs", "evsim / other")
    cells = [
        (
            name,
            row["work"],
            row["quantity"],
            figure(row["evsim"]),
            figure(row["peer"]),
            f"{figure(row['ratio'])} ({figure(row['low'])} to {figure(row['high'])})",
        )
        for row, name in rows
    ]
    machines = {file["machine"] for file in files}
    measured = "; ".join(
        f"{file['peer']['name']}: {file['peer']['source']}, {file['peer']['version']}, "
        f"{file['date']}{'' if len(machines) == 1 else ', ' + file['machine']}"
        for file in files
    )
    where = f"{machines.pop()}:\n\n" if len(machines) == 1 else ""
    return f"{where}{markdown_table(header, cells)}\n\n{measured}."


def main() -> None:
    """Print the table, or write it into a page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, help="the page to put the table into")
    page = parser.parse_args().write
    if page is None:
        print(comparison())
    else:
        write_between(page, "comparison", comparison())


if __name__ == "__main__":
    main()
