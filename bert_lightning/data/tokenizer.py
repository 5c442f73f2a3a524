"""Tokenizers: built from a corpus, read from a file. The only importer of `tokenizers`."""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken
from tokenizers import Tokenizer as Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase, Normalizer, Replace
from tokenizers.normalizers import Sequence as Normalizers
from tokenizers.pre_tokenizers import Punctuation, WhitespaceSplit
from tokenizers.pre_tokenizers import Sequence as PreTokenizers
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import WordLevelTrainer

from bert_lightning.batch import CLS, SEP, SPECIAL_TOKENS, UNK
from bert_lightning.config import Format, TokenizerConfig
from bert_lightning.errors import UserError

_NO_LIMIT = 2**31
_WIKITEXT_UNK = "<unk>"


def build_word_tokenizer(
    sentences: Iterable[str], config: TokenizerConfig, text_format: Format
) -> Tokenizer:
    """Makes a vocabulary of the words that occur at least `config.min_frequency` times.

    In WikiText words already stand between spaces, and `<unk>` is `[UNK]`; in prose punctuation is
    split off. The special tokens come first, then the words by falling frequency.
    """
    tokenizer = Tokenizer(WordLevel(unk_token=UNK))
    normalizers: list[Normalizer] = [Lowercase()] if config.lowercase else []
    tokenizer.normalizer = Normalizers(normalizers)
    if text_format is Format.wikitext:
        tokenizer.pre_tokenizer = WhitespaceSplit()
        sentences = (sentence.replace(_WIKITEXT_UNK, "") for sentence in sentences)
        if not config.lowercase:
            sentences = map(_without_special_words, sentences)
    else:
        tokenizer.pre_tokenizer = PreTokenizers([WhitespaceSplit(), Punctuation()])
    special = [AddedToken(token, normalized=False, special=True) for token in SPECIAL_TOKENS]
    trainer = WordLevelTrainer(
        vocab_size=_NO_LIMIT,
        min_frequency=config.min_frequency,
        special_tokens=special,
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences, trainer)
    if text_format is Format.wikitext:
        tokenizer.normalizer = Normalizers([*normalizers, Replace(_WIKITEXT_UNK, UNK)])
    _add_template(tokenizer)
    return tokenizer


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Reads an existing `tokenizer.json`.

    Raises:
        UserError: where there is no such file, it is none, or it lacks one of the special tokens.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(
            f"tokenizer.path={path}: there is no file {file.absolute()} "
            f"(the working directory is {Path.cwd()}); give a tokenizer.json, "
            "or tokenizer.path=null to build one from the corpus"
        )
    try:
        tokenizer = load_tokenizer_text(file.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"tokenizer.path={path} is not a tokenizer.json: {error}") from error
    missing = [token for token in SPECIAL_TOKENS if tokenizer.token_to_id(token) is None]
    if missing:
        raise UserError(
            f"tokenizer.path={path} has no token {', '.join(missing)}; "
            f"pre-training needs {', '.join(SPECIAL_TOKENS)}"
        )
    tokenizer.no_padding()
    tokenizer.no_truncation()
    _add_template(tokenizer)
    return tokenizer


def load_tokenizer_text(text: str) -> Tokenizer:
    """Makes a tokenizer of the text of a `tokenizer.json`.

    Raises:
        ValueError: where the text is no such thing.
    """
    try:
        return Tokenizer.from_str(text)
    except Exception as error:  # tokenizers raises plain Exception
        raise ValueError(str(error)) from error


def special_id(tokenizer: Tokenizer, token: str) -> int:
    """The id of a special token, which every tokenizer used here has."""
    number = tokenizer.token_to_id(token)
    assert number is not None, token
    return number


def encode_plain(tokenizer: Tokenizer, sentences: list[str]) -> list[list[int]]:
    """Turns sentences into ids without `[CLS]` and `[SEP]`; a "[SEP]" in the text is mere text.

    Where the vocabulary would find it as a whole word all the same, it is an unknown word.
    """
    unknown = special_id(tokenizer, UNK)
    special = {special_id(tokenizer, token) for token in SPECIAL_TOKENS} - {unknown}
    tokenizer.encode_special_tokens = True
    try:
        encodings = tokenizer.encode_batch_fast(sentences, add_special_tokens=False)
        sequences = [encoding.ids for encoding in encodings]
    finally:
        tokenizer.encode_special_tokens = False
    return [
        ids if special.isdisjoint(ids) else [unknown if i in special else i for i in ids]
        for ids in sequences
    ]


def _without_special_words(sentence: str) -> str:
    """Leaves out words such as "[SEP]", which would take the special token's own id."""
    if not any(token in sentence for token in SPECIAL_TOKENS):
        return sentence
    return " ".join(word for word in sentence.split() if word not in SPECIAL_TOKENS)


def _add_template(tokenizer: Tokenizer) -> None:
    tokenizer.post_processor = TemplateProcessing(
        single=f"{CLS} $A {SEP}",
        pair=f"{CLS} $A {SEP} $B:1 {SEP}:1",
        special_tokens=[(token, special_id(tokenizer, token)) for token in (CLS, SEP)],
    )
