"""The predictions of both pretraining heads: tokens for a mask, and whether b follows a."""

from typing import TYPE_CHECKING, NamedTuple

import torch

from bert_lightning.batch import IS_NEXT, MASK, SPECIAL_TOKENS
from bert_lightning.errors import UserError
from bert_lightning.inference.represent import max_length, run, tokenize
from bert_lightning.model.bert import BertForPreTraining, inference_mode

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class Fill(NamedTuple):
    """A token for the mask."""

    token: str
    probability: float
    """Among the whole vocabulary, special tokens included."""


def fill_mask(
    model: BertForPreTraining,
    tokenizer: "Tokenizer",
    text: str,
    *,
    top: int = 5,
    truncate: bool = False,
) -> list[Fill]:
    """Returns tokens for the `[MASK]` of a text, the likeliest first.

    Args:
        model: the encoder and its heads.
        tokenizer: the one that the model was trained with.
        text: contains `[MASK]` once.
        top: how many; special tokens are never among them.
        truncate: whether to cut a text that is longer than the model reads.

    Raises:
        UserError: the text has no mask or several, is empty, or is too long.
    """
    if top < 1:
        raise UserError(f"top={top} must be 1 or more")
    limit = max_length(model)
    encodings = tokenize(tokenizer, [text], limit, truncate=truncate)
    mask = tokenizer.token_to_id(MASK)
    positions = [index for index, token in enumerate(encodings[0].ids) if token == mask]
    if not positions:
        within = f" among its first {limit} tokens" if truncate else ""
        raise UserError(f"the text has no {MASK}{within}: write {MASK} where a word is missing")
    if len(positions) > 1:
        raise UserError(
            f"the text has {MASK} {len(positions)} times, but one is filled at a time: "
            "write words in place of the others"
        )
    hidden = run(model, encodings).hidden[positions]  # (1, hidden)
    with inference_mode(model):
        probabilities = model.mlm_head(hidden)[0].float().softmax(-1)  # (vocab,)
    words = torch.tensor(_word_ids(tokenizer), device=probabilities.device)
    best = probabilities[words].topk(min(top, len(words)))
    return [
        Fill(str(tokenizer.id_to_token(token)), probability)
        for probability, token in zip(
            best.values.tolist(), words[best.indices].tolist(), strict=True
        )
    ]


def is_next(
    model: BertForPreTraining,
    tokenizer: "Tokenizer",
    first: str,
    second: str,
    *,
    truncate: bool = False,
) -> float:
    """Returns the probability that the second text follows the first.

    Raises:
        UserError: a text is empty, or the pair is longer than the model reads.
    """
    encodings = tokenize(tokenizer, [(first, second)], max_length(model), truncate=truncate)
    pooled = run(model, encodings).pooled  # (1, hidden)
    with inference_mode(model):
        return float(model.nsp_head(pooled)[0].float().softmax(-1)[IS_NEXT])


def _word_ids(tokenizer: "Tokenizer") -> list[int]:
    """Returns the ids of all tokens but the special ones."""
    added = tokenizer.get_added_tokens_decoder()
    special = {token.content for token in added.values() if token.special} | set(SPECIAL_TOKENS)
    return sorted(index for token, index in tokenizer.get_vocab().items() if token not in special)
