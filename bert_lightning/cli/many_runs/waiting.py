"""Waiting for a run that another process started."""

import signal
import subprocess
import threading
from typing import Any

from bert_lightning.runs.launched import SIGNALS


def wait(process: "subprocess.Popen[Any]") -> tuple[int, bool]:
    """Waits for a run, and passes stop signals on to it.

    Returns its exit code, and whether a signal came, which stops this process as well: the exit
    code is then never 0.
    """
    stops: list[int] = []

    def pass_on(number: int, _: Any) -> None:
        stops.append(number)
        if number != signal.SIGINT:  # the terminal sends that one to the run itself
            process.send_signal(number)

    may_handle = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, pass_on) for number in SIGNALS * may_handle}
    try:
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    code = code if code >= 0 else 128 - code
    return code or (128 + stops[0] if stops else 0), bool(stops)
