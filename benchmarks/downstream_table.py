"""The losses of recipes beside what their models are good for: a table and a picture.

`benchmarks.downstream` prints and draws them; `benchmarks.update_readme` copies the table.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from benchmarks.finetuning import RESULTS as FINETUNED
from benchmarks.finetuning import TASKS
from benchmarks.recipe_results import RECIPES, WIKITEXT, Entry, entries
from bert_lightning.finetuning.scoring.results import RANDOM_WEIGHTS
from bert_lightning.pictures.style import COLORS, GRAY, MARKERS, Picture, styled


class Model(NamedTuple):
    """A recipe or a variant, and what its models are good for; means of the seeds."""

    name: str
    place: str
    words: str
    """The kind of its vocabulary, by which losses compare."""
    loss: float
    """MLM loss of the validation split, in nats."""
    bits: float
    """The same in bits a character."""
    blimp: list[dict[str, Any]]
    """The accuracies on minimal pairs, of each seed that has some."""
    probes: list[dict[str, Any]]
    """The probes of each seed that has some."""
    gains: dict[str, dict[str, float]]
    """By task, with its interval: the score minus that from random weights."""

    @property
    def missing(self) -> list[str]:
        """What has not been measured of it."""
        kinds = {"BLiMP": self.blimp, "probing": self.probes}
        tasks = ", ".join(task for task in TASKS if task not in self.gains)
        without = [name for name, there in kinds.items() if not there]
        return without + ([f"fine-tuning ({tasks})"] if tasks else [])


def models(folder: Path = RECIPES, finetuned: Path = FINETUNED) -> list[Model]:
    """Reads the recipes for WikiText-2, and variants with downstream results; best loss last."""
    found = []
    for entry in entries(folder):
        measured = [
            json.loads(file.read_text("utf-8"))
            for file in entry.folder.glob("seed=*/downstream.json")
        ]
        gains = dict(
            _gains(finetuned / entry.place.removeprefix("benchmarks/recipes/").replace("/", "_"))
        )
        of_wikitext = entry.results[0]["validation"]["corpus"] in WIKITEXT
        if of_wikitext and (entry.variant is None or measured or gains):
            found.append(_model(entry, measured, gains))
    return sorted(found, key=lambda model: -model.bits)


def _model(
    entry: Entry, measured: list[dict[str, Any]], gains: dict[str, dict[str, float]]
) -> Model:
    bits = mean(result["validation"]["mlm"]["bits_per_character"] for result in entry.results)
    blimp, probes = ([one[kind] for one in measured] for kind in ("blimp", "probe"))
    words = entry.options["tokenizer.kind"]
    return Model(entry.name, entry.place, words, entry.loss, bits, blimp, probes, gains)


def _gains(folder: Path) -> Iterator[tuple[str, dict[str, float]]]:
    for task in TASKS:
        file = folder / task / "results.json"
        rows = json.loads(file.read_text("utf-8"))["rows"] if file.exists() else []
        yield from ((task, row["gain"]) for row in rows if row["model"] == RANDOM_WEIGHTS)


def downstream_table(found: Sequence[Model]) -> str:
    """Returns Markdown: a row for each model; an empty cell was not measured."""
    header = ["model", "vocabulary", "MLM, nats", "bits a character", "BLiMP", "pairs with [UNK]"]
    header += ["BLiMP without those", "parts of speech", *(f"{task}, gain" for task in TASKS)]
    rows = [header, ["---"] * len(header)]
    for model in found:
        pairs = [one["all"] for one in model.blimp]
        cells = [
            _mean([one["accuracy"] for one in pairs], ".3f"),
            _mean([one["unknown"] / one["pairs"] for one in pairs], ".1%"),
            _mean([one["known_accuracy"] for one in pairs], ".3f"),
            _mean([_best_layer(one) for one in model.probes], ".3f"),
            *(f"{model.gains[task]['mean']:+.3f}" if task in model.gains else "" for task in TASKS),
        ]
        start = [f"[{model.name}]({model.place})", model.words]
        rows.append([*start, f"{model.loss:.2f}", f"{model.bits:.3f}", *cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _mean(values: Sequence[float], form: str) -> str:
    return format(mean(values), form) if values else ""


def _best_layer(probe: dict[str, Any]) -> float:
    return max(layer["accuracy"] for layer in probe["probes"]["layers"])


class Panel(NamedTuple):
    """One part of the picture."""

    title: str
    ylabel: str
    baseline: tuple[str, float] | None
    series: dict[str, list[tuple[float, float]]]
    """Points of loss and score, by their label."""


def _panels(found: Sequence[Model]) -> list[Panel]:
    """Returns the parts that have points."""
    blimp, probes = (
        {
            f"{words}s": [
                (model.bits, mean(map(score, scored)))
                for model in found
                if model.words == words and (scored := getattr(model, kind))
            ]
            for words in ("word", "wordpiece")
        }
        for kind, score in (("blimp", lambda one: one["all"]["accuracy"]), ("probes", _best_layer))
    )
    gains = {
        task: [(model.bits, model.gains[task]["mean"]) for model in found if task in model.gains]
        for task in TASKS
    }
    panels = [
        Panel("minimal pairs (BLiMP)", "accuracy", ("chance", 0.5), blimp),
        Panel("parts of speech (UD-EWT)", "accuracy of the best layer's probe", None, probes),
        Panel("fine-tuning", "gain of the score", ("random weights", 0), gains),
    ]
    return [panel for panel in panels if any(panel.series.values())]


@styled
def downstream_figure(found: Sequence[Model]) -> Picture:
    """Draws BLiMP, the probe and the fine-tuning gains against the loss in bits a character."""
    panels = _panels(found)
    figure = Picture(0.4 + 4 * len(panels), 3.8)
    for panel, axes in zip(panels, figure.subplots(1, len(panels), squeeze=False)[0], strict=True):
        for (label, points), color, marker in zip(
            panel.series.items(), COLORS, MARKERS, strict=False
        ):
            if points:
                bits, scores = zip(*points, strict=True)
                axes.plot(bits, scores, f"{marker}-", color=color, label=label)
        if panel.baseline is not None:
            label, height = panel.baseline
            axes.axhline(height, color=GRAY, linestyle="--", label=label)
        axes.set(title=panel.title, ylabel=panel.ylabel, xlabel="validation loss, bits a character")
        axes.invert_xaxis()  # better models to the right
        axes.legend()
    return figure
