"""Training that goes on from weights that are there."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import bert_lightning
from bert_lightning.cli.app import compose_for_script
from bert_lightning.config import ModelConfig, TrainConfig
from bert_lightning.config.affects import ARCHITECTURE, named
from bert_lightning.corpus.prepare import prepare
from bert_lightning.errors import UserError
from bert_lightning.inference.export import export
from bert_lightning.model.hf_names import DECODER, DECODER_BIAS, WORDS
from bert_lightning.pretrained.initial_weights import open_initial, start_from
from bert_lightning.pretrained.sources import open_source
from bert_lightning.training.fit import FitResult, fit
from bert_lightning.training.module import PretrainingModule

CONF = Path(__file__).parents[2] / "conf"
Config = Callable[..., TrainConfig]
SAME = [
    "model.hidden_size=24",
    "model.num_hidden_layers=3",
    "model.num_attention_heads=3",
    "model.intermediate_size=40",
    "model.max_position_embeddings=32",
    "model.type_vocab_size=3",
    "batch.max_length=32",
]
"""The options that make the model that of the folders that transformers saves in these tests."""
SHORT = ["trainer.max_steps=1", "logger=none"]
STILL = ["optim.lr=1e-12", "optim.weight_decay=0", *SHORT]


@pytest.fixture(scope="module")
def first(small_config: Config, tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    return fit(small_config(tmp_path_factory.mktemp("first"), "trainer.max_steps=12"))


def test_a_run_goes_on_where_another_ended(
    first: FitResult, small_config: Config, tmp_path: Path
) -> None:
    checkpoint = Path(first.config.run_dir) / "checkpoints" / "last.ckpt"
    still = fit(small_config(tmp_path / "a", f"init_from={checkpoint}", *STILL, "seed=1"))
    for (name, own), other in zip(
        still.model.state_dict().items(), first.model.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(own, other, rtol=0, atol=1e-9, msg=name)
    assert still.corpus.tokenizer.to_str() == first.corpus.tokenizer.to_str()
    # The first validation has the loss of the other's last.
    for name in ("val/mlm_loss", "val/nsp_loss"):
        last = first.curves[name][-1][1]
        assert still.curves[name][-1][1] == pytest.approx(last, rel=1e-5)
    learning = fit(small_config(tmp_path / "b", f"init_from={first.config.run_dir}", *SHORT))
    assert learning.curves["train/mlm_loss"][0][1] < first.curves["train/mlm_loss"][0][1] - 0.1


def test_from_an_export_it_starts_as_from_the_run(
    first: FitResult, small_config: Config, tmp_path: Path
) -> None:
    export(first.config.run_dir, tmp_path / "out")
    runs = [
        fit(small_config(tmp_path / name, f"init_from={source}", *SHORT))
        for name, source in (("a", first.config.run_dir), ("b", tmp_path / "out"))
    ]
    assert runs[0].curves["val/loss"] == runs[1].curves["val/loss"]
    assert runs[0].corpus.key == runs[1].corpus.key


def test_from_a_model_that_transformers_saved_with_words_added(
    save_hf: Callable[..., Path], small_config: Config, tmp_path: Path
) -> None:
    folder = save_hf(tmp_path / "bert")
    options = [*SAME, *SHORT, f"init_from={folder}", "tokenizer.extend=6"]
    result = fit(small_config(tmp_path / "run", *options))
    words = result.corpus.tokenizer
    source = bert_lightning.load(folder)
    assert words.get_vocab_size() == source.tokenizer.get_vocab_size() + 6
    assert words.encode("teacher").tokens == ["[CLS]", "teacher", "[SEP]"]
    trained = bert_lightning.load(tmp_path / "run")
    assert trained.encode("the teacher left").tokens[2] == "teacher"
    exported = export(tmp_path / "run", tmp_path / "out")
    assert exported.checked_by == "transformers"
    back = bert_lightning.load(tmp_path / "out").encode("the teacher left").vectors
    assert torch.equal(back, trained.encode("the teacher left").vectors)


def module_from(config: TrainConfig, words_wanted: int) -> PretrainingModule:
    return PretrainingModule(config, words_wanted, 1, 1, {})


def test_a_new_words_row_is_the_mean_of_its_pieces(
    save_hf: Callable[..., Path], small_config: Config, tmp_path: Path
) -> None:
    folder = save_hf(tmp_path / "bert")
    config = small_config(tmp_path, *SAME, f"init_from={folder}", *STILL, "tokenizer.extend=6")
    source = open_initial(config)
    assert source is not None
    tokenizer = prepare(
        config.data, config.tokenizer, config.batch.pairs, source.tokenizer
    ).tokenizer
    rows = tokenizer.get_vocab_size() + 3
    model = module_from(config, rows).model
    initial = {name: value.clone() for name, value in model.state_dict().items()}
    start_from(model, source, tokenizer)
    started, old = model.state_dict(), source.tokenizer
    known = old.get_vocab_size()
    for name in (WORDS, DECODER_BIAS):
        assert torch.equal(started[name][:known], source.state[name][:known])
        for number in range(known, known + 6):
            word = tokenizer.id_to_token(number)
            pieces = old.encode(word, add_special_tokens=False).ids
            assert len(pieces) > 1
            expected = source.state[name][pieces].mean(0)
            torch.testing.assert_close(started[name][number], expected)
    # Rows that stand for no token are as new.
    assert torch.equal(started[WORDS][known + 6 :], initial[WORDS][known + 6 :])
    assert started[DECODER].data_ptr() == started[WORDS].data_ptr()
    for name, value in source.state.items():
        if name not in (WORDS, DECODER, DECODER_BIAS):
            assert torch.equal(started[name], value), name


def test_a_missing_head_starts_from_random_weights_and_is_named(
    save_hf: Callable[..., Path],
    small_config: Config,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = save_hf(tmp_path / "bert", "BertModel")
    config = small_config(tmp_path / "run", *SAME, f"init_from={folder}", *STILL)
    with caplog.at_level(logging.WARNING):
        result = fit(config)
    warnings = " ".join(caplog.messages)
    assert "has no masked-language-model head and next-sentence head" in warnings
    source = open_initial(config)
    assert source is not None
    pooler = result.model.pooler.dense.weight
    torch.testing.assert_close(pooler, source.state["pooler.dense.weight"], rtol=0, atol=1e-9)
    untouched = module_from(config, source.vocab_size).model
    torch.testing.assert_close(
        result.model.mlm_head.dense.weight, untouched.mlm_head.dense.weight, rtol=0, atol=1e-9
    )
    bert = bert_lightning.load(tmp_path / "run")
    assert bert.missing_heads == frozenset()
    assert len(bert.fill_mask("the [MASK] left")) == 5


@pytest.mark.parametrize("wanted", ["null", "100"])
def test_rows_beyond_the_tokenizer_are_kept_unless_told_otherwise(
    save_hf: Callable[..., Path], small_config: Config, tmp_path: Path, wanted: str
) -> None:
    folder = save_hf(tmp_path / "bert")
    options = [*SAME, f"init_from={folder}", *STILL, f"model.vocab_size={wanted}"]
    result = fit(small_config(tmp_path / "run", *options))
    rows = result.model.encoder.embeddings.word.num_embeddings
    source = bert_lightning.load(folder).model.encoder.embeddings.word.num_embeddings
    assert rows == (source if wanted == "null" else 100)


@pytest.mark.slow
def test_modern_goes_on_too(small_config: Config, tmp_path: Path) -> None:
    modern = ["arch=modern", *SHORT]
    run = fit(small_config(tmp_path / "a", *modern))
    assert export(tmp_path / "a", tmp_path / "out").checked_by == "transformers"
    on = fit(small_config(tmp_path / "b", *modern, *STILL, f"init_from={tmp_path / 'out'}"))
    torch.testing.assert_close(
        on.model.state_dict()[WORDS], run.model.state_dict()[WORDS], rtol=0, atol=1e-9
    )


def refused(config: TrainConfig) -> str:
    with pytest.raises(UserError) as raised:
        fit(config)
    return str(raised.value)


def test_row_22_another_architecture_lists_what_differs(
    first: FitResult, small_config: Config, tmp_path: Path
) -> None:
    source = f"init_from={first.config.run_dir}"
    different = ["model.hidden_size=64", "model.num_hidden_layers=3", "arch=modern"]
    message = refused(small_config(tmp_path / "run", source, *different))
    assert message.startswith("model.hidden_size=64, model.num_hidden_layers=3, model.norm=pre, ")
    assert "is a model of another architecture" in message
    same = message.partition("the same: ")[2].split()
    assert same[:2] == ["model.hidden_size=32", "model.num_hidden_layers=2"]
    assert {"model.norm=post", "model.qk_norm=false", "model.bias=true"} < set(same)
    # What the message advises works; dropout and the like are free.
    free = ["model.hidden_dropout_prob=0.3", "model.initializer_range=0.1"]
    fit(small_config(tmp_path / "run", source, *different, *same, *free, *STILL))


def test_the_sizes_and_the_kind_of_the_source_are_taken_where_none_are_given(
    first: FitResult, save_hf: Callable[..., Path], tmp_path: Path
) -> None:
    run, bert = Path(first.config.run_dir), save_hf(tmp_path / "bert")
    for source, wanted in ((run, first.config.model), (bert, open_source(bert).config)):
        config = compose_for_script(CONF, [f"init_from={source}", "batch.max_length=32"])
        for name in named(ModelConfig, ARCHITECTURE):
            assert getattr(config.model, name) == getattr(wanted, name), name
        assert open_initial(config) is not None


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("model=tiny", "model.hidden_size=128, model.intermediate_size=256: "),
        ("model=base", "model.hidden_size=768, model.num_hidden_layers=12, "),
        ("model.num_hidden_layers=5", "model.num_hidden_layers=5: "),
        ("arch=modern", "model.norm=pre, model.position_embedding=rotary, "),
        ("arch=bert", None),
    ],
)
def test_sizes_that_are_given_must_be_those_of_the_source(
    first: FitResult, given: str, kept: str | None
) -> None:
    source = f"init_from={first.config.run_dir}"
    config = compose_for_script(CONF, [source, given])
    if kept is None:
        assert open_initial(config) is not None
        return
    with pytest.raises(UserError) as raised:
        open_initial(config)
    assert str(raised.value).startswith(kept)
    assert "these options make it the same: model." in str(raised.value)


@pytest.mark.slow
def test_a_checkpoint_by_its_own_name_is_taken_with_its_sizes(
    first: FitResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (checkpoint,) = (Path(first.config.run_dir) / "checkpoints").glob("step=000012.ckpt")
    options = ["trainer.max_steps=1", "logger=none", f"run_dir={tmp_path / 'a=b (c)'}"]
    data = [f"data.path={first.config.data.path}", f"data.cache_dir={first.config.data.cache_dir}"]
    monkeypatch.chdir(tmp_path)
    result = bert_lightning.fit(
        f"init_from={checkpoint}", "data=text", *data, "batch.global_batch_size=8", *options
    )
    assert f"as init_from={checkpoint} has them: model.hidden_size=32" in capsys.readouterr().out
    assert result.run_dir == tmp_path / "a=b (c)"
    assert not (tmp_path / "runs").exists()
    assert result.bert.model.encoder.embeddings.word.embedding_dim == 32


def test_row_10_another_tokenizer_names_both_hashes(
    first: FitResult, small_config: Config, tmp_path: Path
) -> None:
    source = f"init_from={first.config.run_dir}"
    own = Path(first.config.run_dir) / "tokenizer.json"
    fit(small_config(tmp_path / "a", source, f"tokenizer.path={own}", *STILL))
    other = tmp_path / "other.json"
    other.write_text(own.read_text().replace('"crane"', '"heron"'))
    message = refused(small_config(tmp_path / "b", source, f"tokenizer.path={other}"))
    assert f"tokenizer.path={other} (" in message
    assert "omit tokenizer.path" in message


def test_what_cannot_be_started_from(small_config: Config, tmp_path: Path) -> None:
    message = refused(small_config(tmp_path, f"init_from={tmp_path / 'absent'}"))
    assert f"{tmp_path / 'absent'} does not exist" in message
    with pytest.raises(UserError, match=r"tokenizer\.extend=5 adds words to an existing tokeniz"):
        small_config(tmp_path, "tokenizer.extend=5")
    with pytest.raises(UserError, match=r"tokenizer\.extend=-1 must be at least 0"):
        small_config(tmp_path, "tokenizer.extend=-1")
