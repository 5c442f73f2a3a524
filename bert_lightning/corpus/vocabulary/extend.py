"""Adds the words of a new domain to an existing vocabulary."""

import json
from collections import Counter
from collections.abc import Iterable
from itertools import islice

from bert_lightning.config import Format, TokenizerConfig
from bert_lightning.corpus.tokenizer import Tokenizer, load_tokenizer_text, rows_needed
from bert_lightning.corpus.vocabulary.build import without_unk
from bert_lightning.errors import UserError

_EXTENSIBLE = ("WordPiece", "WordLevel")


def extend(
    tokenizer: Tokenizer, sentences: Iterable[str], config: TokenizerConfig, text_format: Format
) -> Tokenizer:
    """Returns a tokenizer with the most frequent words that this one splits, or does not know.

    Of those that occur `config.min_frequency` times, at most `config.extend` are added. They follow
    all other tokens, which keep their ids. A longer word that begins with one of them may be split
    at another place than before.
    """
    if not config.extend:
        return tokenizer
    if text_format is Format.wikitext:
        sentences = without_unk(sentences)
    content = json.loads(tokenizer.to_str())
    kind = content["model"]["type"]
    if kind not in _EXTENSIBLE:
        raise UserError(
            f"tokenizer.extend={config.extend}: words cannot be added to a {kind} tokenizer, "
            f"only to {' and '.join(_EXTENSIBLE)}; omit the option"
        )
    known = tokenizer.get_vocab()
    counted = _count(tokenizer, sentences).items()
    words = (
        word
        for word, frequency in sorted(counted, key=lambda item: (-item[1], item[0]))
        if frequency >= config.min_frequency and word not in known and any(map(str.isalpha, word))
    )
    for number, word in enumerate(islice(words, config.extend), rows_needed(tokenizer)):
        content["model"]["vocab"][word] = number
    return load_tokenizer_text(json.dumps(content, ensure_ascii=False))


def pieces_of_new(old: Tokenizer, new: Tokenizer) -> dict[int, list[int]]:
    """Returns, for each token added to a vocabulary, the old tokens that it consists of."""
    known = old.get_vocab()
    return {
        number: [piece.id for piece in old.model.tokenize(word)]
        for word, number in new.get_vocab().items()
        if word not in known
    }


def _count(tokenizer: Tokenizer, sentences: Iterable[str]) -> Counter[str]:
    """Counts words as the tokenizer sees them before it splits them into tokens."""
    between_spaces = Counter(text for sentence in sentences for text in sentence.split())
    normalizer, splitter = tokenizer.normalizer, tokenizer.pre_tokenizer
    words: Counter[str] = Counter()
    for text, frequency in between_spaces.items():
        normal = normalizer.normalize_str(text) if normalizer else text
        for word, _ in splitter.pre_tokenize_str(normal) if splitter else [(normal, None)]:
            words[word] += frequency
    return words
