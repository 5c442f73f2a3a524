"""One check: the measurement, the limit, the finding and the remedies."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Check:
    """One check of a run."""

    name: str
    measured: str
    """The measurement in words, with its numbers."""
    limit: str
    finding: str | None = None
    """What is wrong; None where nothing is."""
    tries: tuple[str, ...] = ()
    """What to try, the most promising first."""
    numbers: dict[str, float] = field(default_factory=dict)
