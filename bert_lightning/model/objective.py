"""The two objectives of the paper and their exact weighted sum."""

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from bert_lightning.batch import IGNORE_INDEX, PretrainBatch
from bert_lightning.config import ObjectiveConfig
from bert_lightning.model.bert import BertForPreTraining

CHUNK = 512
"""Rows of logits that exist at a time: few enough for the cache, enough for fast products."""


class ObjectiveSums(NamedTuple):
    """Sums over a batch, so that batches of different sizes add up exactly."""

    mlm_nll: Tensor
    """Negative log-likelihood of the masked tokens, in nats."""
    mlm_correct: Tensor
    """Masked tokens whose most likely word is the right one; among k equally likely, 1/k."""
    nsp_nll: Tensor
    """Negative log-likelihood of the next-sentence labels, in nats."""
    nsp_correct: Tensor
    """Pairs whose likelier label is the right one."""


def objective_sums(model: BertForPreTraining, batch: PretrainBatch) -> ObjectiveSums:
    """Runs the model on a batch and sums both objectives over it."""
    encoded = model(batch.sequences)
    transformed = model.mlm_head.transform(encoded.hidden.index_select(0, batch.masked_positions))
    decoder = model.mlm_head.decoder
    mlm_nll, mlm_correct = linear_cross_entropy_sum(
        transformed, decoder.weight, decoder.bias, batch.masked_labels
    )
    nsp_logits = model.nsp_head(encoded.pooled).to(decoder.bias.dtype)  # (sequences, 2)
    return ObjectiveSums(
        mlm_nll,
        mlm_correct,
        F.cross_entropy(nsp_logits, batch.nsp_labels, ignore_index=IGNORE_INDEX, reduction="sum"),
        (nsp_logits.argmax(-1) == batch.nsp_labels).sum(),
    )


def joint_loss(sums: ObjectiveSums, batch: PretrainBatch, config: ObjectiveConfig) -> Tensor:
    """This batch's part of the loss of the whole optimiser step.

    `mlm_weight · Σ NLL of masked tokens / masked tokens + nsp_weight · Σ NLL of pairs / pairs`,
    both counts taken over all micro-batches of all devices: added up over these, the parts are
    the loss of the global batch, however it was divided.
    """
    return (
        config.mlm_weight * sums.mlm_nll / batch.global_masked
        + config.nsp_weight * sums.nsp_nll / max(1, batch.global_pairs)  # 0 without pairs
    )


def linear_cross_entropy_sum(
    x: Tensor, weight: Tensor, bias: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of `x @ weight.T + bias`, summed, without all logits in memory at once.

    Args:
        x: `(masked, hidden)`.
        weight: `(vocab, hidden)`.
        bias: `(vocab,)`.
        labels: `(masked,)` int64.

    Returns:
        The summed negative log-likelihood in nats, and how many labels had the highest logit.
    """
    device = x.device.type
    if torch.is_autocast_enabled(device):
        x, weight = (value.to(torch.get_autocast_dtype(device)) for value in (x, weight))
    # Within the function torch says that gradients are wanted even where they are switched off.
    wanted = torch.is_grad_enabled() and any(value.requires_grad for value in (x, weight, bias))
    nll, correct = _LinearCrossEntropySum.apply(x, weight, bias, labels, wanted)
    return nll, correct


class _LinearCrossEntropySum(torch.autograd.Function):
    """Takes the gradients while a chunk's logits are at hand, so that they are made only once.

    `torch.nn.functional.linear_cross_entropy` does the same from torch 2.13 on, but does not tell
    which labels had the highest logit, which the accuracy curve needs.
    """

    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        labels: Tensor,
        needs_grad: bool,
    ) -> tuple[Tensor, Tensor]:
        exact, low = bias.dtype, x.dtype  # of sums, and of products
        # On CPU a softmax into a wider type first copies all logits, and its sums are fp32 anyway.
        # fp16, which only GPUs have, would take small probabilities for 0.
        wide = None if x.device.type == "cpu" else exact
        nll, correct = torch.zeros(2, dtype=exact, device=x.device)
        if needs_grad:
            grad_x = torch.empty_like(x)
            grad_weight, grad_bias = torch.zeros_like(weight, dtype=exact), torch.zeros_like(bias)
        low_bias = bias.to(low)
        for start in range(0, len(x), CHUNK):
            rows, wanted = x[start : start + CHUNK], labels[start : start + CHUNK]
            each = torch.arange(len(rows), device=x.device)
            p = torch.addmm(low_bias, rows, weight.T).softmax(1, dtype=wide)  # (chunk, vocab)
            right = p[each, wanted]
            nll -= right.to(exact).clamp(min=torch.finfo(exact).tiny).log().sum()  # 87 nats at most
            correct += _share_right(p, right)
            if needs_grad:
                p[each, wanted] = right - 1  # ∂NLL/∂logits = p - one-hot
                grad_bias += p.sum(0)
                p = p.to(low)
                grad_x[start : start + CHUNK] = p @ weight
                grad_weight += p.T @ rows
        ctx.mark_non_differentiable(correct)
        if needs_grad:
            ctx.save_for_backward(grad_x, grad_weight, grad_bias)
            ctx.weight_dtype = weight.dtype
        return nll, correct

    @staticmethod
    def backward(ctx, grad: Tensor, _: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:  # type: ignore[no-untyped-def]
        grad_x, grad_weight, grad_bias = ctx.saved_tensors
        return (
            grad_x * grad.to(grad_x.dtype),
            (grad_weight * grad).to(ctx.weight_dtype),
            grad_bias * grad,
            None,
            None,
        )


def _share_right(p: Tensor, right: Tensor) -> Tensor:
    """How many labels have the highest probability; one among k that have it counts 1/k.

    Numbers of few bits are often equal, and the first of equals would be a frequent word.

    Args:
        p: `(rows, vocab)`.
        right: `(rows,)`, the labels' own.
    """
    highest = p.amax(1)
    if p.device.type == "cpu":  # few rows are right; on a GPU choosing them would stop the host
        chosen = right == highest
        p, right, highest = p[chosen], right[chosen], highest[chosen]
    equal = torch.ge(p, highest[:, None], out=torch.empty_like(p)).sum(1, dtype=torch.float32)
    return ((right == highest) / equal).sum()
