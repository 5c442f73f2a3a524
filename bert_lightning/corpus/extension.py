"""Words of a new domain as entries of an existing vocabulary."""

import json
from collections import Counter
from collections.abc import Iterable
from itertools import islice

from bert_lightning.config import Format, TokenizerConfig
from bert_lightning.corpus.tokenizer import Tokenizer, load_tokenizer_text, rows_needed
from bert_lightning.corpus.vocabulary import without_unk
from bert_lightning.errors import UserError

_EXTENSIBLE = ("WordPiece", "WordLevel")


def extend(
    tokenizer: Tokenizer, sentences: Iterable[str], config: TokenizerConfig, text_format: Format
) -> Tokenizer:
    """Adds the most frequent words that the vocabulary has only in pieces, or not at all.

    They stand behind all other entries, so that those keep their ids. A longer word that begins
    with one of them may be split elsewhere than before.

    Args:
        tokenizer: of words, or of words and pieces of words; stays as it is.
        sentences: the text of the new domain.
        config: `extend` is how many words to add, at most, and `min_frequency` how often each
            must occur.
        text_format: how the text writes words.

    Raises:
        UserError: where the tokenizer is of another kind.
    """
    if not config.extend:
        return tokenizer
    if text_format is Format.wikitext:
        sentences = without_unk(sentences)
    content = json.loads(tokenizer.to_str())
    kind = content["model"]["type"]
    if kind not in _EXTENSIBLE:
        raise UserError(
            f"tokenizer.extend={config.extend}: a tokenizer of type {kind} cannot take words, only "
            f"{' and '.join(_EXTENSIBLE)} can; leave it 0"
        )
    known = tokenizer.get_vocab()
    words = (
        word
        for word, frequency in sorted(_count(tokenizer, sentences).items(), key=_rank)
        if frequency >= config.min_frequency and word not in known and any(map(str.isalpha, word))
    )
    for number, word in enumerate(islice(words, config.extend), rows_needed(tokenizer)):
        content["model"]["vocab"][word] = number
    return load_tokenizer_text(json.dumps(content, ensure_ascii=False))


def pieces_of_new(old: Tokenizer, new: Tokenizer) -> dict[int, list[int]]:
    """For each entry that an extended vocabulary has more: what it was made of before."""
    known = old.get_vocab()
    return {
        number: [piece.id for piece in old.model.tokenize(word)]
        for word, number in new.get_vocab().items()
        if word not in known
    }


def _count(tokenizer: Tokenizer, sentences: Iterable[str]) -> Counter[str]:
    """How often each word occurs, as the tokenizer sees words before it takes them apart."""
    between_spaces = Counter(text for sentence in sentences for text in sentence.split())
    normalizer, splitter = tokenizer.normalizer, tokenizer.pre_tokenizer
    words: Counter[str] = Counter()
    for text, frequency in between_spaces.items():
        normal = normalizer.normalize_str(text) if normalizer else text
        for word, _ in splitter.pre_tokenize_str(normal) if splitter else [(normal, None)]:
            words[word] += frequency
    return words


def _rank(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]
