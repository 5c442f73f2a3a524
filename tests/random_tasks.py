"""Fine-tuned models with random weights, for what becomes of a task once it is trained."""

import torch
from small_tokenizer import of_pieces
from tokenizers import Tokenizer

from bert_lightning.config import ModelConfig
from bert_lightning.config.task import TaskKind
from bert_lightning.finetuning.model import BertForTask, HeadShape
from bert_lightning.finetuning.predict import describe_task
from bert_lightning.finetuning.tasks.question import NO_ANSWER
from bert_lightning.model.hf_names import HEADS
from bert_lightning.pretrained.sources import PretrainedSource

WORDS = ("a", "the", "crane", "is", "flying", "came", "he", "left", "un", "##load", "##ing", ".")
NAMES = ["card lost", "größer", "other"]
TAGS = ["B-LOC", "I-LOC", "O"]
PLAIN = ModelConfig(
    hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40,
    max_position_embeddings=16,
)  # fmt: skip


def tokenizer() -> Tokenizer:
    return of_pieces(WORDS)


def names_of(shape: HeadShape) -> list[str]:
    own = {
        TaskKind.number: [],
        TaskKind.tokens: TAGS,
        TaskKind.choice: ["1", "2"],
        TaskKind.sentence: [],
        TaskKind.question: [NO_ANSWER],
    }
    return own.get(shape.kind, NAMES)


def source_of(shape: HeadShape, config: ModelConfig = PLAIN) -> PretrainedSource:
    """A model whose every weight is random, biases and norms too."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = BertForTask(config, 20, shape)
        for parameter in model.parameters():
            parameter.data.add_(torch.randn_like(parameter), alpha=0.3)
    if shape.kind is TaskKind.number:
        model.head.mean.fill_(3.5)
        model.head.scale.fill_(1.25)
    about = {"task": describe_task(shape, names_of(shape))}
    present = {name.partition(".")[0] for name in model.state_dict()}
    missing = frozenset(HEADS) - present
    return PretrainedSource("a run", config, 20, model.state_dict(), tokenizer(), missing, about)
