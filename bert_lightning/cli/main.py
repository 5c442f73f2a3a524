"""The `bert-lightning` program: finds the command that its first argument names, and runs it."""

import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from typing import Any

from bert_lightning.cli.parsers import COMMANDS
from bert_lightning.errors import did_you_mean
from bert_lightning.runs.launched import reader_is_gone

_EXIT_BY_SIGPIPE = 128 + 13


@contextmanager
def _ending_with_the_reader() -> Iterator[None]:
    """Ends the program quietly where nobody reads its output any more, as after `| head`."""
    told, logging.raiseExceptions = logging.raiseExceptions, False  # of lines that nobody reads
    try:
        try:
            yield
        except SystemExit:
            sys.stdout.flush()
            raise
        sys.stdout.flush()
    except BrokenPipeError as error:
        if not reader_is_gone(error):
            raise
        # Python flushes once more at its end, and would complain then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(_EXIT_BY_SIGPIPE) from None
    finally:
        logging.raiseExceptions = told


@_ending_with_the_reader()
def main() -> None:
    """Runs the command line of `bert-lightning COMMAND …`."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-sc", "--shell-completion"):
        _complete(arguments)
    elif name in ("-h", "--help"):
        print(_usage())
    elif name == "--version":
        print(version("bert-lightning"))
    elif name in COMMANDS:
        command(name)(arguments)
    else:
        choices = f"{', '.join(COMMANDS)}{did_you_mean(name, COMMANDS)}"
        sys.stderr.write(f"error: unknown command '{name}'; choose from {choices}\n")
        raise SystemExit(2)


def command(name: str) -> Callable[..., Any]:
    """Returns the function that runs a command on its arguments, by default those of the process.

    It imports the command when it is called.
    """

    @_ending_with_the_reader()
    def run(argv: Sequence[str] | None = None) -> None:
        module, _, function = COMMANDS[name].function.partition(":")
        getattr(import_module(f"bert_lightning.cli.commands.{module}"), function)(argv)

    return run


def _usage() -> str:
    width = max(map(len, COMMANDS))
    commands = [f"  {name:{width}}  {found.purpose}" for name, found in COMMANDS.items()]
    return "\n".join(
        [
            "usage: bert-lightning COMMAND ...",
            "",
            *commands,
            "",
            "bert-lightning COMMAND --help shows the arguments of a command.",
        ]
    )


def _complete(arguments: list[str]) -> None:
    """Answers `-sc query=bash` for the command line in COMP_LINE; `train` answers for options."""
    if arguments[:1] == ["query=bash"]:
        _, _, line = os.environ.get("COMP_LINE", "").lstrip().partition(" ")
        name, space, rest = line.lstrip().partition(" ")
        if not space:
            print(" ".join(COMMANDS))
        if not space or name not in COMMANDS or not COMMANDS[name].takes_options:
            return
        os.environ["COMP_LINE"] = f"bert-lightning {rest}"
    command("train")()
