"""Files in object storage, on the hub, or wherever else fsspec reads."""

import errno
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True)
class RemoteFile:
    """A file of such a storage, with what readers use of a `Path`. It can be pickled."""

    system: Any
    """The `fsspec` file system."""
    path: str
    """Its path there, without the protocol."""
    size: int
    """Bytes."""

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]

    def absolute(self) -> "RemoteFile":
        """Returns the file: its path is always a whole one."""
        return self

    def __fspath__(self) -> str:
        return str(self.system.unstrip_protocol(self.path))

    def open(self, mode: str = "rb") -> io.BufferedReader:
        """Opens its bytes; a stream that can seek. Whatever goes wrong is an OSError."""
        stream = told(partial(self.system.open, self.path, mode))
        return io.BufferedReader(_Stream(stream), 2**20)

    def state(self) -> dict[str, Any]:
        """Returns what the storage says of it: size, times, hashes."""
        return told(partial(self.system.info, self.path))


class _Stream(io.RawIOBase):
    """A stream of fsspec, whose errors are those of its drivers."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._stream.seekable())

    def readinto(self, buffer: Any) -> int:
        data = told(partial(self._stream.read, len(buffer)))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(told(partial(self._stream.seek, offset, whence)))

    def tell(self) -> int:
        return int(self._stream.tell())

    def close(self) -> None:
        self._stream.close()
        super().close()


def told(ask: Callable[[], Result]) -> Result:
    """Asks a storage; its drivers raise errors of dozens of types, which become an OSError."""
    try:
        return ask()
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, "nothing is there") from error
    except Exception as error:
        message = f"{type(error).__name__}: {error}".split("\n", 1)[0].removesuffix(": ")
        raise OSError(errno.EIO, message) from error
