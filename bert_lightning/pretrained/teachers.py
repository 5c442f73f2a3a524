"""Training that learns from trained models, by distillation: `objective.teachers=`."""

import hashlib
import logging
from collections.abc import Sequence

import torch

from bert_lightning.batch import PretrainBatch, Taught
from bert_lightning.config import PairKind, PairsConfig, PairTask, TrainConfig
from bert_lightning.config.plain import from_plain
from bert_lightning.corpus.tokenizer import Tokenizer
from bert_lightning.errors import UserError
from bert_lightning.model.bert import BertForPreTraining
from bert_lightning.model.hf_names import named
from bert_lightning.model.rounding import with_rounded_rows
from bert_lightning.pretrained.initial_weights import check_length
from bert_lightning.pretrained.sources import PretrainedSource, build, open_source

_log = logging.getLogger(__name__)


class Teachers:
    """Models that answer together, by the mean of their logits (Hinton et al., 2015,
    https://arxiv.org/abs/1503.02531).

    It is the geometric mean of their probabilities. They are trained no further, and are no part of
    the model that learns from them: neither of its checkpoints nor of its gradients.

    Args:
        models: the teachers, of any sizes and one vocabulary.
        fraction: of what a prediction is trained to be that is theirs; the label is the rest.
        pairs: whether they answer to pairs too.
    """

    def __init__(self, models: Sequence[BertForPreTraining], fraction: float, pairs: bool) -> None:
        self.models = [model.eval().requires_grad_(False) for model in models]
        self.fraction = fraction
        self.pairs = pairs
        decoders = [model.mlm_head.decoder for model in models]
        self.weight = torch.cat([decoder.weight for decoder in decoders], 1) / len(decoders)
        self.bias = torch.stack([decoder.bias for decoder in decoders]).mean(0)

    @property
    def nbytes(self) -> int:
        """The bytes of their weights."""
        weights = [weight.nbytes for model in self.models for weight in model.parameters()]
        return sum(weights) + self.weight.nbytes + self.bias.nbytes

    @torch.no_grad()
    def __call__(self, batch: PretrainBatch) -> Taught:
        """Returns what they say to a batch, on its device."""
        device = batch.masked_positions.device
        answers = [
            model.to(device)(batch.sequences, batch.masked_positions) for model in self.models
        ]
        vectors = [
            model.mlm_head.transform(with_rounded_rows(answer.masked))
            for model, answer in zip(self.models, answers, strict=True)
        ]
        pairs = [
            model.nsp_head(answer.pooled)
            for model, answer in zip(self.models, answers, strict=True)
        ]
        joined = torch.cat(vectors, 1)
        self.weight, self.bias = self.weight.to(joined), self.bias.to(device)
        return Taught(
            vectors=joined,
            weight=self.weight,
            bias=self.bias,
            pairs=torch.stack(pairs).float().mean(0) if self.pairs else None,
            fraction=self.fraction,
        )


def open_teachers(config: TrainConfig) -> list[PretrainedSource]:
    """Reads the models that `objective.teachers` names.

    Raises:
        UserError: one is not found, or it reads shorter examples.
    """
    sources = [open_source(name) for name in config.objective.teachers]
    for source in sources:
        check_length(source, config.batch.max_length)
    return sources


def build_teachers(
    config: TrainConfig, sources: Sequence[PretrainedSource], tokenizer: Tokenizer, vocab_size: int
) -> tuple[Teachers | None, list[str]]:
    """Builds the teachers, None where there is no source, and returns a hash of each besides.

    Raises:
        UserError: the words or the heads of one do not fit.
    """
    if not sources:
        return None, []
    for name, source in zip(config.objective.teachers, sources, strict=True):
        _check(f"objective.teachers={name}", source, tokenizer, vocab_size)
    pairs = config.batch.pairs.kind is not PairKind.none and config.weights["nsp"] > 0
    silent = [source.name for source in sources if not _judges(source, config.batch.pairs.task)]
    if pairs and silent:
        _log.warning(
            "the labels alone teach the pairs, as %s never learned %s",
            ", ".join(silent),
            config.batch.pairs.task.value.upper(),
        )
    pairs = pairs and not silent
    fraction = config.objective.teacher_fraction
    _log.info(
        "learns masked tokens%s from %d teachers (%.0f%%) and from the labels (%.0f%%); "
        "train/mlm_loss is that of the labels",
        " and pairs" if pairs else "",
        *(len(sources), 100 * fraction, 100 * (1 - fraction)),
    )
    teachers = Teachers([build(source) for source in sources], fraction, pairs)
    return teachers, [_hash_of(source) for source in sources]


def _check(where: str, source: PretrainedSource, tokenizer: Tokenizer, vocab_size: int) -> None:
    ours, theirs = tokenizer.to_str(), source.tokenizer.to_str()
    if ours != theirs:
        raise UserError(
            f"{where} has another tokenizer ({_short(theirs)}) than this run ({_short(ours)}), and "
            "a teacher must have the same words: train it on the same text with the same tokenizer "
            "options, or name its tokenizer.json with tokenizer.path"
        )
    if source.vocab_size != vocab_size:
        raise UserError(
            f"{where} has {source.vocab_size:,} rows in its embedding, and this model "
            f"{vocab_size:,}: use model.vocab_size={source.vocab_size}"
        )
    if "mlm_head" in source.missing_heads:
        raise UserError(
            f"{where} has no {named(frozenset({'mlm_head'}))}, and a teacher predicts masked "
            "tokens: name a model that was pretrained"
        )


def _judges(source: PretrainedSource, task: PairTask) -> bool:
    """Returns whether a model was trained to judge pairs as `task` does.

    A model that does not come from a run of ours is taken to know next sentences, as BERT does.
    """
    if not source.missing_heads.isdisjoint({"pooler", "nsp_head"}):
        return False
    if "config" not in source.about:
        return task is PairTask.nsp
    config = source.about["config"]
    pairs = from_plain(PairsConfig, config["batch"]["pairs"])
    trained = config["objective"]["nsp_weight"] > 0
    return pairs.kind is not PairKind.none and pairs.task is task and trained


def _hash_of(source: PretrainedSource) -> str:
    """Returns a SHA-256 of the names and the values of all weights."""
    found = hashlib.sha256()
    for name, value in sorted(source.state.items()):
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().float().numpy().tobytes())
    return found.hexdigest()


def _short(tokenizer: str) -> str:
    return hashlib.sha256(tokenizer.encode()).hexdigest()[:12]
