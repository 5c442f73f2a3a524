"""Training that starts from pretrained weights: `init_from=`."""

import hashlib
import logging

import torch
from torch import Tensor

from bert_lightning.config import ModelConfig, PositionEmbedding, TrainConfig
from bert_lightning.config.affects import ARCHITECTURE
from bert_lightning.config.affects import named as named_options
from bert_lightning.config.plain import to_plain
from bert_lightning.corpus.extension import pieces_of_new
from bert_lightning.corpus.tokenizer import Tokenizer, load_tokenizer
from bert_lightning.errors import UserError
from bert_lightning.model.bert import BertForPreTraining
from bert_lightning.model.hf_names import DECODER, DECODER_BIAS, WORDS, named
from bert_lightning.pretrained.sources import PretrainedSource, load_into, open_source

_log = logging.getLogger(__name__)


def open_initial(config: TrainConfig) -> PretrainedSource | None:
    """Reads the source that `init_from` names, and checks that it fits the config.

    Raises:
        UserError: it cannot be used, or has another architecture or tokenizer.
    """
    if config.init_from is None:
        return None
    source = open_source(config.init_from)
    check_architecture(f"init_from={config.init_from}", config.model, source.config)
    if config.tokenizer.path is not None:
        _check_tokenizer(config, source)
    return source


def start_from(model: BertForPreTraining, source: PretrainedSource, tokenizer: Tokenizer) -> None:
    """Overwrites a new model's weights with those of the source.

    The embedding of a new token is the mean of the source's embeddings of its pieces. Rows beyond
    all tokens, and heads that the source lacks, keep their initial values.

    Args:
        model: a new model with a row for each token.
        source: a source of the same architecture.
        tokenizer: the source's tokenizer, or an extension of it.
    """
    new = pieces_of_new(source.tokenizer, tokenizer)
    initial, state = model.state_dict(), dict(source.state)
    for name in (WORDS, DECODER_BIAS):
        if name in state:
            state[name] = _with_new_rows(initial[name], state[name], new)
    state[DECODER] = state[WORDS]
    load_into(model, state, source.missing_heads)
    _log.info("weights from %s; %s new tokens", source.name, f"{len(new):,}")
    if source.missing_heads:
        _log.warning(
            "%s has no %s: these weights start at random",
            source.name,
            named(source.missing_heads),
        )


def _with_new_rows(initial: Tensor, old: Tensor, new: dict[int, list[int]]) -> Tensor:
    rows = initial.clone()
    common = min(len(rows), len(old))
    rows[:common] = old[:common]
    for token, pieces in new.items():
        rows[token] = old[pieces].to(torch.float32).mean(0)
    return rows


def check_architecture(where: str, wanted: ModelConfig, found: ModelConfig) -> None:
    """Checks that a model's weights fit a config.

    Args:
        where: the option that named the model, for the message.
        wanted: the config.
        found: the model's own config.

    Raises:
        UserError: they do not fit; the message names the options that differ.
    """
    rotary = PositionEmbedding.rotary in (wanted.position_embedding, found.position_embedding)
    differing = [
        name
        for name in named_options(ModelConfig, ARCHITECTURE)
        if getattr(wanted, name) != getattr(found, name) and (rotary or name != "rope_theta")
    ]
    if differing:
        here = ", ".join(f"model.{key}={to_plain(getattr(wanted, key))}" for key in differing)
        there = " ".join(f"model.{key}={_typed(getattr(found, key))}" for key in differing)
        raise UserError(
            f"{here}: {where} is a model of another architecture; these options make "
            f"it the same: {there}"
        )


def _typed(value: object) -> str:
    """Returns a value as it is written on the command line."""
    plain = to_plain(value)
    return str(plain).lower() if isinstance(plain, bool) else str(plain)


def _check_tokenizer(config: TrainConfig, source: PretrainedSource) -> None:
    assert config.tokenizer.path is not None
    given, own = (
        hashlib.sha256(tokenizer.to_str().encode()).hexdigest()[:12]
        for tokenizer in (load_tokenizer(config.tokenizer.path), source.tokenizer)
    )
    if given != own:
        raise UserError(
            f"tokenizer.path={config.tokenizer.path} ({given}) is not the tokenizer of "
            f"init_from={config.init_from} ({own}), which its weights require: omit "
            "tokenizer.path; tokenizer.extend=N adds words"
        )
