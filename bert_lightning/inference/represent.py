"""From text to vectors: one for each token, for a word in its context, for a whole sequence."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
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
    """A word as the tokenizer sees it, folded and normalised, and the tokens that it became."""

    text: str
    tokens: slice


@dataclass(frozen=True, eq=False)
class Representation:
    """What the encoder makes of a text, or of a pair."""

    tokens: list[str]
    """The model's input, `[CLS]` and `[SEP]` included."""
    vectors: Tensor
    """`(tokens, hidden)` float32: a vector for each token, in its context."""
    words: list[Word] = field(repr=False)
    """The words in order; a special token is a word of its own."""
    split: Callable[[str], list[str]] = field(repr=False)
    """Takes a text apart into words, as the tokenizer did with this one."""

    @property
    def cls(self) -> Tensor:
        """`(hidden,)`: the vector of `[CLS]`."""
        return self.vectors[0]

    def occurrences(self, word: str) -> list[slice]:
        """The tokens of each place where `word`, or a phrase of several words, stands."""
        wanted = self.split(word)
        texts = [known.text for known in self.words]
        return [
            slice(self.words[first].tokens.start, self.words[first + len(wanted) - 1].tokens.stop)
            for first in range(len(texts) - len(wanted) + 1)
            if wanted and texts[first : first + len(wanted)] == wanted
        ]

    def word(self, word: str, *, occurrence: int = 0) -> Tensor:
        """The vector of a word in its context, `(hidden,)`.

        Args:
            word: a word of the text; several tokens of one word are averaged.
            occurrence: which one, counted from 0, where the word occurs several times.

        Raises:
            UserError: the word is not there, or not that often.
        """
        places = self.occurrences(word)
        if not places:
            raise UserError(
                f"'{word}' is not in the sentence, whose tokens are {' '.join(self.tokens)}"
                + did_you_mean(word, (known.text for known in self.words))
            )
        if not 0 <= occurrence < len(places):
            raise UserError(
                f"occurrence={occurrence} of '{word}', which is in the sentence {len(places)} "
                f"time(s): choose from 0 to {len(places) - 1}"
            )
        return self.vectors[places[occurrence]].mean(0)


def represent(
    model: BertForPreTraining,
    tokenizer: "Tokenizer",
    texts: Sequence[Text],
    *,
    truncate: bool = False,
) -> list[Representation]:
    """Encodes texts and pairs, all in one batch without padding.

    Raises:
        UserError: a text is empty, or longer than the model reads and `truncate` is not set.
    """
    if isinstance(texts, str):
        raise UserError(f"a list of texts is expected, not one text ({texts[:40]!r}): use encode")
    encodings = tokenize(tokenizer, texts, max_length(model), truncate=truncate)
    if not encodings:
        return []
    hidden = run(model, encodings).hidden.float().cpu()
    by_text = torch.split(hidden, [len(encoding) for encoding in encodings])
    return [
        Representation(
            tokens=encoding.tokens,
            vectors=vectors.clone(),  # apart from the batch, and fit for autograd
            words=_words(tokenizer, encoding, text),
            split=partial(split_words, tokenizer),
        )
        for text, encoding, vectors in zip(texts, encodings, by_text, strict=True)
    ]


def max_length(model: BertForPreTraining) -> int:
    """The longest sequence that the model can read, in tokens."""
    return model.config.max_position_embeddings


def tokenize(
    tokenizer: "Tokenizer", texts: Sequence[Text], limit: int, *, truncate: bool
) -> list["Encoding"]:
    """Turns each text or pair into at most `limit` tokens; truncation cuts the longer one first."""
    encodings = []
    for index, text in enumerate(texts):
        where = f" of entry {index}" if len(texts) > 1 else ""
        segments = tokenizer.encode_batch(list(_segments(text)), add_special_tokens=False)
        pair = len(segments) == 2
        for name, segment in zip(("first", "second"), segments, strict=False):
            if not len(segment):
                which = f"the {name} text" if pair else "the text"
                raise UserError(f"{which}{where} is empty: it needs one word at the least")
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
    """Lengths of one or two texts after cutting the longer until both fit, as in training."""
    if len(lengths) == 1:
        return [min(lengths[0], room)]
    return [int(length) for length in cut_to_fit(np.array(lengths[0]), np.array(lengths[1]), room)]


def run(model: BertForPreTraining, encodings: Sequence["Encoding"]) -> Encoded:
    """Runs the encoder, without dropout, on sequences laid end to end."""
    with inference_mode(model):
        return model(_flat_batch(encodings, model.nsp_head.weight.device))


def _flat_batch(encodings: Sequence["Encoding"], device: torch.device) -> Sequences:
    return pack_sequences(
        np.concatenate([encoding.ids for encoding in encodings]),
        np.concatenate([encoding.type_ids for encoding in encodings]),
        np.array([len(encoding) for encoding in encodings]),
    ).on(device)


def split_words(tokenizer: "Tokenizer", text: str) -> list[str]:
    """Takes a text apart into the words that the tokenizer sees in it."""
    encoding = tokenizer.encode(text, add_special_tokens=False)
    return [word.text for word in _words(tokenizer, encoding, text)]


def _words(tokenizer: "Tokenizer", encoding: "Encoding", text: Text) -> list[Word]:
    """Groups tokens by the word that they came from."""
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
