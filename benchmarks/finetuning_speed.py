"""Fine-tunes one model on banking77 with this project and with Hugging Face's Trainer, in turn.

python -m benchmarks.finetuning_speed HUGGING_FACE_FOLDER DATASETS_FOLDER --name tiny_bert_8min

Needs `pip install 'bert-lightning[hf]' accelerate`. All start from the same weights, read the same
10,003 texts of the train split with the same tokenizer, take the same steps of 32 examples at the
same learning rate in the same precision, and score the same test split. The Trainer has SDPA, fused
AdamW, and each batch padded to its own longest. It takes part twice: with its own random order, as
ours is, and with texts of like length together, which is faster and another training: its batches
are no random samples. Each turn is a process of its own, after seconds of rest; what counts is the
time of training, without start, validation and scores. Writes
`benchmarks/finetuned/NAME/speed.json`.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

from benchmarks.finetuning import RESULTS, ROOT
from benchmarks.machine import machine
from bert_lightning.corpus.vocabulary.prose import reading_prose
from bert_lightning.errors import exit_on_user_error

OURS = "bert-lightning"
TRAINERS = {"Trainer": "random", "Trainer, like lengths together": "group_by_length"}
"""The contestants by the Trainer, and what they call its order."""
_BATCH, _LENGTH, _REST = 32, 128, 5.0


@exit_on_user_error()
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path, help="a folder in Hugging Face's format")
    parser.add_argument("datasets", type=Path, help="the folder with banking77")
    parser.add_argument("--name", required=True, help="the model's name, and that of its results")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each, one seed each")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--precision", choices=["bf16-mixed", "32-true"], default="bf16-mixed")
    parser.add_argument("--order", choices=TRAINERS.values(), help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.order:
        print(json.dumps(theirs(args)))
        return
    about, turns = machine(), list[dict[str, Any]]()
    for seed in range(args.rounds):
        for contestant in (OURS, *TRAINERS):
            time.sleep(_REST)
            order = TRAINERS.get(contestant)
            found = started(args, seed, order) if order else ours(args, seed)
            turns.append({"contestant": contestant, "seed": seed, **found})
            print(turns[-1], flush=True)
    made = {
        "command": "python -m benchmarks.finetuning_speed " + " ".join(shown(args)),
        "machine": about,
        "contestants": {name: summary(turns, name) for name in (OURS, *TRAINERS)},
        "turns": turns,
    }
    file = RESULTS / args.name / "speed.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


def shown(args: argparse.Namespace) -> list[str]:
    options = ("rounds", "epochs", "lr", "precision")
    return [
        args.name, "datasets", f"--name {args.name}",
        *(f"--{name} {getattr(args, name)}" for name in options),
    ]  # fmt: skip


def summary(turns: Sequence[dict[str, Any]], name: str) -> dict[str, Any]:
    """Returns the median speed, that of each round relative to ours, and the mean score."""
    own = [turn for turn in turns if turn["contestant"] == name]
    base = [turn for turn in turns if turn["contestant"] == OURS]
    ratios = [
        ours["examples_per_second"] / turn["examples_per_second"]
        for ours, turn in zip(base, own, strict=True)
    ]
    scores = [turn["accuracy"] for turn in own]
    return {
        "examples_per_second": round(median(turn["examples_per_second"] for turn in own), 1),
        "times_slower": round(median(ratios), 2),
        "accuracy": round(mean(scores), 4),
        "accuracy_range": [min(scores), max(scores)],
    }


def ours(args: argparse.Namespace, seed: int) -> dict[str, float]:
    """Runs `finetune.py` as a user would."""
    with tempfile.TemporaryDirectory() as folder:
        options = [
            "task=text", f"data.path={args.datasets.resolve()}/banking77",
            f"init_from={args.model.resolve()}", f"seed={seed}", f"optim.lr={args.lr:g}",
            f"trainer.max_epochs={args.epochs}", f"trainer.precision={args.precision}",
            f"batch.global_batch_size={_BATCH}", f"batch.max_length={_LENGTH}",
            "trainer.limit_val_batches=0", "data.validation_fraction=0.001", "baselines=false",
            "run_dir=run", "logger=none",
        ]  # fmt: skip
        python(folder, str(ROOT / "finetune.py"), *options)
        found = json.loads((Path(folder) / "run" / "summary.json").read_text(encoding="utf-8"))
    examples = found["examples_per_second"] * found["training_seconds"]
    return result(examples, found["training_seconds"], found["test"]["accuracy"])


def started(args: argparse.Namespace, seed: int, order: str) -> dict[str, float]:
    """Runs the Trainer in a process of its own."""
    command = [
        "-m", "benchmarks.finetuning_speed", str(args.model.resolve()),
        str(args.datasets.resolve()), "--name", args.name, "--order", order,
        "--seed", str(seed), "--epochs", str(args.epochs), "--lr", str(args.lr),
        "--precision", args.precision,
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        found: dict[str, float] = json.loads(python(folder, *command).splitlines()[-1])
    return found


def theirs(args: argparse.Namespace) -> dict[str, float]:
    """Fine-tunes with Hugging Face's Trainer."""
    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        PreTrainedTokenizerFast,
        Trainer,
        TrainingArguments,
    )

    given = AutoTokenizer.from_pretrained(args.model)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=reading_prose(given.backend_tokenizer), **given.special_tokens_map
    )
    texts = {split: rows(args.datasets / "banking77" / f"{split}.csv") for split in SPLITS}
    names = sorted({label for _, label in texts["train"]})
    encoded = {
        split: [
            {**tokenizer(text, truncation=True, max_length=_LENGTH), "labels": names.index(label)}
            for text, label in examples
        ]
        for split, examples in texts.items()
    }
    torch.manual_seed(args.seed)
    model = AutoModelForSequenceClassification.from_pretrained(
        args.model, num_labels=len(names), attn_implementation="sdpa"
    )
    options = TrainingArguments(
        output_dir="trainer",
        num_train_epochs=args.epochs,
        per_device_train_batch_size=_BATCH,
        per_device_eval_batch_size=256,
        learning_rate=args.lr,
        lr_scheduler_type="linear",
        warmup_steps=0.1,
        weight_decay=0.01,
        optim="adamw_torch_fused",
        train_sampling_strategy=args.order,
        bf16=args.precision == "bf16-mixed",
        use_cpu=not torch.cuda.is_available(),
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        seed=args.seed,
    )
    trainer = Trainer(
        model,
        options,
        DataCollatorWithPadding(tokenizer),
        train_dataset=encoded["train"],
        compute_metrics=lambda found: {
            "accuracy": float((found.predictions.argmax(1) == found.label_ids).mean())
        },
    )
    since = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - since
    accuracy = trainer.evaluate(encoded["test"])["eval_accuracy"]
    return result(args.epochs * len(encoded["train"]), seconds, accuracy)


SPLITS = ("train", "test")


def rows(file: Path) -> list[tuple[str, str]]:
    with file.open(encoding="utf-8", newline="") as opened:
        return [(row["text"], row["category"]) for row in csv.DictReader(opened)]


def result(examples: float, seconds: float, accuracy: float) -> dict[str, float]:
    return {
        "examples_per_second": round(examples / seconds, 1),
        "training_seconds": round(seconds, 2),
        "accuracy": round(accuracy, 4),
    }


def python(folder: str, *arguments: str) -> str:
    """Runs Python in a folder, offline; returns what it prints."""
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    if done.returncode:
        raise SystemExit(done.returncode)  # it has said why
    return done.stdout


if __name__ == "__main__":
    main()
