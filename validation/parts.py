"""The parts of a report on the grid engine, and the page that shows them."""

from __future__ import annotations

import datetime
import platform
import shutil
import subprocess
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import grid as benchmark
import numpy as np
from claims import Table

import evsim
from evsim.display.markdown_table import markdown_table
from evsim.display.processor import processor
from evsim_gpu.cuda.gpu import check_cuda, cuda_devices

NO_DEVICE = "no CUDA device was found: the figures of the GPU are missing"


@dataclass
class Part:
    """The result of one part of a report."""

    title: str
    text: str = "Not measured in this report."
    refutations: list[str] = field(default_factory=list)
    seconds: float | None = None


def run_part(title: str, measure: Callable[[Any, Part], None], settings: Any) -> Part:
    """Run a part and report its error, if any."""
    part = Part(title, text="")
    start = time.perf_counter()
    try:
        measure(settings, part)
    except Exception as error:  # a part that fails is one line of the page
        traceback.print_exc()
        message = " ".join(str(error).split()) or "no message"
        part.refutations.append(f"this part failed: {type(error).__name__}: {message}")
    part.seconds = time.perf_counter() - start
    return part


def page(title: str, command: str, note: str, environment: str, parts: Sequence[Part]) -> str:
    """The page in Markdown."""
    lines = [
        f"# {title}",
        f"Written by one command, on {datetime.date.today().isoformat()}:",
        f"```\n{command}\n```",
        note,
        environment,
    ]
    for part in parts:
        lines += [f"## {part.title}", part.text]
        if part.seconds is not None:
            verdict = [f"**Refuted:** {line}" for line in part.refutations]
            lines += verdict or [
                f"All that is claimed, or checked, here held.  This took {part.seconds:.0f} s."
            ]
    return "\n\n".join(line for line in lines if line) + "\n"


def environment() -> list[tuple[str, str]]:
    """The hardware and the versions that are used: what, and which."""
    devices = cuda_devices()
    return [
        ("GPU", devices[0] if devices else NO_DEVICE),
        ("driver", driver() if devices else "–"),
        ("CuPy", cupy_version() if devices else "–"),
        ("processor", processor()),
        ("evsim", evsim.__version__),
        ("Python, NumPy, numba", f"{platform.python_version()}, {np.__version__}, {numba()}"),
    ]


def environment_table(rows: Sequence[Sequence[str]]) -> str:
    """The table of ``environment`` in Markdown."""
    return markdown_table(["what", "which"], [list(row) for row in rows])


def as_text(table: Table) -> str:
    """A table in Markdown."""
    return markdown_table(table.columns, table.rows)


def published() -> str:
    """The published figures and their source."""
    return (
        "Published, on an RTX A5000, an epoch of SHD of 1127 steps in batches of 256 "
        "(*Learning delays with EventProp*, Figure 8):\n\n" + benchmark.published_table()
    )


def driver() -> str:
    """The version of NVIDIA's driver, and the CUDA version that it supports."""
    cuda = check_cuda().cuda.runtime.driverGetVersion()
    found = f"CUDA {cuda // 1000}.{cuda % 1000 // 10}"
    tool = shutil.which("nvidia-smi")
    if tool is not None:
        asked = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.strip():
            found = f"{done.stdout.splitlines()[0].strip()}, {found}"
    return found


def cupy_version() -> str:
    """The versions of CuPy and of its CUDA runtime."""
    cupy = check_cuda()
    cuda = cupy.cuda.runtime.runtimeGetVersion()
    return f"{cupy.__version__}, CUDA {cuda // 1000}.{cuda % 1000 // 10}"


def numba() -> str:
    """The version of numba."""
    try:
        return version("numba")
    except PackageNotFoundError:
        return "none"
