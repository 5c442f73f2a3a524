"""A run of several devices, as a program of its own beside the one that asked for it."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bert_lightning.cli.command_line import written
from bert_lightning.errors import RunEnded, UserError

_OF_NOTEBOOKS = ("FORCE_COLOR", "CLICOLOR_FORCE", "MPLBACKEND")
"""Set by a notebook's kernel, for which colors are more than a terminal has."""
_ERROR = "error: "


def train_beside(name: str, options: Sequence[str], run_dir: Path) -> None:
    """Runs `bert-lightning train`, or `finetune`, with these options; prints what it prints.

    Lightning starts the other processes with the command line of the first one: that of a notebook
    would start its kernel again, and that of a script the whole script.

    Raises:
        UserError: the program ended with a mistake of the user.
        RunEnded: it was stopped, or it failed.
    """
    command = [sys.executable, "-m", "bert_lightning", name, *options]
    package = str(Path(__file__).absolute().parents[2])  # a checkout is on this process's path only
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    inherited = {name: value for name, value in os.environ.items() if name not in _OF_NOTEBOOKS}
    more = {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
    more["PYTHONIOENCODING"] = "utf-8"  # as it is read here
    process = subprocess.Popen(
        [*command, f"hydra.run.dir={written(str(run_dir))}"],
        env=inherited | more,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    try:
        last = _print_all(process)
        code = process.wait()
    finally:
        process.terminate()  # nothing, once it has ended
        process.wait()
    if code == 2:
        raise UserError(last.removeprefix(_ERROR))
    if code:
        raise RunEnded(last.removeprefix(_ERROR), code)


def _print_all(process: "subprocess.Popen[str]") -> str:
    """Prints the lines of a program until it ends; returns its error, or else its last line.

    An interrupt reaches the program as well: it saves and ends by itself. After a second one this
    process waits no longer.
    """
    assert process.stdout is not None
    last, interrupted = "", False
    while True:
        try:
            for line in process.stdout:
                if line.startswith(_ERROR) or not last.startswith(_ERROR):
                    last = line.strip() or last
                if not line.startswith(_ERROR):  # it is raised here
                    print(line, end="", flush=True)
            return last
        except KeyboardInterrupt:
            if interrupted:
                raise
            interrupted = True
