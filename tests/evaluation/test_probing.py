"""Probes: scikit-learn's regression for one layer, the right layer of several, and the control."""

import numpy as np
import pytest
import torch
from torch import Tensor

from bert_lightning.evaluation.probing import Probe, Split, control_labels, probe

LAYERS, EXAMPLES, HIDDEN, CLASSES = 3, 240, 8, 3


def noise(seed: int, examples: int = EXAMPLES) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(LAYERS, examples, HIDDEN, generator=generator)


def labels_of(seed: int, examples: int = EXAMPLES) -> np.ndarray:
    return np.random.default_rng(seed).choice(CLASSES, size=examples, p=[0.5, 0.3, 0.2])


def with_signal(seed: int, layer: int) -> Split:
    """Layers of noise of unequal scales, of which one has the label."""
    features, labels = noise(seed), labels_of(seed)
    features[layer] += 3 * torch.eye(CLASSES, HIDDEN)[torch.from_numpy(labels)]
    return Split(features * torch.tensor([1.0, 100.0, 0.01])[:, None, None] + 5, labels)


@pytest.mark.slow
@pytest.mark.parametrize("ridge", [1e-1, 1e-3])
def test_a_layer_alone_is_scikit_learns_regression(ridge: float) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    split = with_signal(0, 1)
    ours = Probe(1, HIDDEN, CLASSES).fit(split.features[1:2], split.labels, ridge)
    scaled = preprocessing.StandardScaler().fit_transform(split.features[1].double().numpy())
    theirs = linear_model.LogisticRegression(C=1 / (ridge * EXAMPLES), tol=1e-8, max_iter=1000)
    theirs.fit(scaled, split.labels)
    weights = ours.weights.detach().T.numpy()
    np.testing.assert_allclose(weights, theirs.coef_, atol=0.02 * abs(theirs.coef_).max())
    assert (ours.predict(split.features[1:2]) == theirs.predict(scaled)).mean() > 0.99


@pytest.mark.parametrize("layer", range(LAYERS))
def test_the_layer_with_the_label_is_found(layer: int) -> None:
    found = probe(with_signal(1, layer), with_signal(2, layer))
    majority = found.majority
    for index, one in enumerate(found.layers):
        assert (one.low > majority) is (index == layer)
        assert one.low < one.accuracy < one.high
        assert (one.control, one.selectivity) == (None, None)
    assert found.layers[layer].accuracy > 0.85
    assert found.mix.accuracy > found.layers[layer].accuracy - 0.05
    assert int(np.argmax(found.mix_weights)) == layer
    assert sum(found.mix_weights) == pytest.approx(1)
    assert (found.examples, found.held_out) == (EXAMPLES, EXAMPLES)


def test_two_layers_together_say_what_neither_says_alone() -> None:
    """Each layer has half of the label; only the mix sees both halves."""

    def halves(seed: int) -> Split:
        labels = np.random.default_rng(seed).integers(4, size=EXAMPLES)
        features = torch.zeros(LAYERS, EXAMPLES, HIDDEN)
        features[1] = noise(seed)[1]
        features[0, :, 0] = torch.from_numpy(labels // 2 * 2.0)
        features[2, :, 1] = torch.from_numpy(labels % 2 * 2.0)
        return Split(features, labels)

    found = probe(halves(1), halves(2))
    assert all(one.accuracy < 0.65 for one in found.layers)
    assert found.mix.accuracy > 0.85
    assert found.mix_weights[1] < min(found.mix_weights[0], found.mix_weights[2])


def test_the_penalty_does_not_decide_for_one_layer() -> None:
    """Two layers see the label independently, in features of their own: both together see more."""

    def views(seed: int) -> Split:
        features, labels = noise(seed), labels_of(seed)
        features[0, :, CLASSES:] = 0
        features[2] = features[2].roll(CLASSES, 1)
        features[2, :, :CLASSES] = features[2, :, 2 * CLASSES :] = 0
        one_hot = 2 * torch.eye(CLASSES)[torch.from_numpy(labels)]
        features[0, :, :CLASSES] += one_hot
        features[2, :, CLASSES : 2 * CLASSES] += one_hot
        return Split(features, labels)

    found = probe(views(1), views(2), ridge=1e-1)
    assert found.mix.accuracy > max(one.accuracy for one in found.layers) + 0.04
    assert min(found.mix_weights[0], found.mix_weights[2]) > 0.4


def test_the_baseline_is_the_most_frequent_training_label() -> None:
    train = Split(noise(0, 20), np.array([1] * 12 + [0] * 8))
    held_out = Split(noise(1, 10), np.array([0] * 6 + [1] * 3 + [2]))  # train has no 2
    found = probe(train, held_out)
    assert found.majority == 0.3
    assert all(one.accuracy <= 0.9 for one in found.layers)


def test_a_word_has_one_control_label_wherever_it_stands() -> None:
    rng = np.random.default_rng(0)
    words, others = (rng.integers(500, size=count).astype(str).tolist() for count in (4000, 900))
    labels = labels_of(0, 4000)
    control, other_control = control_labels(words, others, labels)
    of_word: dict[str, set[int]] = {}
    for word, label in zip([*words, *others], [*control, *other_control], strict=True):
        of_word.setdefault(word, set()).add(int(label))
    assert all(len(found) == 1 for found in of_word.values())
    frequencies = np.bincount([next(iter(found)) for found in of_word.values()]) / len(of_word)
    assert frequencies == pytest.approx([0.5, 0.3, 0.2], abs=0.07)
    again, _ = control_labels(words, others, labels)
    assert (control == again).all()
    assert (control != control_labels(words, others, labels, seed=1)[0]).any()


def test_learning_words_by_heart_is_not_selective() -> None:
    """Vectors that are nothing but the word, and vectors that are nothing but the label."""
    kinds, examples = 40, 2000
    rng = np.random.default_rng(0)

    def split(seed: int) -> tuple[Tensor, np.ndarray, list[str]]:
        word = np.random.default_rng(seed).integers(kinds, size=examples)
        labels = (word % CLASSES).astype(np.int64)
        one_hot = torch.eye(kinds)[torch.from_numpy(word)]
        of_label = torch.zeros(examples, kinds)
        of_label[torch.arange(examples), torch.from_numpy(labels)] = 1
        return torch.stack([one_hot, of_label]), labels, word.astype(str).tolist()

    (a, a_labels, a_words), (b, b_labels, b_words) = split(1), split(2)
    controls = control_labels(a_words, b_words, a_labels, seed=int(rng.integers(9)))
    by_heart, honest = probe(
        Split(a, a_labels, controls[0]), Split(b, b_labels, controls[1])
    ).layers
    assert by_heart.accuracy == honest.accuracy == 1.0
    assert by_heart.control == 1.0
    assert by_heart.selectivity == 0.0
    assert honest.selectivity is not None
    assert honest.selectivity > 0.3
