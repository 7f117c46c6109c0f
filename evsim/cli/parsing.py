"""The command line: every setting of an experiment is a flag.

tyro makes the flags from the settings dataclasses; their docstrings are the help.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, Union, get_type_hints

import evsim
from evsim.arguments.checks import unknown_name
from evsim.cli.info import Info
from evsim.cli.options import Run
from evsim.cli.train import train
from evsim.tasks import (
    braille,
    japanese_vowels,
    mnist,
    sequence,
    shd,
    spoken_digits,
    ssc,
    yin_yang,
)

if TYPE_CHECKING:
    from evsim.tasks.base import Experiment

TASKS: dict[str, Experiment[Any]] = {
    module.experiment.name: module.experiment
    for module in (
        sequence,
        yin_yang,
        mnist,
        japanese_vowels,
        spoken_digits,
        shd,
        ssc,
        braille,
    )
}
"""The experiments that the command can train, by name."""

COMMANDS = ("train", "info")


def parse(arguments: Sequence[str]) -> Callable[[], int]:
    """The command that the arguments ask for; calling it runs it and returns the exit status."""
    _check_words(arguments)
    # tyro takes 0.1 s to import, and only the command needs it.
    import tyro

    def named(command: type, name: str) -> Any:
        return Annotated[command, tyro.conf.subcommand(name)]

    tasks = tuple(named(_train_command(task), name) for name, task in TASKS.items())
    train_command = dataclasses.make_dataclass(
        "Train",
        [("task", Union[tasks])],  # noqa: UP007 (made of a tuple)
        namespace={
            "__doc__": "Train the network of a task, test it, and draw what it learned.",
            "__call__": lambda self: self.task(),
        },
    )
    command: Callable[[], int] = tyro.cli(
        named(train_command, "train") | named(Info, "info"),
        prog="evsim",
        description=f"{evsim.__doc__} evsim --version says which version this is.",
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
    )
    return command


def _train_command(task: Experiment[Any]) -> type:
    """The command that trains a task."""

    def call(self: Any) -> int:
        return train(task, task.settings_type(**vars(self.settings)), Run(**vars(self.run)))

    return dataclasses.make_dataclass(
        "Train",
        [("settings", flags_of(task.settings_type)), ("run", flags_of(Run))],
        namespace={"__doc__": task.description, "__call__": call},
    )


def flags_of(settings_type: type) -> type:
    """The fields of a dataclass for tyro, which are not checked when they are made.

    They are checked after parsing: tyro would print a refusal as if a word were misspelt.
    """
    import tyro

    types, help_texts = get_type_hints(settings_type), field_help(settings_type)
    flags = []
    for field in dataclasses.fields(settings_type):
        # The help says what a default of None means.
        hint = "" if field.default is None else None
        shown = tyro.conf.arg(help=help_texts[field.name], help_behavior_hint=hint)
        default = dataclasses.field(default=field.default)
        flags.append((field.name, Annotated[types[field.name], shown], default))
    return dataclasses.make_dataclass("Flags", flags, namespace={"__doc__": settings_type.__doc__})


def field_help(settings_type: type) -> dict[str, str]:
    """The docstring of each field of a dataclass and its bases.

    tyro reads them with the same library, but keeps the line breaks of the source.  There are no
    docstrings if evsim is installed as bytecode alone.
    """
    from docstring_parser import parse_from_object

    found = dict.fromkeys((field.name for field in dataclasses.fields(settings_type)), "")
    for part in reversed(settings_type.__mro__[:-1]):
        for parameter in parse_from_object(part).params:
            found[parameter.arg_name] = " ".join((parameter.description or "").split())
    return found


def _check_words(words: Sequence[str]) -> None:
    """Refuse unknown commands, tasks and flags, and suggest the nearest known one.

    tyro would list the flags of that name of every task.
    """
    command, task = [*words, "", ""][:2]
    if "" in words:
        before = words[words.index("") - 1] if words.index("") else "the command"
        raise ValueError(f"{before} is given an empty word: name what it is about")
    if get_close_matches(command, TASKS, n=1) and command not in COMMANDS:
        near = get_close_matches(command, TASKS, n=1)[0]
        raise ValueError(f"there is no command {command!r}; did you mean train {near}?")
    if f"--{command}" in _EVERYWHERE:
        raise ValueError(f"there is no command {command!r}; did you mean --{command}?")
    if command[:1] not in ("", "-") and command not in COMMANDS:
        raise ValueError(unknown_name("command", command, COMMANDS))
    if command == "train" and task[:1] not in ("", "-") and task not in TASKS:
        raise ValueError(unknown_name("task", task, TASKS))
    _check_flags(words)


_EVERYWHERE = ("--help", "--version")
"""The flags of every command."""


def _check_flags(words: Sequence[str]) -> None:
    """Refuse flags that are misspelt, or that stand before the command or task they belong to."""
    command, task = [*words, "", ""][:2]
    flags_of_tasks = {name: _flags(each.settings_type, Run) for name, each in TASKS.items()}
    flags_of_any_task = set().union(*flags_of_tasks.values())
    if command.startswith("-"):
        misplaced = {
            **dict.fromkeys(flags_of_any_task, "train and the task"),
            **dict.fromkeys(_flags(Info), "info"),
        }
        _check_each("evsim", [command], (), misplaced)
    elif command == "info":
        _check_each("info", words[1:], _flags(Info), {})
    elif task.startswith("-"):
        place = f"the task, one of {', '.join(TASKS)}"
        _check_each("train", [task], (), dict.fromkeys(flags_of_any_task, place))
    elif task:
        _check_each(task, words[2:], flags_of_tasks[task], {})


def _flags(*kinds: type) -> list[str]:
    """The flags that are made from the fields of dataclasses."""
    names = [field.name.replace("_", "-") for kind in kinds for field in dataclasses.fields(kind)]
    return [*(f"--{name}" for name in names), *(f"--no-{name}" for name in names)]


def _check_each(
    owner: str, words: Sequence[str], flags: Sequence[str], misplaced: Mapping[str, str]
) -> None:
    """Refuse flags among the words that ``owner`` lacks; ``misplaced`` says where some belong."""
    known = (*flags, *_EVERYWHERE)
    for word in words:
        flag = word.partition("=")[0].replace("_", "-")
        # Values, which only tasks have, begin with one dash at most, as -0.5 does.
        dashes = "--" if owner in TASKS else "-"
        if not flag.startswith(dashes) or flag in (*known, "-h") or flag.startswith("--tyro-"):
            continue
        if flag in misplaced:
            raise ValueError(f"{flag} comes after {misplaced[flag]}")
        close = get_close_matches(flag, known, n=1)
        remedy = f"did you mean {close[0]}?" if close else "--help lists those it has"
        raise ValueError(f"{owner} has no flag {flag}; {remedy}")
