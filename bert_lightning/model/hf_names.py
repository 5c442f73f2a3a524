"""The same model under Hugging Face's names: one table, read in both directions.

BERT there has one matrix each for query, key and value, and this model stacks the three; all else
is names. Next-sentence classes have the same numbers: 0 is "is next".
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bert_lightning.config import (
    FeedForwardKind,
    HiddenAct,
    ModelConfig,
    NormPlacement,
    PositionEmbedding,
)
from bert_lightning.config.affects import ARCHITECTURE
from bert_lightning.config.affects import named as affecting
from bert_lightning.config.plain import from_plain, to_plain
from bert_lightning.errors import UserError

NAMES: dict[str, tuple[str, ...]] = {
    "encoder.embeddings.word": ("bert.embeddings.word_embeddings",),
    "encoder.embeddings.position": ("bert.embeddings.position_embeddings",),
    "encoder.embeddings.token_type": ("bert.embeddings.token_type_embeddings",),
    "encoder.embeddings.norm": ("bert.embeddings.LayerNorm",),
    "encoder.blocks.{}.attention.query_key_value": (
        "bert.encoder.layer.{}.attention.self.query",
        "bert.encoder.layer.{}.attention.self.key",
        "bert.encoder.layer.{}.attention.self.value",
    ),
    "encoder.blocks.{}.attention.output": ("bert.encoder.layer.{}.attention.output.dense",),
    "encoder.blocks.{}.attention_norm": ("bert.encoder.layer.{}.attention.output.LayerNorm",),
    "encoder.blocks.{}.feed_forward.up": ("bert.encoder.layer.{}.intermediate.dense",),
    "encoder.blocks.{}.feed_forward.down": ("bert.encoder.layer.{}.output.dense",),
    "encoder.blocks.{}.feed_forward_norm": ("bert.encoder.layer.{}.output.LayerNorm",),
    "pooler.dense": ("bert.pooler.dense",),
    "mlm_head.dense": ("cls.predictions.transform.dense",),
    "mlm_head.norm": ("cls.predictions.transform.LayerNorm",),
    "mlm_head.decoder": ("cls.predictions",),  # its bias alone: the weight is the embedding's
    "nsp_head": ("cls.seq_relationship",),
}
"""Module by module; several of theirs are stacked in ours. `{}` is the layer."""
WORDS, DECODER = "encoder.embeddings.word.weight", "mlm_head.decoder.weight"
"""Two names of one tied matrix, `(vocab, hidden)`."""
DECODER_BIAS = "mlm_head.decoder.bias"
"""`(vocab,)`"""
HEADS = {
    "pooler": "pooler",
    "mlm_head": "masked-language-model head",
    "nsp_head": "next-sentence head",
}
"""Parts that some models lack, and their names in messages."""
OWN_TYPE, OWN_MODULE = "bert_lightning", "modeling_bert_lightning"
"""The `model_type` of a model without a counterpart at Hugging Face, and the file that computes it
there: `inference/modeling_bert_lightning.py`."""
PRETRAINING_HEADS, NO_HEADS = "ForPreTraining", "Model"
"""What the names of classes end with; those of tasks are in `pretrained/task_head.py`."""
OWN_CLASSES = {
    "AutoConfig": "BertLightningConfig",
    "AutoModel": "BertLightningModel",
    **{
        f"AutoModel{heads}": f"BertLightning{heads}"
        for heads in (
            PRETRAINING_HEADS,
            "ForMaskedLM",
            "ForSequenceClassification",
            "ForTokenClassification",
        )
    },
}
"""The classes of that file, by those of transformers that load them."""

_THEIR_DECODER = "cls.predictions.decoder"
_DEFAULTS: dict[str, Any] = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "initializer_range": 0.02,
}
"""The fields that both configs have, with Hugging Face's defaults."""
_ONLY = {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "quantization_config": None,
    "pruned_heads": {},
}
"""Settings of which this model supports one value."""


class Translated(NamedTuple):
    """Weights under our names."""

    state: dict[str, Tensor]
    missing_heads: frozenset[str]
    """Those of `HEADS` that the weights do not have."""
    left_out: tuple[str, ...]
    """Weights of other heads, under their names."""


def has_counterpart(config: ModelConfig) -> bool:
    """Returns whether Hugging Face's BERT can compute what this model does."""
    return (
        config.norm is NormPlacement.post
        and config.position_embedding is PositionEmbedding.learned
        and config.feed_forward is FeedForwardKind.mlp
        and config.bias
        and not config.qk_norm
    )


def class_name(heads: str, own: bool) -> str:
    """Returns the class of transformers' BERT, or of `OWN_MODULE`, that has these heads."""
    return f"{'BertLightning' if own else 'Bert'}{heads}"


def to_config(
    config: ModelConfig, vocab_size: int, heads: str = PRETRAINING_HEADS, own: bool = False
) -> dict[str, Any]:
    """Returns the content of a `config.json`: of Hugging Face's BERT, or of type `OWN_TYPE`.

    `own` takes the second where the first would do.
    """
    own = own or not has_counterpart(config)
    values = {**to_plain(asdict(config)), "vocab_size": vocab_size}
    shared = {name: values[name] for name in _DEFAULTS}
    shared |= {"dtype": "float32", "tie_word_embeddings": True}
    shared["architectures"] = [class_name(heads, own)]
    if not own:
        return {"model_type": "bert", **shared}
    kind = {name: values[name] for name in affecting(ModelConfig, ARCHITECTURE)}
    auto_map = {theirs: f"{OWN_MODULE}.{name}" for theirs, name in OWN_CLASSES.items()}
    return {"model_type": OWN_TYPE, **shared, **kind, "auto_map": auto_map}


def from_config(values: Mapping[str, Any]) -> tuple[ModelConfig, int]:
    """Returns the model that a `config.json` describes, and the rows of its embedding.

    Raises:
        UserError: a setting is not supported.
    """
    kind = values.get("model_type", "bert")
    if kind not in ("bert", OWN_TYPE):
        raise UserError(f"model_type={kind} is not supported, only bert is")
    known = {field.name for field in fields(ModelConfig)} - {"vocab_size"}
    if kind == "bert":
        for name, only in _ONLY.items():
            if (value := values.get(name) or only) != only:
                raise UserError(f"{name}={value} is not supported, only {only} is")
        acts = [act.value for act in HiddenAct]
        if values.get("hidden_act", "gelu") not in acts:
            raise UserError(
                f"hidden_act={values['hidden_act']} is not supported, only {', '.join(acts)} are"
            )
        values, known = {**_DEFAULTS, **values}, known & _DEFAULTS.keys()
    try:
        given = {name: value for name, value in values.items() if name in known}
        return from_plain(ModelConfig, given), int(values["vocab_size"])
    except UserError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{type(error).__name__}: {error}") from error


def to_hugging_face(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns a copy of the weights under Hugging Face's names.

    Your own objectives have none there; a model may lack any of `HEADS`.
    """
    theirs = {}
    layers = sum(name.endswith(".attention.output.weight") for name in state)
    present = {name.partition(".")[0] for name in state}
    for ours, names, kind in _parameters(layers):
        if ours.partition(".")[0] not in present:
            continue
        parts = state[f"{ours}.{kind}"].chunk(len(names))
        for name, part in zip(names, parts, strict=True):
            theirs[f"{name}.{kind}"] = part.clone()
    return theirs


def from_hugging_face(state: Mapping[str, Tensor], num_hidden_layers: int) -> Translated:
    """Returns the weights under our names, from any of Hugging Face's BERT classes, old or new.

    Raises:
        UserError: weights are missing or unknown, or the decoder is not tied.
    """
    theirs = {_current_name(name): value for name, value in state.items()}
    for buffer in ("position_ids", "token_type_ids"):
        theirs.pop(f"bert.embeddings.{buffer}", None)
    bias = theirs.pop(f"{_THEIR_DECODER}.bias", None)
    if bias is not None:
        theirs.setdefault("cls.predictions.bias", bias)
    decoder = theirs.pop(f"{_THEIR_DECODER}.weight", None)
    ours: dict[str, Tensor] = {}
    missing: dict[str, list[str]] = {}
    for own, names, kind in _parameters(num_hidden_layers):
        full = [f"{name}.{kind}" for name in names]
        if lost := [name for name in full if name not in theirs]:
            missing.setdefault(own.partition(".")[0], []).extend(lost)
            continue
        parts = [theirs.pop(name) for name in full]
        ours[f"{own}.{kind}"] = torch.cat(parts) if len(parts) > 1 else parts[0]
    present = {name.partition(".")[0] for name in ours}
    heads = frozenset(head for head in HEADS if head in missing and head not in present)
    if lost := [name for part, names in missing.items() if part not in heads for name in names]:
        raise UserError(f"the weights lack {_some(lost)}")
    if unknown := [name for name in theirs if name.startswith(("bert.", "cls."))]:
        raise UserError(f"the weights hold {_some(unknown)}, which this model does not have")
    if decoder is not None and not torch.equal(decoder, ours[WORDS]):
        raise UserError(
            "the decoder of the masked-language-model head has weights of its own "
            f"({_THEIR_DECODER}.weight); this model uses those of the word embedding "
            "(tie_word_embeddings=true)"
        )
    return Translated({**ours, DECODER: ours[WORDS]}, heads, tuple(theirs))


def named(heads: Iterable[str]) -> str:
    """Returns the names of heads: "masked-language-model head and pooler"."""
    return " and ".join(sorted(HEADS[head] for head in heads))


def _parameters(layers: int) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Yields our module, theirs and `weight` or `bias`, for every parameter but the tied one."""
    for ours, names in NAMES.items():
        for layer in range(layers if "{}" in ours else 1):
            theirs = tuple(name.format(layer) for name in names)
            if not ours.startswith("encoder.embeddings.") or ours.endswith("norm"):
                yield ours.format(layer), theirs, "bias"
            if ours != "mlm_head.decoder":
                yield ours.format(layer), theirs, "weight"


def _current_name(name: str) -> str:
    """Returns the name that the newest `BertForPreTraining` gives a weight."""
    name = name.replace("LayerNorm.gamma", "LayerNorm.weight")
    name = name.replace("LayerNorm.beta", "LayerNorm.bias")
    return f"bert.{name}" if name.startswith(("embeddings.", "encoder.", "pooler.")) else name


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more
