"""The worked examples that open the steep places compute what they say."""

import doctest
import re
from importlib import import_module
from inspect import getdoc
from textwrap import dedent

import numpy as np
import pytest
import torch

from bert_lightning.batch import IS_NEXT, IS_RANDOM
from bert_lightning.config import PairKind, PairsConfig, PairTask
from bert_lightning.corpus.store import Split
from bert_lightning.data import pairs
from bert_lightning.data.pairs import pair_sampler
from bert_lightning.data.randomness import random_bits
from bert_lightning.model.attention import attend_in_buckets, bucket_by_length
from bert_lightning.model.linear_cross_entropy import linear_cross_entropy_sum


@pytest.mark.parametrize("name", ["batch", "data.masking", "data.pairs", "model.attention"])
def test_the_examples_in_docstrings_print_what_they_show(name: str) -> None:
    module = import_module(f"bert_lightning.{name}")
    done = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert (done.failed, done.attempted > 0) == (0, True)


def run_lines(function: object, values: dict[str, torch.Tensor | float]) -> dict[str, torch.Tensor]:
    """Runs the indented lines of a docstring on these values; returns all that they assign."""
    lines = re.findall(r"\n\n((?: {4}.+\n)+)\n", getdoc(function) or "")
    assert len(lines) == 1
    found = {"torch": torch, **values}
    exec(dedent(lines[0]), found)
    return found  # type: ignore[return-value]


def test_cross_entropy_and_its_gradient_equal_the_plain_lines() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(4, 5).double(), torch.randn(7, 5).double()
    bias, labels = torch.randn(7).double(), torch.tensor([3, 0, 6, 3])
    inputs = {"x": x, "weight": weight, "bias": bias}
    plain = run_lines(linear_cross_entropy_sum, {**inputs, "labels": labels})
    for tensor in inputs.values():
        tensor.requires_grad_()
    nll, _ = linear_cross_entropy_sum(x, weight, bias, labels)
    nll.backward()
    torch.testing.assert_close(nll, plain["nll"])
    for name, tensor in inputs.items():
        torch.testing.assert_close(tensor.grad, plain[f"grad_{name}"])


def test_attention_and_its_gradient_equal_the_plain_lines() -> None:
    torch.manual_seed(0)
    qkv, grad_mixed = torch.randn(4, 3, 1, 8).double(), torch.randn(4, 1, 8).double()
    query, key, value = qkv[:, :, 0].unbind(1)
    plain = run_lines(
        attend_in_buckets,
        {
            **{"query": query, "key": key, "value": value, "grad_mixed": grad_mixed[:, 0]},
            **{"kept": torch.ones(()), "dropout_p": 0.0},
        },
    )
    qkv.requires_grad_()
    mixed = attend_in_buckets(qkv, bucket_by_length(np.array([4]), 1, torch.device("cpu")), 0.0)
    (grad,) = torch.autograd.grad(mixed, qkv, grad_mixed)
    torch.testing.assert_close(mixed[:, 0], plain["mixed"])
    for place, name in enumerate(("query", "key", "value")):
        torch.testing.assert_close(grad[:, place, 0], plain[f"grad_{name}"])


def split_of(sentences: list[int], documents: list[int]) -> Split:
    """A split of sentences with these lengths, in documents of so many and one paragraph each."""
    starts = np.cumsum([0, *sentences])
    tokens = np.arange(starts[-1])
    paragraphs = np.cumsum([0, *documents])
    return Split(
        token_ids=tokens,
        word_starts=np.ones(len(tokens), bool),
        sentence_starts=starts,
        paragraph_starts=paragraphs,
        document_starts=np.arange(len(paragraphs)),
        token_counts=np.ones(len(tokens), np.int64),
    )


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        (PairTask.nsp, {(0, 1, IS_NEXT), (0, 2, IS_RANDOM), (0, 3, IS_RANDOM)}),
        (PairTask.sop, {(0, 1, IS_NEXT), (1, 0, IS_RANDOM)}),
    ],
)
def test_the_pairs_of_four_sentences_in_two_documents(
    task: PairTask, expected: set[tuple[int, int, int]]
) -> None:
    sampler = pair_sampler(split_of([1] * 4, [2, 2]), PairsConfig(PairKind.sentence, task), 16)
    assert len(sampler) == 2
    seen = set()
    for seed in range(40):
        found = sampler.sample(np.array([0]), seed)
        seen.add((*found.first_start, *found.second_start, *found.nsp_labels))
    assert seen == expected


@pytest.mark.parametrize(("room", "parts"), [(6, [(0, 2), (2, 4)]), (7, [(0, 4)])])
def test_the_parts_of_a_document_of_four_sentences(room: int, parts: list[tuple[int, int]]) -> None:
    starts, ends = pairs._parts(split_of([3] * 4, [4]), room)
    assert list(zip(starts.tolist(), ends.tolist(), strict=True)) == parts


def test_a_part_is_cut_at_a_random_sentence() -> None:
    sampler = pair_sampler(
        split_of([3] * 4 + [2], [4, 1]), PairsConfig(PairKind.segment, short_seq_prob=0.0), 7 + 3
    )
    seen = set()
    for seed in range(60):
        found = sampler.sample(np.array([0]), seed)
        seen.add((*found.first_length, *found.second_start, *found.nsp_labels))
    assert {(3, 3, IS_NEXT), (3, 12, IS_RANDOM)} <= seen  # a | b c d, cut to 7 tokens; a | other


def test_a_sentence_outside_the_document_of_b() -> None:
    split, b = split_of([1] * 4, [1, 2, 1]), np.array([1])
    drawn = {
        int(pairs.sentence_of_another_document(split, b, random_bits(np.array([bits])))[0])
        for bits in range(40)
    }
    assert drawn == {0, 3}
