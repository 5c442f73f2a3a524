"""The tables and the picture of fine-tuning, from the committed results.

python -m benchmarks.finetuning_table

Draws `docs/pictures/labels.png`, the first learning curve of the results. The tables are
copied into their pages by `benchmarks.update_readme`.
"""

import json
from collections.abc import Iterator
from typing import Any

from benchmarks.finetuning import RESULTS, ROOT, TASKS
from bert_lightning.finetuning.scoring.results import RANDOM_WEIGHTS, THIS_MODEL
from bert_lightning.pictures.labels import learning_curve_figure

PICTURE = ROOT / "docs" / "pictures" / "labels.png"
_MODELS = (
    *("tiny_bert_8min_exact_softmax", "wikitext2_best_steps_4000", "wikitext2_best"),
    "minilm",
)
"""In the order of the table."""


def main() -> None:
    for file in sorted(RESULTS.rglob("results.json")):
        found = json.loads(file.read_text(encoding="utf-8"))
        if "learning_curve" in found:
            learning_curve_figure(found).save(PICTURE)
            break


def results() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yields the model, the task and the results of each comparison that is committed."""
    for model in _MODELS:
        for task in TASKS:
            file = RESULTS / model / task / "results.json"
            if file.exists():
                yield model, task, json.loads(file.read_text(encoding="utf-8"))


def scores_table() -> str:
    """Returns Markdown: a row for each model and task; mean and standard deviation of the seeds."""
    rows = [
        "| model | task | score | pretrained | random weights | gain, 95 % interval | TF-IDF |",
        "|---|---|---|--:|--:|--:|--:|",
    ]
    for model, task, found in results():
        score, by_model = found["score"], {row["model"]: row for row in found["rows"]}
        gain = by_model.get(RANDOM_WEIGHTS, {}).get("gain")
        shown = gain and f"{gain['mean']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f})"
        cells = [
            f"`{model}`",
            task,
            score.replace("_", " "),
            _spread(by_model, THIS_MODEL, score),
            _spread(by_model, RANDOM_WEIGHTS, score),
            shown or "",
            _spread(by_model, "TF-IDF", score),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def speed_table() -> str:
    """Returns Markdown: a row for each model and contestant."""
    rows = [
        "| model | precision | | examples/s | bert-lightning is | accuracy (lowest to highest) |",
        "|---|---|---|--:|--:|--:|",
    ]
    for model in _MODELS:
        file = RESULTS / model / "speed.json"
        if not file.exists():
            continue
        found = json.loads(file.read_text(encoding="utf-8"))
        precision = found["command"].rpartition("--precision ")[2]
        for name, speed in found["contestants"].items():
            times = speed["times_slower"]
            lowest, highest = speed["accuracy_range"]
            cells = [
                f"`{model}`",
                precision,
                name,
                f"{speed['examples_per_second']:,.0f}",
                f"{times:.2f} times as fast" if times != 1 else "",
                f"{speed['accuracy']:.3f} ({lowest:.3f} to {highest:.3f})",
            ]
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _spread(by_model: dict[str, Any], model: str, score: str) -> str:
    if model not in by_model:
        return ""
    found = by_model[model]["scores"][score]
    deviation = f" ± {found['deviation']:.3f}" if found["deviation"] else ""
    return f"{found['mean']:.3f}{deviation}"


if __name__ == "__main__":
    main()
