"""How much memory a case needs at most, forward and backward on one thread.

    python benchmarks/memory.py yin-yang-30-delays

Prints bytes, beyond those of the interpreter and the compiled code.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from evsim.engines import Exact

STATUS = Path("/proc/self/status")


def extra_peak(prepare: Callable[[], object], work: Callable[[], object]) -> int:
    """By how many bytes ``work`` raises the peak of this process after ``prepare`` has run.

    On Linux the peak is set back in between; elsewhere, what ``prepare`` needed hides as much.
    """
    prepare()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    work()
    return peak() - before


def peak() -> int:
    """The most memory this process has held, in bytes.

    Of getrusage, Linux counts what the parent held when it started this process; what it tells
    of the process itself is free of that.
    """
    if STATUS.exists():
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def in_subprocess(*arguments: str, script: str = __file__) -> str:
    """What a script prints in an interpreter of its own."""
    done = subprocess.run(
        [sys.executable, script, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{script} {' '.join(arguments)} failed:\n{done.stderr}")
    return done.stdout


def main(name: str) -> None:
    """Measure one case."""
    from cases import CASES

    case, engine = CASES[name], Exact(threads=1)
    print(
        extra_peak(
            lambda: case.build_reduced().gradient(engine), lambda: case.build().gradient(engine)
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
