# SPDX-License-Identifier: Apache-2.0
"""BERT with the architectures of bert-lightning, for transformers.

An export holds this file beside its weights, and `trust_remote_code=True` runs it. It needs torch
and transformers alone. A batch is padded: `input_ids`, `attention_mask` (1 at tokens, 0 at padding,
which is on the right) and `token_type_ids`, each `(batch, length)`.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, scaled_dot_product_attention
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import (
    BaseModelOutputWithPooling,
    MaskedLMOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)
from transformers.models.bert.modeling_bert import BertForPreTrainingOutput
from transformers.utils import can_return_tuple

ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU}
CHOICES = {
    "hidden_act": (*ACTIVATIONS,),
    "norm": ("post", "pre"),
    "position_embedding": ("learned", "rotary"),
    "feed_forward": ("mlp", "glu"),
    "qk_norm": (False, True),
    "bias": (True, False),
    "pooling": ("pooler", "cls", "mean"),
    "tie_word_embeddings": (True,),
}
"""What this file can compute; BERT's own choice comes first."""
NUMBERS = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "initializer_range": 0.02,
    "rope_theta": 10000.0,
}
"""Sizes and rates, those of BERT-Base."""


class BertLightningConfig(PretrainedConfig):
    """The options of `CHOICES` and `NUMBERS`, and those that all models of transformers have."""

    model_type = "bert_lightning"

    def __init__(self, **options: Any) -> None:
        for name, default in NUMBERS.items():
            setattr(self, name, options.pop(name, default))
        for name, known in CHOICES.items():
            value = options.pop(name, known[0])
            if value not in known:
                raise ValueError(f"{name}={value} is not supported, only {known} are")
            setattr(self, name, value)
        super().__init__(**options, tie_word_embeddings=True)


def layer_norm(config: BertLightningConfig, size: int) -> nn.LayerNorm:
    return nn.LayerNorm(size, eps=config.layer_norm_eps, bias=config.bias)


class Embeddings(nn.Module):
    """The normalized sum of a word's, its segment's and, if learned, its position's vector."""

    def __init__(self, config: BertLightningConfig) -> None:
        super().__init__()
        self.word = nn.Embedding(config.vocab_size, config.hidden_size)
        self.token_type = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.position = None
        if config.position_embedding == "learned":
            self.position = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.norm = layer_norm(config, config.hidden_size)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, input_ids: Tensor, token_type_ids: Tensor) -> Tensor:
        x = self.word(input_ids) + self.token_type(token_type_ids)
        if self.position is not None:
            x = x + self.position.weight[: input_ids.shape[1]]
        return self.dropout(self.norm(x))


def rotary_angles(config: BertLightningConfig, length: int, device: torch.device) -> Tensor:
    """Returns the angle of each position and pair of values, `(length, head_dim / 2)`."""
    head_dim = config.hidden_size // config.num_attention_heads
    exponents = torch.arange(0, head_dim, 2, device=device).float() / head_dim
    positions = torch.arange(length, device=device).float()
    return torch.outer(positions, config.rope_theta**-exponents)


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Rotates pairs of values, one of each half of a head: `(batch, heads, length, head_dim)`."""
    first, second = x.chunk(2, -1)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


class SelfAttention(nn.Module):
    """Multi-head self-attention; queries and keys may be normalized, each head by itself."""

    def __init__(self, config: BertLightningConfig) -> None:
        super().__init__()
        hidden, self.heads = config.hidden_size, config.num_attention_heads
        self.query_key_value = nn.Linear(hidden, 3 * hidden, config.bias)
        self.output = nn.Linear(hidden, hidden, config.bias)
        head_dim = hidden // self.heads
        self.query_norm = layer_norm(config, head_dim) if config.qk_norm else nn.Identity()
        self.key_norm = layer_norm(config, head_dim) if config.qk_norm else nn.Identity()
        self.dropout = config.attention_probs_dropout_prob

    def forward(self, x: Tensor, mask: Tensor, angles: Tensor | None) -> Tensor:
        qkv = self.query_key_value(x).unflatten(-1, (3, self.heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (batch, heads, length, head_dim)
        query, key = self.query_norm(query), self.key_norm(key)
        if angles is not None:
            query, key = rotate(query, angles), rotate(key, angles)
        dropout_p = self.dropout if self.training else 0.0
        mixed = scaled_dot_product_attention(query, key, value, mask, dropout_p)
        return self.output(mixed.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two layers at every position; `glu` multiplies one half by the activation of the other."""

    def __init__(self, config: BertLightningConfig) -> None:
        super().__init__()
        hidden, inner = config.hidden_size, config.intermediate_size
        self.gated = config.feed_forward == "glu"
        self.up = nn.Linear(hidden, 2 * inner if self.gated else inner, config.bias)
        self.act = ACTIVATIONS[config.hidden_act]()
        self.down = nn.Linear(inner, hidden, config.bias)

    def forward(self, x: Tensor) -> Tensor:
        if not self.gated:
            return self.down(self.act(self.up(x)))
        gate, inner = self.up(x).chunk(2, -1)
        return self.down(self.act(gate) * inner)


class Block(nn.Module):
    """Attention, then feed-forward; normalized are the sums (`post`) or the inputs (`pre`)."""

    def __init__(self, config: BertLightningConfig) -> None:
        super().__init__()
        self.pre_norm = config.norm == "pre"
        self.attention = SelfAttention(config)
        self.attention_norm = layer_norm(config, config.hidden_size)
        self.feed_forward = FeedForward(config)
        self.feed_forward_norm = layer_norm(config, config.hidden_size)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, x: Tensor, mask: Tensor, angles: Tensor | None) -> Tensor:
        if self.pre_norm:
            x = x + self.dropout(self.attention(self.attention_norm(x), mask, angles))
            return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        x = self.attention_norm(x + self.dropout(self.attention(x, mask, angles)))
        return self.feed_forward_norm(x + self.dropout(self.feed_forward(x)))


class Encoder(nn.Module):
    """Embeddings and blocks; `pre` norm needs one more norm at the end."""

    def __init__(self, config: BertLightningConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        is_pre = config.norm == "pre"
        self.norm = layer_norm(config, config.hidden_size) if is_pre else nn.Identity()

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor, every_layer: bool
    ) -> tuple[Tensor, ...]:
        """Returns the output of the last layer `(batch, length, hidden)`, or of each in turn.

        The first of all layers are the embeddings.
        """
        length = input_ids.shape[1]
        x = self.embeddings(input_ids, token_type_ids)
        mask = attention_mask[:, None, None].bool()  # (batch, 1, 1, length)
        is_rotary = self.config.position_embedding == "rotary"
        angles = rotary_angles(self.config, length, x.device) if is_rotary else None
        earlier = []
        for block in self.blocks:
            earlier += [x] if every_layer else []
            x = block(x, mask, angles)
        return *earlier, self.norm(x)


class Pooler(nn.Module):
    """One vector for a sequence: that of `[CLS]`, maybe through a layer of its own, or the mean."""

    def __init__(self, config: BertLightningConfig) -> None:
        super().__init__()
        self.pooling = config.pooling
        if self.pooling == "pooler":
            self.dense = nn.Linear(config.hidden_size, config.hidden_size, config.bias)

    def forward(self, hidden: Tensor, attention_mask: Tensor) -> Tensor:
        if self.pooling == "mean":
            real = attention_mask[:, :, None].to(hidden.dtype)
            return (hidden * real).sum(1) / real.sum(1)
        cls = hidden[:, 0]
        return self.dense(cls).tanh() if self.pooling == "pooler" else cls


class MaskedLanguageModelHead(nn.Module):
    """From a token's vector to a logit for each word; its word vectors are the embedding's."""

    def __init__(self, config: BertLightningConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size, config.bias)
        self.act = ACTIVATIONS[config.hidden_act]()
        self.norm = layer_norm(config, config.hidden_size)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.norm(self.act(self.dense(x))))


class TaskHead(nn.Module):
    """Dropout and one linear layer."""

    def __init__(self, config: BertLightningConfig, outputs: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.classifier = nn.Linear(config.hidden_size, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.dropout(x))


def class_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns the mean cross-entropy in nats; labels of -100 do not count."""
    return cross_entropy(logits.flatten(0, -2), labels.flatten())


class BertLightningPreTrainedModel(PreTrainedModel):
    """The encoder; models that read one vector of a sequence have a pooler too."""

    config_class = BertLightningConfig
    _supports_sdpa = True
    has_pooler = True

    def __init__(self, config: BertLightningConfig) -> None:
        super().__init__(config)
        if config.output_attentions:
            raise ValueError("output_attentions=True is not supported: no weights are kept")
        self.encoder = Encoder(config)
        self.pooler = Pooler(config) if self.has_pooler else None

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=self.config.initializer_range)
        if isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
        if isinstance(module, nn.Linear | nn.LayerNorm) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def get_input_embeddings(self) -> nn.Module:
        return self.encoder.embeddings.word

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.encoder.embeddings.word = value

    def encode(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        token_type_ids: Tensor | None,
        output_hidden_states: bool | None,
    ) -> BaseModelOutputWithPooling:
        length, most = input_ids.shape[1], self.config.max_position_embeddings
        if length > most:
            raise ValueError(f"{length} tokens are too long, this model reads up to {most}")
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        if token_type_ids is None:
            token_type_ids = torch.zeros_like(input_ids)
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        layers = self.encoder(input_ids, attention_mask, token_type_ids, output_hidden_states)
        pooled = None if self.pooler is None else self.pooler(layers[-1], attention_mask)
        return BaseModelOutputWithPooling(
            last_hidden_state=layers[-1],
            pooler_output=pooled,
            hidden_states=layers if output_hidden_states else None,
        )


class BertLightningModel(BertLightningPreTrainedModel):
    """The encoder alone; `pooler_output` is the vector that `pooling` names."""

    def __init__(self, config: BertLightningConfig) -> None:
        super().__init__(config)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        output_hidden_states: bool | None = None,
    ) -> BaseModelOutputWithPooling:
        return self.encode(input_ids, attention_mask, token_type_ids, output_hidden_states)


class BertLightningForMaskedLM(BertLightningPreTrainedModel):
    """Predicts masked tokens; `labels` are `(batch, length)`."""

    has_pooler = False
    _tied_weights_keys: ClassVar = {"mlm_head.decoder.weight": "encoder.embeddings.word.weight"}

    def __init__(self, config: BertLightningConfig) -> None:
        super().__init__(config)
        self.mlm_head = MaskedLanguageModelHead(config)
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        return self.mlm_head.decoder

    def set_output_embeddings(self, value: nn.Linear) -> None:
        self.mlm_head.decoder = value

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
    ) -> MaskedLMOutput:
        encoded = self.encode(input_ids, attention_mask, token_type_ids, output_hidden_states)
        logits = self.mlm_head(encoded.last_hidden_state)
        loss = None if labels is None else class_loss(logits, labels)
        return MaskedLMOutput(loss=loss, logits=logits, hidden_states=encoded.hidden_states)


class BertLightningForPreTraining(BertLightningForMaskedLM):
    """Both heads of pretraining; `next_sentence_label` 0 is "is next", 1 is "is not"."""

    has_pooler = True

    def __init__(self, config: BertLightningConfig) -> None:
        super().__init__(config)
        self.nsp_head = nn.Linear(config.hidden_size, 2)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        next_sentence_label: Tensor | None = None,
        output_hidden_states: bool | None = None,
    ) -> BertForPreTrainingOutput:
        encoded = self.encode(input_ids, attention_mask, token_type_ids, output_hidden_states)
        mlm_logits = self.mlm_head(encoded.last_hidden_state)
        nsp_logits = self.nsp_head(encoded.pooler_output)
        loss = None
        if labels is not None and next_sentence_label is not None:
            loss = class_loss(mlm_logits, labels) + class_loss(nsp_logits, next_sentence_label)
        return BertForPreTrainingOutput(
            loss=loss,
            prediction_logits=mlm_logits,
            seq_relationship_logits=nsp_logits,
            hidden_states=encoded.hidden_states,
        )


class BertLightningForSequenceClassification(BertLightningPreTrainedModel):
    """One of several classes for a sequence, or a number (`problem_type="regression"`)."""

    def __init__(self, config: BertLightningConfig) -> None:
        super().__init__(config)
        self.is_number = config.num_labels == 1
        problems = "regression" if self.is_number else "single_label_classification"
        if config.problem_type not in (None, problems):
            raise ValueError(
                f"problem_type={config.problem_type} is not supported for {config.num_labels} "
                f"labels, only {problems} is"
            )
        self.head = TaskHead(config, config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
    ) -> SequenceClassifierOutput:
        encoded = self.encode(input_ids, attention_mask, token_type_ids, output_hidden_states)
        logits = self.head(encoded.pooler_output)
        loss = None
        if labels is not None and self.is_number:
            loss = mse_loss(logits.flatten(), labels.flatten().to(logits.dtype))
        elif labels is not None:
            loss = class_loss(logits, labels)
        return SequenceClassifierOutput(
            loss=loss, logits=logits, hidden_states=encoded.hidden_states
        )


class BertLightningForTokenClassification(BertLightningPreTrainedModel):
    """One of several classes for each token; `labels` are `(batch, length)`."""

    has_pooler = False

    def __init__(self, config: BertLightningConfig) -> None:
        super().__init__(config)
        self.head = TaskHead(config, config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
    ) -> TokenClassifierOutput:
        encoded = self.encode(input_ids, attention_mask, token_type_ids, output_hidden_states)
        logits = self.head(encoded.last_hidden_state)
        loss = None if labels is None else class_loss(logits, labels)
        return TokenClassifierOutput(loss=loss, logits=logits, hidden_states=encoded.hidden_states)


BertLightningConfig.register_for_auto_class()
for model in (
    BertLightningModel,
    BertLightningForMaskedLM,
    BertLightningForPreTraining,
    BertLightningForSequenceClassification,
    BertLightningForTokenClassification,
):  # so `save_pretrained` writes this file too
    name = model.__name__.removeprefix("BertLightning").removeprefix("Model")
    model.register_for_auto_class(f"AutoModel{name}")
