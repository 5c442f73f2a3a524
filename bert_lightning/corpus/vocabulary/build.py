"""Text → vocabulary → tokenizer: of words, or of words and wordpieces."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers
from tokenizers.trainers import WordPieceTrainer

from bert_lightning.config import CorpusConfig, CorpusSource, Format, TokenizerConfig, TokenizerKind
from bert_lightning.corpus.readers.find_files import find_text_files
from bert_lightning.corpus.readers.left_out import LeftOut, announce
from bert_lightning.corpus.readers.text_files import raw_documents
from bert_lightning.corpus.tokenizer import add_template
from bert_lightning.corpus.vocabulary.counting import WordCounter, by_frequency
from bert_lightning.corpus.vocabulary.extend import extend
from bert_lightning.corpus.vocabulary.spelling import as_spelled, as_written
from bert_lightning.corpus.vocabulary.text import WIKITEXT_UNK, Rereadable, counted, without_unk
from bert_lightning.corpus.vocabulary.unspaced import LONGEST_RUN, thinned
from bert_lightning.errors import UserError
from bert_lightning.special_tokens import SPECIAL_TOKENS, UNK

MOST_PIECES = 8_000
"""Tokens at which the training of wordpieces stops if no number is requested."""
_SPECIAL_TOKENS = [AddedToken(token, normalized=False, special=True) for token in SPECIAL_TOKENS]
_PIECE = "##"
_log = logging.getLogger(__name__)


def build_tokenizer(
    sentences: Iterable[str], config: TokenizerConfig, text_format: Format
) -> Tokenizer:
    """Makes the vocabulary of a corpus: of words, or of words and wordpieces (`##ing`).

    In WikiText, spaces separate all words and `<unk>` is `[UNK]`; in prose, punctuation is split
    off. The special tokens come first. The sentences may be read twice.

    Raises:
        UserError: the corpus has fewer words or wordpieces than `config.vocab_size`.
    """
    wikitext = text_format is Format.wikitext
    train = _train_words if config.kind is TokenizerKind.word else _train_wordpieces
    tokenizer = train(sentences, config, wikitext)
    left = (config.vocab_size or MOST_PIECES) - tokenizer.get_vocab_size()
    if config.kind is TokenizerKind.wordpiece and left > 0:  # for characters beyond the limit
        tokenizer = extend(tokenizer, sentences, replace(config, extend=left), text_format)
    _check_size(tokenizer, config)
    if wikitext:
        unk = normalizers.Replace(WIKITEXT_UNK, UNK)
        tokenizer.normalizer = normalizers.Sequence([*as_spelled(config), unk])
    add_template(tokenizer)
    return tokenizer


def _train_words(sentences: Iterable[str], config: TokenizerConfig, wikitext: bool) -> Tokenizer:
    """Returns the tokenizer of the frequent words, the most frequent first."""
    tokenizer = Tokenizer(models.WordLevel(unk_token=UNK))
    tokenizer.normalizer = normalizers.Sequence(as_spelled(config))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if not wikitext:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()]
        )
    ignored = () if config.lowercase else SPECIAL_TOKENS  # they would take the ids of those
    frequencies = counted(sentences, WordCounter(tokenizer.to_str(), wikitext, ignored))
    words = [word for word, count in by_frequency(frequencies) if count >= config.min_frequency]
    vocabulary = [*SPECIAL_TOKENS, *words][: config.vocab_size]
    numbers = {word: number for number, word in enumerate(vocabulary)}
    tokenizer.model = models.WordLevel(numbers, unk_token=UNK)
    tokenizer.add_special_tokens(_SPECIAL_TOKENS)
    return tokenizer


def _train_wordpieces(
    sentences: Iterable[str], config: TokenizerConfig, wikitext: bool
) -> Tokenizer:
    """Returns BERT's kind of tokenizer.

    At most a quarter of the tokens (but 100 in any case) are single characters, so that the rare
    ones of other scripts leave room for words. Training on the same text again may give other
    wordpieces, so train once and keep the result.
    """
    size = config.vocab_size or MOST_PIECES
    model = models.WordPiece(
        unk_token=UNK, continuing_subword_prefix=_PIECE, max_input_chars_per_word=4 * LONGEST_RUN
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(as_spelled(config))
    # A base letter with its marks is one character of a run.
    run = Regex(rf"(?:.[\p{{M}}\x{{200C}}\x{{200D}}]*){{1,{LONGEST_RUN}}}")
    divided = pre_tokenizers.Split(run, "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.BertPreTokenizer(), divided])
    tokenizer.decoder = as_written(_PIECE)
    trainer = WordPieceTrainer(
        vocab_size=size,
        min_frequency=config.min_frequency,
        limit_alphabet=max(100, size // 4),
        special_tokens=_SPECIAL_TOKENS,
        continuing_subword_prefix=_PIECE,
        show_progress=False,
    )
    _log.info("training up to %s wordpieces", f"{size:,}")
    text = without_unk(sentences) if wikitext else sentences
    tokenizer.train_from_iterator(thinned(text), trainer)
    if wikitext:  # BERT's own pre-tokenizer would split the brackets off [UNK]
        parts = pre_tokenizers.Split(Regex(r"\[UNK\]|[!-/:-@\[-`{-~]|\p{P}"), "isolated")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.WhitespaceSplit(), parts, divided]
        )
    return tokenizer


def train_on_files(paths: Sequence[str], config: TokenizerConfig, text_format: Format) -> Tokenizer:
    """Makes the vocabulary of local files, of folders, and of patterns such as `notes/*.txt`."""
    sources = [
        CorpusConfig(source=CorpusSource.text, path=path, format=text_format) for path in paths
    ]
    unread_files, left_out = LeftOut(), LeftOut()
    files = [(file, source) for source in sources for file in find_text_files(source, unread_files)]

    def paragraphs() -> Iterator[str]:
        nonlocal left_out
        left_out = LeftOut()
        for file, source in files:
            yield from chain.from_iterable(raw_documents(file, source, left_out))

    tokenizer = build_tokenizer(Rereadable(paragraphs), config, text_format)
    announce([*unread_files, *left_out])
    return tokenizer


def _check_size(tokenizer: Tokenizer, config: TokenizerConfig) -> None:
    found, special = tokenizer.get_vocab_size(), len(SPECIAL_TOKENS)
    wanted = config.vocab_size or found
    if found < wanted:
        what = "words" if config.kind is TokenizerKind.word else "words and wordpieces"
        raise UserError(
            f"tokenizer.vocab_size={wanted} is more than the corpus has: {found - special} {what} "
            f"that occur {config.min_frequency} times or more (tokenizer.min_frequency), and "
            f"{special} special tokens; use tokenizer.vocab_size={found} or less, or more text"
        )
    if found > wanted:
        raise UserError(
            f"tokenizer.vocab_size={wanted} is too small for the single characters of the corpus: "
            f"with the {special} special tokens they are {found}; use "
            f"tokenizer.vocab_size={2 * found} or more"
        )
