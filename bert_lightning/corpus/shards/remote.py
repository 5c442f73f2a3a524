"""A folder at any URL that fsspec reads and writes: s3://, gs://, memory://, or a path."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from fsspec.registry import known_implementations

from bert_lightning.errors import UserError
from bert_lightning.files import atomic

Result = TypeVar("Result")


class RemoteFolder:
    """The files of a folder, by their names in it. It can be pickled.

    Raises:
        UserError: nothing here reads such a URL.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/") or url
        self._place()

    def exists(self, name: str) -> bool:
        system, folder = self._place()
        return _told(partial(system.exists, f"{folder}/{name}"))

    def read(self, name: str) -> bytes:
        """Returns the content of a file; an OSError says why it cannot be read."""
        system, folder = self._place()
        return _told(partial(system.cat_file, f"{folder}/{name}"))

    def fetch(self, name: str, target: Path) -> None:
        """Copies a file to this machine; an OSError says why that cannot be done."""
        system, folder = self._place()
        _told(partial(system.get_file, f"{folder}/{name}", str(target)))

    def write(self, name: str, content: bytes) -> None:
        """Writes a file, in one piece or not at all; an OSError says why not."""
        system, folder = self._place()
        path = f"{folder}/{name}"
        _told(partial(system.makedirs, path.rpartition("/")[0], exist_ok=True))
        if isinstance(system, LocalFileSystem):
            with atomic(Path(path)) as temporary:
                temporary.write_bytes(content)
        else:
            _told(partial(system.pipe_file, path, content))

    def _place(self) -> tuple[Any, str]:
        """Returns the file system, of this very process, and the folder's path there."""
        protocol = self.url.partition("://")[0]
        try:
            return url_to_fs(self.url)
        except ImportError as error:
            package = known_implementations[protocol]["class"].partition(".")[0]
            raise UserError(
                f"{self.url}: {protocol}:// needs the package {package}: pip install {package}"
            ) from error
        except Exception as error:  # of its driver, and ValueError for an unknown protocol
            raise UserError(f"{self.url} cannot be opened: {_in_short(error)}") from error


def _told(ask: Callable[[], Result]) -> Result:
    """Asks a file system; its drivers raise errors of dozens of types, which become an OSError."""
    try:
        return ask()
    except FileNotFoundError as error:
        raise FileNotFoundError("nothing is there") from error
    except Exception as error:
        raise OSError(_in_short(error)) from error


def _in_short(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).partition("\n")[0] or type(error).__name__
