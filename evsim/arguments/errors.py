"""Errors that know which arguments they are about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class ArgumentError(ValueError):
    """An argument has a value that it cannot have.

    Parameters
    ----------
    message : str
    *names : str
        The arguments that the message is about, under the names it uses.  The command line
        replaces these by its flags.
    """

    def __init__(self, message: str, *names: str) -> None:
        super().__init__(message)
        self.names = names


@contextmanager
def naming(*names: str) -> Iterator[None]:
    """Mark a ValueError raised inside this context as being about these arguments."""
    try:
        yield
    except ArgumentError:
        raise
    except ValueError as error:
        raise ArgumentError(str(error), *names) from error
