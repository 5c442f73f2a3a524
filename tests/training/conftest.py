import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from real_runs import Run

from bert_lightning.cli import app as cli
from bert_lightning.config import TrainConfig

CONF = Path(__file__).parents[2] / "conf"


@pytest.fixture(scope="session")
def corpus_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty documents of three-sentence paragraphs, each document about a few nouns of its own."""
    rng = random.Random(0)
    nouns = ["crane", "driver", "river", "bridge", "harbour", "lamp", "garden", "teacher"]
    nouns += ["letter", "window", "engine", "field"]
    verbs = ["moves", "lifts", "sees", "paints", "opens", "carries", "follows", "leaves"]
    documents = []
    for _ in range(60):
        own = rng.sample(nouns, 3)
        lines = [
            " ".join(
                f"The {rng.choice(own)} {rng.choice(verbs)} the {rng.choice(own)}."
                if rng.random() < 0.7
                else f"Then a {rng.choice(own)} slowly {rng.choice(verbs)} a {rng.choice(own)}."
                for _ in range(3)
            )
            for _ in range(4)
        ]
        documents.append("\n".join(lines))
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    path.write_text("\n\n".join(documents), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def small_run(
    corpus_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., list[str]]:
    """Overrides of a run that takes seconds, without dropout: `small_run(run_dir, "more=1")`."""
    cache = tmp_path_factory.mktemp("cache")

    def overrides(*more: str) -> list[str]:
        return [
            "data=text",
            f"data.path={corpus_file}",
            f"data.cache_dir={cache}",
            "batch.global_batch_size=32",
            "tokenizer.min_frequency=1",
            "model.hidden_size=32",
            "model.intermediate_size=64",
            "model.hidden_dropout_prob=0",
            "model.attention_probs_dropout_prob=0",
            "trainer.accelerator=cpu",
            "trainer.precision=32-true",
            "optim=adamw",
            "trainer.max_steps=6",
            "trainer.log_every_n_steps=1",
            "trainer.val_check_interval=3",
            *more,
        ]

    return overrides


@pytest.fixture(scope="session")
def small_config(small_run: Callable[..., list[str]]) -> Callable[..., TrainConfig]:
    """The typed config of a small run in a folder: `small_config(run_dir, "more=1")`."""

    @cache
    def composed(*more: str) -> TrainConfig:
        return cli.compose(CONF, small_run("run_dir=.", *more))

    def config(run_dir: Path, *more: str) -> TrainConfig:
        return replace(deepcopy(composed(*more)), run_dir=str(run_dir))

    return config


@pytest.fixture
def start() -> Iterator[Callable[..., Run]]:
    """Starts a run as a process: `start(folder, "option=1")`; what is left of it is killed."""
    started: list[Run] = []

    def begin(*arguments: Any, **options: Any) -> Run:
        started.append(Run(*arguments, **options))
        return started[-1]

    yield begin
    for run in started:
        with suppress(ProcessLookupError):
            os.killpg(run.process.pid, signal.SIGKILL)
        run.process.wait()
