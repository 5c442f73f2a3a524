"""The contrastive loss of sentence vectors (SimCSE: Gao et al., 2021, equations 1 and 4)."""

import torch
from torch import Tensor

from bert_lightning.model.objective import Sums, classification_sums


def contrastive_sums(
    vectors: Tensor, positives: Tensor, group_size: int, temperature: float
) -> Sums:
    """Sums the cross-entropy of finding each pair's second text among those of its group.

    For one group, without equal texts, it equals these lines:

        cosines = vectors[0::2] @ vectors[1::2].T  # (pairs, pairs)
        p = (cosines / temperature).softmax(1)
        nll = -p.diagonal().log().sum()

    An equal second text elsewhere in the group is no negative.

    Args:
        vectors: `(2 · pairs, hidden)`, of length 1: the two of a pair after one another.
        positives: `(pairs,)` int64; equal numbers are equal second texts.
        group_size: consecutive pairs that are each other's negatives; it divides `pairs`.
        temperature: divides the cosines.
    """
    pairs = vectors.unflatten(0, (-1, group_size, 2)).to(
        torch.promote_types(vectors.dtype, torch.float32)
    )
    first, second = pairs.unbind(2)  # (groups, group, hidden)
    with torch.autocast(vectors.device.type, enabled=False):
        logits = first @ second.mT / temperature  # (groups, group, group)
    texts = positives.view(-1, group_size)
    own = torch.eye(group_size, dtype=torch.bool, device=vectors.device)
    equal = (texts[:, :, None] == texts[:, None]) & ~own
    place = torch.arange(group_size, device=vectors.device).expand_as(texts)
    return classification_sums(logits.masked_fill(equal, -torch.inf).flatten(0, 1), place.flatten())
