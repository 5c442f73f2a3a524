"""The lines of small text files that a model is evaluated on."""

import zipfile
from pathlib import Path

from bert_lightning.errors import UserError


def numbered_lines(path: Path | zipfile.Path) -> list[tuple[int, str]]:
    """Returns the lines of a file, or of one in a .zip, that are not blank, each with its number.

    Raises:
        UserError: the file is missing, unreadable, or not UTF-8.
    """
    place = path.absolute() if isinstance(path, Path) else path
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        byte = f"byte {error.start} is 0x{error.object[error.start]:02x}"
        raise UserError(f"{place} is not UTF-8: {byte}") from error
    except OSError as error:
        why = f"{error.strerror} (the working directory is {Path.cwd()})"
        raise UserError(f"{place} cannot be read: {why}") from error
    return [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
