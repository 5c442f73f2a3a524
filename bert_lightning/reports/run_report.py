"""What a run leaves for people: loss.png, summary.json and a few lines on the terminal."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from bert_lightning.batch import MASK, UNK
from bert_lightning.config.plain import to_plain
from bert_lightning.data.batches import EvaluationBatches
from bert_lightning.data.phases import heaviest
from bert_lightning.evaluation.scores import questions
from bert_lightning.inference.loaded import PretrainedBert
from bert_lightning.runs.checkpoint_io import write_whole
from bert_lightning.runs.folder import shown
from bert_lightning.runs.launched import shown_command
from bert_lightning.training.fit import FitResult

_SCORES = ("mlm_loss", "nsp_loss", "mlm_accuracy", "nsp_accuracy")
_EXAMPLES = 3
_EXAMPLE_LENGTHS = range(8, 21)
"""Tokens of a sentence that is short enough to show and long enough to guess from."""


def report(result: FitResult) -> str:
    """Writes `loss.png` and `summary.json` into the run's folder and returns what to print."""
    folder = result.config.folder
    plotted = "train/mlm_loss" in result.curves
    if plotted:
        plot_losses(result, folder / "loss.png")
    summary = summarize(result)
    # A run that has one is complete, so it comes last and as a whole.
    write_whole(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
    return "\n".join(_lines(result, summary, plotted))


def summarize(result: FitResult) -> dict[str, Any]:
    """The run in numbers, as plain values: losses in nats, rates per second of training."""
    config = to_plain(asdict(result.config))
    identity = {name: value for name, value in config.items() if name != "run_dir"}
    last = {name: values[-1][1] for name, values in result.curves.items()}
    largest = heaviest(result.config.batch)
    summary: dict[str, Any] = {
        "corpus": result.corpus.name,
        "corpus_origin": result.corpus.origin,
        "corpus_key": result.corpus.key,
        "fallback_reason": result.corpus.fallback_reason,
        "vocab_size": result.corpus.tokenizer.get_vocab_size(),
        "parameters": sum(parameter.numel() for parameter in result.model.parameters()),
        "steps": result.steps,
        "repeat": result.repeat,
        "epochs": result.epochs,
        "pairs": result.pairs,
        "real_tokens": result.tokens,
        "training_seconds": round(result.seconds, 3),
        "pairs_per_second": round(result.pairs / max(result.seconds, 1e-9), 1),
        "real_tokens_per_second": round(result.tokens / max(result.seconds, 1e-9), 1),
        "accelerator": result.accelerator,
        "devices": result.share.world_size,
        "micro_batch_size": result.share.micro_batch_size(largest.global_batch_size),
        "config_hash": hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest(),
    }
    for split in ("train", "val", "test"):
        if f"{split}/mlm_loss" in last:
            known = [name for name in ("loss", *_SCORES) if f"{split}/{name}" in last]
            scores = {name: last[f"{split}/{name}"] for name in known}
            summary[{"val": "validation"}.get(split, split)] = scores
    if "validation" in result.corpus.splits:
        batch = result.config.batch
        held_out = EvaluationBatches(result.corpus, "validation", batch, batch.global_batch_size)
        asked = questions(held_out[i] for i in range(len(held_out)))
        summary["validation_questions_sha256"] = asked.sha256
    if result.statistics is not None:
        summary["data"] = asdict(result.statistics)
    if result.baselines is not None:
        summary["validation_baselines"] = result.baselines._asdict()
    return summary


def plot_losses(result: FitResult, path: Path) -> None:
    """Draws both losses, training and validation, over the optimiser steps."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    names = {"mlm_loss": "masked language modelling", "nsp_loss": "next-sentence prediction"}
    names = {name: title for name, title in names.items() if f"train/{name}" in result.curves}
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    for axes, (name, title) in zip(panels, names.items(), strict=True):
        for split, label, style in (("train", "training", "-"), ("val", "validation", "o-")):
            if f"{split}/{name}" in result.curves:
                steps, values = zip(*result.curves[f"{split}/{name}"], strict=True)
                axes.plot(steps, values, style, label=label, linewidth=1.4, markersize=3.5)
        floor = result.baselines._asdict()[name] if result.baselines is not None else None
        if floor is not None:
            axes.axhline(floor, color="gray", linestyle=":", label=f"without context: {floor:.2f}")
        axes.set(title=title, xlabel="optimiser step", ylabel="nats")
        axes.grid(alpha=0.25)
        axes.legend()
    figure.suptitle(f"{result.corpus.name}: {result.steps:,} steps")
    figure.savefig(path, dpi=130)


def _lines(result: FitResult, summary: dict[str, Any], plotted: bool) -> list[str]:
    run = shown(result.config.folder)
    lines = [
        "",
        f"run         {run}",
        f"corpus      {summary['corpus']} ({summary['corpus_origin']})",
    ]
    if summary["fallback_reason"]:
        lines[-1] += " INSTEAD of the one asked for: see the warning above"
    for split in ("validation", "test"):
        if split in summary:
            lines += [f"{split:<12}{text}" for text in _score_lines(split, summary)]
    lines.append(
        f"speed       {summary['pairs_per_second']:,.0f} pairs/s, "
        f"{summary['real_tokens_per_second']:,.0f} real tokens/s, "
        f"{summary['training_seconds']:,.0f} s of training on "
        f"{summary['devices']} {summary['accelerator']}"
    )
    if result.repeat is not None:
        lines.append(f"repeat      {result.repeat}")
    lines += [f"fill-in     {line}" for line in example_fill_ins(result)]
    if plotted:
        lines.append(f"curves      {run}/loss.png, or: tensorboard --logdir {Path(run).parent}")
    if result.config.trainer.enable_checkpointing and not result.config.trainer.fast_dev_run:
        lines.append(f'next        {shown_command("fill-mask")} {run} "the [MASK] is new"')
    return lines


def _score_lines(split: str, summary: dict[str, Any]) -> list[str]:
    scores, baselines = (
        summary[split],
        summary["validation_baselines"] if split == "validation" else {},
    )

    def score(name: str) -> str:
        floor = f" (without context {baselines[name]:.3f})" if baselines else ""
        return f"{scores[name]:.3f}{floor}"

    return [
        f"{objective.upper()} loss {score(f'{objective}_loss')}, "
        f"accuracy {score(f'{objective}_accuracy')}"
        for objective in ("mlm", "nsp")
        if f"{objective}_loss" in scores
    ]


def example_fill_ins(result: FitResult) -> list[str]:
    """A word masked in each of a few held-out sentences, with the model's three likeliest."""
    splits, tokenizer = result.corpus.splits, result.corpus.tokenizer
    split = splits.get("validation", splits["train"])
    bert = PretrainedBert(result.model, tokenizer)
    room = min(_EXAMPLE_LENGTHS.stop, result.config.model.max_position_embeddings - 2)
    lengths = np.diff(split.sentence_starts)
    unknown = tokenizer.token_to_id(UNK)
    lines: list[str] = []
    for start in np.linspace(0, split.sentences, _EXAMPLES, endpoint=False).astype(int):
        for sentence in range(start, split.sentences):
            first, last = split.sentence_starts[sentence : sentence + 2]
            ids = split.token_ids[first:last]
            if _EXAMPLE_LENGTHS.start <= lengths[sentence] < room and unknown not in ids:
                words = [tokenizer.id_to_token(int(token)) or UNK for token in ids]
                place = len(words) // 2
                wanted, words[place] = words[place], MASK
                text = " ".join(words)
                fills = ", ".join(
                    f"{fill.token} {fill.probability:.2f}" for fill in bert.fill_mask(text, top=3)
                )
                lines.append(f"{text} → {fills} (the text has: {wanted})")
                break
    return lines
