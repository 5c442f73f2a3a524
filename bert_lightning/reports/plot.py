"""The loss curves of a run as a figure."""

from typing import TYPE_CHECKING

from bert_lightning.training.fit import FitResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TITLES = {"mlm": "masked language modeling", "nsp": "next-sentence prediction"}
_CURVES = (("train", "training", "-"), ("val", "validation", "o-"))


def loss_figure(result: FitResult) -> "Figure":
    """Draws the training and validation loss of each objective over the optimizer steps."""
    from matplotlib.figure import Figure  # slow to import, and most commands draw nothing

    titles = {
        f"{name}_loss": _TITLES.get(name, name)
        for name in result.model.objectives
        if f"train/{name}_loss" in result.curves
    }
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    panels = figure.subplots(1, max(1, len(titles)), squeeze=False)[0]
    baselines = result.baselines._asdict() if result.baselines is not None else {}
    for axes, (name, title) in zip(panels, titles.items(), strict=False):
        for split, label, style in _CURVES:
            if f"{split}/{name}" in result.curves:
                steps, values = zip(*result.curves[f"{split}/{name}"], strict=True)
                axes.plot(steps, values, style, label=label, linewidth=1.4, markersize=3.5)
        baseline = baselines.get(name)
        if baseline is not None:
            label = f"baseline: {baseline:.2f}"
            axes.axhline(baseline, color="gray", linestyle=":", label=label)
        axes.set(title=title, xlabel="optimizer step", ylabel="loss (nats)")
        axes.grid(alpha=0.25)
        axes.legend()
    figure.suptitle(f"{result.corpus.name}: {result.steps:,} steps")
    return figure
