"""What a person sees of long work: bars on a terminal, elsewhere a line every few seconds.

A thread looks at the work, so that it is not slowed, and nothing is silent that takes long.
"""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:  # rich is imported where work is shown: a mistake is told before
    from rich.console import Console
    from rich.progress import TaskID

Item = TypeVar("Item")

PRINTED = "bert_lightning.printed"
"""The logger of what is printed already: its records reach a run's log, and no screen."""
_SECONDS_BETWEEN_LINES = 5.0
_SLOWER_BY = 0.05
"""Fraction of the time so far that at least lies between two lines: long work fills no log."""
_SECONDS_BEFORE_BAR = 1.0  # work that takes less shows no bar
_SECONDS_BETWEEN_LOOKS = 0.25
_log = logging.getLogger(__name__)
_printed = logging.getLogger(PRINTED)
_printed.propagate = False


def say(text: str) -> None:
    """Prints lines, and writes them into the run's log."""
    print(text, flush=True)
    _SCREEN.spoken = time.monotonic()
    log_printed(text)


def log_printed(text: str) -> None:
    """Writes what was printed into the run's log, where there is one."""
    for line in filter(None, text.splitlines()):
        _printed.info("%s", line)


class Work:
    """Long work: what it is, how much is done, and how much there is in all.

    Args:
        what: a word or two.
        total: None where nobody knows it.
        unit: what is counted, in the plural.
        measure: returns how much is done, where that is not said by `advance`.
    """

    def __init__(
        self,
        what: str,
        total: float | None = None,
        unit: str = "",
        measure: Callable[[], float] | None = None,
    ) -> None:
        self.restart(what, total, unit, measure)

    def restart(
        self,
        what: str,
        total: float | None = None,
        unit: str = "",
        measure: Callable[[], float] | None = None,
        done: float = 0.0,
    ) -> None:
        """Begins the next part of the work, of which so much is done already."""
        self.what, self.total, self.unit, self.measure = what, total, unit, measure
        self.done = self._begun = done
        self._since = time.monotonic()

    def advance(self, amount: float = 1) -> None:
        self.done += amount

    def update(self) -> None:
        """Has `done` and `total` say how far the work is."""
        if self.measure is not None:
            self.done = self.measure()
        if self.total is not None and self.done > self.total:
            self.total = None  # it was a guess

    def status(self) -> str:
        """Returns how far it is, its rate and the time left: `3 of 8 MB, 2 MB/s, 3 s left`."""
        left, so_far = self.seconds_left(), duration(time.monotonic() - self._since)
        end = f"{duration(left)} left" if left else f"{so_far} so far"
        of_all = "" if self.total is None else f" of {self.total:,.0f}"
        parts = [f"{self.done:,.0f}{of_all} {self.unit}"] * bool(self.total or self.done)
        if left == 0:
            parts.append("finishing")  # such as a test after the last step
        elif rate := self._rate():
            speed = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
            parts.append(f"{speed} {self.unit}/s")
        return ", ".join([*parts, end])

    def _rate(self) -> float:
        """Returns how much is done in a second, on average."""
        return (self.done - self._begun) / max(time.monotonic() - self._since, 1e-9)

    def seconds_left(self) -> float | None:
        """Returns the seconds until it is done at this rate; None where nobody knows."""
        rate = self._rate()
        return None if self.total is None or rate <= 0 else (self.total - self.done) / rate

    def seconds_between_lines(self, now: float) -> float:
        """Returns how often it is told; the longer it takes, the less often."""
        return max(_SECONDS_BETWEEN_LINES, _SLOWER_BY * (now - self._since))

    def line(self) -> str:
        """Returns the line that is shown where there is no terminal."""
        return f"{self.what}: {self.status()}"


@contextmanager
def working(
    what: str,
    total: float | None = None,
    unit: str = "",
    measure: Callable[[], float] | None = None,
) -> Iterator[Work]:
    """A context of long work, which is shown while it lasts; see :class:`Work`."""
    with shown(Work(what, total, unit, measure)) as work:
        yield work


def tracked(items: Iterable[Item], total: int, what: str, unit: str = "batches") -> Iterator[Item]:
    """Yields the items, and shows how many are done."""
    with working(what, total, unit) as work:
        for item in items:
            yield item
            work.advance()


AnyWork = TypeVar("AnyWork", bound=Work)


@contextmanager
def shown(work: AnyWork) -> Iterator[AnyWork]:
    """A context in which work is shown, above other work that it is a part of.

    A process that tells nothing, such as the second one of a run, shows nothing.
    """
    if not _log.isEnabledFor(logging.INFO):
        yield work
        return
    _SCREEN.add(work)
    try:
        yield work
    finally:
        _SCREEN.remove(work)


def duration(seconds: float) -> str:
    """Returns a time in words: `12 s`, `3:20 min`, `1.5 h`."""
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} h"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02} min" if seconds >= 90 else f"{seconds:.0f} s"


def bar_console() -> "Console | None":
    """Returns the console for bars, or None where lines are told instead."""
    from rich.console import Console

    console = Console(stderr=True)
    drawn = console.is_terminal and not console.is_dumb_terminal and console.file.isatty()
    return console if drawn else None


class _Screen:
    """Shows the work at hand, by a thread that lives as long as there is any."""

    def __init__(self) -> None:
        self.spoken = 0.0
        """When the last line was printed."""
        self._works: list[Work] = []
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()

    def add(self, work: Work) -> None:
        self._works.append(work)
        if self._thread is None:
            self.spoken = max(self.spoken, time.monotonic() - _SECONDS_BETWEEN_LINES / 2)
            self._ended.clear()
            self._thread = threading.Thread(target=self._show, daemon=True)
            self._thread.start()

    def remove(self, work: Work) -> None:
        self._works.remove(work)
        if not self._works and self._thread is not None:
            self._ended.set()
            self._thread.join()
            self._thread = None

    def _show(self) -> None:
        console = bar_console()
        with suppress(OSError, ValueError):  # a terminal that is gone
            if console is None:
                self._tell()
            elif not self._ended.wait(_SECONDS_BEFORE_BAR):
                self._draw(console)

    def _tell(self) -> None:
        while not self._ended.wait(_SECONDS_BETWEEN_LOOKS):
            works, now = self._works[-1:], time.monotonic()
            if works and now - self.spoken >= works[0].seconds_between_lines(now):
                works[0].update()
                self.spoken = time.monotonic()
                _log.info("%s", works[0].line())

    def _draw(self, console: "Console") -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(None),
            TextColumn("{task.fields[at]}", markup=False),
        )
        bars: dict[Work, TaskID] = {}
        progress = Progress(
            *columns,
            console=console,
            transient=True,
            expand=True,
            auto_refresh=False,
            redirect_stdout=sys.stdout.isatty(),
        )
        with progress, _messages_above():
            while True:
                works = [*self._works]
                for gone in bars.keys() - works:
                    progress.remove_task(bars.pop(gone))
                for work in works:
                    work.update()
                    if work not in bars:
                        bars[work] = progress.add_task(work.what, at=work.status())
                    progress.update(
                        bars[work],
                        description=work.what,
                        completed=work.done,
                        total=work.total,
                        at=work.status(),
                        visible=work.total is not None or work is works[-1],
                    )
                progress.refresh()
                if self._ended.wait(_SECONDS_BETWEEN_LOOKS):
                    return


@contextmanager
def _messages_above() -> Iterator[None]:
    """A context in which messages for the terminal are printed above the bars that rich draws."""
    moved = []
    for logger in (logging.getLogger(), logging.getLogger("bert_lightning")):
        for handler in logger.handlers:
            if type(handler) is logging.StreamHandler and handler.stream.isatty():
                proxy = sys.stderr if handler.stream is sys.__stderr__ else sys.stdout
                moved.append((handler, handler.setStream(proxy)))
    try:
        yield
    finally:
        for handler, stream in moved:
            handler.setStream(stream)


_SCREEN = _Screen()
