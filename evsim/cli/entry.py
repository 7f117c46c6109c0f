"""Run a command: its output streams, its errors and its exit status.

Every error ends the command with one sentence on standard error.  The exit status is 2 if the
user made a mistake, 1 if a simulation failed, 130 after Ctrl-C and 143 after SIGTERM.  If the
reader of the output has gone, as ``| head`` does, the command ends silently with status 141.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import evsim
from evsim.cli.exit_status import BROKEN_PIPE, FAILED, INTERRUPTED, TERMINATED, WRONG_USE
from evsim.cli.parsing import parse
from evsim.display.plain_text import show_plainly
from evsim.training.termination import Terminated, terminable


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    ``arguments`` are the words after the command's name; by default those of ``sys.argv``.
    """
    with _streams(), _warnings_without_a_place():
        return _exit_status(sys.argv[1:] if arguments is None else arguments)


@contextmanager
def _streams() -> Iterator[None]:
    """Provide streams to write to: none is missing, and letters they cannot write are replaced."""
    with ExitStack() as opened:
        for name in ("stdout", "stderr"):
            opened.callback(setattr, sys, name, getattr(sys, name))
        for name in ("stdout", "stderr"):
            if getattr(sys, name) is None:  # closed before Python started
                setattr(sys, name, opened.enter_context(open(os.devnull, "w")))
                opened.callback(setattr, sys, name, None)
        show_plainly([sys.stdout, sys.stderr])
        yield


@contextmanager
def _warnings_without_a_place() -> Iterator[None]:
    """Show evsim's warnings like its errors: in a command, there is no line to which they point."""
    with warnings.catch_warnings():
        show_elsewhere = warnings.showwarning

        def show(
            message: Warning | str, category: type[Warning], *place: Any, **others: Any
        ) -> None:
            if category.__module__.partition(".")[0] == "evsim":
                print(f"evsim: {message}", file=sys.stderr)
            else:
                show_elsewhere(message, category, *place, **others)

        warnings.showwarning = show
        yield


def _exit_status(arguments: Sequence[str]) -> int:
    """Run the command and turn every expected error into a message and an exit status."""
    try:
        try:
            with terminable():
                return _run(arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
        return BROKEN_PIPE
    except Terminated:
        print("evsim: terminated", file=sys.stderr)
        return TERMINATED
    except KeyboardInterrupt:
        print("evsim: interrupted", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, OSError) as error:
        _print_error(error)
        return WRONG_USE
    except (RuntimeError, ArithmeticError, ImportError) as error:
        _print_error(error)
        return FAILED
    except MemoryError as error:
        error.add_note("memory does not suffice: use smaller batches, or on a grid a longer --dt")
        _print_error(error)
        return FAILED


def _run(arguments: Sequence[str]) -> int:
    if "--version" in arguments:
        print(f"evsim {evsim.__version__}")
        return 0
    return parse(arguments)()


def _discard_output() -> None:
    """Redirect both streams, so that the interpreter does not fail to flush them when it ends."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(devnull, stream.fileno())


def _print_error(error: Exception) -> None:
    notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
    print(f"evsim: {_with_flags(error)}{notes}", file=sys.stderr)


def _with_flags(error: Exception) -> str:
    """The message of an error, in which arguments are called by their flags."""
    message = str(error)
    # The longest first: a name may be part of a longer one.
    for name in sorted(getattr(error, "names", ()), key=len, reverse=True):
        flag = f"--{name.replace('_', '-')}"
        # A name of one word may also be meant as a word, unless a value follows.
        found, put = (name, flag) if "_" in name else (f"{name} = ", f"{flag} = ")
        message = message.replace(found, put)
    return message
