"""The ONNX graph of an export: onnxruntime finds the model's outputs in it, however padded."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import bert_lightning
from bert_lightning.errors import UserError
from bert_lightning.inference import onnx_export
from bert_lightning.inference.export import export, outputs
from bert_lightning.inference.loaded import PretrainedBert
from bert_lightning.inference.onnx_export import PRETRAINING
from bert_lightning.inference.represent import Text, segments

Write = Callable[..., Path]
BATCHES: list[list[Text]] = [
    ["a"],
    ["the crane", ("un the driver came , he left", "a fox is flying"), "unloading steel"],
    ["a crane is flying"] * 7,
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_onnxruntime_has_all_outputs_of_padded_batches(
    tmp_path: Path, write_checkpoint: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime", "transformers"):
        pytest.importorskip(package)
    import onnxruntime
    import transformers

    path = write_checkpoint(tmp_path / "last.ckpt")
    exported = export(path, tmp_path / "out", onnx=True)
    assert exported.checked_by == "transformers and onnxruntime"
    assert exported.difference < 1e-4
    assert capsys.readouterr().out == ""
    session = onnxruntime.InferenceSession(tmp_path / "out/model.onnx")
    assert [one.name for one in session.get_outputs()] == [*PRETRAINING.outputs]
    inputs = [one.name for one in session.get_inputs()]
    reader = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    ours = bert_lightning.load(path)
    assert isinstance(ours, PretrainedBert)
    for texts in BATCHES:
        batch = reader.pad([reader(*segments(text)) for text in texts], return_tensors="pt")
        real = batch["attention_mask"].bool()
        found = session.run(None, {name: batch[name].numpy() for name in inputs})
        hidden, mlm, nsp = map(torch.from_numpy, found)
        for theirs, own in zip((hidden[real], mlm[real], nsp), outputs(ours, texts), strict=True):
            torch.testing.assert_close(theirs, own, rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_graph_of_another_model_leaves_nothing(
    tmp_path: Path, write_checkpoint: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime", "transformers"):
        pytest.importorskip(package)
    with_hidden = onnx_export._WithHidden

    def wrong(theirs: torch.nn.Module) -> torch.nn.Module:
        theirs.cls.seq_relationship.bias.data += 0.01  # type: ignore[union-attr, operator]
        return with_hidden(theirs)

    monkeypatch.setattr(onnx_export, "_WithHidden", wrong)
    path = write_checkpoint(tmp_path / "last.ckpt")
    with pytest.raises(UserError, match="its seq_relationship_logits, loaded by onnxruntime"):
        export(path, tmp_path / "out", onnx=True)
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_without_the_packages_nothing_is_written(
    tmp_path: Path, write_checkpoint: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_export, "find_spec", lambda name: None if "x" in name else name)
    path = write_checkpoint(tmp_path / "last.ckpt")
    needed = r"--onnx needs onnx, onnxscript, onnxruntime, which .* pip install 'bert-lightning\[on"
    with pytest.raises(UserError, match=needed):
        export(path, tmp_path / "out", onnx=True)
    assert not (tmp_path / "out").exists()
