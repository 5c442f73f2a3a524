"""The errors that become one message on the terminal, and the helpers that word them."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path


class _Message(Exception):  # noqa: N818 -- not an error by itself
    """An exception whose message says all; a notebook shows it without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


class UserError(_Message, ValueError):
    """A mistake of the user's, with exit code 2; its message has the value, limit and way out."""


class RunEnded(_Message):
    """The orderly end of a run before its last step; the message says why and what to do next."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code

    def __reduce__(self) -> tuple[type["RunEnded"], tuple[str, int]]:
        return type(self), (str(self), self.exit_code)  # else another process could not read it


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns ``"; did you mean 'devices'?"`` for the nearest known word, or ``""``."""
    nearest = get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{nearest[0]}'?" if nearest else ""


@contextmanager
def writing(what: str, folder: Path, option: str) -> Iterator[None]:
    """Turns a failure to write into a :class:`UserError` that names the option of the folder."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{what} cannot be written to {folder.absolute()}: {error.strerror or error}; "
            f"{option}=FOLDER chooses another folder"
        ) from error


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Ends the program on a :class:`UserError`: its message on standard error, exit code 2.

    With `HYDRA_FULL_ERROR=1` in the environment the traceback is shown instead.
    """
    try:
        yield
    except UserError as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
