"""The last words of a run: the files in its folder, and the lines on the terminal."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bert_lightning.batch import MASK, UNK
from bert_lightning.corpus.shards.split import sample_of
from bert_lightning.evaluation import probing
from bert_lightning.evaluation.scores import in_words
from bert_lightning.files import write_text
from bert_lightning.inference.loaded import PretrainedBert
from bert_lightning.pretrained.sources import build
from bert_lightning.reports.page.predictions import predictions
from bert_lightning.reports.page.safely import harmless, write_page_of_run
from bert_lightning.reports.page.start import write_facts
from bert_lightning.reports.page.write import PAGE
from bert_lightning.reports.summary import summarize
from bert_lightning.runs.folder import shown
from bert_lightning.runs.launched import shown_command
from bert_lightning.training.fit import FitResult

_EXAMPLE_LENGTHS = range(8, 21)
"""Tokens of a sentence that is short enough to show and long enough to guess from."""


def report(result: FitResult) -> str:
    """Writes `loss.png` and `summary.json` into the run's folder; returns the lines to print."""
    folder, summary = result.config.folder, summarize(result)
    plotted = "train/mlm_loss" in result.curves
    if plotted:
        from bert_lightning.pictures.losses import loss_figure  # with matplotlib, slow to import

        loss_figure(result.curves, summary).save(folder / "loss.png")
    if result.config.logger.tensorboard:
        from bert_lightning.reports.comparison.hparams import (
            write_hparams,  # with TensorBoard, slow
        )

        write_hparams(result.config, summary)
    bert = loaded(result)
    with harmless(folder):
        step = summary.get("loaded", summary).get("step", result.steps)
        found = predictions(bert.model, result.corpus, result.validation, step)
        write_facts(folder, {"predictions": found})
    # Written last: a run with a summary is complete.
    write_text(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
    write_page_of_run(folder)
    return "\n".join(_lines(result, summary, bert, plotted))


def loaded(result: FitResult) -> PretrainedBert:
    """Returns the model that :func:`bert_lightning.load` takes from the run's folder."""
    model = result.model if result.best is None else build(result.best.source)
    return PretrainedBert(model, result.corpus.tokenizer, origin=str(result.config.folder))


def _lines(
    result: FitResult, summary: dict[str, Any], bert: PretrainedBert, plotted: bool
) -> list[str]:
    run = shown(result.config.folder)
    corpus = f"{summary['corpus']} ({summary['corpus_origin']})"
    if summary["fallback_reason"]:
        corpus += " INSTEAD of the requested corpus: see the warning above"
    lines = ["", f"run         {run}", f"corpus      {corpus}"]
    if summary["early_end"] is not None:
        lines.append(f"ended       at step {result.steps}: {summary['early_end']}")
    best = summary["loaded"] if result.best is not None else None
    for split in ("validation", "test"):
        if split in summary:
            lines += _score_lines(split, summary, summary, result.model.objectives)
        if best is not None and split in best:
            lines += _score_lines(split, best, summary, result.model.objectives, "best")
    if best is not None:
        lines.append(
            f"best        is step {best['step']}, whose validation loss is the lowest: fill-mask, "
            f"export and load read it, not step {result.steps}, the last"
        )
    if "probe" in summary:
        scores = {f"probe/{name}": value for name, value in summary["probe"].items()}
        path = result.config.probe.path
        lines.append(f"probe       of {path}: {probing.in_words(scores)}")
    lines.append(
        f"speed       {summary['pairs_per_second']:,.0f} pairs/s, "
        f"{summary['real_tokens_per_second']:,.0f} real tokens/s, "
        f"{summary['training_seconds']:,.0f} s of training on "
        f"{summary['devices']} {summary['accelerator']}"
    )
    if result.progress.budget is not None:
        slower = "not by its steps: they became slower, and its decay was shortened for its budget"
        lines.append(f"repeat      {summary['repeat'] or slower}")
    lines += [f"fill-in     {line}" for line in _fill_ins(result, bert)]
    lines.append(f"report      {run}/{PAGE}")
    if plotted:
        lines.append(f"curves      {run}/loss.png, or: tensorboard --logdir {Path(run).parent}")
    if result.config.trainer.enable_checkpointing:
        lines.append(f'next        {shown_command("fill-mask")} {run} "the [MASK] is new"')
    return lines


def _score_lines(
    split: str,
    scored: dict[str, Any],
    summary: dict[str, Any],
    objectives: Iterable[str],
    which: str = "",
) -> Iterator[str]:
    scores = scored[split]
    baselines = summary.get("validation_baselines", {}) if split == "validation" else {}
    label = split if not which else which if split == "validation" else f"{which}, {split}"

    for words in in_words(objectives, scores, baselines):
        yield f"{label:<12}{words}"


def _fill_ins(result: FitResult, bert: PretrainedBert) -> Iterator[str]:
    """Masks a word in short sentences, spread over the validation split; yields the top three."""
    splits, tokenizer = result.corpus.splits, result.corpus.tokenizer
    split = sample_of(splits.get("validation", splits["train"]))
    longest = min(_EXAMPLE_LENGTHS.stop, result.config.model.max_position_embeddings - 2)
    lengths, unknown = np.diff(split.sentence_starts), tokenizer.token_to_id(UNK)
    for start in np.linspace(0, split.sentences, 3, endpoint=False).astype(int):
        for sentence in range(start, split.sentences):
            tokens = slice(*split.sentence_starts[sentence : sentence + 2])
            ids = split.token_ids[tokens].astype(int)
            words = _whole_words(split.word_starts[tokens])
            fits = _EXAMPLE_LENGTHS.start <= lengths[sentence] < longest
            if fits and len(words) and unknown not in ids:
                place = words[np.abs(words - len(ids) // 2).argmin()]
                word = tokenizer.decode([ids[place]])
                ids[place] = tokenizer.token_to_id(MASK)
                text = tokenizer.decode(ids.tolist(), skip_special_tokens=False)
                fills = [f"{token} {p:.2f}" for token, p in bert.fill_mask(text, top=3)]
                yield f"{text} → {', '.join(fills)} (the text has: {word})"
                break


def _whole_words(word_starts: np.ndarray) -> np.ndarray:
    """Returns the places of the tokens that are whole words, `(words,)`."""
    return np.flatnonzero(word_starts & np.append(word_starts[1:], True))
