"""Text as people write it, for a vocabulary of WikiText, whose words have spaces around them."""

import re

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

_AS_IN_WIKITEXT = [
    (r"[’ʼ]", "'"),
    (r"[“”]", '"'),
    (r"(?<=\w)-(?=\w)", " @-@ "),
    (r"(?<=\d),(?=\d)", " @,@ "),
    (r"(?<=\d)\.(?=\d)", " @.@ "),
]
"""What WikiText writes within words and numbers, as in `well @-@ known` and `1 @,@ 000`."""
_PUNCTUATION = r"\[UNK\]|@[-,.]@|[\p{P}\p{S}]"


def reading_prose(tokenizer: Tokenizer) -> Tokenizer:
    """Returns a tokenizer that splits punctuation from words, where this one splits at spaces only.

    It has the same ids. A word of the vocabulary stays whole, such as `u.s.`, so text that is
    written as WikiText is becomes the same tokens, but for what was `[UNK]`: `didn't` and `card?`
    become `didn 't` and `card ?`. Any other tokenizer is returned as it is.
    """
    splits_at_spaces_only = isinstance(tokenizer.pre_tokenizer, pre_tokenizers.WhitespaceSplit)
    if not (splits_at_spaces_only and isinstance(tokenizer.model, models.WordLevel)):
        return tokenizer
    inner = [w for w in tokenizer.get_vocab() if re.search(r"\w", w) and re.search(r"[^\w]", w)]
    inner.sort(key=len, reverse=True)
    whole = [
        before + "(?:" + "|".join(map(re.escape, words)) + r")(?!\w)"
        for before, words in (
            (r"(?<!\w)", [word for word in inner if re.match(r"\w", word)]),
            ("", [word for word in inner if not re.match(r"\w", word)]),
        )
        if words
    ]
    made = Tokenizer.from_str(tokenizer.to_str())
    made.normalizer = normalizers.Sequence(
        [
            *([made.normalizer] if made.normalizer is not None else []),
            *(normalizers.Replace(Regex(pattern), new) for pattern, new in _AS_IN_WIKITEXT),
        ]
    )
    pattern = Regex("|".join([*whole, _PUNCTUATION]))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(pattern, "isolated")]
    )
    return made
