"""The joint loss, and how it is minimized."""

import re
from dataclasses import dataclass, fields
from enum import Enum

from bert_lightning.config.affects import (
    ARCHITECTURE,
    LEARNING,
    OPTIMIZER_STATE,
    PLACE,
    check_limits,
    listed,
    option,
)
from bert_lightning.errors import UserError

_SECONDS = {"s": 1, "min": 60, "h": 3600}


class OptimizerName(Enum):
    adam = "adam"
    adamw = "adamw"
    lamb = "lamb"
    muon = "muon"


class ScheduleName(Enum):
    constant = "constant"
    linear = "linear"
    cosine = "cosine"
    wsd = "wsd"


@dataclass
class ObjectiveConfig:
    """The joint loss: the sum of the objectives, each times its weight."""

    mlm_weight: float = option(1.0, LEARNING, at_least=0)
    """Weight of the MLM loss in the joint loss."""
    nsp_weight: float = option(1.0, LEARNING, at_least=0)
    """Weight of the loss of the pairs, NSP or SOP, in the joint loss."""
    unigram_bias_init: bool = option(True, LEARNING)
    """Whether the MLM head's bias is initialized to the log frequency of each word: training then
    starts at the unigram baseline, instead of taking its first steps to reach it. Not for weights
    of `init_from`."""
    sampled_words: int | None = option(None, LEARNING, at_least=4)
    """Words among which each masked token is predicted in training, in place of the whole
    vocabulary: two thirds of them the most frequent, one third drawn from the others anew in each
    step. The vocabulary is half of a tiny model's step on a CPU, and this takes a few percent.
    `train/mlm_loss` is then an estimate. Validation and tests are always over all words, and so is
    the training of a smaller vocabulary."""
    teachers: list[str] = listed(LEARNING | PLACE)
    """Trained models to learn from, with the same tokenizer, each a run, a checkpoint or a folder
    in Hugging Face's format: what a prediction is trained to be is then not the label alone, but
    also what they predict together (distillation). `train/mlm_loss` is still that of the labels."""
    teacher_fraction: float = option(0.5, LEARNING, above=0, at_most=1)
    """Fraction of that which is the teachers'; the label is the rest."""
    own: list[str] = listed(LEARNING | ARCHITECTURE)
    """Objectives of your own, as `module:Class`, marked with `@extension("objective")`. They train
    with the model and are saved in its checkpoints, but not exported."""
    own_weights: list[float] = listed(LEARNING, at_least=0)
    """The weight of each of them; empty gives every one the weight 1."""

    def __post_init__(self) -> None:
        check_limits(self, "objective.")
        names = [name.partition(":")[2] for name in self.own]
        for option_value, name in zip(self.own, names, strict=True):
            if not name.isidentifier():
                raise UserError(f"objective.own={option_value}: write it as module:Class")
            if names.count(name) > 1 or f"{name}_weight" in self._weight_options():
                raise UserError(
                    f"objective.own={option_value}: there is another objective named {name}, and "
                    "the curves are named by it: rename the class"
                )
        if self.own_weights and len(self.own_weights) != len(self.own):
            raise UserError(
                f"objective.own_weights={self.own_weights} has {len(self.own_weights)} weights for "
                f"the {len(self.own)} objectives of objective.own={self.own}: give one for each"
            )
        if self.teachers and self.sampled_words is not None:
            raise UserError(
                f"objective.sampled_words={self.sampled_words} with objective.teachers="
                f"{self.teachers}: teachers predict among all words; use "
                "objective.sampled_words=null"
            )
        if not self.teachers and self.teacher_fraction != type(self).teacher_fraction:
            raise UserError(
                f"objective.teacher_fraction={self.teacher_fraction:g} without objective.teachers "
                "changes nothing: name them, or omit it"
            )
        if not any(self.weights.values()):
            given = [f"objective.{name}={getattr(self, name)}" for name in self._weight_options()]
            raise UserError(
                f"{', '.join(given)}, objective.own_weights={self.own_weights}: "
                "they must not all be 0"
            )

    def predicted_words(self, vocab_size: int) -> int:
        """Returns among how many words a masked token is predicted in training."""
        return min(self.sampled_words or vocab_size, vocab_size)

    @classmethod
    def _weight_options(cls) -> list[str]:
        return [field.name for field in fields(cls) if field.name.endswith("_weight")]

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each objective by its name, your own last."""
        own = self.own_weights or [1.0] * len(self.own)
        return {
            **{
                name.removesuffix("_weight"): getattr(self, name) for name in self._weight_options()
            },
            **{name.partition(":")[2]: weight for name, weight in zip(self.own, own, strict=True)},
        }


@dataclass
class OptimConfig:
    """The optimizer and its learning-rate schedule."""

    optimizer: OptimizerName = option(OptimizerName.muon, LEARNING | OPTIMIZER_STATE)
    """`lamb` is for large batches (You et al., 2020, arXiv:1904.00962): its `lr` is the fraction
    of its length that a matrix moves by in a step. `muon` updates the matrices between layers
    (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon), and AdamW all the rest."""
    own: str | None = option(None, LEARNING | OPTIMIZER_STATE)
    """An optimizer of your own in place of `optimizer`, as `module:function`, marked with
    `@extension("optimizer")`: a function from parameter groups and this config to the optimizer."""
    lr: float = option(5e-3, LEARNING, above=0)
    """Peak learning rate."""
    matrix_lr: float = option(0.015, LEARNING, above=0)
    """Peak learning rate of the matrices that Muon updates."""
    momentum: float = option(0.95, LEARNING, at_least=0, below=1)
    """Muon's."""
    beta1: float = option(0.9, LEARNING, at_least=0, below=1)
    """Decay of the moving average of the gradients, except where Muon updates."""
    beta2: float = option(0.98, LEARNING, at_least=0, below=1)
    """Decay of the moving average of their squares."""
    eps: float = option(1e-8, LEARNING, above=0)
    """What is added to the root of that average before it divides."""
    weight_decay: float = option(0.0, LEARNING, at_least=0)
    """Decay of the matrices; biases, LayerNorm and embeddings of position and type have none."""
    schedule: ScheduleName = option(ScheduleName.wsd, LEARNING)
    """How the learning rate decays from its peak to 0 at the last step, or stays (`constant`);
    `wsd` stays and then decays linearly (warmup, stable, decay; Hu et al., 2024,
    arXiv:2404.06395)."""
    decay_fraction: float = option(0.5, LEARNING, above=0, at_most=1)
    """The last fraction of the run, in which the learning rate of `wsd` decays."""
    warmup_steps: int = option(0, LEARNING, at_least=0)
    """Optimizer steps over which the learning rate rises from 0 to its peak."""
    ema_decay: float | None = option(
        None, LEARNING, ", such as 0.999; null keeps no average", above=0, below=1
    )
    """Decay of an exponential moving average (EMA) of the weights, such as 0.999. The average is
    validated, tested, saved for use and exported; training continues with the weights themselves.
    It forgets faster in the first 9 / (1 - decay) steps, whose start is random. Null keeps none."""
    time_budget: str | None = option(None, LEARNING)
    """Training time after which the run ends, as 90s, 8min or 1.5h, in place of
    `trainer.max_steps`; for `wsd`, whose learning rate begins to decay when `decay_fraction` of it
    is left. Validation does not count. The summary says how to repeat the run by its steps."""

    def __post_init__(self) -> None:
        check_limits(self, "optim.")
        if self.time_budget_seconds is not None and self.schedule is not ScheduleName.wsd:
            raise UserError(
                f"optim.time_budget={self.time_budget} with optim.schedule={self.schedule.value}: "
                "the learning rate would have to decay before the length of the run is known; use "
                "optim.schedule=wsd"
            )
        if self.optimizer is OptimizerName.adam and self.weight_decay:
            raise UserError(
                f"optim.weight_decay={self.weight_decay:g} with optim.optimizer=adam would be "
                "added to the gradient, which Adam rescales; use optim.optimizer=adamw"
            )

    @property
    def time_budget_seconds(self) -> float | None:
        """The time budget in seconds; None where there is none."""
        if self.time_budget is None:
            return None
        found = re.fullmatch(r"(\d+\.?\d*) *(s|min|h)", self.time_budget)
        if found is None or float(found[1]) <= 0:
            raise UserError(
                f"optim.time_budget={self.time_budget} is not a time: write it as 90s, 8min or 1.5h"
            )
        return float(found[1]) * _SECONDS[found[2]]
