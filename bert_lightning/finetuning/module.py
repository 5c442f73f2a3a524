"""The LightningModule of a task: its validation scores whole splits, of all ranks together."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from bert_lightning.config.finetune import FinetuneConfig
from bert_lightning.finetuning.encoding import EncodedSplit
from bert_lightning.finetuning.labelled.examples import LabelledExample
from bert_lightning.finetuning.model import BertForTask
from bert_lightning.finetuning.task_batch import TaskBatch
from bert_lightning.finetuning.tasks.kinds import task_of
from bert_lightning.training.module import TrainingModule

ERROR = "error"
"""The score that marks the best checkpoint, as `val/error`: 1 minus the main score."""


class TaskModule(TrainingModule[BertForTask]):
    """Fine-tunes a BERT to a task.

    Args:
        config: the whole run.
        model: the model, with its initial weights.
        steps: optimizer steps of the whole run.
        description: what each checkpoint says of the run, in plain types.
        epoch_size: sequences of the training split.
        validation: the validation split, encoded, and its examples.
        names: the classes.
    """

    config: FinetuneConfig
    title, unit = "fine-tuning", "examples"

    def __init__(
        self,
        config: FinetuneConfig,
        model: BertForTask,
        steps: int,
        description: dict[str, Any],
        epoch_size: int,
        validation: tuple[EncodedSplit, Sequence[LabelledExample]],
        names: Sequence[str],
    ) -> None:
        super().__init__(config, model, steps, description)
        self.epoch_size = epoch_size
        self.validation, self.validation_examples = validation
        self.names = names
        self.progress.judged_by = f"val/{ERROR}"
        if self.validation.sequences_each > 1:
            self.unit = "sequences"
        self.held_out: list[tuple[Tensor, Tensor]] = []
        """This rank's outputs of the current validation, and which of the split's they are."""

    @property
    def epochs(self) -> float:
        return self.progress.pairs / self.epoch_size

    def validation_step(self, batch: TaskBatch, batch_idx: int) -> None:
        outputs = self.evaluated(batch.sequences, batch.positions)
        self.held_out.append((batch.output_index, outputs.float()))

    def held_out_scores(self, sum_of_ranks: Callable[[Tensor], Tensor]) -> dict[str, float]:
        shape, split = self.model.shape, self.validation
        outputs = torch.zeros(len(split.positions), shape.outputs, device=self.device)
        for index, found in self.held_out:  # each output is on one rank
            outputs[index] = found
        self.held_out.clear()
        outputs = sum_of_ranks(outputs)
        labels = torch.from_numpy(split.labels).to(self.device)
        sums = self.evaluated.head.sums(outputs, labels, split.widths)
        task = task_of(shape.kind)
        examples = self.validation_examples
        predicted = task.predict(outputs.cpu().numpy(), split)
        right, sizes = task.right(split, examples), task.sizes(examples)
        scores = task.scores(predicted, right, self.names, sizes)
        error = 1 - next(iter(scores.values()))
        return {f"{shape.kind.value}_loss": (sums.nll / sums.labels).item(), ERROR: error, **scores}
