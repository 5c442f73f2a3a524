"""Vectors of spans of tokens in every layer, and texts that are cut around a word."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from bert_lightning.corpus.tokenizer import Encoding
from bert_lightning.inference.loaded import PretrainedBert
from bert_lightning.inference.spans import cut_around, span_vectors

TEXTS = ["a crane is flying", "fox", "the steel crane left", "he just came", "the fox left"]
SPANS = [[slice(0, 1), slice(2, 4)], [], [slice(0, 6)], [slice(4, 5)], [slice(1, 2), slice(1, 4)]]


def encoded(tokenizer: Tokenizer) -> list[Encoding]:
    return tokenizer.encode_batch(TEXTS)


@pytest.mark.parametrize("tokens_per_batch", [1, 7, 11, 1000])
def test_a_span_is_the_mean_of_its_tokens_in_each_layer(
    bert: PretrainedBert, tokenizer: Tokenizer, tokens_per_batch: int
) -> None:
    batches = list(span_vectors(bert.model, encoded(tokenizer), SPANS, tokens_per_batch))
    found = torch.cat(batches, dim=1)
    for layer, vectors in enumerate(found):
        expected = [
            bert.encode(text, layer=layer).vectors[span].mean(0)
            for text, spans in zip(TEXTS, SPANS, strict=True)
            for span in spans
        ]
        torch.testing.assert_close(vectors, torch.stack(expected), atol=1e-5, rtol=0)
    assert len(found) == len(bert.model.encoder.blocks) + 1


@pytest.mark.parametrize(
    ("most", "totals"), [(1, [6, 6, 5, 5]), (11, [9, 11, 5]), (12, [9, 11, 5]), (99, [25])]
)
def test_a_batch_has_no_more_tokens_than_are_allowed(
    bert: PretrainedBert, tokenizer: Tokenizer, most: int, totals: Sequence[int]
) -> None:
    """Of 6, 3, 6, 5 and 5 tokens; a text without spans is not run if it is alone in its batch."""
    seen: list[int] = []
    bert.model.encoder.embeddings.register_forward_pre_hook(
        lambda _, args: seen.append(len(args[0].token_ids))
    )
    list(span_vectors(bert.model, encoded(tokenizer), SPANS, most))
    assert seen == list(totals)
    assert list(span_vectors(bert.model, [], [], most)) == []


def test_the_vectors_can_train_a_probe(bert: PretrainedBert, tokenizer: Tokenizer) -> None:
    (found,) = span_vectors(bert.model, encoded(tokenizer), SPANS)
    probe = torch.nn.Linear(128, 2)
    probe(found[0]).sum().backward()
    assert probe.weight.grad is not None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=st.integers(0, 30), after=st.integers(0, 30), limit=st.integers(5, 20))
def test_a_text_is_cut_around_a_word(
    tokenizer: Tokenizer, before: int, after: int, limit: int
) -> None:
    text = " ".join(["the"] * before + ["unloading"] + ["a"] * after)  # three tokens
    whole, span = cut_around(
        tokenizer,
        tokenizer.encode(text, add_special_tokens=False),
        slice(before, before + 3),
        limit,
    )
    assert whole.tokens[span] == ["un", "##load", "##ing"]
    assert len(whole) == min(limit, before + 3 + after + 2)
    assert (whole.tokens[0], whole.tokens[-1]) == ("[CLS]", "[SEP]")
    left, right = span.start - 1, len(whole) - 1 - span.stop
    if before > left and after > right:  # cut on both sides
        assert abs(left - right) <= 1


def test_a_word_longer_than_the_model_reads_keeps_its_middle(tokenizer: Tokenizer) -> None:
    encoding = tokenizer.encode("a crane unloading steel", add_special_tokens=False)
    whole, span = cut_around(tokenizer, encoding, slice(2, 5), 4)
    assert whole.tokens == ["[CLS]", "un", "##load", "[SEP]"]
    assert span == slice(1, 3)
