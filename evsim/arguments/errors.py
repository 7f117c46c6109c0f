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
        The arguments that the message is about, as it calls them.  The command line calls them by
        its flags instead.
    """

    def __init__(self, message: str, *names: str) -> None:
        super().__init__(message)
        self.names = names


@contextmanager
def naming(*names: str) -> Iterator[None]:
    """Let a ValueError that is raised inside know that it is about these arguments."""
    try:
        yield
    except ArgumentError:
        raise
    except ValueError as error:
        raise ArgumentError(str(error), *names) from error
