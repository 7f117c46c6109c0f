"""The command-line options of the benchmarks."""

from __future__ import annotations

from typing import Any

import pytest
from tables import machine


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--seconds",
        type=float,
        default=1.0,
        help="how long to repeat each measurement; at least three times",
    )


def pytest_benchmark_update_machine_info(
    config: pytest.Config, machine_info: dict[str, Any]
) -> None:
    machine_info["description"] = machine()
