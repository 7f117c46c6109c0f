"""What the processes of studies run in tests, which find it by the name of this module."""

import contextlib
import os
import signal
import sys
import time
import warnings
from pathlib import Path

import numpy as np

from evsim.training.evaluation import Evaluation


def noted(settings):
    """Write a line to the file ``log`` each time something runs."""
    if "log" in settings:
        with open(settings["log"], "a") as file:
            file.write(f"{os.getpid()} {settings}\n")


def double(settings, seed):
    noted(settings)
    time.sleep(settings.get("pause", 0.0))
    return 2.0 * settings["x"] + 0.1 * seed


def fails_at_two(settings, seed):
    noted(settings)
    if settings["x"] == 2:
        raise FloatingPointError("the loss is nan")
    return {"accuracy": 0.5, "size": settings["x"]}


def warns(settings, seed):
    for loss in range(settings["x"]):
        warnings.warn(f"the loss is {max(loss - 1, 0)}", UserWarning, stacklevel=1)
    return 1.0


def exits_at_two(settings, seed):
    if settings["x"] == 2:
        sys.exit("no license")
    return 1.0


def warns_of(settings, seed):
    warnings.warn(settings["x"], UserWarning, stacklevel=1)
    return 1.0


def number(settings, seed):
    return float(settings["x"])


def total(settings, seed):
    return float(np.sum(settings["x"])) + seed


def returns_what_it_is_given(settings, seed):
    return settings["x"]


def lacks_memory_once(settings, seed, folder):
    if not (folder / "tried").exists():
        (folder / "tried").touch()
        raise MemoryError
    return 1.0


def kills_its_process(settings, seed, folder):
    """With x = 2 always, with larger x once."""
    tried = folder / "tried"
    if settings["x"] == 2 or (settings["x"] > 2 and not tried.exists()):
        tried.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 1.0


def evaluates(settings, seed):
    return Evaluation(
        loss=0.25,
        accuracy=0.75,
        losses=np.zeros(4),
        predictions=np.zeros(4, int),
        readout=np.zeros((4, 2)),
        labels=np.zeros(4, int),
        classes=2,
    )


def answers_in_words(settings, seed):
    return "good"


def waits_for(settings, seed):
    """Run until a file is there; ``here`` says that it runs."""
    Path(settings["here"]).touch()
    while not Path(settings["until"]).exists():
        time.sleep(0.01)
    return 1.0


def process_of(folder):
    """The process that runs a cell, once the cell's folder names it."""
    holder, end = folder.path / "cell.lock.holder", time.monotonic() + 60
    while time.monotonic() < end:
        with contextlib.suppress(FileNotFoundError):
            words = holder.read_text().split()
            if words:  # the file is there before it is written
                return int(words[0])
        time.sleep(0.01)
    raise TimeoutError(f"{holder} names no process")


class Now:
    """An executor that runs what is submitted at once, in this process."""

    def submit(self, function, *args):
        from concurrent.futures import Future

        future = Future()
        try:
            future.set_result(function(*args))
        except Exception as error:
            future.set_exception(error)
        return future
