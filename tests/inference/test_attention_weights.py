"""The weights of attention are those that the model used, whatever its architecture."""

import pytest
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from bert_lightning.config import ModelConfig, NormPlacement, PositionEmbedding
from bert_lightning.errors import UserError
from bert_lightning.inference.loaded import PretrainedBert
from bert_lightning.model.attention import SelfAttention
from bert_lightning.model.bert import BertForPreTraining

LIMIT = 16
FIRST, SECOND = "the crane is flying", "he just left the crane"
BERT = ModelConfig(max_position_embeddings=LIMIT, initializer_range=0.3)
MODERN = ModelConfig(
    max_position_embeddings=LIMIT,
    initializer_range=0.3,
    norm=NormPlacement.pre,
    position_embedding=PositionEmbedding.rotary,
    qk_norm=True,
    bias=False,
)


@pytest.mark.parametrize("config", [BERT, MODERN], ids=["bert", "modern"])
@pytest.mark.parametrize("second", [None, SECOND], ids=["text", "pair"])
def test_the_weights_times_the_values_are_what_attention_returned(
    config: ModelConfig, second: str | None, tokenizer: Tokenizer
) -> None:
    torch.manual_seed(0)
    bert = PretrainedBert(BertForPreTraining(config, vocab_size=32), tokenizer)
    values: list[Tensor] = []
    returned: list[Tensor] = []  # before the projection of the output

    def keep_values(_: nn.Module, __: object, qkv: Tensor) -> None:
        values.append(qkv.view(len(qkv), 3, config.num_attention_heads, -1)[:, 2])

    def keep_returned(_: nn.Module, inputs: tuple[Tensor]) -> None:
        returned.append(inputs[0])

    for part in bert.model.modules():
        if isinstance(part, SelfAttention):
            part.query_key_value.register_forward_hook(keep_values)
            part.output.register_forward_pre_hook(keep_returned)
    bert.encode(FIRST, second)
    used = list(zip(values, returned, strict=True))
    weights = bert.attention(FIRST, second).weights
    assert len(weights) == len(used) == config.num_hidden_layers
    assert weights.std(-1).mean() > 0.01  # rows are not uniform
    for of_layer, (value, mixed) in zip(weights, used, strict=True):
        torch.testing.assert_close(
            torch.einsum("hqk,khd->qhd", of_layer, value).flatten(1), mixed, rtol=1e-4, atol=1e-5
        )


def test_each_row_sums_to_1_and_names_its_tokens(bert: PretrainedBert) -> None:
    found = bert.attention(FIRST, SECOND)
    tokens = ["[CLS]", *FIRST.split(), "[SEP]", *SECOND.split(), "[SEP]"]
    assert found.tokens == tokens
    assert found.segments == [0] * 6 + [1] * 6
    assert found.weights.shape == (2, 2, 12, 12)
    torch.testing.assert_close(found.weights.sum(-1), torch.ones(2, 2, 12))
    assert repr(found) == f"Attention({' '.join(tokens)}; 2 layers × 2 heads × 12 tokens)"


def test_the_model_is_left_as_it_was(bert: PretrainedBert) -> None:
    bert.model.train()
    once, again = bert.attention(FIRST), bert.attention(FIRST)
    assert torch.equal(once.weights, again.weights)  # without dropout
    assert bert.model.training
    assert not any(part._forward_pre_hooks for part in bert.model.modules())


def test_a_pair_longer_than_the_model_reads(bert: PretrainedBert) -> None:
    with pytest.raises(UserError, match="the pair has 21 tokens"):
        bert.attention("crane " * 9, "crane " * 9)
    assert len(bert.attention("crane " * 9, "crane " * 9, truncate=True).tokens) == LIMIT
