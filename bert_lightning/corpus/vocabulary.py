"""Text → vocabulary → tokenizer: of words, or of words and wordpieces."""

from collections.abc import Iterable, Sequence

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
)
from tokenizers.trainers import WordLevelTrainer, WordPieceTrainer

from bert_lightning.batch import SPECIAL_TOKENS, UNK
from bert_lightning.config import CorpusConfig, CorpusSource, Format, TokenizerConfig, TokenizerKind
from bert_lightning.corpus.readers.text_files import find_text_files, raw_documents
from bert_lightning.corpus.tokenizer import add_template
from bert_lightning.errors import UserError

_NO_LIMIT = 2**31
MOST_PIECES = 8_000
"""Tokens at which the training of wordpieces stops if no number is requested."""
_WIKITEXT_UNK = "<unk>"
_PIECE = "##"


def build_tokenizer(
    sentences: Iterable[str], config: TokenizerConfig, text_format: Format
) -> Tokenizer:
    """Makes the vocabulary of a corpus; `config.kind` names the tokens.

    Raises:
        UserError: the corpus has fewer words or wordpieces than `config.vocab_size`.
    """
    if config.kind is TokenizerKind.wordpiece:
        return build_wordpiece_tokenizer(sentences, config, text_format)
    return build_word_tokenizer(sentences, config, text_format)


def build_word_tokenizer(
    sentences: Iterable[str], config: TokenizerConfig, text_format: Format
) -> Tokenizer:
    """Makes a vocabulary of the words that occur at least `config.min_frequency` times.

    In WikiText, spaces separate all words and `<unk>` is `[UNK]`; in prose, punctuation is split
    off. The special tokens come first, then the words by decreasing frequency.
    """
    tokenizer = Tokenizer(models.WordLevel(unk_token=UNK))
    steps: list[normalizers.Normalizer] = [normalizers.Lowercase()] if config.lowercase else []
    if config.strip_accents:
        steps += [normalizers.NFD(), normalizers.StripAccents()]
    tokenizer.normalizer = normalizers.Sequence(steps)
    if text_format is Format.wikitext:
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        sentences = without_unk(sentences)
        if not config.lowercase:
            sentences = map(_without_special_words, sentences)
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()]
        )
    trainer = WordLevelTrainer(
        vocab_size=config.vocab_size or _NO_LIMIT,
        min_frequency=config.min_frequency,
        special_tokens=_special_tokens(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences, trainer)
    _check_size(tokenizer, config, "words")
    if text_format is Format.wikitext:
        tokenizer.normalizer = normalizers.Sequence(
            [*steps, normalizers.Replace(_WIKITEXT_UNK, UNK)]
        )
    add_template(tokenizer)
    return tokenizer


def build_wordpiece_tokenizer(
    sentences: Iterable[str], config: TokenizerConfig, text_format: Format
) -> Tokenizer:
    """Trains words and wordpieces (`##ing`), as in BERT.

    There are `config.vocab_size` in all; if that is null, `MOST_PIECES` at most. Punctuation is
    split off, and in WikiText `<unk>` is `[UNK]`. At most a quarter of the tokens (but 100 in any
    case) are single characters; in scripts that have thousands, rarer characters are unknown.
    Training on the same text again may give other wordpieces, so train once and keep the result.
    """
    size = config.vocab_size or MOST_PIECES
    tokenizer = Tokenizer(models.WordPiece(unk_token=UNK, continuing_subword_prefix=_PIECE))
    normalizer = normalizers.BertNormalizer(
        lowercase=config.lowercase, strip_accents=config.strip_accents
    )
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if text_format is Format.wikitext:
        sentences = without_unk(sentences)
    trainer = WordPieceTrainer(
        vocab_size=size,
        min_frequency=config.min_frequency,
        limit_alphabet=max(100, size // 4),
        special_tokens=_special_tokens(),
        continuing_subword_prefix=_PIECE,
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences, trainer)
    _check_size(tokenizer, config, "words and wordpieces")
    if text_format is Format.wikitext:
        # BERT's own pre-tokenizer would split the brackets off [UNK].
        parts = Regex(r"\[UNK\]|[!-/:-@\[-`{-~]|\p{P}")
        tokenizer.normalizer = normalizers.Sequence(
            [normalizer, normalizers.Replace(_WIKITEXT_UNK, UNK)]
        )
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(parts, "isolated")]
        )
    tokenizer.decoder = decoders.WordPiece(prefix=_PIECE)
    add_template(tokenizer)
    return tokenizer


def train_on_files(paths: Sequence[str], config: TokenizerConfig, text_format: Format) -> Tokenizer:
    """Makes the vocabulary of local files, of folders, and of patterns such as `notes/*.txt`.

    Raises:
        UserError: there is no such file, or no text in it.
    """
    sources = [
        CorpusConfig(source=CorpusSource.text, path=path, format=text_format) for path in paths
    ]
    files = [(file, source) for source in sources for file in find_text_files(source)]
    paragraphs = (
        paragraph
        for file, source in files
        for document in raw_documents(file, source)
        for paragraph in document
    )
    return build_tokenizer(paragraphs, config, text_format)


def _special_tokens() -> list[AddedToken]:
    return [AddedToken(token, normalized=False, special=True) for token in SPECIAL_TOKENS]


def _check_size(tokenizer: Tokenizer, config: TokenizerConfig, what: str) -> None:
    """Compares the size of the vocabulary with the requested one."""
    wanted, found = config.vocab_size, tokenizer.get_vocab_size()
    if wanted is None or wanted == found:
        return
    if found < wanted:
        raise UserError(
            f"tokenizer.vocab_size={wanted} is more than the corpus has: "
            f"{found - len(SPECIAL_TOKENS)} {what} that occur {config.min_frequency} times or more "
            f"(tokenizer.min_frequency), and {len(SPECIAL_TOKENS)} special tokens; use "
            f"tokenizer.vocab_size={found} or less, or more text"
        )
    raise UserError(
        f"tokenizer.vocab_size={wanted} is too small for the single characters of the corpus: "
        f"with the {len(SPECIAL_TOKENS)} special tokens they are {found}; "
        f"use tokenizer.vocab_size={2 * found} or more"
    )


def without_unk(sentences: Iterable[str]) -> Iterable[str]:
    """Returns WikiText's sentences without its mark for omitted words."""
    return (sentence.replace(_WIKITEXT_UNK, "") for sentence in sentences)


def _without_special_words(sentence: str) -> str:
    """Drops words such as "[SEP]", which would take the id of the special token."""
    if not any(token in sentence for token in SPECIAL_TOKENS):
        return sentence
    return " ".join(word for word in sentence.split() if word not in SPECIAL_TOKENS)
