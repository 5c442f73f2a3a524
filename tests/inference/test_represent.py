"""Vectors: their shapes, their context, words in them, and what is refused."""

import pickle
import re
from itertools import pairwise

import pytest
import torch
from tokenizers import Tokenizer

from bert_lightning.errors import UserError
from bert_lightning.inference.loaded import PretrainedBert

FLYING = "a crane is flying"
PAIR = ("a crane driver came", "he just left")


def test_shapes_of_a_text_and_a_pair(bert: PretrainedBert) -> None:
    single, pair = bert.encode(FLYING), bert.encode(*PAIR)
    assert single.tokens == ["[CLS]", "a", "crane", "is", "flying", "[SEP]"]
    assert single.vectors.shape == (6, 128)
    assert single.cls.shape == (128,)
    assert torch.equal(single.cls, single.vectors[0])
    assert pair.tokens[5] == pair.tokens[9] == "[SEP]"
    assert pair.vectors.shape == (10, 128)


def test_a_batch_of_unequal_lengths_equals_one_at_a_time(bert: PretrainedBert) -> None:
    texts = [FLYING, PAIR, "crane", "the fox left . " * 3, "the driver came"]
    together = bert.encode_many(texts)
    for text, encoded in zip(texts, together, strict=True):
        alone = bert.encode(text) if isinstance(text, str) else bert.encode(*text)
        assert encoded.tokens == alone.tokens
        torch.testing.assert_close(encoded.vectors, alone.vectors, atol=1e-5, rtol=0)
    assert bert.encode_many([]) == []


def test_many_texts_are_one_run_of_the_encoder_without_padding(bert: PretrainedBert) -> None:
    totals = []
    bert.model.encoder.embeddings.register_forward_pre_hook(
        lambda _, args: totals.append(len(args[0].token_ids))
    )
    bert.encode_many([FLYING, PAIR, "crane"])
    assert totals == [6 + 10 + 3]


def test_the_second_text_is_of_the_second_type(bert: PretrainedBert) -> None:
    seen = []
    bert.model.encoder.embeddings.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    bert.encode(*PAIR)
    assert seen[0].token_type_ids.tolist() == [0] * 6 + [1] * 4
    assert seen[0].position_ids.tolist() == list(range(10))


def test_a_word_has_another_vector_in_another_context(bert: PretrainedBert) -> None:
    bird, machine = bert.encode(FLYING), bert.encode("a crane driver came")
    assert torch.equal(bird.word("crane"), bird.vectors[2])
    assert not torch.allclose(bird.word("crane"), machine.word("crane"), atol=1e-2)


def test_pieces_of_a_word_are_averaged(bert: PretrainedBert) -> None:
    encoded = bert.encode("he is unloading steel")
    assert encoded.tokens[3:6] == ["un", "##load", "##ing"]
    torch.testing.assert_close(encoded.word("unloading"), encoded.vectors[3:6].mean(0))


def test_a_word_is_folded_and_split_as_in_the_text(bert: PretrainedBert) -> None:
    encoded = bert.encode("The Crane  don't zeppelin left")
    assert torch.equal(encoded.word("CRANE"), encoded.word("crane"))
    torch.testing.assert_close(encoded.word("Don't"), encoded.vectors[3:6].mean(0))
    assert encoded.tokens[6] == "[UNK]"
    assert torch.equal(encoded.word("zeppelin"), encoded.vectors[6])
    with pytest.raises(UserError, match="'airship' is not in"):
        encoded.word("airship")


def test_it_is_shown_in_one_line(bert: PretrainedBert) -> None:
    shown = repr(bert.encode("a crane left", "he is flying"))
    assert shown == ("Representation([CLS] a crane left [SEP] he is flying [SEP]; 9 tokens × 128)")
    assert repr(bert.encode("crane " * 14)).endswith("crane …; 16 tokens × 128)")
    assert len(repr(bert.encode("crane " * 14))) < 120


def test_occurrences_count_through_both_texts(bert: PretrainedBert) -> None:
    encoded = bert.encode("a crane left", "the crane is a crane")
    assert [place.start for place in encoded.occurrences("crane")] == [2, 6, 9]
    assert torch.equal(encoded.word("crane", occurrence=1), encoded.vectors[6])
    assert encoded.occurrences("left the") == []  # [SEP] stands between
    with pytest.raises(
        UserError, match=r"occurrence=3 .* 3 time\(s\) in the text: choose from 0 to 2"
    ):
        encoded.word("crane", occurrence=3)


def test_an_absent_word_gets_the_tokens_and_the_nearest(bert: PretrainedBert) -> None:
    with pytest.raises(UserError) as caught:
        bert.encode(FLYING).word("cranes")
    assert "[CLS] a crane is flying [SEP]" in str(caught.value)
    assert "did you mean 'crane'?" in str(caught.value)
    with pytest.raises(UserError, match="'' is not in the text"):
        bert.encode(FLYING).word("")


def test_too_long_names_length_limit_and_option(bert: PretrainedBert) -> None:
    text = "crane " * 20
    with pytest.raises(UserError, match=r"has 22 tokens .* reads 16 .*truncate=True"):
        bert.encode(text)
    with pytest.raises(UserError, match=r"the pair has 24 tokens"):
        bert.encode(text, "left")
    with pytest.raises(UserError, match=r"of entry 1 has 22 tokens"):
        bert.encode_many(["crane", text])
    assert len(bert.encode("crane " * 14).tokens) == 16


@pytest.mark.parametrize(
    ("first", "second", "kept"), [(20, 3, (10, 3)), (2, 20, (2, 11)), (20, 20, (7, 6))]
)
def test_truncation_cuts_the_longer_text_first(
    bert: PretrainedBert, first: int, second: int, kept: tuple[int, int]
) -> None:
    encoded = bert.encode("crane " * first, "fox " * second, truncate=True)
    assert (encoded.tokens.count("crane"), encoded.tokens.count("fox")) == kept
    assert encoded.vectors.shape == (16, 128)
    assert encoded.tokens[0] == "[CLS]"
    assert encoded.tokens[-1] == "[SEP]"


def test_truncation_keeps_the_words_that_remain(bert: PretrainedBert) -> None:
    encoded = bert.encode("crane " * 13 + "fox left", truncate=True)
    assert len(encoded.tokens) == 16
    assert torch.equal(encoded.word("fox"), encoded.vectors[14])
    with pytest.raises(UserError, match="'left' is not in"):
        encoded.word("left")


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([""], "the text is empty"),
        ([" \n"], "the text is empty"),
        ([("", "left")], "the first text is empty"),
        ([("left", " ")], "the second text is empty"),
        (["left", ""], "the text of entry 1 is empty"),
        ("left", "encode_many expects a list of texts"),
    ],
)
def test_empty_text_is_refused(bert: PretrainedBert, texts: list[str], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        bert.encode_many(texts)


def test_dropout_is_off_and_the_mode_of_the_model_is_kept(bert: PretrainedBert) -> None:
    bert.model.train()
    first, second = bert.encode(FLYING), bert.encode(FLYING)
    assert torch.equal(first.vectors, second.vectors)
    assert all(module.training for module in bert.model.modules())
    bert.model.eval()
    bert.encode(FLYING)
    assert not any(module.training for module in bert.model.modules())


def test_vectors_can_train_a_probe(bert: PretrainedBert) -> None:
    probe = torch.nn.Linear(128, 2)
    probe(bert.encode(FLYING).vectors).sum().backward()
    assert probe.weight.grad is not None
    assert probe.weight.grad.abs().sum() > 0


def test_a_representation_does_not_hold_the_whole_batch(bert: PretrainedBert) -> None:
    encoded = bert.encode_many([FLYING] * 50)[0]
    assert encoded.vectors.untyped_storage().nbytes() == 6 * 128 * 4


def test_a_representation_can_be_stored(bert: PretrainedBert) -> None:
    encoded = bert.encode(FLYING)
    assert torch.equal(pickle.loads(pickle.dumps(encoded)).word("Crane"), encoded.word("crane"))


def test_a_tokenizer_larger_than_the_model_is_refused(
    bert: PretrainedBert, tokenizer: Tokenizer
) -> None:
    tokenizer.add_tokens([f"extra{index}" for index in range(20)])
    size = tokenizer.get_vocab_size()
    with pytest.raises(
        UserError, match=rf"has {size} tokens, but the model has embeddings for only 32"
    ):
        PretrainedBert(bert.model, tokenizer)


def test_each_layer_can_be_had(bert: PretrainedBert) -> None:
    blocks = len(bert.model.encoder.blocks)
    layers = [bert.encode(*PAIR, layer=layer).vectors for layer in range(blocks + 1)]
    assert torch.equal(layers[-1], bert.encode(*PAIR).vectors)
    assert torch.equal(layers[-2], bert.encode(*PAIR, layer=-2).vectors)
    assert torch.equal(layers[0], bert.encode(*PAIR, layer=-blocks - 1).vectors)
    assert not any(torch.equal(a, b) for a, b in pairwise(layers))
    before = bert.encode("the crane left", layer=0).word("crane")
    assert torch.equal(before, bert.encode("he crane came", layer=0).word("crane"))


def test_no_block_behind_the_layer_runs(bert: PretrainedBert) -> None:
    ran = []
    for index, block in enumerate(bert.model.encoder.blocks, start=1):
        block.register_forward_hook(lambda *_, index=index: ran.append(index))
    bert.encode(FLYING, layer=0)
    assert ran == []
    bert.encode(FLYING, layer=1)
    assert ran == [1]


@pytest.mark.parametrize("layer", [3, -4, 12])
def test_a_layer_that_is_not_there_is_refused(bert: PretrainedBert, layer: int) -> None:
    with pytest.raises(UserError, match=rf"layer={layer}: this model has layers 0, .* to 2, its"):
        bert.encode(FLYING, layer=layer)


def test_the_similarity_of_a_word_in_two_contexts(bert: PretrainedBert) -> None:
    bird, machine = "a crane is flying", "the Crane driver came"
    assert bert.similarity("crane", bird, bird) == pytest.approx(1)
    assert bert.similarity("crane", bird, machine, layer=0) == pytest.approx(1)  # same position
    a, b = bert.encode(bird).word("crane"), bert.encode(machine).word("crane")
    found = bert.similarity("crane", bird, machine)
    assert found == pytest.approx(float(a @ b / a.norm() / b.norm()))
    assert found < 0.99
    with pytest.raises(UserError, match=r"'crane' is not in the text, .* he just left"):
        bert.similarity("crane", bird, "he just left")
    long = "the driver left . " * 4
    with pytest.raises(UserError, match="truncate=True"):
        bert.similarity("driver", bird + " driver", long)
    assert bert.similarity("driver", "a driver", long, truncate=True) < 1
