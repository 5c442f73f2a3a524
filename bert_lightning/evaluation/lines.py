"""The lines of small text files that a model is evaluated on."""

from pathlib import Path

from bert_lightning.errors import UserError


def numbered_lines(path: Path) -> list[tuple[int, str]]:
    """Returns the lines that are not blank, each with its number from 1.

    Raises:
        UserError: the file is missing, unreadable, or not UTF-8.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        byte = f"byte {error.start} is 0x{error.object[error.start]:02x}"
        raise UserError(f"{path.absolute()} is not UTF-8: {byte}") from error
    except OSError as error:
        why = f"{error.strerror} (the working directory is {Path.cwd()})"
        raise UserError(f"{path.absolute()} cannot be read: {why}") from error
    return [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
