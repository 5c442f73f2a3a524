"""Models that transformers runs by the file in their folder: every architecture, loaded by it."""

import inspect
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from code_cache import code_cache  # noqa: F401 -- a fixture
from small_tokenizer import of_pieces
from torch import Tensor

import bert_lightning
from bert_lightning.batch import IS_NEXT
from bert_lightning.config import ModelConfig
from bert_lightning.config.affects import ARCHITECTURE, named
from bert_lightning.config.plain import from_plain
from bert_lightning.config.task import Pooling
from bert_lightning.errors import UserError
from bert_lightning.inference import export as exporting
from bert_lightning.inference.export import export_source, outputs
from bert_lightning.inference.export_folder import MODELING
from bert_lightning.inference.loaded import PretrainedBert
from bert_lightning.inference.represent import Text, segments
from bert_lightning.inference.sentence_export import export_sentences
from bert_lightning.model.bert import BertForPreTraining
from bert_lightning.model.hf_names import OWN_CLASSES, OWN_MODULE
from bert_lightning.pretrained.sources import PretrainedSource, build

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.usefixtures("code_cache")

WORDS = ("a", "the", "crane", "came", "he", "left", "un", "##load", "##ing", ".")
TEXTS: list[Text] = ["a crane", ("the crane came", "he left ."), "un [MASK] unloading"]
MODERN = {
    "norm": "pre",
    "position_embedding": "rotary",
    "feed_forward": "glu",
    "qk_norm": True,
    "bias": False,
}
KINDS = [
    *({name: value} for name, value in MODERN.items()),
    MODERN,
    {**MODERN, "position_embedding": "learned", "hidden_act": "relu", "layer_norm_eps": 0.1},
    {**MODERN, "norm": "post", "rope_theta": 50.0, "type_vocab_size": 3},
]


def source_of(**kind: Any) -> PretrainedSource:
    """A model of another architecture, every weight of it random."""
    sizes = {"hidden_size": 24, "num_attention_heads": 3, "intermediate_size": 40}
    config = from_plain(ModelConfig, {**sizes, "max_position_embeddings": 16, **kind})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = BertForPreTraining(config, 20)
        for parameter in model.parameters():
            parameter.data.add_(torch.randn_like(parameter), alpha=0.2)
    return PretrainedSource("a run", config, 20, model.state_dict(), of_pieces(WORDS))


def ours_of(source: PretrainedSource) -> PretrainedBert:
    return PretrainedBert(build(source), source.tokenizer)


@pytest.fixture(scope="module")
def modern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export of a model of `arch=modern`; no test changes it."""
    return export_source(source_of(**MODERN), tmp_path_factory.mktemp("in") / "modern").folder


@pytest.fixture
def copied(modern: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(modern, tmp_path / "copied"))


def theirs(folder: Path, heads: str = "ForPreTraining", **options: Any) -> Any:
    cls = getattr(transformers, f"AutoModel{heads}")
    return cls.from_pretrained(folder, trust_remote_code=True, **options).eval()


def padded(folder: Path, texts: list[Text] = TEXTS) -> Any:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    return tokenizer.pad([tokenizer(*segments(text)) for text in texts], return_tensors="pt")


def assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_transformers_computes_what_the_model_does(kind: dict[str, Any], tmp_path: Path) -> None:
    source = source_of(**kind)
    assert export_source(source, tmp_path / "out").checked_by == "transformers"
    expected, batch = outputs(ours_of(source), TEXTS), padded(tmp_path / "out")
    real = batch["attention_mask"].bool()
    assert not real.all()
    with torch.inference_mode():
        found = theirs(tmp_path / "out")(**batch, output_hidden_states=True)
    assert len(found.hidden_states) == source.config.num_hidden_layers + 1
    assert_close(found.hidden_states[-1][real], expected.hidden)
    assert_close(found.prediction_logits[real], expected.mlm_logits)
    assert_close(found.seq_relationship_logits, expected.nsp_logits)
    again = bert_lightning.load(tmp_path / "out")
    assert again.model.config == source.config
    for own, other in zip(expected, outputs(again, TEXTS), strict=True):
        assert torch.equal(own, other)


def test_every_class_gives_the_same_vectors(modern: Path) -> None:
    batch = padded(modern)
    with torch.inference_mode():
        both = theirs(modern)(**batch, output_hidden_states=True)
        masked = theirs(modern, "ForMaskedLM", output_hidden_states=True)(**batch)
        bare, pooled = theirs(modern, "")(**batch, return_dict=False)
    assert torch.equal(masked.logits, both.prediction_logits)
    for one, other in zip(masked.hidden_states, both.hidden_states, strict=True):
        assert torch.equal(one, other)
    assert torch.equal(bare, both.hidden_states[-1])
    assert pooled.shape == bare[:, 0].shape


def test_the_file_knows_every_option_and_class(modern: Path) -> None:
    code = inspect.getmodule(type(theirs(modern)))
    assert code is not None
    assert {*named(ModelConfig, ARCHITECTURE)} <= {*code.NUMBERS, *code.CHOICES}
    values = json.loads((modern / "config.json").read_text(encoding="utf-8"))
    assert {*code.NUMBERS, *code.CHOICES} - {"pooling"} <= {*values}
    auto_map = {auto: f"{OWN_MODULE}.{name}" for auto, name in OWN_CLASSES.items()}
    assert values["auto_map"] == auto_map
    for auto, name in OWN_CLASSES.items():
        assert getattr(code, name)._auto_class == auto


def test_only_who_trusts_the_file_runs_it(copied: Path) -> None:
    (copied / MODELING).write_text("raise SystemExit")
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        transformers.AutoModel.from_pretrained(copied, trust_remote_code=False)
    with pytest.raises(SystemExit):
        theirs(copied)
    bert_lightning.load(copied)


def test_an_export_leaves_nothing_in_the_cache_of_code(
    code_cache: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    export_source(source_of(**MODERN), tmp_path / "a-new-name")
    assert not [path for path in code_cache.rglob("*") if "new" in path.name]
    theirs(tmp_path / "a-new-name")
    assert [path for path in code_cache.rglob("*") if "new" in path.name]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "sandwich"}, "norm=sandwich is not supported, only .'post', 'pre'. are"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings=False is not supported"),
        ({"output_attentions": True}, "output_attentions=True is not supported"),
        ({"problem_type": "multi_label_classification"}, "problem_type=multi_label_classificati"),
    ],
    ids=str,
)
def test_what_it_cannot_compute_is_refused(
    options: dict[str, Any], message: str, copied: Path
) -> None:
    values = json.loads((copied / "config.json").read_text(encoding="utf-8"))
    (copied / "config.json").write_text(json.dumps({**values, **options}))
    with pytest.raises(ValueError, match=message):
        theirs(copied, "ForSequenceClassification", num_labels=3)


def test_an_architecture_that_the_file_lacks_is_not_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to_config = exporting.to_config
    monkeypatch.setattr(exporting, "to_config", lambda *more: {**to_config(*more), "norm": "new"})
    with pytest.raises(UserError, match=r"norm=new is not supported.*needs lines in .*nothing was"):
        export_source(source_of(**MODERN), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_too_long_a_text_is_refused(modern: Path) -> None:
    with pytest.raises(ValueError, match="17 tokens are too long, this model reads up to 16"):
        theirs(modern)(torch.ones(1, 17, dtype=torch.long))


def test_padding_changes_nothing_and_its_mask_does(modern: Path) -> None:
    model, batch = theirs(modern, ""), padded(modern)
    with torch.inference_mode():
        found = model(**batch).last_hidden_state[0, :4]
        alone = model(**padded(modern, TEXTS[:1])).last_hidden_state[0]
        without = model(batch["input_ids"]).last_hidden_state[0, :4]
    assert_close(found, alone)
    assert (without - alone).abs().max() > 0.01


def test_its_losses_are_those_of_pretraining(modern: Path) -> None:
    batch = padded(modern)
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    which = torch.full((3,), IS_NEXT)
    with torch.inference_mode():
        found = theirs(modern)(**batch, labels=labels, next_sentence_label=which)
        mlm = theirs(modern, "ForMaskedLM")(**batch, labels=labels).loss
    nsp = -found.seq_relationship_logits.log_softmax(1)[:, IS_NEXT].mean()
    assert found.loss.item() == pytest.approx((mlm + nsp).item(), rel=1e-5)
    real = batch["attention_mask"].bool()
    likely = found.prediction_logits.log_softmax(-1)[real].gather(1, labels[real][:, None])
    assert mlm.item() == pytest.approx(-likely.mean().item(), rel=1e-5)


@pytest.mark.parametrize(
    ("heads", "labels"),
    [
        ("ForSequenceClassification", torch.tensor([0, 1, 2])),
        ("ForSequenceClassification", torch.tensor([0.5, 2.0, -1.0])),
        ("ForTokenClassification", None),
        ("ForMaskedLM", None),
    ],
)
def test_it_learns_in_transformers(heads: str, labels: Tensor | None, modern: Path) -> None:
    batch = padded(modern)
    labels = batch["token_type_ids"] if labels is None else labels
    options = (
        {} if heads == "ForMaskedLM" else {"num_labels": 1 if labels.is_floating_point() else 3}
    )
    model = theirs(modern, heads, **options)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    before = model(**batch, labels=labels).loss
    before.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    optimizer.step()
    assert model(**batch, labels=labels).loss < before


def test_what_transformers_saves_loads_there_and_here(modern: Path, tmp_path: Path) -> None:
    batch = padded(modern)
    model = theirs(modern)
    model.save_pretrained(tmp_path / "saved")
    transformers.AutoTokenizer.from_pretrained(modern).save_pretrained(tmp_path / "saved")
    code = (tmp_path / "saved" / MODELING).read_bytes()
    assert code == (modern / MODELING).read_bytes()
    again = theirs(tmp_path / "saved")
    with torch.inference_mode():
        expected, found = model(**batch).prediction_logits, again(**batch).prediction_logits
    assert torch.equal(found, expected)
    back = outputs(bert_lightning.load(tmp_path / "saved"), TEXTS)
    assert_close(back.mlm_logits, expected[batch["attention_mask"].bool()])
    with pytest.raises(UserError, match="nor an export of bert-lightning"):
        export_source(source_of(**MODERN), tmp_path / "saved")


def test_a_head_from_transformers_is_a_task_here(modern: Path, tmp_path: Path) -> None:
    labels = {0: "lost", 1: "found", 2: "other"}
    model = theirs(modern, "ForSequenceClassification", id2label=labels)
    model.save_pretrained(tmp_path / "saved")
    shutil.copy(modern / "tokenizer.json", tmp_path / "saved")
    ours = bert_lightning.load(tmp_path / "saved")
    with torch.inference_mode():
        expected = model(**padded(modern)).logits.softmax(1)
    found = [[*one.values()] for one in ours.probabilities(TEXTS)]
    assert_close(torch.tensor(found), expected)
    assert [*ours.names] == [*labels.values()]


def test_more_words_have_rows_and_logits(modern: Path, tmp_path: Path) -> None:
    model = theirs(modern, "ForMaskedLM")
    before = model(**padded(modern)).logits
    model.resize_token_embeddings(40, mean_resizing=False)
    model.save_pretrained(tmp_path / "more")
    again = theirs(tmp_path / "more", "ForMaskedLM")
    found = again(**padded(modern)).logits
    assert found.shape[-1] == 40
    assert_close(found[..., :20], before)


def test_fill_mask_is_the_models_own(modern: Path) -> None:
    fill = transformers.pipeline("fill-mask", str(modern), trust_remote_code=True)
    ours = bert_lightning.load(modern)
    assert isinstance(ours, PretrainedBert)
    found = {one["token_str"]: one["score"] for one in fill("the [MASK] left", top_k=15)}
    for token, probability in ours.fill_mask("the [MASK] left"):
        assert found[token] == pytest.approx(probability, abs=1e-5)


@pytest.mark.parametrize(
    "checker", ["transformers", pytest.param("sentence-transformers", marks=pytest.mark.slow)]
)
def test_sentence_vectors_are_read_by_it(
    checker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if checker == "transformers":
        monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    else:
        pytest.importorskip("sentence_transformers")
    source = source_of(**MODERN)
    for pooling in (Pooling.mean, Pooling.cls):
        assert export_sentences(source, tmp_path / "out", pooling).checked_by == checker
    again = bert_lightning.load(tmp_path / "out")
    expected = ours_of(source).encode("a crane").vectors
    assert_close(again.encode("a crane").vectors, expected)
    assert "trust_remote_code=True).encode" in (tmp_path / "out/README.md").read_text()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_onnxruntime_computes_its_graph(tmp_path: Path) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    exported = export_source(source_of(**MODERN), tmp_path / "out", onnx=True)
    assert exported.checked_by == "transformers and onnxruntime"


def test_the_card_says_what_runs(modern: Path) -> None:
    card = (modern / "README.md").read_text(encoding="utf-8")
    assert f'from_pretrained("{modern.name}", trust_remote_code=True)' in card
    assert f"[`{MODELING}`]({MODELING}) of this folder, which you can read first" in card
    code = (modern / MODELING).read_text(encoding="utf-8")
    assert code.startswith("# SPDX-License-Identifier: Apache-2.0\n")
