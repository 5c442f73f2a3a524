"""The table of what `scripts/run_recipe.py` kept."""

import json
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

_COLUMNS: dict[str, tuple[str, Callable[[dict[str, Any]], float]]] = {
    "training, s": (".0f", lambda result: result["training_seconds"]),
    "pairs": (",.0f", lambda result: result["pairs"]),
    "MLM, nats": (".2f", lambda result: result["validation"]["mlm"]["all"]["loss"]),
    "accuracy": (".3f", lambda result: result["validation"]["mlm"]["all"]["accuracy"]),
    "bits a character": (".2f", lambda result: result["validation"]["mlm"]["bits_per_character"]),
    "NSP accuracy": (".3f", lambda result: result["validation"]["nsp"]["accuracy"]),
    "MLM of the test split": (".2f", lambda result: result["test"]["mlm"]["all"]["loss"]),
}
"""What stands in each column of a result, and how it is written."""


def results(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """What each recipe in `folder/NAME/seed=N/result.json` came to, one entry a seed."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("*/seed=*/result.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        found.setdefault(path.parent.parent.name, []).append(result)
    return found


def recipes_table(folder: Path) -> str:
    """Markdown: a row for each recipe, the best loss last; of several seeds mean and range."""
    found = results(folder)
    loss = _COLUMNS["MLM, nats"][1]
    order = sorted(found, key=lambda name: -mean(map(loss, found[name])))
    floors = found[order[0]][0]["validation"], found[order[0]][0]["test"]
    rows = [
        "| recipe | seeds | " + " | ".join(_COLUMNS) + " |",
        "|---|--:|" + "--:|" * len(_COLUMNS),
        f"| *without context* | | | | {floors[0]['mlm']['all']['loss_floor']:.2f} "
        f"| {floors[0]['mlm']['all']['accuracy_floor']:.3f} "
        f"| {floors[0]['mlm']['bits_per_character_floor']:.2f} "
        f"| {floors[0]['nsp']['accuracy_floor']:.3f} "
        f"| {floors[1]['mlm']['all']['loss_floor']:.2f} |",
    ]
    rows += [
        f"| [`{name}`](benchmarks/recipes/{name}) | {len(found[name])} | "
        + " | ".join(
            _written([value(result) for result in found[name]], form)
            for form, value in _COLUMNS.values()
        )
        + " |"
        for name in order
    ]
    return "\n".join(rows)


def _written(values: list[float], form: str) -> str:
    written = format(mean(values), form)
    low, high = format(min(values), form), format(max(values), form)
    return written if low == high else f"{written} ({low} to {high})"
