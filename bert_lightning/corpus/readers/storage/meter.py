"""How far the files of a text are read."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

MEGABYTE = 1e6


class Meter:
    """Tells how far the files of a text are read, without touching what reads them."""

    def __init__(self) -> None:
        self._closed = 0
        self._open: list[Callable[[], int]] = []

    @contextmanager
    def reading(self, size: int, position: Callable[[], int]) -> Iterator[None]:
        """A context in which a file of `size` bytes is read, of which `position` tells the place.

        Afterwards all of it counts as read.
        """
        self._open.append(position)
        try:
            yield
        finally:
            self._open.remove(position)
            self._closed += size

    def position(self) -> int:
        """Returns the bytes that were read, compressed ones as they are on the disk."""
        read = self._closed
        for position in [*self._open]:
            with suppress(OSError, ValueError):  # it was closed meanwhile
                read += position()
        return read

    def megabytes(self) -> Callable[[], float]:
        """Returns what tells the megabytes that are read from now on."""
        start = self.position()
        return lambda: (self.position() - start) / MEGABYTE


METER = Meter()
