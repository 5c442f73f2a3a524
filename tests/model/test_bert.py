"""The encoder against torch's own layers, and its sizes against the paper's."""

import numpy as np
import pytest
import torch
from torch import nn

from bert_lightning.batch import Sequences, lay_end_to_end
from bert_lightning.config import HiddenAct, ModelConfig
from bert_lightning.model.bert import BertForPreTraining

BASE = ModelConfig(
    hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072
)
LARGE = ModelConfig(
    hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096
)


@pytest.mark.parametrize(("config", "count"), [(BASE, 110_106_428), (LARGE, 336_226_108)])
def test_base_and_large_have_the_parameters_of_the_paper(config: ModelConfig, count: int) -> None:
    with torch.device("meta"):
        model = BertForPreTraining(config, vocab_size=30_522)
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def small_model(hidden_act: HiddenAct = HiddenAct.gelu) -> BertForPreTraining:
    torch.manual_seed(0)
    config = ModelConfig(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=48,
        hidden_act=hidden_act,
        max_position_embeddings=40,
        initializer_range=0.2,
    )
    model = BertForPreTraining(config, vocab_size=50).double().eval()
    for parameter in model.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, std=0.3)
    return model


def some_sequences(lengths: list[int], seed: int = 0) -> Sequences:
    rng = np.random.default_rng(seed)
    total = sum(lengths)
    return lay_end_to_end(rng.integers(0, 50, total), rng.integers(0, 2, total), np.array(lengths))


def padded_reference(model: BertForPreTraining, sequences: Sequences) -> torch.Tensor:
    """The same weights in torch.nn.TransformerEncoderLayer, on padded sequences."""
    embeddings = model.encoder.embeddings
    lengths = sequences.lengths.tolist()
    padded = nn.utils.rnn.pad_sequence(list(sequences.token_ids.split(lengths)), batch_first=True)
    types = nn.utils.rnn.pad_sequence(
        list(sequences.token_type_ids.split(lengths)), batch_first=True
    )
    padding = torch.arange(padded.shape[1]) >= torch.tensor(lengths)[:, None]
    x = embeddings.norm(
        embeddings.word(padded)
        + embeddings.token_type(types)
        + embeddings.position(torch.arange(padded.shape[1]))
    )
    for block in model.encoder.blocks:
        act = "gelu" if isinstance(block.feed_forward.act, nn.GELU) else "relu"
        layer = nn.TransformerEncoderLayer(
            32, 4, 48, dropout=0.0, activation=act, layer_norm_eps=1e-12, batch_first=True
        )
        layer = layer.double()
        layer.self_attn.in_proj_weight = block.attention.query_key_value.weight
        layer.self_attn.in_proj_bias = block.attention.query_key_value.bias
        layer.self_attn.out_proj.weight = block.attention.output.weight
        layer.self_attn.out_proj.bias = block.attention.output.bias
        layer.norm1, layer.norm2 = block.attention_norm, block.feed_forward_norm
        layer.linear1, layer.linear2 = block.feed_forward.up, block.feed_forward.down
        x = layer(x, src_key_padding_mask=padding)
    return x[~padding]


@pytest.mark.parametrize("act", list(HiddenAct))
def test_equals_torchs_own_transformer_layers_on_padded_sequences(act: HiddenAct) -> None:
    model, sequences = small_model(act), some_sequences([7, 40, 1, 23, 16])
    encoded = model(sequences)
    expected = padded_reference(model, sequences)
    torch.testing.assert_close(encoded.hidden, expected, rtol=1e-9, atol=1e-10)
    cls = expected[sequences.cu_seqlens[:-1]]
    torch.testing.assert_close(encoded.pooled, model.pooler(cls))


def test_gradients_equal_the_padded_reference() -> None:
    model, sequences = small_model(), some_sequences([7, 40, 1, 23, 16])
    parameters = list(model.encoder.parameters())
    weights = torch.randn(87, 32, dtype=torch.float64)
    ours = torch.autograd.grad((model.encoder(sequences) * weights).sum(), parameters)
    theirs = torch.autograd.grad((padded_reference(model, sequences) * weights).sum(), parameters)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


def test_a_sequence_does_not_see_its_neighbours() -> None:
    model = small_model()
    together = some_sequences([9, 30, 12])
    alone = lay_end_to_end(
        together.token_ids[:9].numpy(), together.token_type_ids[:9].numpy(), np.array([9])
    )
    hidden = model(together).hidden[:9]
    torch.testing.assert_close(hidden, model(alone).hidden, rtol=1e-10, atol=1e-12)


def test_the_decoder_is_tied_to_the_embedding_and_the_start_is_normal() -> None:
    model = BertForPreTraining(ModelConfig(initializer_range=0.02), vocab_size=5000)
    word = model.encoder.embeddings.word.weight
    assert model.mlm_head.decoder.weight is word
    assert word.std().item() == pytest.approx(0.02, rel=0.02)
    assert model.mlm_head.decoder.bias.abs().max() == 0
