"""Vectors drawn: how similar each two are, and where they lie."""

import re
from collections.abc import Sequence

import numpy as np
from torch import Tensor
from torch.nn.functional import normalize

from bert_lightning.pictures.style import COLORS, Picture, styled
from bert_lightning.pictures.words import principal_components

_LABEL = 34
"""Characters of a text that a label shows."""
_MOST_NUMBERS = 12
"""Rows of a matrix whose cells have room for a number."""
_GRAY = "#dddddd"


@styled
def similarity_figure(vectors: Tensor, texts: Sequence[str], word: str = "") -> Picture:
    """Draws the cosine of each two vectors `(texts, hidden)`, two or more, as a matrix."""
    units, count = normalize(vectors, dim=1), len(texts)
    cosines = (units @ units.T).numpy()
    np.fill_diagonal(cosines, np.nan)
    lowest, highest = np.nanmin(cosines), np.nanmax(cosines)
    figure = Picture(7, 4.4)
    axes = figure.subplots()
    axes.set_facecolor(_GRAY)  # the diagonal
    image = axes.imshow(cosines, cmap="Blues")
    axes.grid(visible=False)
    names = [f"{_around(text, word)}  {place}" for place, text in enumerate(texts, start=1)]
    axes.set_yticks(range(count), names, parse_math=False)
    axes.set_xticks(range(count), [str(place) for place in range(1, count + 1)])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title("cosine of each two")
    if count > _MOST_NUMBERS:
        figure.colorbar(image, shrink=0.8)
        return figure
    for (row, column), cosine in np.ndenumerate(cosines):
        if row != column:
            color = "white" if cosine > lowest + 0.55 * (highest - lowest) else "black"
            axes.text(column, row, f"{cosine:.2f}", ha="center", va="center", color=color)
    return figure


@styled
def places_figure(vectors: Tensor, layer: int) -> Picture:
    """Draws the two principal components of vectors `(texts, hidden)`, numbered from 1."""
    places = principal_components(vectors)
    variance = (vectors - vectors.mean(0)).square().sum().clamp_min(1e-30)
    explained = (places.square().sum(0) / variance).tolist()
    figure = Picture(5.4, 4.4)
    axes = figure.subplots()
    axes.scatter(places[:, 0], places[:, 1], s=320, color=COLORS[0], alpha=0.85, linewidths=0)
    for place, (x, y) in enumerate(places.tolist(), start=1):
        axes.text(x, y, str(place), ha="center", va="center", color="white", weight="bold")
    names = [
        f"component {number}: {part:.0%} of the variance"
        for number, part in enumerate(explained, start=1)
    ]
    axes.set(xlabel=names[0], ylabel=names[1], title=f"vectors in layer {layer} (PCA)")
    axes.margins(0.15)
    return figure


def _around(text: str, word: str) -> str:
    """Returns a text, or what stands around the word in a long one."""
    if len(text) <= _LABEL:
        return text
    found = re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) if word else None
    middle = sum(found.span()) // 2 if found else 0
    first = max(0, min(middle - _LABEL // 2, len(text) - _LABEL))
    last = first + _LABEL
    return f"{'…' * (first > 0)}{text[first:last].strip()}{'…' * (last < len(text))}"
