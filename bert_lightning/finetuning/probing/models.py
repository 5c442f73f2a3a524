"""Probes of a model, and of all checkpoints of a run."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bert_lightning.config.finetune import FinetuneConfig
from bert_lightning.config.task import Pooling, TaskKind
from bert_lightning.errors import UserError
from bert_lightning.evaluation.probing import ProbeResult
from bert_lightning.finetuning.labelled.read import LabelledData, read_labelled
from bert_lightning.finetuning.probing.task_probe import encode_probe
from bert_lightning.finetuning.tasks.kinds import task_of
from bert_lightning.pretrained.initial_weights import check_length
from bert_lightning.pretrained.sources import PretrainedSource, build, sources_of_steps


@dataclass(frozen=True)
class Probed:
    """The probes of a model on labelled data."""

    model: str
    step: int | None
    """The optimizer step of a checkpoint; None for any other model."""
    task: str
    data: str
    notes: list[str]
    """Sentences about the data."""
    classes: int
    pooling: str
    """`mean` or `cls` of a text; a word has its first token's own vector, `cls`."""
    seconds: float
    probes: ProbeResult


@dataclass(frozen=True, eq=False)
class Prober:
    """Probes models on the train split of a task, and scores the probes on its test split.

    Of the config `task`, `data`, `batch.max_length` and `seed` count; `overrides` say what of it
    was given.

    Raises:
        UserError: an override would change nothing, or the task is not one for probes.
    """

    config: FinetuneConfig
    overrides: Sequence[str] = ()

    def __post_init__(self) -> None:
        for override in self.overrides:
            _require_effect(override)
        require_classes(self.config.task.kind)
        task, pooling = task_of(self.config.task.kind), self.config.task.pooling
        if pooling is Pooling.pooler or (task.of_tokens and pooling is not Pooling.auto):
            raise UserError(
                f"task.pooling={pooling.value}: a probe reads the vectors of each layer, of a text "
                "their mean or cls and of a word its own: use task.pooling=mean or cls, or omit it"
            )

    @cached_property
    def data(self) -> LabelledData:
        """The labelled examples; a UserError where they are not what a probe needs."""
        return read_labelled(self.config.data, self.config.task, self.config.drawn_seed)

    def probe(self, source: PretrainedSource) -> Probed:
        """Probes a model, of which no weight changes."""
        config, start = self.config, time.perf_counter()
        check_length(source, config.batch.max_length)
        encoded = encode_probe(
            source.tokenizer,
            self.data.splits["train"],
            self.data.splits["test"],
            self.data.names,
            kind=config.task.kind,
            pooling=config.task.pooling,
            max_length=config.batch.max_length,
            control_seed=config.drawn_seed,
        )
        found = encoded.result(build(source).encoder)
        return Probed(
            model=source.name,
            step=source.about.get("step"),
            task=config.task.kind.value,
            data=self.data.origin,
            notes=self.data.notes,
            classes=len(self.data.names),
            pooling=encoded.pooling.value,
            seconds=round(time.perf_counter() - start, 1),
            probes=found,
        )

    def probe_all(self, checkpoints: Sequence[Path]) -> list[Probed]:
        """Probes the checkpoint of each step, in the order of the steps.

        A corrupted one is skipped with a warning.

        Raises:
            CorruptCheckpointError: all of them are corrupted.
        """
        probed = {step: self.probe(source) for step, source in sources_of_steps(checkpoints)}
        return [probed[step] for step in sorted(probed)]


def require_classes(kind: TaskKind, option: str = "task") -> None:
    """Raises a UserError if no probe can tell the labels of this kind of task apart."""
    if not task_of(kind).can_be_probed:
        *others, last = (known.value for known in TaskKind if task_of(known).can_be_probed)
        raise UserError(
            f"{option}={kind.value}: a probe tells classes apart; use {option}="
            f"{', '.join(others)} or {last}"
        )


def _require_effect(override: str) -> None:
    key = override.lstrip("+~").partition("=")[0]
    if key in ("task", "batch.max_length", "seed") or key.startswith(("task.", "data.")):
        return
    raise UserError(
        f"{override} would change nothing: a probe takes task=, task.*, data.*, batch.max_length "
        "and seed, and the model unchanged"
    )
