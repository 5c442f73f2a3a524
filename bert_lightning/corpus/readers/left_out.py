"""The tally of what is there and does not reach the corpus: nothing is left out in silence."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from os import PathLike, fsdecode
from typing import Any

log = logging.getLogger(__name__)

_MOST_EXAMPLES = 3


@dataclass
class Omission:
    """One kind of thing that is left out."""

    what: str
    """Things and the reason, in the plural: "hidden files"."""
    way_out: str
    """The option or command that keeps them; empty if there is none."""
    count: int = 0
    examples: list[str] = field(default_factory=list)
    """The names of the first ones."""

    def __str__(self) -> str:
        more = ", …" if self.count > len(self.examples) == _MOST_EXAMPLES else ""
        names = f" ({', '.join(self.examples)}{more})" if self.examples else ""
        return f"{self.count:,} {self.what}{names}" + f"; {self.way_out}" * bool(self.way_out)


class LeftOut:
    """The omissions of one reading of a text, by their kinds."""

    def __init__(self) -> None:
        self._omissions: dict[str, Omission] = {}

    def add(self, what: str, example: str = "", way_out: str = "", count: int = 1) -> None:
        """Counts things that are left out; `example` names the first of them."""
        omission = self._omissions.setdefault(what, Omission(what, way_out))
        omission.count += count
        if example and example not in omission.examples[:_MOST_EXAMPLES]:
            omission.examples = [*omission.examples, example][:_MOST_EXAMPLES]

    def __iter__(self) -> Iterator[Omission]:
        return iter(self._omissions.values())

    def to_plain(self) -> list[dict[str, Any]]:
        """Returns plain values, of which `Omission(**values)` makes each omission again."""
        return [asdict(omission) for omission in self]


def announce(omissions: Iterable[Omission], fate: str = "Left out") -> None:
    """Says what is left out, a line each."""
    for omission in omissions:
        log.warning("%s: %s.", fate, omission)


def shown(path: str | PathLike[str]) -> str:
    """Returns a path in printable characters: names of files may have line ends and stray bytes."""
    text = fsdecode(path)
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
