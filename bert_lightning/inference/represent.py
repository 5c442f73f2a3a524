"""Text to vectors: of each token, of a word in its context, of the whole sequence."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from textwrap import shorten
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bert_lightning.batch import CLS, SEP, Sequences, pack_sequences
from bert_lightning.data.pairs import cut_to_fit
from bert_lightning.errors import UserError, did_you_mean
from bert_lightning.model.bert import BertForPreTraining, inference_mode
from bert_lightning.model.heads import Encoded

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

Text = str | tuple[str, str]
"""One text, or a pair that the model reads as `[CLS] a [SEP] b [SEP]`."""


class Word(NamedTuple):
    """A word as the tokenizer normalizes it, and its tokens."""

    text: str
    tokens: slice


@dataclass(frozen=True, eq=False, repr=False)
class Representation:
    """The encoder's output for a text, or for a pair."""

    tokens: list[str]
    """The model's input, with `[CLS]` and `[SEP]`."""
    vectors: Tensor
    """`(tokens, hidden)` float32: the vector of each token in its context."""
    words: list[Word]
    """The words in order; a special token is a word of its own."""
    split: Callable[[str], list[str]]
    """Splits a text into words as the tokenizer does."""

    def __repr__(self) -> str:
        count, hidden = self.vectors.shape
        text = shorten(" ".join(self.tokens), 80, placeholder=" …")
        return f"Representation({text}; {count} tokens × {hidden})"

    @property
    def cls(self) -> Tensor:
        """The vector of `[CLS]`, `(hidden,)`."""
        return self.vectors[0]

    def occurrences(self, word: str) -> list[slice]:
        """Returns the tokens of each occurrence of a word, or of a phrase of several words."""
        wanted = self.split(word)
        texts = [known.text for known in self.words]
        return [
            slice(self.words[first].tokens.start, self.words[first + len(wanted) - 1].tokens.stop)
            for first in range(len(texts) - len(wanted) + 1)
            if wanted and texts[first : first + len(wanted)] == wanted
        ]

    def word(self, word: str, *, occurrence: int = 0) -> Tensor:
        """Returns the vector of a word in its context, `(hidden,)`.

        Args:
            word: a word of the text; the mean is taken if it has several tokens.
            occurrence: which one, from 0, if the word occurs several times.

        Raises:
            UserError: the word does not occur, or not that often.
        """
        places = self.occurrences(word)
        if not places:
            raise UserError(
                f"'{word}' is not in the text, whose tokens are {' '.join(self.tokens)}"
                + did_you_mean(word, (known.text for known in self.words))
            )
        if not 0 <= occurrence < len(places):
            raise UserError(
                f"occurrence={occurrence} of '{word}', which occurs {len(places)} time(s) in the "
                f"text: choose from 0 to {len(places) - 1}"
            )
        return self.vectors[places[occurrence]].mean(0)


def represent(
    model: BertForPreTraining,
    tokenizer: "Tokenizer",
    texts: Sequence[Text],
    *,
    truncate: bool = False,
) -> list[Representation]:
    """Encodes texts and pairs in one padding-free batch.

    Raises:
        UserError: a text is empty, or longer than the model reads without `truncate`.
    """
    if isinstance(texts, str):
        raise UserError(
            f"encode_many expects a list of texts, not one text ({texts[:40]!r}): use encode"
        )
    encodings = tokenize(tokenizer, texts, max_length(model), truncate=truncate)
    if not encodings:
        return []
    hidden = run(model, encodings).hidden.float().cpu()
    by_text = torch.split(hidden, [len(encoding) for encoding in encodings])
    return [
        Representation(
            tokens=encoding.tokens,
            vectors=vectors.clone(),  # not a view of the batch, and usable with autograd
            words=_words(tokenizer, encoding, text),
            split=partial(split_words, tokenizer),
        )
        for text, encoding, vectors in zip(texts, encodings, by_text, strict=True)
    ]


def max_length(model: BertForPreTraining) -> int:
    """Returns the longest sequence that the model can read, in tokens."""
    return model.config.max_position_embeddings


def tokenize(
    tokenizer: "Tokenizer", texts: Sequence[Text], limit: int, *, truncate: bool
) -> list["Encoding"]:
    """Tokenizes texts and pairs; `truncate` cuts the longer text of a pair to fit `limit`."""
    encodings = []
    for index, text in enumerate(texts):
        where = f" of entry {index}" if len(texts) > 1 else ""
        segments = tokenizer.encode_batch(list(_segments(text)), add_special_tokens=False)
        pair = len(segments) == 2
        for name, segment in zip(("first", "second"), segments, strict=False):
            if not len(segment):
                which = f"the {name} text" if pair else "the text"
                raise UserError(f"{which}{where} is empty: it needs at least one word")
        special = tokenizer.num_special_tokens_to_add(pair)
        lengths = [len(segment) for segment in segments]
        if sum(lengths) + special > limit:
            if not truncate:
                raise UserError(
                    f"the {'pair' if pair else 'text'}{where} has {sum(lengths) + special} tokens "
                    f"with {CLS} and {SEP}, and this model reads {limit} at most "
                    f"(max_position_embeddings): shorten it, or set truncate=True "
                    "(--truncate in the scripts)"
                )
            for segment, room in zip(segments, _cut(lengths, limit - special), strict=True):
                segment.truncate(room)
        encodings.append(tokenizer.post_process(segments[0], segments[1] if pair else None))
    return encodings


def _segments(text: Text) -> tuple[str, ...]:
    return (text,) if isinstance(text, str) else tuple(text)


def _cut(lengths: list[int], room: int) -> list[int]:
    """Returns the lengths of one or two texts, the longer cut until both fit, as in training."""
    if len(lengths) == 1:
        return [min(lengths[0], room)]
    return [int(length) for length in cut_to_fit(np.array(lengths[0]), np.array(lengths[1]), room)]


def run(model: BertForPreTraining, encodings: Sequence["Encoding"]) -> Encoded:
    """Runs the encoder, without dropout, on a padding-free batch."""
    with inference_mode(model):
        return model(_batch(encodings, model.nsp_head.weight.device))


def _batch(encodings: Sequence["Encoding"], device: torch.device) -> Sequences:
    return pack_sequences(
        np.concatenate([encoding.ids for encoding in encodings]),
        np.concatenate([encoding.type_ids for encoding in encodings]),
        np.array([len(encoding) for encoding in encodings]),
    ).on(device)


def split_words(tokenizer: "Tokenizer", text: str) -> list[str]:
    """Splits a text into the words that the tokenizer finds in it."""
    encoding = tokenizer.encode(text, add_special_tokens=False)
    return [word.text for word in _words(tokenizer, encoding, text)]


def _words(tokenizer: "Tokenizer", encoding: "Encoding", text: Text) -> list[Word]:
    """Groups the tokens by their words."""
    segments, normalizer = _segments(text), tokenizer.normalizer
    origins = list(zip(encoding.type_ids, encoding.word_ids, strict=True))
    words = []
    for (segment, word), group in groupby(range(len(origins)), key=origins.__getitem__):
        tokens = list(group)
        first, last = tokens[0], tokens[-1]
        if word is None:
            surface = " ".join(encoding.tokens[first : last + 1])
        else:
            surface = segments[segment][encoding.offsets[first][0] : encoding.offsets[last][1]]
            surface = normalizer.normalize_str(surface).strip() if normalizer else surface
        words.append(Word(surface, slice(first, last + 1)))
    return words
