"""The LightningModule of a task: its validation scores whole splits, of all ranks together."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bert_lightning.config.finetune import FinetuneConfig
from bert_lightning.config.task import TaskKind
from bert_lightning.finetuning.encoding import EncodedSplit
from bert_lightning.finetuning.labelled.examples import LabelledExample
from bert_lightning.finetuning.labelled.read import LabelledData
from bert_lightning.finetuning.model import BertForTask
from bert_lightning.finetuning.scoring.baselines import constant
from bert_lightning.finetuning.task_batch import TaskBatch
from bert_lightning.finetuning.tasks.kinds import task_of
from bert_lightning.runs.curves import Curves
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
    title, unit, better = "fine-tuning", "examples", "better score"

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
        task, loss = task_of(shape.kind), dict[str, float]()
        if task.has_held_out_loss:
            labels = torch.from_numpy(split.labels).to(self.device)
            sums = self.evaluated.head.sums(outputs, labels, split.widths)
            loss = {f"{shape.kind.value}_loss": (sums.nll / sums.labels).item()}
        examples = self.validation_examples
        predicted = task.predict(outputs.cpu().numpy(), split)
        right, sizes = task.right(split, examples), task.sizes(examples)
        scores = task.scores(predicted, right, self.names, sizes)
        error = 1 - next(iter(scores.values()))
        return {**loss, ERROR: error, **scores}


def constant_scores(
    splits: Mapping[str, EncodedSplit], data: LabelledData, kind: TaskKind
) -> Mapping[str, float]:
    """Returns the scores of the commonest class or the mean on the validation split, if any."""
    task, labels = task_of(kind), splits["validation"].labels
    if not task.has_constant_baseline:
        return {}
    predicted = constant(splits["train"].labels, len(labels))
    return task.scores(predicted, labels, data.names, task.sizes(data.splits["validation"]))


def validation_line(curves: Curves) -> str:
    """Tells the scores of the last validation beside their baselines."""
    last = {name[4:]: curve[-1][1] for name, curve in curves.items() if name.startswith("val/")}
    shown = [name for name in last if not name.startswith("error") and "_baseline" not in name]
    return ", ".join(
        f"{name.replace('_', ' ')} {last[name]:.3f}"
        + (f" (baseline {last[f'{name}_baseline']:.3f})" if f"{name}_baseline" in last else "")
        for name in shown
    )
