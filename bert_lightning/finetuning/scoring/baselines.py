"""What a score must exceed to mean something: predictions without any pretrained model.

Each returns its predictions for the labels of a split, `(labels,)`, as a model's are.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np

from bert_lightning.finetuning.labelled.examples import LabelledExample

log = logging.getLogger(__name__)
_STRENGTHS = (1.0, 10.0, 100.0)
"""Inverse strengths of the regularization, of which the validation split chooses one."""


def constant(labels: np.ndarray, count: int) -> np.ndarray:
    """Predicts the commonest class of training for each of `count` labels, or the mean number."""
    if labels.dtype.kind == "f":
        return np.full(count, labels.mean())
    return np.full(count, np.bincount(labels).argmax())


def label_of_word(
    train: Sequence[LabelledExample], labels: np.ndarray, examples: Sequence[LabelledExample]
) -> np.ndarray:
    """Predicts for each word the commonest label that it has in training, else the commonest."""
    seen: defaultdict[str, Counter[int]] = defaultdict(Counter)
    words = (word for example in train for word in example.texts)
    for word, label in zip(words, labels.tolist(), strict=True):
        seen[word][label] += 1
    commonest = int(np.bincount(labels).argmax())
    known = {word: counts.most_common(1)[0][0] for word, counts in seen.items()}
    return np.array([known.get(word, commonest) for e in examples for word in e.texts], np.int64)


class TfIdf:
    """TF-IDF of one and two tokens, and a linear model: logistic regression, or ridge for numbers.

    Its tokens are those of the model that it is compared with, so it reads every language. Of two
    texts it sees the features of both, their difference and their product. The strength of its
    regularization is chosen on the validation split.
    """

    def __init__(self, tokens_of: Callable[[str], list[str]]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self.vectorizer = TfidfVectorizer(
            tokenizer=tokens_of, token_pattern=None, lowercase=False, ngram_range=(1, 2),
            sublinear_tf=True,
        )  # fmt: skip
        self.model: Any = None

    def fit(
        self,
        train: tuple[Sequence[LabelledExample], np.ndarray],
        validation: tuple[Sequence[LabelledExample], np.ndarray],
    ) -> "TfIdf":
        """Fits to examples and their labels `(examples,)`; chooses the strength on the second."""
        from sklearn.linear_model import LogisticRegression, Ridge

        examples, labels = train
        of_numbers = labels.dtype.kind == "f"
        self.vectorizer.fit([text for example in examples for text in example.texts])
        features = self._features(examples)
        candidates: list[tuple[float, int, Any]] = []
        for strength in _STRENGTHS:
            if of_numbers:
                model: Any = Ridge(alpha=10 / strength)
            else:
                model = LogisticRegression(C=strength, max_iter=1000)
            model.fit(features, labels)
            predicted = model.predict(self._features(validation[0]))
            error = np.square(predicted - validation[1]).mean()
            if not of_numbers:
                error = (predicted != validation[1]).mean()
            candidates.append((error, len(candidates), model))
        self.model = min(candidates, key=lambda one: one[:2])[2]
        return self

    def predict(self, examples: Sequence[LabelledExample]) -> np.ndarray:
        """Returns the predictions `(examples,)`."""
        return np.asarray(self.model.predict(self._features(examples)))

    def decide(self, examples: Sequence[LabelledExample]) -> np.ndarray:
        """Returns the logits of the second of two classes, `(examples,)`."""
        return np.asarray(self.model.decision_function(self._features(examples)))

    def _features(self, examples: Sequence[LabelledExample]) -> Any:
        from scipy.sparse import hstack

        parts = [
            self.vectorizer.transform(texts)
            for texts in zip(*(example.texts for example in examples), strict=True)
        ]
        if len(parts) == 1:
            return parts[0]
        first, second = parts
        cosine = first.multiply(second).sum(1)
        return hstack([first, second, abs(first - second), first.multiply(second), cosine]).tocsr()


def tf_idf(
    splits: Mapping[str, Sequence[LabelledExample]],
    labels: Mapping[str, np.ndarray],
    tokens_of: Callable[[str], list[str]],
) -> dict[str, np.ndarray]:
    """Returns the predictions of :class:`TfIdf` for the test split, where scikit-learn is there.

    `labels` are those of each split, `(examples,)`. `tokens_of` divides a text as the model does.
    """
    if _is_left_out():
        return {}
    train, validation = ((splits[name], labels[name]) for name in ("train", "validation"))
    return {"TF-IDF": TfIdf(tokens_of).fit(train, validation).predict(splits["test"])}


def tf_idf_cosines(
    splits: Mapping[str, Sequence[LabelledExample]], tokens_of: Callable[[str], list[str]]
) -> dict[str, np.ndarray]:
    """Returns the cosines of the two texts' TF-IDF for the test split, where scikit-learn is there.

    The frequencies are those of the training texts.
    """
    if _is_left_out():
        return {}
    model = TfIdf(tokens_of)
    model.vectorizer.fit([text for example in splits["train"] for text in example.texts])
    sides = zip(*(example.texts for example in splits["test"]), strict=True)
    first, second = (model.vectorizer.transform(texts) for texts in sides)
    return {"TF-IDF": np.asarray(first.multiply(second).sum(1))[:, 0]}


def tf_idf_choices(
    splits: Mapping[str, Sequence[LabelledExample]],
    labels: Mapping[str, np.ndarray],
    tokens_of: Callable[[str], list[str]],
) -> dict[str, np.ndarray]:
    """As :func:`tf_idf`, where each text of an example is a candidate: the likeliest to be right.

    `labels` are the places of the right ones.
    """
    if _is_left_out():
        return {}
    alone = {
        split: [replace(one, texts=(text,)) for one in examples for text in one.texts]
        for split, examples in splits.items()
    }
    is_right = {
        split: np.eye(len(splits[split][0].texts), dtype=np.int64)[places].ravel()
        for split, places in labels.items()
    }
    train, validation = ((alone[name], is_right[name]) for name in ("train", "validation"))
    likely = TfIdf(tokens_of).fit(train, validation).decide(alone["test"])
    return {"TF-IDF": likely.reshape(len(labels["test"]), -1).argmax(1)}


def _is_left_out() -> bool:
    if is_missing := find_spec("sklearn") is None:
        log.warning(
            "left out: the TF-IDF baseline, which needs scikit-learn: "
            "pip install 'bert-lightning[finetune]'"
        )
    return is_missing
