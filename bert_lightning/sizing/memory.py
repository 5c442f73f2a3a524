"""The peak memory of training on one device, and the largest micro-batch that fits.

Weights, gradients, optimizer state, and what a strategy or a precision adds to them do not depend
on the batch. The rest, activations that are saved for the backward pass, grows with the tokens, and
in attention without a flash kernel with the square of the length.

Activations are counted from the layers' code, per token, in vectors of `h` (hidden size), of `i`
(intermediate size) and, for each of `H` heads, of `l` (length) attention weights. A block saves

* the inputs of four linear layers, and attention's query, key and value: `6 h + i` (with query-key
  norm also the inputs of that norm: `3 h`);
* the inputs of two norms: `2 h`, and two dropout masks of `h`;
* the input of the activation: `i`; with `glu` both its halves and the activated one: `3 i`;
* in buckets, the softmax and its dropout mask: `2 H l`; a flash kernel saves neither.

The tests compare this with what models save on CPU and on a GPU in every precision. What the
strategies add follows from their code and has not been measured. The statistics of norms and the
rotary angles are left out: in large models they are less than a hundredth. Torch decides what
compiled blocks save; for them the estimate is rough.
"""

from dataclasses import dataclass
from typing import NamedTuple

from bert_lightning.config import (
    FeedForwardKind,
    HiddenAct,
    ModelConfig,
    NormPlacement,
    StrategyName,
    TrainConfig,
)
from bert_lightning.model.attention import BUCKET_STEP
from bert_lightning.model.linear_cross_entropy import CHUNK, rows_on_gpu
from bert_lightning.optim.optimizers import states_per_weight
from bert_lightning.sizing.flops import count_parameters, meta_model

USABLE = 0.9
"""The fraction of a GPU's memory that a run may use; the rest is CUDA's, and lost in gaps."""


class ByteWidths(NamedTuple):
    """The bytes of one value."""

    parameter: int
    hidden: int
    """A hidden state between layers."""
    matmul: int
    """An input of a matrix product."""


def byte_widths(precision: str) -> ByteWidths:
    """Returns the widths in one of Lightning's precisions, such as `bf16-mixed`."""
    bits, _, kind = precision.partition("-")
    if bits in ("64", "32"):
        return ByteWidths(*[int(bits) // 8] * 3)
    if kind == "true":
        return ByteWidths(2, 2, 2)
    return ByteWidths(4, 2 if bits == "bf16" else 4, 2)  # `model/bert.py` says why fp16 has 4


@dataclass(frozen=True)
class Activations:
    """The bytes of one sequence's activations, by component."""

    embeddings: float
    attention: float
    """All of attention but its weights; grows with the length."""
    attention_weights: float
    """Grows with the square of the length; 0 with a flash kernel."""
    feed_forward: float
    block_inputs: float
    """With activation checkpointing: the input of each block, instead of the three above."""
    heads: float
    """The heads and, with pre-norm, the last norm."""
    backward: float
    """Added when the backward pass enters the last block: its gradients and, with activation
    checkpointing, all that the block computes again. Other blocks need less at their turn."""

    @property
    def total(self) -> float:
        return sum(vars(self).values())

    @property
    def saved(self) -> float:
        """The bytes that the forward pass saves for the backward pass."""
        return self.total - self.backward


def activations(
    config: ModelConfig, length: int, mlm_probability: float, precision: str, on_gpu: bool
) -> Activations:
    """Returns the activations of one training sequence of `length` tokens."""
    h, layers = config.hidden_size, config.num_hidden_layers
    parameter, hidden, matmul = byte_widths(precision)
    flash = on_gpu and matmul == 2  # as in model.attention_paths.flash_reads
    gated = config.feed_forward is FeedForwardKind.glu
    inner = config.intermediate_size * (4 if gated else 2 - (config.hidden_act is HiddenAct.relu))
    mask = 1 if on_gpu else matmul  # on CPU a mask has the type of what it masks
    dropout = h * mask * (config.hidden_dropout_prob > 0)
    attention = h * ((8 if config.qk_norm else 5) * matmul + hidden) + dropout
    feed_forward = h * (matmul + hidden) + inner * matmul + dropout
    weights = indices = 0.0
    if not flash:
        padded = -(-length // BUCKET_STEP) * BUCKET_STEP
        drops = config.attention_probs_dropout_prob > 0
        weights = config.num_attention_heads * matmul * (1 + drops) * padded**2 / length
        indices = 7 * 8 * config.num_attention_heads
    embedding_mask = h * (1 if on_gpu else hidden) * (config.hidden_dropout_prob > 0)
    block = attention + weights + feed_forward
    gradients = h * hidden + config.intermediate_size * (2 if gated else 1) * matmul
    last_norm = h * hidden * (config.norm is NormPlacement.pre)
    checkpointing = bool(config.activation_checkpointing)
    saved = 0 if checkpointing else layers
    return Activations(
        embeddings=length * (h * parameter + embedding_mask + indices),
        attention=length * saved * attention,
        attention_weights=length * saved * weights,
        feed_forward=length * saved * feed_forward,
        block_inputs=length * (layers - saved) * h * hidden,
        heads=length * last_norm + h * matmul * (4 * length * mlm_probability + 3),
        backward=length * (gradients + checkpointing * block),
    )


@dataclass(frozen=True)
class Memory:
    """The bytes that a run needs on one device; `sequence` and `logits` are those of a sequence."""

    weights: float
    gradients: float
    optimizer_state: float
    """Two values for each weight, or one where Muon updates it."""
    weight_copies: float
    """Weights cast for matrix products; with fsdp, the shards that are gathered for use."""
    ema: float
    """The exponential moving average of the weights; 0 without one."""
    mlm_head: float
    """The MLM head's working set: the vocabulary's gradients, and small chunks of logits."""
    logits: float
    """On a GPU, whose chunks are large: the logits of a sequence."""
    most_logits: float
    """Those of a whole chunk."""
    sequence: Activations

    @property
    def fixed(self) -> float:
        """The bytes that are allocated from the first step to the last."""
        copied = self.weight_copies + self.ema
        return self.weights + self.gradients + self.optimizer_state + copied

    def peak(self, micro_batch_size: int) -> float:
        """Returns the peak: in the MLM head, or when the backward pass enters the last block.

        For very few tokens it is in the update, beside which a copy of the weights measures it.
        """
        saved, backward = self.sequence.saved, self.sequence.backward
        head = self.mlm_head + min(micro_batch_size * self.logits, self.most_logits)
        working_set = max(head, micro_batch_size * backward)
        return self.fixed + max(micro_batch_size * saved + working_set, self.weights)

    def largest_micro_batch(self, available: float) -> int:
        """Returns the most sequences that fit into so many bytes; 0 if not even one does."""
        room, sequence = available - self.fixed, self.sequence
        if room < self.weights:
            return 0
        room_of_head = room - self.mlm_head
        fitting = max(
            room_of_head // (sequence.saved + self.logits),
            (room_of_head - self.most_logits) // sequence.saved,
        )
        return max(0, int(min(fitting, room // sequence.total)))


def memory(config: TrainConfig, vocab_size: int, world_size: int, on_gpu: bool) -> Memory:
    """Returns what a run needs on each of its `world_size` devices.

    With ddp the gradients lie in the buffers that sum them. With fsdp (Zhao et al., 2023,
    https://arxiv.org/abs/2304.11277) a device holds its shard of
    weights, gradients and optimizer state. It gathers whole: everything outside the blocks, and of
    the blocks the current one and the next, each with its gradients.
    """
    model, precision = config.model, config.trainer.precision
    empty = meta_model(model, vocab_size)
    counted = count_parameters(empty)
    states = sum(
        states_per_weight(config.optim, name, parameter) * parameter.numel()
        for name, parameter in empty.named_parameters()
    )
    parameter_bytes, _, matmul = byte_widths(precision)
    casts = matmul != parameter_bytes
    in_blocks = counted.attention + counted.feed_forward
    weights = gradients = float(parameter_bytes * counted.total)
    copies = float(matmul * (in_blocks + counted.pooler) * casts)
    if config.strategy.name is StrategyName.fsdp:
        weights = gradients = weights / world_size
        outside = counted.total - in_blocks
        copies = 2 * parameter_bytes * outside + 4 * matmul * in_blocks / model.num_hidden_layers
    vocabulary = vocab_size * model.hidden_size
    masking = config.batch.masking
    probability = max(masking.mlm_probability, masking.mlm_probability_end or 0)
    row = vocab_size * matmul * (1 + bool(config.objective.teachers))  # of logits, and of theirs
    return Memory(
        weights=weights,
        gradients=gradients,
        optimizer_state=gradients * states / counted.total,
        weight_copies=copies,
        ema=0.0 if config.optim.ema_decay is None else weights,
        mlm_head=2 * vocabulary * (parameter_bytes + matmul * casts) + 2 * CHUNK * row,
        logits=config.batch.max_length * probability * row * on_gpu,
        most_logits=rows_on_gpu(vocab_size, matmul) * row * on_gpu,
        sequence=activations(model, config.batch.max_length, probability, precision, on_gpu),
    )


def known_vocab_size(config: TrainConfig) -> int:
    """Returns the rows of the embedding that the options state, or else BERT's."""
    return config.model.vocab_size or config.tokenizer.vocab_size or 30_522
