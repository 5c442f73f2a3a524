"""Compressed files: the endings that say so, and the streams that decompress them."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

from bert_lightning.errors import UserError

_CHUNK = 2**17
_LARGEST_WINDOW = 2**31
"""Bytes that `zstd --ultra --long=31` looks back."""


class Compression(NamedTuple):
    """A way to compress files."""

    mark: bytes
    """Their first bytes."""
    what: str
    unpack: str
    """The command that replaces a file by what it holds."""
    stream: Callable[[BinaryIO], Any]
    """Returns the decompressed stream of an open file."""


class _Zstd(io.RawIOBase):
    """The frames of a zstd file, one after the other; the library's reader takes a part for all."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._library = file, _zstandard()
        self._frame: Any = None
        self._compressed = self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            self._compressed = self._compressed or self._file.read(_CHUNK)
            if not self._compressed:
                if self._frame is not None:
                    raise EOFError("it ends within a frame")
                return 0
            if self._frame is None:
                decompressor = self._library.ZstdDecompressor(max_window_size=_LARGEST_WINDOW)
                self._frame = decompressor.decompressobj()
            try:
                self._ready = self._frame.decompress(self._compressed)
            except self._library.ZstdError as error:
                raise EOFError(str(error)) from error
            self._compressed = self._frame.unused_data
            if self._frame.eof:
                self._frame = None
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError as error:
        raise UserError(
            "files that end with .zst need the package zstandard: "
            "pip install 'bert-lightning[zstd]', or decompress them: unzstd FILE.zst"
        ) from error
    return zstandard


COMPRESSIONS = {
    ".gz": Compression(
        *(b"\x1f\x8b", "a gzip file", "gunzip"),
        lambda file: gzip.GzipFile(fileobj=file),
    ),
    ".bz2": Compression(b"BZh", "a bzip2 file", "bunzip2", bz2.BZ2File),
    ".xz": Compression(b"\xfd7zXZ\0", "an xz file", "unxz", lzma.LZMAFile),
    ".zst": Compression(
        *(b"\x28\xb5\x2f\xfd", "a zstd file", "unzstd"),
        lambda file: io.BufferedReader(_Zstd(file), _CHUNK),
    ),
}
"""How files are compressed, by the endings of their names, in capitals or not."""

FAULTS = (EOFError, zlib.error, lzma.LZMAError)
"""What is raised for an archive that is truncated or corrupted, and OSErrors without a number."""


def ending_of_archive(name: str) -> str:
    """Returns the ending that says how a file is compressed; "" if it is not."""
    return next((ending for ending in COMPRESSIONS if name.lower().endswith(ending)), "")
