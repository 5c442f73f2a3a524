"""A tiny model with a vocabulary of words and word pieces, and the checkpoint of it."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from bert_lightning.batch import SPECIAL_TOKENS
from bert_lightning.config import ModelConfig
from bert_lightning.inference.loaded import PretrainedBert
from bert_lightning.model.bert import BertForPreTraining
from bert_lightning.pretrained.checkpoints import CHECKPOINT_FORMAT

SCRIPTS = Path(__file__).parents[2] / "scripts"
WORDS = (
    *("a", "the", "crane", "is", "flying", "driver", "came", "he", "just", "left", "steel", "fox"),
    *("un", "##load", "##ing", "don", "'", "t", "."),
)
LIMIT = 16


@pytest.fixture
def tokenizer() -> Tokenizer:
    vocabulary = {word: index for index, word in enumerate([*SPECIAL_TOKENS, *WORDS])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return tokenizer


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


@pytest.fixture
def script() -> Callable[[str], ModuleType]:
    """Imports a file of `scripts/` by its name."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"scripts_{name}", SCRIPTS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps the tests off the hub."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
