"""The page of a run of pretraining."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bert_lightning.config import PairTask
from bert_lightning.reports.comparison.metric import lower_is_better
from bert_lightning.reports.page import figures
from bert_lightning.reports.page.found_run import RunFiles, ending, read
from bert_lightning.reports.page.write import render

_TITLES = {
    "loss": "joint loss, nats",
    "mlm_loss": "masked words: loss, nats",
    "mlm_accuracy_known": "masked words: right at the first guess, [UNK] left out",
    "mlm_accuracy": "masked words: right at the first guess",
    "mlm_accuracy_at_5": "masked words: right among five guesses",
    "mlm_unknown_fraction": "masked words that are [UNK]",
    "bits_per_character": "bits per character",
    "nsp_loss": "sentence pairs: loss, nats",
    "nsp_accuracy": "sentence pairs: right",
}
_NOT_SCORES = ("mlm_unknown_fraction",)
_HARDLY = 0.02
"""The fraction of its baseline by which a loss has to be lower, so that something was learned."""
_CLASSES = {
    "common": "common",
    "middle": "in between",
    "rare": "rare",
    "unknown": "not in the vocabulary: [UNK]",
}


def write_page(folder: Path) -> None:
    """Writes the page of a run from the files in its folder."""
    files = read(folder)
    facts = files.facts
    baselines = _baselines(files)
    data = facts.get("data") or {}
    examples = files.written.get("predictions", {})
    content = {
        **ending(files),
        "facts": facts,
        "corpus": facts.get("corpus") or files.run.options.get("data.name") or "its corpus",
        "planned": facts.get("steps") if not files.run.problem else _planned(files),
        "scored_at": files.validated_at,
        "verdicts": [*_verdicts(files, baselines)],
        "losses": figures.losses(files.curves, _for_figure(files, baselines)),
        "joint_loss": figures.joint_loss(files.curves, _weights(files), baselines),
        "scores": [*_scores(files, baselines)],
        "last_step": files.step,
        "splits": data.get("splits", {}),
        "examples": data.get("examples"),
        "labels": data.get("labels"),
        "left_out": facts.get("left_out") or [],
        "classes": [*_classes(files)],
        "predictions": examples,
        "probe": facts.get("probe"),
    }
    render(folder, "pretraining.html", content)


def _planned(files: RunFiles) -> int | None:
    started = files.written.get("run", {}).get("steps")
    return started or files.run.options.get("trainer.max_steps")


def _weights(files: RunFiles) -> dict[str, float]:
    """Returns the weight of each objective of the paper in the joint loss."""
    return {name: files.run.options.get(f"objective.{name}_weight", 0.0) for name in ("mlm", "nsp")}


def _baselines(files: RunFiles) -> dict[str, float]:
    """Returns those of the validation split: of the summary, or of the curves before the end."""
    known = {
        name.removeprefix("val/").removesuffix("_baseline"): curve[-1][1]
        for name, curve in files.curves.items()
        if name.startswith("val/") and name.endswith("_baseline")
    }
    found: Mapping[str, float | None] = files.facts.get("validation_baselines") or {}
    return {**known, **{name: value for name, value in found.items() if value is not None}}


def _for_figure(files: RunFiles, baselines: Mapping[str, float]) -> dict[str, Any]:
    return {"corpus": "", "steps": files.step, "validation_baselines": baselines}


def _scored(files: RunFiles, split: str) -> dict[str, float]:
    """Returns the scores of a split at the step that counts."""
    prefix, step = {"validation": "val", "test": "test"}[split], files.validated_at
    curves = {name: files.at(f"{prefix}/{name}", step) for name in (*_TITLES, *_own(files))}
    found: Mapping[str, float] = files.summary.get("loaded", files.summary).get(split, {})
    return {**{name: value for name, value in curves.items() if value is not None}, **found}


def _own(files: RunFiles) -> list[str]:
    """Returns the losses of objectives of one's own, which have no title here."""
    logged = [name.removeprefix("val/") for name in files.curves if name.startswith("val/")]
    return [n for n in logged if n.endswith("_loss") and "_loss_" not in n and n not in _TITLES]


def _scores(files: RunFiles, baselines: Mapping[str, float]) -> Iterator[dict[str, Any]]:
    validation, test = _scored(files, "validation"), _scored(files, "test")
    last = files.summary.get("validation", {})
    is_last = files.validated_at == files.summary.get("steps", files.validated_at)
    for name in [*_TITLES, *_own(files)]:
        if name not in validation and name not in test:
            continue
        if name == "mlm_accuracy" and "mlm_accuracy_known" in validation:
            continue  # guessing [UNK] for a word is no success
        value, baseline = validation.get(name), baselines.get(name)
        yield {
            "title": _TITLES.get(name, name.replace("_", " ")),
            "value": _shown(name, value),
            "baseline": _shown(name, baseline),
            "test": _shown(name, test.get(name)),
            "last": "" if is_last else _shown(name, last.get(name)),
            "better": None if name in _NOT_SCORES else _better(name, value, baseline),
        }


def _shown(name: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.1%}" if "accuracy" in name or "fraction" in name else f"{value:,.3f}"


def _better(name: str, value: float | None, baseline: float | None) -> bool | None:
    if value is None or baseline is None:
        return None
    return value < baseline if lower_is_better(name) else value > baseline


def _verdicts(files: RunFiles, baselines: Mapping[str, float]) -> Iterator[dict[str, Any]]:
    """Says of each objective whether the model learned it, by its validation loss."""
    scores = _scored(files, "validation")
    is_order = files.run.options.get("batch.pairs.task") == PairTask.sop.value
    pairs = "the order of two sentences" if is_order else "which sentence follows another"
    for objective, what, baseline_is in (
        ("mlm", "masked words", "word frequencies alone lose"),
        ("nsp", pairs, "the more frequent answer alone loses"),
    ):
        loss, baseline = scores.get(f"{objective}_loss"), baselines.get(f"{objective}_loss")
        if loss is None or baseline is None:
            continue
        known = "mlm_accuracy_known" if "mlm_accuracy_known" in scores else "mlm_accuracy"
        right = known if objective == "mlm" else f"{objective}_accuracy"
        yield {
            "what": what,
            "baseline_is": baseline_is,
            "loss": loss,
            "baseline": baseline,
            "accuracy": scores.get(right),
            "accuracy_baseline": baselines.get(right),
            "better": loss < baseline,
            "hardly": loss > (1 - _HARDLY) * baseline,
        }


def _classes(files: RunFiles) -> Iterator[dict[str, Any]]:
    """Yields the scores of masked tokens by the frequency of their words."""
    known, step = files.written.get("run", {}).get("classes") or {}, files.validated_at
    for name, title in _CLASSES.items():
        loss = files.at(f"val/mlm_loss_{name}", step)
        if loss is None:
            continue
        facts = known.get(name, {})
        limit = f", {facts['from']:,} times or more" if facts.get("from") else ""
        fewer = f", fewer than {known['middle']['from']:,} times" if "middle" in known else ""
        yield {
            "title": f"{title}{fewer if name == 'rare' else limit}",
            "fraction": facts.get("fraction"),
            "loss": loss,
            "loss_baseline": facts.get("loss_baseline"),
            "accuracy": files.at(f"val/mlm_accuracy_{name}", step),
            "accuracy_baseline": facts.get("accuracy_baseline"),
        }
