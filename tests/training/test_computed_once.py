"""What a run knows of its corpus is computed once: token counts, and the evaluation set."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert_lightning.batch import PretrainBatch
from bert_lightning.config import TrainConfig
from bert_lightning.corpus.prepare import prepare
from bert_lightning.data import evaluation_set
from bert_lightning.data.batches import ExampleBuilder
from bert_lightning.evaluation.evaluation import evaluate
from bert_lightning.evaluation.subject import corpus_of
from bert_lightning.pretrained.sources import open_source
from bert_lightning.reports.run_report import report
from bert_lightning.training.fit import fit

Config = Callable[..., TrainConfig]


@pytest.fixture
def held_out(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The held-out examples that are built."""
    built: list[int] = []
    build = ExampleBuilder.build

    def counted(self: ExampleBuilder, index: np.ndarray, *rest: Any) -> PretrainBatch:
        if self.seed == evaluation_set._SEED:
            built.extend(index.tolist())
        return build(self, index, *rest)

    monkeypatch.setattr(ExampleBuilder, "build", counted)
    return built


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the arrays whose values are counted."""
    sizes: list[int] = []
    for name in ("bincount", "unique"):
        original = getattr(np, name)

        def noted(values: Any, *rest: Any, original: Any = original, **options: Any) -> Any:
            sizes.append(np.size(values))
            return original(values, *rest, **options)

        monkeypatch.setattr(np, name, noted)
    return sizes


@pytest.mark.slow
def test_a_run_and_its_report_and_its_evaluation(
    small_config: Config, tmp_path: Path, held_out: list[int], counted: list[int]
) -> None:
    cache = f"data.cache_dir={tmp_path}/cache"
    more = ("trainer.max_steps=4", "trainer.val_check_interval=2", cache)
    config = small_config(tmp_path / "run", *more)
    corpus = prepare(config.data, config.tokenizer, config.batch.pairs)
    tokens = len(corpus.splits["train"].token_ids)
    assert max(counted) >= tokens, "the tokens are counted when the corpus is built"
    counted.clear()

    result = fit(config)
    report(result)
    examples = corpus.splits["validation"].pairs
    validations = len(result.curves["val/mlm_loss"])
    assert validations == 2
    assert len(held_out) == (validations + 1) * examples, "one pass for hash, labels and baselines"
    assert result.validation is not None
    assert max(counted) < tokens

    held_out.clear()
    counted.clear()
    source = open_source(config.folder)
    found = evaluate(
        source, corpus_of(source, config.data, config.batch), config.batch, "validation"
    )
    assert found.evaluation_set_sha256 == result.validation.contents.sha256
    assert len(held_out) == 2 * examples, "one more pass for the model"
    assert max(counted) < tokens
