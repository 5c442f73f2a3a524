"""Resuming a run: from which checkpoint, and whether the options still describe the same run."""

import hashlib
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bert_lightning.config import ModelConfig, RunConfig, TrainConfig, affects
from bert_lightning.config.affects import leaves, named, options
from bert_lightning.config.plain import from_plain, to_plain
from bert_lightning.data.dealing import StepPartition
from bert_lightning.data.phases import phase_options
from bert_lightning.errors import RunEnded, UserError
from bert_lightning.pretrained.checkpoints import (
    CorruptCheckpointError,
    checkpoints_by_step,
    read_checkpoint,
    step_of,
)
from bert_lightning.pretrained.initial_weights import check_architecture
from bert_lightning.runs.checkpoint_io import TrainedOn
from bert_lightning.runs.folder import shown
from bert_lightning.runs.launched import AUTO, command_of, require_command

_log = logging.getLogger(__name__)
_MAY_CHANGE = affects.EXECUTION | affects.COMMAND | affects.PLACE | affects.TEXT | affects.TOKENS
"""Options that affect nothing else may change when a run resumes."""


@dataclass(frozen=True, eq=False)
class ResumePoint:
    """The checkpoint that a run resumes from."""

    path: Path
    step: int
    about: Mapping[str, Any]
    """Its description of its run."""
    corrupted: tuple[Path, ...]
    """Newer ones, which cannot be used."""

    @property
    def progress(self) -> Mapping[str, Any]:
        return self.about["progress"]


def find_resume_point(config: RunConfig) -> ResumePoint | None:
    """Returns the newest good checkpoint of the run's folder; None for a run that starts.

    Raises:
        UserError: `resume` finds no checkpoint, or there is one and `resume` is not given.
    """
    folder, found = config.folder, checkpoints_by_step(config.folder)
    if found and config.resume is None:
        raise UserError(
            f"{shown(folder)} already holds a run, at step {step_of(found[0])}: "
            f"resume={shown(folder)} resumes it, and hydra.run.dir=FOLDER starts another"
        )
    if not found and config.resume not in (None, AUTO):
        raise UserError(
            f"resume={config.resume}: there is no checkpoint in "
            f"{(folder / 'checkpoints').absolute()}; give the folder of a run, or resume=auto, "
            "which starts the run where it has no checkpoint yet"
        )
    return newest_good(folder)


def newest_good(run_dir: Path, before: float = math.inf) -> ResumePoint | None:
    """Returns a run's newest checkpoint that is not corrupted, before a step; None if it has none.

    Raises:
        UserError: all of them are corrupted.
    """
    corrupted: list[Path] = []
    for path in checkpoints_by_step(run_dir):
        if step_of(path) >= before:
            continue
        try:
            checkpoint = read_checkpoint(path)
        except CorruptCheckpointError as error:
            _log.warning("%s: trying the checkpoint before it", str(error).partition(": use")[0])
            corrupted.append(path)
            continue
        about = checkpoint["bert_lightning"]
        if "progress" not in about:
            raise UserError(f"{path} holds a model but not how far its run has come")
        return ResumePoint(path, checkpoint["global_step"], about, tuple(corrupted))
    if corrupted:
        raise UserError(
            f"all {len(corrupted)} checkpoints in {shown(run_dir)} are corrupted; "
            "hydra.run.dir=FOLDER starts another run"
        )
    return None


def require_same_run(
    resumed: ResumePoint,
    config: RunConfig,
    model: ModelConfig,
    corpus: TrainedOn,
    vocab_size: int,
    teachers: Sequence[str] = (),
) -> None:
    """Makes sure that the options describe the run that the checkpoint belongs to.

    Which options matter follows from what they affect. Those of the text and of the tokens are
    compared by the corpus and the tokenizer that they lead to, and teachers by their hashes too.

    Raises:
        UserError: the architecture, the tokenizer or the kind of the optimizer's state differs; or
            another option that matters does, and `allow_changes` is false.
    """
    where, about = f"the checkpoint {shown(resumed.path)}", resumed.about
    require_command(config.folder, about["config"], command_of(to_plain(asdict(config))))
    check_architecture(where, model, from_plain(ModelConfig, about["model"]))
    ours, theirs = (
        hashlib.sha256(tokenizer.encode()).hexdigest()[:12]
        for tokenizer in (corpus.tokenizer.to_str(), about["tokenizer"])
    )
    if ours != theirs:
        raise UserError(
            f"the tokenizer of {corpus.name} ({ours}) differs from that of {where} ({theirs}), "
            f"which its weights belong to: tokenizer.path={shown(config.folder)}/tokenizer.json "
            "allow_changes=true uses that one"
        )
    if vocab_size != about["vocab_size"]:
        raise UserError(
            f"{where} has {about['vocab_size']} rows in its embedding, and this model "
            f"{vocab_size}: use model.vocab_size={about['vocab_size']}"
        )
    before, now = dict(leaves(about["config"])), dict(leaves(to_plain(asdict(config))))
    changes = {
        name: f"{name}={now.get(name)}, and it was {before.get(name)}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    }
    for name in named(type(config), affects.OPTIMIZER_STATE):
        if name in changes:
            raise UserError(
                f"{changes[name]}: it cannot change when a run resumes, as its state would not fit"
            )
    free = {option.name for option in options(type(config)) if not option.affects & ~_MAY_CHANGE}
    if (config.most_steps or math.inf) <= resumed.step:
        free.add("trainer.max_steps")  # require_more has a better message
    matter = [change for name, change in changes.items() if name not in free]
    if corpus.key != about["corpus_key"]:
        matter += corpus.differences(about["corpus_identity"])
    if list(teachers) != about.get("teachers", []):
        matter.append("the weights of objective.teachers are not those of before")
    if matter and not config.allow_changes:
        raise UserError(
            f"resume={config.resume}: {'; '.join(matter)}. This would be another run; keep the "
            "options as they were, or add allow_changes=true"
        )
    for change in matter:
        _log.warning("changed at step %s: %s", resumed.step, change)


def require_more(resumed: ResumePoint, config: RunConfig, steps: int) -> None:
    """Makes sure that a run of `steps` steps is not complete.

    Raises:
        UserError: it is.
        RunEnded: it is, and `resume=auto` asked whether there is more to do.
    """
    same_end = config.optim.time_budget is not None or resumed.progress["steps"] == steps
    finished = resumed.progress["finished"] and same_end
    if resumed.step < steps and not finished:
        return
    message = f"{shown(config.folder)} is already complete at step {resumed.step}"
    if (early_end := resumed.progress["early_end"]) and config.resume != AUTO:
        raise UserError(
            f"{message}, where it ended early: {early_end}; train longer with another "
            "trainer.max_steps and allow_changes=true, or start another run"
        )
    if config.resume != AUTO:
        raise UserError(
            f"{message}, and trainer.max_steps gives it {steps}: raise it with "
            "allow_changes=true, or start another run"
        )
    if (config.folder / "summary.json").is_file():
        raise RunEnded(message, 0)


def same_partition(
    resumed: ResumePoint, config: TrainConfig, partition: StepPartition
) -> StepPartition:
    """Returns the checkpoint's micro-batches, where they were chosen automatically and still fit.

    The automatic choice depends on the free memory; another one would round differently.
    """
    accumulation = resumed.progress["accumulation"]
    chosen = config.batch.micro_batch_size or config.trainer.accumulate_grad_batches
    unit = partition.world_size * accumulation
    if (
        chosen is not None
        or resumed.progress["world_size"] != partition.world_size
        or any(phase.global_batch_size % unit for phase in phase_options(config.batch))
    ):
        return partition
    return replace(partition, accumulation=accumulation)
