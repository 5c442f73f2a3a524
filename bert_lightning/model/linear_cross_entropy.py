"""The loss of masked tokens over the whole vocabulary, whose logits never exist all at once."""

from itertools import count
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from bert_lightning.batch import Taught
from bert_lightning.model.kernels import cpu
from bert_lightning.model.kernels.available import triton_runs

CHUNK = 1024
"""Rows of logits that exist at a time: few enough for the cache, enough for fast products."""
ALIGNED = 64
"""A multiple of this suits the tiles of matrix products: as the length of a row of logits on a GPU,
and as the number of rows in a chunk."""


def linear_cross_entropy_sum(
    x: Tensor, weight: Tensor, bias: Tensor, labels: Tensor, taught: Taught | None = None
) -> tuple[Tensor, Tensor]:
    """Computes the summed cross-entropy of `x @ weight.T + bias`, a chunk of logits at a time.

    It equals these lines, which hold all logits, and their gradients, in memory at once:

        p = (x @ weight.T + bias).softmax(1)
        one_hot = torch.nn.functional.one_hot(labels, len(weight))
        nll = -(p * one_hot).sum(1).log().sum()
        grad_logits = p - one_hot
        grad_x = grad_logits @ weight
        grad_weight = grad_logits.T @ x
        grad_bias = grad_logits.sum(0)

    `x` is `(masked, hidden)`, `weight` `(vocab, hidden)`, `bias` `(vocab,)` and `labels`
    `(masked,)`. Rows of `x` beyond the last label count nothing. Returns the loss in nats, and how
    many labels had the highest logit. With `taught`, `one_hot` is another in the gradients, though
    not in the loss: `(1 - fraction) * one_hot + fraction * teachers' probabilities`.
    """
    device = x.device.type
    if torch.is_autocast_enabled(device):
        x = x.to(torch.get_autocast_dtype(device))
    if x.is_cuda:
        weight = weight.to(x.dtype)
        if len(weight) % ALIGNED:
            weight, bias = with_aligned_logits(weight, bias)
            if taught is not None:
                aligned = with_aligned_logits(taught.weight, taught.bias)
                taught = taught._replace(weight=aligned[0], bias=aligned[1])
    # Within the function torch says that gradients are wanted even where they are switched off.
    wanted = torch.is_grad_enabled() and any(value.requires_grad for value in (x, weight, bias))
    nll, correct = _LinearCrossEntropySum.apply(x, weight, bias, labels, wanted, taught)
    return nll, correct


def rows_on_gpu(vocab_size: int, width: int) -> int:
    """Returns how many there are for a GPU's kernel, of `width` bytes a logit: 1 GiB at most."""
    return min(16_384, 2**30 // (vocab_size * width))


def equal_parts(rows: int, most: int) -> int:
    """Returns the size of the fewest parts of `most` rows at most, as equal as multiples of 64."""
    parts = max(1, -(-rows // most))
    return min(most, max(1, -(-rows // (parts * ALIGNED))) * ALIGNED)


def with_aligned_logits(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Adds words without a chance, up to a multiple of `ALIGNED`, as fast products on GPUs need."""
    more = -len(weight) % ALIGNED
    return F.pad(weight, (0, 0, 0, more)), F.pad(bias, (0, more), value=float("-inf"))


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
        taught: Taught | None,
    ) -> tuple[Tensor, Tensor]:
        exact, narrow = bias.dtype, weight.to(x.dtype)  # of sums, and in products
        nll, correct = torch.zeros(2, dtype=exact, device=x.device)
        grad_bias, grad_weight = torch.zeros_like(bias), narrow
        grads_x: list[Tensor] = []
        chunk = equal_parts(len(x), _most_rows(x, weight))
        for rows, start in zip(x.split(chunk), count(step=chunk), strict=False):
            scored = _score(rows, narrow, bias, labels[start : start + chunk])
            nll += scored.nll
            correct += scored.correct
            if needs_grad:
                if taught is not None:
                    _learn_from(taught, scored, start, labels)
                grad_bias += scored.grad_bias
                more = scored.grad_logits.T @ rows
                grad_weight = _add(grad_weight.to(exact), more) if grads_x else more
                grads_x.append(scored.grad_logits @ narrow)
        ctx.mark_non_differentiable(correct)
        if needs_grad:
            ctx.save_for_backward(torch.cat(grads_x), grad_weight, grad_bias)
            ctx.weight_dtype = weight.dtype
        return nll, correct

    @staticmethod
    def backward(ctx, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[no-untyped-def]
        grad_x, grad_weight, grad_bias = ctx.saved_tensors
        grad_weight = (grad_weight.to(grad.dtype) * grad).to(ctx.weight_dtype)
        return grad_x * grad.to(grad_x.dtype), grad_weight, grad_bias * grad, None, None, None


class _Scored(NamedTuple):
    """What a chunk of logits adds to each sum."""

    nll: Tensor
    correct: Tensor
    grad_logits: Tensor
    """`(chunk, vocab)`, in the type of products."""
    grad_bias: Tensor


def _score(x: Tensor, weight: Tensor, bias: Tensor, labels: Tensor) -> _Scored:
    """Scores the logits of a chunk, `x @ weight.T + bias`."""
    if cpu.fits(x) and bias.dtype is torch.float32:
        return _Scored(*cpu.cross_entropy(x @ weight.T, bias, labels))
    logits = torch.addmm(bias.to(x.dtype), x, weight.T)  # (chunk, vocab)
    if _by_triton(x):
        from bert_lightning.model.kernels.cross_entropy import cross_entropy as score
    else:
        score = cross_entropy
    nll, correct, gradient = score(logits, labels)
    # On CPU a sum of narrow numbers into a wider type takes twenty times as long.
    grad_bias = gradient.sum(0, dtype=bias.dtype if x.is_cuda else None)
    return _Scored(nll, correct, gradient.to(x.dtype), grad_bias)


def _learn_from(taught: Taught, scored: _Scored, start: int, labels: Tensor) -> None:
    """Puts the teachers' probabilities for their fraction of the one-hot labels, in place.

    `p - ((1 - fraction) · one-hot + fraction · q)` is `(p - one-hot) - fraction · (q - one-hot)`,
    and `q - one-hot` is what their own logits would get as a gradient.
    """
    end = start + len(scored.grad_logits)
    rows = taught.vectors[start:end].to(scored.grad_logits.dtype)
    rows = F.pad(rows, (0, 0, 0, end - start - len(rows)))
    weight, bias = taught.weight.to(rows.dtype), taught.bias.to(scored.grad_bias.dtype)
    theirs = _score(rows, weight, bias, labels[start:end])
    scored.grad_logits.sub_(theirs.grad_logits, alpha=taught.fraction)
    scored.grad_bias.sub_(theirs.grad_bias, alpha=taught.fraction)


def _add(sums: Tensor, more: Tensor) -> Tensor:
    return cpu.accumulate(sums, more) if cpu.fits(more) else sums.add_(more)


def _by_triton(x: Tensor) -> bool:
    return x.is_cuda and x.dtype.itemsize <= 4 and triton_runs()


def _most_rows(x: Tensor, weight: Tensor) -> int:
    return rows_on_gpu(len(weight), x.dtype.itemsize) if _by_triton(x) else CHUNK


def cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the summed loss of logits `(rows, vocab)`, how many labels are right, and the
    gradient of the loss by the logits.

    Rows beyond the last label count nothing. One label costs 87 nats at most. One among k equally
    likely words counts 1/k: 16-bit probabilities are often equal, and the first of the equals would
    be a frequent word.
    """
    exact = torch.promote_types(logits.dtype, torch.float32)
    # On CPU a softmax into a wider type first copies all logits, and its sums are fp32 anyway.
    # fp16, which only GPUs have, would round small probabilities to 0.
    more = len(logits) - len(labels)
    p = logits[: len(labels)].softmax(1, dtype=None if logits.device.type == "cpu" else exact)
    each = torch.arange(len(p), device=p.device)
    right = p[each, labels]
    nll = -right.to(exact).clamp(min=torch.finfo(exact).tiny).log().sum()
    correct = _count_correct(p, right)
    p[each, labels] = right - 1  # p - one-hot
    return nll, correct, F.pad(p, (0, 0, 0, more)) if more else p


def _count_correct(p: Tensor, right: Tensor) -> Tensor:
    """Counts the rows whose highest probability is that of the label, `right` `(rows,)`."""
    highest = p.amax(1)
    if p.device.type == "cpu":  # few rows are right; on a GPU choosing them would stop the host
        chosen = right == highest
        p, right, highest = p[chosen], right[chosen], highest[chosen]
    equal = torch.ge(p, highest[:, None], out=torch.empty_like(p)).sum(1, dtype=torch.float32)
    return ((right == highest) / equal).sum()
