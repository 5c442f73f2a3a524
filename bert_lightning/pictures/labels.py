"""What pretraining buys: the score of a task against the number of its labelled examples."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bert_lightning.errors import UserError
from bert_lightning.pictures.style import COLORS, MARKERS, Picture, styled


@styled
def learning_curve_figure(results: Mapping[str, Any]) -> Picture:
    """Draws the main score against the number of training examples, a line for each model.

    A band reaches from the lowest to the highest of the seeds. `results` is `results.json`.

    Raises:
        UserError: the study has one number of examples only.
    """
    if "learning_curve" not in results:
        raise UserError(
            "these results are of one number of labelled examples, and a curve needs several: "
            "fine-tune with learning_curve=true"
        )
    sizes, score = results["learning_curve"], results["score"]
    figure = Picture(6.4, 4)
    axes = figure.subplots()
    for place, row in enumerate(results["rows"]):
        model, style = row["model"], place % len(COLORS)
        points = [
            (size["examples"], row["scores"][score])
            for size in sizes
            for row in size["rows"]
            if row["model"] == model
        ]
        label = "pretrained" if place == 0 and not results["random_weights"] else model
        examples = [count for count, _ in points]
        lowest, highest = ([limit(one["scores"]) for _, one in points] for limit in (min, max))
        means, color = [one["mean"] for _, one in points], COLORS[style]
        axes.plot(examples, means, f"{MARKERS[style]}-", color=color, label=label)
        axes.fill_between(examples, lowest, highest, color=color, alpha=0.2, linewidth=0)
    axes.set_xscale("log")
    axes.set_xticks([size["examples"] for size in sizes], [f"{s['examples']:,}" for s in sizes])
    axes.set_xticks([], minor=True)
    name = score.replace("_", " ")
    title = f"{Path(results['data']).stem} ({results['task']})"
    axes.set(title=title, xlabel="training examples", ylabel=f"{name} of the test split")
    axes.legend()
    return figure
