"""The parts of a run, put together from its options: corpus, batches, model and devices."""

import math
from dataclasses import dataclass

import torch

from bert_lightning.config import TrainConfig
from bert_lightning.corpus.prepare import prepare
from bert_lightning.corpus.store import PreparedCorpus
from bert_lightning.corpus.tokenizer import rows_needed
from bert_lightning.data.baselines import unigram_log_probs
from bert_lightning.data.batches import StepPartition
from bert_lightning.data.pairs import pair_sampler
from bert_lightning.data.phases import Phase, by_length, phase_options, phases_of
from bert_lightning.errors import UserError
from bert_lightning.optim.time_budget import UNKNOWN_STEPS
from bert_lightning.pretrained.initial_weights import open_initial, start_from
from bert_lightning.pretrained.sources import PretrainedSource
from bert_lightning.runs.allocator import keep_freed_memory
from bert_lightning.runs.checkpoint_io import describe_run
from bert_lightning.runs.resume import ResumePoint, require_same_run, same_share
from bert_lightning.sizing.devices import (
    Devices,
    find_devices,
    with_precision,
)
from bert_lightning.sizing.memory import known_vocab_size
from bert_lightning.sizing.micro_batches import divide_global_batch
from bert_lightning.training.datamodule import PretrainingData
from bert_lightning.training.module import PretrainingModule


@dataclass(frozen=True, eq=False)
class Assembly:
    """A run that has not begun, or has not gone on."""

    config: TrainConfig
    """With the precision that is used."""
    devices: Devices
    share: StepPartition
    corpus: PreparedCorpus
    vocab_size: int
    """Rows of the embedding."""
    module: PretrainingModule
    data: PretrainingData
    phases: list[Phase]
    overlong: list[int]
    """Examples of an epoch that are too long, in each phase."""


def assemble(config: TrainConfig, earlier: ResumePoint | None) -> Assembly:
    """Puts the parts together; with `earlier`, those of the run that it is a checkpoint of.

    Raises:
        UserError: for whatever the user can put right.
    """
    devices = find_devices(config)
    config = with_precision(config, devices.accelerator)
    if devices.accelerator == "cpu":
        keep_freed_memory()
    share = divide_global_batch(config, devices, known_vocab_size(config))
    if earlier is not None:
        share = same_share(earlier, config, share)
    source = open_initial(config)
    corpus = prepare(
        config.data, config.tokenizer, config.batch.pairs, source.tokenizer if source else None
    )
    vocab_size = _vocab_size(config, corpus, source)
    samplers = {
        length: pair_sampler(corpus.splits["train"], options.pairs, length)
        for length, options in by_length(config.batch).items()
    }
    of_phases = [samplers[options.max_length] for options in phase_options(config.batch)]
    epoch_sizes = [len(sampler) for sampler in of_phases]
    steps = _steps(config, epoch_sizes[0])
    phases = phases_of(config.batch, steps)
    if earlier is not None:
        require_same_run(earlier, config, corpus, vocab_size)
    description = describe_run(config, corpus, vocab_size)
    module = PretrainingModule(config, vocab_size, steps, epoch_sizes, description)
    if earlier is None:
        _initialize(module, source, corpus)
    return Assembly(
        config=config,
        devices=devices,
        share=share,
        corpus=corpus,
        vocab_size=vocab_size,
        module=module,
        data=PretrainingData(corpus, config.batch, config.drawn_seed, share, steps),
        phases=phases,
        overlong=[sampler.overlong for sampler in of_phases],
    )


def _initialize(
    module: PretrainingModule, source: PretrainedSource | None, corpus: PreparedCorpus
) -> None:
    if source is not None:
        start_from(module.model, source, corpus.tokenizer)
    elif module.config.objective.unigram_bias_init:
        bias = module.model.mlm_head.decoder.bias
        frequencies = unigram_log_probs(corpus.splits["train"], len(bias))
        bias.data.copy_(torch.from_numpy(frequencies))


def _vocab_size(
    config: TrainConfig, corpus: PreparedCorpus, source: PretrainedSource | None
) -> int:
    words, wanted = rows_needed(corpus.tokenizer), config.model.vocab_size
    if wanted is not None and wanted < words:
        raise UserError(
            f"model.vocab_size={wanted} is smaller than the tokenizer's {words} words; "
            f"use model.vocab_size={words}, or null to follow the tokenizer"
        )
    return wanted or max(words, source.vocab_size if source else 0)


def _steps(config: TrainConfig, epoch_size: int) -> int:
    """Optimiser steps of the run: the first limit of `max_steps` and `max_epochs`, or unknown."""
    if config.optim.time_budget is not None:
        return UNKNOWN_STEPS
    limits = [config.trainer.max_steps] if config.trainer.max_steps != -1 else []
    if config.trainer.max_epochs is not None:
        examples = config.trainer.max_epochs * epoch_size
        limits.append(math.ceil(examples / config.batch.global_batch_size))
    if config.optim.warmup_steps > min(limits):
        raise UserError(
            f"optim.warmup_steps={config.optim.warmup_steps} is longer than the run of "
            f"{min(limits)} steps: warm up for fewer steps"
        )
    return min(limits)
