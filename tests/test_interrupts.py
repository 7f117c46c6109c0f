"""Ctrl-C, SIGTERM and the end of the program: running work stops, and finished work is kept."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

import evsim
from evsim._compile import stopping, threads
from evsim.engines import Exact, Grid
from evsim.readouts import Mean, Peak

pytestmark = pytest.mark.slow

WITHIN = 60  # seconds, after which a process hangs


# -- loops ask often, and end soon after a yes ---------------------------------------------------


class Asked:
    """Work that is told to stop when it has asked so many times."""

    def __init__(self, yes_at=None):
        self.asked, self.yes_at = 0, yes_at

    @property
    def is_stopped(self):
        self.asked += 1
        return self.yes_at is not None and self.asked >= self.yes_at


@pytest.fixture
def ask(monkeypatch):
    """Runs something; how often it asked, and whether it was stopped."""

    def run(action, yes_at=None):
        work = Asked(yes_at)
        with monkeypatch.context() as patch:
            patch.setattr(stopping.of_thread, "work", work)
            stopping.requests[0] += 1
            try:
                action()
            except KeyboardInterrupt:
                return work.asked, True
            finally:
                stopping.requests[0] -= 1
        return work.asked, False

    return run


def busy_network(output, *, recurrent):
    own = [evsim.Connection("hidden", "hidden", 0.3, 1.0)] if recurrent else []
    return evsim.Network(
        [evsim.Input("input", 4), evsim.LIF("hidden", 3, refractory=1.0), output],
        [
            evsim.Connection("input", "hidden", evsim.Normal(1.0, 0.3)),
            *own,
            evsim.Connection("hidden", "output", 1.0),
        ],
        seed=0,
    )


def many_spikes(count, duration, samples=2):
    generator = np.random.default_rng(0)
    parts = []
    for _ in range(samples):
        times = np.sort(generator.uniform(0, duration, count))
        units = generator.integers(0, 4, count).astype(np.int32)
        parts.append(evsim.SpikeTrains(times, units, np.array([0, count]), 4))
    return evsim.SpikeTrains.concatenate(parts)


DURATION, COUNT = 4_000.0, 40_000


def everything(engine, loss, output, recurrent):
    """All that an engine does with long loops, one after the other."""
    network = busy_network(output, recurrent=recurrent)
    spikes = many_spikes(COUNT, DURATION)

    def run():
        out = evsim.gradient(network, spikes, [0, 1], loss, DURATION, engine=engine)
        yield out.loss
        yield out.run.report
        yield out.run.event_times("output")
        yield out.run.voltage("hidden", np.linspace(0, DURATION, 9_000))
        yield out.run.voltage("output", np.linspace(0, DURATION, 9_000))
        yield out.lambda_V("output", np.linspace(0, DURATION, 9_000))

    return lambda: list(run())


CASES = {
    "peak": (Exact(), evsim.losses.CrossEntropy(Peak()), evsim.LI("output", 2), False),
    "mean": (Exact(), evsim.losses.CrossEntropy(Mean()), evsim.LI("output", 2), True),
    "first spike": (
        Exact(),
        evsim.losses.FirstSpikeCrossEntropy(),
        evsim.LIF("output", 2),
        False,
    ),
    "grid": (Grid(dt=4.0), evsim.losses.CrossEntropy(Mean()), evsim.LI("output", 2), True),
}


@pytest.mark.parametrize("case", CASES)
def test_loops_ask_all_the_time_and_end_at_the_first_yes(case, ask):
    action = everything(*CASES[case])
    action()  # the compiler asks as well
    total, stopped = ask(action)
    assert not stopped
    assert total > 2 * COUNT / 4096  # forward alone
    choose = random.Random(case)
    for yes_at in [1, total - 1, *(choose.randrange(1, total) for _ in range(8))]:
        asked, stopped = ask(action, yes_at)
        assert stopped
        assert asked < yes_at + 30  # once more at each level, whatever was left to do


def test_one_call_is_stopped_and_another_thread_goes_on():
    network = busy_network(evsim.LI("output", 2), recurrent=True)
    spikes = many_spikes(1000, 500.0)

    def simulate():
        return evsim.simulate(network, spikes, 500.0).read(Mean()).tobytes()

    right, found, has_failed = simulate(), [], threading.Event()

    class Enough(Exception):
        pass

    def wait_for_a_stop(_):
        while not stopping.is_thread_stopped():
            pass

    def other():
        while not has_failed.is_set():
            found.append(simulate())

    def raise_enough(*_):
        raise Enough

    thread = threading.Thread(target=other)
    before = signal.signal(signal.SIGALRM, raise_enough)
    try:
        thread.start()
        for _ in range(5):
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            with pytest.raises(Enough):
                threads.over(wait_for_a_stop, [0, 1, 2], 2)
    finally:
        has_failed.set()
        thread.join()
        signal.signal(signal.SIGALRM, before)
    assert set(found) == {right}
    assert stopping.requests[0] == 0
    assert simulate() == right


def test_errors_come_from_the_first_item_and_leave_nothing_behind():
    def run(i):
        if i >= 2:
            raise ValueError(str(i))
        return i

    for _ in range(50):
        with pytest.raises(ValueError, match="2"):
            threads.over(run, range(4), 3)
    assert threads.over(run, range(2), 3) == [0, 1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own():
    assert threads.over(str, range(4), 2) == list("0123")
    child = os.fork()
    if child == 0:
        os._exit(0 if threads.over(str, range(4), 2) == list("0123") else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_stop_while_compiling_leaves_nothing_half_done(ask, monkeypatch, tmp_path):
    from numba.core import config

    from evsim._compile.decorators import compiled, entry_point

    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))  # what an earlier run left is not found

    @compiled
    def once_more(x):
        return x + 1.0

    @entry_point
    def with_one_more(x):
        return once_more(x)

    asked, stopped = ask(lambda: with_one_more(1.0), 1)
    assert stopped, asked
    assert with_one_more(1.0) == 2.0


# -- processes ---------------------------------------------------------------------------------

PROGRAM = """
import sys, threading
import numpy as np, evsim
from evsim.engines import Exact

what, count, where = sys.argv[1], int(sys.argv[2]), sys.argv[3]
engine = Exact(threads=count)
hidden = evsim.LIF("hidden", 50, refractory=2.0)
own = evsim.Connection("hidden", "hidden", evsim.Uniform(0.0, 0.8), evsim.Uniform(0.1, 1.0))
network = evsim.Network(
    [evsim.Input("input", 1), hidden, evsim.LI("output", 2)],
    [evsim.Connection("input", "hidden", 30.0), own, evsim.Connection("hidden", "output", 0.1)],
    seed=0,
)
samples = 1 if what == "one" else 8
spikes = evsim.SpikeTrains.from_lists([[(0.0, 0)]] * samples, units=1)

def body():
    evsim.simulate(network, spikes, 20.0, engine)  # loads the loops
    print("begins", flush=True)
    if what == "gradient":
        loss = evsim.losses.CrossEntropy()
        while True:
            evsim.gradient(network, spikes, [0] * samples, loss, 1e4, engine=engine)
    evsim.simulate(network, spikes, 1e7, engine)  # for hours

if where == "thread":
    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
else:
    body()
"""

TRAINING = """
import sys, threading
import numpy as np, evsim
from evsim import storage

folder, epochs, where = sys.argv[1], int(sys.argv[2]), sys.argv[3]
network = evsim.Network(
    [evsim.Input("input", 3), evsim.LIF("hidden", 8), evsim.LI("output", 2)],
    [evsim.Connection("input", "hidden", evsim.Normal(3.0, 1.0), 1.0),
     evsim.Connection("hidden", "output", evsim.Normal(0.0, 1.0))],
    seed=0,
)
generator = np.random.default_rng(0)
spikes = evsim.SpikeTrains.from_latencies(generator.uniform(0, 10, (64, 3)))
data = spikes, generator.integers(0, 2, 64)

def begun(state):
    print("begins", flush=True)

def train():
    result = evsim.fit(
        network, data, evsim.losses.CrossEntropy(), duration=30.0, epochs=epochs,
        optimizers={"weight": evsim.Adam(0.01)}, batch_size=16, run_folder=folder, resume=True,
        engine=evsim.engines.Exact(threads=2), callbacks=[begun],
    )
    arrays = storage.network_arrays(result.last_network)
    print("ends", len(result.history), result.interrupted, storage.checksum(arrays), flush=True)

if where == "thread":
    threading.Thread(target=train).start()  # and the main thread comes to its end
else:
    train()
"""


def start(program, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        preexec_fn=hear_signals,
    )  # fmt: skip


def hear_signals():
    """What a shell starts in the background ignores Ctrl-C, and so does what that starts."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def end(process, number):
    """Send a signal at some moment after the process has begun; its status and what it said."""
    try:
        assert process.stdout.readline() == "begins\n", process.stderr.read()
        threading.Event().wait(random.uniform(0, 0.5))
        process.send_signal(number)
        said, told = process.communicate(timeout=WITHIN)
        return process.returncode, said, told
    finally:
        process.kill()


def last_line(text):
    return text.strip().splitlines()[-1]


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_reaches_the_program_and_ends_it():
    cases = [
        ("one", 1, "main"), ("many", 2, "thread"),
        ("gradient", 2, "main"), ("gradient", 1, "thread"),
    ]  # fmt: skip
    for first in range(0, len(cases), 2):
        both = [start(PROGRAM, *case) for case in cases[first : first + 2]]
        for process, case in zip(both, cases[first : first + 2], strict=True):
            status, _, told = end(process, signal.SIGINT)
            # 1 where a thread has run Python code since.
            assert status in (-signal.SIGINT, 1), (case, status)
            assert last_line(told) == "KeyboardInterrupt", case
            assert "SystemError" not in told


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_training_that_is_ended_goes_on_to_the_same_bits(tmp_path):
    interrupted = start(TRAINING, tmp_path / "interrupted", 1_000_000, "main")
    status, said, told = end(interrupted, signal.SIGINT)
    assert status == 0
    assert "interrupted: " in told
    epochs = int(last_line(said).split()[1])
    assert last_line(said).split()[2] == "True"

    terminated = start(TRAINING, tmp_path / "terminated", 1_000_000, "main")
    status, said, told = end(terminated, signal.SIGTERM)
    assert status == 143
    assert "terminated: " in told
    assert "ends" not in said

    killed = start(TRAINING, tmp_path / "killed", 1_000_000, "main")
    assert end(killed, signal.SIGKILL)[0] == -signal.SIGKILL

    # All three go on, in a thread that outlives the main one, and end as one does that was whole.
    most = max(epochs, *(_epochs(tmp_path / name) for name in ("terminated", "killed")))
    assert min(epochs, _epochs(tmp_path / "terminated"), _epochs(tmp_path / "killed")) > 0
    ends = set()
    for name in ("whole", "interrupted", "terminated", "killed"):
        again = start(TRAINING, tmp_path / name, most + 2, "thread")
        said, told = again.communicate(timeout=WITHIN)
        assert again.returncode == 0, told
        ends.add(last_line(said))
    assert len(ends) == 1
    assert ends.pop().startswith(f"ends {most + 2} False")


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_handler_for_sigterm_stays():
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
    data = evsim.SpikeTrains.from_latencies([[1.0], [2.0]]), [0, 1]
    network = evsim.Network(
        [evsim.Input("input", 1), evsim.LI("output", 2)], [evsim.Connection("input", "output", 1.0)]
    )
    try:
        result = evsim.fit(
            network, data, evsim.losses.CrossEntropy(), duration=10.0, epochs=2,
            optimizers={"weight": evsim.Adam(0.01)},
            callbacks=[lambda _: os.kill(os.getpid(), signal.SIGTERM)], progress=False,
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [1, 1]
    assert len(result.history) == 2


def _epochs(folder):
    return len((folder / "metrics.jsonl").read_text().splitlines())
