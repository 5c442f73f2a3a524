"""What a run of fine-tuning found: its summary, its predictions, and the lines at its end."""

import csv
import io
import json
import platform
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
import torch

from bert_lightning.config.finetune import FinetuneConfig
from bert_lightning.config.plain import to_plain
from bert_lightning.corpus.manifest import digest
from bert_lightning.files import write_text
from bert_lightning.finetuning.fit import FinetuneResult, Predicted, predict_untrained
from bert_lightning.finetuning.scoring.metrics import Scores, confusion
from bert_lightning.finetuning.scoring.records import SUMMARY, Record, write_predictions
from bert_lightning.finetuning.scoring.results import THIS_MODEL
from bert_lightning.finetuning.tasks.kinds import task_of
from bert_lightning.finetuning.tasks.task import Task
from bert_lightning.reports.comparison.options import changed_options, config_hash, plain_options
from bert_lightning.runs.folder import shown

PREDICTIONS = "predictions.csv"
"""In the run's folder: a row for each label of the test split."""
CONFUSION = "confusion.csv"
"""In the run's folder: how often each label, a row, was predicted as each class, a column."""
_MOST_ERRORS = 5
_MOST_CONFUSIONS = 5
_TEXT_WIDTH = 60


def report(result: FinetuneResult) -> str:
    """Writes all results into the run's folder; returns the lines to print.

    The summary is written last: a run with a summary is complete.
    """
    folder, test = result.config.folder, result.held_out["test"]
    task, names = task_of(result.config.task.kind), result.bert.names
    found = _baselines(result) if result.config.baselines else {}
    labels, sizes = test.labels, task.sizes(test.examples)
    beside = {name: task.scores(one, labels, names, sizes) for name, one in found.items()}
    summary = {**_summarize(result), "baselines": beside}
    write_predictions(folder, Record(summary, test.predicted, labels, sizes, names, found))
    _write_table(result)
    if names and task.has_confusions:
        _write_confusion(folder, confusion(test.predicted, labels, len(names)), names)
    if result.config.logger.tensorboard:
        from bert_lightning.reports.comparison.hparams import (
            write_hparams,  # with TensorBoard, slow
        )

        write_hparams(result.config, summary)
    text = json.dumps(summary, indent=2, ensure_ascii=False) + "\n"
    write_text(folder / SUMMARY, text)
    return "\n".join(_lines(result, beside))


def _summarize(result: FinetuneResult) -> dict[str, Any]:
    """Returns the run in plain values, without baselines."""
    config, data = result.config, result.run.labelled.data
    test, progress = result.held_out["test"], result.run.module.progress
    splits = data.identity["splits"]
    held_out = {"classes": data.names, **{split: splits[split] for split in result.held_out}}
    return {
        "task": config.task.kind.value,
        "init_from": config.init_from,
        "random_weights": config.random_weights,
        "seed": config.seed,
        "data": data.origin,
        "data_key": data.key,
        "evaluation_set_sha256": digest(held_out),
        "notes": data.notes,
        "classes": len(data.names) or None,
        "examples": {split: len(examples) for split, examples in data.splits.items()},
        "validation": result.held_out["validation"].scores,
        "test": test.scores,
        "degenerate": test.is_degenerate,
        "steps": result.steps,
        "best_step": result.best_step,
        "early_end": progress.early_end or None,
        "resumed_at": progress.resumed_at or None,
        "parameters": sum(parameter.numel() for parameter in result.bert.model.parameters()),
        "training_seconds": round(result.seconds, 3),
        "examples_per_second": round(result.examples / max(result.seconds, 1e-9), 1),
        "machine": {
            "accelerator": result.run.devices.accelerator,
            "devices": result.run.partition.world_size,
            "precision": to_plain(config.trainer.precision),
            "processor": platform.processor() or platform.machine(),
            "system": platform.platform(),
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
        "config_hash": config_hash(plain_options(config), FinetuneConfig),
        "options": changed_options(config),
    }


def _baselines(result: FinetuneResult) -> dict[str, np.ndarray]:
    """Returns the predictions of every quick baseline for the test split, by name."""
    splits, tokenizer = result.run.splits, result.bert.tokenizer
    found = task_of(result.config.task.kind).baselines(
        result.run.labelled.data.splits,
        {split: encoded.labels for split, encoded in splits.items()},
        lambda text: tokenizer.encode(text, add_special_tokens=False).tokens,
    )
    if not [*result.bert.model.head.parameters()]:  # so that it answers without any training
        found = {"before fine-tuning": predict_untrained(result.run), **found}
    return found


def _write_table(result: FinetuneResult) -> None:
    """Writes the test split with what the model says of it, for people."""
    names, test = result.bert.names, result.held_out["test"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["place", "label", "predicted", "probability", "text"])
    task = task_of(result.config.task.kind)
    confidence = task.confidence(test.outputs, test.split)
    for number, (place, shown_text) in enumerate(_units(test, task)):
        label, predicted = (
            task.worded(values[number], names) for values in (test.labels, test.predicted)
        )
        probability = f"{confidence[number]:.4f}" if confidence[number] else ""
        writer.writerow([place, label, predicted, probability, shown_text])
    write_text(result.config.folder / PREDICTIONS, text.getvalue())


def _write_confusion(folder: Path, table: np.ndarray, names: Sequence[str]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["label", *names])
    writer.writerows([name, *row] for name, row in zip(names, table.tolist(), strict=True))
    write_text(folder / CONFUSION, text.getvalue())


def _lines(result: FinetuneResult, beside: Mapping[str, Scores]) -> Iterator[str]:
    """Yields the lines at the end of a run; `beside` are the scores of its baselines, by name."""
    config, test = result.config, result.held_out["test"]
    rows = {THIS_MODEL: test.scores, **beside}
    names = list(test.scores)[:3]
    width = max(map(len, rows))
    yield ""
    yield f"{'test split':{width}}  " + "  ".join(f"{n.replace('_', ' '):>16}" for n in names)
    for row, scores in rows.items():
        yield f"{row:{width}}  " + "  ".join(f"{scores[name]:16.3f}" for name in names)
    if test.is_degenerate:
        yield "warning: every prediction is the same; try a lower optim.lr, or another seed"
    if result.best_step != result.steps:
        yield f"the best validation was at step {result.best_step} of {result.steps}"
    yield from _confusions(test, task_of(config.task.kind), result.bert.names)
    yield from _worst_errors(test, result)
    yield f"predictions {shown(config.folder / PREDICTIONS)}"


def _units(predicted: Predicted, task: Task) -> list[tuple[str, str]]:
    """Returns the place and the text of each label."""
    return [(one.place, text) for one in predicted.examples for text in task.shown(one)]


def _confusions(predicted: Predicted, task: Task, names: Sequence[str]) -> list[str]:
    if not names or not task.has_confusions:
        return []
    wrong = predicted.predicted != predicted.labels
    pairs = zip(predicted.labels[wrong], predicted.predicted[wrong], strict=True)
    common = Counter((names[label], names[guess]) for label, guess in pairs)
    return [
        f"confused {count:4d} ×  {label} as {guess}"
        for (label, guess), count in common.most_common(_MOST_CONFUSIONS)
        if count > 1
    ]


def _worst_errors(predicted: Predicted, result: FinetuneResult) -> list[str]:
    """Returns the errors that the model is surest of, or the numbers that are furthest off."""
    task, names = task_of(result.config.task.kind), result.bert.names
    labels, units = predicted.labels, _units(predicted, task)
    confidence = task.confidence(predicted.outputs, predicted.split)
    badness = task.badness(predicted.predicted, labels, confidence)
    lines = []
    for number in np.argsort(-badness)[:_MOST_ERRORS].tolist():
        if not badness[number]:
            break
        guess, label, text = (
            shorten(shown_text, _TEXT_WIDTH, placeholder=" …")
            for shown_text in (
                task.worded(predicted.predicted[number], names),
                task.worded(labels[number], names),
                units[number][1],
            )
        )
        lines.append(f"error    {guess}, not {label}: {text}")
    return lines
