"""The log file of a run."""

import logging
import sys


class LogFile(logging.FileHandler):
    """A log that tells once where it cannot be written, as on a full disk.

    Logging itself would print a traceback for each line. What was not written is tried again with
    each later line.
    """

    _told = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  logging's name
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._told:
            self._told = True
            print(f"{self.baseFilename} cannot be written: {error.strerror}", file=sys.stderr)
