"""Whole evaluations: of a run, of its checkpoint, of a foreign model; and the script."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from bert_lightning.batch import UNK
from bert_lightning.config import BatchConfig, CorpusConfig, PairKind, PairsConfig
from bert_lightning.data.evaluation_set import EvaluationBatches, EvaluationSet
from bert_lightning.errors import UserError
from bert_lightning.evaluation.evaluation import (
    Evaluation,
    MaskedResult,
    MaskedScores,
    evaluate,
    masked_result,
)
from bert_lightning.evaluation.scores import HeldOutSums
from bert_lightning.evaluation.subject import corpus_of
from bert_lightning.evaluation.token_stats import UNKNOWN, TokenStats
from bert_lightning.inference.export import export
from bert_lightning.pretrained.sources import PretrainedSource, open_source
from bert_lightning.training.fit import FitResult

CapSys = pytest.CaptureFixture[str]


@pytest.fixture
def source(run: FitResult) -> PretrainedSource:
    return open_source(Path(run.config.run_dir) / "checkpoints/last.ckpt")


def evaluated(source: PretrainedSource, data: CorpusConfig, batch: BatchConfig) -> Evaluation:
    return evaluate(source, corpus_of(source, data, batch), batch, "validation")


def test_a_checkpoint_has_the_scores_that_its_run_reported(
    run: FitResult, source: PretrainedSource
) -> None:
    found = evaluated(source, run.config.data, run.config.batch)
    assert run.config.trainer.precision == "32-true"
    last = {name: values[-1][1] for name, values in run.curves.items()}
    assert found.step == 8
    summary = json.loads((Path(run.config.run_dir) / "summary.json").read_text())
    assert found.evaluation_set_sha256 == summary["evaluation_set_sha256"]
    assert found.mlm.all.loss == pytest.approx(last["val/mlm_loss"], rel=1e-6)
    assert found.mlm.all.accuracy == pytest.approx(last["val/mlm_accuracy"], rel=1e-6)
    assert found.mlm.all.accuracy_at_5 == pytest.approx(last["val/mlm_accuracy_at_5"], rel=1e-6)
    assert found.mlm.bits_per_character == pytest.approx(last["val/bits_per_character"], rel=1e-6)
    for name, scores in found.mlm.classes.items():
        assert scores.loss == pytest.approx(last[f"val/mlm_loss_{name}"], rel=1e-6)
    assert found.nsp is not None
    assert found.nsp.loss == pytest.approx(last["val/nsp_loss"], rel=1e-6)
    assert found.nsp.accuracy == pytest.approx(last["val/nsp_accuracy"], rel=1e-6)
    assert run.validation is not None
    assert found.mlm.all.loss_baseline == pytest.approx(run.validation.baselines.mlm_loss, rel=1e-9)
    assert found.mlm.all.accuracy_baseline == pytest.approx(run.validation.baselines.mlm_accuracy)
    assert found.nsp.loss_baseline == run.validation.baselines.nsp_loss
    assert found.nsp.accuracy_baseline == run.validation.baselines.nsp_accuracy


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_no_number_depends_on_the_micro_batch(
    run: FitResult, source: PretrainedSource, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    original = EvaluationSet.batches

    def batches(held_out: EvaluationSet, size: int) -> EvaluationBatches:
        sizes.append(size)
        return original(held_out, size)

    def numbers(found: object) -> list[float]:
        if isinstance(found, dict):
            return [number for value in found.values() for number in numbers(value)]
        return [found] if isinstance(found, int | float) else []

    expected = evaluated(source, run.config.data, run.config.batch)
    monkeypatch.setattr(EvaluationSet, "batches", batches)
    found = evaluated(source, run.config.data, replace(run.config.batch, micro_batch_size=size))
    assert size in sizes
    assert numbers(asdict(found)) == pytest.approx(numbers(asdict(expected)), rel=1e-6)
    assert found.evaluation_set_sha256 == expected.evaluation_set_sha256


def test_classes_bits_and_baselines_are_those_of_counting(
    run: FitResult, source: PretrainedSource
) -> None:
    found = evaluated(source, run.config.data, run.config.batch)
    corpus = run.corpus
    held_out = EvaluationBatches(corpus, "validation", run.config.batch, 7)
    labels = [x for i in range(len(held_out)) for x in held_out[i].masked_labels.tolist()]
    counts = np.bincount(corpus.splits["train"].token_ids, minlength=source.vocab_size)
    unknown = corpus.tokenizer.token_to_id(UNK)
    total = counts.sum()
    nll = [-math.log((counts[x] + 1) / (total + source.vocab_size)) for x in labels]
    common = [i for i, x in enumerate(labels) if counts[x] >= total / 1000 and x != unknown]
    row = found.mlm.classes["common"]
    assert (row.masked, row.fraction) == (len(common), len(common) / len(labels))
    assert row.loss_baseline == pytest.approx(sum(nll[i] for i in common) / len(common))
    five = set(np.argsort(-counts, kind="stable")[:5].tolist())
    in_five = [labels[i] in five for i in common]
    assert row.accuracy_at_5_baseline == pytest.approx(sum(in_five) / len(common))
    assert found.mlm.classes["unknown"].masked == labels.count(unknown) > 0
    known = [x for x in labels if x != unknown]
    assert found.mlm.known is not None
    assert found.mlm.known.masked == len(known)
    ranked = [x for x in np.argsort(-counts, kind="stable").tolist() if x != unknown]
    assert found.mlm.known.accuracy_baseline == pytest.approx(known.count(ranked[0]) / len(known))
    in_five = [x in ranked[:5] for x in known]
    assert found.mlm.known.accuracy_at_5_baseline == pytest.approx(sum(in_five) / len(known))
    right = sum(row.accuracy * row.masked for row in found.mlm.classes.values())
    right -= found.mlm.classes["unknown"].accuracy * labels.count(unknown)
    assert found.mlm.known.accuracy * len(known) == pytest.approx(right)
    last = {name: curve[-1][1] for name, curve in run.curves.items()}
    assert found.mlm.known.accuracy == pytest.approx(last["val/mlm_accuracy_known"], rel=1e-5)
    assert last["val/mlm_unknown_fraction"] == pytest.approx(1 - len(known) / len(labels))

    characters = sum(len(corpus.tokenizer.id_to_token(x)) for x in labels if x != unknown)
    assert found.mlm.characters == characters
    bits = found.mlm.all.loss / math.log(2)
    assert found.mlm.bits_per_character == pytest.approx(bits * len(labels) / characters)
    assert found.mlm.bits_per_character_baseline == pytest.approx(
        sum(nll) / math.log(2) / characters
    )
    assert found.mlm.perplexity == pytest.approx(math.exp(found.mlm.all.loss))
    of_all = sum(row.masked * row.loss for row in found.mlm.classes.values())
    assert of_all / found.mlm.all.masked == pytest.approx(found.mlm.all.loss)


RANKS = {1: 0, 0: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 7}
"""Of eight tokens: token 0 is `[UNK]`, the second most frequent."""
FEW = TokenStats(
    group=np.array([UNKNOWN, 0, 0, 1, 1, 1, 1, 1]),
    characters=np.array([0, 3, 3, 3, 3, 3, 3, 3]),
    is_piece=np.array([False, False, True, False, True, False, False, False]),
    unigram_nll=np.array([RANKS[token] + 1.0 for token in range(8)]),
    rank=np.array([RANKS[token] for token in range(8)]),
    limits=(30, 4),
)
MASKED = np.array([0, 0, 1, 2, 2, 3, 4, 5, 6])
SUMS = HeldOutSums.zeros(others=0)._replace(
    mlm_nll=torch.tensor([4.0, 12, 0, 2], dtype=torch.float64),
    mlm_correct=torch.tensor([1.0, 2, 0, 2]),
    mlm_in_five=torch.tensor([2.0, 2, 0, 2]),
    masked=torch.tensor([3.0, 4, 0, 2]),
    characters=torch.tensor(21.0),
)


def test_scores_of_masked_tokens_by_hand() -> None:
    found = masked_result(SUMS, MASKED, FEW)
    losses = [[1.0], [3.0, 3.0], [4.0, 5.0, 6.0, 7.0], [2.0, 2.0]]  # of the unigram baseline
    known = pytest.approx(sum(sum(each) for each in losses[:3]) / 7)
    assert found.all == MaskedScores(
        9, 1.0, 2.0, pytest.approx(33 / 9), *map(pytest.approx, (5 / 9, 1 / 9, 6 / 9, 7 / 9))
    )
    assert found.known == MaskedScores(
        7, *map(pytest.approx, (7 / 9, 16 / 7)), known,
        *map(pytest.approx, (3 / 7, 1 / 7, 4 / 7, 6 / 7)),
    )  # fmt: skip
    assert list(found.classes) == ["common", "middle", "unknown"]
    assert found.classes["unknown"].accuracy_at_5_baseline == 1.0
    assert (found.common_from, found.middle_from) == (30, 4)
    assert found.perplexity == pytest.approx(math.e**2)
    assert found.perplexity_baseline == pytest.approx(math.exp(33 / 9))
    assert found.bits_per_character == pytest.approx(18 / math.log(2) / 21)
    assert found.bits_per_character_baseline == pytest.approx(33 / math.log(2) / 21)
    assert (found.characters, found.piece_fraction) == (21, pytest.approx(3 / 9))


def test_a_split_of_unknown_words_alone_has_no_score_of_known_ones() -> None:
    zeros = HeldOutSums.zeros(others=0)
    unknown = zeros._replace(mlm_nll=SUMS.mlm_nll * 0, masked=torch.tensor([0.0, 0, 0, 2]))
    found = masked_result(unknown, MASKED[:2], FEW)
    assert found.known is found.bits_per_character is found.bits_per_character_baseline is None
    assert list(found.classes) == ["unknown"]


def test_a_loss_of_500_nats_is_of_a_model_that_diverged() -> None:
    def result(loss: float) -> MaskedResult:
        return masked_result(SUMS._replace(mlm_nll=SUMS.mlm_nll * loss / 2), MASKED, FEW)

    assert result(499.5).all.loss == pytest.approx(499.5)
    for loss in (500.0, 1e9, math.nan):
        with pytest.raises(UserError, match="nats a masked token: it has diverged"):
            result(loss)


def test_a_foreign_model_is_scored_in_its_own_words(
    save_hf: Callable[..., Path],
    small_data: CorpusConfig,
    small_batch: BatchConfig,
    tmp_path: Path,
) -> None:
    foreign = open_source(save_hf(tmp_path / "hf"))
    found = evaluated(foreign, small_data, small_batch)
    assert (found.step, found.vocab_size) == (None, foreign.tokenizer.get_vocab_size())
    assert found.mlm.piece_fraction > 0.3  # its vocabulary is letters, nearly
    assert found.nsp is not None
    corpus = corpus_of(foreign, small_data, small_batch)
    expected = EvaluationSet(corpus, "validation", small_batch, foreign.vocab_size).baselines
    assert found.mlm.all.loss_baseline == pytest.approx(expected.mlm_loss)
    assert (found.corpus, found.text_sha256) == ("text", corpus.text_key)


def test_an_export_has_the_same_evaluation_set_and_scores(
    run: FitResult, source: PretrainedSource, tmp_path: Path
) -> None:
    export(Path(run.config.run_dir) / "checkpoints/last.ckpt", tmp_path / "hf")
    expected = asdict(evaluated(source, run.config.data, run.config.batch))
    found = asdict(evaluated(open_source(tmp_path / "hf"), run.config.data, run.config.batch))
    names = ("evaluation_set_sha256", "text_sha256", "parameters")
    assert {name: found[name] for name in names} == {name: expected[name] for name in names}
    assert found["mlm"]["all"] == pytest.approx(expected["mlm"]["all"], rel=1e-6)
    assert found["nsp"] == pytest.approx(expected["nsp"], rel=1e-6)


def test_a_model_without_the_nsp_head_has_no_pair_scores(
    save_hf: Callable[..., Path],
    small_data: CorpusConfig,
    small_batch: BatchConfig,
    tmp_path: Path,
) -> None:
    found = evaluated(
        open_source(save_hf(tmp_path / "hf", "BertForMaskedLM")), small_data, small_batch
    )
    assert found.nsp is None
    with pytest.raises(UserError, match="no masked-language-model head"):
        evaluated(open_source(save_hf(tmp_path / "bare", "BertModel")), small_data, small_batch)


def test_blocks_have_no_pairs(run: FitResult, source: PretrainedSource) -> None:
    blocks = replace(run.config.batch, pairs=PairsConfig(PairKind.none))
    assert evaluated(source, run.config.data, blocks).nsp is None


def test_a_split_that_is_not_there_and_weights_that_are_no_numbers(
    run: FitResult, source: PretrainedSource
) -> None:
    config = run.config
    with pytest.raises(
        UserError, match=r"no test split, only train, validation; data\.test_fraction"
    ):
        evaluate(source, corpus_of(source, config.data, config.batch), config.batch, "test")
    state = {**source.state, "nsp_head.bias": source.state["nsp_head.bias"].clone()}
    state["mlm_head.decoder.bias"] = torch.full_like(state["mlm_head.decoder.bias"], torch.nan)
    with pytest.raises(UserError, match="loss is nan nats a masked token: it has diverged"):
        evaluated(replace(source, state=state), config.data, config.batch)


def test_the_script_prints_every_score_beside_its_baseline(
    run: FitResult, script: Callable[[str], ModuleType], capsys: CapSys
) -> None:
    script("evaluate").main([run.config.run_dir])
    shown = capsys.readouterr().out
    found = evaluated(open_source(run.config.run_dir), run.config.data, run.config.batch)
    assert found.evaluation_set_sha256[:16] in shown
    for row in (found.mlm.all, *found.mlm.classes.values()):
        assert re.search(rf"{row.loss:.3f} +{row.loss_baseline:.3f} +{row.accuracy:.1%}", shown)
        assert re.search(rf"{row.accuracy_at_5:.1%} +{row.accuracy_at_5_baseline:.1%}", shown)
    assert f"{found.mlm.bits_per_character:.3f}" in shown
    assert found.nsp is not None
    assert f"nsp of {found.nsp.pairs}" in shown
    assert max(map(len, shown.splitlines()[5:])) <= 80


def test_the_script_writes_json_of_the_options_it_was_given(
    run: FitResult, script: Callable[[str], ModuleType], capsys: CapSys
) -> None:
    script("evaluate").main([run.config.run_dir, "--json", "batch.max_length=20"])
    found = json.loads(capsys.readouterr().out)
    source, shorter = open_source(run.config.run_dir), replace(run.config.batch, max_length=20)
    expected = evaluated(source, run.config.data, shorter)
    assert found == asdict(expected)
    assert found["max_length"] == 20
    assert set(found["mlm"]["all"]) == set(asdict(expected.mlm.all))


def test_the_scripts_errors_are_one_message_and_exit_code_2(
    script: Callable[[str], ModuleType], run: FitResult, capsys: CapSys
) -> None:
    for arguments, message in {
        ("absent/folder/x",): "absent/folder/x does not exist",
        (run.config.run_dir, "batch.max_lenght=3"): "did you mean 'batch.max_length'?",
        (run.config.run_dir, "seed=3"): "seed=3 would change nothing",
        (run.config.run_dir, "--split", "test"): "has no test split",
    }.items():
        with pytest.raises(SystemExit) as caught:
            script("evaluate").main(list(arguments))
        assert caught.value.code == 2
        (error,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error: ")]
        assert message in error
