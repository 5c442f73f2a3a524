"""Assembles the parts of a run of fine-tuning from its options, each once."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils.data import Dataset

from bert_lightning.config import BatchConfig, PairKind, TrainConfig
from bert_lightning.config.finetune import FinetuneConfig
from bert_lightning.config.task import Pooling
from bert_lightning.corpus.tokenizer import Tokenizer
from bert_lightning.corpus.vocabulary.prose import reading_prose
from bert_lightning.data.dealing import StepPartition
from bert_lightning.data.phases import Phase
from bert_lightning.data.randomness import Stream, torch_seed
from bert_lightning.data.steps import StepBatches
from bert_lightning.errors import UserError
from bert_lightning.extensions import find
from bert_lightning.finetuning.batches import TaskEvaluationBatches, TaskExamples
from bert_lightning.finetuning.encoding import EncodedSplit, encode_split
from bert_lightning.finetuning.labelled.read import LabelledData, read_labelled
from bert_lightning.finetuning.model import BertForTask, HeadShape
from bert_lightning.finetuning.module import TaskModule, constant_scores, validation_line
from bert_lightning.finetuning.predict import describe_task
from bert_lightning.finetuning.recipe import with_recipe
from bert_lightning.finetuning.task_batch import TaskBatch
from bert_lightning.finetuning.tasks.kinds import task_of
from bert_lightning.model.compilation import compile_parts, should_compile
from bert_lightning.pretrained.initial_weights import check_length
from bert_lightning.pretrained.sources import PretrainedSource, open_source
from bert_lightning.pretrained.task_head import TASK_HEAD
from bert_lightning.runs.allocator import keep_freed_memory
from bert_lightning.runs.checkpoint_io import describe_run
from bert_lightning.runs.resume import ResumePoint, require_same_run, same_partition
from bert_lightning.sizing.devices import find_devices, with_precision
from bert_lightning.sizing.micro_batches import divide_global_batch
from bert_lightning.training.assembly import Run
from bert_lightning.training.datamodule import StepData

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelledText:
    """Labelled data as what a run learns from."""

    data: LabelledData
    tokenizer: Tokenizer
    fallback_reason: None = None

    @property
    def name(self) -> str:
        return "labelled data"

    @property
    def origin(self) -> str:
        return self.data.origin

    @property
    def key(self) -> str:
        return self.data.key

    @property
    def identity(self) -> dict[str, Any]:
        return self.data.identity

    def differences(self, before: Mapping[str, Any]) -> list[str]:
        return [f"{self.name}: {change}" for change in self.data.differences(before)]


@dataclass(frozen=True, eq=False)
class TaskRun(Run):
    """The parts of a run that fine-tunes."""

    config: FinetuneConfig
    module: TaskModule
    labelled: LabelledText
    splits: dict[str, EncodedSplit]


class TaskData(StepData[TaskBatch]):
    """The training batches of a task, and its validation split."""

    def __init__(
        self,
        config: FinetuneConfig,
        splits: dict[str, EncodedSplit],
        partition: StepPartition,
        steps: int,
    ) -> None:
        task, sizes = config.task.kind.value, config.batch

        def training_batches(partition: StepPartition) -> StepBatches[TaskBatch]:
            phase = Phase(sizes.max_length, sizes.global_batch_size, 0, steps)
            examples = TaskExamples(splits["train"], task, config.drawn_seed)
            return StepBatches([examples], [phase], partition, steps)

        super().__init__(sizes.num_workers, partition, training_batches)
        self.validation = TaskExamples(splits["validation"], task, config.drawn_seed)
        self.batch_size = partition.micro_batch_size(sizes.global_batch_size)

    def held_out(self, split: str, rank: int, world_size: int) -> Dataset[TaskBatch] | None:
        if split != "validation":
            return None
        return TaskEvaluationBatches(self.validation, self.batch_size, rank, world_size)


def assemble(config: FinetuneConfig, resumed: ResumePoint | None) -> TaskRun:
    """Assembles the parts of a run: devices, model, data, sizes, batches.

    Raises:
        UserError: for whatever the user can put right.
    """
    callbacks = [find("callback", name, "callbacks.own")() for name in config.callbacks.own]
    devices = find_devices(config)
    config = with_precision(config, devices.accelerator)
    if devices.accelerator == "cpu":
        keep_freed_memory()

    source = open_pretrained(config)
    task = task_of(config.task.kind)
    data = read_labelled(config.data, config.task, config.drawn_seed)
    splits = {
        name: encode_split(
            examples, config.task.kind, data.names, source.tokenizer, config.batch.max_length
        )
        for name, examples in data.splits.items()
    }
    sizes = _as_pretraining(config, source, splits["train"].sequences_each)
    partition = divide_global_batch(sizes, devices, source.vocab_size)
    if resumed is not None:
        partition = same_partition(resumed, sizes, partition)
    partition = task.partition(partition, config)
    config, steps = with_recipe(config, source.config.hidden_size, len(splits["train"]))
    shape = _shape(config, source, data)
    text = LabelledText(data, source.tokenizer)
    if resumed is not None:
        require_same_run(resumed, config, source.config, text, source.vocab_size)
    description = {
        **describe_run(config, source.config, text, source.vocab_size),
        "task": describe_task(shape, data.names),
    }
    model = initial_model(config, source, shape, splits["train"])
    if should_compile(bool(source.config.compile), devices.on_gpu):
        compile_parts(model)
    return TaskRun(
        config=config,
        callbacks=callbacks,
        resumed=resumed,
        devices=devices,
        partition=partition,
        data=TaskData(config, splits, partition, steps),
        module=TaskModule(
            config,
            model,
            steps,
            description,
            len(splits["train"].first_lengths),
            (splits["validation"], data.splits["validation"]),
            data.names,
        ),
        baselines=lambda: constant_scores(splits, data, config.task.kind),
        validation_line=validation_line,
        labelled=text,
        splits=splits,
    )


def open_pretrained(config: FinetuneConfig) -> PretrainedSource:
    """Reads the pretrained model of a run."""
    if config.init_from is None:
        raise UserError(
            "init_from names no pretrained model: init_from=runs/NAME is a run, init_from=FOLDER "
            "one in Hugging Face's format"
        )
    source = open_source(config.init_from)
    check_length(source, config.batch.max_length)
    source = replace(source, tokenizer=reading_prose(source.tokenizer))
    if (dropout := config.task.dropout) is None:
        return source
    model = replace(
        source.config, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout
    )
    return replace(source, config=model)


def _as_pretraining(
    config: FinetuneConfig, source: PretrainedSource, sequences_each: int
) -> TrainConfig:
    """Returns a run that needs no less memory: its heads are larger, its sequences not shorter."""
    sizes, model = config.batch, source.config
    length = sizes.max_length * sequences_each
    return TrainConfig(
        batch=BatchConfig(
            max_length=length,
            global_batch_size=sizes.global_batch_size,
            micro_batch_size=sizes.micro_batch_size,
        ),
        model=replace(model, max_position_embeddings=max(length, model.max_position_embeddings)),
        trainer=replace(config.trainer, max_steps=None, max_epochs=None),
        strategy=config.strategy,
    )


def _shape(config: FinetuneConfig, source: PretrainedSource, data: LabelledData) -> HeadShape:
    task = task_of(config.task.kind)
    pooling = task.pooling(config.task.pooling)
    if pooling is Pooling.auto:
        pooling = Pooling.pooler if _has_pooler(source) else Pooling.mean
    elif pooling is Pooling.pooler and "pooler" in source.missing_heads:
        raise UserError(
            f"task.pooling=pooler, and {source.name} has no pooler: use task.pooling=mean or cls"
        )
    return HeadShape(task.kind, task.outputs(data.names, source.config), pooling)


def _has_pooler(source: PretrainedSource) -> bool:
    """Returns whether the pooler was trained: by NSP, which some runs are without."""
    trained = source.about.get("config", {})
    pairs = trained.get("batch", {}).get("pairs", {}).get("kind")
    weight = trained.get("objective", {}).get("nsp_weight", 1)
    return "pooler" not in source.missing_heads and pairs != PairKind.none.value and weight > 0


def initial_model(
    config: FinetuneConfig, source: PretrainedSource, shape: HeadShape, train: EncodedSplit
) -> BertForTask:
    """Builds the model of a run as it is before the first step."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(config.drawn_seed, Stream.weights))
        model = BertForTask(source.config, source.vocab_size, shape)
    if not config.random_weights:
        new = {n: value for n, value in model.state_dict().items() if n.startswith(TASK_HEAD)}
        known = model.state_dict().keys() - new.keys()
        model.load_state_dict({**new, **{name: source.state[name] for name in known}})
    model.head.fit(train.labels, config.task)
    return model
