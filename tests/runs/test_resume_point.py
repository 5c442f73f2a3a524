"""From which checkpoint a run resumes, and which options may differ from those of its start."""

import json
import logging
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bert_lightning.config import OptimizerName, PhaseConfig, TrainConfig
from bert_lightning.corpus.store import PreparedCorpus
from bert_lightning.data.dealing import StepPartition
from bert_lightning.errors import RunEnded, UserError
from bert_lightning.pretrained.checkpoints import CHECKPOINT_FORMAT
from bert_lightning.runs.checkpoint_io import VerifiedCheckpointIO, describe_run
from bert_lightning.runs.resume import (
    ResumePoint,
    find_resume_point,
    newest_good,
    require_more,
    require_same_run,
    same_partition,
)

Config = Callable[..., TrainConfig]
VOCAB = 100


def save(run: Path, step: int, **about: Any) -> Path:
    path = run / "checkpoints" / f"step={step:06d}.ckpt"
    contents = {
        "global_step": step,
        "state_dict": {"weight": torch.arange(30.0)},
        "bert_lightning": {"format": CHECKPOINT_FORMAT, "progress": {"steps": 6}, **about},
    }
    VerifiedCheckpointIO().save_checkpoint(contents, path)
    return path


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def test_the_newest_checkpoint_that_is_not_corrupted_is_found(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert newest_good(tmp_path) is None
    paths = [save(tmp_path, step, corpus=f"at {step}") for step in (1, 2, 3, 4)]
    newest = newest_good(tmp_path)
    assert newest is not None
    assert (newest.path, newest.step, newest.about["corpus"]) == (paths[3], 4, "at 4")
    assert (newest.corrupted, newest.progress) == ((), {"steps": 6})
    assert not caplog.messages
    for path in (paths[3], paths[1]):
        damage(path)
    found = newest_good(tmp_path)
    assert found is not None
    assert (found.step, found.corrupted) == (3, (paths[3],))
    assert len(caplog.messages) == 1
    says = r"is corrupt \(\d+ bytes of \d+\): trying the checkpoint before it"
    assert re.fullmatch(re.escape(f"{paths[3]} ") + says, caplog.messages[0])
    found = newest_good(tmp_path, before=3)
    assert found is not None
    assert (found.step, found.corrupted) == (1, (paths[1],))
    assert newest_good(tmp_path, before=1) is None
    damage(paths[0])
    with pytest.raises(UserError, match=r"all 2 checkpoints in .* are corrupted"):
        newest_good(tmp_path, before=3)


def test_a_model_without_the_progress_of_its_run_cannot_be_resumed(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "step=000001.ckpt"
    about = {"format": CHECKPOINT_FORMAT}
    contents = {"global_step": 1, "state_dict": {}, "bert_lightning": about}
    VerifiedCheckpointIO().save_checkpoint(contents, path)
    with pytest.raises(UserError, match="holds a model but not how far its run has come"):
        newest_good(tmp_path)


@pytest.mark.parametrize("resume", [None, "auto", "FOLDER"])
@pytest.mark.parametrize("begun", [False, True])
def test_a_run_is_resumed_if_it_is_asked_for_and_there_is_one(
    small_config: Config, tmp_path: Path, resume: str | None, begun: bool
) -> None:
    config = replace(small_config(tmp_path), resume=resume)
    if begun:
        save(tmp_path, 4)
    if begun and resume is None:
        with pytest.raises(UserError, match="already holds a run, at step 4: resume="):
            find_resume_point(config)
    elif not begun and resume == "FOLDER":
        with pytest.raises(UserError, match="resume=FOLDER: there is no checkpoint in "):
            find_resume_point(config)
    else:
        found = find_resume_point(config)
        assert (found.step if found else None) == (4 if begun else None)


def point(config: TrainConfig, corpus: PreparedCorpus, **progress: Any) -> ResumePoint:
    """A checkpoint of step 4 of a run of 6 steps."""
    about = json.loads(json.dumps(describe_run(config, config.model, corpus, VOCAB)))
    about["progress"] = {"steps": 6, "finished": False, "accumulation": 2, "world_size": 1}
    about["progress"]["early_end"] = ""
    about["progress"] |= progress
    return ResumePoint(Path("step=000004.ckpt"), 4, about, ())


def changed(config: TrainConfig, name: str, value: Any) -> TrainConfig:
    group, _, option = name.rpartition(".")
    setattr(getattr(config, group) if group else config, option, value)
    return config


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("trainer.log_every_n_steps", 9),
        ("batch.num_workers", 3),
        ("trainer.max_steps", 4),  # there is a better message
        ("trainer.max_steps", 1),
        ("run_dir", "elsewhere"),
        ("data.cache_dir", "elsewhere"),
        ("data.path", "elsewhere"),  # the text is compared by what it holds
        ("tokenizer.min_frequency", 9),  # so are its tokens
        ("test", True),
    ],
)
def test_what_changes_no_result_may_change(
    small_config: Config, tmp_path: Path, small_corpus: PreparedCorpus, name: str, value: Any
) -> None:
    resumed = point(small_config(tmp_path), small_corpus)
    config = changed(small_config(tmp_path), name, value)
    require_same_run(resumed, config, config.model, small_corpus, VOCAB)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("optim.lr", 0.25, r"optim.lr=0.25, and it was 0\.\d+\. This would be another run"),
        ("seed", 77, "seed=77, and it was "),
        ("trainer.max_steps", 5, "trainer.max_steps=5, and it was 6"),
    ],
)
def test_what_changes_results_is_named_unless_it_is_allowed(
    small_config: Config,
    tmp_path: Path,
    small_corpus: PreparedCorpus,
    caplog: pytest.LogCaptureFixture,
    name: str,
    value: Any,
    says: str,
) -> None:
    resumed = point(small_config(tmp_path), small_corpus)
    config = changed(small_config(tmp_path), name, value)
    with pytest.raises(UserError, match=says):
        require_same_run(resumed, config, config.model, small_corpus, VOCAB)
    assert not caplog.messages
    with caplog.at_level(logging.WARNING):
        require_same_run(
            resumed, replace(config, allow_changes=True), config.model, small_corpus, VOCAB
        )
    assert len(caplog.messages) == 1
    assert f"changed at step 4: {name}={value}" in caplog.messages[0]


def test_a_run_by_epochs_is_another_than_one_by_steps(
    small_config: Config, tmp_path: Path, small_corpus: PreparedCorpus
) -> None:
    resumed = point(small_config(tmp_path), small_corpus)
    config = changed(small_config(tmp_path), "trainer.max_steps", -1)
    config.trainer.max_epochs = 1
    with pytest.raises(UserError, match=r"trainer\.max_steps=-1, and it was 6"):
        require_same_run(resumed, config, config.model, small_corpus, VOCAB)


def test_what_would_not_fit_is_refused_even_if_changes_are_allowed(
    small_config: Config, tmp_path: Path, small_corpus: PreparedCorpus
) -> None:
    resumed = point(small_config(tmp_path), small_corpus)
    free = replace(small_config(tmp_path), allow_changes=True)

    def refused(says: str, config: TrainConfig, vocab_size: int = VOCAB) -> None:
        with pytest.raises(UserError, match=says):
            require_same_run(resumed, config, config.model, small_corpus, vocab_size)

    refused(
        "has 100 rows in its embedding, and this model 101: use model.vocab_size=100", free, 101
    )
    refused("its state would not fit", changed(free, "optim.optimizer", OptimizerName.lamb))
    free.optim.optimizer = OptimizerName.adamw
    refused("hidden_size", replace(free, model=replace(free.model, hidden_size=64)))
    resumed.about["tokenizer"] += " "  # type: ignore[index]
    refused("the tokenizer of", free)


def test_options_that_only_one_of_two_versions_has_are_named(
    small_config: Config, tmp_path: Path, small_corpus: PreparedCorpus
) -> None:
    resumed = point(small_config(tmp_path), small_corpus)
    about: Any = resumed.about
    del about["config"]["optim"]["lr"]
    about["config"]["optim"]["gone"] = 1
    says = r"optim\.gone=None, and it was 1; optim\.lr=[\d.]+, and it was None"
    config = small_config(tmp_path)
    with pytest.raises(UserError, match=says):
        require_same_run(resumed, config, config.model, small_corpus, VOCAB)


def test_another_text_is_another_run(
    small_config: Config, tmp_path: Path, small_corpus: PreparedCorpus
) -> None:
    resumed = point(small_config(tmp_path), small_corpus)
    about: Any = resumed.about
    about["corpus_key"] = "another"
    name = next(iter(about["corpus_identity"]))
    about["corpus_identity"][name] = "another"
    config = small_config(tmp_path)
    with pytest.raises(UserError, match=r"resume=None: corpus: .*another"):
        require_same_run(resumed, config, config.model, small_corpus, VOCAB)
    with pytest.raises(UserError, match=r"resume=None: seed=77, .*; corpus: .*another"):
        require_same_run(resumed, replace(config, seed=77), config.model, small_corpus, VOCAB)


@pytest.mark.parametrize(
    ("steps", "progress", "budget", "complete"),
    [
        (6, {}, None, False),
        (5, {}, None, False),
        (4, {}, None, True),
        (3, {}, None, True),
        (6, {"finished": True}, None, True),  # by early stopping
        (7, {"finished": True}, None, False),
        (7, {"finished": True}, "10s", True),  # by its budget, whatever the steps are
        (7, {}, "10s", False),
    ],
)
def test_a_complete_run_is_not_resumed(
    small_config: Config,
    tmp_path: Path,
    small_corpus: PreparedCorpus,
    steps: int,
    progress: dict[str, Any],
    budget: str | None,
    complete: bool,
) -> None:
    config = small_config(tmp_path)
    config.optim.time_budget = budget
    if budget is not None:
        config.trainer.max_steps = None
    resumed = point(config, small_corpus, **progress)
    asked, auto = replace(config, resume="FOLDER"), replace(config, resume="auto")
    if not complete:
        require_more(resumed, asked, steps)
        require_more(resumed, auto, steps)
        return
    with pytest.raises(UserError, match=rf"already complete at step 4, .* gives it {steps}: "):
        require_more(resumed, asked, steps)
    require_more(resumed, auto, steps)  # its summary is still to be written
    (tmp_path / "summary.json").touch()
    with pytest.raises(RunEnded, match="already complete at step 4") as ended:
        require_more(resumed, auto, steps)
    assert ended.value.exit_code == 0


def test_a_run_of_another_command_is_not_resumed(
    small_config: Config, tmp_path: Path, small_corpus: PreparedCorpus
) -> None:
    config = small_config(tmp_path)
    resumed = point(config, small_corpus)
    about: Any = resumed.about
    about["config"]["task"] = {"kind": "text"}
    with pytest.raises(
        UserError, match=r"holds a run of fine-tuning, not of pretraining: .*resume="
    ):
        require_same_run(resumed, config, config.model, small_corpus, VOCAB)


def test_a_run_that_ended_early_says_why_unless_it_is_only_to_be_complete(
    small_config: Config, tmp_path: Path, small_corpus: PreparedCorpus
) -> None:
    config = small_config(tmp_path)
    resumed = point(config, small_corpus, finished=True, early_end="no better for 2 validations")
    early = r"already complete at step 4, where it ended early: no better for 2 validations; train"
    with pytest.raises(UserError, match=early):
        require_more(resumed, replace(config, resume="FOLDER"), 6)
    require_more(resumed, replace(config, resume="auto"), 6)  # its summary is still to be written


@pytest.mark.parametrize(
    ("changes", "world_size", "kept"),
    [
        ({}, 1, True),
        ({"trainer.accumulate_grad_batches": 4}, 1, False),
        ({"batch.micro_batch_size": 8}, 1, False),
        ({}, 2, False),  # was 1
        ({"batch.global_batch_size": 31}, 1, False),  # not divisible by 2
        ({"batch.phases": [PhaseConfig(0.5), PhaseConfig(0.5, global_batch_size=31)]}, 1, False),
        ({"batch.phases": [PhaseConfig(0.5), PhaseConfig(0.5, global_batch_size=30)]}, 1, True),
    ],
)
def test_micro_batches_that_were_chosen_automatically_stay_while_they_fit(
    small_config: Config,
    tmp_path: Path,
    small_corpus: PreparedCorpus,
    changes: dict[str, Any],
    world_size: int,
    kept: bool,
) -> None:
    config = small_config(tmp_path)
    config.trainer.accumulate_grad_batches = None
    for name, value in changes.items():
        changed(config, name, value)
    chosen = StepPartition(0, world_size, 1)
    found = same_partition(point(config, small_corpus), config, chosen)
    assert found == (StepPartition(0, world_size, 2) if kept else chosen)
