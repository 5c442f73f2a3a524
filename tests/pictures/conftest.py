"""A tiny model that knows cranes, and the folder of a run that kept three checkpoints of it."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from small_tokenizer import of_pieces
from tokenizers import Tokenizer

from bert_lightning.config import ModelConfig, TrainConfig
from bert_lightning.config.plain import to_plain
from bert_lightning.inference.loaded import PretrainedBert
from bert_lightning.model.bert import BertForPreTraining
from bert_lightning.pretrained.checkpoints import CHECKPOINT_FORMAT

WORDS = ("a", "the", "crane", "flies", "lifts", "steel", "south", "over", "water", "driver", ".")
LIMIT = 12
MODEL = ModelConfig(
    hidden_size=16,
    intermediate_size=16,
    max_position_embeddings=LIMIT,
    initializer_range=0.3,
)
SENTENCES = """\
bird\tthe crane flies south
bird\ta crane flies over the water
bird\tover the water the crane flies
machine\tthe crane lifts steel
machine\tthe driver lifts steel . the crane lifts
"""


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return of_pieces(WORDS)


def make_model(seed: int = 0) -> BertForPreTraining:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BertForPreTraining(MODEL, vocab_size=20)


@pytest.fixture
def bert(tokenizer: Tokenizer) -> PretrainedBert:
    return PretrainedBert(make_model(), tokenizer)


@pytest.fixture
def cranes(tmp_path: Path) -> Path:
    path = tmp_path / "cranes.tsv"
    path.write_text(SENTENCES, encoding="utf-8")
    return path


@pytest.fixture
def run(tmp_path: Path, tokenizer: Tokenizer) -> Path:
    """A run of both objectives, NSP with twice the weight, whose summary has baselines."""
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    for step in (2, 4, 6):
        state = {f"model.{name}": value for name, value in make_model(step).state_dict().items()}
        description = {
            "format": CHECKPOINT_FORMAT,
            "model": to_plain(asdict(MODEL)),
            "vocab_size": 20,
            "tokenizer": tokenizer.to_str(),
        }
        checkpoint = {"state_dict": state, "global_step": step, "bert_lightning": description}
        torch.save(checkpoint, folder / "checkpoints" / f"step={step:06}.ckpt")
    config = TrainConfig()
    config.objective.nsp_weight = 2.0
    (folder / "run.json").write_text(json.dumps(to_plain(asdict(config))), encoding="utf-8")
    (folder / "metrics.csv").write_text(
        "step,train/mlm_loss,train/nsp_loss,val/mlm_loss,val/nsp_loss\n"
        "2,7.0,0.7,,\n4,6.0,0.6,,\n4,,,6.5,0.65\n6,5.0,0.5,,\n6,,,5.5,0.55\n",
        encoding="utf-8",
    )
    summary = {"corpus": "notes", "validation_baselines": {"mlm_loss": 6.25, "nsp_loss": 0.75}}
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    return folder
