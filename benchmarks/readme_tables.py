"""The README's short tables, from the committed results; the docs have the long ones."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.finetuning_table import results as finetuned
from benchmarks.measure import Measured
from benchmarks.recipes_table import results as recipes
from bert_lightning.finetuning.scoring.results import RANDOM_WEIGHTS, THIS_MODEL

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
READING_PATH = {
    "text → a prepared corpus": {
        "corpus/readers/text_files.py": "files to paragraphs of documents",
        "corpus/sentences.py": "paragraphs to sentences",
        "corpus/splits.py": "which documents are held out",
        "corpus/vocabulary/build.py": "the vocabulary of words or wordpieces",
        "corpus/encoding.py": "sentences to token ids",
        "corpus/store.py": "the prepared corpus on disk, memory-mapped",
    },
    "a prepared corpus → batches": {
        "data/randomness.py": "random numbers as a function of their keys",
        "data/pairs.py": "which two sentences make an example",
        "data/masking.py": "which tokens are predicted, and what replaces them",
        "data/steps.py": "index to examples: a pure function, for any number of ranks and workers",
        "data/batches.py": "examples to a batch",
        "batch.py": "the batch: padding-free, with the counts of the whole step",
    },
    "a batch → loss": {
        "model/bert.py": "the encoder, from top to bottom",
        "model/layers.py": "LayerNorm, dropout, activation",
        "model/attention.py": "the one place that knows where sequences end",
        "model/linear_cross_entropy.py": "the loss over all words, a chunk of logits at a time",
        "model/objective.py": "both heads and losses, and their exact weighted sum",
    },
}
"""The files from text to loss, in the order in which they are read, and what each is for."""

_EIGHT_MINUTES, _FINETUNED = "tiny_8min", "wikitext2_best"
_OURS, _HELPED = "bert-lightning, bf16", "Hugging Face, helped"
_CONTESTANTS = (_OURS, _HELPED, "Hugging Face, as shipped", "textbook")


def numbers_table() -> str:
    """Returns three numbers, each beside its baseline: a loss, a downstream task, a speed."""
    eight = recipes(BENCHMARKS / "recipes")[_EIGHT_MINUTES]
    loss, baseline = _loss(eight), eight[0]["validation"]["mlm"]["all"]["loss_baseline"]
    minutes = mean(result["training_seconds"] for result in eight) / 60
    (stsb,) = (found for model, task, found in finetuned() if (model, task) == (_FINETUNED, "stsb"))
    speed = _pairs_per_second("steps.json")
    return _table(
        ("", "bert-lightning", "baseline"),
        (
            f"validation loss on WikiText-2 after {minutes:.1f} minutes on two CPU cores, nats per "
            "masked token",
            f"{loss:.2f}",
            f"{baseline:.2f} (unigram)",
        ),
        (
            "similarity of sentences (STS benchmark), Spearman's correlation",
            f"{_score(stsb, THIS_MODEL):.3f}",
            f"{_score(stsb, RANDOM_WEIGHTS):.3f} (from random weights)",
        ),
        (
            "training of the tiny model on two CPU cores, sentence pairs per second",
            f"{speed[_OURS]:,.0f}",
            f"{speed[_HELPED]:,.0f} (Hugging Face's model)",
        ),
    )


def recipes_table() -> str:
    """Returns a row for each recipe, the best loss last; means of its seeds."""
    found = recipes(BENCHMARKS / "recipes")
    names = sorted(found, key=lambda name: -_loss(found[name]))
    baselines = found[names[0]][0]["validation"]
    return _table(
        ("recipe", "seeds", "training, minutes", "MLM loss, nats", "MLM accuracy", "NSP accuracy"),
        (
            *("*baseline*", "", "", f"{baselines['mlm']['all']['loss_baseline']:.2f}"),
            f"{baselines['mlm']['all']['accuracy_baseline']:.3f}",
            f"{baselines['nsp']['accuracy_baseline']:.3f}",
        ),
        *(
            (
                f"`{name}`",
                f"{len(found[name])}",
                f"{mean(result['training_seconds'] for result in found[name]) / 60:.1f}",
                f"{_loss(found[name]):.2f}",
                f"{mean(one['validation']['mlm']['all']['accuracy'] for one in found[name]):.3f}",
                f"{mean(one['validation']['nsp']['accuracy'] for one in found[name]):.3f}",
            )
            for name in names
        ),
    )


def finetuning_table() -> str:
    """Returns a row for each task that the model of `_FINETUNED` was fine-tuned to."""
    return _table(
        ("task", "score", "pretrained", "random weights", "gain, 95 % interval", "TF-IDF"),
        *(
            (
                task,
                found["score"].replace("_", " "),
                f"{_score(found, THIS_MODEL):.3f}",
                f"{_score(found, RANDOM_WEIGHTS):.3f}",
                "{mean:+.3f} ({low:+.3f} to {high:+.3f})".format(
                    **_row(found, RANDOM_WEIGHTS)["gain"]
                ),
                f"{_score(found, 'TF-IDF'):.3f}" if _has(found, "TF-IDF") else "",
            )
            for model, task, found in finetuned()
            if model == _FINETUNED
        ),
    )


def speed_table() -> str:
    """Returns the pairs per second of each contestant, on a CPU and on a GPU."""
    cpu, gpu = (_pairs_per_second(name) for name in ("steps.json", "steps-gpu.json"))
    where = json.loads((BENCHMARKS / "steps-gpu.json").read_text(encoding="utf-8"))["machine"]
    return _table(
        ("", "tiny model, two CPU cores", f"BERT-Base, {where['gpu']}"),
        *((name, f"{cpu[name]:,.0f}", f"{gpu[name]:,.0f}") for name in _CONTESTANTS),
    )


def path_table() -> str:
    """Returns the files from text to loss with their numbers of lines, and the sum."""
    lines = {name: _lines(name) for files in READING_PATH.values() for name in files}
    rows = [
        (
            step,
            ", ".join(f"[`{name}`](bert_lightning/{name}) {lines[name]}" for name in files),
        )
        for step, files in READING_PATH.items()
    ]
    about = (
        f"From text to loss in {len(lines)} files and {sum(lines.values()):,} lines, in this order "
        "(behind each file its number of lines); "
        "[`docs/architecture.md`](docs/architecture.md) has the reasons."
    )
    return f"{about}\n\n{_table(('', 'files below `bert_lightning/`'), *rows, right=False)}"


def path_files_table() -> str:
    """Returns the same files with what each is for."""
    rows = (
        (f"[`{name}`](bert_lightning/{name})", f"{_lines(name)}", purpose)
        for files in READING_PATH.values()
        for name, purpose in files.items()
    )
    return _table(("read", "lines", "to see"), *rows, right=False)


def _lines(name: str) -> int:
    return len((ROOT / "bert_lightning" / name).read_text(encoding="utf-8").splitlines())


def _pairs_per_second(name: str) -> dict[str, float]:
    record = json.loads((BENCHMARKS / name).read_text(encoding="utf-8"))
    measured = (Measured(**one) for one in record["measured"])
    return {one.name: one.pairs_per_second for one in measured}


def _loss(results: Sequence[dict[str, Any]]) -> float:
    return mean(result["validation"]["mlm"]["all"]["loss"] for result in results)


def _row(found: dict[str, Any], model: str) -> dict[str, Any]:
    (row,) = (row for row in found["rows"] if row["model"] == model)
    return row


def _has(found: dict[str, Any], model: str) -> bool:
    return any(row["model"] == model for row in found["rows"])


def _score(found: dict[str, Any], model: str) -> float:
    return _row(found, model)["scores"][found["score"]]["mean"]


def _table(header: Sequence[str], *rows: Sequence[str], right: bool = True) -> str:
    """Returns Markdown; all columns but the first are aligned to the right."""
    rule = ["---", *(["--:" if right else "---"] * (len(header) - 1))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))
