"""Facts about a process that are known before any library is loaded."""

import errno
import io
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bert_lightning.errors import UserError
from bert_lightning.sizing.launcher import RANK_0, launcher

AUTO = "auto"
"""The value of `resume=` that resumes a command's own run."""
CONFIG_FILE = "run.json"
"""The file in a run's folder that holds its whole config, for `resume=`."""
TRIALS = "trials.jsonl"
"""In a sweep's folder: a line for each trial that begins, and one with its exit code at its end."""
SIGNALS = [
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGUSR1")
    if hasattr(signal, name)  # Windows has no SIGUSR1
]
"""The signals that stop a run gracefully."""
_SCRIPTS = {
    "train": "train.py",
    "finetune": "finetune.py",
    "export": "scripts/export_hf.py",
    "inspect": "scripts/inspect_data.py",
    "tokenizer": "scripts/train_tokenizer.py",
}
"""Files of a checkout that are not named after their command."""
_TOP = ("train.py", "finetune.py")
"""Those that lie at its top."""


def is_first_process() -> bool:
    """Returns whether this process is the one of the run that prints and writes."""
    if launcher() is None and RANK_0 not in os.environ:
        return True  # ranks that somebody left in the environment count for nothing
    names = ["RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK"]
    if "LOCAL_RANK" not in os.environ:
        names.append("SLURM_PROCID")
    return all(os.environ.get(name, "0") == "0" for name in names)


def launched_externally() -> bool:
    """Returns whether a launcher, such as torchrun, started this process as one of several."""
    one_task = os.environ.get("SLURM_NTASKS") == "1"
    return launcher() is not None and not (launcher() == "SLURM" and one_task)


def reader_is_gone(error: BaseException) -> bool:
    """Returns whether an error says that nobody reads the output any more, as after `| head`."""
    if _broken_pipe(error):
        try:
            print(flush=True)  # works where the pipe to another process broke
        except OSError as again:
            return _broken_pipe(again)
    return False


def _broken_pipe(error: BaseException) -> bool:
    on_windows = os.name == "nt" and isinstance(error, OSError) and error.errno == errno.EINVAL
    return isinstance(error, BrokenPipeError) or on_windows


def this_program() -> list[str]:
    """Returns the command that starts this program again, without its arguments."""
    spec = sys.modules["__main__"].__spec__
    return [sys.executable, *([sys.argv[0]] if spec is None else ["-m", spec.name])]


def shown_command(name: str) -> str:
    """Returns the command of this name as the user of this process would type it.

    `bert-lightning encode`, `python -m bert_lightning encode` or `python scripts/encode.py`.
    """
    started = Path(sys.argv[0])
    if (started.parent.name, started.name) == ("bert_lightning", "__main__.py"):
        return f"python -m bert_lightning {name}"
    if started.name not in _TOP and started.parent.name != "scripts":
        return f"bert-lightning {name}"
    checkout = started.parent if started.name in _TOP else started.parent.parent
    script = checkout / _SCRIPTS.get(name, f"scripts/{name.replace('-', '_')}.py")
    here = script.is_absolute() and script.is_relative_to(Path.cwd())
    return f"python {script.relative_to(Path.cwd()) if here else script}"


def command_of(options: Mapping[str, Any]) -> str:
    """Returns the command whose runs have these options."""
    return "finetune" if "task" in options else "train"


def require_command(run_dir: str | Path, options: Mapping[str, Any], command: str) -> None:
    """Makes sure that the run in a folder, which has these options, is one of a command.

    Raises:
        UserError: it is not; the message names the command that resumes it.
    """
    own = command_of(options)
    if own != command:
        what = {"train": "pretraining", "finetune": "fine-tuning"}
        raise UserError(
            f"{run_dir} holds a run of {what[own]}, not of {what[command]}: "
            f"{shown_command(own)} resume={run_dir} resumes it"
        )


def show_any_character() -> None:
    """Has characters printed as `\\u2192` that the output's encoding lacks, which raise by default.

    So they do on Windows where the output goes to a file or a pipe.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a notebook's is another
            stream.reconfigure(errors="backslashreplace")
