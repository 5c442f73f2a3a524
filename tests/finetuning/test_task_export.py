"""Exports of fine-tuned models: what transformers and `load` make of them, and how they fail."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from code_cache import code_cache  # noqa: F401 -- a fixture
from huggingface_hub import ModelCard
from random_tasks import NAMES, PLAIN, names_of, source_of
from torch import Tensor

import bert_lightning
from bert_lightning.cli.main import command
from bert_lightning.config import ModelConfig, NormPlacement, PositionEmbedding
from bert_lightning.config.task import Pooling, TaskKind
from bert_lightning.errors import UserError
from bert_lightning.finetuning import export as exporting
from bert_lightning.finetuning.export import export_task, outputs
from bert_lightning.finetuning.model import HeadShape
from bert_lightning.finetuning.predict import FineTunedBert, fine_tuned
from bert_lightning.inference.represent import Text
from bert_lightning.inference.sentence_export import export_sentences
from bert_lightning.pretrained.checkpoints import CHECKPOINT_FORMAT
from bert_lightning.pretrained.sources import PretrainedSource, build, open_source

TEXTS: list[Text] = ["a crane", ("the crane came", "he left ."), "unloading the crane is flying"]
SHAPES = {
    "text": HeadShape(TaskKind.text, 3, Pooling.pooler),
    "pair": HeadShape(TaskKind.pair, 3, Pooling.pooler),
    "number": HeadShape(TaskKind.number, 1, Pooling.pooler),
    "tokens": HeadShape(TaskKind.tokens, 3, Pooling.cls),
    "question": HeadShape(TaskKind.question, 2, Pooling.cls),
}
OWN = {
    "mean": HeadShape(TaskKind.pair, 3, Pooling.mean),
    "cls": HeadShape(TaskKind.number, 1, Pooling.cls),
}
CHOICE = HeadShape(TaskKind.choice, 1, Pooling.mean)
MODERN = ModelConfig(
    num_hidden_layers=2,
    max_position_embeddings=16,
    norm=NormPlacement.pre,
    position_embedding=PositionEmbedding.rotary,
)


def checkpoint(source: PretrainedSource, path: Path) -> Path:
    """The same as a checkpoint of a run."""
    path.parent.mkdir(parents=True)
    model = {"max_position_embeddings": 16, "hidden_size": 24, "num_attention_heads": 3}
    description = {
        "format": CHECKPOINT_FORMAT,
        "model": {**model, "intermediate_size": 40},
        "vocab_size": 20,
        "tokenizer": source.tokenizer.to_str(),
        "config": {
            "batch": {"max_length": 16},
            "init_from": "/home/me/bert",
            "data": {"test_path": "/home/me/test.csv"},
        },
        "corpus": "labelled data",
        **source.about,
    }
    state = {f"model.{name}": value for name, value in source.state.items()}
    torch.save({"state_dict": state, "global_step": 7, "bert_lightning": description}, path)
    return path


def asked(bert: FineTunedBert) -> Any:
    """Everything that it answers."""
    if bert.model.shape.kind is TaskKind.tokens:
        return bert.tag("unloading the crane")
    if bert.model.shape.kind is TaskKind.number:
        return bert.score_many(TEXTS)
    if bert.model.shape.kind is TaskKind.question:
        return bert.answer("what came ?", "he left . the crane came")
    return bert.probabilities(TEXTS)


def logits_of(theirs: Any, reader: Any, text: Text) -> Tensor:
    batch = reader(*((text,) if isinstance(text, str) else text), return_tensors="pt")
    with torch.inference_mode():
        found = theirs(**batch)
    if "start_logits" in found:
        return torch.stack([found.start_logits, found.end_logits], -1).flatten(0, -2)
    return found.logits.flatten(0, -2)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHAPES)
def test_transformers_computes_the_same_logits_with_the_same_names(
    name: str, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    shape = SHAPES[name]
    source = source_of(shape)
    exported = export_task(source, tmp_path / "out")
    assert exported.checked_by == "transformers"
    others = {"tokens": "TokenClassification", "question": "QuestionAnswering"}
    theirs = getattr(transformers, f"AutoModelFor{others.get(name, 'SequenceClassification')}")
    theirs = theirs.from_pretrained(tmp_path / "out").eval()
    reader = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    ours = fine_tuned(source)
    for text in TEXTS:
        expected = outputs(ours, [text])
        torch.testing.assert_close(logits_of(theirs, reader, text), expected, rtol=1e-5, atol=1e-5)
    assert theirs.config.num_labels == shape.outputs
    names = names_of(shape)
    if names and name != "question":
        assert [theirs.config.id2label[number] for number in range(len(names))] == names
        assert [theirs.config.label2id[name] for name in names] == [0, 1, 2]
    problems = {"number": "regression", "tokens": None, "question": None}
    assert theirs.config.problem_type == problems.get(name, "single_label_classification")


@pytest.mark.slow
def test_pipelines_answer_what_the_model_answers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    folders = {}
    for name, shape in SHAPES.items():
        folders[name] = str(export_task(source_of(shape), tmp_path / name).folder)
    ours = {name: fine_tuned(source_of(shape)) for name, shape in SHAPES.items()}

    (answer,) = transformers.pipeline("text-classification", folders["text"])(TEXTS[0])
    label, probability = ours["text"].classify(str(TEXTS[0]))
    assert answer["label"] == label
    assert answer["score"] == pytest.approx(probability, abs=1e-5)

    pair = {"text": TEXTS[1][0], "text_pair": TEXTS[1][1]}
    answer = transformers.pipeline("text-classification", folders["pair"])(pair)
    answer = answer[0] if isinstance(answer, list) else answer
    label, probability = ours["pair"].classify(*TEXTS[1])
    assert answer["label"] == label
    assert answer["score"] == pytest.approx(probability, abs=1e-5)

    (answer,) = transformers.pipeline("text-classification", folders["number"])(TEXTS[2])
    assert answer["score"] == pytest.approx(ours["number"].score(str(TEXTS[2])), abs=1e-4)

    tagged = transformers.pipeline("token-classification", folders["tokens"], ignore_labels=[])(
        "unloading the crane"
    )
    first = {one["start"]: one["entity"] for one in tagged if not one["word"].startswith("##")}
    assert [first[0], first[10], first[14]] == [tag for _, tag in asked(ours["tokens"])]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("name", ["pair", "tokens", "question"])
def test_onnxruntime_computes_the_same_logits(name: str, tmp_path: Path) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime", "transformers"):
        pytest.importorskip(package)
    import onnxruntime
    import transformers

    source = source_of(SHAPES[name])
    exported = export_task(source, tmp_path / "out", onnx=True)
    assert exported.checked_by == "transformers and onnxruntime"
    session = onnxruntime.InferenceSession(tmp_path / "out/model.onnx")
    reader = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    for texts in (TEXTS, TEXTS[:1], [*TEXTS[:2]] * 3):
        parts = [(text,) if isinstance(text, str) else text for text in texts]
        batch = reader.pad([reader(*part) for part in parts], return_tensors="np")
        found = torch.from_numpy(np.stack(session.run(None, dict(batch)), -1)).squeeze(-1)
        if name != "pair":
            found = found[torch.from_numpy(batch["attention_mask"]).bool()]
        expected = outputs(fine_tuned(source), texts)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_a_pooling_that_transformers_lacks_has_no_graph(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"omit --onnx, or train with arch=bert .and fine-tune wi"):
        export_task(source_of(CHOICE), tmp_path / "out", onnx=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", [*SHAPES, *OWN, "modern"])
def test_an_export_loads_back_here_and_answers_the_same(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    shape = {**SHAPES, **OWN, "modern": SHAPES["text"]}[name]
    source = source_of(shape, MODERN if name == "modern" else PLAIN)
    exported = export_task(source, tmp_path / "out")
    assert exported.checked_by == "bert-lightning"
    back, ours = bert_lightning.load(tmp_path / "out"), fine_tuned(source)
    assert isinstance(back, FineTunedBert)
    torch.testing.assert_close(outputs(back, TEXTS), outputs(ours, TEXTS), rtol=1e-6, atol=1e-6)
    assert back.names == ours.names
    assert asked(back) == asked(ours) or shape.kind is not TaskKind.question
    kind = TaskKind.text if shape.kind is TaskKind.pair else shape.kind  # there they are one class
    assert back.model.shape == shape._replace(kind=kind)
    again = export_task(source_of(shape, source.config), tmp_path / "out")
    assert again.folder == exported.folder


@pytest.mark.parametrize("name", [*SHAPES, *OWN])
def test_its_encoder_serves_where_no_task_is_asked(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for library in ("transformers", "sentence_transformers"):
        monkeypatch.setitem(sys.modules, library, None)
    source = source_of({**SHAPES, **OWN}[name])
    export_task(source, tmp_path / "out")
    again = open_source(tmp_path / "out")
    assert again.missing_heads == source.missing_heads
    encoder = {n: value for n, value in source.state.items() if n.startswith("encoder.")}
    for found in (again, source):
        state = build(found).state_dict()
        assert all(torch.equal(state[n], value) for n, value in encoder.items())
    exported = export_sentences(again, tmp_path / "vectors", Pooling.mean)
    assert exported.checked_by == "bert-lightning"


@pytest.mark.usefixtures("code_cache")
@pytest.mark.parametrize(
    ("shape", "config"),
    [
        *((shape, PLAIN) for shape in OWN.values()),
        *((SHAPES[name], MODERN) for name in ("text", "number", "tokens")),
        (OWN["mean"], MODERN),
    ],
)
def test_code_in_the_folder_computes_what_transformers_lacks(
    shape: HeadShape, config: ModelConfig, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    source = source_of(shape, config)
    assert export_task(source, tmp_path / "out").checked_by == "transformers"
    of_tokens = shape.kind is TaskKind.tokens
    auto = f"AutoModelFor{'Token' if of_tokens else 'Sequence'}Classification"
    load = {"pretrained_model_name_or_path": tmp_path / "out", "trust_remote_code": True}
    theirs = getattr(transformers, auto).from_pretrained(**load).eval()
    reader = transformers.AutoTokenizer.from_pretrained(**load)
    ours = fine_tuned(source)
    for text in TEXTS:
        found = logits_of(theirs, reader, text)
        torch.testing.assert_close(found, outputs(ours, [text]), rtol=1e-5, atol=1e-5)
    number = shape.kind is TaskKind.number
    problem = "regression" if number else "single_label_classification"
    assert theirs.config.problem_type == (None if of_tokens else problem)
    card = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    assert 'out", trust_remote_code=True)' in card
    assert "which you can read first" in card


@pytest.mark.parametrize(("shape", "config"), [(CHOICE, PLAIN), (SHAPES["question"], MODERN)])
def test_what_transformers_has_no_class_for_is_said(
    shape: HeadShape, config: ModelConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = source_of(shape, config)
    assert export_task(source, tmp_path / "out").checked_by == "bert-lightning"
    assert f"transformers has no class for task={shape.kind.value} of this arch" in caplog.text
    assert json.loads((tmp_path / "out/config.json").read_text())["model_type"] == "bert_lightning"
    assert "transformers has no class for this model; b" in (tmp_path / "out/README.md").read_text()
    back = bert_lightning.load(tmp_path / "out")
    assert isinstance(back, FineTunedBert)
    assert back.model.shape == shape


def vectors(pooling: Pooling) -> HeadShape:
    return HeadShape(TaskKind.sentence, 24, pooling)


@pytest.mark.parametrize(
    "checker",
    [
        pytest.param("sentence-transformers", marks=pytest.mark.slow),
        pytest.param("transformers", marks=pytest.mark.slow),
        "bert-lightning",
    ],
)
@pytest.mark.parametrize("pooling", [Pooling.mean, Pooling.cls])
def test_sentence_vectors_are_exported_with_their_length(
    pooling: Pooling, checker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers = ["sentence-transformers", "transformers", "bert-lightning"]
    if checker == "sentence-transformers":
        pytest.importorskip("sentence_transformers")
    for library in readers[: readers.index(checker)]:
        monkeypatch.setitem(sys.modules, library.replace("-", "_"), None)
    source = source_of(vectors(pooling))
    assert export_task(source, tmp_path / "out").checked_by == checker
    modules = json.loads((tmp_path / "out/modules.json").read_text())
    assert [module["path"] for module in modules] == ["", "1_Pooling", "2_Normalize"]
    ours, back = fine_tuned(source), bert_lightning.load(tmp_path / "out")
    assert isinstance(back, FineTunedBert)
    assert back.model.shape == vectors(pooling)
    texts = ["a crane", "unloading the crane is flying"]
    torch.testing.assert_close(back.encode(texts), ours.encode(texts), rtol=0, atol=1e-6)
    assert back.encode(texts).norm(dim=1).tolist() == pytest.approx([1, 1])
    if checker == "sentence-transformers":
        library = pytest.importorskip("sentence_transformers")
        theirs = library.SentenceTransformer(str(tmp_path / "out"), device="cpu")
        found = theirs.encode(texts, convert_to_tensor=True)
        torch.testing.assert_close(found, ours.encode(texts), rtol=0, atol=1e-5)


def test_sentence_vectors_without_a_counterpart_are_not_exported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"task\.pooling=pooler, which sentence-transformers lacks"):
        export_task(source_of(vectors(Pooling.pooler)), tmp_path / "out")
    with pytest.raises(UserError, match="sentence vectors, and they have no ONNX graph"):
        export_task(source_of(vectors(Pooling.mean)), tmp_path / "out", onnx=True)
    assert not [*tmp_path.iterdir()]


@pytest.mark.slow
@pytest.mark.parametrize("cls", ["BertForSequenceClassification", "BertForTokenClassification"])
def test_a_classifier_that_transformers_saved_becomes_its_task(
    cls: str, save_hf: Callable[..., Path], tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    labels = dict(enumerate(NAMES))
    folder = save_hf(tmp_path / "in", cls, num_labels=3, id2label=labels)
    ours = bert_lightning.load(folder)
    assert isinstance(ours, FineTunedBert)
    assert ours.names == NAMES
    theirs = getattr(transformers, cls).from_pretrained(folder).eval()
    reader = transformers.AutoTokenizer.from_pretrained(folder)
    for text in TEXTS:
        torch.testing.assert_close(
            outputs(ours, [text]), logits_of(theirs, reader, text), rtol=1e-5, atol=1e-5
        )
    assert export_task(open_source(folder), tmp_path / "out").checked_by == "transformers"


@pytest.mark.parametrize("installed", [pytest.param(True, marks=pytest.mark.slow), False])
@pytest.mark.parametrize("name", ["head.classifier.bias", "encoder.blocks.1.attention_norm.weight"])
def test_an_export_that_computes_something_else_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, installed: bool
) -> None:
    if not installed:
        monkeypatch.setitem(sys.modules, "transformers", None)
    write = exporting._write

    def wrong(bert: FineTunedBert, folder: Path) -> None:
        value = bert.model.state_dict()[name]
        value[0] += 0.01
        write(bert, folder)
        value[0] -= 0.01

    monkeypatch.setattr(exporting, "_write", wrong)
    with pytest.raises(UserError, match=r"its outputs, loaded by .* differ by"):
        export_task(source_of(SHAPES["text"]), tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id2label": {"0": "a", "1": "b"}}, "names 2 different labels in id2label, and the "),
        ({"id2label": {"0": "a", "1": "b", "2": "a"}}, "names 2 different labels"),
        ({"id2label": ["a", "b", "c"]}, "does not describe its labels"),
        ({"id2label": {"x": "a"}}, "does not describe its labels"),
    ],
)
def test_labels_that_are_not_those_of_the_weights_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], message: str
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    export_task(source_of(SHAPES["text"]), tmp_path / "out")
    file = tmp_path / "out/config.json"
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **change}))
    with pytest.raises(UserError, match=message) as refused:
        bert_lightning.load(tmp_path / "out")
    assert str(tmp_path / "out") in str(refused.value)


def test_what_is_no_task_here_loads_without_its_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    export_task(source_of(SHAPES["text"]), tmp_path / "out")
    file = tmp_path / "out/config.json"
    values = json.loads(file.read_text(encoding="utf-8"))
    for change in (
        {"problem_type": "multi_label_classification"},
        {"problem_type": "regression"},  # three numbers
        {"architectures": ["BertForMultipleChoice"]},
    ):
        file.write_text(json.dumps({**values, **change}))
        caplog.clear()
        assert not isinstance(bert_lightning.load(tmp_path / "out"), FineTunedBert)
        assert "left out classifier.bias, classifier.weight" in caplog.text
    del values["id2label"]
    file.write_text(json.dumps(values))
    bert = bert_lightning.load(tmp_path / "out")
    assert isinstance(bert, FineTunedBert)
    assert bert.names == ["LABEL_0", "LABEL_1", "LABEL_2"]


def test_the_command_and_the_card(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for library in ("transformers", "sentence_transformers"):
        monkeypatch.setitem(sys.modules, library, None)
    path = checkpoint(source_of(SHAPES["tokens"]), tmp_path / "run/checkpoints/last.ckpt")
    summary = {"best_step": 7, "test": {"f1": 0.5, "token_accuracy": 0.75}}
    (tmp_path / "run/summary.json").write_text(json.dumps(summary))
    command("export")([str(tmp_path / "run"), str(tmp_path / "tagger")])
    assert f"saved {tmp_path / 'tagger'}; loaded again" in capsys.readouterr().out
    card = (tmp_path / "tagger/README.md").read_text(encoding="utf-8")
    metadata = ModelCard(card).data
    assert (metadata.pipeline_tag, metadata.library_name) == (
        "token-classification",
        "transformers",
    )
    for part in ("answers: B-LOC, I-LOC, O", "optimizer step 7", "| token accuracy | 0.750 |"):
        assert part in card
    assert "/home/me" not in card
    command("export")([str(path), str(tmp_path / "vectors"), "--sentence-transformers"])
    card = (tmp_path / "vectors/README.md").read_text(encoding="utf-8")
    assert "optimizer step 7" in card
    assert "/home/me" not in card
    summary["best_step"] = 8
    (tmp_path / "run/summary.json").write_text(json.dumps(summary))
    command("export")([str(path), str(tmp_path / "tagger")])
    assert "## Scores" not in (tmp_path / "tagger/README.md").read_text(encoding="utf-8")


def test_a_text_and_a_pair_are_answered_together() -> None:
    bert = fine_tuned(source_of(SHAPES["text"]))
    together = bert.probabilities(TEXTS)
    for text, found in zip(TEXTS, together, strict=True):
        (alone,) = bert.probabilities([text])
        assert found == pytest.approx(alone, abs=1e-6)
    assert together[1] != bert.probabilities([TEXTS[1][0]])[0]


def test_a_question_needs_words_and_may_have_no_answer() -> None:
    source = source_of(SHAPES["question"])
    bert = fine_tuned(source)
    with pytest.raises(UserError, match="the question of entry 0 is empty: it needs text"):
        bert.answer(" ", "the crane came")
    with pytest.raises(UserError, match="the context of entry 1 is empty: it needs text"):
        bert.answer_many([("what came ?", "the crane came"), ("what came ?", "")])
    assert bert.answer_many([]) == []
    bert.model.head.classifier.weight.data.zero_()
    bert.model.head.classifier.bias.data.zero_()
    context = "the crane came"  # all spans and "no answer" are equally likely
    assert bert.answer("what came ?", context) == ("the", 0, 3, pytest.approx(1 / 7))
    without = source_of(SHAPES["question"])
    without.about["task"]["names"].clear()
    sure = fine_tuned(without)
    assert sure.answer("what came ?", context).text
    assert "or none" in repr(bert)
    assert "or none" not in repr(sure)
