"""finetune(config) → result: one run from its options to a model of a task, and its scores."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger

from bert_lightning.config.finetune import FinetuneConfig
from bert_lightning.config.task import Pooling
from bert_lightning.files import write_text
from bert_lightning.finetuning.assembly import TaskRun, assemble, initial_model, open_pretrained
from bert_lightning.finetuning.encoding import EncodedSplit, tell_unknown
from bert_lightning.finetuning.labelled.examples import LabelledExample
from bert_lightning.finetuning.predict import FineTunedBert, outputs_of
from bert_lightning.finetuning.scoring.metrics import Scores, is_degenerate
from bert_lightning.finetuning.tasks.head import TaskHead
from bert_lightning.finetuning.tasks.kinds import task_of
from bert_lightning.pretrained.checkpoints import BEST, read_checkpoint, step_of
from bert_lightning.runs.checkpoint_io import expected_size
from bert_lightning.runs.curves import Curves
from bert_lightning.runs.folder import shown, write_config
from bert_lightning.runs.launched import is_first_process
from bert_lightning.runs.loggers import build_loggers, log_config
from bert_lightning.runs.resume import require_more
from bert_lightning.runs.seed import with_seed
from bert_lightning.training.fit import started, train
from bert_lightning.training.saving import require_room
from bert_lightning.training.stops import StopSignals

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Predicted:
    """What the model says of a held-out split."""

    scores: Scores
    """The main one first."""
    outputs: np.ndarray
    """`(positions, outputs)` float32: logits, or numbers."""
    predicted: np.ndarray
    """`(labels,)`"""
    labels: np.ndarray
    """`(labels,)`: what is right."""
    split: EncodedSplit
    examples: Sequence[LabelledExample]

    @property
    def is_degenerate(self) -> bool:
        """Whether every prediction is the same."""
        return is_degenerate(self.predicted)


@dataclass(frozen=True)
class FinetuneResult:
    """The result of a run of fine-tuning."""

    config: FinetuneConfig
    bert: FineTunedBert
    """Of the best checkpoint, by the validation split."""
    held_out: dict[str, Predicted]
    """What it says of `validation` and `test`; empty in all processes but the first."""
    curves: Curves
    steps: int
    """Optimizer steps of the run."""
    best_step: int
    """The step of the best checkpoint."""
    seconds: float
    """Of training, validation excluded."""
    examples: int
    """Examples seen in training."""
    run: TaskRun
    is_main: bool
    """Whether this is the first process, which reports."""


def finetune(
    config: FinetuneConfig, *, callbacks: Sequence[Callback] = (), loggers: Sequence[Logger] = ()
) -> FinetuneResult:
    """Fine-tunes a pretrained model to labelled examples and scores it; or resumes a run.

    `callbacks` and `loggers` are Lightning's; they are added to the run's own.

    Raises:
        UserError: for whatever the user can put right.
        RunEnded: a signal stopped it, another process died, or it was complete already.
    """
    with started(config) as (stops, resumed):
        run = assemble(with_seed(config, resumed), resumed)
        return _finetune(run, stops, callbacks, loggers)


def _finetune(
    run: TaskRun, stops: StopSignals, callbacks: Sequence[Callback], loggers: Sequence[Logger]
) -> FinetuneResult:
    config, module = run.config, run.module
    if run.resumed is not None:
        require_more(run.resumed, config, module.progress.steps)
    if is_first_process() and config.trainer.enable_checkpointing:
        size = expected_size(module.model, config.optim, module.description)
        require_room(config.folder, size)
    own_loggers = build_loggers(config, run.resumed)
    if is_first_process():
        write_config(config)
        tokenizer = run.labelled.tokenizer.to_str(pretty=True)
        write_text(config.folder / "tokenizer.json", tokenizer)
        if run.resumed is None:
            log_config(own_loggers, config, run.labelled, _charts(run))
        _announce(run)
    trainer, model = train(run, stops, callbacks, [*own_loggers, *loggers], test=False)
    best = config.folder / "checkpoints" / BEST
    best_step = trainer.global_step
    if config.trainer.enable_checkpointing and best.is_file():
        best_step = step_of(best)
        weights = read_checkpoint(best)["state_dict"].items()
        model.load_state_dict(
            {
                name.removeprefix("model."): value
                for name, value in weights
                if name.startswith("model.")
            }
        )
    names, labelled = run.labelled.data.names, run.labelled
    bert = FineTunedBert(model.eval(), labelled.tokenizer, names, str(config.folder))
    held_out = {}
    if trainer.is_global_zero:
        held_out = {
            split: predict_split(bert, run.splits[split], labelled.data.splits[split])
            for split in ("validation", "test")
        }
    progress = module.progress
    return FinetuneResult(
        config=config,
        bert=bert,
        held_out=held_out,
        curves=progress.curves,
        steps=trainer.global_step,
        best_step=best_step,
        seconds=progress.seconds,
        examples=progress.pairs // run.splits["train"].sequences_each,
        run=run,
        is_main=trainer.is_global_zero,
    )


def predict_split(
    bert: FineTunedBert, split: EncodedSplit, examples: Sequence[LabelledExample]
) -> Predicted:
    """Scores a model on a split."""
    task = task_of(bert.model.shape.kind)
    outputs = outputs_of(bert.model, split).numpy()
    predicted, labels = task.predict(outputs, split), task.right(split, examples)
    scores = task.scores(predicted, labels, bert.names, task.sizes(examples))
    return Predicted(scores, outputs, predicted, labels, split, examples)


def predict_untrained(run: TaskRun) -> np.ndarray:
    """Returns what the pretrained model predicts for the test split, with mean pooling."""
    config, shape = replace(run.config, random_weights=False), run.module.model.shape
    shape, test = shape._replace(pooling=Pooling.mean), run.splits["test"]
    model = initial_model(config, open_pretrained(config), shape, run.splits["train"]).eval()
    return task_of(shape.kind).predict(outputs_of(model, test).numpy(), test)


def _charts(run: TaskRun) -> dict[str, dict[str, list[str]]]:
    kind = run.config.task.kind
    splits = ["train", "val"] if task_of(kind).has_held_out_loss else ["train"]
    scores = {name: [f"val/{name}", f"val/{name}_baseline"] for name in run.baselines()}
    losses = {"loss": [f"{split}/{kind.value}_loss" for split in splits]}
    return {"loss": losses, "validation scores": scores}


def _announce(run: TaskRun) -> None:
    config, data, partition = run.config, run.labelled.data, run.partition
    shape, model = run.module.model.shape, run.module.model
    for note in data.notes:
        log.info("%s", note)
    sizes = ", ".join(f"{split} {len(examples):,}" for split, examples in data.splits.items())
    log.info("data: %s (%s)", sizes, data.origin)
    for name, split in run.splits.items():
        if split.cut:
            log.info(
                "%s: %s of %s examples have more than %s tokens, and are %s; batch.max_length "
                "raises the limit",
                name,
                f"{split.cut:,}",
                f"{len(data.splits[name]):,}",
                config.batch.max_length,
                task_of(shape.kind).too_long,
            )
        if split.wordless:
            log.warning("%s: of %s words the tokenizer leaves nothing", name, f"{split.wordless:,}")
    tell_unknown(run.splits["train"], log)
    start = "random weights, as in" if config.random_weights else "weights from"
    log.info("model: %s %s; %s", start, shown(str(config.init_from)), shape.pooling.value)
    if isinstance(model.head, TaskHead):
        rows, columns = model.head.classifier.weight.shape
        log.info("new: classifier, %s × %s", rows, columns)
    steps, size = run.module.progress.steps, config.batch.global_batch_size
    log.info(
        "run: %s steps of %s examples = %s devices × %s micro-batches of %s; learning rate %g; "
        "seed %s; %s",
        f"{steps:,}", size, partition.world_size, partition.accumulation,
        partition.micro_batch_size(size), config.optim.lr, config.seed, shown(config.folder),
    )  # fmt: skip
    if run.resumed is not None:
        log.info("resumes from step %s: %s", run.resumed.step, shown(run.resumed.path))
