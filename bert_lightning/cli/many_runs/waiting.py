"""Waiting for a run that another process started."""

import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bert_lightning.runs.launched import SIGNALS

_SECONDS_BETWEEN_LOOKS = 0.5


@contextmanager
def handling(handle: Callable[[int], None]) -> Iterator[None]:
    """A context in which stop signals reach this function alone."""

    def handler(number: int, _: Any) -> None:
        handle(number)

    may_handle = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, handler) for number in SIGNALS * may_handle}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def wait(
    process: "subprocess.Popen[Any]", is_stopped: Callable[[], bool] = lambda: False
) -> tuple[int, bool]:
    """Waits for a run; passes stop signals on to it, and stops it once `is_stopped` says so.

    Returns its exit code, and whether it was stopped: the exit code is then never 0.
    """
    stops: list[int] = []

    def pass_on(number: int) -> None:
        stops.append(number)
        if number != signal.SIGINT:  # the terminal sends that one to the run itself
            process.send_signal(number)

    with handling(pass_on):
        while True:
            try:
                code = process.wait(_SECONDS_BETWEEN_LOOKS)
                break
            except subprocess.TimeoutExpired:
                if not stops and is_stopped():
                    pass_on(signal.SIGTERM)
    code = code if code >= 0 else 128 - code
    return code or (128 + stops[0] if stops else 0), bool(stops)
