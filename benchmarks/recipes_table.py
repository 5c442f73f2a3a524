"""The table of recipes for WikiText-2, of results by `scripts/run_recipe.py`."""

from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.recipe_results import RECIPES, comparable, entries

_COLUMNS: dict[str, tuple[str, Callable[[dict[str, Any]], float]]] = {
    "training, s": (".0f", lambda result: result["training_seconds"]),
    "pairs": (",.0f", lambda result: result["pairs"]),
    "MLM, nats": (".2f", lambda result: result["validation"]["mlm"]["all"]["loss"]),
    "accuracy": (".3f", lambda result: result["validation"]["mlm"]["all"]["accuracy"]),
    "bits a character": (".2f", lambda result: result["validation"]["mlm"]["bits_per_character"]),
    "NSP accuracy": (".3f", lambda result: result["validation"]["nsp"]["accuracy"]),
    "MLM of the test split": (".2f", lambda result: result["test"]["mlm"]["all"]["loss"]),
}
"""The columns: how a value is formatted, and where a result holds it."""


def results(folder: Path = RECIPES) -> dict[str, list[dict[str, Any]]]:
    """Returns the results of each recipe, as it is, on WikiText-2 with the textbook's words."""
    found = entries(folder)
    return {one.recipe: one.results for one in found if one.variant is None and comparable(one)}


def recipes_table(folder: Path) -> str:
    """Returns Markdown: a row for each recipe, the best loss last; mean and range of the seeds."""
    found = results(folder)
    loss = _COLUMNS["MLM, nats"][1]
    order = sorted(found, key=lambda name: -mean(map(loss, found[name])))
    validation, test = found[order[0]][0]["validation"], found[order[0]][0]["test"]
    rows = [
        "| recipe | seeds | " + " | ".join(_COLUMNS) + " |",
        "|---|--:|" + "--:|" * len(_COLUMNS),
        f"| *baseline* | | | | {validation['mlm']['all']['loss_baseline']:.2f} "
        f"| {validation['mlm']['all']['accuracy_baseline']:.3f} "
        f"| {validation['mlm']['bits_per_character_baseline']:.2f} "
        f"| {validation['nsp']['accuracy_baseline']:.3f} "
        f"| {test['mlm']['all']['loss_baseline']:.2f} |",
    ]
    rows += [
        f"| [`{name}`](benchmarks/recipes/{name}) | {len(found[name])} | "
        + " | ".join(
            _formatted([value(result) for result in found[name]], form)
            for form, value in _COLUMNS.values()
        )
        + " |"
        for name in order
    ]
    return "\n".join(rows)


def _formatted(values: list[float], form: str) -> str:
    middle = format(mean(values), form)
    low, high = format(min(values), form), format(max(values), form)
    return middle if low == high else f"{middle} ({low} to {high})"
