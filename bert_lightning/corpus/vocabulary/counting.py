"""How often each word occurs, counted in parts of a text and summed."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from tokenizers import Tokenizer

from bert_lightning.corpus.vocabulary.division import Divisible, at_punctuation, divisible
from bert_lightning.corpus.vocabulary.text import without_unk

_COUNTED_TOGETHER = 1_000_000
"""Texts between spaces that are held in memory at a time."""


@dataclass(frozen=True)
class WordCounter:
    """Counts words as a tokenizer sees them before it splits them into tokens.

    Its normalizer and its pre-tokenizer never look across a space, so each distinct text between
    spaces, or where that gives the same words each part of it, is split into words once.
    """

    tokenizer: str
    """The text of its `tokenizer.json`."""
    wikitext: bool
    """Whether the text's `<unk>` is no word."""
    ignored: tuple[str, ...] = ()
    """Words that are not counted."""

    def __call__(self, sentences: Iterable[str]) -> Counter[str]:
        """Returns the count of each word."""
        tokenizer = Tokenizer.from_str(self.tokenizer)
        normalizer, splitter = tokenizer.normalizer, tokenizer.pre_tokenizer
        by_mark = divisible(tokenizer) is Divisible.AT_PUNCTUATION
        words: Counter[str] = Counter()
        texts = self._between_spaces(sentences)
        while counted := Counter(islice(texts, _COUNTED_TOGETHER)):
            if by_mark:
                counted = _of_parts(counted)
            for text, frequency in counted.items():
                normal = normalizer.normalize_str(text) if normalizer else text
                for word, _ in splitter.pre_tokenize_str(normal) if splitter else [(normal, None)]:
                    words[word] += frequency
        for word in self.ignored:
            words.pop(word, None)
        return words

    def _between_spaces(self, sentences: Iterable[str]) -> Iterator[str]:
        for sentence in without_unk(sentences) if self.wikitext else sentences:
            yield from sentence.split(" ")


def _of_parts(counted: Counter[str]) -> Counter[str]:
    """Returns the counts of the parts of words around punctuation."""
    frequencies, parts = iter(counted.values()), Counter[str]()
    frequency = 0
    for part in at_punctuation([*counted]):
        if part == " ":
            frequency = next(frequencies)
        else:
            parts[part] += frequency
    return parts


def by_frequency(words: Mapping[str, int]) -> list[tuple[str, int]]:
    """Returns words with their counts, the most frequent first, equally frequent ones in order."""
    return sorted(words.items(), key=lambda item: (-item[1], item[0]))
