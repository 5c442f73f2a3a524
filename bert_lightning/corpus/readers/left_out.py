"""The tally of what is there and does not reach the corpus, or not as it stands there.

Nothing is left out, or guessed, in silence.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from os import PathLike, fsdecode
from typing import Any

from bert_lightning.config import CorpusConfig

log = logging.getLogger(__name__)

MOST_LEFT_OUT = 0.2
"""The fraction of a text, in characters, that may be left out without a warning."""
LEFT_OUT = "Left out"
_MOST_EXAMPLES = 3
HIDDEN = "hidden files and folders"


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
    of: int = 0
    """Such things in all, those that are kept too; 0 if they are not counted."""
    characters: int = 0
    """Of the text that is left out with them, where it is counted."""
    of_characters: int = 0
    fate: str = LEFT_OUT
    """What happens to them: anything else is a remark about text that is in the corpus."""

    @property
    def fraction(self) -> float | None:
        """The fraction of the text that is left out with them; None if it is not counted."""
        return self.characters / self.of_characters if self.of_characters else None

    def __str__(self) -> str:
        more = ", …" if self.count > len(self.examples) == _MOST_EXAMPLES else ""
        names = f" ({', '.join(self.examples)}{more})" if self.examples else ""
        if self.fraction is None and self.of:
            names += f" (of {self.of:,})"
        if self.fraction is not None:
            names += f" (of {self.of:,}; {self.fraction:.1%} of the text)"
        return f"{self.count:,} {self.what}{names}" + f"; {self.way_out}" * bool(self.way_out)


class LeftOut:
    """The omissions of one reading of a text, by their kinds."""

    def __init__(self) -> None:
        self._omissions: dict[str, Omission] = {}

    def add(
        self,
        what: str,
        example: str = "",
        way_out: str = "",
        count: int = 1,
        of: int = 0,
        fate: str = LEFT_OUT,
    ) -> None:
        """Counts things that are left out; `example` names the first of them."""
        omission = self._omissions.setdefault(what, Omission(what, way_out, fate=fate))
        omission.of += of
        omission.count += count
        if example and example not in omission.examples[:_MOST_EXAMPLES]:
            omission.examples = [*omission.examples, example][:_MOST_EXAMPLES]

    def add_text(
        self, what: str, way_out: str, count: int, of: int, characters: int, of_characters: int
    ) -> None:
        """Counts things that are left out of so many, and the text that goes with them."""
        omission = self._omissions.setdefault(what, Omission(what, way_out))
        omission.count += count
        omission.of += of
        omission.characters += characters
        omission.of_characters += of_characters

    def add_all(self, omissions: Iterable[Omission]) -> None:
        """Adds what was left out of the next part of a text."""
        for omission in omissions:
            for example in omission.examples or [""]:
                self.add(omission.what, example, omission.way_out, 0, fate=omission.fate)
            self.add_text(
                *(omission.what, omission.way_out, omission.count, omission.of),
                *(omission.characters, omission.of_characters),
            )

    def counted(self) -> Iterator[Omission]:
        """Yields all that was counted, also of what nothing was left out."""
        yield from self._omissions.values()

    def __iter__(self) -> Iterator[Omission]:
        return (omission for omission in self._omissions.values() if omission.count)

    def to_plain(self) -> list[dict[str, Any]]:
        """Returns plain values, of which `Omission(**values)` makes each omission again."""
        return [asdict(omission) for omission in self]


def announce(omissions: Iterable[Omission], fate: str = "") -> None:
    """Says what is left out, a line each; it is a warning unless it is little of the text."""
    for omission in omissions:
        little = omission.fraction is not None and omission.fraction <= MOST_LEFT_OUT
        remark = omission.fate != LEFT_OUT or little
        level = logging.INFO if remark else logging.WARNING
        log.log(level, "%s: %s.", fate or omission.fate, omission)


def usable(data: CorpusConfig) -> str:
    """Returns the condition for keeping a paragraph, for a message."""
    if data.min_sentences == 1:
        return "with a sentence"
    return f"with {data.min_sentences} sentences or more"


def ways_out(data: CorpusConfig) -> str:
    """Returns what else helps if no paragraph has the required number of sentences."""
    if data.min_sentences == 1:
        return ""
    return (
        " (data.min_sentences); pairs=document and pairs=segment take paragraphs of one "
        "sentence too, pairs=none pretrains without pairs"
    )


def shown(path: str | PathLike[str]) -> str:
    """Returns a path in printable characters: names of files may have line ends and stray bytes."""
    text = fsdecode(path)
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
