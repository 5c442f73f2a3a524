"""Exact match and F1 of answers, as SQuAD's evaluation script scores them."""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from bert_lightning.finetuning.scoring.metrics import Scores

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_UNSPACED = re.compile(r"([\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U000323af])")
"""Chinese characters and Japanese kana."""
_FULL_WIDTH = "\u3000"
"""From here on, punctuation is that of Chinese and Japanese."""


def words_of(answer: str) -> list[str]:
    """Returns the words that two answers are compared by.

    As in SQuAD's script (Rajpurkar et al., 2016): in small letters, without ASCII punctuation and
    articles, divided at spaces. Beyond it, for text without spaces: the punctuation of Chinese and
    Japanese goes too, and each of their characters is a word.

    >>> words_of("The crane's nest"), words_of("2010 年，秋天")
    (['cranes', 'nest'], ['2010', '年', '秋', '天'])
    """
    letters = "".join(filter(_is_no_punctuation, answer.lower()))
    return _UNSPACED.sub(r" \1 ", _ARTICLES.sub(" ", letters)).split()


def _is_no_punctuation(character: str) -> bool:
    if character >= _FULL_WIDTH:
        return not unicodedata.category(character).startswith("P")
    return character not in string.punctuation


def f1(answer: str, right: Iterable[str]) -> float:
    """Returns the F1 of an answer's words against the most similar right answer.

    Where either has no word, as "no answer" has, it is 1 if both have none, else 0.
    """
    return max(_f1(words_of(answer), words_of(one)) for one in right)


def _f1(ours: list[str], theirs: list[str]) -> float:
    if not ours or not theirs:
        return float(ours == theirs)
    common = (Counter(ours) & Counter(theirs)).total()
    return 2 * common / (len(ours) + len(theirs))


def answer_scores(answers: Sequence[str], right: Sequence[Sequence[str]]) -> Scores:
    """The means over all questions; `right` are the right answers of each, at least one."""
    exact = [
        any(words_of(answer) == words_of(one) for one in each)
        for answer, each in zip(answers, right, strict=True)
    ]
    overlaps = [f1(answer, each) for answer, each in zip(answers, right, strict=True)]
    return {"f1": sum(overlaps) / len(overlaps), "exact_match": sum(exact) / len(exact)}
