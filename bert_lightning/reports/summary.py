"""The content of a run's summary.json."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from bert_lightning.config import TrainConfig
from bert_lightning.data.phases import heaviest
from bert_lightning.reports.comparison.options import changed_options, config_hash, plain_options
from bert_lightning.training.fit import FitResult
from bert_lightning.training.metrics import with_joint

_SPLITS = {"train": "train", "val": "validation", "test": "test"}
"""The names of the splits here, by the prefixes of their curves."""


def summarize(result: FitResult) -> dict[str, Any]:
    """Returns the run in plain values: losses in nats, rates per second of training."""
    progress, seconds = result.progress, max(result.progress.seconds, 1e-9)
    largest = heaviest(result.config.batch)
    last = {name: values[-1][1] for name, values in result.curves.items()}
    summary: dict[str, Any] = {
        "corpus": result.corpus.name,
        "corpus_origin": result.corpus.origin,
        "corpus_key": result.corpus.key,
        "fallback_reason": result.corpus.fallback_reason,
        "left_out": [asdict(omission) for omission in result.corpus.left_out],
        "vocab_size": result.corpus.tokenizer.get_vocab_size(),
        "parameters": sum(parameter.numel() for parameter in result.model.parameters()),
        "steps": result.steps,
        "early_end": progress.early_end or None,
        "resumed_at": progress.resumed_at or None,
        "repeat": progress.budget.by_steps() if progress.budget is not None else None,
        "epochs": result.epochs,
        "pairs": progress.pairs,
        "real_tokens": progress.tokens,
        "training_seconds": round(progress.seconds, 3),
        "pairs_per_second": round(progress.pairs / seconds, 1),
        "real_tokens_per_second": round(progress.tokens / seconds, 1),
        **{name: last.get(f"work/{name}") for name in ("tflops", "mfu", "peak_memory_gib")},
        "matrix_tflops": progress.matrix_tflops,
        "accelerator": result.accelerator,
        "devices": result.partition.world_size,
        "micro_batch_size": result.partition.micro_batch_size(largest.global_batch_size),
        "config_hash": config_hash(plain_options(result.config), TrainConfig),
        "options": changed_options(result.config),
    }
    summary |= {
        split: found
        for prefix, split in _SPLITS.items()
        if (found := _scores(result, prefix, last))
    }
    if probed := {name: value for name, value in last.items() if name.startswith("probe/")}:
        summary["probe"] = {name.removeprefix("probe/"): value for name, value in probed.items()}
    if result.config.trainer.enable_checkpointing:
        summary["loaded"] = _loaded(result, summary)
    if result.validation is not None and not result.config.validates_in_part:
        summary["evaluation_set_sha256"] = result.validation.contents.sha256
        summary["validation_baselines"] = result.validation.baselines._asdict()
    if result.statistics is not None:
        summary["data"] = asdict(result.statistics)
    return summary


def _loaded(result: FitResult, summary: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the step and the scores of the model that `load` takes from the run's folder."""
    if result.best is None:
        splits = [split for split in ("validation", "test") if split in summary]
        return {"step": result.steps, **{split: summary[split] for split in splits}}
    step = result.best.step
    points = ((name, *point) for name, curve in result.curves.items() for point in curve)
    then = {name: value for name, at, value in points if at == step}
    weights = result.config.weights
    joint = with_joint(result.best.test_scores, weights) if result.best.test_scores else {}
    tested = {f"test/{name}": score for name, score in joint.items()}
    found = {"validation": _scores(result, "val", then), "test": _scores(result, "test", tested)}
    return {"step": step, **{split: scores for split, scores in found.items() if scores}}


def _scores(result: FitResult, prefix: str, values: Mapping[str, float]) -> dict[str, float]:
    """Returns the losses and accuracies of a split among values of the curves; {} without any."""
    objectives = result.model.objectives
    names = ["loss", *(f"{name}_{kind}" for kind in ("loss", "accuracy") for name in objectives)]
    names += ["mlm_accuracy_known", "mlm_unknown_fraction"]
    if f"{prefix}/mlm_loss" not in values:
        return {}
    return {name: values[f"{prefix}/{name}"] for name in names if f"{prefix}/{name}" in values}
