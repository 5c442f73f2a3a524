"""Exports: what transformers makes of them, what is checked, and what is never overwritten."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from tokenizers import Tokenizer

import bert_lightning
from bert_lightning.batch import IS_NEXT
from bert_lightning.config import Format, ModelConfig, TokenizerConfig
from bert_lightning.config.plain import from_plain
from bert_lightning.corpus.vocabulary.build import build_tokenizer
from bert_lightning.errors import UserError
from bert_lightning.inference import export as exporting
from bert_lightning.inference.export import Outputs, export, outputs
from bert_lightning.inference.export_folder import FILES, MODELING
from bert_lightning.inference.loaded import PretrainedBert
from bert_lightning.inference.represent import Text
from bert_lightning.model.bert import BertForPreTraining

transformers = pytest.importorskip("transformers")

Write = Callable[..., Path]
TEXTS: list[Text] = ["a crane", ("the crane came", "he left ."), "un [MASK] unloading"]
MODERN = {
    "norm": "pre",
    "position_embedding": "rotary",
    "feed_forward": "glu",
    "qk_norm": True,
    "bias": False,
}
SCORES = {"mlm_loss": 3.25, "mlm_accuracy": 0.5, "nsp_loss": 0.5, "nsp_accuracy": 0.75}
SUMMARY = {
    "steps": 40,
    "validation": {name: score + 0.125 for name, score in SCORES.items()},
    "loaded": {"step": 30, "validation": SCORES},
    "validation_baselines": {"mlm_loss": 4.75, "mlm_accuracy": 0.125, "nsp_loss": 0.6875},
}


@pytest.fixture
def run_folder(tmp_path: Path, write_checkpoint: Write) -> Path:
    """A run whose biases and norms are not those that it started with."""

    def stir(checkpoint: dict[str, Any]) -> None:
        generator = torch.Generator().manual_seed(0)
        for name, value in checkpoint["state_dict"].items():
            if not name.endswith("decoder.weight"):
                value.add_(torch.randn(value.shape, generator=generator), alpha=0.1)
        checkpoint["global_step"] = 30
        checkpoint["bert_lightning"]["config"] = {
            "data": {"source": "text", "path": f"{tmp_path}/notes", "name": None},
            "batch": {"max_length": 16},
            "run_dir": f"{tmp_path}/run",
        }

    write_checkpoint(tmp_path / "run/checkpoints/best-step=000030.ckpt", change=stir)
    (tmp_path / "run" / "summary.json").write_text(json.dumps(SUMMARY))
    return tmp_path / "run"


@pytest.fixture
def modern_folder(tmp_path: Path, write_checkpoint: Write) -> Path:
    def modernise(checkpoint: dict[str, Any]) -> None:
        described = checkpoint["bert_lightning"]["model"]
        described.update(MODERN)
        model = BertForPreTraining(from_plain(ModelConfig, described), 32)
        checkpoint["state_dict"] = {f"model.{k}": v for k, v in model.state_dict().items()}

    write_checkpoint(tmp_path / "modern/checkpoints/last.ckpt", change=modernise)
    return tmp_path / "modern"


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_both_heads_of_an_export_are_the_models_own(run_folder: Path, tmp_path: Path) -> None:
    exported = export(run_folder, tmp_path / "out")
    assert exported.folder == tmp_path / "out"
    assert exported.checked_by == "transformers"
    assert exported.difference < 1e-5
    ours = bert_lightning.load(run_folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    whole, masked, bare = (
        getattr(transformers, cls).from_pretrained(tmp_path / "out").eval()
        for cls in ("BertForPreTraining", "AutoModelForMaskedLM", "AutoModel")
    )
    for text in TEXTS:
        own = outputs(ours, [text])
        batch = tokenizer(*((text,) if isinstance(text, str) else text), return_tensors="pt")
        with torch.inference_mode():
            found = whole(**batch)
            for theirs, expected in (
                (found.prediction_logits[0], own.mlm_logits),
                (found.seq_relationship_logits, own.nsp_logits),
                (masked(**batch).logits[0], own.mlm_logits),
                (bare(**batch).last_hidden_state[0], own.hidden),
            ):
                torch.testing.assert_close(theirs, expected, rtol=0, atol=1e-5)
        if not isinstance(text, str):
            with torch.inference_mode():  # its own loss, of the class that "is next" has there
                label = torch.tensor([IS_NEXT])
                loss = whole(**batch, next_sentence_label=label, labels=batch["input_ids"]).loss
                mlm = torch.nn.functional.cross_entropy(own.mlm_logits, batch["input_ids"][0])
            assert torch.exp(mlm - loss).item() == pytest.approx(ours.is_next(*text), abs=1e-4)


def test_the_tokenizer_of_an_export_is_the_models_own(run_folder: Path, tmp_path: Path) -> None:
    export(run_folder, tmp_path / "out")
    ours = bert_lightning.load(run_folder).tokenizer
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    for parts in (("The crane, unloading [MASK] x",), ("Don't", "he LEFT."), ("[SEP] ##ing é",)):
        own, other = ours.encode(*parts), theirs(*parts)
        assert (own.ids, own.type_ids) == (other["input_ids"], other["token_type_ids"])
    special = (theirs.pad_token, theirs.unk_token, theirs.cls_token, theirs.sep_token)
    assert special == ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
    assert theirs.mask_token_id == ours.token_to_id("[MASK]")
    assert theirs.model_max_length == 16
    assert theirs.pad([theirs("a"), theirs("a crane")])["attention_mask"][0] == [1, 1, 1, 0]


def test_an_export_loads_back_here_and_exports_again(run_folder: Path, tmp_path: Path) -> None:
    export(run_folder, tmp_path / "out")
    original, back = bert_lightning.load(run_folder), bert_lightning.load(tmp_path / "out")
    for (name, own), other in zip(
        original.model.state_dict().items(), back.model.state_dict().values(), strict=True
    ):
        assert torch.equal(own, other), name
    assert back.tokenizer.to_str() == original.tokenizer.to_str()
    before = contents(tmp_path / "out")
    export(tmp_path / "out", tmp_path / "again")
    again = contents(tmp_path / "again")
    for name in FILES - {"README.md"}:
        assert before[tmp_path / "out" / name] == again[tmp_path / "again" / name], name


def test_what_transformers_saved_is_exported_alike(
    save_hf: Callable[..., Path], tmp_path: Path
) -> None:
    assert export(save_hf(tmp_path / "in"), tmp_path / "out").checked_by == "transformers"
    bare = save_hf(tmp_path / "bare", "BertForMaskedLM")
    with pytest.raises(UserError, match="has no next-sentence head and pooler"):
        export(bare, tmp_path / "more")
    assert not (tmp_path / "more").exists()


@pytest.mark.parametrize("kind", ["run_folder", "modern_folder"])
def test_without_transformers_its_own_files_are_loaded_back(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    run = request.getfixturevalue(kind)
    assert export(run, tmp_path / "out")[1:] == ("bert-lightning", 0)
    assert (tmp_path / "out" / MODELING).exists() is (kind == "modern_folder")
    before = contents(tmp_path / "out")
    assert export(run, tmp_path / "out").folder == tmp_path / "out"
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize("installed", [True, False])
@pytest.mark.parametrize("name", ["nsp_head.bias", "encoder.blocks.1.attention_norm.weight"])
def test_an_export_that_computes_something_else_fails_and_leaves_nothing(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, installed: bool
) -> None:
    if not installed:
        monkeypatch.setitem(sys.modules, "transformers", None)
    write = exporting._write

    def wrong(bert: PretrainedBert, folder: Path) -> None:
        value = bert.model.state_dict()[name]
        value[0] += 0.01
        write(bert, folder)
        value[0] -= 0.01

    monkeypatch.setattr(exporting, "_write", wrong)
    before = contents(tmp_path)
    with pytest.raises(UserError, match="does not compute what the model does"):
        export(run_folder, tmp_path / "out")
    assert contents(tmp_path) == before
    assert not (tmp_path / "out").exists()


def test_nan_is_no_agreement(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(bert: PretrainedBert, texts: list[Text]) -> Outputs:
        return Outputs(*(value * float("nan") for value in outputs(bert, texts)))

    monkeypatch.setattr(exporting, "outputs", broken)
    with pytest.raises(UserError, match="does not compute"):
        export(run_folder, tmp_path / "out")


def test_an_export_that_reads_text_otherwise_fails(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = exporting._write

    def wrong(bert: PretrainedBert, folder: Path) -> None:
        write(bert, folder)
        file = folder / "tokenizer.json"
        file.write_text(file.read_text().replace('"lowercase": true', '"lowercase": false'))

    monkeypatch.setattr(exporting, "_write", wrong)
    with pytest.raises(UserError, match="does not tokenize as the model does"):
        export(run_folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_only_an_earlier_export_is_replaced(
    run_folder: Path, tmp_path: Path, write_checkpoint: Write
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    export(run_folder, out)
    other = write_checkpoint(tmp_path / "other.ckpt", seed=3)
    export(other, out)
    assert torch.equal(
        bert_lightning.load(out).model.nsp_head.weight,
        bert_lightning.load(other).model.nsp_head.weight,
    )
    (out / "notes.txt").write_text("mine")
    for folder in (out, run_folder, tmp_path / "other.ckpt"):
        before = contents(tmp_path)
        with pytest.raises(UserError, match="nor an export of bert-lightning"):
            export(run_folder, folder)
        assert contents(tmp_path) == before


def test_a_model_of_someone_elses_is_not_replaced(
    save_hf: Callable[..., Path], run_folder: Path, tmp_path: Path
) -> None:
    theirs = save_hf(tmp_path / "theirs")
    with pytest.raises(UserError, match=r"theirs is neither empty nor an export"):
        export(run_folder, theirs)


def test_a_folder_that_cannot_be_written(run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/out cannot be written: .*Not a directory"):
        export(run_folder, tmp_path / "file" / "out")


def test_the_card_says_how_it_was_trained_and_what_it_scored(
    run_folder: Path, tmp_path: Path
) -> None:
    export(run_folder, tmp_path / "my-bert")
    card = (tmp_path / "my-bert" / "README.md").read_text()
    _, head, text = card.split("---\n", 2)
    assert "# license: choose one" in head
    metadata = ModelCard(card).data
    assert metadata.library_name == "transformers"
    found = {result.metric_name: result.metric_value for result in metadata.eval_results}
    assert found["masked language modeling, loss (nats)"] == 3.25
    assert found["sentence pairs, accuracy"] == 0.75
    options = json.loads(text.partition("```json\n")[2].partition("```")[0])
    assert options == {"data.source": "text", "batch.max_length": 16}
    for part in (
        "# my-bert\n",
        'from_pretrained("my-bert")',
        "Data: a test",
        "optimizer step 30",
        "On the validation split, after step 30",
        "| masked language modeling, loss (nats) | 3.250 | 4.750 |",
        "| sentence pairs, accuracy | 0.750 | |",
    ):
        assert part in text
    assert str(tmp_path) not in card
    export(run_folder / "checkpoints" / "best-step=000030.ckpt", tmp_path / "my-bert")
    assert (tmp_path / "my-bert" / "README.md").read_text() == card
    (run_folder / "summary.json").unlink()
    export(run_folder, tmp_path / "my-bert")
    assert "## Scores" not in (tmp_path / "my-bert" / "README.md").read_text()


def test_the_script(
    script: Callable[[str], ModuleType],
    run_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    script("export_hf").main([str(run_folder), str(tmp_path / "out")])
    assert f"saved {tmp_path / 'out'}; loaded again by transformers" in capsys.readouterr().out
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(SystemExit) as ended:
        script("export_hf").main([str(run_folder), str(tmp_path / "out")])
    assert ended.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_a_word_tokenizer_is_exported_too(
    tmp_path: Path, write_checkpoint: Write, wikitext_words: Tokenizer
) -> None:
    path = write_checkpoint(
        tmp_path / "last.ckpt",
        change=lambda c: c["bert_lightning"].update(tokenizer=wikitext_words.to_str()),
    )
    export(path, tmp_path / "out")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    for text in ("The crane <unk> @-@ [MASK] , don't", "x"):
        assert theirs(text)["input_ids"] == wikitext_words.encode(text).ids


@pytest.fixture
def wikitext_words() -> Tokenizer:
    config = TokenizerConfig(min_frequency=1)
    return build_tokenizer(["the crane @-@ <unk> don't fly , he left"], config, Format.wikitext)


@pytest.mark.slow
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_padded_batch_in_onnx_is_the_source_if_it_has_its_mask(
    run_folder: Path, tmp_path: Path, implementation: str
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    export(run_folder, tmp_path / "hf")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    model = transformers.AutoModel.from_pretrained(
        tmp_path / "hf", attn_implementation=implementation
    )
    texts = ["a crane", "un [MASK] unloading . the crane is flying", "the fox came ."]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    names = ["input_ids", "attention_mask", "token_type_ids"]
    torch.onnx.export(
        model.eval(),
        kwargs={name: batch[name] for name in names},
        f=tmp_path / "bert.onnx",
        input_names=names,
        dynamic_shapes={name: dict.fromkeys((0, 1), torch.export.Dim.DYNAMIC) for name in names},
        dynamo=True,
        verbose=False,
    )
    session = onnxruntime.InferenceSession(tmp_path / "bert.onnx")
    real = batch["attention_mask"].bool()
    expected = outputs(bert_lightning.load(run_folder), texts).hidden

    def difference(mask: torch.Tensor) -> float:
        inputs = {**{name: batch[name].numpy() for name in names}, "attention_mask": mask.numpy()}
        (hidden, *_) = session.run(None, inputs)
        return (torch.from_numpy(hidden)[real] - expected).abs().max().item()

    assert not real.all()
    assert difference(batch["attention_mask"]) < 1e-5
    assert difference(torch.ones_like(batch["attention_mask"])) > 0.01
