"""The attention of every layer and head in a text or a pair, as small multiples."""

from textwrap import shorten

from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.patches import Patch

from bert_lightning.batch import SPECIAL_TOKENS
from bert_lightning.inference.attention_weights import Attention
from bert_lightning.pictures.style import COLORS, GRAY, Picture, styled

_FIRST, _SECOND, _SPECIAL = "first text", "second text", "special token"
_SIDE = (1.0, 2.6)
"""Inches of the smallest and of the largest panel."""
_INCHES_PER_TOKEN = 0.12
_FONT = (4.0, 8.0)
"""Points of the names of tokens; where they would be smaller, none are written."""


@styled
def attention_figure(found: Attention, name: str) -> Picture:
    """Draws a panel for each layer, from above, and head: a row takes from the columns.

    The first text has one color and the second another, and lines mark where they meet. The scale
    is that of a square root, so that small weights show too.
    """
    layers, heads, length, _ = found.weights.shape
    side = min(max(_INCHES_PER_TOKEN * length, _SIDE[0]), _SIDE[1])
    figure = Picture(side * heads + 1.9, side * layers + 1.7)
    panels = figure.subplots(layers, heads, squeeze=False)
    edges = [at - 0.5 for at in range(1, length) if found.segments[at] != found.segments[at - 1]]
    for layer, row in enumerate(panels):
        for head, axes in enumerate(row):
            image = axes.imshow(
                found.weights[layer, head].numpy(), cmap="Greys", norm=PowerNorm(0.5, 0, 1),
                interpolation="nearest",
            )  # fmt: skip
            axes.grid(visible=False)
            axes.set(xticks=[], yticks=[])
            axes.spines[["top", "right"]].set_visible(True)
            for edge in edges:
                axes.axhline(edge, color=COLORS[2], linewidth=0.8)
                axes.axvline(edge, color=COLORS[2], linewidth=0.8)
            if layer == 0:
                axes.set_title(f"head {head + 1}", fontsize=9)
            if head == heads - 1:
                axes.yaxis.set_label_position("right")
                axes.set_ylabel(f"layer {layer + 1}", fontsize=9)
    font = min(0.8 * 72 * side / length, _FONT[1])
    if font >= _FONT[0]:
        for row in panels:
            _name_tokens(row[0], found, font, "y")
        for axes in panels[-1]:
            _name_tokens(axes, found, font, "x")
    figure.colorbar(
        image,
        ax=panels,
        label="weight of a column’s token for a row’s",
        shrink=min(1.0, 3 / (side * layers)),
    )
    figure.suptitle(_title(found, name))
    kinds = {_FIRST: COLORS[0], _SECOND: COLORS[1], _SPECIAL: GRAY}
    shown = {kind: color for kind, color in kinds.items() if edges or kind != _SECOND}
    figure.legend(
        handles=[Patch(color=color, label=kind) for kind, color in shown.items()],
        loc="outside lower center", ncols=len(shown), fontsize=8,
    )  # fmt: skip
    return figure


def _title(found: Attention, name: str) -> str:
    parts: list[list[str]] = [[], []]
    for token, segment in zip(found.tokens, found.segments, strict=True):
        if token not in SPECIAL_TOKENS:
            parts[segment].append(token)
    texts = [shorten(" ".join(part), 60, placeholder=" …") for part in parts if part]
    return f"attention of {name}\n{' | '.join(texts)}"


def _name_tokens(axes: Axes, found: Attention, font: float, side: str) -> None:
    """Writes the tokens beside a panel, each in the color of its text."""
    places = range(len(found.tokens))
    if side == "x":
        axes.set_xticks(places, found.tokens, rotation=90, fontsize=font)
        labels = axes.get_xticklabels()
    else:
        axes.set_yticks(places, found.tokens, fontsize=font)
        labels = axes.get_yticklabels()
    axes.tick_params(length=0, pad=1)
    for label, token, segment in zip(labels, found.tokens, found.segments, strict=True):
        label.set_color(GRAY if token in SPECIAL_TOKENS else COLORS[segment])
