"""A loaded model: one object for all that it can be asked, and the function that loads it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import NamedTuple

import torch
from torch.nn.functional import cosine_similarity

from bert_lightning.batch import IS_NEXT, MASK, SPECIAL_TOKENS
from bert_lightning.corpus.tokenizer import Tokenizer, rows_needed
from bert_lightning.errors import UserError
from bert_lightning.inference.attention_weights import Attention, attention_weights
from bert_lightning.inference.pseudo_likelihood import PseudoLikelihood, pseudo_likelihoods
from bert_lightning.inference.represent import (
    Representation,
    Text,
    run,
    run_to_layer,
    tokenize,
    words_of,
)
from bert_lightning.model.bert import Bert, BertForPreTraining, inference_mode
from bert_lightning.model.hf_names import named
from bert_lightning.pretrained.sources import PretrainedSource, build, open_source

_log = logging.getLogger(__name__)


class Fill(NamedTuple):
    """A token for the mask."""

    token: str
    probability: float
    """Among the whole vocabulary, special tokens included."""


def require_rows(model: Bert, tokenizer: Tokenizer) -> None:
    """Raises a UserError if the model lacks embeddings for tokens of the tokenizer."""
    rows, needed = model.encoder.embeddings.word.num_embeddings, rows_needed(tokenizer)
    if needed > rows:
        raise UserError(
            f"the tokenizer has {needed} tokens, but the model has embeddings for only {rows}: "
            "use the tokenizer that the model was trained with"
        )


@dataclass(frozen=True, eq=False)
class PretrainedBert:
    """A model with its tokenizer, ready for text.

    Methods raise a UserError for a text that they cannot use: empty, with a wrong number of
    `[MASK]`, or longer than the model reads; `truncate` cuts it instead.
    """

    model: BertForPreTraining
    tokenizer: Tokenizer
    missing_heads: frozenset[str] = frozenset()
    """Heads without pretrained weights, such as `mlm_head`; what needs them is refused."""
    origin: str = ""
    """The file, the folder or the name on the hub that it was loaded from."""

    def __post_init__(self) -> None:
        require_rows(self.model, self.tokenizer)

    def __repr__(self) -> str:
        config = self.model.config
        parameters = sum(parameter.numel() for parameter in self.model.parameters())
        return (
            f"PretrainedBert({config.num_hidden_layers} layers, {config.hidden_size} hidden, "
            f"{config.num_attention_heads} heads, {parameters:,} parameters, "
            f"{self.tokenizer.get_vocab_size():,} tokens{self.origin and f'; from {self.origin}'})"
        )

    @property
    def max_length(self) -> int:
        """The tokens of the longest text that the model reads."""
        return self.model.config.max_position_embeddings

    def encode(
        self, first: str, second: str | None = None, *, layer: int = -1, truncate: bool = False
    ) -> Representation:
        """Encodes a text, or a pair of texts; `layer` 0 is the embeddings, -1 the last layer."""
        text = first if second is None else (first, second)
        return self.encode_many([text], layer=layer, truncate=truncate)[0]

    def encode_many(
        self, texts: Sequence[Text], *, layer: int = -1, truncate: bool = False
    ) -> list[Representation]:
        """Encodes many texts or pairs in one padding-free batch."""
        if isinstance(texts, str):
            raise UserError(
                f"encode_many expects a list of texts, not one text ({texts[:40]!r}): use encode"
            )
        encodings = tokenize(self.tokenizer, texts, self.max_length, truncate=truncate)
        if not encodings:
            return []
        hidden = run_to_layer(self.model, encodings, layer).float().cpu()
        by_text = torch.split(hidden, [len(encoding) for encoding in encodings])
        return [
            Representation(
                tokens=encoding.tokens,
                vectors=vectors.clone(),  # not a view of the batch, and usable with autograd
                words=words_of(self.tokenizer, encoding, text),
                tokenizer=self.tokenizer,
            )
            for text, encoding, vectors in zip(texts, encodings, by_text, strict=True)
        ]

    def similarity(
        self, word: str, first: str, second: str, *, layer: int = -1, truncate: bool = False
    ) -> float:
        """Returns the cosine of a word's vectors in two texts, of its first occurrence in each."""
        a, b = self.encode_many([first, second], layer=layer, truncate=truncate)
        return float(cosine_similarity(a.word(word), b.word(word), dim=0))

    def attention(
        self, first: str, second: str | None = None, *, truncate: bool = False
    ) -> Attention:
        """Returns how much each token of a text, or of a pair, takes from each other."""
        text = first if second is None else (first, second)
        encodings = tokenize(self.tokenizer, [text], self.max_length, truncate=truncate)
        return attention_weights(self.model, encodings[0])

    def fill_mask(self, text: str, top: int = 5, *, truncate: bool = False) -> list[Fill]:
        """Returns the `top` likeliest tokens for a text's one `[MASK]`, never a special token."""
        self.require("mlm_head")
        if top < 1:
            raise UserError(f"top={top} must be 1 or more")
        encodings = tokenize(self.tokenizer, [text], self.max_length, truncate=truncate)
        mask = self.tokenizer.token_to_id(MASK)
        positions = [index for index, token in enumerate(encodings[0].ids) if token == mask]
        if not positions:
            within = f" among its first {self.max_length} tokens" if truncate else ""
            raise UserError(f"the text has no {MASK}{within}: write {MASK} where a word is missing")
        if len(positions) > 1:
            raise UserError(
                f"the text has {MASK} {len(positions)} times, but one is filled at a time: "
                "write words in place of the others"
            )
        hidden = run(self.model, encodings).hidden[positions]  # (1, hidden)
        with inference_mode(self.model):
            probabilities = self.model.mlm_head(hidden)[0].float().softmax(-1)  # (vocab,)
        added = self.tokenizer.get_added_tokens_decoder().values()
        special = {token.content for token in added if token.special} | set(SPECIAL_TOKENS)
        vocabulary = self.tokenizer.get_vocab().items()
        ids = sorted(index for token, index in vocabulary if token not in special)
        words = torch.tensor(ids, device=probabilities.device)
        best = probabilities[words].topk(min(top, len(words)))
        tokens = map(self.tokenizer.id_to_token, words[best.indices].tolist())
        return [Fill(str(token), p) for token, p in zip(tokens, best.values.tolist(), strict=True)]

    def is_next(self, first: str, second: str, *, truncate: bool = False) -> float:
        """Returns the probability that the second text follows the first."""
        self.require("pooler", "nsp_head")
        encodings = tokenize(self.tokenizer, [(first, second)], self.max_length, truncate=truncate)
        pooled = run(self.model, encodings).pooled  # (1, hidden)
        with inference_mode(self.model):
            return float(self.model.nsp_head(pooled)[0].float().softmax(-1)[IS_NEXT])

    def pseudo_log_likelihood(self, text: str, *, truncate: bool = False) -> float:
        """Returns the pseudo-log-likelihood of a text in nats; see :mod:`pseudo_likelihood`."""
        return self.pseudo_likelihoods([text], truncate=truncate)[0].total

    def pseudo_likelihoods(
        self, texts: Sequence[str], *, truncate: bool = False
    ) -> list[PseudoLikelihood]:
        """Returns the log-probabilities of the tokens of each text."""
        self.require("mlm_head")
        return pseudo_likelihoods(self.model, self.tokenizer, texts, truncate=truncate)

    def require(self, *heads: str) -> None:
        """Raises a UserError if the model lacks one of these heads, such as `mlm_head`."""
        if missing := self.missing_heads.intersection(heads):
            raise UserError(
                f"this model has no {named(missing)}, which is needed here: load one that was "
                "pretrained with it (Hugging Face's BertForPreTraining has all heads), or train it "
                "from these weights with init_from="
            )


def loaded(source: PretrainedSource) -> PretrainedBert:
    """Builds the model of a source, and says which heads it lacks."""
    bert = PretrainedBert(build(source), source.tokenizer, source.missing_heads, source.name)
    _log.info("loaded %s", source.name)
    if source.missing_heads:
        _log.warning("%s has no %s", source.name, named(source.missing_heads))
    return bert


def load(path: str | PathLike[str]) -> PretrainedBert:
    """Loads what :func:`~bert_lightning.pretrained.sources.open_source` reads, without a task head.

    Raises:
        UserError: nothing is found, or it is corrupted, unsafe to load, or not supported.
    """
    return loaded(open_source(path))
