"""How long training has taken."""

import time


class Clock:
    """Counts seconds while it runs."""

    def __init__(self, elapsed: float = 0.0) -> None:
        self._before = elapsed
        self._since: float | None = None

    @property
    def elapsed(self) -> float:
        """Seconds so far."""
        return self._before + (0.0 if self._since is None else time.perf_counter() - self._since)

    def run(self) -> None:
        """Goes on from where it was halted."""
        self._before, self._since = self.elapsed, time.perf_counter()

    def halt(self) -> None:
        """Counts no further until it runs again."""
        self._before, self._since = self.elapsed, None
