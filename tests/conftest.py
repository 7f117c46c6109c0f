"""What all tests share: hypothesis repeats the same examples wherever CI is set.

Two processes of pytest-xdist share the compiling between them.  And no test leaves figures open,
of which pyplot warns when there are many.
"""

import os
import sys

import pytest
from hypothesis import settings

settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_sessionstart(session):
    """Where nothing is compiled yet, one process compiles the exact engine, another the grid."""
    worker = getattr(session.config, "workerinput", {}).get("workerid")
    if worker not in ("gw0", "gw1") or os.environ.get("NUMBA_DISABLE_JIT"):
        return
    from evsim import precompile
    from evsim.engines import Grid, warm

    if precompile.cache().size == 0:
        for engine in [["exact"], [Grid(), Grid(precision="float32")]][worker == "gw1"]:
            warm(engine)


@pytest.fixture(autouse=True)
def no_figures_are_left():
    yield
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close("all")
