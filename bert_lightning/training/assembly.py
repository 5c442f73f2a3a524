"""Assembles the parts of a run from its options, each once."""

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lightning.pytorch.callbacks import Callback

from bert_lightning.config import RunConfig, TrainConfig
from bert_lightning.corpus.prepare import prepare
from bert_lightning.corpus.store import PreparedCorpus
from bert_lightning.corpus.tokenizer import rows_needed
from bert_lightning.data.batches import LABELERS, TrainingBatches
from bert_lightning.data.dealing import StepPartition
from bert_lightning.data.evaluation_set import EvaluationSet
from bert_lightning.data.phases import Phase, by_length, phase_options, phases_of
from bert_lightning.data.shards.sampler import sampler_of
from bert_lightning.data.word_sampling import WordSampling
from bert_lightning.errors import UserError
from bert_lightning.extensions import find
from bert_lightning.model.compilation import compile_parts, should_compile
from bert_lightning.model.objective import own_objectives
from bert_lightning.optim.time_budget import UNKNOWN_STEPS
from bert_lightning.pretrained.initial_weights import open_initial, start_from
from bert_lightning.pretrained.sources import PretrainedSource
from bert_lightning.pretrained.statistical_weights import start_from_statistics
from bert_lightning.pretrained.teachers import build_teachers, open_teachers
from bert_lightning.runs.allocator import keep_freed_memory
from bert_lightning.runs.checkpoint_io import describe_run
from bert_lightning.runs.curves import Curves
from bert_lightning.runs.progress import Clock
from bert_lightning.runs.resume import ResumePoint, require_same_run, same_partition
from bert_lightning.sizing.devices import Devices, find_devices, with_precision
from bert_lightning.sizing.launcher import check_launch
from bert_lightning.sizing.micro_batches import divide_global_batch
from bert_lightning.sizing.savings import with_savings
from bert_lightning.training.datamodule import PretrainingData, StepData
from bert_lightning.training.metrics import with_joint
from bert_lightning.training.module import PretrainingModule, TrainingModule
from bert_lightning.training.progress_bar import scores_beside_baselines

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Run:
    """The parts of any run, before its first step or before it resumes."""

    config: RunConfig
    """With the precision that `auto` stands for."""
    callbacks: list[Callback]
    """Those of your own, which `callbacks.own` names."""
    resumed: ResumePoint | None
    devices: Devices
    partition: StepPartition
    data: StepData[Any]
    module: TrainingModule[Any]
    baselines: Callable[[], Mapping[str, float]]
    """Returns the baselines of the validation scores that have one, by name."""
    validation_line: Callable[[Curves], str] | None
    """Tells the scores of the last validation; None without a validation split."""


@dataclass(frozen=True, eq=False)
class Assembly(Run):
    """The parts of a run that pretrains."""

    config: TrainConfig
    data: PretrainingData
    module: PretrainingModule
    corpus: PreparedCorpus
    phases: list[Phase]
    overlong: list[int]
    """Examples of an epoch that are too long, in each phase."""


def assemble(config: TrainConfig, resumed: ResumePoint | None) -> Assembly:
    """Assembles the parts of a run: devices, corpus, vocabulary, sizes, batches, model.

    `resumed` is the checkpoint that the run resumes from; None starts the run.

    Raises:
        UserError: for whatever the user can put right.
    """
    callbacks = [find("callback", name, "callbacks.own")() for name in config.callbacks.own]
    devices = find_devices(config)
    check_launch(devices)
    config = with_precision(config, devices.accelerator)
    if devices.accelerator == "cpu":
        keep_freed_memory()

    source, taught_by = open_initial(config), open_teachers(config)
    base = source.tokenizer if source is not None else None
    corpus = prepare(config.data, config.tokenizer, config.batch.pairs, base)
    vocab_size = _vocab_size(config, corpus, source)

    config = with_savings(config, devices, vocab_size)
    teachers, hashes = build_teachers(config, taught_by, corpus.tokenizer, vocab_size)
    theirs = 0.0 if teachers is None else teachers.nbytes
    partition = divide_global_batch(config, devices, vocab_size, others=theirs)
    if resumed is not None:
        partition = same_partition(resumed, config, partition)

    samplers = {
        length: sampler_of(corpus.splits["train"], options.pairs, length)
        for length, options in by_length(config.batch).items()
    }
    of_phases = [samplers[options.max_length] for options in phase_options(config.batch)]
    epoch_sizes = [len(sampler) for sampler in of_phases]
    steps = _steps(config, epoch_sizes[0])
    own = own_objectives(config.objective)
    labelers = {**LABELERS, **{name: found.labels for name, found in own.items()}}
    sampling = _word_sampling(config, corpus, vocab_size)
    evaluation_sets = {
        split: EvaluationSet(corpus, split, config.batch, vocab_size, labelers)
        for split in corpus.splits
        if split != "train"
    }

    def training_batches(partition: StepPartition) -> TrainingBatches:
        seed = config.drawn_seed
        return TrainingBatches(corpus, config.batch, seed, partition, steps, labelers, sampling)

    if resumed is not None:
        require_same_run(resumed, config, config.model, corpus, vocab_size, hashes)
    description = describe_run(config, config.model, corpus, vocab_size)
    if teachers is not None:
        description["teachers"] = hashes
    module = PretrainingModule(config, vocab_size, steps, epoch_sizes, description, teachers)
    if source is not None and resumed is None:
        start_from(module.model, source, corpus.tokenizer)
    elif resumed is None:
        seconds = start_from_statistics(module.model, corpus, config)
        module.progress.clock, module.progress.seconds = Clock(seconds), seconds
    if should_compile(config.model.compile, devices.on_gpu):
        compile_parts(module.model)
    return Assembly(
        config=config,
        callbacks=callbacks,
        resumed=resumed,
        devices=devices,
        corpus=corpus,
        partition=partition,
        phases=phases_of(config.batch, steps),
        overlong=[sampler.overlong for sampler in of_phases],
        data=PretrainingData(corpus, config.batch, partition, training_batches, evaluation_sets),
        module=module,
        baselines=_baselines(config, evaluation_sets.get("validation")),
        validation_line=scores_beside_baselines(config, evaluation_sets.get("validation")),
    )


def _baselines(
    config: TrainConfig, validation: EvaluationSet | None
) -> Callable[[], Mapping[str, float]]:
    def found() -> Mapping[str, float]:
        if validation is None or config.validates_in_part:
            return {}
        scores = validation.baselines._asdict().items()
        known = {name: value for name, value in scores if value is not None}
        joint = all(f"{objective}_loss" in known for objective in config.weights)
        return with_joint(known, config.weights) if joint else known

    return found


def _vocab_size(
    config: TrainConfig, corpus: PreparedCorpus, source: PretrainedSource | None
) -> int:
    needed, wanted = rows_needed(corpus.tokenizer), config.model.vocab_size
    if wanted is not None and wanted < needed:
        raise UserError(
            f"model.vocab_size={wanted} is smaller than the tokenizer's {needed} tokens; "
            f"use model.vocab_size={needed}, or null to follow the tokenizer"
        )
    return wanted or max(needed, source.vocab_size if source else 0)


def _word_sampling(
    config: TrainConfig, corpus: PreparedCorpus, vocab_size: int
) -> WordSampling | None:
    wanted, words = config.objective.sampled_words, config.objective.predicted_words(vocab_size)
    if words == vocab_size:
        if wanted is not None:
            _log.info("objective.sampled_words=%d: all %d words compete", wanted, vocab_size)
        return None
    counts = corpus.splits["train"].counts_of_rows(vocab_size)
    _log.info(
        "masked tokens are predicted among %s of %s words in each step: train/mlm_loss is an "
        "estimate; held-out scores are over all words",
        *(f"{words:,}", f"{vocab_size:,}"),
    )
    return WordSampling(counts, words, config.drawn_seed)


def _steps(config: TrainConfig, epoch_size: int) -> int:
    """Returns the optimizer steps of the run: the lower limit of `max_steps` and `max_epochs`."""
    limits = [] if config.most_steps is None else [config.most_steps]
    if config.trainer.max_epochs is not None:
        examples = config.trainer.max_epochs * epoch_size
        limits.append(math.ceil(examples / config.batch.global_batch_size))
    if limits and config.optim.warmup_steps > min(limits):
        raise UserError(
            f"optim.warmup_steps={config.optim.warmup_steps} is longer than the run of "
            f"{min(limits)} steps: warm up for fewer steps"
        )
    return min(limits, default=UNKNOWN_STEPS)
