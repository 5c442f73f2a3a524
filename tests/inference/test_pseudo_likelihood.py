"""Pseudo-log-likelihoods against one forward pass a token, as slow and obvious as can be."""

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models

from bert_lightning.batch import pack_sequences
from bert_lightning.errors import UserError
from bert_lightning.inference import pseudo_likelihood
from bert_lightning.inference.loaded import PretrainedBert
from bert_lightning.inference.pseudo_likelihood import pseudo_likelihoods

TEXTS = ["a crane is flying", "the unloading driver came .", "he", "left left left", "a zebra left"]


def one_by_one(bert: PretrainedBert, text: str) -> list[float]:
    """The text with each token masked, a sequence of its own each time."""
    ids = bert.tokenizer.encode(text).ids
    mask = bert.tokenizer.token_to_id("[MASK]")
    found = []
    for place in range(1, len(ids) - 1):
        masked = [*ids[:place], mask, *ids[place + 1 :]]
        alone = pack_sequences(np.array(masked), np.zeros(len(ids)), np.array([len(ids)]))
        with torch.no_grad():
            logits = bert.model.eval().mlm_head(bert.model(alone).hidden[place])
        found.append(logits.log_softmax(-1)[ids[place]].item())
    return found


@pytest.mark.parametrize("at_a_time", [1, 13, 8192])
def test_it_is_the_sum_over_masking_each_token_alone(
    bert: PretrainedBert, monkeypatch: pytest.MonkeyPatch, at_a_time: int
) -> None:
    monkeypatch.setattr(pseudo_likelihood, "TOKENS_PER_BATCH", at_a_time)
    found = bert.pseudo_likelihoods(TEXTS)
    for text, one in zip(TEXTS, found, strict=True):
        expected = one_by_one(bert, text)
        assert one.log_probs == pytest.approx(expected, abs=1e-5)
        assert one.total == pytest.approx(sum(expected), abs=1e-5)
        assert one.tokens == bert.tokenizer.encode(text, add_special_tokens=False).tokens
    assert found[1].tokens == ["the", "un", "##load", "##ing", "driver", "came", "."]
    assert found[4].tokens[1] == "[UNK]"


def test_one_text_gives_one_number(bert: PretrainedBert) -> None:
    for text in TEXTS:
        number = bert.pseudo_log_likelihood(text)
        assert type(number) is float
        assert number == pytest.approx(sum(one_by_one(bert, text)), abs=1e-5)
        assert number < 0


def test_no_more_tokens_are_read_at_a_time_than_fit(
    bert: PretrainedBert, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pseudo_likelihood, "TOKENS_PER_BATCH", 30)
    read = []
    bert.model.register_forward_pre_hook(lambda _, args: read.append(len(args[0].token_ids)))
    bert.pseudo_likelihoods(TEXTS)
    assert sum(read) == sum(
        (len(ids) - 2) * len(ids) for ids in (bert.tokenizer.encode(text).ids for text in TEXTS)
    )
    assert len(read) > 3
    assert max(read) < 30 + 9


def test_no_dropout(bert: PretrainedBert) -> None:
    bert.model.train()
    assert bert.pseudo_log_likelihood(TEXTS[0]) == bert.pseudo_log_likelihood(TEXTS[0])
    assert bert.model.training


def test_no_texts_give_nothing(bert: PretrainedBert) -> None:
    assert bert.pseudo_likelihoods([]) == []


def test_a_long_text_can_be_cut(bert: PretrainedBert) -> None:
    (cut,) = bert.pseudo_likelihoods(["crane " * 20], truncate=True)
    assert len(cut.tokens) == 14
    assert cut.total == pytest.approx(bert.pseudo_log_likelihood("crane " * 14), abs=1e-5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the text is empty"),
        ("crane " * 20, r"the text has 22 tokens .* reads 16"),
        ("a [MASK] is flying", r"the text contains \[MASK\]"),
        (
            "a crane [SEP] came [CLS]",
            r"the text contains \[CLS\], \[SEP\], which .*: write the text without",
        ),
    ],
)
def test_it_refuses(bert: PretrainedBert, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        bert.pseudo_log_likelihood(text)


def test_a_tokenizer_without_a_mask_and_a_model_without_the_head_are_refused(
    bert: PretrainedBert, tokenizer: Tokenizer
) -> None:
    unmasked = Tokenizer(models.WordLevel({"[UNK]": 0, "crane": 1}, unk_token="[UNK]"))
    with pytest.raises(UserError, match=r"the tokenizer has no \[MASK\]"):
        pseudo_likelihoods(bert.model, unmasked, ["crane"], truncate=False)
    bare = PretrainedBert(bert.model, tokenizer, frozenset({"mlm_head"}))
    with pytest.raises(UserError, match="no masked-language-model head"):
        bare.pseudo_log_likelihood("a crane")
