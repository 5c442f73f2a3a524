"""Probing: how much a linear classifier reads from a model's frozen vectors, layer by layer.

Beside each layer stands a mix of all of them, whose weights are learned with the classifier (Tenney
et al., 2019, https://arxiv.org/abs/1905.06316), and beside each accuracy that on a control task
(Hewitt and Liang, 2019, https://arxiv.org/abs/1909.03368): each word gets a label at random, the
same wherever it stands, so only a probe that learns words by heart can be right. The difference,
the selectivity, is what the vectors themselves say.

The mix is γ Σ softmax(s)ₗ xₗ over standardized layers xₗ (Peters et al., 2018,
https://arxiv.org/abs/1802.05365). Its scale γ is not learned but keeps the variance of the mix at
that of one layer. Layers that differ cancel each other in a mean, so without γ the classifier needs
larger weights for a mix than for a layer, and its penalty alone would decide for one layer; a
learned γ would grow without limit, and leave no penalty at all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from bert_lightning.evaluation.intervals import wilson_interval

RIDGE = 1e-2
"""Weight of half the squared norm of the classifier, beside the mean loss."""
MIX_RIDGE = 1e-3
"""The same for the scores `s` of the layers, as in Peters et al. (2018): layers that say the same
share their weight, and no score grows so far that its layer cannot come back."""
_ITERATIONS = 100


@dataclass(frozen=True)
class ProbeScore:
    """The held-out accuracy of a probe, with its 95 % interval."""

    accuracy: float
    low: float
    high: float
    control: float | None
    """The accuracy of the same probe on the control task; None without one."""
    selectivity: float | None
    """`accuracy - control`."""


@dataclass(frozen=True)
class ProbeResult:
    """What probes read from the vectors of a model."""

    examples: int
    held_out: int
    majority: float
    """The accuracy of answering with the most frequent training label."""
    layers: list[ProbeScore]
    """From layer 0, the embeddings."""
    mix: ProbeScore
    """Of the learned mix of all layers."""
    mix_weights: list[float]
    """The part of each layer in the mix; they add up to 1."""

    @property
    def best_layer(self) -> int:
        """The layer with the highest held-out accuracy, the lowest of several."""
        return int(np.argmax([layer.accuracy for layer in self.layers]))


def probe_scores(found: ProbeResult) -> dict[str, float]:
    """Returns what the curves have of a probe, by name."""
    return {
        "probe/mix_accuracy": found.mix.accuracy,
        "probe/best_layer_accuracy": found.layers[found.best_layer].accuracy,
        "probe/best_layer": float(found.best_layer),
        "probe/majority_accuracy": found.majority,
    }


def in_words(scores: Mapping[str, float]) -> str:
    """Says scores of :func:`probe_scores`: mix of layers 0.512, layer 2 0.498 (majority 0.101)."""
    return (
        f"mix of layers {scores['probe/mix_accuracy']:.3f}, layer {scores['probe/best_layer']:.0f} "
        f"{scores['probe/best_layer_accuracy']:.3f} (majority "
        f"{scores['probe/majority_accuracy']:.3f})"
    )


@dataclass(frozen=True, eq=False)
class Split:
    """Frozen vectors and labels."""

    features: Tensor
    """`(layers + 1, examples, hidden)` float32; layer 0 is the embeddings."""
    labels: np.ndarray
    """`(examples,)` int64, from 0."""
    control: np.ndarray | None = None
    """`(examples,)` int64: the labels of the control task."""


class Probe:
    """Multinomial logistic regression on a scalar mix of standardized layers.

    Of one layer it is scikit-learn's LogisticRegression with C = 1 / (ridge · examples), fitted to
    the standardized features.
    """

    def __init__(self, layers: int, hidden: int, classes: int) -> None:
        self.scores = torch.zeros(layers, requires_grad=True)
        self.weights = torch.zeros(hidden, classes, requires_grad=True)
        self.bias = torch.zeros(classes, requires_grad=True)
        self.mean, self.scale = torch.zeros(layers, 1, hidden), torch.ones(layers, 1, hidden)
        self.correlation = torch.eye(layers)
        """`(layers, layers)`: of two layers, over all their features and the training examples."""

    @property
    def mix(self) -> Tensor:
        """`(layers,)`: the part of each layer."""
        return self.scores.softmax(0)

    def fit(self, features: Tensor, labels: np.ndarray, ridge: float = RIDGE) -> "Probe":
        """Fits to `(layers, examples, hidden)` and `(examples,)` by L-BFGS."""
        self.mean = features.mean(1, keepdim=True)
        self.scale = features.std(1, keepdim=True).clamp(min=1e-6)
        x, y = self._standardized(features), torch.from_numpy(labels)
        flat = F.normalize(x.flatten(1), dim=1)
        self.correlation = flat @ flat.T
        optimizer = torch.optim.LBFGS(
            [self.scores, self.weights, self.bias],
            max_iter=_ITERATIONS,
            line_search_fn="strong_wolfe",
        )

        def loss() -> Tensor:
            optimizer.zero_grad()
            fit = F.cross_entropy(self._logits(x), y)
            penalty = ridge * self.weights.square().sum() + MIX_RIDGE * self.scores.square().sum()
            value = fit + penalty / 2
            value.backward()
            return value

        optimizer.step(loss)
        return self

    def predict(self, features: Tensor) -> np.ndarray:
        """Returns the likeliest class `(examples,)` of `(layers, examples, hidden)`."""
        with torch.inference_mode():
            return self._logits(self._standardized(features)).argmax(1).numpy()

    def _standardized(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.scale

    def _logits(self, x: Tensor) -> Tensor:
        variance = self.mix @ self.correlation @ self.mix
        mixed = torch.einsum("l,lnh->nh", self.mix * variance.rsqrt(), x)
        return mixed @ self.weights + self.bias


def probe(train: Split, held_out: Split, ridge: float = RIDGE) -> ProbeResult:
    """Fits a probe to each layer of the training split, and to all; scores them on the other."""
    layers = len(train.features)
    scores = [_score(train, held_out, slice(layer, layer + 1), ridge)[0] for layer in range(layers)]
    mix, weights = _score(train, held_out, slice(0, layers), ridge)
    frequent = np.bincount(train.labels).argmax()
    return ProbeResult(
        examples=len(train.labels),
        held_out=len(held_out.labels),
        majority=float((held_out.labels == frequent).mean()),
        layers=scores,
        mix=mix,
        mix_weights=weights,
    )


def _score(
    train: Split, held_out: Split, layers: slice, ridge: float
) -> tuple[ProbeScore, list[float]]:
    """Fits one probe, and one to the control task; returns the scores and the mix of the first."""
    features, held_features = train.features[layers], held_out.features[layers]
    fitted, right = _fitted(features, train.labels, held_features, held_out.labels, ridge)
    total = len(held_out.labels)
    accuracy, control = right / total, None
    if train.control is not None and held_out.control is not None:
        _, right_control = _fitted(features, train.control, held_features, held_out.control, ridge)
        control = right_control / total
    score = ProbeScore(
        accuracy,
        *wilson_interval(right, total),
        control,
        None if control is None else accuracy - control,
    )
    return score, fitted.mix.tolist()


def _fitted(
    features: Tensor,
    labels: np.ndarray,
    held_features: Tensor,
    held_labels: np.ndarray,
    ridge: float,
) -> tuple[Probe, int]:
    """Returns a fitted probe, and how many held-out labels it gets right."""
    count, _, hidden = features.shape
    classes = int(labels.max()) + 1
    fitted = Probe(count, hidden, classes).fit(features, labels, ridge)
    return fitted, int((fitted.predict(held_features) == held_labels).sum())


def control_labels(
    train: Sequence[str], held_out: Sequence[str], labels: np.ndarray, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Draws a label for each word type, with the frequencies of the training labels.

    Args:
        train: the words of the training split.
        held_out: those of the other; a word that is in both has one label.
        labels: the real labels `(train,)`.
        seed: another seed is another control task.

    Returns:
        The labels of both splits, `(train,)` and `(held out,)`.
    """
    types = sorted({*train, *held_out})
    drawn = np.random.default_rng(seed).choice(labels, size=len(types))
    of_type = dict(zip(types, drawn.tolist(), strict=True))
    return tuple(  # type: ignore[return-value]
        np.array([of_type[word] for word in words], np.int64) for words in (train, held_out)
    )
