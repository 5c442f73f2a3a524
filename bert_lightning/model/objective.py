"""The two objectives of the paper and their exact weighted sum."""

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from bert_lightning.batch import IGNORE_INDEX, PretrainBatch
from bert_lightning.config import ObjectiveConfig
from bert_lightning.model.bert import BertForPreTraining

CHUNK = 256
"""Rows of logits that exist at a time: few enough to stay in the cache."""


class ObjectiveSums(NamedTuple):
    """Sums over a batch, so that batches of different sizes add up exactly."""

    mlm_nll: Tensor
    """Negative log-likelihood of the masked tokens, in nats."""
    mlm_correct: Tensor
    """Masked tokens whose most likely word is the right one."""
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
    nll, correct = _LinearCrossEntropySum.apply(x, weight, bias, labels)
    return nll, correct


class _LinearCrossEntropySum(torch.autograd.Function):
    """Takes the gradients while a chunk's logits are at hand, so that they are made only once.

    With `e = exp(logits - highest)` and `total = Σ e` of each row, the softmax is `e / total`. The
    division is done to the narrow factors of the two products, never to `e` itself: a pass over
    `(chunk, vocab)` costs a tenth of such a product, and ten times that where torch has no
    vectorised form of it, as for `eq`, `argmax`, `scatter_` and `sum(dtype=…)` of bf16 on CPU.

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
    ) -> tuple[Tensor, Tensor]:
        exact, low = bias.dtype, x.dtype  # of sums, and of products
        nll, correct = torch.zeros(2, dtype=exact, device=x.device)
        needs_grad = any(ctx.needs_input_grad)
        if needs_grad:
            grad_x = torch.empty_like(x)
            grad_weight, grad_bias = torch.zeros_like(weight, dtype=exact), torch.zeros_like(bias)
        low_bias = bias.to(low)
        for start in range(0, len(x), CHUNK):
            rows, wanted = x[start : start + CHUNK], labels[start : start + CHUNK]
            each = torch.arange(len(rows), device=x.device)
            logits = torch.addmm(low_bias, rows, weight.T)  # (chunk, vocab)
            highest = logits.amax(1, keepdim=True)
            label = logits[each, wanted, None]
            # Logits of few bits are often equal; a label among k highest counts as 1/k right.
            equal = torch.ge(logits, highest, out=torch.empty_like(logits))
            correct += ((label == highest) / equal.sum(1, keepdim=True)).sum()
            e = logits.sub_(highest).exp_()
            total = _row_sums(e, exact)
            nll += (total.log() + highest - label).sum()
            if needs_grad:
                # ∂NLL/∂logits = e / total - one-hot
                e[each, wanted] = ((label - highest).to(exact).exp() - total).to(low).squeeze(1)
                grad_x[start : start + CHUNK] = (e @ weight) / total
                grad_weight += e.T @ (rows / total).to(low)
                grad_bias += (e.T @ (1 / total).to(low)).squeeze(1)
        ctx.mark_non_differentiable(correct)
        if needs_grad:
            ctx.save_for_backward(grad_x, grad_weight, grad_bias)
            ctx.weight_dtype = weight.dtype
        return nll, correct

    @staticmethod
    def backward(ctx, grad: Tensor, _: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:  # type: ignore[no-untyped-def]
        grad_x, grad_weight, grad_bias = ctx.saved_tensors
        return (
            grad_x * grad.to(grad_x.dtype),
            (grad_weight * grad).to(ctx.weight_dtype),
            grad_bias * grad,
            None,
        )


def _row_sums(e: Tensor, dtype: torch.dtype) -> Tensor:
    """`(rows, vocab)` → `(rows, 1)`: sums in a wider type than the summands'."""
    if e.device.type != "cpu":
        return e.sum(1, keepdim=True, dtype=dtype)
    # Here that would copy all of `e` first; the roundings of sixteen narrower sums average out.
    return torch.stack([part.sum(1) for part in e.tensor_split(16, 1)], 1).to(dtype).sum(1, True)
