"""The head of questions: where an answer starts, and where it ends."""

import numpy as np
import torch
from torch import Tensor

from bert_lightning.finetuning.tasks.head import TaskHead
from bert_lightning.model.objective import Sums


class SpanHead(TaskHead):
    """Two logits for each candidate, of the start and of the end (Devlin et al., 2019, 4.2)."""

    def sums(self, outputs: Tensor, labels: Tensor, widths: np.ndarray) -> Sums:
        """Sums over windows the mean of two cross-entropies, of the start and of the end, in nats.

        Each is over the candidates of its window. `labels` are the right ones, `(windows, 2)`.
        """
        lengths = torch.from_numpy(widths).to(outputs.device)
        firsts = lengths.cumsum(0) - lengths
        logits = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
        top = torch.segment_reduce(logits.detach(), "max", lengths=lengths)
        shifted = logits - top.repeat_interleave(lengths, 0, output_size=len(logits))
        total = torch.segment_reduce(shifted.exp(), "sum", lengths=lengths).log()
        right = shifted.gather(0, firsts[:, None] + labels)
        best = (right == 0).all(1).sum()
        return Sums((total - right).mean(1).sum(), best, torch.full((), len(labels)))
