"""Word senses: does the vector of a word say which of its senses it has in a sentence?

A sense is the mean of the vectors of its training examples; an occurrence gets the sense whose mean
has the highest cosine with its vector. Each layer is scored, from the embeddings, which know a
word's place but not the other words, to the last.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from bert_lightning.batch import UNK
from bert_lightning.corpus.tokenizer import Encoding
from bert_lightning.errors import UserError
from bert_lightning.evaluation.intervals import wilson_interval
from bert_lightning.evaluation.sense_files import Occurrence
from bert_lightning.inference.loaded import PretrainedBert
from bert_lightning.inference.represent import not_in_text, occurrences, words_of
from bert_lightning.inference.spans import cut_around, span_vectors


@dataclass(frozen=True)
class WordVectors:
    """The vectors of a word in its sentences."""

    vectors: Tensor
    """`(layers + 1, occurrences, hidden)` float32; layer 0 is the embeddings."""
    cut: int
    """Sentences that were longer than the model reads, and were cut around the word."""
    unknown: int
    """Occurrences in which a part of the word is `[UNK]`."""


@dataclass(frozen=True)
class LayerAccuracy:
    """The held-out accuracy of a layer, with its 95 % interval."""

    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class SensesResult:
    """How well each layer of a model tells the senses of a word apart."""

    model: str
    word: str
    held_out: str
    """The file of held-out sentences, or `leave-one-out`."""
    senses: dict[str, tuple[int, int]]
    """Of each sense, the examples that its mean is made of, and those it is scored on."""
    majority: float
    """The accuracy of answering with the most frequent training sense."""
    layers: list[LayerAccuracy]
    """From layer 0, the embeddings."""
    cut: int
    unknown: int


@dataclass(frozen=True)
class Similarity:
    """The cosines of a word's vectors in two sentences, from layer 0, the embeddings."""

    first: int
    second: int
    """The sentences, by their index."""
    layers: list[float]


@dataclass(frozen=True)
class Similarities:
    """How alike a word's vectors are in each two of its sentences."""

    model: str
    word: str
    sentences: list[str]
    pairs: list[Similarity]
    """The most similar in the last layer first."""
    cut: int
    unknown: int


def word_vectors(bert: PretrainedBert, word: str, found: Sequence[Occurrence]) -> WordVectors:
    """Computes the vectors of the word in each sentence.

    Raises:
        UserError: the word is not in a sentence, or not at the position that is stated.
    """
    located = [_locate(bert, word, one) for one in found]
    lengths = [len(encoding) for encoding, _ in located]
    unknown = sum(UNK in encoding.tokens[span] for encoding, span in located)
    whole = [
        cut_around(bert.tokenizer, encoding, span, bert.max_length) for encoding, span in located
    ]
    encodings, spans = [encoding for encoding, _ in whole], [[span] for _, span in whole]
    room = bert.max_length - bert.tokenizer.num_special_tokens_to_add(False)
    vectors = torch.cat(list(span_vectors(bert.model, encodings, spans)), dim=1)
    return WordVectors(vectors, sum(length > room for length in lengths), unknown)


def _locate(bert: PretrainedBert, word: str, one: Occurrence) -> tuple[Encoding, slice]:
    """Returns the sentence without special tokens, and the tokens of the word."""
    encoding = bert.tokenizer.encode(one.sentence, add_special_tokens=False)
    words = words_of(bert.tokenizer, encoding, one.sentence)
    places = occurrences(bert.tokenizer, words, word)
    if one.position is not None:
        there = list(re.finditer(r"\S+", one.sentence))[one.position]
        inside = range(there.start(), there.end())
        places = [place for place in places if encoding.offsets[place.start][0] in inside]
        if not places:
            raise UserError(
                f"{one.where}: position {one.position} holds '{there[0]}', not '{word}'"
            )
    if not places:
        raise UserError(f"{one.where}: {not_in_text(word, encoding.tokens, words)}")
    return encoding, places[0]


def score_senses(
    bert: PretrainedBert,
    word: str,
    training: Sequence[Occurrence],
    held_out: Sequence[Occurrence] | None,
    held_out_name: str = "",
) -> SensesResult:
    """Scores each layer on held-out sentences, or leaves out one training sentence at a time.

    Raises:
        UserError: there are fewer than two senses, a held-out sense has no training example, a
            sense has one example, which cannot be left out, or the word is not in a sentence.
    """
    names = _sense_names(training, held_out)
    vectors = word_vectors(bert, word, training)
    labels = torch.tensor([names.index(str(one.sense)) for one in training])
    tested, test_vectors, test_labels = training, vectors, labels
    if held_out is None:
        guesses = [leave_one_out(layer, labels) for layer in vectors.vectors]
    else:
        tested, test_vectors = held_out, word_vectors(bert, word, held_out)
        test_labels = torch.tensor([names.index(str(one.sense)) for one in held_out])
        guesses = [
            nearest_centroid(layer, labels, test)
            for layer, test in zip(vectors.vectors, test_vectors.vectors, strict=True)
        ]
    right = [int((guess == test_labels).sum()) for guess in guesses]
    trained, scored = (Counter(one.sense for one in part) for part in (training, tested))
    both = [vectors] if held_out is None else [vectors, test_vectors]
    return SensesResult(
        model=bert.origin,
        word=word,
        held_out=held_out_name if held_out is not None else "leave-one-out",
        senses={name: (trained[name], scored[name]) for name in names},
        majority=scored[trained.most_common(1)[0][0]] / len(tested),
        layers=[
            LayerAccuracy(count / len(tested), *wilson_interval(count, len(tested)))
            for count in right
        ],
        cut=sum(part.cut for part in both),
        unknown=sum(part.unknown for part in both),
    )


def _sense_names(
    training: Sequence[Occurrence], held_out: Sequence[Occurrence] | None
) -> list[str]:
    """Returns the senses in order of frequency, after the checks that need no model."""
    for one in [training[0], *(held_out or [])[:1]]:
        if one.sense is None:
            raise UserError(f"{one.where} has no sense: write sense<TAB>sentence in every line")
    counts = Counter(str(one.sense) for one in training)
    if len(counts) < 2:
        raise UserError(
            f"every sentence has the sense '{training[0].sense}': at least two senses are needed"
        )
    for one in held_out or []:
        if one.sense not in counts:
            raise UserError(
                f"{one.where}: no training sentence has the sense '{one.sense}'; their senses are "
                f"{', '.join(counts)}"
            )
    if held_out is None and 1 in counts.values():
        single = next(one for one in training if counts[str(one.sense)] == 1)
        raise UserError(
            f"{single.where} is the only sentence with the sense '{single.sense}', and nothing "
            "remains of the sense when it is left out: give a second sentence, or --test FILE"
        )
    return [name for name, _ in counts.most_common()]


def nearest_centroid(vectors: Tensor, labels: Tensor, held_out: Tensor) -> Tensor:
    """Returns the class `(held out,)` of the nearest mean by cosine.

    Args:
        vectors: `(examples, hidden)`.
        labels: `(examples,)` int64, from 0, each class present.
        held_out: `(held out, hidden)`.
    """
    return (normalize(held_out, dim=1) @ normalize(_sums(vectors, labels), dim=1).T).argmax(1)


def leave_one_out(vectors: Tensor, labels: Tensor) -> Tensor:
    """Returns the class `(examples,)` of the nearest mean, of which the example is no part."""
    sums, units = _sums(vectors, labels), normalize(vectors, dim=1)
    cosines = units @ normalize(sums, dim=1).T
    without = normalize(sums[labels] - vectors, dim=1)
    cosines[torch.arange(len(labels)), labels] = (units * without).sum(1)
    return cosines.argmax(1)


def _sums(vectors: Tensor, labels: Tensor) -> Tensor:
    """Returns the sum of each class, `(classes, hidden)`, which points where the mean does."""
    sums = vectors.new_zeros(int(labels.max()) + 1, vectors.shape[1])
    return sums.index_add(0, labels, vectors)


def compare(bert: PretrainedBert, word: str, found: Sequence[Occurrence]) -> Similarities:
    """Compares a word's vectors in sentences whose senses nobody has stated, pair by pair.

    Raises:
        UserError: there is one sentence only, or the word is not in a sentence.
    """
    if len(found) < 2:
        raise UserError(f"{found[0].where} is the only sentence: two or more can be compared")
    vectors = word_vectors(bert, word, found)
    units = normalize(vectors.vectors, dim=2)
    cosines = units @ units.transpose(1, 2)  # (layers + 1, sentences, sentences)
    pairs = [
        Similarity(a, b, cosines[:, a, b].tolist()) for a, b in combinations(range(len(found)), 2)
    ]
    pairs.sort(key=lambda pair: -pair.layers[-1])
    sentences = [one.sentence for one in found]
    return Similarities(bert.origin, word, sentences, pairs, vectors.cut, vectors.unknown)
