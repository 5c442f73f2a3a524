"""Which data a model is evaluated on: a run's own, but for what is asked for."""

import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from bert_lightning.cli import app as cli
from bert_lightning.config import (
    BatchConfig,
    CorpusConfig,
    Fallback,
    PairKind,
    PhaseConfig,
    TokenizerConfig,
)
from bert_lightning.config.plain import to_plain
from bert_lightning.corpus import prepare as preparing
from bert_lightning.corpus.catalog import store_folder
from bert_lightning.corpus.prepare import prepare
from bert_lightning.errors import UserError
from bert_lightning.evaluation.subject import corpus_of, evaluation_options
from bert_lightning.pretrained.sources import PretrainedSource, open_source
from bert_lightning.training.fit import FitResult

CONF = Path(__file__).parents[2] / "conf"


def options(source: Any, *overrides: str) -> tuple[CorpusConfig, BatchConfig]:
    given = cli.compose_for_script(CONF, overrides)
    return evaluation_options(source, given, overrides)


@pytest.fixture
def source(run: FitResult) -> PretrainedSource:
    return open_source(run.config.run_dir)


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the stores that are really built."""
    built = []
    build = preparing._build

    def counted(folder: Path, *rest: Any) -> None:
        built.append(folder.name)
        build(folder, *rest)

    monkeypatch.setattr(preparing, "_build", counted)
    return built


def test_a_runs_own_data_is_the_default(run: FitResult, source: PretrainedSource) -> None:
    assert options(source) == (run.config.data, run.config.batch)


def test_one_option_is_changed_and_the_others_stay(
    run: FitResult, source: PretrainedSource
) -> None:
    data, found = options(
        source, "batch.max_length=17", "batch.pairs.task=sop", "+batch.micro_batch_size=3"
    )
    pairs = replace(run.config.batch.pairs, task=found.pairs.task)
    assert found.pairs.task.value == "sop"
    assert data == run.config.data
    assert found == replace(run.config.batch, max_length=17, micro_batch_size=3, pairs=pairs)


def test_another_text_is_read_in_the_form_of_the_runs_examples(
    run: FitResult, source: PretrainedSource
) -> None:
    data, batch = options(source, "data=builtin", "data.test_fraction=0.2")
    expected = cli.compose_for_script(CONF, ["data=builtin", "data.test_fraction=0.2"]).data
    assert (data, batch) == (expected, run.config.batch)
    _, batch = options(source, "data=builtin", "batch.max_length=9")
    assert batch.max_length == 9


def test_another_form_of_the_same_text(run: FitResult, source: PretrainedSource) -> None:
    data, batch = options(source, "pairs=none")
    assert batch.pairs.kind is PairKind.none
    assert batch == replace(run.config.batch, pairs=batch.pairs)
    assert data == replace(run.config.data, min_sentences=1)


def test_a_run_in_phases_is_asked_in_one(run: FitResult, source: PretrainedSource) -> None:
    phases = [PhaseConfig(0.5, max_length=12), PhaseConfig(0.5)]
    config = replace(run.config, batch=replace(run.config.batch, phases=phases))
    trained = replace(source, about={**source.about, "config": to_plain(asdict(config))})
    assert options(trained) == (run.config.data, run.config.batch)
    data, batch = options(trained, "batch.max_length=9")
    assert (data, batch) == (run.config.data, replace(run.config.batch, max_length=9))
    assert corpus_of(trained, data, batch).key == run.corpus.key


def test_other_models_are_asked_what_the_command_line_says(source: PretrainedSource) -> None:
    foreign = replace(source, about={})
    data, _ = options(foreign, "batch.max_length=32")
    assert data.shown_name == "wikitext-2-v1"
    assert data.fallback is Fallback.builtin
    builtin, _ = options(foreign, "data=builtin", "batch.max_length=32")
    assert builtin.shown_name == "builtin"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.lr=1", "optim.lr=1 would change nothing: an evaluation takes data="),
        ("model=tiny", "model=tiny would change nothing"),
        ("tokenizer=wordpiece", "tokenizer=wordpiece would change nothing"),
        ("batch.masking.unit=word", "an evaluation set masks 15 % of single tokens"),
        ("batch.phases=[{fraction: 1}]", "only training has phases"),
        (
            "batch.max_length=33",
            r"batch.max_length=33 is more than the 32 positions of .*\.ckpt",
        ),
    ],
)
def test_what_would_change_nothing_or_cannot_be_read_is_refused(
    run: FitResult, override: str, message: str
) -> None:
    source = open_source(Path(run.config.run_dir) / "checkpoints/last.ckpt")
    with pytest.raises(UserError, match=message):
        options(source, override)


def test_data_options_of_another_version_are_refused(source: PretrainedSource) -> None:
    other = replace(source, about={"config": {"data": {"batch": 3}, "batch": {}}})
    with pytest.raises(UserError, match=r"data options of another version .*'batch'"):
        options(other)


def test_the_corpus_that_the_run_saw_is_opened_again(
    run: FitResult, source: PretrainedSource, builds: list[str]
) -> None:
    found = corpus_of(source, *options(source, "batch.max_length=20", "batch.micro_batch_size=2"))
    assert found.key == run.corpus.key
    assert not builds


@pytest.mark.parametrize("left", ["nothing", "a damaged store"])
def test_where_it_is_gone_the_text_is_prepared_with_the_models_own_tokenizer(
    run: FitResult, source: PretrainedSource, builds: list[str], tmp_path: Path, left: str
) -> None:
    data, batch = options(source, f"data.cache_dir={tmp_path}")
    if left == "a damaged store":
        kept = store_folder(run.config.data, run.corpus.name, run.corpus.key)
        copy = shutil.copytree(kept, tmp_path / kept.name)
        assert corpus_of(source, data, batch).key == run.corpus.key
        damaged = copy / "validation" / "token_ids.bin"
        damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
    found = corpus_of(source, data, batch)
    assert len(builds) == 1
    assert found.key != run.corpus.key
    assert found.text_key == run.corpus.text_key
    for name, split in run.corpus.splits.items():
        assert found.splits[name].token_ids.tolist() == split.token_ids.tolist()


def test_a_store_of_other_tokens_under_the_runs_name_is_not_taken(
    small_data: CorpusConfig, small_batch: BatchConfig, source: PretrainedSource
) -> None:
    other = prepare(small_data, TokenizerConfig(min_frequency=3), small_batch.pairs)
    lying = replace(source, about={**source.about, "corpus_key": other.key})
    found = corpus_of(lying, *options(source))
    assert found.tokenizer.to_str() == source.tokenizer.to_str()


def test_a_foreign_model_reads_the_text_in_its_own_tokens(
    save_hf: Callable[..., Path],
    small_data: CorpusConfig,
    small_batch: BatchConfig,
    tmp_path: Path,
) -> None:
    foreign = open_source(save_hf(tmp_path / "hf"))
    found = corpus_of(foreign, small_data, small_batch)
    assert found.tokenizer.get_vocab() == foreign.tokenizer.get_vocab()
