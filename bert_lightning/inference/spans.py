"""Vectors of spans of tokens, in every layer at once: of words, of first wordpieces, of texts."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from bert_lightning.batch import Sequences
from bert_lightning.corpus.tokenizer import Encoding, Tokenizer
from bert_lightning.inference.represent import packed
from bert_lightning.model.bert import BertForPreTraining, Encoder, inference_mode

TOKENS_PER_BATCH = 8192


def span_vectors(
    model: BertForPreTraining,
    encodings: Sequence[Encoding],
    spans: Sequence[Sequence[slice]],
    tokens_per_batch: int = TOKENS_PER_BATCH,
) -> Iterator[Tensor]:
    """Yields the mean vector of each span of tokens, batch after batch of consecutive texts.

    One pass gives all layers. Only the means leave a batch, so memory is bounded by its tokens,
    whatever the number of texts. `[CLS]` is `slice(0, 1)`; a whole text is `slice(0, length)`.

    Args:
        model: it runs without dropout and without gradients.
        encodings: the texts.
        spans: for each text its spans, none of them empty; a text may have none.
        tokens_per_batch: a batch ends before it has more; a longer text is a batch of its own.

    Yields:
        `(layers + 1, spans of the batch, hidden)` float32 on the CPU; layer 0 is the embeddings.
    """
    lengths = [len(encoding) for encoding in encodings]
    for batch in _batches(lengths, tokens_per_batch):
        starts = np.cumsum([0, *lengths[batch]])
        places = [
            np.arange(start + span.start, start + span.stop)
            for start, own in zip(starts, spans[batch], strict=False)
            for span in own
        ]
        if places:
            counts = np.array([len(place) for place in places])
            sequences = packed(model, encodings[batch])
            yield layer_means(model.encoder, sequences, np.concatenate(places), counts)


def layer_means(
    encoder: Encoder, sequences: Sequences, tokens: np.ndarray, counts: np.ndarray
) -> Tensor:
    """Returns the mean vector of each group of tokens in every layer, from one pass.

    Args:
        encoder: it runs without dropout and without gradients.
        sequences: a batch on the encoder's device.
        tokens: `(grouped,)` places in the batch, one group after another.
        counts: `(groups,)` how many tokens each group has, at least 1.

    Returns:
        `(layers + 1, groups, hidden)` float32 on the CPU; layer 0 is the embeddings.
    """
    device = sequences.token_ids.device
    places, lengths = (torch.from_numpy(values).to(device) for values in (tokens, counts))
    with inference_mode(encoder):
        means = [
            torch.segment_reduce(hidden[places].float(), "mean", lengths=lengths).cpu()
            for hidden in encoder.layers(sequences)
        ]
    return torch.stack(means).clone()  # the copy is usable with autograd


def _batches(lengths: Sequence[int], most: int) -> Iterator[slice]:
    start = total = 0
    for index, length in enumerate(lengths):
        if index > start and total + length > most:
            yield slice(start, index)
            start, total = index, 0
        total += length
    if lengths:
        yield slice(start, len(lengths))


def cut_around(
    tokenizer: Tokenizer, encoding: Encoding, span: slice, limit: int
) -> tuple[Encoding, slice]:
    """Cuts a text to `limit` tokens with the span in the middle, and adds the special tokens.

    Args:
        tokenizer: the one that read the text.
        encoding: the text without special tokens; it may be changed.
        span: the tokens to keep.
        limit: tokens, special tokens included.

    Returns:
        The text with its special tokens, and where the span is now.
    """
    room = limit - tokenizer.num_special_tokens_to_add(False)
    start = max(0, min((span.start + span.stop - room) // 2, len(encoding) - room))
    encoding.truncate(start + room)
    encoding.truncate(room, direction="left")
    whole = tokenizer.post_process(encoding)
    shift = whole.special_tokens_mask.index(0) - start
    last = len(encoding) + start
    return whole, slice(max(start, span.start) + shift, min(last, span.stop) + shift)
