"""Going on with a run: which checkpoint, and whether it is still the same run."""

import hashlib
import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bert_lightning.config import ModelConfig, TrainConfig
from bert_lightning.config.plain import from_plain, to_plain
from bert_lightning.corpus.manifest import describe_difference
from bert_lightning.corpus.store import PreparedCorpus
from bert_lightning.data.batches import StepPartition
from bert_lightning.data.phases import phase_options
from bert_lightning.errors import RunEnded, UserError
from bert_lightning.pretrained.checkpoints import (
    CorruptCheckpointError,
    checkpoints_by_step,
    read_checkpoint,
    step_of,
)
from bert_lightning.pretrained.initial_weights import check_architecture
from bert_lightning.runs.folder import shown
from bert_lightning.runs.launched import AUTO

_log = logging.getLogger(__name__)

_FREE = {
    *("run_dir", "resume", "allow_changes", "debug", "test", "logger", "callbacks", "strategy"),
    *("tokenizer", "data.path", "data.cache_dir", "batch.num_workers", "data.fallback"),
    *("model.compile", "model.activation_checkpointing"),
    *("trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.max_time"),
    *("trainer.log_every_n_steps", "trainer.enable_progress_bar", "trainer.enable_model_summary"),
    *("trainer.val_check_interval", "trainer.num_sanity_val_steps", "trainer.limit_val_batches"),
    *("trainer.limit_test_batches", "trainer.enable_checkpointing", "trainer.profiler"),
    *("trainer.default_root_dir", "trainer.detect_anomaly", "trainer.inference_mode"),
}
"""Options that change neither what is learned nor from what. Corpora are compared by their keys."""
_FIXED = {"optim.optimizer": "the optimiser's state is of another kind"}


@dataclass(frozen=True, eq=False)
class ResumePoint:
    """The checkpoint that a run goes on from."""

    path: Path
    step: int
    about: Mapping[str, Any]
    """What it says of its run."""
    damaged: tuple[Path, ...]
    """Newer ones that were passed over."""

    @property
    def progress(self) -> Mapping[str, Any]:
        progress: Mapping[str, Any] = self.about["progress"]
        return progress


def find_earlier(config: TrainConfig) -> ResumePoint | None:
    """The newest good checkpoint of the run's folder, if the run is to go on from one.

    Raises:
        UserError: there is none to go on from, or there is one and nothing was said of resuming.
    """
    folder = config.folder
    if config.resume is None:
        if found := checkpoints_by_step(folder):
            raise UserError(
                f"{shown(folder)} holds a run at step {step_of(found[0])} already: "
                f"resume={shown(folder)} goes on with it, and hydra.run.dir=FOLDER starts another"
            )
        return None
    earlier = newest_good(folder)
    if earlier is None and config.resume != AUTO:
        raise UserError(
            f"resume={config.resume}: there is no checkpoint in "
            f"{(folder / 'checkpoints').absolute()}; give the folder of a run, or resume=auto, "
            "which starts where there is nothing yet"
        )
    return earlier


def newest_good(run_dir: Path, before: float = math.inf) -> ResumePoint | None:
    """The newest checkpoint of a run that is not damaged, before a step; None if there is none.

    Raises:
        UserError: all of them are damaged.
    """
    damaged: list[Path] = []
    found = [path for path in checkpoints_by_step(run_dir) if step_of(path) < before]
    for path in found:
        try:
            checkpoint = read_checkpoint(path)
        except CorruptCheckpointError as error:
            _log.warning("%s: going back to an earlier one", str(error).partition(": use")[0])
            damaged.append(path)
            continue
        about = checkpoint["bert_lightning"]
        if "progress" not in about:
            raise UserError(f"{path} holds a model but not how far its run has come")
        return ResumePoint(path, checkpoint["global_step"], about, tuple(damaged))
    if damaged:
        raise UserError(
            f"all {len(damaged)} checkpoints in {shown(run_dir)} are corrupt; hydra.run.dir=FOLDER "
            "starts anew"
        )
    return None


def require_same_run(
    earlier: ResumePoint, config: TrainConfig, corpus: PreparedCorpus, vocab_size: int
) -> None:
    """Makes sure that what goes on is the run that the checkpoint belongs to.

    Raises:
        UserError: the architecture or the tokenizer is another, or settings that matter are and
            `allow_changes` is false.
    """
    where = f"the checkpoint {shown(earlier.path)}"
    found = from_plain(ModelConfig, earlier.about["model"])
    check_architecture(where, config.model, found)
    ours, theirs = (_short_hash(t) for t in (corpus.tokenizer.to_str(), earlier.about["tokenizer"]))
    if ours != theirs:
        raise UserError(
            f"the tokenizer of {corpus.name} ({ours}) is another than that of {where} ({theirs}), "
            "whose weights go with its own: "
            f"tokenizer.path={shown(config.folder)}/tokenizer.json allow_changes=true uses "
            "that one"
        )
    if vocab_size != earlier.about["vocab_size"]:
        raise UserError(
            f"{where} has {earlier.about['vocab_size']} rows for words, and this model "
            f"{vocab_size}: use model.vocab_size={earlier.about['vocab_size']}"
        )
    changes = _changes(earlier, config, corpus)
    for name, reason in _FIXED.items():
        if any(change.startswith(f"{name}=") for change in changes):
            raise UserError(f"{name} cannot change at a resume: {reason}")
    if changes and not config.allow_changes:
        raise UserError(
            f"resume={config.resume}: {'; '.join(changes)}. The run would not be the one that was "
            "begun; leave these as they were, or add allow_changes=true"
        )
    for change in changes:
        _log.warning("changed at step %s: %s", earlier.step, change)


def require_more(earlier: ResumePoint, config: TrainConfig, steps: int) -> None:
    """Makes sure that a run of `steps` steps is not complete.

    Raises:
        UserError: it is.
        RunEnded: it is, and `resume=auto` asked whether there is more to do.
    """
    same_end = config.optim.time_budget is not None or earlier.progress["steps"] == steps
    finished = earlier.progress["finished"] and same_end
    if earlier.step < steps and not finished:
        return
    message = f"{shown(config.folder)} is already complete at step {earlier.step}"
    if config.resume != AUTO:
        raise UserError(
            f"{message}, and the run is to have {steps}: raise trainer.max_steps with "
            "allow_changes=true, or start another run"
        )
    if (config.folder / "summary.json").is_file():
        raise RunEnded(message, 0)


def _changes(earlier: ResumePoint, config: TrainConfig, corpus: PreparedCorpus) -> list[str]:
    before = dict(_leaves(earlier.about["config"]))
    now = dict(_leaves(to_plain(asdict(config))))
    free = set(_FREE)
    if 0 < config.trainer.max_steps <= earlier.step:
        free.add("trainer.max_steps")  # it is complete then, and told so
    changes = [
        f"{name}={now.get(name)}, and it was {before.get(name)}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
        and not any(name == option or name.startswith(f"{option}.") for option in free)
    ]
    if corpus.key != earlier.about["corpus_key"]:
        different = describe_difference(earlier.about["corpus_identity"], corpus.identity)
        changes += [f"corpus: {change}" for change in different if change not in changes]
    return changes


def _leaves(section: Mapping[str, Any], path: str = "") -> list[tuple[str, Any]]:
    leaves = []
    for name, value in section.items():
        if isinstance(value, dict):
            leaves += _leaves(value, f"{path}{name}.")
        else:
            leaves.append((f"{path}{name}", value))
    return leaves


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def same_share(earlier: ResumePoint, config: TrainConfig, share: StepPartition) -> StepPartition:
    """The micro-batches of the checkpoint's run, where they were chosen for it and still can be.

    The automatic choice depends on what memory is free; another one would round differently.
    """
    accumulation = earlier.progress["accumulation"]
    chosen = (
        config.batch.micro_batch_size is None and config.trainer.accumulate_grad_batches is None
    )
    if not chosen or earlier.progress["world_size"] != share.world_size:
        return share
    unit = share.world_size * accumulation
    if any(options.global_batch_size % unit for options in phase_options(config.batch)):
        return share
    return replace(share, accumulation=accumulation)
