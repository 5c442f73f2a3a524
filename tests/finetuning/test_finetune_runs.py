"""A small run of each task learns it, and what it saves says afterwards what it said."""

import csv
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bert_lightning
from bert_lightning.config import PairKind
from bert_lightning.config.finetune import FinetuneConfig
from bert_lightning.config.task import Pooling
from bert_lightning.errors import UserError
from bert_lightning.finetuning.assembly import assemble
from bert_lightning.finetuning.fit import FinetuneResult, _charts, finetune
from bert_lightning.finetuning.module import validation_line
from bert_lightning.finetuning.predict import FineTunedBert
from bert_lightning.finetuning.scoring.metrics import pearson, spearman
from bert_lightning.inference.loaded import PretrainedBert
from bert_lightning.model.bert import Bert
from bert_lightning.reports.finetune_report import report

TaskConfigs = Callable[..., FinetuneConfig]
ENOUGH = {
    "text": 40, "pair": 80, "number": 80, "tokens": 40, "choice": 80, "sentence": 60,
    "question": 120,
}  # fmt: skip
"""Optimizer steps after which the task is learned."""


@pytest.fixture(scope="module")
def learned(
    task_config: TaskConfigs, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], FinetuneResult]:
    """The run of a task, made once."""

    @cache
    def run(kind: str) -> FinetuneResult:
        folder = tmp_path_factory.mktemp(kind) / "run"
        steps = ENOUGH[kind]
        options = {
            "trainer.max_steps": steps, "trainer.val_check_interval": steps // 4, "optim.lr": 3e-3
        }  # fmt: skip
        return finetune(task_config(folder, kind, **options))

    return run


KINDS = pytest.mark.parametrize(
    "kind",
    [
        "text",
        "tokens",
        pytest.param("pair", marks=pytest.mark.slow),
        pytest.param("number", marks=pytest.mark.slow),
        pytest.param("sentence", marks=pytest.mark.slow),
        pytest.param("question", marks=pytest.mark.slow),
        pytest.param("choice", marks=pytest.mark.slow),
    ],
)


@KINDS
def test_a_small_run_learns_its_task(learned: Callable[[str], FinetuneResult], kind: str) -> None:
    result = learned(kind)
    main = {"number": "spearman", "tokens": "entity_f1", "sentence": "spearman", "question": "f1"}
    score = main.get(kind, "accuracy")
    enough = 0.8 if kind == "sentence" else 0.9  # three scores allow no rank correlation of 1
    for split in ("validation", "test"):
        scores = result.held_out[split].scores
        assert next(iter(scores)) == score
        assert scores[score] > enough, scores
        assert not result.held_out[split].is_degenerate


@KINDS
def test_validation_scores_stand_beside_those_of_a_constant(
    learned: Callable[[str], FinetuneResult], kind: str
) -> None:
    result = learned(kind)
    splits, main = result.run.splits, next(iter(result.held_out["validation"].scores))
    expected = 0.0  # no entity is found, and nothing correlates
    if kind in ("text", "pair"):
        commonest = np.bincount(splits["train"].labels).argmax()
        expected = float((splits["validation"].labels == commonest).mean())
    if kind in ("choice", "sentence", "question"):  # one answer cannot be that of every example
        assert not [name for name in result.curves if "baseline" in name]
    else:
        curve = result.curves[f"val/{main}_baseline"]
        assert [value for _, value in curve] == pytest.approx([expected] * 4)
        assert f"(baseline {expected:.3f})" in validation_line(result.curves)
    for titles in _charts(result.run).values():
        assert {name for names in titles.values() for name in names} <= result.curves.keys()
    unit = "sequences" if kind in ("choice", "sentence") else "examples"
    assert result.curves[f"work/{unit}_per_second"][-1][1] > 0
    assert result.curves["work/tflops"][-1][1] > 0


@KINDS
def test_a_run_that_is_loaded_says_what_it_said(
    learned: Callable[[str], FinetuneResult], kind: str
) -> None:
    result = learned(kind)
    bert = bert_lightning.load(result.config.folder)
    assert isinstance(bert, FineTunedBert)
    assert list(bert.names) == result.run.labelled.data.names
    test = result.held_out["test"]
    texts = [example.texts for example in test.examples]
    given = [text[0] if len(text) == 1 else text for text in texts]
    if kind == "sentence":
        vectors = [bert.encode(side) for side in zip(*texts, strict=True)]
        np.testing.assert_allclose((vectors[0] * vectors[1]).sum(1), test.predicted, atol=1e-5)
        assert bert.similarity(*texts[0]) == pytest.approx(float(test.predicted[0]), abs=1e-5)
        return
    if kind == "number":
        np.testing.assert_allclose(bert.score_many(given), test.outputs[:, 0], rtol=1e-5)
        assert bert.score(texts[0][0]) == pytest.approx(float(test.outputs[0, 0]), rel=1e-5)
        return
    if kind == "question":
        assert [found.text for found in bert.answer_many(texts)] == test.predicted.tolist()
        for question, context in texts[:5]:
            text, start, end, probability = bert.answer(question, context)
            assert context[start:end] == text
            assert 0 < probability <= 1
        return
    names = [bert.names[number] for number in test.predicted]
    if kind == "choice":
        chosen = [text[number] for text, number in zip(texts, test.predicted, strict=True)]
        assert [one.label for one in bert.choose_many(texts)] == chosen
        return
    if kind == "tokens":
        tagged = bert.tag_many(texts)
        assert [label for sentence in tagged for _, label in sentence] == names
        assert [word for word, _ in bert.tag(" ".join(texts[0]))] == list(texts[0])
        return
    wanted = torch.from_numpy(test.outputs).softmax(1).numpy()
    found = [[by_name[name] for name in bert.names] for by_name in bert.probabilities(given)]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)
    assert [one.label for one in bert.classify_many(given)] == names
    assert bert.classify(*texts[0]).probability == pytest.approx(wanted[0].max(), rel=1e-5)


def test_the_written_predictions_are_those_of_the_test_split(
    learned: Callable[[str], FinetuneResult],
) -> None:
    result = learned("text")
    report(result)
    with (result.config.folder / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    bert = bert_lightning.load(result.config.folder)
    assert isinstance(bert, FineTunedBert)
    assert len(rows) == len(result.held_out["test"].examples)
    for row in rows:
        said = bert.classify(row["text"])
        assert row["predicted"] == said.label
        assert float(row["probability"]) == pytest.approx(said.probability, abs=1e-4)


@pytest.mark.slow
def test_sentence_vectors_stand_beside_those_of_the_pretrained_model(
    learned: Callable[[str], FinetuneResult], pretrained: Callable[..., Path]
) -> None:
    result = learned("sentence")
    assert "before fine-tuning" in report(result)
    summary = json.loads((result.config.folder / "summary.json").read_text())
    before = bert_lightning.load(pretrained())
    assert isinstance(before, PretrainedBert)
    test = result.held_out["test"]
    sides = [
        torch.stack([one.vectors.mean(0) for one in before.encode_many(texts)])
        for texts in zip(*(example.texts for example in test.examples), strict=True)
    ]
    cosines = torch.cosine_similarity(*sides).numpy()
    found = summary["baselines"]["before fine-tuning"]
    assert found["spearman"] == pytest.approx(spearman(cosines, test.split.labels), abs=1e-3)
    assert found["pearson"] == pytest.approx(pearson(cosines, test.split.labels), abs=1e-4)
    assert summary["test"]["spearman"] > found["spearman"]
    assert "TF-IDF" in summary["baselines"] or find_spec("sklearn") is None
    assert not [name for name in result.curves if name.startswith("val/") and "loss" in name]


@KINDS
def test_a_model_refuses_what_is_not_its_task(
    learned: Callable[[str], FinetuneResult], kind: str
) -> None:
    bert = learned(kind).bert
    questions: dict[str, Callable[[], Any]] = {
        "text": lambda: bert.classify("the crane moves"),
        "number": lambda: bert.score("the crane moves"),
        "tokens": lambda: bert.tag("the crane moves"),
        "sentence": lambda: bert.encode(["the crane moves"]),
        "question": lambda: bert.answer("what moves ?", "the crane moves"),
        "choice": lambda: bert.choose("the crane moves", "the crane move"),
    }
    for other, question in questions.items():
        if other != kind and (other, kind) != ("text", "pair"):
            with pytest.raises(UserError, match=f"fine-tuned for task={kind}"):
                question()


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_a_run_names_what_is_new_and_what_it_starts_from(
    task_config: TaskConfigs, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "bert_lightning")
    finetune(task_config(tmp_path, **{"trainer.max_steps": 1}))
    lines = said(caplog)
    assert "new: classifier, 2 × 32" in lines
    assert sum("new:" in line for line in lines) == 1
    assert any(line.startswith("model: weights from ") for line in lines)


def test_texts_that_are_cut_are_counted_and_said(
    task_config: TaskConfigs, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "bert_lightning")
    finetune(task_config(tmp_path, **{"trainer.max_steps": 1, "batch.max_length": 7}))
    lines = [line for line in said(caplog) if "more than 7 tokens" in line]
    assert [line.partition(":")[0] for line in lines] == ["train", "validation", "test"]
    assert lines[0].startswith("train: 72 of 72 examples have more than 7 tokens, and are cut;")


# The recipe.


def test_the_schedule_warms_up_for_a_tenth_and_decays_linearly_to_0(
    task_config: TaskConfigs, tmp_path: Path
) -> None:
    options = {"trainer.max_steps": 20, "trainer.limit_val_batches": 0}
    result = finetune(task_config(tmp_path, **options))
    rates = [rate for _, rate in result.curves["train/lr"]]
    peak = 1e-2  # 5e-5 × (768 / 32)^(5/3), to one digit
    assert result.config.optim.warmup_steps == 2
    assert max(rates) == pytest.approx(peak) == result.config.optim.lr
    down = [peak * (20 - step) / 18 for step in range(2, 21)]
    assert rates[1:] == pytest.approx(down)
    assert rates[-1] == 0.0


def test_the_first_update_is_bias_corrected(task_config: TaskConfigs, tmp_path: Path) -> None:
    """Without the correction Adam's first step would be about 3 times the rate, and not equal."""
    rate = 1e-3
    options = {
        "trainer.max_steps": 1, "optim.lr": rate, "optim.warmup_steps": 0,
        "optim.schedule": "constant", "optim.weight_decay": 0.0, "optim.eps": 1e-12,
    }  # fmt: skip
    config = task_config(tmp_path, **options)
    before = assemble(config, None).module.model.head.classifier.weight.detach().clone()
    after = finetune(config).bert.model.head.classifier.weight.detach()
    assert (after - before).abs().median().item() == pytest.approx(rate, rel=1e-3)


def test_dropout_is_on_in_the_first_step(task_config: TaskConfigs, tmp_path: Path) -> None:
    """The loss of the first step is the model's with the dropout of that step, not without."""
    config = task_config(tmp_path, **{"task.dropout": 0.1, "trainer.max_steps": 1})
    run = assemble(config, None)
    batch = run.data.training_batches(run.partition)[0]
    model = run.module.model.eval()
    with torch.no_grad():
        sums = model.sums(batch)["text"]
    result = finetune(config)
    (first,) = [loss for _, loss in result.curves["train/loss"]]
    assert abs(first - (sums.nll / sums.labels).item()) > 1e-3
    without = task_config(tmp_path / "without", **{"trainer.max_steps": 1})
    run = assemble(without, None)
    with torch.no_grad():
        sums = run.module.model.eval().sums(run.data.training_batches(run.partition)[0])["text"]
    (first,) = [loss for _, loss in finetune(without).curves["train/loss"]]
    assert first == pytest.approx((sums.nll / sums.labels).item(), rel=1e-5)


def matrices(model: Bert) -> torch.Tensor:
    weights = [weight for weight in model.encoder.blocks.parameters() if weight.dim() == 2]
    return torch.cat([weight.detach().flatten() for weight in weights])


def test_random_weights_are_others_and_the_pretrained_ones_are_those_of_the_source(
    task_config: TaskConfigs, pretrained: Callable[..., Path], tmp_path: Path
) -> None:
    def start(config: FinetuneConfig) -> torch.Tensor:
        return matrices(assemble(config, None).module.model)

    theirs = matrices(bert_lightning.load(pretrained()).model)
    config = task_config(tmp_path)
    assert torch.equal(start(config), theirs)
    random = replace(config, random_weights=True)
    ours = start(random)
    assert (ours != theirs).float().mean() > 0.99
    assert torch.equal(start(random), ours)
    assert not torch.equal(start(replace(random, seed=1)), ours)


@pytest.mark.slow
def test_the_pooler_is_used_where_nsp_trained_it(
    task_config: TaskConfigs,
    pretrained: Callable[..., Path],
    save_hf: Callable[..., Path],
    tmp_path: Path,
) -> None:
    def pooling(source: Path, **options: Any) -> Pooling:
        config = task_config(tmp_path / "run", init_from=source, **options)
        return assemble(config, None).module.model.shape.pooling

    lone = pretrained(pairs=PairKind.none)
    assert pooling(pretrained()) is Pooling.pooler
    assert pooling(lone) is Pooling.mean
    assert pooling(save_hf(tmp_path / "bert")) is Pooling.pooler
    bare = save_hf(tmp_path / "bare", "BertForMaskedLM")
    assert pooling(bare) is Pooling.mean
    assert pooling(bare, **{"task.pooling": "cls"}) is Pooling.cls
    with pytest.raises(UserError, match=r"task.pooling=pooler, and .* has no pooler"):
        pooling(bare, **{"task.pooling": "pooler"})
