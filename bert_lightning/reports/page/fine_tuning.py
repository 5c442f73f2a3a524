"""The page of a run of fine-tuning, and of the study that it is the first run of."""

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bert_lightning.finetuning.scoring.results import THIS_MODEL
from bert_lightning.reports.finetune_report import CONFUSION, PREDICTIONS
from bert_lightning.reports.page import figures
from bert_lightning.reports.page.found_run import RunFiles, ending, read
from bert_lightning.reports.page.write import PAGE, render
from bert_lightning.reports.study_report import RESULTS

_MOST_CLASSES = 12
"""Of a confusion table; of more, the commonest confusions are listed."""
_MOST_CONFUSIONS, _MOST_ERRORS = 10, 12


def write_page(folder: Path) -> None:
    """Writes the page of a run, or of a study, from the files in its folder."""
    files = read(folder)
    results = _results(folder) if files.is_complete else None
    summary = files.summary
    validation = _validation(files)
    main = next(iter(validation), "")
    confusions = _confusions(folder / CONFUSION) if files.is_complete else None
    content = {
        **ending(files),
        "facts": files.facts,
        "task": files.run.options.get("task.kind", "a task"),
        "data": files.facts.get("data") or files.facts.get("corpus_origin") or "",
        "planned": files.facts.get("steps"),
        "score": main.replace("_", " "),
        "scored_at": files.validated_at,
        "validation": validation,
        "validation_baselines": {name: _baseline(files, name) for name in validation},
        "rows": [*_rows(summary, results)],
        "seeds": results["seeds"] if results else [files.run.options.get("seed")],
        "test_score": next(iter(summary.get("test", {})), main).replace("_", " "),
        "losses": figures.losses(files.curves, {"corpus": "", "steps": files.step})
        + _score_figure(files, main),
        "curve": figures.learning_curve(results) if results and _curve(results) else None,
        "sizes": _curve(results) if results else [],
        "confusion": confusions,
        "few_classes": confusions is not None and len(confusions) <= _MOST_CLASSES,
        "confused": [*_confused(confusions or {})],
        "errors": _errors(folder / PREDICTIONS) if files.is_complete else [],
        "members": [*_members(folder)],
    }
    render(folder, "fine_tuning.html", content)


def _validation(files: RunFiles) -> dict[str, float]:
    """Returns the scores of the validation split that counts, the main one of the task first."""
    if files.is_complete:
        return files.summary.get("validation", {})
    found = {
        name.removeprefix("val/"): files.at(name, files.validated_at)
        for name in files.curves
        if name.startswith("val/") and not name.endswith(("_baseline", "loss", "/error"))
    }
    return {name: value for name, value in found.items() if value is not None}


def _baseline(files: RunFiles, name: str) -> float | None:
    curve = files.curves.get(f"val/{name}_baseline")
    return curve[-1][1] if curve else None


def _score_figure(files: RunFiles, name: str) -> list[Any]:
    curve = files.curves.get(f"val/{name}")
    shown = name.replace("_", " ")
    return [figures.score(curve, _baseline(files, name), shown)] if curve else []


def _results(folder: Path) -> dict[str, Any] | None:
    try:
        return json.loads((folder / RESULTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _rows(
    summary: Mapping[str, Any], results: Mapping[str, Any] | None
) -> Iterator[dict[str, Any]]:
    """Yields the models of a study, or this one and its quick baselines, on the test split."""
    if results is not None:
        for row in results["rows"]:
            found = row["scores"][results["score"]]
            yield {
                "model": row["model"],
                "mean": found["mean"],
                "deviation": found["deviation"] if len(row["seeds"]) > 1 else None,
                "worst": found["worst"] if len(row["seeds"]) > 1 else None,
                "gain": row.get("gain"),
                "degenerate": row["degenerate"],
            }
        return
    scores: Mapping[str, float] = summary.get("test", {})
    everything = {THIS_MODEL: scores, **summary.get("baselines", {})} if scores else {}
    for model, found in everything.items():
        yield {
            "model": model,
            "mean": found.get(next(iter(scores))),
            "deviation": None,
            "worst": None,
            "gain": None,
            "degenerate": summary.get("degenerate") if model == THIS_MODEL else 0,
        }


def _curve(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the scores by the number of training examples, a row each."""
    score = results["score"]
    return [
        {
            "examples": size["examples"],
            "means": {row["model"]: row["scores"][score]["mean"] for row in size["rows"]},
        }
        for size in results.get("learning_curve", [])
    ]


def _confusions(file: Path) -> dict[str, dict[str, int]] | None:
    """Returns how often each label was predicted as each class."""
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            (_, *names), *rows = csv.reader(stream)
    except (OSError, ValueError):
        return None
    return {label: dict(zip(names, map(int, row), strict=True)) for label, *row in rows}


def _confused(table: Mapping[str, Mapping[str, int]]) -> list[tuple[int, str, str]]:
    """Returns the commonest confusions: how often, which label, taken for what."""
    found = [
        (count, label, guess)
        for label, row in table.items()
        for guess, count in row.items()
        if guess != label and count > 0
    ]
    return sorted(found, key=lambda one: -one[0])[:_MOST_CONFUSIONS]


def _errors(file: Path) -> list[dict[str, str]]:
    """Returns the errors that the model is surest of, or the numbers that are furthest off."""
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            rows = [row for row in csv.DictReader(stream) if row["label"] != row["predicted"]]
    except (OSError, KeyError):
        return []
    return sorted(rows, key=_badness, reverse=True)[:_MOST_ERRORS]


def _badness(row: Mapping[str, str]) -> float:
    if row["probability"]:
        return float(row["probability"])
    try:
        return abs(float(row["label"]) - float(row["predicted"]))
    except ValueError:
        return 0.0


def _members(folder: Path) -> Iterator[tuple[str, str | None]]:
    """Yields the further runs of a study, and the way to the page of each that has one."""
    for summary in sorted((folder / "study").rglob("summary.json")):
        place = summary.parent.relative_to(folder)
        has_page = (folder / place / PAGE).is_file()
        yield place.as_posix(), f"{place.as_posix()}/{PAGE}" if has_page else None
