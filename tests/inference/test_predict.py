"""Fill-ins for a mask, and whether a text follows another."""

import pytest
import torch
from tokenizers import Tokenizer

from bert_lightning.batch import IS_NEXT, SPECIAL_TOKENS
from bert_lightning.errors import UserError
from bert_lightning.inference.loaded import PretrainedBert

MASKED = "the [MASK] is flying"


def favour(bert: PretrainedBert, token: str, score: float) -> None:
    with torch.no_grad():
        bert.model.mlm_head.decoder.bias[bert.tokenizer.token_to_id(token)] = score


def test_the_likeliest_word_comes_first(bert: PretrainedBert) -> None:
    favour(bert, "crane", 60.0)
    favour(bert, "fox", 55.0)
    fills = bert.fill_mask(MASKED, top=3)
    assert [fill.token for fill in fills[:2]] == ["crane", "fox"]
    assert len(fills) == 3
    assert 1 >= fills[0].probability > fills[1].probability > fills[2].probability >= 0


def test_special_tokens_and_rows_without_a_word_are_never_suggested(bert: PretrainedBert) -> None:
    for token in SPECIAL_TOKENS:
        favour(bert, token, 1.0)
    with torch.no_grad():
        bert.model.mlm_head.decoder.bias[bert.tokenizer.get_vocab_size() :] = 1.0
    fills = bert.fill_mask(MASKED, top=1000)
    words = set(bert.tokenizer.get_vocab()) - set(SPECIAL_TOKENS)
    assert len(fills) == len(words)
    assert {fill.token for fill in fills} == words
    assert 0 < sum(fill.probability for fill in fills) < 1


def test_the_probability_is_the_models_at_the_mask(bert: PretrainedBert) -> None:
    vectors = bert.encode(MASKED).vectors
    bert.model.eval()
    with torch.no_grad():
        expected = bert.model.mlm_head(vectors[2:3])[0].softmax(-1)
    for token, probability in bert.fill_mask(MASKED, 3):
        wanted = float(expected[bert.tokenizer.token_to_id(token)])
        assert probability == pytest.approx(wanted, abs=1e-6)


def test_five_words_unless_told(bert: PretrainedBert) -> None:
    assert len(bert.fill_mask(MASKED)) == 5
    with pytest.raises(UserError, match="top=0 must be 1 or more"):
        bert.fill_mask(MASKED, top=0)


@pytest.mark.parametrize(
    ("text", "truncate", "message"),
    [
        ("a crane is flying", False, r"the text has no \[MASK\]: write \[MASK\]"),
        ("a [MASK] is [MASK]", False, r"the text has \[MASK\] 2 times, but one is filled"),
        ("", False, "the text is empty"),
        ("crane " * 20 + "[MASK]", False, "has 23 tokens .* reads 16"),
        ("crane " * 20 + "[MASK]", True, r"no \[MASK\] among its first 16 tokens"),
    ],
)
def test_fill_mask_refuses(bert: PretrainedBert, text: str, truncate: bool, message: str) -> None:
    with pytest.raises(UserError, match=message):
        bert.fill_mask(text, truncate=truncate)


def test_fill_mask_of_a_long_text_can_be_cut(bert: PretrainedBert) -> None:
    assert len(bert.fill_mask("[MASK] " + "crane " * 20, truncate=True)) == 5


def test_is_next_is_the_probability_of_its_class(bert: PretrainedBert) -> None:
    with torch.no_grad():
        bert.model.nsp_head.weight.zero_()
        bert.model.nsp_head.bias[IS_NEXT] = 2.0
        bert.model.nsp_head.bias[1 - IS_NEXT] = 0.0
    probability = bert.is_next("a crane driver came", "he just left")
    assert type(probability) is float
    assert probability == pytest.approx(0.880797, abs=1e-5)


def test_is_next_depends_on_both_texts_and_their_order(bert: PretrainedBert) -> None:
    pairs = [("a crane came", "he left"), ("he left", "a crane came"), ("a crane came", "the fox")]
    assert len({round(bert.is_next(*pair), 4) for pair in pairs}) == 3


def test_is_next_refuses_what_it_cannot_read(bert: PretrainedBert) -> None:
    with pytest.raises(UserError, match="the second text is empty"):
        bert.is_next("a crane came", "")
    with pytest.raises(UserError, match=r"the pair has 24 tokens .* reads 16"):
        bert.is_next("crane " * 20, "left")
    assert 0 <= bert.is_next("crane " * 20, "left", truncate=True) <= 1


def test_no_dropout_in_the_heads(bert: PretrainedBert, tokenizer: Tokenizer) -> None:
    bert.model.train()
    assert bert.fill_mask(MASKED) == PretrainedBert(bert.model, tokenizer).fill_mask(MASKED)
    assert bert.model.training
