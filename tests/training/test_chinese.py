"""The twin of `experiment=chinese_tiny`: poems, masks of whole words, and use without rjieba."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import bert_lightning
from bert_lightning.config import MaskingUnit, TrainConfig
from bert_lightning.data.batches import LABELERS, ExampleBuilder
from bert_lightning.training.fit import fit

POEMS = """\
春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。
床前明月光，疑是地上霜。举头望明月，低头思故乡。
白日依山尽，黄河入海流。欲穷千里目，更上一层楼。
千山鸟飞绝，万径人踪灭。孤舟蓑笠翁，独钓寒江雪。
红豆生南国，春来发几枝。愿君多采撷，此物最相思。
空山不见人，但闻人语响。返景入深林，复照青苔上。
松下问童子，言师采药去。只在此山中，云深不知处。
向晚意不适，驱车登古原。夕阳无限好，只是近黄昏。
锄禾日当午，汗滴禾下土。谁知盘中餐，粒粒皆辛苦。
独坐幽篁里，弹琴复长啸。深林人不知，明月来相照。
移舟泊烟渚，日暮客愁新。野旷天低树，江清月近人。
好雨知时节，当春乃发生。随风潜入夜，润物细无声。
"""
"""Poems of the Tang dynasty, one a line."""
TINY = (
    *("optim=muon", "optim.time_budget=null", "trainer.max_steps=4", "data.text_column=paragraphs"),
    *("data.validation_fraction=0.2", "data.test_fraction=0", "model.num_hidden_layers=1"),
    *("model.max_position_embeddings=64", "batch.max_length=40", "tokenizer.min_frequency=1"),
)


@pytest.fixture(scope="module")
def poems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The poems as the table of a package has them: a list of lines each."""
    pytest.importorskip("rjieba")
    folder = tmp_path_factory.mktemp("poems")
    rows = [
        {"paragraphs": [f"{line}。" for line in poem.split("。") if line]}
        for poem in POEMS.splitlines()
    ]
    content = json.dumps(rows * 3, ensure_ascii=False)
    (folder / "tang.json").write_text(content, encoding="utf-8")
    return folder


@pytest.mark.slow
def test_the_chinese_twin_trains_masks_words_and_is_used_without_rjieba(
    small_config: Callable[..., TrainConfig],
    poems: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = small_config(
        tmp_path / "run", "experiment=chinese_tiny", *TINY, f"data.path={poems / 'tang.json'}"
    )
    result = fit(config)
    assert config.batch.masking.unit is MaskingUnit.word
    train, tokenizer = result.corpus.splits["train"], result.corpus.tokenizer
    words = np.split(train.token_ids, np.flatnonzero(train.word_starts)[1:])
    spelled = {"".join(str(tokenizer.id_to_token(token)) for token in word) for word in words}
    assert "明月" in spelled
    assert sum(len(word) == 2 for word in spelled) > 20
    builder = ExampleBuilder(train, tokenizer, config.batch, 0, LABELERS)
    index = np.arange(len(builder))
    batch = builder.build(index, np.zeros_like(index), 0.0, {})
    _, _, maskable, starts = builder._assemble(builder.pairs(index, np.zeros_like(index)))
    starts = starts | ~maskable
    starts[1:] |= ~maskable[:-1]
    masked = np.zeros(len(starts))
    masked[batch.masked_positions.numpy()] = 1
    word = np.cumsum(starts) - 1
    sizes, hidden = np.bincount(word), np.bincount(word, masked)
    example = np.repeat(index, batch.sequences.lengths)[np.flatnonzero(starts)]
    cut = (hidden > 0) & (hidden < sizes)
    assert np.bincount(example[cut]).max() == 1, "only the last word of an example may be cut"
    assert ((hidden == sizes) & (sizes > 1)).sum() > cut.sum()

    monkeypatch.setitem(sys.modules, "rjieba", None)
    bert = bert_lightning.load(tmp_path / "run")
    assert len(bert.fill_mask("举头望明[MASK]，低头思故乡。")) == 5
    assert bert.encode("举头望明月").tokens == ["[CLS]", *"举头望明月", "[SEP]"]
