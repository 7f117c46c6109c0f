"""The peak memory of a case, forward and backward on one thread.

    python benchmarks/memory.py yin-yang-30-delays

Prints the bytes in addition to those of the interpreter and the compiled code.
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
    """The bytes by which ``work`` raises the peak memory of this process after ``prepare``.

    On Linux the peak is reset in between.  On other systems memory that ``prepare`` has needed and
    freed is missing from the result.
    """
    prepare()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    work()
    return peak() - before


def peak() -> int:
    """The peak memory of this process, in bytes.

    On Linux, getrusage also counts memory that the parent held when it started this process; the
    status of the process in /proc does not.
    """
    if STATUS.exists():
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def in_subprocess(*arguments: str, script: str = __file__) -> str:
    """The output of a script in a separate interpreter."""
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
