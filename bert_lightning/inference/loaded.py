"""A loaded model: one object for all that it can be asked, and the function that loads it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING

from bert_lightning.corpus.tokenizer import rows_needed
from bert_lightning.errors import UserError
from bert_lightning.inference import predict
from bert_lightning.inference.predict import Fill
from bert_lightning.inference.pseudo_likelihood import PseudoLikelihood, pseudo_likelihoods
from bert_lightning.inference.represent import Representation, Text, represent
from bert_lightning.model.bert import BertForPreTraining
from bert_lightning.model.hf_names import named
from bert_lightning.pretrained.sources import build, open_source

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class PretrainedBert:
    """A model with its tokenizer, ready for text."""

    model: BertForPreTraining
    tokenizer: "Tokenizer"
    missing_heads: frozenset[str] = frozenset()
    """Heads without pretrained weights, such as `mlm_head`; what needs them is refused."""
    origin: str = ""
    """The file, the folder or the name on the hub that it was loaded from."""

    def __post_init__(self) -> None:
        rows = self.model.encoder.embeddings.word.num_embeddings
        needed = rows_needed(self.tokenizer)
        if needed > rows:
            raise UserError(
                f"the tokenizer has {needed} tokens, but the model has embeddings for only {rows}: "
                "use the tokenizer that the model was trained with"
            )

    def __repr__(self) -> str:
        config = self.model.config
        parameters = sum(parameter.numel() for parameter in self.model.parameters())
        return (
            f"PretrainedBert({config.num_hidden_layers} layers, {config.hidden_size} hidden, "
            f"{config.num_attention_heads} heads, {parameters:,} parameters, "
            f"{self.tokenizer.get_vocab_size():,} tokens{self.origin and f'; from {self.origin}'})"
        )

    def encode(
        self, first: str, second: str | None = None, *, truncate: bool = False
    ) -> Representation:
        """Encodes a text, or a pair of texts.

        Raises:
            UserError: a text is empty, or longer than the model reads without `truncate`.
        """
        text = first if second is None else (first, second)
        return self.encode_many([text], truncate=truncate)[0]

    def encode_many(self, texts: Sequence[Text], *, truncate: bool = False) -> list[Representation]:
        """Encodes many texts or pairs in one padding-free batch; see :meth:`encode`."""
        return represent(self.model, self.tokenizer, texts, truncate=truncate)

    def fill_mask(self, text: str, top: int = 5, *, truncate: bool = False) -> list[Fill]:
        """Returns the likeliest tokens for a text's `[MASK]`; see :func:`predict.fill_mask`."""
        self.require("mlm_head")
        return predict.fill_mask(self.model, self.tokenizer, text, top=top, truncate=truncate)

    def is_next(self, first: str, second: str, *, truncate: bool = False) -> float:
        """Returns the probability that the second text follows the first."""
        self.require("pooler", "nsp_head")
        return predict.is_next(self.model, self.tokenizer, first, second, truncate=truncate)

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
        """Checks that the model has heads such as `mlm_head`.

        Raises:
            UserError: one is missing.
        """
        if missing := self.missing_heads.intersection(heads):
            raise UserError(
                f"this model has no {named(missing)}, which is needed here: load one that was "
                "pretrained with it (Hugging Face's BertForPreTraining has all heads), or train it "
                "from these weights with init_from="
            )


def load(path: str | PathLike[str]) -> PretrainedBert:
    """Loads a trained model from a run folder, a checkpoint, or a folder of runs.

    Also loads a folder in Hugging Face's format or a name on its hub; an existing path takes
    precedence. See :func:`bert_lightning.pretrained.sources.open_source`.

    Raises:
        UserError: nothing is found, or it is corrupted, unsafe to load, or a model that this
            package cannot run.
    """
    source = open_source(path)
    bert = PretrainedBert(build(source), source.tokenizer, source.missing_heads, source.name)
    _log.info("loaded %s", source.name)
    if source.missing_heads:
        _log.warning("%s has no %s", source.name, named(source.missing_heads))
    return bert
