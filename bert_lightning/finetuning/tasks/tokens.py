"""One of several classes for each word, such as entities and parts of speech."""

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from bert_lightning.batch import CLS, SEP, UNK
from bert_lightning.config.task import LabelledConfig, Pooling, TaskKind
from bert_lightning.corpus.tokenizer import Tokenizer, special_id
from bert_lightning.errors import UserError
from bert_lightning.evaluation.probing import control_labels
from bert_lightning.finetuning.labelled.cells import class_of, is_empty
from bert_lightning.finetuning.labelled.columns import TAGS, WORDS, ColumnNames, Columns
from bert_lightning.finetuning.labelled.conll import conll_table
from bert_lightning.finetuning.labelled.examples import (
    LabelledExample,
    require_examples,
    require_several,
)
from bert_lightning.finetuning.labelled.files import holds_words
from bert_lightning.finetuning.labelled.tables import Table
from bert_lightning.finetuning.scoring.baselines import constant, label_of_word
from bert_lightning.finetuning.scoring.comparison import ScoreOn
from bert_lightning.finetuning.scoring.entities import entities, is_bio
from bert_lightning.finetuning.scoring.metrics import (
    Scores,
    accuracy,
    entity_scores,
    macro_f1,
)
from bert_lightning.finetuning.tasks.sequences import Encoded, TokenSequence
from bert_lightning.finetuning.tasks.task import Examples, Task, TokensOf


class Tokens(Task):
    """A class for each word, read from its first token."""

    kind = TaskKind.tokens
    column_names = ColumnNames(WORDS, TAGS, of_words=True)
    of_tokens = True
    too_long = "divided"
    pipeline = "token-classification"
    call = 'tag("the crane is flying")  # each word with its label'

    def table(self, file: Path, data: LabelledConfig, may_have_header: bool) -> Table:
        if holds_words(file):
            return conll_table(file, data.columns)
        return super().table(file, data, may_have_header)

    def empty_cells(self, texts: Sequence[Any], columns: Columns, place: str) -> list[str]:
        return []  # each word is checked where they are divided

    def example(
        self, texts: Sequence[Any], label: Any, columns: Columns, place: str
    ) -> LabelledExample:
        column, of_labels = columns.texts[0], str(columns.label)
        words, tags = _parts(texts[0], column, place), _parts(label, of_labels, place)
        if len(words) != len(tags):
            raise UserError(
                f"{place}: {len(words)} words in column '{column}' and {len(tags)} labels in "
                f"column '{of_labels}': each word needs one label"
            )
        if not words:
            raise UserError(f"{place}: column '{column}' is empty: fill it in, or take the row out")
        for number, word in enumerate(words, 1):
            if is_empty(word, column, place):
                raise UserError(
                    f"{place}: word {number} in column '{column}' is empty: fill it in, or take it "
                    "out"
                )
        return LabelledExample(
            tuple(words), [class_of(tag, of_labels, place) for tag in tags], place
        )

    def require_learnable(self, examples: Examples, names: Sequence[str], file: str) -> None:
        require_examples(examples, file)
        require_several(names, file)

    def encode(
        self, examples: Examples, names: Sequence[str], tokenizer: Tokenizer, max_length: int
    ) -> Encoded:
        """Divides too long sentences between two words, so that each label is there once."""
        start, end = special_id(tokenizer, CLS), special_id(tokenizer, SEP)
        unknown, sequences = special_id(tokenizer, UNK), list[TokenSequence]()
        cut = wordless = 0
        for example in examples:
            words = list(example.texts)
            encodings = tokenizer.encode_batch(words, add_special_tokens=False)
            pieces = [encoding.ids for encoding in encodings]
            wordless += sum(not ids for ids in pieces)
            pieces = [ids[: max_length - 2] or [unknown] for ids in pieces]
            bounds = _windows([len(ids) for ids in pieces], max_length - 2)
            cut += len(bounds) > 2
            for first, last in pairwise(bounds):
                ids, positions = [start], list[int]()
                for word in pieces[first:last]:
                    positions.append(len(ids))
                    ids += word
                sequences.append(TokenSequence([*ids, end], len(ids) + 1, positions))
        return Encoded(sequences, self.labels(examples, names), cut, wordless)

    def labels(self, examples: Examples, names: Sequence[str]) -> np.ndarray:
        numbers = {name: number for number, name in enumerate(names)}
        return np.array([numbers[name] for tags in map(_tags, examples) for name in tags], np.int64)

    def pooling(self, wanted: Pooling) -> Pooling:
        if wanted is not Pooling.auto:
            raise UserError(
                f"task.pooling={wanted.value} makes one vector of a sequence, and task=tokens "
                "labels each word: omit it"
            )
        return Pooling.cls

    def scores(
        self, predicted: np.ndarray, labels: np.ndarray, names: Sequence[str], sizes: np.ndarray
    ) -> Scores:
        """F1 of entities where the names mark them, else accuracy; each word counts once."""
        by_word = {
            "accuracy": accuracy(predicted, labels),
            "macro_f1": macro_f1(predicted, labels, len(names)),
        }
        if not is_bio(names):
            return by_word
        ours, theirs = (
            [[names[number] for number in numbers[start:end]] for start, end in _bounds(sizes)]
            for numbers in (predicted, labels)
        )
        return {**entity_scores(ours, theirs), **by_word}

    def score_on(
        self, predicted: np.ndarray, labels: np.ndarray, names: Sequence[str], sizes: np.ndarray
    ) -> ScoreOn:
        bounds = _bounds(sizes)
        if not is_bio(names):
            hits = np.array([(predicted[a:b] == labels[a:b]).sum() for a, b in bounds])
            return lambda chosen: float(hits[chosen].sum() / sizes[chosen].sum())
        counts = []
        for start, end in bounds:
            found, right_ones = (
                set(entities([names[number] for number in numbers[start:end]]))
                for numbers in (predicted, labels)
            )
            counts.append((len(found & right_ones), len(found) + len(right_ones)))
        both = np.array(counts)

        def f1(chosen: np.ndarray) -> float:
            hits, either = both[chosen].sum(0)
            return float(2 * hits / max(1, either))

        return f1

    def sizes(self, examples: Examples) -> np.ndarray:
        return np.array([len(example.texts) for example in examples])

    def baselines(
        self,
        splits: Mapping[str, Examples],
        labels: Mapping[str, np.ndarray],
        tokens_of: TokensOf,
    ) -> dict[str, np.ndarray]:
        by_word = label_of_word(splits["train"], labels["train"], splits["test"])
        majority = constant(labels["train"], len(labels["test"]))
        return {"majority": majority, "label of the word": by_word}

    def shown(self, example: LabelledExample) -> list[str]:
        return list(example.texts)

    def controls(
        self, train: Examples, held_out: Examples, labels: np.ndarray, seed: int
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        words = [[word for e in examples for word in e.texts] for examples in (train, held_out)]
        return control_labels(words[0], words[1], labels, seed)


def _tags(example: LabelledExample) -> list[str]:
    assert isinstance(example.label, list)
    return example.label


def _parts(cell: Any, column: str, place: str) -> Sequence[Any]:
    """Returns the words or labels of a cell: a list, or text with blanks between them."""
    if isinstance(cell, list):
        return cell
    if isinstance(cell, str | None):
        return (cell or "").split()
    raise UserError(
        f"{place}: column '{column}' holds {type(cell).__name__}, not a list of words or labels"
    )


def _bounds(sizes: np.ndarray) -> list[tuple[int, int]]:
    """Returns where the labels of each example start and end."""
    return list(pairwise(accumulate(sizes.tolist(), initial=0)))


def _windows(lengths: Sequence[int], room: int) -> list[int]:
    """Returns where sequences of at most `room` tokens begin, counted in words, and the end.

    >>> _windows([2, 2, 3, 1, 4], room=4)
    [0, 2, 4, 5]
    """
    bounds, used = [0], 0
    for word, length in enumerate(lengths):
        if used + length > room:
            bounds.append(word)
            used = 0
        used += length
    return [*bounds, len(lengths)]
