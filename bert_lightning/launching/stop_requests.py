"""Stop signals for a worker of Ray, whose run is no main thread and so receives none itself."""

_requested = 0


def request(number: int) -> None:
    """Asks the run of this process to stop, as the signal of this number would."""
    global _requested
    _requested = _requested or number


def requested() -> int:
    """Returns the number of the stop signal that this process was asked for; 0 for none."""
    return _requested
