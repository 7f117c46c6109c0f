"""The speed of the exact engine: runs the benchmarks and prints a table.

    python benchmarks/report.py [--seconds 1.0] [--select "words and not 512"]
    python benchmarks/report.py --write docs/performance.md
    python benchmarks/report.py --from runs/benchmarks.json

Every case is checked before it is timed, see ``workload.py``.  Figures are medians, with
interquartile ranges in brackets.  Times depend on the machine and on its load, so compare only
figures of one run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from tables import (
    Benchmarks,
    speed_table,
    start_sentence,
    threads_sentence,
    write_between,
)

FOLDER = Path(__file__).parent


def main() -> None:
    """Measure, or load earlier measurements; print the table, and optionally write it to a page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="for each measurement")
    parser.add_argument("--select", default="", help="the cases to run, as pytest's -k")
    parser.add_argument("--json", type=Path, default=Path("runs/benchmarks.json"))
    parser.add_argument("--from", dest="stored", type=Path, help="a file of --json: do not measure")
    parser.add_argument("--write", type=Path, help="the page to put the table into")
    arguments = parser.parse_args()
    if arguments.write and arguments.select:
        parser.error("--write is for all cases: leave out --select")

    if arguments.stored is None:
        warn_if_busy()
        measure(arguments.json, arguments.seconds, arguments.select)
    stored = json.loads((arguments.stored or arguments.json).read_text(encoding="utf-8"))
    benchmarks: Benchmarks = stored["benchmarks"]
    speed = "\n\n".join(
        part
        for part in (
            f"{stored['machine_info']['description']}:",
            speed_table(benchmarks),
            threads_sentence(benchmarks),
            start_sentence(benchmarks),
        )
        if part
    )
    print(f"\n{speed}\n")
    if arguments.write:
        write_between(arguments.write, "speed", speed)
        print(f"written to {arguments.write}", file=sys.stderr)


def measure(file: Path, seconds: float, select: str) -> None:
    """Run the benchmarks and store their measurements in a file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable, "-m", "pytest", str(FOLDER), "-q", "-p", "no:cacheprovider",
        "--seconds", str(seconds), "--benchmark-json", str(file), "--benchmark-quiet",
    ]  # fmt: skip
    done = subprocess.run([*command, "-k", select] if select else command, check=False)
    if done.returncode:
        sys.exit(f"the benchmarks ended with status {done.returncode}: nothing is printed")


def warn_if_busy() -> None:
    """Print a warning if other programs use the CPU."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > 0.5:
        print(
            f"the load of this machine is {load:.1f}: times will be too long while other "
            "programs run",
            file=sys.stderr,
        )


if __name__ == "__main__":
    main()
