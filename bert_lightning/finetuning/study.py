"""Which runs a study of fine-tuning has: pure functions of its options and its first run.

A study compares seeds, weights and numbers of training examples. Its first run is that of the
command, with all examples, in the study's folder; the others lie below.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bert_lightning.config.affects import ARCHITECTURE, LEARNING, leaves, named
from bert_lightning.config.finetune import FinetuneConfig
from bert_lightning.config.plain import to_plain
from bert_lightning.finetuning.tasks.kinds import task_of
from bert_lightning.runs.launched import AUTO

_MOST_SIZES = 4
"""Numbers of examples in a learning curve, below that of the run itself."""
_RATIO = 3
"""Of each two neighbors among them."""
_LEAST_STEPS = 200
"""Steps that a run of few examples has at least, unless the first run has fewer: the epochs of a
hundred examples would end before the learning rate is warm."""


@dataclass(frozen=True)
class StudyRun:
    """What one run has of its own."""

    seed: int
    random_weights: bool
    examples: int | None = None
    """Training examples drawn; None for all that the study's own options keep."""

    @property
    def folder(self) -> Path:
        """The folder within the study's."""
        drawn = [] if self.examples is None else [f"examples={self.examples}"]
        weights = ["random_weights"] if self.random_weights else []
        return Path("study", *drawn, *weights, f"seed={self.seed}")

    @property
    def title(self) -> str:
        weights = ", random weights" if self.random_weights else ""
        drawn = "" if self.examples is None else f", {self.examples:,} examples"
        return f"seed {self.seed}{weights}{drawn}"


def runs_of(config: FinetuneConfig, first: Mapping[str, Any]) -> list[StudyRun]:
    """Returns the runs of a study, the first of them first.

    `first` is the summary of that one: it has its seed, which may have been drawn, and counts of
    its data.
    """
    weights = [config.random_weights]
    if config.baselines and not config.random_weights:
        weights.append(True)
    sizes: list[int | None] = [None]
    if config.learning_curve:
        sizes += curve_sizes(config, first["examples"]["train"], first["classes"] or 1)
    return [
        StudyRun(first["seed"] + number, random_weights, examples)
        for examples in sizes
        for number in range(config.seeds)
        for random_weights in weights
    ]


def curve_sizes(config: FinetuneConfig, examples: int, classes: int) -> list[int]:
    """Returns the numbers of examples of a learning curve, the largest first, without the whole.

    >>> curve_sizes(FinetuneConfig(), 9000, 77)
    [3000, 1000, 333]
    """
    least = config.batch.global_batch_size
    if task_of(config.task.kind).has_classes:
        least = max(least, 2 * classes)
    sizes = [round(examples / _RATIO**power) for power in range(1, _MOST_SIZES + 1)]
    return [size for size in sizes if size >= least]


def config_of(config: FinetuneConfig, run: StudyRun, first: Mapping[str, Any]) -> FinetuneConfig:
    """Returns the options of one run of a study but its folder; it starts no further runs.

    `config` is the study's, with the learning rate and the warmup that null stands for.
    """
    own = replace(
        config,
        seed=run.seed,
        random_weights=run.random_weights,
        baselines=config.baselines and run.random_weights,  # once a seed, since they have none
        seeds=1,
        learning_curve=False,
        run_dir=None,
        resume=AUTO,
    )
    if run.examples is None:
        return own
    whole, steps = first["examples"]["train"], first["steps"]
    fewer = max(round(steps * run.examples / whole), min(steps, _LEAST_STEPS))
    warmup = config.optim.warmup_steps
    return replace(
        own,
        data=replace(config.data, train_examples=run.examples),
        optim=replace(config.optim, warmup_steps=warmup and round(warmup * fewer / steps)),
        trainer=replace(config.trainer, max_epochs=None, max_steps=fewer),
    )


def steps_of(config: FinetuneConfig, first: Mapping[str, Any]) -> int:
    """Returns the optimizer steps of one run of a study."""
    drawn = config.data.train_examples not in (None, first["examples"]["train"])
    return (config.trainer.max_steps or 0) if drawn else first["steps"]


def differences(wanted: FinetuneConfig, complete: FinetuneConfig) -> list[str]:
    """Returns what a complete run learned by that this one would not: `optim.lr=0.001`."""
    now, then = (dict(leaves(to_plain(asdict(config)))) for config in (wanted, complete))
    return [
        f"{name}={then[name]}"
        for name in named(FinetuneConfig, LEARNING | ARCHITECTURE)
        if now[name] is not None and now[name] != then[name]
    ]
