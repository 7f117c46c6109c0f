"""The processor of this machine, as text."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def processor_name() -> str:
    """The name of the processor, as far as the system reports it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def processor() -> str:
    """The name of the processor and its number of cores."""
    return f"{processor_name()}, {os.cpu_count()} cores"
