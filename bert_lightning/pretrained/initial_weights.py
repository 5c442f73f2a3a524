"""Training that goes on from weights that are there: `init_from=`."""

import hashlib
import logging
from dataclasses import fields

import torch
from torch import Tensor

from bert_lightning.config import ModelConfig, PositionEmbedding, TrainConfig
from bert_lightning.config.plain import to_plain
from bert_lightning.corpus.extension import pieces_of_new
from bert_lightning.corpus.tokenizer import Tokenizer, load_tokenizer
from bert_lightning.errors import UserError
from bert_lightning.model.bert import BertForPreTraining
from bert_lightning.model.hf_names import DECODER, DECODER_BIAS, WORDS, named
from bert_lightning.pretrained.sources import PretrainedSource, load_into, open_source

_FREE = {
    *("vocab_size", "hidden_dropout_prob", "attention_probs_dropout_prob"),
    *("initializer_range", "sinusoidal_init"),
    *("activation_checkpointing", "compile"),
}
"""Options of the model that weights of any value go with."""
_log = logging.getLogger(__name__)


def open_initial(config: TrainConfig) -> PretrainedSource | None:
    """Reads what `init_from` names, and makes sure that it is the model of the config.

    Raises:
        UserError: nothing usable is there, or its architecture or tokenizer is another.
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

    The row of a token that the source did not have is the mean of the rows of its pieces there;
    rows beyond all tokens, and heads that the source lacks, stay as they are.

    Args:
        model: as the config describes it, with a row for each token.
        source: of the same architecture.
        tokenizer: the source's, or an extension of it.
    """
    new = pieces_of_new(source.tokenizer, tokenizer)
    initial, state = model.state_dict(), dict(source.state)
    for name in (WORDS, DECODER_BIAS):
        if name in state:
            state[name] = _with_new_rows(initial[name], state[name], new)
    state[DECODER] = state[WORDS]
    load_into(model, state, source.missing_heads)
    _log.info("weights of %s; %s new words", source.name, f"{len(new):,}")
    if source.missing_heads:
        _log.warning(
            "%s has no %s: what it lacks starts from random weights",
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
    """Makes sure that weights that were found somewhere fit the model that is wanted.

    Raises:
        UserError: they do not; the message begins with the options that differ.
    """
    rotary = PositionEmbedding.rotary in (wanted.position_embedding, found.position_embedding)
    free = _FREE if rotary else {*_FREE, "rope_theta"}
    differing = [
        option.name
        for option in fields(ModelConfig)
        if option.name not in free and getattr(wanted, option.name) != getattr(found, option.name)
    ]
    if differing:
        here = ", ".join(f"model.{key}={to_plain(getattr(wanted, key))}" for key in differing)
        there = " ".join(f"model.{key}={_typed(getattr(found, key))}" for key in differing)
        raise UserError(
            f"{here}: {where} is a model of another architecture; these options make it "
            f"the same: {there}"
        )


def _typed(value: object) -> str:
    """A value as it is written on the command line."""
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
            f"tokenizer.path={config.tokenizer.path} is another tokenizer ({given}) than that of "
            f"init_from={config.init_from} ({own}), whose weights go with its own: leave "
            "tokenizer.path away; tokenizer.extend=N adds words"
        )
