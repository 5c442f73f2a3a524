"""Text to vectors: of each token, of a word in its context, of the whole sequence."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from textwrap import shorten
from typing import NamedTuple

import numpy as np
from torch import Tensor

from bert_lightning.batch import CLS, SEP, Sequences, pack_sequences
from bert_lightning.corpus.tokenizer import Encoding, Tokenizer
from bert_lightning.data.pairs import cut_to_fit
from bert_lightning.errors import UserError, did_you_mean
from bert_lightning.model.bert import Bert, BertForPreTraining, inference_mode
from bert_lightning.model.objective import Encoded

Text = str | tuple[str, str]
"""One text, or a pair that the model reads as `[CLS] a [SEP] b [SEP]`."""


class Word(NamedTuple):
    """A word as the tokenizer normalizes it, and its tokens."""

    text: str
    tokens: slice


@dataclass(frozen=True, eq=False, repr=False)
class Representation:
    """The vectors of a text, or of a pair, in one layer."""

    tokens: list[str]
    """The model's input, with `[CLS]` and `[SEP]`."""
    vectors: Tensor
    """`(tokens, hidden)` float32: the vector of each token in its context."""
    words: list[Word]
    """The words in order; a special token is a word of its own."""
    tokenizer: Tokenizer

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
        return occurrences(self.tokenizer, self.words, word)

    def word(self, word: str, *, occurrence: int = 0) -> Tensor:
        """Returns the vector `(hidden,)` of an occurrence, from 0: the mean over its tokens.

        Raises:
            UserError: the word does not occur, or not that often.
        """
        places = self.occurrences(word)
        if not places:
            raise UserError(not_in_text(word, self.tokens, self.words))
        if not 0 <= occurrence < len(places):
            raise UserError(
                f"occurrence={occurrence} of '{word}', which occurs {len(places)} time(s) in the "
                f"text: choose from 0 to {len(places) - 1}"
            )
        return self.vectors[places[occurrence]].mean(0)


def tokenize(
    tokenizer: Tokenizer, texts: Sequence[Text], limit: int, *, truncate: bool
) -> list[Encoding]:
    """Tokenizes texts and pairs; `truncate` cuts them to `limit`, pairs as in training."""
    encodings = []
    for index, text in enumerate(texts):
        where = f" of entry {index}" if len(texts) > 1 else ""
        parts = tokenizer.encode_batch(segments(text), add_special_tokens=False)
        pair = len(parts) == 2
        lengths = [len(part) for part in parts]
        if 0 in lengths:
            which = ("first ", "second ")[lengths.index(0)] if pair else ""
            raise UserError(f"the {which}text{where} is empty: it needs at least one word")
        special = tokenizer.num_special_tokens_to_add(pair)
        if sum(lengths) + special > limit:
            if not truncate:
                raise UserError(
                    f"the {'pair' if pair else 'text'}{where} has {sum(lengths) + special} tokens "
                    f"with {CLS} and {SEP}, and this model reads {limit} at most "
                    f"(max_position_embeddings): shorten it, or set truncate=True "
                    "(--truncate in the scripts)"
                )
            first, second = np.array([*lengths, 0][:2])
            rooms = cut_to_fit(first, second, limit - special)
            for part, room in zip(parts, rooms, strict=False):
                part.truncate(int(room))
        encodings.append(tokenizer.post_process(parts[0], parts[1] if pair else None))
    return encodings


def segments(text: Text) -> list[str]:
    """Returns the one or two texts."""
    return [text] if isinstance(text, str) else list(text)


def packed(model: Bert, encodings: Sequence[Encoding]) -> Sequences:
    """Returns tokenized texts as one padding-free batch on the model's device."""
    batch = pack_sequences(
        np.concatenate([encoding.ids for encoding in encodings]),
        np.concatenate([encoding.type_ids for encoding in encodings]),
        np.array([len(encoding) for encoding in encodings]),
    )
    return batch.on(model.encoder.embeddings.word.weight.device)


def run(model: BertForPreTraining, encodings: Sequence[Encoding]) -> Encoded:
    """Runs the encoder, without dropout, on a padding-free batch."""
    with inference_mode(model):
        return model(packed(model, encodings))


def run_to_layer(model: BertForPreTraining, encodings: Sequence[Encoding], layer: int) -> Tensor:
    """Returns the vectors `(total, hidden)` of one layer, without dropout.

    Layer 0 is the embeddings; negative numbers count from the last layer, -1.

    Raises:
        UserError: there is no such layer.
    """
    layers = range(len(model.encoder.blocks) + 1)
    if not -len(layers) <= layer < len(layers):
        raise UserError(
            f"layer={layer}: this model has layers 0, its embeddings, to {layers[-1]}, its last "
            "(or -1)"
        )
    with inference_mode(model):
        hidden = model.encoder.layers(packed(model, encodings))
        return next(islice(hidden, layers[layer], None))


def occurrences(tokenizer: Tokenizer, words: Sequence[Word], word: str) -> list[slice]:
    """Returns the tokens of each occurrence of a word, or of a phrase, in a text of these words."""
    encoding = tokenizer.encode(word, add_special_tokens=False)
    wanted = [part.text for part in words_of(tokenizer, encoding, word)]
    texts = [known.text for known in words]
    return [
        slice(words[first].tokens.start, words[first + len(wanted) - 1].tokens.stop)
        for first in range(len(texts) - len(wanted) + 1)
        if wanted and texts[first : first + len(wanted)] == wanted
    ]


def not_in_text(word: str, tokens: Sequence[str], words: Sequence[Word]) -> str:
    """Words the error of a word that does not occur."""
    known = did_you_mean(word, (known.text for known in words))
    return f"'{word}' is not in the text, whose tokens are {' '.join(tokens)}{known}"


def words_of(tokenizer: Tokenizer, encoding: Encoding, text: Text) -> list[Word]:
    """Groups the tokens by their words."""
    texts, normalizer = segments(text), tokenizer.normalizer
    origins = list(zip(encoding.type_ids, encoding.word_ids, strict=True))
    words = []
    for (segment, word), group in groupby(range(len(origins)), key=origins.__getitem__):
        tokens = list(group)
        first, last = tokens[0], tokens[-1]
        if word is None:
            surface = " ".join(encoding.tokens[first : last + 1])
        else:
            surface = texts[segment][encoding.offsets[first][0] : encoding.offsets[last][1]]
            surface = normalizer.normalize_str(surface).strip() if normalizer else surface
        words.append(Word(surface, slice(first, last + 1)))
    return words
