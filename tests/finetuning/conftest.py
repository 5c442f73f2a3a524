"""Pretrained models of a few steps, and labelled examples of each task that can be learned."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from labelled_files import write_conll, write_csv

from bert_lightning.config import PairKind, TrainConfig
from bert_lightning.config.finetune import FinetuneConfig
from bert_lightning.config.plain import from_plain
from bert_lightning.training.fit import fit

NOUNS = ("crane", "driver", "river", "bridge", "harbour", "lamp", "garden", "teacher")
VERBS = {"up": ("lifts", "opens", "carries"), "down": ("leaves", "follows", "paints")}
PLACES = ("river", "bridge", "garden")
EXAMPLES = 120

TaskConfigs = Callable[..., FinetuneConfig]


@pytest.fixture(scope="session")
def pretrained(
    small_config: Callable[..., TrainConfig], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """Pretrains for two steps, once for each choice of pairs."""
    made: dict[PairKind, Path] = {}

    def folder(pairs: PairKind = PairKind.sentence) -> Path:
        if pairs not in made:
            made[pairs] = tmp_path_factory.mktemp("pretrained") / "run"
            config = small_config(made[pairs], "trainer.max_steps=2", "logger=none")
            config.batch.pairs.kind = pairs
            fit(config)
        return made[pairs]

    return folder


def sentence(rng: random.Random, verb: str) -> str:
    return f"The {rng.choice(NOUNS)} {verb} the {rng.choice(NOUNS)}."


def texts(rng: random.Random) -> list[list[Any]]:
    """The class is that of the verb."""
    labels = [rng.choice([*VERBS]) for _ in range(EXAMPLES)]
    return [[sentence(rng, rng.choice(VERBS[label])), label] for label in labels]


def pairs(rng: random.Random) -> list[list[Any]]:
    """The class is that of the second text's verb, whatever the first says."""
    return [
        [sentence(rng, rng.choice(VERBS[rng.choice([*VERBS])])), *second] for second in texts(rng)
    ]


def numbers(rng: random.Random) -> list[list[Any]]:
    """The number is how often "lifts" stands there, times ten."""
    counts = [rng.randint(0, 4) for _ in range(EXAMPLES)]
    return [[" ".join(["lifts"] * n + ["leaves"] * (5 - n)), 10.0 * n] for n in counts]


def words(rng: random.Random) -> list[list[list[str]]]:
    """Places are entities, and "the old", which stands before some of them, is a part of them."""
    sentences = []
    for _ in range(EXAMPLES):
        rows = [["the", "O"], [rng.choice(["crane", "lamp", "teacher"]), "O"], ["moves", "O"]]
        for _ in range(rng.randint(1, 2)):
            place = [rng.choice(PLACES), "B-place"]
            rows += [place, ["slowly", "I-place"]] if rng.random() < 0.4 else [place]
            rows.append(["then", "O"])
        sentences.append(rows)
    return sentences


def similarities(rng: random.Random) -> list[list[Any]]:
    """Two texts are similar if they say the same of the same, in whatever words."""
    rows = []
    for _ in range(EXAMPLES):
        noun, other = rng.sample(NOUNS[:4], 2)
        verbs, others = rng.sample([*VERBS.values()], 2)
        score = rng.choice([0.0, 2.0, 4.0])
        second = {0.0: (other, others), 2.0: (noun, others), 4.0: (noun, verbs)}[score]
        text, pair = (f"The {a} {rng.choice(b)}." for a, b in ((noun, verbs), second))
        rows.append([text, pair, score])
    return rows


OPTIONS: dict[str, dict[str, Any]] = {
    "sentence": {"task.positives": "pairs", "task.min_score": 4.0, "task.group_size": 2}
}
"""What a kind of task needs beside its data."""


def minimal_pairs(rng: random.Random) -> list[list[Any]]:
    """The right sentence has the verb that goes up; the two differ in nothing else."""
    rows = []
    for _ in range(EXAMPLES):
        subject, thing = rng.choice(NOUNS), rng.choice(NOUNS)
        verbs = rng.choice(VERBS["up"]), rng.choice(VERBS["down"])
        rows.append([f"The {subject} {verb} the {thing}." for verb in verbs])
    return rows


def questions(rng: random.Random) -> dict[str, Any]:
    """The answer is what moves, or the place and "slowly" after it; other sentences stand before.

    As SQuAD's JSON; some contexts have more than one window.
    """
    paragraphs = []
    for number in range(EXAMPLES // 2):
        thing = rng.choice(["crane", "lamp", "teacher"])
        where = rng.choice(PLACES) + rng.choice(["", " slowly"])
        before = "the driver paints . " * rng.randint(0, 5)
        context = f"{before}the {thing} moves {where} then ."
        asked = [("what moves ?", thing), ("where ?", where)]
        qas = [
            {
                "id": f"{number}-{answer}",
                "question": question,
                "answers": [{"text": answer, "answer_start": context.rindex(f" {answer}") + 1}],
            }
            for question, answer in asked
        ]
        paragraphs.append({"context": context, "qas": qas})
    return {"data": [{"title": "Movements", "paragraphs": paragraphs}]}


def write_squad(file: Path, content: dict[str, Any]) -> Path:
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The file of each kind of task."""
    folder = tmp_path_factory.mktemp("labelled")
    two, number = ("sentence1", "sentence2", "label"), ("text", "score")
    similar = ("text", "text_pair", "score")
    return {
        "text": write_csv(folder / "text.csv", texts(random.Random(0))),
        "pair": write_csv(folder / "pair.csv", pairs(random.Random(0)), two),
        "number": write_csv(folder / "number.csv", numbers(random.Random(0)), number),
        "choice": write_csv(
            folder / "choice.csv",
            minimal_pairs(random.Random(0)),
            ("sentence_good", "sentence_bad"),
        ),
        "sentence": write_csv(folder / "sentence.csv", similarities(random.Random(0)), similar),
        "tokens": write_conll(folder / "tokens.conll", words(random.Random(0))),
        "question": write_squad(folder / "question.json", questions(random.Random(0))),
    }


@pytest.fixture(scope="session")
def task_config(pretrained: Callable[..., Path], labelled: dict[str, Path]) -> TaskConfigs:
    """The config of a small run: `task_config(folder, "text", **{"trainer.max_steps": 4})`."""

    def config(run_dir: Path, kind: str = "text", **options: Any) -> FinetuneConfig:
        values: dict[str, Any] = {
            "task.kind": kind,
            "task.dropout": 0.0,  # for runs that agree to the last bit however they are divided
            "data.path": str(labelled[kind]),
            "data.validation_fraction": 0.2,
            "data.test_fraction": 0.2,
            "batch.max_length": 32,
            "batch.global_batch_size": 24,
            "logger.tensorboard": False,
            "trainer.accelerator": "cpu",
            "trainer.precision": "32-true",
            "trainer.log_every_n_steps": 1,
            "trainer.enable_progress_bar": False,
            "trainer.max_epochs": None,
            "trainer.max_steps": 6,
            "trainer.val_check_interval": 3,
            "callbacks.every_n_train_steps": 1000,
            "init_from": str(options.pop("init_from", None) or pretrained()),
            "run_dir": str(run_dir),
            **OPTIONS.get(kind, {}),
            **options,
        }
        nested: dict[str, Any] = {}
        for name, value in values.items():
            *groups, own = name.split(".")
            section = nested
            for group in groups:
                section = section.setdefault(group, {})
            section[own] = value
        return from_plain(FinetuneConfig, nested)

    return config
