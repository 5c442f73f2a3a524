"""The head of a task in Hugging Face's format: what config.json says of it, and its weights."""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypedDict

import torch
from torch import Tensor

from bert_lightning.config.task import Pooling, TaskKind
from bert_lightning.errors import UserError

TASK_HEAD = "head."
"""Begins the names of the weights of a task's head, in the model of a run that fine-tuned."""
SEQUENCE, TOKEN = "BertForSequenceClassification", "BertForTokenClassification"
MULTIPLE_CHOICE, QUESTION = "BertForMultipleChoice", "BertForQuestionAnswering"
_THEIR_CLASSES = (SEQUENCE, TOKEN, MULTIPLE_CHOICE, QUESTION)
"""The classes of transformers that have such a head."""
_OWN = "bert_lightning_task"
"""The key of config.json for a head without a counterpart there."""
_NAMES = "bert_lightning_names"
"""The key of config.json for names that are not those of outputs."""
_OUTPUTS = {TaskKind.number: ["score"], TaskKind.question: ["start", "end"]}
"""The names of outputs that are no classes; transformers cannot do without any."""
_OURS = f"{TASK_HEAD}classifier."


class Counterpart(NamedTuple):
    """What in transformers computes what a head does."""

    their_class: str
    pooling: Pooling
    problem_type: str | None = None


_COUNTERPARTS = {
    TaskKind.text: Counterpart(SEQUENCE, Pooling.pooler, "single_label_classification"),
    TaskKind.pair: Counterpart(SEQUENCE, Pooling.pooler, "single_label_classification"),
    TaskKind.number: Counterpart(SEQUENCE, Pooling.pooler, "regression"),
    TaskKind.tokens: Counterpart(TOKEN, Pooling.cls),
    TaskKind.choice: Counterpart(MULTIPLE_CHOICE, Pooling.pooler),
    TaskKind.question: Counterpart(QUESTION, Pooling.cls),
}


class TaskDescription(TypedDict):
    """What a head is, in plain types."""

    kind: str
    outputs: int
    """Classes; 1 for a number and for a candidate of `choice`; the width of sentence vectors."""
    pooling: str
    names: list[str]
    """Those of the classes, in the order of the outputs; of `choice` the candidates' numbers; none
    for a number."""


def counterpart(task: TaskDescription) -> str | None:
    """Returns the class of transformers that computes what this head does, or None."""
    theirs = _COUNTERPARTS[TaskKind(task["kind"])]
    return theirs.their_class if task["pooling"] == theirs.pooling.value else None


def to_task_config(task: TaskDescription, own: bool) -> dict[str, Any]:
    """Returns what a `config.json` says of a head; `own` if transformers is not to load it."""
    kind = TaskKind(task["kind"])
    names, problem = _OUTPUTS.get(kind, task["names"]), _COUNTERPARTS[kind].problem_type
    settings: dict[str, Any] = {
        "architectures": [None if own else counterpart(task)],
        "id2label": {str(number): name for number, name in enumerate(names)},
        "label2id": {name: number for number, name in enumerate(names)},
    }
    if kind in _OUTPUTS and task["names"]:
        settings[_NAMES] = task["names"]
    if own:
        return settings | {
            "architectures": ["BertForTask"],
            _OWN: {name: task[name] for name in ("kind", "pooling")},
        }
    return settings | ({"problem_type": problem} if problem else {})


def to_vectors_config(task: TaskDescription) -> dict[str, Any]:
    """Returns what a `config.json` says of sentence vectors, whose head has no weights."""
    return {_OWN: {"kind": task["kind"], "pooling": task["pooling"]}}


def _prefix(their_class: str | None) -> str:
    """Returns what the names of a head's weights begin with, in a class of transformers or here."""
    if their_class is None:
        return _OURS
    return "qa_outputs." if their_class == QUESTION else "classifier."


def to_task_weights(weight: Tensor, bias: Tensor, their_class: str | None) -> dict[str, Tensor]:
    """Returns the weights of a head under the names of the folder."""
    prefix = _prefix(their_class)
    return {f"{prefix}weight": weight, f"{prefix}bias": bias}


def take_task(
    values: Mapping[str, Any], weights: dict[str, Tensor]
) -> tuple[TaskDescription | None, dict[str, Tensor]]:
    """Returns the task of a `config.json`, and its head's weights, which leave `weights`.

    One text and two are not told apart there. Heads of another kind stay: those of several labels
    or numbers at once.

    Raises:
        UserError: the labels are not those of the weights.
    """
    own, architectures = values.get(_OWN), values.get("architectures") or []
    if isinstance(own, Mapping) and own.get("kind") == TaskKind.sentence.value:
        return TaskDescription(
            kind=own["kind"], outputs=values["hidden_size"], pooling=own["pooling"], names=[]
        ), {}
    theirs = next((one for one in _THEIR_CLASSES if one in architectures), None)
    if own is None and theirs is None:
        return None, {}
    prefix = _prefix(theirs if own is None else None)
    head = {name: value for name, value in weights.items() if name.startswith(prefix)}
    weight = head.get(f"{prefix}weight")
    is_choice = theirs == MULTIPLE_CHOICE
    if weight is None or (is_choice and len(weight) != 1):
        return None, {}
    outputs, problem = len(weight), values.get("problem_type")
    if problem == "multi_label_classification" or (problem == "regression" and outputs > 1):
        return None, {}
    try:
        unnamed = {0: "1", 1: "2"} if is_choice else {n: f"LABEL_{n}" for n in range(outputs)}
        given = values.get("id2label") or unnamed
        labels = {int(number): str(name) for number, name in given.items()}
        if own is not None:
            kind, pooling = TaskKind(own["kind"]), Pooling(own["pooling"])
        elif theirs == TOKEN:
            kind, pooling = TaskKind.tokens, Pooling.cls
        elif is_choice:
            kind, pooling = TaskKind.choice, Pooling.pooler
        elif theirs == QUESTION:
            kind, pooling = TaskKind.question, Pooling.cls
        else:
            kind = TaskKind.number if outputs == 1 else TaskKind.text
            pooling = Pooling.pooler
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"config.json does not describe its labels ({type(error).__name__}: {error})"
        ) from error
    count = len(labels) if kind is TaskKind.choice else outputs
    if sorted(labels) != list(range(count)) or len({*labels.values()}) < count:
        raise UserError(
            f"config.json names {len({*labels.values()})} different labels in id2label, and the "
            f"classifier has {count}: each needs a name of its own"
        )
    for name in head:
        del weights[name]
    head = {f"{_OURS}{name.removeprefix(prefix)}": value for name, value in head.items()}
    if kind is TaskKind.number:  # the units of its labels
        head |= {f"{TASK_HEAD}mean": torch.zeros(()), f"{TASK_HEAD}scale": torch.ones(())}
    names = [labels[number] for number in range(count)]
    if kind in _OUTPUTS:
        names = [str(name) for name in values.get(_NAMES, [])]
    task = TaskDescription(kind=kind.value, outputs=outputs, pooling=pooling.value, names=names)
    return task, head
