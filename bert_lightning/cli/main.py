"""The `bert-lightning` program: finds the command that its first argument names, and runs it."""

import atexit
import gc
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec

from bert_lightning.cli.parsers import COMMANDS, parse
from bert_lightning.cli.quick_imports import uncollected
from bert_lightning.cli.schema import conf_dir
from bert_lightning.errors import did_you_mean, exit_on_user_error
from bert_lightning.runs.cores.waiting import wait_briefly_if_busy
from bert_lightning.runs.launched import reader_is_gone, show_any_character
from bert_lightning.version import installed_version

_EXIT_BY_SIGPIPE = 128 + 13


@contextmanager
def _ending_with_the_reader() -> Iterator[None]:
    """Ends the program quietly where nobody reads its output any more, as after `| head`."""
    show_any_character()
    told, logging.raiseExceptions = logging.raiseExceptions, False  # of lines that nobody reads
    try:
        try:
            yield
        except SystemExit:
            sys.stdout.flush()
            raise
        sys.stdout.flush()
    except OSError as error:
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
    spec = sys.modules["__main__"].__spec__
    if spec is not None and spec.name == "__main__":
        # On Windows the program is an archive, which Python cannot start by its name.
        sys.modules["__main__"].__spec__ = find_spec("bert_lightning.__main__")
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-sc", "--shell-completion"):
        _complete(arguments)
    elif name in ("-h", "--help"):
        print(_usage())
    elif name == "--version":
        print(installed_version())
    elif name in COMMANDS:
        command(name)(arguments)
    else:
        choices = f"{', '.join(COMMANDS)}{did_you_mean(name, COMMANDS)}"
        sys.stderr.write(f"error: unknown command '{name}'; choose from {choices}\n")
        raise SystemExit(2)


def command(name: str) -> Callable[..., None]:
    """Returns the function that runs a command on its arguments, by default those of the process.

    A mistake in them is told before the command and all that it needs are imported.
    """

    @_ending_with_the_reader()
    def run(argv: Sequence[str] | None = None) -> None:
        atexit.register(gc.freeze)  # collecting what the system frees anyway takes seconds
        wait_briefly_if_busy()
        if name in ("train", "finetune"):  # whose arguments are Hydra's
            _function(name)(argv)
            return
        with exit_on_user_error():
            args = parse(name, argv)
            if COMMANDS[name].takes_options:
                with uncollected():
                    from bert_lightning.cli.app import compose_for_script

                args.config = compose_for_script(conf_dir(), args.overrides, COMMANDS[name].schema)
            logging.basicConfig(format="%(message)s")
            logging.getLogger("bert_lightning").setLevel(logging.INFO)
            _function(name)(args)

    return run


def _function(name: str) -> Callable[..., None]:
    module, _, function = COMMANDS[name].function.partition(":")
    try:
        with uncollected():
            return getattr(import_module(f"bert_lightning.cli.commands.{module}"), function)
    except ModuleNotFoundError as error:  # the first that a command needs
        if (error.name or "bert_lightning").startswith("bert_lightning"):
            raise
        sys.stderr.write(
            f"error: the Python at {sys.executable} has no {error.name}: activate the environment "
            "that bert-lightning is installed in (source .venv/bin/activate), or install it: "
            "pip install .\n"
        )
        raise SystemExit(2) from None


def _usage() -> str:
    width = max(map(len, COMMANDS))
    commands = [f"  {name:{width}}  {found.purpose}" for name, found in COMMANDS.items()]
    more = "bert-lightning COMMAND --help shows the arguments of a command."
    return "\n".join(["usage: bert-lightning COMMAND ...", "", *commands, "", more])


def _complete(arguments: list[str]) -> None:
    """Answers `-sc query=bash` for the command line in COMP_LINE; Hydra does so for options."""
    schema = "train"
    if arguments[:1] == ["query=bash"]:
        _, _, line = os.environ.get("COMP_LINE", "").lstrip().partition(" ")
        name, space, rest = line.lstrip().partition(" ")
        if not space:
            print(" ".join(COMMANDS))
        if not space or name not in COMMANDS or not COMMANDS[name].takes_options:
            return
        os.environ["COMP_LINE"] = f"bert-lightning {rest}"
        schema = COMMANDS[name].schema
    command(schema)()
