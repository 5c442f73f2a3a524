"""Which of several texts is right: examples, batches, scores, exports and answers."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from labelled_files import read, refusal, write_csv, write_jsonl
from random_tasks import PLAIN, source_of, tokenizer

import bert_lightning
from bert_lightning.config.finetune import FinetuneConfig
from bert_lightning.config.task import LabelledBatchConfig, Pooling, TaskKind
from bert_lightning.data.dealing import StepPartition
from bert_lightning.data.phases import Phase
from bert_lightning.data.steps import StepBatches
from bert_lightning.errors import UserError
from bert_lightning.finetuning.assembly import _as_pretraining
from bert_lightning.finetuning.batches import TaskExamples
from bert_lightning.finetuning.encoding import EncodedSplit, encode_split
from bert_lightning.finetuning.export import export_task, outputs
from bert_lightning.finetuning.labelled.examples import LabelledExample
from bert_lightning.finetuning.model import HeadShape
from bert_lightning.finetuning.predict import FineTunedBert, fine_tuned
from bert_lightning.finetuning.probing.task_probe import encode_probe
from bert_lightning.finetuning.tasks.head import TaskHead
from bert_lightning.finetuning.tasks.kinds import task_of
from bert_lightning.sizing.devices import Devices
from bert_lightning.sizing.micro_batches import divide_global_batch

CHOICE = task_of(TaskKind.choice)
SHAPE = HeadShape(TaskKind.choice, 1, Pooling.pooler)
GOOD_BAD = ("sentence_good", "sentence_bad")
TWO = ("text", "text_pair", "label")
PAIRS = [(f"the {n} cranes fly", f"the {n} cranes flies") for n in range(200)]


def examples(rows: Sequence[tuple[str, ...]], labels: Sequence[int]) -> list[LabelledExample]:
    return [
        LabelledExample(texts, str(label + 1), "here")
        for texts, label in zip(rows, labels, strict=True)
    ]


# Reading.


def right(path: Path) -> list[str]:
    """The right text of each example, in the order of the file."""
    splits = read(path, TaskKind.choice).splits.values()
    found = [one for split in splits for one in split]
    found.sort(key=lambda one: int(one.place.rpartition(" ")[2]))
    return [one.texts[int(str(one.label)) - 1] for one in found]


def test_the_place_of_the_good_sentence_is_drawn_and_says_nothing(tmp_path: Path) -> None:
    data = read(write_jsonl(tmp_path / "a.jsonl", PAIRS, GOOD_BAD), TaskKind.choice)
    again = read(write_csv(tmp_path / "b.csv", [pair[::-1] for pair in PAIRS], GOOD_BAD[::-1]),
                 TaskKind.choice)  # fmt: skip
    assert data.key == again.key
    assert data.names == ["1", "2"]
    labels = [one.label for split in data.splits.values() for one in split]
    assert 70 < labels.count("1") < 130
    assert right(tmp_path / "a.jsonl") == [good for good, _ in PAIRS]


def test_a_label_is_a_number_from_0_or_from_1_or_a_column(tmp_path: Path) -> None:
    places = [0, 1, 1, 0, 1, 0] * 5
    texts = [("a" * (n + 1), "b" * (n + 1)) for n in range(30)]
    expected = [pair[place] for pair, place in zip(texts, places, strict=True)]
    for said in ([0, 1], [1, 2], ["text", "text_pair"]):
        rows = [(*pair, said[place]) for pair, place in zip(texts, places, strict=True)]
        assert right(write_csv(tmp_path / "a.csv", rows, TWO)) == expected


def test_candidates_may_be_numbered_and_follow_a_context(tmp_path: Path) -> None:
    rows = [(f"he left {n}", n % 3, "early", "late", "home") for n in range(30)]
    header = ("startphrase", "label", "ending0", "ending1", "ending2")
    data = read(write_csv(tmp_path / "a.csv", rows, header), TaskKind.choice)
    assert data.names == ["1", "2", "3"]
    example = data.splits["train"][0]
    number = int(example.place.rpartition(" ")[2]) - 2
    assert example.texts == tuple(f"he left {number} {end}" for end in ("early", "late", "home"))
    assert example.label == str(number % 3 + 1)


ROWS = [("a b", "b a", n % 2) for n in range(20)]


@pytest.mark.parametrize(
    ("rows", "header", "expected"),
    [
        ([*ROWS, ("a", "b", 7)], TWO, r"row 22: the label '7' in column 'label' names none of the "
         r"2 candidates: it must be a number from 0 to 1, or one of text, text_pair"),
        ([*ROWS, ("a", "a", 1)], TWO, "row 22: two candidates are the same text"),
        ([("a", "b", 1)] * 20, TWO, "every label is '1', so the place alone says which text is "
         "right: name the columns sentence_good and sentence_bad"),
        ([("a", " ")] * 3, GOOD_BAD, "column 'sentence_bad' is empty (the first of 3 empty cells)"),
        ([("a", 1)], ("text", "label"), "no column of the second text by a usual name"),
        ([(*one[:2], "") for one in ROWS], TWO, "the label in column 'label' is empty"),
    ],
)  # fmt: skip
def test_what_is_no_choice_is_refused(
    tmp_path: Path, rows: Sequence[Sequence[Any]], header: Sequence[str], expected: str
) -> None:
    assert expected in refusal(write_csv(tmp_path / "a.csv", rows, header), TaskKind.choice)


def test_all_splits_have_as_many_candidates_and_no_class_is_drawn(tmp_path: Path) -> None:
    train = write_csv(tmp_path / "train.csv", ROWS, ("choice1", "choice2", "label"))
    write_csv(
        tmp_path / "test.csv", [("a", "b", "c", 1)], ("choice1", "choice2", "choice3", "label")
    )
    assert "an example of test has 3 candidates, and one of train 2" in refusal(
        tmp_path, TaskKind.choice
    )
    assert "an example has no one class" in refusal(train, TaskKind.choice, examples_per_class=2)


# Batches and the loss.


@pytest.fixture(scope="module")
def split() -> EncodedSplit:
    """Seven examples of three candidates, each of another length."""
    rows = [tuple("a " * (3 * n + k + 1) for k in range(3)) for n in range(7)]
    places = [0, 2, 1, 1, 0, 2, 2]
    return encode_split(examples(rows, places), TaskKind.choice, ["1", "2", "3"], tokenizer(), 16)


def test_no_batch_divides_an_example(split: EncodedSplit) -> None:
    def steps(world_size: int, accumulation: int) -> list[list[int]]:
        """The examples of each step, of all ranks and micro-batches."""
        seen: list[list[int]] = [[] for _ in range(5)]
        for rank in range(world_size):
            partition = StepPartition(rank, world_size, accumulation)
            phases = [Phase(16, 4, 0, 5)]
            batches = StepBatches([TaskExamples(split, "choice", 0)], phases, partition, 5)
            for number in range(len(batches)):
                batch = batches[number]
                outputs_of = batch.output_index.view(-1, 3)
                chosen = (outputs_of[:, 0] // 3).numpy()
                assert (outputs_of % 3 == torch.arange(3)).all()
                assert batch.widths.tolist() == [3] * len(chosen)
                assert batch.positions.tolist() == batch.sequences.cu_seqlens[:-1].tolist()
                assert batch.labels.tolist() == split.labels[chosen].tolist()
                assert batch.global_counts == {"choice": 4}
                seen[number // accumulation] += chosen.tolist()
        return [sorted(step) for step in seen]

    assert (len(split), len(split.first_lengths), split.cut) == (7, 21, 3)
    whole = steps(1, 1)
    assert [len(step) for step in whole] == [4] * 5
    for world_size, accumulation in ((1, 2), (2, 1), (2, 2)):
        assert steps(world_size, accumulation) == whole


def test_memory_is_planned_for_all_candidates_of_an_example() -> None:
    """Also where they are longer together than the model reads."""
    config = FinetuneConfig(batch=LabelledBatchConfig(max_length=16, global_batch_size=64))
    devices = Devices("cpu", 1, 1, 1)
    partitions = [
        divide_global_batch(_as_pretraining(config, source_of(SHAPE), each), devices, 20, 3e6)
        for each in (1, 2, 4)
    ]
    accumulations = [partition.accumulation for partition in partitions]
    assert accumulations == sorted({*accumulations})


def test_the_loss_is_the_softmax_over_the_candidates_of_an_example() -> None:
    rows = examples([("a", "b"), ("c", "a")], [1, 0])
    two = encode_split(rows, TaskKind.choice, ["1", "2"], tokenizer(), 16)
    logits, labels = torch.tensor([[0.5], [2.0], [-1.0], [0.0]]), torch.from_numpy(two.labels)
    head = CHOICE.head(PLAIN, 1)
    assert isinstance(head, TaskHead)
    sums = head.sums(logits, labels, two.widths)
    expected = -(
        torch.tensor([0.5, 2.0]).log_softmax(0)[1] + torch.tensor([-1.0, 0]).log_softmax(0)[0]
    )
    torch.testing.assert_close(sums.nll, expected)
    assert (sums.correct, sums.labels) == (1, 2)
    assert CHOICE.predict(logits.numpy(), two).tolist() == [1, 1]
    probabilities = logits.view(2, 2).softmax(1).max(1).values.numpy()
    np.testing.assert_allclose(CHOICE.confidence(logits.numpy(), two), probabilities, rtol=1e-6)


# Scores.


def test_chance_is_right_once_in_as_many_as_there_are_candidates() -> None:
    labels = np.array([0, 1, 2, 1])
    names, sizes, predicted = ["1", "2", "3"], np.ones(4), np.array([0, 1, 1, 0])
    by_chance = CHOICE.scores(np.full(4, -1), labels, names, sizes)
    assert by_chance["accuracy"] == pytest.approx(1 / 3)
    assert CHOICE.scores(predicted, labels, names, sizes) == {"accuracy": 0.5}
    score_on = CHOICE.score_on(predicted, labels, names, sizes)
    assert score_on(np.array([0, 0, 2])) == pytest.approx(2 / 3)


def test_tf_idf_chooses_the_text_with_the_right_words() -> None:
    pytest.importorskip("sklearn")
    generator = np.random.default_rng(0)
    places = generator.integers(2, size=90)
    rows = [
        tuple(f"w{generator.integers(9)} {'flies' if k == place else 'fly'}" for k in range(2))
        for place in places
    ]
    made = examples(rows, places.tolist())
    splits = {"train": made[:60], "validation": made[60:75], "test": made[75:]}
    labels = {"train": places[:60], "validation": places[60:75], "test": places[75:]}
    found = CHOICE.baselines(splits, labels, str.split)
    assert (found["TF-IDF"] == places[75:]).all()
    assert CHOICE.scores(found["chance"], places[75:], ["1", "2"], np.ones(15))["accuracy"] == 0.5


# Probes.


def test_a_probe_reads_the_difference_of_two_texts() -> None:
    vectors = torch.arange(24.0).view(2, 6, 2)
    found = CHOICE.features(vectors, np.array([2, 2, 2]))
    assert found.shape == (2, 3, 2)
    assert (found == -2).all()
    with pytest.raises(UserError, match="these examples have 3: give two"):
        CHOICE.features(vectors, np.array([3, 3]))
    bert = fine_tuned(source_of(SHAPE))
    made = examples([("a crane", "the crane"), ("the left", "a left")] * 10, [0, 1] * 10)
    encoded = encode_probe(bert.tokenizer, made, made, ["1", "2"], kind=TaskKind.choice)
    probed = encoded.result(bert.model.encoder)
    assert probed.examples == 20
    assert probed.layers[0].accuracy == 1
    three = examples([("a crane", "the crane", "a left")] * 4, [0, 1] * 2)
    with pytest.raises(UserError, match="these examples have 3: give two"):
        encode_probe(bert.tokenizer, three, three, ["1", "2"], kind=TaskKind.choice)


# Answers and exports.


def test_a_model_chooses_among_any_number_of_texts() -> None:
    bert = fine_tuned(source_of(SHAPE))
    texts = ["a crane", "the crane came", "unloading the crane is flying"]
    logits = outputs(bert, list(texts))[:, 0]
    best = int(logits.argmax())
    three, two = bert.choose_many([texts, texts[:2]])
    assert three.label == texts[best]
    assert three.probability == pytest.approx(float(logits.softmax(0)[best]), rel=1e-5)
    assert two == bert.choose(*texts[:2])
    with pytest.raises(UserError, match="fewer than two texts to choose from"):
        bert.choose("a crane")
    with pytest.raises(UserError, match="fine-tuned for task=choice, and this asks for classes"):
        bert.classify("a crane")


@pytest.mark.parametrize("pooling", [Pooling.pooler, Pooling.mean])
def test_an_export_loads_back(
    pooling: Pooling, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    source = source_of(SHAPE._replace(pooling=pooling))
    export_task(source, tmp_path / "out")
    back = bert_lightning.load(tmp_path / "out")
    assert isinstance(back, FineTunedBert)
    assert back.model.shape == SHAPE._replace(pooling=pooling)
    assert back.choose("a crane", "the crane") == pytest.approx(
        fine_tuned(source).choose("a crane", "the crane")
    )
    config = json.loads((tmp_path / "out/config.json").read_text())
    if pooling is Pooling.pooler:
        assert config["architectures"] == ["BertForMultipleChoice"]
        card = (tmp_path / "out/README.md").read_text()
        assert "pipeline_tag: multiple-choice" in card
        assert "{name: ids[None] for name, ids in batch.items()}" in card


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_transformers_and_onnxruntime_compute_the_same_logits(tmp_path: Path) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime", "transformers"):
        pytest.importorskip(package)
    import onnxruntime
    import transformers

    source = source_of(SHAPE)
    exported = export_task(source, tmp_path / "out", onnx=True)
    assert exported.checked_by == "transformers and onnxruntime"
    theirs = transformers.AutoModelForMultipleChoice.from_pretrained(tmp_path / "out").eval()
    reader = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    rows = [["a crane", "the crane came", "he left"], ["unloading", "is flying .", "a"]]
    batch = reader([text for row in rows for text in row], padding=True, return_tensors="pt")
    batch = {name: ids.view(2, 3, -1) for name, ids in batch.items()}
    expected = torch.stack([outputs(fine_tuned(source), list(row))[:, 0] for row in rows])
    with torch.inference_mode():
        torch.testing.assert_close(theirs(**batch).logits, expected, rtol=1e-5, atol=1e-5)
    session = onnxruntime.InferenceSession(tmp_path / "out/model.onnx")
    (logits,) = session.run(["logits"], {name: ids.numpy() for name, ids in batch.items()})
    torch.testing.assert_close(torch.from_numpy(logits), expected, rtol=0, atol=1e-4)
