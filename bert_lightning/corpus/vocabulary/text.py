"""The text that a vocabulary is made of."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

Count = Callable[[Iterable[str]], Counter[str]]
WIKITEXT_UNK = "<unk>"


@dataclass(frozen=True)
class Rereadable:
    """Sentences that can be read more than once, each time from the start."""

    read: Callable[[], Iterable[str]]
    count: Callable[[Count], Counter[str]] | None = None
    """Counts something in all sentences, by parts of the text that it sums; None reads them."""

    def __iter__(self) -> Iterator[str]:
        return iter(self.read())


def counted(sentences: Iterable[str], count: Count) -> Counter[str]:
    """Counts something in sentences, in parts if the text has a way to do so."""
    by_parts = sentences.count if isinstance(sentences, Rereadable) else None
    return by_parts(count) if by_parts else count(sentences)


def without_unk(sentences: Iterable[str]) -> Rereadable:
    """Returns WikiText's sentences without its mark for omitted words."""
    return Rereadable(lambda: (sentence.replace(WIKITEXT_UNK, "") for sentence in sentences))
