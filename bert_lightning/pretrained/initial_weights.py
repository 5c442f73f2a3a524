"""Training that starts from pretrained weights: `init_from=`."""

import hashlib
import logging

import torch

from bert_lightning.config import ModelConfig, PositionEmbedding, TrainConfig
from bert_lightning.config.affects import ARCHITECTURE
from bert_lightning.config.affects import named as named_options
from bert_lightning.config.plain import to_plain
from bert_lightning.corpus.tokenizer import Tokenizer, load_tokenizer
from bert_lightning.corpus.vocabulary.extend import pieces_of_new
from bert_lightning.errors import UserError
from bert_lightning.model.bert import BertForPreTraining
from bert_lightning.model.hf_names import DECODER, DECODER_BIAS, WORDS, named
from bert_lightning.pretrained.sources import PretrainedSource, load_into, open_source

_log = logging.getLogger(__name__)


def open_initial(config: TrainConfig) -> PretrainedSource | None:
    """Reads the source that `init_from` names; a UserError if it does not fit the config."""
    if config.init_from is None:
        return None
    source = open_source(config.init_from)
    check_architecture(f"init_from={config.init_from}", config.model, source.config)
    if (path := config.tokenizer.path) is not None:
        given, own = (
            hashlib.sha256(tokenizer.to_str().encode()).hexdigest()[:12]
            for tokenizer in (load_tokenizer(path), source.tokenizer)
        )
        if given != own:
            raise UserError(
                f"tokenizer.path={path} ({given}) is not the tokenizer of "
                f"init_from={config.init_from} ({own}), which its weights require: omit "
                "tokenizer.path; tokenizer.extend=N adds words"
            )
    return source


def start_from(model: BertForPreTraining, source: PretrainedSource, tokenizer: Tokenizer) -> None:
    """Overwrites a new model's weights with those of a source of the same architecture.

    The embedding of a token that is new to the source is the mean of those of its pieces. Rows
    beyond all tokens, and heads that the source lacks, keep their initial values.
    """
    new = pieces_of_new(source.tokenizer, tokenizer)
    initial, state = model.state_dict(), dict(source.state)
    for name in {WORDS, DECODER_BIAS} & state.keys():
        rows, old = initial[name].clone(), state[name]
        common = min(len(rows), len(old))
        rows[:common] = old[:common]
        for token, pieces in new.items():
            rows[token] = old[pieces].to(torch.float32).mean(0)
        state[name] = rows
    state[DECODER] = state[WORDS]
    load_into(model, state, source.missing_heads)
    _log.info("weights from %s; %s new tokens", source.name, f"{len(new):,}")
    if source.missing_heads:
        lacking = named(source.missing_heads)
        _log.warning("%s has no %s: these weights start at random", source.name, lacking)


def check_architecture(where: str, wanted: ModelConfig, found: ModelConfig) -> None:
    """Raises a UserError for `where` if weights of the config `found` do not fit the wanted one."""
    rotary = PositionEmbedding.rotary in (wanted.position_embedding, found.position_embedding)
    differing = [
        name
        for name in named_options(ModelConfig, ARCHITECTURE)
        if getattr(wanted, name) != getattr(found, name) and (rotary or name != "rope_theta")
    ]
    if differing:
        here, there = (
            [f"model.{name}={to_plain(getattr(config, name))}".lower() for name in differing]
            for config in (wanted, found)
        )
        raise UserError(
            f"{', '.join(here)}: {where} is a model of another architecture; these options make "
            f"it the same: {' '.join(there)}"
        )


def check_length(source: PretrainedSource, max_length: int) -> None:
    """Raises a UserError if examples of `max_length` tokens are longer than the source reads."""
    positions = source.config.max_position_embeddings
    if max_length > positions:
        raise UserError(
            f"batch.max_length={max_length} is more than the {positions} positions of "
            f"{source.name}: batch.max_length={positions} is the most that it reads"
        )
