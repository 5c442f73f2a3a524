"""The loss of masked tokens among some words of the vocabulary, an estimate of that among all."""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from bert_lightning.batch import SampledWords


def sampled_cross_entropy_sum(
    x: Tensor, weight: Tensor, bias: Tensor, labels: Tensor, words: SampledWords
) -> Tensor:
    """Estimates `linear_cross_entropy_sum` from the logits of the labels and of `words`.

    The loss of a label with the logit `l` is `log(1 + Z / e^l)`, where `Z` is the sum of `e^logit`
    over all other words. Each word that was drawn counts in it for as many as it was drawn from, so
    the expectation of `Z` is exact (importance sampling, as in Jean et al., 2015,
    https://aclanthology.org/P15-1001). The logarithm of an estimate is too low on average, by half
    of its relative variance.

    `x` is `(masked, hidden)`, `weight` `(vocab, hidden)`, `bias` `(vocab,)`, `labels` `(masked,)`.
    Rows of `x` beyond the last label count nothing.
    """
    device = x.device.type
    low = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    exact = torch.promote_types(low, torch.float32)
    count, labels = len(labels), F.pad(labels, (0, len(x) - len(labels)))
    of_words = F.embedding(torch.cat([words.ids, labels]), weight).to(low)
    others, own = of_words.tensor_split([len(words.ids)])
    x = x.to(low)
    own_logit = (x * own).sum(1, dtype=exact) + bias[labels]

    # One more column, without a chance, is where a label that is not among the words has its place.
    place = torch.full((len(weight),), len(words.ids), device=x.device)
    place[words.ids] = torch.arange(len(words.ids), device=x.device)
    at = place[labels]
    logits = (x @ F.pad(others, (0, 0, 0, 1)).T).to(exact)
    logits = logits + F.pad(bias[words.ids], (0, 1), value=-math.inf)
    logits = logits.scatter_(1, at[:, None], -math.inf)
    frequent, drawn = logits.tensor_split([words.frequent], 1)
    rest = torch.logaddexp(frequent.logsumexp(1), drawn.logsumexp(1) + _log_weight(at, words))
    return F.softplus(rest - own_logit)[:count].sum()


def _log_weight(at: Tensor, words: SampledWords) -> Tensor:
    """Returns the logarithm of how many words each one that was drawn stands for, for each label.

    `at` `(masked,)` are the places of the labels among the words. A label is not among the others:
    neither where it was drawn nor where it could have been.
    """
    drawn = len(words.ids) - words.frequent
    weights = torch.full(at.shape, math.log(words.rare / drawn), device=at.device)
    weights.masked_fill_(at >= words.frequent, math.log((words.rare - 1) / (drawn - 1)))
    return weights.masked_fill_(at >= len(words.ids), math.log((words.rare - 1) / drawn))
