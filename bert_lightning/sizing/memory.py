"""How much memory training takes on one device, and how many sequences at a time fit.

Part of it is there whatever the batch: weights, gradients, the optimiser's state, and what a
strategy or a precision adds to them. The rest, the activations that wait for the backward pass,
grows with the tokens, and in attention without a flash kernel with the square of the length.

The activations are counted from the layers' code, per token, in vectors of `h` (hidden size), `i`
(feed-forward's) and, for each of `H` heads, rows of `l` (length) attention weights. A block keeps

* the inputs of four linear layers, and attention's query, key and value: `6 h + i` (with query-key
  norm, those three also as they were before it: `3 h`);
* the inputs of two norms: `2 h`, and two dropout masks of `h`;
* the input of the activation: `i`; with `glu` both its halves and the activated one: `3 i`;
* in buckets, the softmax and its dropout mask: `2 H l`; a flash kernel keeps none.

The tests hold this against what models keep on CPU and on a GPU in every precision. What the
strategies add follows from their code and has not been measured. Left out, as below a hundredth in
large models: the statistics of norms, and rotary angles. What compiled blocks keep is torch's
choice; for them this is a rough figure.
"""

from dataclasses import dataclass, fields
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
from bert_lightning.model.heads import CHUNK
from bert_lightning.optim.optimizers import state_numbers
from bert_lightning.sizing.flops import count_parameters, without_memory

USABLE = 0.9
"""The share of a GPU's memory that is planned with; the rest is for the CUDA context, libraries'
workspaces and gaps between allocations."""
UNKNOWN_VOCAB_SIZE = 30_522
"""Words, where neither the model's nor the tokenizer's options say how many: as in BERT."""


class Widths(NamedTuple):
    """Bytes of a number."""

    parameter: int
    stream: int
    """In the vectors between layers."""
    product: int
    """In what goes into matrix products."""


def widths(precision: str) -> Widths:
    """Of one of Lightning's precisions, such as `bf16-mixed`.

    Under fp16's autocast the vectors between layers stay fp32 (`model/bert.py` says why).
    """
    bits, _, kind = precision.partition("-")
    if bits in ("64", "32"):
        return Widths(*[int(bits) // 8] * 3)
    if kind == "true":
        return Widths(2, 2, 2)
    return Widths(4, 2 if bits == "bf16" else 4, 2)


@dataclass(frozen=True)
class Activations:
    """Bytes that one sequence has on the device, by component."""

    embeddings: float
    attention: float
    """All of attention but its weights: grows as the length."""
    attention_weights: float
    """Grows as the square of the length; 0 with a flash kernel."""
    feed_forward: float
    checkpoints: float
    """With activation checkpointing: the input of each block, instead of the three above."""
    heads: float
    """And, with pre-norm, the last norm."""
    backward: float
    """On top, when the backward pass enters the last block: its gradients and, with checkpointing,
    all that the block would have kept. Later blocks have more room."""

    @property
    def total(self) -> float:
        return sum(getattr(self, field.name) for field in fields(self))

    @property
    def kept(self) -> float:
        """What waits for the backward pass when the loss is known."""
        return self.total - self.backward


def activations(
    config: ModelConfig, length: int, mlm_probability: float, precision: str, on_gpu: bool
) -> Activations:
    """Those of one sequence of this `length` in training."""
    h, layers = config.hidden_size, config.num_hidden_layers
    parameter, stream, product = widths(precision)
    flash = on_gpu and product == 2  # as in model.attention.flash_reads
    gated = config.feed_forward is FeedForwardKind.glu
    inner = config.intermediate_size * (4 if gated else 2 - (config.hidden_act is HiddenAct.relu))
    mask = 1 if on_gpu else product  # on CPU it has the type of what it masks
    dropout = h * mask * (config.hidden_dropout_prob > 0)
    attention = h * ((8 if config.qk_norm else 5) * product + stream) + dropout
    feed_forward = h * (product + stream) + inner * product + dropout
    weights = indices = 0.0
    if not flash:
        padded = -(-length // BUCKET_STEP) * BUCKET_STEP
        drops = config.attention_probs_dropout_prob > 0
        weights = config.num_attention_heads * product * (1 + drops) * padded**2 / length
        indices = 7 * 8 * config.num_attention_heads
    embedding_mask = h * (1 if on_gpu else stream) * (config.hidden_dropout_prob > 0)
    block = attention + weights + feed_forward
    gradients = h * stream + config.intermediate_size * (2 if gated else 1) * product
    last_norm = h * stream * (config.norm is NormPlacement.pre)
    checkpointing = config.activation_checkpointing
    kept = 0 if checkpointing else layers
    return Activations(
        embeddings=length * (h * parameter + embedding_mask + indices),
        attention=length * kept * attention,
        attention_weights=length * kept * weights,
        feed_forward=length * kept * feed_forward,
        checkpoints=length * (layers - kept) * h * stream,
        heads=length * last_norm + h * product * (4 * length * mlm_probability + 3),
        backward=length * (gradients + checkpointing * block),
    )


@dataclass(frozen=True)
class Memory:
    """Bytes on one device: first those that are there whatever the batch."""

    weights: float
    gradients: float
    optimizer: float
    """Its moments: two of each number, or one where Muon updates it."""
    copies: float
    """Weights in the type of the products; with fsdp, the parts that are gathered for use."""
    average: float
    """Of the weights; 0 where none is kept."""
    communication: float
    """The buckets in which ddp sums gradients."""
    head: float
    """While the MLM head is at work: the vocabulary's gradients, and chunks of logits."""
    sequence: Activations

    @property
    def state(self) -> float:
        """What is there from the first step to the last."""
        each_step = (self.weights, self.gradients, self.optimizer, self.average)
        return sum(each_step) + self.copies + self.communication

    def needed(self, micro_batch_size: int) -> float:
        """Bytes at the peak with so many sequences of full length at a time.

        It is when the MLM head is at work, or when the backward pass enters the last block.
        """
        kept, backward = self.sequence.kept, self.sequence.backward
        return self.state + micro_batch_size * kept + max(self.head, micro_batch_size * backward)

    def largest_micro_batch(self, available: float) -> int:
        """The most sequences for which so many bytes suffice; 0 where one is too many."""
        room, sequence = available - self.state, self.sequence
        return max(0, int(min((room - self.head) // sequence.kept, room // sequence.total)))


def memory(config: TrainConfig, vocab_size: int, world_size: int, on_gpu: bool) -> Memory:
    """What a run takes on each of its `world_size` devices.

    With fsdp (Zhao et al., 2023, https://arxiv.org/abs/2304.11277) a device has its part of
    weights, gradients and moments, and gathers in whole: all that is outside the blocks, and of
    the blocks the one at work and the next, each with its gradients.
    """
    model, precision = config.model, config.trainer.precision
    empty = without_memory(model, vocab_size)
    counted = count_parameters(empty)
    kept = sum(
        state_numbers(config.optim, *named) * named[1].numel() for named in empty.named_parameters()
    )
    parameter, _, product = widths(precision)
    in_blocks = counted.attention + counted.feed_forward
    weights = gradients = float(parameter * counted.total)
    copies = float(product * (in_blocks + counted.pooler) * (product != parameter))
    communication = gradients if world_size > 1 else 0.0
    if config.strategy.name is StrategyName.fsdp:
        weights = gradients = weights / world_size
        outside = counted.total - in_blocks
        copies = 2 * parameter * outside + 4 * product * in_blocks / model.num_hidden_layers
        communication = 0.0
    vocabulary = vocab_size * model.hidden_size
    probability = max(
        config.batch.masking.mlm_probability, config.batch.masking.mlm_probability_end or 0
    )
    return Memory(
        weights=weights,
        gradients=gradients,
        optimizer=gradients * kept / counted.total,
        copies=copies,
        average=0.0 if config.optim.ema_decay is None else weights,
        communication=communication,
        head=2 * vocabulary * (parameter + product * (product != parameter))
        + 2 * CHUNK * vocab_size * product,
        sequence=activations(model, config.batch.max_length, probability, precision, on_gpu),
    )


def known_vocab_size(config: TrainConfig) -> int:
    """Rows of the embedding as far as the options tell, before there is a tokenizer."""
    return config.model.vocab_size or config.tokenizer.vocab_size or UNKNOWN_VOCAB_SIZE
