"""A run's folder: its lock, its config, and the report of a crash."""

import errno
import json
import os
import platform
import socket
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryFile

import lightning
import torch
from filelock import FileLock, Timeout

from bert_lightning.config import RunConfig, TrainConfig
from bert_lightning.config.plain import from_plain, to_plain
from bert_lightning.errors import RunEnded, UserError, writing
from bert_lightning.files import TEMPORARY, write_text
from bert_lightning.pretrained.checkpoints import checkpoints_by_step
from bert_lightning.runs.launched import (
    CONFIG_FILE,
    is_first_process,
    reader_is_gone,
    require_command,
)

_LOCK, _HOLDER = ".lock", ".lock.json"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""No room on a disk, in a quota or in a file; or the disk is read-only, as broken ones are."""
_WAIT_SECONDS = 8.0
"""Loader workers of a killed run hold its lock until they notice."""


@contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """A context in which no other run uses this folder; the first process holds the lock.

    Raises:
        UserError: the folder cannot be written to, or another run has locked it.
    """
    if not is_first_process():
        yield
        return
    with writing("the run", run_dir, "hydra.run.dir"):
        run_dir.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=run_dir).close()
        lock, holder = FileLock(run_dir / _LOCK), run_dir / _HOLDER
        try:
            lock.acquire(timeout=_WAIT_SECONDS)
        except Timeout:
            raise UserError(
                f"{shown(run_dir)} is in use by a run ({_shown_holder(holder)}): wait for its end, "
                "or stop it; hydra.run.dir=FOLDER starts another run"
            ) from None
        for stray in run_dir.glob(TEMPORARY):
            stray.unlink(missing_ok=True)
        facts = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%c")}
        holder.write_text(json.dumps(facts), encoding="utf-8")
    try:
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def is_running(run_dir: Path) -> bool:
    """Returns whether a run holds this folder now."""
    if not (run_dir / _HOLDER).is_file():
        return False
    try:
        with FileLock(run_dir / _LOCK, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # a folder that may only be read
        return False


def _shown_holder(file: Path) -> str:
    try:
        holder = json.loads(file.read_text(encoding="utf-8"))
        return f"process {holder['pid']} on {holder['host']}, since {holder['since']}"
    except (OSError, ValueError, KeyError):
        return "another process"


def shown(folder: str | Path) -> str:
    """Returns a path as its user would type it: relative, if below the working directory."""
    path = Path(folder).absolute()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def write_config(config: RunConfig) -> None:
    """Writes the config for `resume=` and for people."""
    text = json.dumps(to_plain(asdict(config)), indent=2) + "\n"
    write_text(config.folder / CONFIG_FILE, text)


def read_config(run_dir: Path) -> TrainConfig:
    """Returns the config of the run in a folder.

    Raises:
        UserError: it holds none.
    """
    path = run_dir / CONFIG_FILE
    try:
        options = json.loads(path.read_text(encoding="utf-8"))
        require_command(run_dir, options, "train")
        return from_plain(TrainConfig, options)
    except UserError:
        raise
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path.absolute()} is not the config of a run ({error})") from error


@contextmanager
def crash_report(run_dir: Path) -> Iterator[None]:
    """Writes a report of an unexpected error into the run's folder, and says where it is.

    Raises:
        UserError: the disk is full, which needs no report.
    """
    original = threading.excepthook

    def unless_full(thread: threading.ExceptHookArgs) -> None:
        if _full_disk(thread.exc_value) is None:  # TensorBoard's next call raises that one again
            original(thread)

    threading.excepthook = unless_full
    try:
        yield
    except Exception as error:
        found = checkpoints_by_step(run_dir)
        good = shown(found[0]) if found else "none yet"
        if cause := _full_disk(error):
            raise UserError(
                f"the run cannot write any more: {cause}; its checkpoints are untouched (newest: "
                f"{good}): make room, and resume= continues"
            ) from error
        if isinstance(error, UserError | RunEnded) or reader_is_gone(error):
            raise
        path = run_dir / f"crash-{time.strftime('%Y-%m-%d_%H-%M-%S')}-{os.getpid()}.txt"
        lines = [
            f"torch {torch.__version__}, lightning {lightning.__version__}, "
            f"Python {platform.python_version()}, {platform.platform()}",
            f"process {os.getpid()} on {socket.gethostname()}",
            f"newest checkpoint: {good}",
            "",
            *traceback.format_exception(error),
        ]
        path.write_text("\n".join(lines), encoding="utf-8")
        more = f"newest checkpoint: {good}; resume= continues" if found else "no checkpoint yet"
        error.add_note(f"This report is in {path}; {more}.")
        raise
    finally:
        threading.excepthook = original


def _full_disk(error: BaseException | None) -> OSError | None:
    """Returns the full disk's error that caused this one, unless it already has its message."""
    while error is not None and not isinstance(error, UserError):
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            return error
        error = error.__cause__ or error.__context__
    return None
