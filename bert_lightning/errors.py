"""The one error that is meant for the person at the keyboard."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path


class UserError(ValueError):
    """Something the user can put right; shown as one message, with exit code 2.

    The message states the value, the limit and the way out.
    """


class RunEnded(Exception):  # noqa: N818 -- it is no error
    """A run that ends before its last step, as it should: the message says why and what is next."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns ``"; did you mean 'devices'?"`` for the nearest known word, or ``""``."""
    nearest = get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{nearest[0]}'?" if nearest else ""


@contextmanager
def writing(what: str, folder: Path, option: str) -> Iterator[None]:
    """Turns a failure to write into a :class:`UserError` that names another way."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{what} cannot be written to {folder.absolute()}: {error.strerror or error}; "
            f"{option}=FOLDER names another place"
        ) from error


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Ends the program on a :class:`UserError`: its message on standard error, exit code 2.

    `HYDRA_FULL_ERROR=1` in the environment shows the traceback instead. For a `with`, or as a
    decorator: `@exit_on_user_error()`.
    """
    try:
        yield
    except UserError as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
