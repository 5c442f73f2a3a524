"""Loading what transformers saved, and what is refused; nothing here asks the hub."""

import json
import logging
import pickle
import shutil
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import bert_lightning
from bert_lightning.errors import UserError
from bert_lightning.inference.represent import Text, run, tokenize

transformers = pytest.importorskip("transformers")

Save = Callable[..., Path]
TEXTS: list[Text] = [
    "the crane is flying.",
    ("he just left, unloading steel", "the driver came"),
    "Crane",
    ("a", "the Crane didn't come and just left"),
]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def last_hidden(folder: Path, texts: Sequence[Text]) -> Tensor:
    """Returns the hidden states by transformers, padded there, padding removed."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    parts = [(text,) if isinstance(text, str) else text for text in texts]
    batch = tokenizer.pad([tokenizer(*part) for part in parts], return_tensors="pt")
    with torch.inference_mode():
        return model(**batch).last_hidden_state[batch["attention_mask"].bool()]


@pytest.mark.parametrize("cls", ["BertForPreTraining", "BertForMaskedLM", "BertModel"])
@pytest.mark.parametrize("cased", [True, False])
def test_the_last_hidden_states_are_those_of_transformers(
    save_hf: Save, tmp_path: Path, cls: str, cased: bool
) -> None:
    folder = save_hf(tmp_path / "model", cls, cased)
    bert = bert_lightning.load(folder)
    ours = torch.cat([text.vectors for text in bert.encode_many(TEXTS)])
    assert ours.std() > 0.5
    torch.testing.assert_close(ours, last_hidden(folder, TEXTS), rtol=0, atol=1e-5)


@pytest.mark.parametrize("act", ["gelu", "relu"])
def test_both_heads_are_those_of_transformers(save_hf: Save, tmp_path: Path, act: str) -> None:
    folder = save_hf(tmp_path / "model", hidden_act=act, layer_norm_eps=1e-3)
    bert = bert_lightning.load(folder)
    model = transformers.BertForPreTraining.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for text in TEXTS:
        parts = (text,) if isinstance(text, str) else text
        with torch.inference_mode():
            theirs = model(**tokenizer(*parts, return_tensors="pt"))
            ours = run(bert.model, tokenize(bert.tokenizer, [text], 32, truncate=False))
            logits = bert.model.mlm_head(ours.hidden)
            nsp_logits = bert.model.nsp_head(ours.pooled)
        torch.testing.assert_close(logits, theirs.prediction_logits[0], rtol=0, atol=1e-5)
        torch.testing.assert_close(nsp_logits, theirs.seq_relationship_logits, rtol=0, atol=1e-5)
        if len(parts) == 2:
            is_next = theirs.seq_relationship_logits.softmax(-1)[0, 0].item()
            assert bert.is_next(*parts) == pytest.approx(is_next, abs=1e-5)


def test_a_missing_head_is_said_and_nothing_can_be_asked_of_it(
    save_hf: Save, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bare = bert_lightning.load(save_hf(tmp_path / "bare", "BertModel"))
    assert "has no masked-language-model head and next-sentence head" in caplog.text
    with pytest.raises(UserError, match="has no masked-language-model head, which is needed here"):
        bare.fill_mask("the [MASK] left")
    with pytest.raises(UserError, match="has no next-sentence head, which"):
        bare.is_next("the crane", "left")
    masked = bert_lightning.load(save_hf(tmp_path / "masked", "BertForMaskedLM"))
    assert len(masked.fill_mask("the [MASK] left")) == 5
    with pytest.raises(UserError, match="has no next-sentence head and pooler"):
        masked.is_next("the crane", "left")


def test_the_head_of_what_is_no_task_here_is_left_out(
    save_hf: Save, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = save_hf(
        tmp_path / "model",
        "BertForSequenceClassification",
        problem_type="multi_label_classification",
    )
    assert bert_lightning.load(folder).encode("he left").vectors.shape == (4, 24)
    assert "left out classifier.bias, classifier.weight" in caplog.text


@pytest.mark.parametrize("cased", [True, False, None])
def test_a_folder_with_a_vocab_txt_alone(save_hf: Save, tmp_path: Path, cased: bool | None) -> None:
    folder = save_hf(tmp_path / "model", cased=bool(cased))
    whole = bert_lightning.load(folder)
    words = whole.tokenizer.get_vocab()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    listed = sorted((word for word in words), key=words.__getitem__)
    (folder / "vocab.txt").write_text("\n".join(listed) + "\n", encoding="utf-8")
    if cased is not None:
        options = json.dumps({"do_lower_case": not cased})
        (folder / "tokenizer_config.json").write_text(options)
    plain = bert_lightning.load(folder)
    for text in (*TEXTS, "Ünloading the [MASK]", "cafés ##x"):
        encodings = (tokenize(b.tokenizer, [text], 99, truncate=False)[0] for b in (whole, plain))
        first, second = ((e.ids, e.type_ids, e.tokens) for e in encodings)
        assert first == second


def test_weights_in_several_files(save_hf: Save, tmp_path: Path) -> None:
    folder = save_hf(tmp_path / "model")
    expected = bert_lightning.load(folder).encode("he left").vectors
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    files = {name: f"model-0000{1 + len(name) % 2}-of-00002.safetensors" for name in weights}
    for file in set(files.values()):
        save_file({n: w for n, w in weights.items() if files[n] == file}, folder / file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": files}))
    assert torch.equal(bert_lightning.load(folder).encode("he left").vectors, expected)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(UserError, match=r"00002-of-00002\.safetensors is missing or corrupt"):
        bert_lightning.load(folder)
    index.write_text("{}")
    with pytest.raises(UserError, match=r"index\.json is not an index of weights"):
        bert_lightning.load(folder)


def test_pickled_weights_in_several_files(save_hf: Save, tmp_path: Path) -> None:
    folder = save_hf(tmp_path / "model")
    expected = bert_lightning.load(folder).encode("he left").vectors
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    files = {name: f"pytorch_model-0000{1 + len(name) % 2}-of-00002.bin" for name in weights}
    for file in set(files.values()):
        torch.save({n: w for n, w in weights.items() if files[n] == file}, folder / file)
    index = {"metadata": {"total_size": 1}, "weight_map": files}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert torch.equal(bert_lightning.load(folder).encode("he left").vectors, expected)
    (folder / "pytorch_model-00002-of-00002.bin").unlink()
    with pytest.raises(UserError, match=r"00002-of-00002\.bin is missing or corrupt"):
        bert_lightning.load(folder)


def test_the_names_of_the_first_versions(save_hf: Save, tmp_path: Path) -> None:
    folder = save_hf(tmp_path / "model")
    expected = bert_lightning.load(folder).encode("he left").vectors
    weights = load_file(folder / "model.safetensors")
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    renamed = {}
    for name, value in weights.items():
        for new, first in old.items():
            name = name.replace(new, first)
        renamed[name] = value
    renamed["bert.embeddings.position_ids"] = torch.arange(32)[None]  # in files until 4.31
    assert renamed.keys() != weights.keys()
    pickled(folder, renamed)
    config = json.loads((folder / "config.json").read_text())
    for name in ("model_type", "architectures", "transformers_version"):
        config.pop(name, None)
    config |= {"pruned_heads": {}, "torchscript": False, "output_past": True, "num_labels": 2}
    (folder / "config.json").write_text(json.dumps(config))
    assert torch.equal(bert_lightning.load(folder).encode("he left").vectors, expected)


def test_half_precision_weights_are_read_as_fp32(save_hf: Save, tmp_path: Path) -> None:
    folder = save_hf(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    save_file({n: w.half() for n, w in weights.items()}, folder / "model.safetensors")
    vectors = bert_lightning.load(folder).encode("he left").vectors
    assert vectors.dtype is torch.float32


def pickled(folder: Path, content: object) -> Path:
    (folder / "model.safetensors").unlink()
    torch.save(content, folder / "pytorch_model.bin")
    return folder


def test_a_pytorch_model_bin_is_read_as_weights_alone(save_hf: Save, tmp_path: Path) -> None:
    folder = save_hf(tmp_path / "model")
    expected = bert_lightning.load(folder).encode("he left").vectors
    weights = load_file(folder / "model.safetensors")
    pickled(folder, weights)
    assert torch.equal(bert_lightning.load(folder).encode("he left").vectors, expected)
    torch.save(weights, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert torch.equal(bert_lightning.load(folder).encode("he left").vectors, expected)
    torch.save({**weights, "part": Fraction(1, 2)}, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="is refused: it holds Python objects") as raised:
        bert_lightning.load(folder)
    assert "weights_only" not in str(raised.value)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Fraction(1, 2), protocol=2))
    with pytest.raises(UserError, match=r"is refused|is corrupt"):
        bert_lightning.load(folder)
    torch.save([1, 2], folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="does not contain a dict of weights"):
        bert_lightning.load(folder)


def edit_config(folder: Path, **values: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"hidden_act": "silu"}, "hidden_act=silu"),
        ({"position_embedding_type": "relative_key"}, "relative_key"),
        ({"is_decoder": True}, "is_decoder=True"),
        ({"pruned_heads": {"0": [1]}}, "pruned_heads={'0': "),
        ({"model_type": "distilbert"}, "model_type=distilbert is not supported, only bert is"),
        ({"num_hidden_layers": 4}, r"the weights lack bert\.encoder\.layer\.3"),
        ({"intermediate_size": 41}, "size mismatch"),
        ({"vocab_size": 9}, "size mismatch"),
    ],
)
def test_a_config_that_does_not_fit_is_named(
    save_hf: Save, tmp_path: Path, values: dict[str, Any], says: str
) -> None:
    folder = save_hf(tmp_path / "model")
    edit_config(folder, **values)
    with pytest.raises(UserError, match=f"(?s){folder}.*{says}"):
        bert_lightning.load(folder)


def test_an_untied_decoder_is_refused(save_hf: Save, tmp_path: Path) -> None:
    folder = save_hf(tmp_path / "model", tie_word_embeddings=False)
    with pytest.raises(UserError, match=r"model cannot be loaded: the decoder .*tie_word_embed"):
        bert_lightning.load(folder)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("corrupt", "says"),
    [
        (lambda f: cut(f / "model.safetensors"), r"model\.safetensors is missing or corrupt"),
        (
            lambda f: (f / "model.safetensors").unlink(),
            "has no weights: it needs one of model.safetensors",
        ),
        (lambda f: (f / "config.json").write_text("{"), r"config\.json cannot be read"),
        (lambda f: (f / "config.json").write_text("[]"), r"config\.json contains a list"),
        (lambda f: (f / "tokenizer.json").write_text("{}"), "is not a tokenizer.json"),
        (lambda f: (f / "tokenizer.json").unlink(), "neither a tokenizer.json nor a vocab.txt"),
        (
            lambda f: [
                (f / "tokenizer.json").unlink(),
                (f / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\nthe\n"),
            ],
            r"has no token \[SEP\], \[MASK\]",
        ),
    ],
)
def test_corruption_is_named(
    save_hf: Save, tmp_path: Path, corrupt: Callable[[Path], object], says: str
) -> None:
    folder = save_hf(tmp_path / "model")
    corrupt(folder)
    with pytest.raises(UserError, match=says):
        bert_lightning.load(folder)


def in_cache(tmp_path: Path, name: str, folder: Path) -> None:
    """Lays a folder out as the hub's library keeps what it has fetched."""
    repository = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    shutil.copytree(folder, repository / "snapshots" / ("0" * 40))


@pytest.mark.parametrize("name", ["tiny-bert", "someone/tiny-bert"])
def test_a_name_on_the_hub_that_is_in_the_cache(
    save_hf: Save,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.chdir(tmp_path)
    folder = save_hf(tmp_path / "model")
    in_cache(tmp_path, name, folder)
    bert = bert_lightning.load(name)
    assert f"loaded {name}" in caplog.messages
    expected = bert_lightning.load(folder).encode("he left").vectors
    assert torch.equal(bert.encode("he left").vectors, expected)
    Path(name).mkdir(parents=True)  # an existing path goes before a name
    with pytest.raises(UserError, match=r"tiny-bert has no checkpoint.*there is no config\.json"):
        bert_lightning.load(name)


def test_a_name_that_cannot_be_had_is_said_as_path_and_as_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as raised:
        bert_lightning.load("someone/absent")
    for part in (
        f"{tmp_path / 'someone/absent'} does not exist",
        f"the working directory is {tmp_path}",
        "a model named someone/absent is neither in the cache nor available",
        "HF_HUB_OFFLINE is set",
        "give a run folder, a .ckpt file",
    ):
        assert part in str(raised.value)
    with pytest.raises(UserError, match=r"absent\.ckpt does not exist .*: give a run folder"):
        bert_lightning.load("absent.ckpt")


def test_with_the_hub_in_reach_its_files_are_fetched_and_weights_that_are_safe_first(
    save_hf: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    folder = save_hf(tmp_path / "model")
    expected = bert_lightning.load(folder).encode("he left").vectors
    asked: list[list[str]] = []
    weights = load_file(folder / "model.safetensors")

    def download(name: str, allow_patterns: list[str], local_files_only: bool = False) -> str:
        if local_files_only:
            raise huggingface_hub.errors.LocalEntryNotFoundError("not here")
        assert name == "someone/bert"
        asked.append(allow_patterns)
        if "pytorch_model.bin" in allow_patterns:
            torch.save(weights, folder / "pytorch_model.bin")
        return str(folder)

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: None)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.chdir(tmp_path)
    vectors = bert_lightning.load("someone/bert").encode("he left").vectors
    assert torch.equal(vectors, expected)
    assert ["pytorch_model.bin" in patterns for patterns in asked] == [False]
    (folder / "model.safetensors").unlink()
    bert_lightning.load("someone/bert")
    assert ["pytorch_model.bin" in patterns for patterns in asked[1:]] == [False, True]
