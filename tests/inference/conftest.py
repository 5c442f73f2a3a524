"""A tiny model with a vocabulary of words and word pieces, and the checkpoint of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_tokenizer import of_pieces
from tokenizers import Tokenizer

from bert_lightning.config import ModelConfig
from bert_lightning.inference.loaded import PretrainedBert
from bert_lightning.model.bert import BertForPreTraining
from bert_lightning.pretrained.checkpoints import CHECKPOINT_FORMAT

WORDS = (
    *("a", "the", "crane", "is", "flying", "driver", "came", "he", "just", "left", "steel", "fox"),
    *("un", "##load", "##ing", "don", "'", "t", "."),
)
LIMIT = 16


@pytest.fixture
def tokenizer() -> Tokenizer:
    return of_pieces(WORDS)


def make_model(seed: int = 0) -> BertForPreTraining:
    config = ModelConfig(max_position_embeddings=LIMIT, initializer_range=0.1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BertForPreTraining(config, vocab_size=32)


@pytest.fixture
def seed_of() -> Callable[[PretrainedBert], int]:
    """Tells which seed the model of a checkpoint was made with."""

    def find(bert: PretrainedBert) -> int:
        weight = bert.model.nsp_head.weight
        return next(s for s in range(9) if torch.equal(weight, make_model(s).nsp_head.weight))

    return find


@pytest.fixture
def bert(tokenizer: Tokenizer) -> PretrainedBert:
    return PretrainedBert(make_model(), tokenizer)


def checkpoint_of(model: BertForPreTraining, tokenizer: Tokenizer) -> dict[str, Any]:
    return {
        "state_dict": {
            "unrelated": torch.zeros(1),
            **{f"model.{name}": value for name, value in model.state_dict().items()},
        },
        "bert_lightning": {
            "format": CHECKPOINT_FORMAT,
            "model": {
                "vocab_size": None,
                "max_position_embeddings": LIMIT,
                "initializer_range": 0.1,
                "hidden_act": "gelu",
            },
            "vocab_size": 32,
            "tokenizer": tokenizer.to_str(),
            "config": {"batch": {"max_length": LIMIT}},
            "corpus": "a test",
        },
    }


@pytest.fixture
def write_checkpoint(tokenizer: Tokenizer) -> Callable[..., Path]:
    """Writes the checkpoint of a model of this seed; `change` edits it beforehand."""

    def write(
        path: Path, seed: int = 0, change: Callable[[dict[str, Any]], None] = lambda _: None
    ) -> Path:
        checkpoint = checkpoint_of(make_model(seed), tokenizer)
        change(checkpoint)
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(checkpoint, path)
        return path

    return write
