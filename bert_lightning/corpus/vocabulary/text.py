"""The text that a vocabulary is made of."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

WIKITEXT_UNK = "<unk>"


@dataclass(frozen=True)
class Rereadable:
    """Sentences that can be read more than once, each time from the start."""

    read: Callable[[], Iterable[str]]

    def __iter__(self) -> Iterator[str]:
        return iter(self.read())


def without_unk(sentences: Iterable[str]) -> Rereadable:
    """Returns WikiText's sentences without its mark for omitted words."""
    return Rereadable(lambda: (sentence.replace(WIKITEXT_UNK, "") for sentence in sentences))
