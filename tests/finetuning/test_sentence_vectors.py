"""Sentence vectors: which texts belong together, groups of negatives, what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from labelled_files import write_csv
from tokenizers import Tokenizer, models, pre_tokenizers

from bert_lightning.batch import SPECIAL_TOKENS
from bert_lightning.config import ModelConfig, TrainerConfig
from bert_lightning.config.finetune import FinetuneConfig
from bert_lightning.config.task import (
    LabelledBatchConfig,
    LabelledConfig,
    Pooling,
    Positives,
    TaskConfig,
    TaskKind,
)
from bert_lightning.data.dealing import StepPartition
from bert_lightning.errors import UserError
from bert_lightning.finetuning.batches import TaskExamples
from bert_lightning.finetuning.encoding import EncodedSplit, encode_split
from bert_lightning.finetuning.labelled.examples import LabelledExample
from bert_lightning.finetuning.labelled.read import LabelledData, read_labelled
from bert_lightning.finetuning.model import BertForTask, HeadShape
from bert_lightning.finetuning.predict import FineTunedBert, outputs_of
from bert_lightning.finetuning.sentences.groups import with_whole_groups
from bert_lightning.finetuning.tasks.kinds import task_of

SENTENCE = task_of(TaskKind.sentence)
HEADER = ("text", "text_pair", "score")
SCORED = [["a b", "a c", 4.0], ["c", "d e", 1.0], ["a b", "b", 5.0], ["d", "a c", 0.0]]
MODEL = ModelConfig(
    hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
    max_position_embeddings=12, hidden_dropout_prob=0.1,
)  # fmt: skip


def options(positives: str = "dropout", **others: Any) -> TaskConfig:
    return TaskConfig(TaskKind.sentence, positives=Positives(positives), **others)


def read(folder: Path, rows: Any, header: Any = HEADER, **task: Any) -> LabelledData:
    """Reads a file to train on, beside held-out pairs with scores."""
    dev, test = (str(write_csv(folder / f"{name}.csv", SCORED, HEADER)) for name in ("dev", "test"))
    train = str(write_csv(folder / "train.csv", rows, header))
    data = LabelledConfig(path=train, validation_path=dev, test_path=test)
    return read_labelled(data, options(**task), 0)


def tokenizer() -> Tokenizer:
    vocabulary = {word: number for number, word in enumerate([*SPECIAL_TOKENS, *"abcde"])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made


def encoded(examples: list[LabelledExample], max_length: int = 8) -> EncodedSplit:
    return encode_split(examples, TaskKind.sentence, [], tokenizer(), max_length)


# Which texts belong together.


@pytest.mark.parametrize("header", [HEADER, ("text", "text_pair", "kind of text")])
def test_each_different_text_belongs_to_itself(tmp_path: Path, header: Any) -> None:
    train = read(tmp_path, SCORED, header).splits["train"]
    assert [one.texts for one in train] == [(t, t) for t in ("a b", "a c", "c", "d e", "b", "d")]
    assert {one.label for one in train} == {None}


def test_texts_alone_are_enough_to_train_on(tmp_path: Path) -> None:
    data = read(tmp_path, [["a"], ["b"], ["a"]], ("text",))
    assert [one.texts for one in data.splits["train"]] == [("a", "a"), ("b", "b")]
    assert [one.label for one in data.splits["test"]] == [4.0, 1.0, 5.0, 0.0]


def test_labels_that_are_not_needed_may_be_anything(tmp_path: Path) -> None:
    assert len(read(tmp_path, [["a", "x"], ["b", ""]], ("text", "label")).splits["train"]) == 2


def test_pairs_are_all_rows_or_those_of_a_score(tmp_path: Path) -> None:
    pairs = [row[:2] for row in SCORED]
    train = read(tmp_path, pairs, HEADER[:2], positives="pairs").splits["train"]
    assert [[*one.texts] for one in train] == pairs
    train = read(tmp_path, SCORED, positives="pairs", min_score=4.0).splits["train"]
    assert [[*one.texts] for one in train] == [pairs[0], pairs[2]]
    assert {one.label for one in train} == {None}


def test_a_file_alone_is_divided_before_its_texts_are_paired(tmp_path: Path) -> None:
    rows = [[f"a {n}", f"b {n}", float(n)] for n in range(20)]
    file = write_csv(tmp_path / "all.csv", rows, HEADER)
    splits = read_labelled(LabelledConfig(path=str(file)), options(), 0).splits
    assert {name: len(examples) for name, examples in splits.items()} == {
        "train": 32, "validation": 2, "test": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "header", "task", "message"),
    [
        (SCORED, HEADER, {"positives": "pairs"}, "train.csv has scores from 0 to 5, and .*min_sc"),
        (SCORED, HEADER, {"positives": "pairs", "min_score": 9.0}, "train.* no labelled example"),
        ([["a"], ["b"]], ("text",), {"positives": "pairs"}, "no column of the second text"),
        ([["a"], ["a"]], ("text",), {}, "no two different texts to tell apart"),
        ([["a", "x"]], ("text", "rest"), {"text_column": "body"}, "no column 'body'"),
        ([["a", ""], ["b", "c"]], HEADER[:2], {}, "row 2: column 'text_pair' is empty"),
    ],
)
def test_what_leaves_nothing_to_learn_is_refused(
    tmp_path: Path, rows: Any, header: Any, task: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read(tmp_path, rows, header, **task)


def test_scores_are_needed_where_they_are_held_out(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "train.csv", [["a", "b"], ["c", "d"]], HEADER[:2])
    with pytest.raises(UserError, match=r"no column of the label.*task\.label_column"):
        read_labelled(LabelledConfig(path=str(file)), options(), 0)
    write_csv(file, [["a", "b", "often"], ["c", "d", "1"]], HEADER)
    with pytest.raises(UserError, match=r"row 2: the label 'often'.*which task=sentence needs"):
        read_labelled(LabelledConfig(path=str(file)), options(), 0)


def test_a_test_split_without_scores_is_not_held_out_of_texts_alone(tmp_path: Path) -> None:
    held_out = str(write_csv(tmp_path / "dev.csv", SCORED, HEADER))
    test = str(write_csv(tmp_path / "test.csv", [row[:2] for row in SCORED], HEADER[:2]))
    train = str(write_csv(tmp_path / "train.csv", [["a"], ["b"]], ("text",)))
    data = LabelledConfig(path=train, validation_path=held_out, test_path=test)
    with pytest.raises(UserError, match=r"read without labels, and test would.*data\.test_path="):
        read_labelled(data, options(), 0)


def test_options_of_sentence_vectors_are_refused_elsewhere() -> None:
    with pytest.raises(UserError, match=r"task\.temperature=0\.1 belongs to sentence vectors"):
        TaskConfig(TaskKind.text, temperature=0.1)
    with pytest.raises(UserError, match=r"task\.positives=pairs belongs to sentence vectors"):
        TaskConfig(TaskKind.number, positives=Positives.pairs)
    with pytest.raises(UserError, match=r"task\.min_score=3 chooses rows"):
        options("dropout", min_score=3.0)


# Batches.

PAIRS = [
    LabelledExample((first, second), None, "")
    for first, second in (("a", "b c"), ("c d e", "a"), ("b", "b c"), ("e", "e"))
]


def test_an_example_is_two_sequences_that_no_batch_divides() -> None:
    split = encoded(PAIRS)
    assert len(split) == 4
    assert split.labels.tolist() == [0, 1, 0, 2]  # equal second texts have one number
    batch = TaskExamples(split, "sentence", 0).build(
        np.array([2, 0]), np.zeros(2, np.int64), 0.0, {"sentence": 2}
    )
    b, c, a = 6, 7, 5
    ids = [2, b, 3, 2, b, c, 3, 2, a, 3, 2, b, c, 3]
    assert batch.sequences.token_ids.tolist() == ids
    assert batch.sequences.token_type_ids.tolist() == [0] * len(ids)
    assert batch.positions.tolist() == [0, 3, 7, 10]
    assert batch.labels.tolist() == [0, 0]
    part = batch.part(2, 4)
    assert part.sequences.token_ids.tolist() == ids[7:]
    assert part.labels.tolist() == [0]
    assert part.positions.tolist() == [0, 3]


def test_an_example_of_which_a_text_is_cut_is_counted_once() -> None:
    long = [
        LabelledExample(("a b c d", "a b c d e"), 1.0, ""),
        LabelledExample(("a", "b"), 2.0, ""),
    ]
    split = encoded(long, max_length=5)
    assert split.cut == 1
    assert np.diff(split.starts).tolist() == [5, 5, 3, 3]
    assert split.labels.dtype == np.float32


@pytest.mark.parametrize("pooling", [Pooling.mean, Pooling.cls, Pooling.pooler])
def test_a_prediction_is_the_cosine_of_two_vectors(pooling: Pooling) -> None:
    torch.manual_seed(0)
    shape = HeadShape(TaskKind.sentence, SENTENCE.outputs([], MODEL), pooling)
    model = BertForTask(MODEL, 10, shape).eval()
    outputs = outputs_of(model, encoded(PAIRS))
    assert outputs.shape == (8, 16)
    torch.testing.assert_close(outputs.norm(dim=1), torch.ones(8))
    cosines = torch.cosine_similarity(outputs[0::2], outputs[1::2])
    predicted = SENTENCE.predict(outputs.numpy(), np.full(4, 2))
    np.testing.assert_allclose(predicted, cosines, rtol=1e-6)
    assert predicted[3] == pytest.approx(1)  # of a text and itself
    with torch.no_grad():
        hidden = model.encoder(TaskExamples(encoded(PAIRS), "", 0).build(
            np.array([0]), np.array([0]), 0.0, {}
        ).sequences)  # fmt: skip
    vector = {Pooling.mean: hidden[:3].mean(0), Pooling.cls: hidden[0]}.get(pooling)
    if vector is not None:
        torch.testing.assert_close(outputs[0], vector / vector.norm())


def test_a_model_encodes_texts_as_its_split_does() -> None:
    torch.manual_seed(0)
    model = BertForTask(MODEL, 10, HeadShape(TaskKind.sentence, 16, Pooling.mean)).eval()
    bert = FineTunedBert(model, with_special_tokens(), [])
    texts = [text for one in PAIRS for text in one.texts]
    vectors = bert.encode(texts)
    torch.testing.assert_close(vectors, outputs_of(model, encoded(PAIRS)))
    assert bert.similarity("a", "b c") == pytest.approx(float(vectors[0] @ vectors[1]), abs=1e-6)
    assert bert.encode([]).shape == (0, 16)
    with pytest.raises(UserError, match="expects a list of texts"):
        bert.encode("a")
    with pytest.raises(UserError, match="this model reads 12 at most"):
        bert.encode(["a " * 40])
    assert bert.encode(["a " * 40], truncate=True).shape == (1, 16)


def with_special_tokens() -> Tokenizer:
    from tokenizers.processors import TemplateProcessing

    made = tokenizer()
    made.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made


# Groups of negatives.


def sizes(total: int, group: int | None, micro: int | None = None) -> FinetuneConfig:
    return FinetuneConfig(
        task=options(group_size=group),
        batch=LabelledBatchConfig(global_batch_size=total, micro_batch_size=micro),
        trainer=TrainerConfig(max_epochs=1),
    )


@pytest.mark.parametrize(
    ("total", "group", "world", "chosen", "expected"),
    [
        (32, None, 1, 1, 1),
        (32, None, 1, 8, 1),  # one group, however little fits
        (96, 16, 1, 6, 6),
        (96, 16, 1, 4, 6),  # 24 examples are no whole groups, and 16 fit where 24 do
        (96, 16, 1, 96, 6),
        (96, 16, 3, 32, 2),
        (96, 8, 2, 4, 6),
    ],
)
def test_micro_batches_hold_whole_groups(
    total: int, group: int | None, world: int, chosen: int, expected: int
) -> None:
    partition = with_whole_groups(StepPartition(0, world, chosen), sizes(total, group))
    assert partition == StepPartition(0, world, expected, together=group or total)
    assert with_whole_groups(partition, sizes(total, group)) == partition


@pytest.mark.parametrize(
    ("config", "world", "message"),
    [
        (sizes(1, None), 1, "batch.global_batch_size=1 leaves each text alone, .*: use 2 or more"),
        (sizes(32, None), 2, "each of 2 devices has 16, .*: use task.group_size=16, or"),
        (sizes(32, 12), 1, "a step has 32, .*: use task.group_size=32, or"),
        (sizes(32, 16, micro=8), 1, "a micro-batch has 8, .*: use task.group_size=8, or"),
        (sizes(32, None, micro=1), 1, "a micro-batch has 1, .*: use larger micro-batches, or"),
    ],
)
def test_groups_that_would_be_divided_are_refused(
    config: FinetuneConfig, world: int, message: str
) -> None:
    of_device = config.batch.global_batch_size // world
    accumulation = of_device // (config.batch.micro_batch_size or of_device)
    with pytest.raises(UserError, match=message):
        with_whole_groups(StepPartition(0, world, accumulation), config)


@pytest.mark.parametrize("off", ["hidden_dropout_prob", "attention_probs_dropout_prob", "both"])
def test_a_model_without_dropout_cannot_tell_a_text_from_itself(off: str) -> None:
    rates = {
        name: 0.0 if off in (name, "both") else 0.1
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob")
    }
    head = SENTENCE.head(ModelConfig(**rates), 16)
    head.fit(np.arange(3), options("pairs"))
    if off != "both":
        head.fit(np.arange(3), options("dropout"))
        return
    with pytest.raises(UserError, match=r"dropout 0: use task\.dropout=0\.1, or task\.positives="):
        head.fit(np.arange(3), options("dropout"))
