"""Sequences, labels and batches of a task equal a slow rewriting, example by example."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from bert_lightning.batch import SPECIAL_TOKENS
from bert_lightning.config.task import TaskKind
from bert_lightning.data.dealing import StepPartition
from bert_lightning.data.phases import Phase
from bert_lightning.data.steps import StepBatches
from bert_lightning.finetuning.batches import TaskEvaluationBatches, TaskExamples
from bert_lightning.finetuning.encoding import EncodedSplit, encode_split
from bert_lightning.finetuning.labelled.examples import LabelledExample
from bert_lightning.finetuning.task_batch import TaskBatch

CLS, SEP, UNK = 2, 3, 1
PIECES = ["a", "b", "c", "##a", "##b", "##c"]
NAMES = ["no", "yes"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """Turns each letter into a piece; "-" is deleted, so that a word may vanish."""
    vocabulary = {token: number for number, token in enumerate([*SPECIAL_TOKENS, *PIECES])}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.Replace("-", "")
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return made


def ids(text: str) -> list[int]:
    vocabulary = [*SPECIAL_TOKENS, *PIECES]
    found = []
    for word in text.replace("-", "").split():
        for place, letter in enumerate(word):
            found.append(vocabulary.index(letter if place == 0 else f"##{letter}"))
    return found


def sequence(split: EncodedSplit, number: int) -> list[int]:
    return split.token_ids[split.starts[number] : split.starts[number + 1]].tolist()


WORD = st.text("abc", min_size=1, max_size=4)
TEXT = st.lists(WORD, min_size=1, max_size=6).map(" ".join)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(TEXT, TEXT, st.sampled_from(NAMES)), max_size=6), st.integers(5, 20))
def test_pairs_are_cut_from_the_longer_text(
    tokenizer: Tokenizer, rows: list[tuple[str, str, str]], max_length: int
) -> None:
    examples = [LabelledExample((a, b), label, "here") for a, b, label in rows]
    split = encode_split(examples, TaskKind.pair, NAMES, tokenizer, max_length)
    cut = 0
    for number, (a, b, label) in enumerate(rows):
        first, second = ids(a), ids(b)
        whole = len(first) + len(second)
        while len(first) + len(second) > max_length - 3:
            (first if len(first) > len(second) else second).pop()
        cut += len(first) + len(second) < whole
        assert sequence(split, number) == [CLS, *first, SEP, *second, SEP]
        assert split.first_lengths[number] == len(first) + 2
        assert split.labels[number] == NAMES.index(label)
    assert split.cut == cut
    assert len(split) == len(rows)


@given(
    st.lists(
        st.lists(
            st.tuples(st.text("abc-", min_size=1, max_size=5), st.sampled_from(NAMES)), min_size=1
        ),
        min_size=1,
        max_size=5,
    ),
    st.integers(5, 12),
)
def test_each_labelled_word_is_there_once_at_its_first_token(
    tokenizer: Tokenizer, sentences: list[list[tuple[str, str]]], max_length: int
) -> None:
    examples = [
        LabelledExample(tuple(word for word, _ in one), [name for _, name in one], "here")
        for one in sentences
    ]
    split = encode_split(examples, TaskKind.tokens, NAMES, tokenizer, max_length)
    words = [pair for one in sentences for pair in one]
    assert split.labels.tolist() == [NAMES.index(name) for _, name in words]
    assert split.wordless == sum(not ids(word) for word, _ in words)
    found = []
    for number in range(len(split)):
        tokens = sequence(split, number)
        assert len(tokens) <= max_length
        assert (tokens[0], tokens[-1]) == (CLS, SEP)
        places = split.positions[split.output_starts[number] : split.output_starts[number + 1]]
        bounds = [*places.tolist(), len(tokens) - 1]
        assert bounds[0] == 1
        found += [tokens[start:end] for start, end in pairwise(bounds)]
    assert found == [ids(word)[: max_length - 2] or [UNK] for word, _ in words]
    assert len(split) - len(sentences) >= split.cut


def test_numbers_keep_their_values(tokenizer: Tokenizer) -> None:
    examples = [LabelledExample(("a",), value, "here") for value in (0.5, -3.0)]
    split = encode_split(examples, TaskKind.number, [], tokenizer, 8)
    assert split.labels.dtype == np.float32
    assert split.labels.tolist() == [0.5, -3.0]


def plain_batch(split: EncodedSplit, chosen: Sequence[int]) -> dict[str, list[int]]:
    batch: dict[str, list[int]] = {
        "ids": [],
        "types": [],
        "positions": [],
        "labels": [],
        "index": [],
    }
    for number in chosen:
        tokens, start = sequence(split, number), len(batch["ids"])
        batch["ids"] += tokens
        batch["types"] += [
            int(place >= split.first_lengths[number]) for place in range(len(tokens))
        ]
        for label in range(split.label_starts[number], split.label_starts[number + 1]):
            batch["positions"].append(start + int(split.positions[label]))
            batch["labels"].append(int(split.labels[label]))
            batch["index"].append(label)
    return batch


def as_lists(batch: TaskBatch) -> dict[str, list[int]]:
    return {
        "ids": batch.sequences.token_ids.tolist(),
        "types": batch.sequences.token_type_ids.tolist(),
        "positions": batch.positions.tolist(),
        "labels": batch.labels.tolist(),
        "index": batch.output_index.tolist(),
    }


@pytest.fixture(scope="module")
def tagged(tokenizer: Tokenizer) -> EncodedSplit:
    generator = np.random.default_rng(0)
    examples = []
    for size in generator.integers(1, 9, size=11):
        words = ["".join(generator.choice(["a", "b", "c"], size=3)) for _ in range(size)]
        labels = [NAMES[choice] for choice in generator.integers(2, size=size)]
        examples.append(LabelledExample(tuple(words), labels, "here"))
    return encode_split(examples, TaskKind.tokens, NAMES, tokenizer, 16)


@given(st.lists(st.integers(0, 10), min_size=1, max_size=6))
def test_a_batch_is_the_chosen_sequences_one_after_another(
    tagged: EncodedSplit, chosen: list[int]
) -> None:
    examples = TaskExamples(tagged, "tokens", seed=0)
    index = np.array(chosen)
    lengths, counts = examples.sizes(index, index, 0.0)
    built = examples.build(index, index, 0.0, counts)
    assert lengths.tolist() == built.sequences.lengths.tolist()
    assert as_lists(built) == plain_batch(tagged, chosen)
    assert built.global_counts == {"tokens": len(built.labels)}
    for start in range(len(chosen)):
        part = built.part(start, len(chosen))
        assert as_lists(part) == plain_batch(tagged, chosen[start:])


@pytest.mark.parametrize(("world_size", "accumulation"), [(1, 1), (2, 1), (1, 4), (2, 2)])
def test_a_step_has_the_same_sequences_however_it_is_divided(
    tagged: EncodedSplit, world_size: int, accumulation: int
) -> None:
    def labels_of_steps(world_size: int, accumulation: int) -> list[list[int]]:
        steps: list[list[int]] = [[] for _ in range(6)]
        for rank in range(world_size):
            partition = StepPartition(rank, world_size, accumulation)
            phases = [Phase(16, 4, 0, 6)]
            batches = StepBatches([TaskExamples(tagged, "tokens", 3)], phases, partition, 6)
            for number in range(len(batches)):
                steps[number // accumulation] += batches[number].output_index.tolist()
        return steps

    whole = labels_of_steps(1, 1)
    assert [sorted(step) for step in labels_of_steps(world_size, accumulation)] == [
        sorted(step) for step in whole
    ]
    first_epoch = [label for step in whole for label in step][: len(tagged.labels)]
    assert len(set(first_epoch)) > 0.9 * len(tagged.labels)


@pytest.mark.parametrize("batch_size", [1, 3, 100])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_held_out_batches_have_every_label_once(
    tagged: EncodedSplit, batch_size: int, world_size: int
) -> None:
    examples = TaskExamples(tagged, "tokens", 0)
    seen = []
    for rank in range(world_size):
        batches = TaskEvaluationBatches(examples, batch_size, rank, world_size)
        seen += [
            label
            for number in range(len(batches))
            for label in batches[number].output_index.tolist()
        ]
        assert all(len(batches[number].sequences.lengths) for number in range(len(batches)))
    assert seen == list(range(len(tagged.labels)))


def test_a_batch_moves_whole(tagged: EncodedSplit) -> None:
    built = TaskExamples(tagged, "tokens", 0).build(
        np.array([0]), np.array([0]), 0.0, {"tokens": 1}
    )
    assert as_lists(built.on(torch.device("cpu"))) == as_lists(built)
