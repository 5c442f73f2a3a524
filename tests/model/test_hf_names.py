"""The table of names, and what it makes of other people's weights."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bert_lightning.batch import IS_NEXT
from bert_lightning.config import (
    FeedForwardKind,
    HiddenAct,
    ModelConfig,
    NormPlacement,
    PositionEmbedding,
)
from bert_lightning.errors import UserError
from bert_lightning.model.bert import BertForPreTraining
from bert_lightning.model.hf_names import (
    HEADS,
    OWN_TYPE,
    from_config,
    from_hugging_face,
    has_counterpart,
    named,
    to_config,
    to_hugging_face,
)

CONFIG = ModelConfig(
    hidden_size=12,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=20,
    max_position_embeddings=9,
    type_vocab_size=4,
)


def weights(config: ModelConfig = CONFIG, vocab_size: int = 11) -> dict[str, Tensor]:
    model = BertForPreTraining(config, vocab_size)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return dict(model.state_dict())


def assert_same(ours: dict[str, Tensor], others: dict[str, Tensor]) -> None:
    assert set(ours) == set(others)
    for name, value in ours.items():
        assert torch.equal(value, others[name]), name


@given(
    heads=st.integers(1, 3),
    head_dim=st.integers(1, 4),
    layers=st.integers(1, 12),
    inner=st.integers(1, 9),
    vocab_size=st.integers(1, 9),
    positions=st.integers(1, 9),
    act=st.sampled_from(HiddenAct),
)
def test_there_and_back_every_bit_is_the_same(
    heads: int,
    head_dim: int,
    layers: int,
    inner: int,
    vocab_size: int,
    positions: int,
    act: HiddenAct,
) -> None:
    config = ModelConfig(
        hidden_size=heads * head_dim,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inner,
        max_position_embeddings=positions,
        hidden_act=act,
    )
    ours = weights(config, vocab_size)
    back = from_hugging_face(to_hugging_face(ours), layers)
    assert_same(back.state, ours)
    assert back.missing_heads == frozenset()
    assert back.left_out == ()
    assert from_config(to_config(config, vocab_size)) == (config, vocab_size)


def test_the_names_are_those_that_transformers_saves() -> None:
    transformers = pytest.importorskip("transformers")
    values = to_config(CONFIG, 11)
    theirs = transformers.BertForPreTraining(transformers.BertConfig(**values)).state_dict()
    tied = {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"}
    ours = to_hugging_face(weights())
    assert {name: value.shape for name, value in ours.items()} == {
        name: value.shape for name, value in theirs.items() if name not in tied
    }


def test_a_default_that_a_file_leaves_out_is_transformers_own() -> None:
    transformers = pytest.importorskip("transformers")
    config, vocab_size = from_config({"model_type": "bert"})
    theirs = transformers.BertConfig().to_dict()
    values = {**to_config(config, vocab_size), "dtype": None, "architectures": None}
    assert values == {name: theirs[name] for name in values}


def test_class_0_is_is_next_in_transformers_too() -> None:
    transformers = pytest.importorskip("transformers")
    text = transformers.BertForPreTraining.forward.__doc__
    assert f"{IS_NEXT} indicates sequence B is a continuation of sequence A" in " ".join(
        text.split()
    )


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_old_names_are_read(prefix: str) -> None:
    ours = weights()
    theirs = to_hugging_face(ours)
    old = {"bert.embeddings.position_ids": torch.arange(9)[None]}
    for name, value in theirs.items():
        name = name.replace("LayerNorm.weight", "LayerNorm.gamma")
        name = name.replace("LayerNorm.bias", "LayerNorm.beta")
        if name == "cls.predictions.bias":
            name = "cls.predictions.decoder.bias"
        old[prefix + name.removeprefix("bert.") if name.startswith("bert.") else name] = value
    old["cls.predictions.decoder.weight"] = ours["encoder.embeddings.word.weight"].clone()
    assert_same(from_hugging_face(old, 2).state, ours)


def test_of_two_biases_of_the_decoder_the_tied_one_counts() -> None:
    ours = weights()
    theirs = to_hugging_face(ours) | {"cls.predictions.decoder.bias": torch.zeros(11)}
    assert_same(from_hugging_face(theirs, 2).state, ours)


@pytest.mark.parametrize(
    ("without", "heads"),
    [
        (("cls.",), {"mlm_head", "nsp_head"}),
        (("bert.pooler", "cls.seq"), {"pooler", "nsp_head"}),
        (("bert.pooler", "cls."), set(HEADS)),
    ],
)
def test_missing_heads_are_told(without: tuple[str, ...], heads: set[str]) -> None:
    theirs = {k: v for k, v in to_hugging_face(weights()).items() if not k.startswith(without)}
    theirs["classifier.weight"] = torch.zeros(2, 12)
    found = from_hugging_face(theirs, 2)
    assert found.missing_heads == heads
    assert found.left_out == ("classifier.weight",)
    assert "masked-language-model head" in named({"mlm_head", "pooler"})


@pytest.mark.parametrize(
    ("lost", "says"),
    [
        ("bert.encoder.layer.1.attention.self.key.bias", "lack bert.*self.key.bias"),
        ("bert.embeddings.LayerNorm.weight", "lack bert.embeddings.LayerNorm.weight"),
        ("cls.predictions.transform.dense.bias", "lack cls.predictions.transform.dense.bias"),
    ],
)
def test_a_lost_weight_is_named_also_of_a_head(lost: str, says: str) -> None:
    theirs = to_hugging_face(weights())
    del theirs[lost]
    with pytest.raises(UserError, match=says):
        from_hugging_face(theirs, 2)


def test_an_untied_decoder_is_refused() -> None:
    theirs = to_hugging_face(weights()) | {"cls.predictions.decoder.weight": torch.zeros(11, 12)}
    with pytest.raises(UserError, match=r"cls\.predictions\.decoder\.weight.*word embedding"):
        from_hugging_face(theirs, 2)


@pytest.mark.parametrize("layers", [1, 3])
def test_another_number_of_layers_is_not_passed_over(layers: int) -> None:
    with pytest.raises(UserError, match=r"the weights (hold|lack) bert\.encoder\.layer\."):
        from_hugging_face(to_hugging_face(weights()), layers)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"model_type": "roberta"}, "model_type=roberta is not supported, only bert is"),
        ({"hidden_act": "gelu_new"}, "hidden_act=gelu_new is not supported, only gelu, relu are"),
        (
            {"position_embedding_type": "relative_key"},
            "position_embedding_type=relative_key is not supported, only absolute is",
        ),
        ({"is_decoder": True}, "is_decoder=True is not supported, only False is"),
        ({"add_cross_attention": True}, "add_cross_attention=True"),
        ({"quantization_config": {"bits": 8}}, "quantization_config"),
        ({"hidden_size": 10}, "model.hidden_size=10 is not divisible"),
        ({"hidden_size": "12"}, "model.hidden_size=12: expects an integer"),
        ({"type_vocab_size": 1}, "model.type_vocab_size=1 must be at least 2"),
        ({"vocab_size": None}, "TypeError"),
    ],
)
def test_a_setting_of_another_model_is_named(setting: dict[str, object], says: str) -> None:
    with pytest.raises(UserError) as raised:
        from_config(to_config(CONFIG, 11) | setting)
    assert says in str(raised.value)


@pytest.mark.parametrize(
    "other",
    [
        {"norm": NormPlacement.pre},
        {"position_embedding": PositionEmbedding.rotary},
        {"feed_forward": FeedForwardKind.glu},
        {"qk_norm": True},
        {"bias": False},
    ],
    ids=str,
)
def test_what_has_no_counterpart_has_a_type_of_its_own(other: dict[str, object]) -> None:
    config = ModelConfig(**{**vars(CONFIG), **other})
    assert has_counterpart(CONFIG)
    assert not has_counterpart(config)
    values = to_config(config, 11)
    assert values["model_type"] == OWN_TYPE
    assert from_config(values) == (config, 11)
