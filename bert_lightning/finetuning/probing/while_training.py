"""A probe of a model while it pretrains: a curve beside the losses."""

import logging
import time
from collections.abc import Sequence

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from bert_lightning.config import TrainConfig
from bert_lightning.config.task import LabelledConfig, ProbeConfig, TaskConfig, TaskKind
from bert_lightning.errors import UserError
from bert_lightning.evaluation.probing import probe_scores
from bert_lightning.finetuning.labelled.examples import LabelledExample
from bert_lightning.finetuning.labelled.read import LabelledData, read_labelled
from bert_lightning.finetuning.probing.models import require_classes
from bert_lightning.finetuning.probing.task_probe import encode_probe
from bert_lightning.finetuning.tasks.kinds import task_of
from bert_lightning.runs.curves import record
from bert_lightning.training.datamodule import PretrainingData
from bert_lightning.training.module import PretrainingModule
from bert_lightning.training.strategies import gathered

_log = logging.getLogger(__name__)


def probes_of(config: TrainConfig) -> list[Callback]:
    """Returns the callbacks of the probe that a run's options name, if they do.

    Raises:
        UserError: the labelled data are not what a probe needs.
    """
    return [] if config.probe.path is None else [ProbeWhileTraining(config)]


class ProbeWhileTraining(Callback):
    """Probes the model that is validated, and records its scores in the curves and the loggers.

    It draws no random number of the run's and changes no weight, so the run learns the same without
    it. The first process probes alone; the others wait for it in the next step.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.config = config.probe
        self.max_length = config.batch.max_length
        self.data = _read(self.config)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data: PretrainingData = trainer.datamodule  # type: ignore[attr-defined]
        config = self.config
        if "validation" not in data.evaluation_sets:
            raise UserError(
                f"probe.path={config.path} probes after validations, and {data.corpus.origin} has "
                "no validation split: data.validation_fraction=0.1 makes one"
            )
        if not trainer.is_global_zero:
            return
        splits = {
            split: drawn(self.data.splits[split], config.task, config.examples)
            for split in ("train", "validation")
        }
        self.probe = encode_probe(
            data.corpus.tokenizer,
            splits["train"],
            splits["validation"],
            self.data.names,
            kind=config.task,
            max_length=self.max_length,
            control_seed=None,
        )
        for note in self.data.notes:
            _log.info("probe: %s", note)
        _log.info(
            "probe: %s, fitted to %s labels and scored on %s of the validation split (of %s and %s "
            "examples; probe.examples=%s limits them)",
            self.data.origin,
            *(f"{len(split.labels):,}" for split in (self.probe.train, self.probe.held_out)),
            *(f"{len(self.data.splits[split]):,}" for split in splits),
            config.examples,
        )

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, PretrainingModule)
        progress, step = pl_module.progress, trainer.global_step
        if trainer.sanity_checking:
            return
        validations = len(progress.curves[progress.judged_by])
        ends = trainer.should_stop or step >= progress.steps
        if validations % self.config.every_n_validations and not ends:
            return
        model = gathered(pl_module.evaluated)
        if not trainer.is_global_zero:
            return
        start, is_first = time.perf_counter(), "probe/mix_accuracy" not in progress.curves
        # Lightning validates in inference mode, in which no probe can be fitted.
        with torch.inference_mode(False), torch.enable_grad():
            scores = probe_scores(self.probe.result(model.encoder))
        record(progress.curves, step, scores)
        for logger in trainer.loggers:
            logger.log_metrics(scores, step=step)
        if is_first:
            _log.info(
                "probe: the first took %.1f seconds, which are not training time; "
                "probe.every_n_validations=N and a lower probe.examples make them fewer",
                time.perf_counter() - start,
            )


def drawn(
    examples: Sequence[LabelledExample], kind: TaskKind, most: int
) -> Sequence[LabelledExample]:
    """Returns the examples of about `most` labels, always the same; all where they have no more."""
    labels = int(task_of(kind).sizes(examples).sum())
    if labels <= most:
        return examples
    count = max(1, len(examples) * most // labels)
    places = np.random.default_rng(0).permutation(len(examples))[:count]
    return [examples[place] for place in sorted(places.tolist())]


def _read(config: ProbeConfig) -> LabelledData:
    require_classes(config.task, "probe.task")
    try:
        return read_labelled(LabelledConfig(path=config.path), TaskConfig(config.task), seed=0)
    except UserError as error:
        told = str(error).replace("data.path", "probe.path")
        raise UserError(
            f"probe: {told}. (A probe while training finds columns and splits by their usual "
            "names; options of task and data belong to finetune and to scripts/probe.py.)"
        ) from error
