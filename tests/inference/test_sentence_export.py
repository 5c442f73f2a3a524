"""The layout of sentence-transformers: its vectors are those of the model."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import bert_lightning
from bert_lightning.config.task import Pooling
from bert_lightning.errors import UserError
from bert_lightning.inference import sentence_export as exporting
from bert_lightning.inference.export import export
from bert_lightning.inference.loaded import PretrainedBert
from bert_lightning.inference.sentence_export import POOLINGS, export_sentences
from bert_lightning.pretrained.sources import PretrainedSource, open_source

Write = Callable[..., Path]
TEXTS = ["a crane", "the crane came , he left the steel fox", "unloading"]
CHECKERS = ("sentence_transformers", "transformers")


def vectors_of(bert: PretrainedBert, pooling: str) -> torch.Tensor:
    found = bert.encode_many(TEXTS)
    return torch.stack([one.vectors.mean(0) if pooling == "mean" else one.cls for one in found])


@pytest.mark.slow
@pytest.mark.parametrize("pooling", POOLINGS)
def test_sentence_transformers_has_the_vectors_of_the_model(
    pooling: str, tmp_path: Path, write_checkpoint: Write
) -> None:
    library = pytest.importorskip("sentence_transformers")
    source = open_source(write_checkpoint(tmp_path / "run/last.ckpt"))
    exported = export_sentences(source, tmp_path / "out", Pooling(pooling))
    assert exported.checked_by == "sentence-transformers"
    theirs = library.SentenceTransformer(str(tmp_path / "out"), device="cpu")
    assert theirs.max_seq_length == 16
    ours = bert_lightning.load(tmp_path / "run")
    assert isinstance(ours, PretrainedBert)
    for batch_size in (1, 3):
        found = theirs.encode(TEXTS, batch_size=batch_size, convert_to_tensor=True)
        torch.testing.assert_close(found, vectors_of(ours, pooling), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "checker", [pytest.param("transformers", marks=pytest.mark.slow), "bert-lightning"]
)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_without_it_the_next_best_reader_checks(
    pooling: str,
    checker: str,
    tmp_path: Path,
    write_checkpoint: Write,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in CHECKERS if checker == "bert-lightning" else CHECKERS[:1]:
        monkeypatch.setitem(sys.modules, name, None)
    source = open_source(write_checkpoint(tmp_path / "run/last.ckpt"))
    exported = export_sentences(source, tmp_path / "out", Pooling(pooling))
    assert exported.checked_by == checker
    ours, back = bert_lightning.load(tmp_path / "run"), bert_lightning.load(tmp_path / "out")
    assert isinstance(ours, PretrainedBert)
    assert isinstance(back, PretrainedBert)
    torch.testing.assert_close(vectors_of(ours, pooling), vectors_of(back, pooling))
    assert back.missing_heads == {"mlm_head", "nsp_head"}
    modules = json.loads((tmp_path / "out/modules.json").read_text())
    assert [module["path"] for module in modules] == ["", "1_Pooling"]
    pooled = json.loads((tmp_path / "out/1_Pooling/config.json").read_text())
    assert pooled[f"pooling_mode_{pooling}_token{'s' * (pooling == 'mean')}"] is True
    assert sum(value is True for value in pooled.values()) == 1


def test_other_vectors_leave_nothing(
    tmp_path: Path, write_checkpoint: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in CHECKERS:
        monkeypatch.setitem(sys.modules, name, None)
    write = exporting._write

    def wrong(bert: PretrainedBert, source: PretrainedSource, *more: Any) -> None:
        norm = bert.model.encoder.blocks[1].feed_forward_norm
        with torch.no_grad():
            norm.bias[0] += 0.01
            write(bert, source, *more)
            norm.bias[0] -= 0.01

    monkeypatch.setattr(exporting, "_write", wrong)
    source = open_source(write_checkpoint(tmp_path / "last.ckpt"))
    with pytest.raises(UserError, match=r"its vectors, loaded by bert-lightning, differ by"):
        export_sentences(source, tmp_path / "out", Pooling.mean)
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_the_command_replaces_an_export_of_another_layout(
    script: Callable[[str], ModuleType],
    tmp_path: Path,
    write_checkpoint: Write,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in CHECKERS:
        monkeypatch.setitem(sys.modules, name, None)
    path, out = write_checkpoint(tmp_path / "last.ckpt"), tmp_path / "out"
    arguments = [str(path), str(out), "--sentence-transformers"]
    script("export_hf").main(arguments)
    assert f"saved {out}; loaded again by bert-lightning" in capsys.readouterr().out
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "is the mean over all tokens" in card
    script("export_hf").main([*arguments, "cls"])
    assert "is [CLS]" in (out / "README.md").read_text(encoding="utf-8")
    export(path, out)
    assert not (out / "modules.json").exists()
