"""Adds the words of a new domain to an existing vocabulary."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from bert_lightning.config import Format, TokenizerConfig
from bert_lightning.corpus.tokenizer import Tokenizer, load_tokenizer_text, rows_needed
from bert_lightning.corpus.vocabulary.counting import WordCounter, by_frequency
from bert_lightning.corpus.vocabulary.text import counted
from bert_lightning.errors import UserError
from bert_lightning.special_tokens import UNK

_EXTENSIBLE = ("WordPiece", "WordLevel")


def extend(
    tokenizer: Tokenizer, sentences: Iterable[str], config: TokenizerConfig, text_format: Format
) -> Tokenizer:
    """Returns a tokenizer with the most frequent words that this one splits, or does not know.

    A word without letters, such as an emoji, is added if it is unknown. The characters that make
    words unknown count as words too, as they stand: `x`, or `##x` within a word. Of all these, if
    they occur `config.min_frequency` times, at most `config.extend` are added. They follow all
    other tokens, which keep their ids. A longer word that begins with one of them may be split at
    another place than before.
    """
    if not config.extend:
        return tokenizer
    content = json.loads(tokenizer.to_str())
    kind = content["model"]["type"]
    if kind not in _EXTENSIBLE:
        raise UserError(
            f"tokenizer.extend={config.extend}: words cannot be added to a {kind} tokenizer, "
            f"only to {' and '.join(_EXTENSIBLE)}; omit the option"
        )
    longest = content["model"].get("max_input_chars_per_word", math.inf)
    words = WordCounter(tokenizer.to_str(), text_format is Format.wikitext)
    frequencies = counted(sentences, words)
    unknown = {word for word in frequencies if _is_unknown(tokenizer, word)}
    frequencies += _characters({word: frequencies[word] for word in unknown}, content["model"])
    known = tokenizer.get_vocab()
    new = (
        word
        for word, frequency in by_frequency(frequencies)
        if frequency >= config.min_frequency
        and word not in known
        and (any(map(str.isalpha, word)) or _is_unknown(tokenizer, word))
        and len(word) <= longest
    )
    for number, word in enumerate(islice(new, config.extend), rows_needed(tokenizer)):
        content["model"]["vocab"][word] = number
    return load_tokenizer_text(json.dumps(content, ensure_ascii=False))


def pieces_of_new(old: Tokenizer, new: Tokenizer) -> dict[int, list[int]]:
    """Returns, for each token added to a vocabulary, the old tokens that it consists of."""
    known = old.get_vocab()
    prefix = getattr(old.model, "continuing_subword_prefix", "")
    return {
        number: [piece.id for piece in old.model.tokenize(word.removeprefix(prefix))]
        for word, number in new.get_vocab().items()
        if word not in known
    }


def _is_unknown(tokenizer: Tokenizer, word: str) -> bool:
    return any(piece.value == UNK for piece in tokenizer.model.tokenize(word))


def _characters(words: Mapping[str, int], model: Mapping[str, Any]) -> Counter[str]:
    """Counts the characters of words that a model of wordpieces lacks; other models have none."""
    characters: Counter[str] = Counter()
    prefix = model.get("continuing_subword_prefix", "")
    for word, frequency in words.items() if prefix else ():
        if len(word) > 1:
            pieces = {word[0], *(prefix + character for character in word[1:])}
            characters.update(dict.fromkeys(pieces - model["vocab"].keys(), frequency))
    return characters
