"""One word in its senses: layer by layer in one model, or over the checkpoints of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

import torch
from matplotlib.axes import Axes
from torch import Tensor
from torch.nn.functional import normalize

from bert_lightning.errors import UserError
from bert_lightning.evaluation.sense_files import Occurrence
from bert_lightning.evaluation.senses import SensesResult, WordVectors, score_senses, word_vectors
from bert_lightning.inference.loaded import PretrainedBert
from bert_lightning.pictures.style import COLORS, GRAY, MARKERS, Picture, styled

_COLUMNS = 4
_SAME = 1e-4
"""Vectors that differ by less than this fraction of their length are one: the rest is rounding."""


@styled
def word_figure(found: SensesResult, vectors: Tensor, senses: Sequence[str], name: str) -> Picture:
    """Draws the vectors of a word in each layer, by their first two principal components.

    Args:
        found: the held-out accuracy of each layer.
        vectors: `(layers + 1, sentences, hidden)`.
        senses: of each sentence.
        name: the model's, for the title.
    """
    layers, names = len(vectors), list(found.senses)
    columns = min(_COLUMNS, layers)
    rows = ceil(layers / columns)
    figure = Picture(2.6 * columns, 2.7 * rows + 0.9)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for layer, (axes, of_layer, score) in enumerate(
        zip(panels, vectors, found.layers, strict=False)
    ):
        where = "0 (embeddings)" if layer == 0 else str(layer)
        axes.set_title(f"layer {where}: {score.accuracy:.0%}")
        axes.set(xticks=[], yticks=[])
        axes.spines[["top", "right"]].set_visible(True)
        _draw_senses(axes, of_layer, senses, names)
    for axes in panels[layers:]:
        axes.remove()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    figure.suptitle(
        f"“{found.word}” in {len(senses)} sentences, read by {name}\n"
        f"held-out accuracy of the nearest mean in each layer; majority: {found.majority:.0%}"
    )
    return figure


def _draw_senses(axes: Axes, vectors: Tensor, senses: Sequence[str], names: Sequence[str]) -> None:
    points = principal_components(vectors)
    if not points.any():
        axes.text(0.5, 0.75, "the same vector\nin every sentence", transform=axes.transAxes,
                  ha="center", va="center", color=GRAY)  # fmt: skip
    for place, sense in enumerate(names):
        own = points[[one == sense for one in senses]]
        style = place % len(COLORS)
        axes.scatter(
            own[:, 0], own[:, 1], s=24, color=COLORS[style], marker=MARKERS[style], alpha=0.75,
            linewidths=0, label=sense,
        )  # fmt: skip
    axes.margins(0.08)


def principal_components(vectors: Tensor) -> Tensor:
    """Returns the first two principal components of vectors, `(vectors, 2)`.

    They are 0 where all vectors are the same but for rounding, as in the embeddings of a model
    without learned positions.
    """
    centered = vectors - vectors.mean(0)
    if centered.norm(dim=1).max() <= _SAME * vectors.norm(dim=1).max():
        return vectors.new_zeros(len(vectors), 2)
    left, values, right = torch.linalg.svd(centered.double(), full_matrices=False)
    largest = right[:2].abs().argmax(1)  # signs are arbitrary: the largest weight is positive
    signs = right[[0, 1], largest].sign()
    return (left[:, :2] * values[:2] * signs).float()


@dataclass(frozen=True)
class Separation:
    """How far one layer of a model keeps the senses of a word apart."""

    within: float
    """The mean cosine of a word's vectors in two sentences of the same sense."""
    between: float
    """In two sentences of different senses."""
    accuracy: float
    """Held out, of the nearest mean."""
    majority: float


def separation(
    bert: PretrainedBert, word: str, sentences: Sequence[Occurrence], layer: int
) -> Separation:
    """Measures one layer; 0 is the embeddings, -1 the last.

    Raises:
        UserError: there is no such layer, or what :func:`score_senses` refuses.
    """
    scores, vectors = scored_vectors(bert, word, sentences)
    if not -len(scores.layers) <= layer < len(scores.layers):
        raise UserError(
            f"--layer {layer}: this model has layers 0, its embeddings, to "
            f"{len(scores.layers) - 1}, its last (or -1)"
        )
    units = normalize(vectors.vectors[layer], dim=1)
    cosines = units @ units.T
    senses = [str(one.sense) for one in sentences]
    same = torch.tensor([[a == b for b in senses] for a in senses])
    pairs = torch.ones_like(same).triu(1)  # each pair of sentences once
    return Separation(
        float(cosines[same & pairs].mean()),
        float(cosines[~same & pairs].mean()),
        scores.layers[layer].accuracy,
        scores.majority,
    )


def scored_vectors(
    bert: PretrainedBert, word: str, sentences: Sequence[Occurrence]
) -> tuple[SensesResult, WordVectors]:
    """Returns the accuracy of each layer, leaving out one sentence at a time, and the vectors."""
    return score_senses(bert, word, sentences, None), word_vectors(bert, word, sentences)


@styled
def learning_figure(found: Mapping[int, Separation], title: str) -> Picture:
    """Draws similarity within a sense and between senses, and accuracy, over the steps of a run."""
    steps, values = list(found), list(found.values())
    figure = Picture(7, 5)
    above, below = figure.subplots(2, sharex=True, height_ratios=[3, 2])
    within, between = [one.within for one in values], [one.between for one in values]
    above.fill_between(steps, between, within, color=COLORS[0], alpha=0.12, linewidth=0)
    above.plot(steps, within, f"{MARKERS[0]}-", color=COLORS[0], label="within a sense")
    above.plot(steps, between, f"{MARKERS[1]}-", color=COLORS[1], label="between senses")
    above.set(ylabel="mean cosine")
    above.legend()
    below.plot(steps, [one.accuracy for one in values], f"{MARKERS[2]}-", color=COLORS[2])
    majority = values[0].majority
    below.axhline(majority, color=GRAY, linestyle=":", label=f"majority: {majority:.0%}")
    below.set(xlabel="optimizer step", ylabel="held-out accuracy", ylim=(0, 1.02))
    below.yaxis.set_major_formatter("{x:.0%}")
    below.legend(loc="lower right")
    figure.suptitle(title)
    return figure
