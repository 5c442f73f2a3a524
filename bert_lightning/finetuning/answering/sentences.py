"""The sentence of a context that has most tokens in common with the question: a baseline."""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from bert_lightning.corpus.sentences import split_prose
from bert_lightning.finetuning.labelled.examples import LabelledExample


def similar_sentences(
    examples: Sequence[LabelledExample], tokens_of: Callable[[str], list[str]]
) -> np.ndarray:
    """Returns a whole sentence for each question, `(examples,)`: the first of the most similar."""

    @cache
    def sentences(context: str) -> list[tuple[str, set[str]]]:
        return [(sentence, {*tokens_of(sentence)}) for sentence in split_prose(context)]

    def answer(example: LabelledExample) -> str:
        question, context = example.texts
        asked = {*tokens_of(question)}
        return max(sentences(context), key=lambda one: len(asked & one[1]))[0]

    return np.array([answer(example) for example in examples], np.str_)
