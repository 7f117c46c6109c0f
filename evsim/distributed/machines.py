"""The machines on which the ranks run: their processors, and the threads of each rank."""

from __future__ import annotations

import json
import os
import platform
from typing import TypedDict

from evsim._compile.threads import available_threads
from evsim.display.processor import processor_name
from evsim.distributed.ranks import Ranks


class Machine(TypedDict):
    """Where a rank runs: the machine's name, its processor, and the cores that it may use."""

    machine: str
    processor: str
    cores: list[int]


def this_machine() -> Machine:
    """Where this process runs."""
    if hasattr(os, "sched_getaffinity"):
        cores = sorted(os.sched_getaffinity(0))
    else:
        cores = list(range(available_threads()))
    return Machine(machine=platform.node(), processor=processor_name(), cores=cores)


def machines_of(ranks: Ranks) -> list[Machine]:
    """Where each rank runs."""
    return [json.loads(text) for text in ranks.texts(json.dumps(this_machine()))]


def threads_of_each(ranks: Ranks) -> int:
    """How many threads this rank should have: the ranks that may use the same cores share them."""
    machines = machines_of(ranks)
    own = machines[ranks.index]
    sharing = sum(
        machine["machine"] == own["machine"] and machine["cores"] == own["cores"]
        for machine in machines
    )
    return max(1, len(own["cores"]) // sharing)
