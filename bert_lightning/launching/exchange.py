"""What the command and its workers tell each other while Ray trains."""

import asyncio
import io
import logging
import logging.handlers
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from queue import SimpleQueue
from typing import Any, NamedTuple

from bert_lightning.work import PRINTED


class Begun(NamedTuple):
    """Rank 0 begins; for the second time where Ray has started all workers again."""

    host: str


class Printed(NamedTuple):
    """A line of rank 0's standard output or standard error."""

    stream: str
    """`stdout` or `stderr`."""
    text: str


class Outcome(NamedTuple):
    """The error that ended the run of a worker, which no restart would change."""

    rank: int
    error: Exception


Message = Begun | Printed | Outcome | logging.LogRecord


class Exchange:
    """An actor of Ray's, where messages wait for the command, and its stop signal for the workers.

    Its methods run in one event loop, in the order in which they are called.
    """

    def __init__(self) -> None:
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._stops: asyncio.Queue[int] = asyncio.Queue()

    async def tell(self, message: Message) -> None:
        self._messages.put_nowait(message)

    async def next(self) -> Message:
        """Returns the oldest message, once there is one."""
        return await self._messages.get()

    async def stop(self, number: int) -> None:
        self._stops.put_nowait(number)

    async def stopped(self) -> int:
        """Returns the number of the stop signal, to each worker, once there is one."""
        number = await self._stops.get()
        self._stops.put_nowait(number)
        return number


@contextmanager
def heard(tell: Callable[[Message], Any]) -> Iterator[None]:
    """A context whose log messages and printed lines are told, and neither logged nor printed."""
    handler = _Told(tell)
    root = logging.getLogger()
    before = root.level, root.handlers
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    logging.getLogger(PRINTED).addHandler(handler)
    out, error = _Lines(tell, "stdout"), _Lines(tell, "stderr")
    try:
        with redirect_stdout(out), redirect_stderr(error):
            yield
    finally:
        out.close()
        error.close()
        logging.getLogger(PRINTED).removeHandler(handler)
        root.setLevel(before[0])
        root.handlers = before[1]


def repeat(message: Printed | logging.LogRecord) -> None:
    """Logs or prints here what a worker has told, as far as this process logs such messages."""
    if isinstance(message, Printed):
        print(message.text, end="", flush=True, file=getattr(sys, message.stream))
    elif (logger := logging.getLogger(message.name)).isEnabledFor(message.levelno):
        logger.handle(message)


class _Told(logging.handlers.QueueHandler):
    """Tells log records, as plain values that travel between processes."""

    def __init__(self, tell: Callable[[Message], Any]) -> None:
        super().__init__(SimpleQueue())  # unused: `enqueue` is another
        self._tell = tell

    def enqueue(self, record: logging.LogRecord) -> None:
        self._tell(record)


class _Lines(io.TextIOBase):
    """A stream that tells what is written to it, a line at a time."""

    def __init__(self, tell: Callable[[Message], Any], name: str) -> None:
        self._tell, self._name, self._begun = tell, name, ""

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            self._tell(Printed(self._name, f"{line}\n"))
        return len(text)

    def close(self) -> None:
        if self._begun:
            self._tell(Printed(self._name, self._begun))
            self._begun = ""
