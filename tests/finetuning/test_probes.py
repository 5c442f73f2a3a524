"""Probes of a labelled split: which vectors they read, and what they find in them."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from small_tokenizer import of_pieces

import bert_lightning
from bert_lightning.cli.main import command
from bert_lightning.config import ModelConfig
from bert_lightning.config.finetune import FinetuneConfig
from bert_lightning.config.task import (
    LabelledBatchConfig,
    LabelledConfig,
    Pooling,
    TaskConfig,
    TaskKind,
)
from bert_lightning.errors import UserError
from bert_lightning.finetuning.encoding import encode_split
from bert_lightning.finetuning.labelled.examples import LabelledExample, label_names
from bert_lightning.finetuning.labelled.read import read_labelled
from bert_lightning.finetuning.probing.models import Prober
from bert_lightning.finetuning.probing.task_probe import encode_probe, split_features
from bert_lightning.inference.loaded import PretrainedBert
from bert_lightning.model.bert import BertForPreTraining
from bert_lightning.pretrained.checkpoints import CHECKPOINT_FORMAT
from bert_lightning.pretrained.sources import PretrainedSource
from bert_lightning.reports.probe_report import show_probes

NOUNS, VERBS = ("crane", "fox", "river", "lamp"), ("left", "came", "sees", "lifts")
PIECES = ("the", "un", "##load", "##ing", *NOUNS, *VERBS)


@pytest.fixture
def bert() -> PretrainedBert:
    tokenizer = of_pieces(PIECES)
    config = ModelConfig(hidden_size=32, intermediate_size=64, initializer_range=0.1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = BertForPreTraining(config, tokenizer.get_vocab_size())
    return PretrainedBert(model, tokenizer)


def sentences(count: int, seed: int) -> list[LabelledExample]:
    """Words with the part of speech that each always has."""
    rng = np.random.default_rng(seed)
    examples = []
    for _ in range(count):
        words = ("the", str(rng.choice(NOUNS)), str(rng.choice(VERBS)), "unloading")
        examples.append(LabelledExample(words, ["DET", "NOUN", "VERB", "VERB"], "here"))
    return examples


def test_a_word_has_the_vector_of_its_first_token(bert: PretrainedBert) -> None:
    examples = sentences(40, 0)
    names = label_names(examples)
    split = encode_split(examples, TaskKind.tokens, names, bert.tokenizer, 16)
    features = split_features(bert.model.encoder, split, Pooling.cls)
    assert features.shape == (3, 160, 32)
    for index in (0, 17, 39):
        words = " ".join(examples[index].texts)
        for layer in range(3):
            expected = bert.encode(words, layer=layer).vectors[1:5]
            ours = features[layer, 4 * index : 4 * index + 4]
            torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("pooling", [Pooling.cls, Pooling.mean])
def test_a_text_or_pair_has_the_vector_of_cls_or_the_mean(
    bert: PretrainedBert, pooling: Pooling
) -> None:
    texts = [("the crane left", "the fox"), ("the river", "lamp lamp lamp came"), ("fox", "crane")]
    examples = [
        LabelledExample(pair, label, "here") for pair, label in zip(texts, "aba", strict=True)
    ]
    split = encode_split(examples, TaskKind.pair, ["a", "b"], bert.tokenizer, 16)
    features = split_features(bert.model.encoder, split, pooling)
    for index, pair in enumerate(texts):
        vectors = bert.encode(*pair, layer=1).vectors
        expected = vectors[0] if pooling is Pooling.cls else vectors.mean(0)
        torch.testing.assert_close(features[1, index], expected, atol=1e-5, rtol=0)


def test_parts_of_speech_are_read_and_so_are_words_learned_by_heart(bert: PretrainedBert) -> None:
    train, held_out = sentences(60, 0), sentences(30, 1)
    names = label_names(train)
    found = encode_probe(
        bert.tokenizer, train, held_out, names,
        kind=TaskKind.tokens, max_length=16,
    ).result(bert.model.encoder)  # fmt: skip
    assert (found.examples, found.held_out, found.majority) == (240, 120, 0.5)
    assert found.layers[0].accuracy == found.mix.accuracy == 1.0
    assert found.layers[0].control == 1.0  # ten words, all of them in train
    assert found.layers[0].selectivity == 0.0


def test_a_text_is_probed_without_a_control_task(bert: PretrainedBert) -> None:
    rng = np.random.default_rng(0)
    examples = [
        LabelledExample((f"{rng.choice(NOUNS)} {verb} the {rng.choice(NOUNS)}",), verb, "here")
        for verb in rng.choice(VERBS, size=90)
    ]
    found = encode_probe(
        bert.tokenizer, examples[:60], examples[60:], label_names(examples),
        kind=TaskKind.text, max_length=16,
    ).result(bert.model.encoder)  # fmt: skip
    assert found.layers[0].accuracy == 1.0
    assert found.layers[0].control is None


def parts_of_speech(file: Path, count: int) -> list[LabelledExample]:
    """The first sentences of a file of `word<TAB>label`."""
    examples = []
    for block in file.read_text(encoding="utf-8").strip().split("\n\n")[:count]:
        words, labels = zip(*(line.split("\t") for line in block.split("\n")), strict=True)
        examples.append(LabelledExample(words, list(labels), "here"))
    return examples


@pytest.mark.slow
def test_minilm_knows_parts_of_speech_beyond_the_word(minilm: Path, labelled_data: Path) -> None:
    """The embeddings know the word, and learn it by heart; a middle layer knows its use."""
    train, test = (
        parts_of_speech(labelled_data / "ud-ewt" / f"{split}.conll", 100)
        for split in ("train", "dev")
    )
    bert = bert_lightning.load(minilm)
    names = label_names([*train, *test])
    found = encode_probe(bert.tokenizer, train, test, names, kind=TaskKind.tokens).result(
        bert.model.encoder
    )
    word, used = found.layers[0], found.layers[3]
    assert word.low > found.majority
    assert used.low > word.accuracy
    assert used.accuracy > 0.85
    assert used.selectivity is not None
    assert word.selectivity is not None
    assert used.selectivity > word.selectivity > 0


def a_task(folder: Path, kind: str) -> Path:
    """A folder of train and test in which the last word, or each word, says the label."""
    for split, count in (("train", 40), ("test", 20)):
        examples = sentences(count, len(split))
        if kind == "tokens":
            blocks = [
                "".join(f"{w}\t{n}\n" for w, n in zip(e.texts, e.label, strict=True))
                for e in examples
                if isinstance(e.label, list)
            ]
            (folder / f"{split}.conll").write_text("\n".join(blocks))
        else:
            rows = [f"{' '.join(example.texts)},{example.texts[2]}" for example in examples]
            (folder / f"{split}.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    return folder


def source_of(bert: PretrainedBert) -> PretrainedSource:
    model = bert.model
    rows = model.encoder.embeddings.word.num_embeddings
    return PretrainedSource("a model", model.config, rows, model.state_dict(), bert.tokenizer)


@pytest.mark.parametrize(("kind", "pooling"), [("tokens", "cls"), ("text", "mean")])
def test_a_probe_of_files_is_that_of_their_examples(
    bert: PretrainedBert,
    tmp_path: Path,
    kind: str,
    pooling: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = FinetuneConfig(
        task=TaskConfig(TaskKind(kind)),
        data=LabelledConfig(path=str(a_task(tmp_path, kind)), train_examples=30),
        batch=LabelledBatchConfig(max_length=16),
    )
    found = Prober(config).probe(source_of(bert))
    assert (found.model, found.task, found.pooling) == ("a model", kind, pooling)
    data = read_labelled(config.data, config.task, 0)
    assert len(data.splits["train"]) == 30
    assert found.probes == encode_probe(
        bert.tokenizer, data.splits["train"], data.splits["test"], data.names,
        kind=TaskKind(kind), max_length=16,
    ).result(bert.model.encoder)  # fmt: skip
    assert found.seconds > 0
    json.dumps(asdict(found))
    show_probes(found)
    shown = capsys.readouterr().out
    rows = [line for line in shown.splitlines() if line.startswith(("0 (emb", "1 ", "2 ", "mix"))]
    assert len(rows) == 4
    assert f"{found.probes.layers[2].accuracy:.1%}" in rows[2]
    assert f"{found.probes.mix_weights[1]:.2f}" in rows[1]
    assert ("selectivity" in shown) == (kind == "tokens")
    assert "majority baseline" in shown
    assert f"{found.probes.majority:.1%}" in shown


@pytest.mark.parametrize(
    ("task", "length", "override", "message"),
    [
        (TaskConfig(TaskKind.number), 16, "task=number", "a probe tells classes apart"),
        (TaskConfig(pooling=Pooling.pooler), 16, "task.pooling=pooler", "use task.pooling=mean or"),
        (TaskConfig(TaskKind.tokens, pooling=Pooling.mean), 16, "seed=1", "of a word its own"),
        (TaskConfig(), 600, "batch.max_length=600", "is more than the 512 positions of a model"),
        (TaskConfig(), 16, "optim.lr=1", "optim.lr=1 would change nothing: a probe takes task=,"),
        (TaskConfig(), 16, "batch.global_batch_size=8", "would change nothing"),
        (TaskConfig(), 16, "init_from=x", "init_from=x would change nothing"),
    ],
)
def test_what_a_probe_cannot_use_is_refused(
    bert: PretrainedBert, task: TaskConfig, length: int, override: str, message: str
) -> None:
    config = FinetuneConfig(task=task, batch=LabelledBatchConfig(max_length=length))
    with pytest.raises(UserError, match=message):
        Prober(config, [override]).probe(source_of(bert))


@pytest.mark.slow
def test_the_command(
    bert: PretrainedBert, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = {f"model.{name}": value for name, value in bert.model.state_dict().items()}
    model = {"hidden_size": 32, "intermediate_size": 64, "initializer_range": 0.1}
    description = {
        "format": CHECKPOINT_FORMAT,
        "model": model,
        "vocab_size": bert.model.encoder.embeddings.word.num_embeddings,
        "tokenizer": bert.tokenizer.to_str(),
    }
    torch.save({"state_dict": state, "bert_lightning": description}, tmp_path / "last.ckpt")
    data = tmp_path / "data"
    data.mkdir()
    arguments = [str(tmp_path / "last.ckpt"), "task=tokens", f"data.path={a_task(data, 'tokens')}"]
    command("probe")([*arguments, "batch.max_length=16", "data.train_examples=30", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["classes"] == 3
    assert len(found["probes"]["layers"]) == 3
    assert found["probes"]["examples"] == 120
    for wrong, message in (("task=words", "unknown task 'words'"), ("tsk=text", "did you mean")):
        with pytest.raises(SystemExit) as ended:
            command("probe")([arguments[0], wrong])
        assert ended.value.code == 2
        assert message in capsys.readouterr().err
